// Turns the still picture of a figure into an interactive one, on a page that may hold figures of several cells.
// `KEY` is the property of `window` that belongs to this version of the library.
(function () {
  "use strict";
  const lens = (window[KEY] = window[KEY] || {});
  if (lens.figure) return;
  const waiting = [];
  const tried = new Set();
  const names = {};
  let hidden = 0;

  // plotly.js runs between these two. The names by which it would look for a module system are hidden from it, and the
  // global that it sets is put back, so that a page with another plotly.js keeps its own.
  lens.before = function () {
    if (hidden++) return;
    for (const name of ["Plotly", "module", "exports"]) names[name] = window[name];
    window.module = window.exports = undefined;
  };

  // A cell's output may run before the one that brings plotly.js: its figures wait as still pictures.
  lens.after = function () {
    if (window.Plotly !== names.Plotly) lens.plotly = lens.plotly || window.Plotly;
    window.Plotly = names.Plotly;
    if (!--hidden) Object.assign(window, names);
    if (lens.plotly) waiting.splice(0).forEach(start);
  };

  lens.figure = function (id, spec) {
    // Equal figures have equal ids; each call takes the next one that is still a picture.
    const place = [...document.querySelectorAll(`[data-figure="${id}"]`)].find((each) => !each.spec);
    if (!place) return;
    place.spec = spec;
    if (lens.plotly) return start(place);
    waiting.push(place);
    beside(place);
    setTimeout(() => lens.plotly || note(place), 10000);
  };

  // The outputs of a notebook that was saved without plotly.js link to a file beside the notebook.
  async function beside(place) {
    const frame = place.closest(".candle-lens");
    const link = frame && frame.querySelector("a[data-plotly][href]");
    if (!link) return;
    const written = link.getAttribute("href");
    // JupyterLab puts the address from which its server gives the file into the link, soon after the output's scripts ran.
    for (let i = 0; i < 50 && document.getElementById("jupyter-config-data"); i++) {
      if (link.getAttribute("href") !== written) break;
      await new Promise((done) => setTimeout(done, 100));
    }
    if (lens.plotly || tried.has(link.href)) return;
    tried.add(link.href);
    const script = document.createElement("script");
    script.onload = lens.after;
    script.onerror = lens.after;
    script.src = link.href;
    lens.before();
    document.head.append(script);
  }

  function note(place) {
    const frame = place.closest(".candle-lens");
    const link = frame && frame.querySelector("a[data-plotly][href]");
    const beside = link ? ` nor ${link.dataset.plotly} in the folder assets beside it` : "";
    const text = document.createElement("small");
    text.textContent = `Still picture. plotly.js is ${link ? "neither " : "not "}on this page${beside}: run the notebook's first figure again.`;
    place.append(text);
  }

  // Text is measured while drawing, so a figure is drawn only once its place has a width.
  function start(place) {
    new ResizeObserver(() => {
      if (place.clientWidth > 0) place.live ? fit(place) : draw(place);
    }).observe(place);
  }

  function width(place) {
    return Math.min(place.spec.layout.width || 700, place.clientWidth);
  }

  function fit(place) {
    if (place.live.layout && place.live.layout.width !== width(place)) {
      lens.plotly.relayout(place.live, { width: width(place) });
    }
  }

  async function draw(place) {
    place.live = document.createElement("div");
    place.append(place.live);
    const { data, layout, config, frames } = structuredClone(place.spec);
    layout.width = width(place);
    for (const [key, value] of Object.entries(colors(place))) {
      const [part, attribute] = key.split(".");
      layout[part] = { [attribute]: value, ...layout[part] };
    }
    try {
      await lens.plotly.newPlot(place.live, { data, layout, config, frames });
      [...place.children].forEach((child) => child === place.live || child.remove());
    } catch (error) {
      place.live.style.display = "none";
      console.error("candle-lens: the figure stays a still picture:", error);
    }
  }

  // The page's text colour says how to draw on it: every front-end sets it for its themes.
  function colors(place) {
    const ink = getComputedStyle(place).color;
    const [r, g, b] = ink.match(/[\d.]+/g).map(Number);
    const faint = (alpha) => `rgba(${r},${g},${b},${alpha})`;
    const dark = 0.299 * r + 0.587 * g + 0.114 * b > 128;
    const update = {
      "font.color": ink,
      "hoverlabel.bgcolor": dark ? "#202124" : "#ffffff",
      "hoverlabel.bordercolor": faint(0.4),
      "hoverlabel.font": { ...place.spec.layout.font, color: dark ? "#f0f0f0" : "#202124" },
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": faint(0.4),
      "modebar.activecolor": faint(0.8),
    };
    for (const axis of Object.keys(place.spec.layout).filter((key) => /^[xy]axis/.test(key))) {
      update[`${axis}.gridcolor`] = faint(0.12);
      for (const line of ["zerolinecolor", "linecolor", "tickcolor"]) update[`${axis}.${line}`] = faint(0.45);
    }
    place.ink = ink;
    return update;
  }

  // The reader has changed the theme.
  function repaint() {
    document.querySelectorAll("[data-figure]").forEach((place) => {
      if (place.ink && place.ink !== getComputedStyle(place).color) lens.plotly.relayout(place.live, colors(place));
    });
  }
  new MutationObserver(repaint).observe(document.body, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
})();
