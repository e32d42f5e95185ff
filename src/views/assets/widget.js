// What every widget needs: its element on the page, its numbers, colours for the theme, a tooltip.
// `KEY` is the property of `window` that belongs to this version of the library.
(function () {
  "use strict";
  const lens = (window[KEY] = window[KEY] || {});
  if (lens.widget) return;
  lens.kinds = {};
  // What the reader has chosen, by widget: notebooks remove outputs that are scrolled out of sight.
  lens.chosen = lens.chosen || {};

  // Replaces the still form of a widget. The live form is in a shadow tree, so that neither the notebook's style
  // sheets nor ours reach the other; where anything fails, the still form stays.
  lens.widget = async function (id, kind, data) {
    // Equal widgets have equal ids; each call takes the next one that is still.
    const place = [...document.querySelectorAll(`[data-widget="${id}"]`)].find((each) => !each.begun);
    if (!place) return;
    place.begun = true;
    try {
      const root = el("div", { class: "root", role: "group", "aria-label": data.description });
      if (data.title) root.append(el("div", { class: "title" }, data.title));
      if (data.note) root.append(el("div", { class: "note" }, data.note));
      const state = (lens.chosen[id] = lens.chosen[id] || {});
      const widget = { place, root, state, repaint: [], tip: tip(root), el };
      await lens.kinds[kind](widget, data);
      place.attachShadow({ mode: "open" }).append(el("style", {}, STYLE), root);
      theme(widget);
      place.widget = widget;
    } catch (error) {
      console.error("candle-lens: the view stays still:", error);
    }
  };

  // An element with attributes, properties that begin with "on", and children; texts are never parsed as markup.
  const el = (lens.el = function (name, attributes, ...children) {
    const element = document.createElement(name);
    set(element, attributes);
    element.append(...children);
    return element;
  });

  lens.svg = function (name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    set(element, attributes);
    element.append(...children);
    return element;
  };

  function set(element, attributes) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) element[key] = value;
      else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
  }

  // The numbers that `pack` wrote: a function from block and index to value, with the blocks' starts given.
  lens.unpack = async function (packed, starts) {
    const zipped = Uint8Array.from(atob(packed.bytes), (letter) => letter.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const [zero, steps] = packed.signed ? [127, 127] : [0, 255];
    const odd = new Map();
    for (const [first, count, kind] of packed.gaps || []) {
      for (let i = 0; i < count; i++) odd.set(first + i, kind === 0 ? NaN : kind * Infinity);
    }
    return (block, place) => {
      const at = starts(block) + place;
      return odd.has(at) ? odd.get(at) : ((bytes[at] - zero) / steps) * packed.size[block];
    };
  };

  const SIDES = { light: [[31, 131, 198], [213, 94, 0]], dark: [[86, 180, 240], [255, 138, 50]] };

  // A value's colour: its part of the range as opacity, so that zero is the page's background; grey where there is no number.
  lens.color = function (value, [low, high], hue) {
    if (!Number.isFinite(value)) return [154, 154, 154, 0.7];
    const part = value < 0 ? value / low : value / high;
    const [positive, negative] = SIDES[lens.dark ? "dark" : "light"];
    return [...(value < 0 ? negative : hue || positive), Math.min(1, Math.max(0, part || 0))];
  };

  lens.css = ([r, g, b, a]) => `rgba(${r},${g},${b},${a.toFixed(3)})`;

  // One hue for each head, as far from its neighbours' as their number allows.
  lens.hue = function (i, count) {
    const angle = ((i * 360) / Math.max(count, 1) + 205) % 360;
    const part = (n) => {
      const k = (n + angle / 30) % 12;
      return Math.round(255 * ((lens.dark ? 0.62 : 0.46) - 0.34 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
    };
    return [part(0), part(8), part(4)];
  };

  lens.number = function (value) {
    if (value === 0) return "0";
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "inf" : "-inf";
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e5 ? String(+value.toPrecision(4)) : value.toExponential(2);
  };

  // A token with its background; its letters stay legible on it in either theme.
  lens.shade = function (widget, element, color) {
    const part = color[3] * 0.8;
    element.style.backgroundColor = lens.css([...color.slice(0, 3), part]);
    const ground = widget.dark ? 24 : 255;
    const [r, g, b] = color.map((each) => each * part + ground * (1 - part));
    element.style.color = part < 0.15 ? "" : 0.299 * r + 0.587 * g + 0.114 * b > 125 ? "#111" : "#fff";
  };

  // A list of choices with a label; `change` is called with the choice.
  lens.select = function (label, options, value, change) {
    const select = el("select", { onchange: () => change(+select.value) });
    options.forEach((option, i) => select.append(el("option", { value: i }, option)));
    select.value = value;
    return el("label", { class: "control" }, label, " ", select);
  };

  // The tooltip under the pointer: rows of a name and a value.
  function tip(root) {
    const box = el("div", { class: "tip", role: "tooltip", hidden: true });
    root.append(box);
    return {
      show(event, ...content) {
        box.replaceChildren(...content);
        box.hidden = false;
        const bounds = root.getBoundingClientRect();
        const target = event.currentTarget || event.target;
        const at = event.clientX || event.clientY ? event : { ...corner(target) };
        const left = Math.min(at.clientX - bounds.left + 14, root.clientWidth - box.offsetWidth - 2);
        box.style.left = `${Math.max(0, left)}px`;
        box.style.top = `${at.clientY - bounds.top + 16}px`;
      },
      hide() {
        box.hidden = true;
      },
    };
  }

  function corner(target) {
    const bounds = target.getBoundingClientRect();
    return { clientX: bounds.left, clientY: bounds.bottom - 10 };
  }

  lens.rows = function (pairs) {
    const row = ([name, value, mark]) =>
      el("tr", mark ? { class: "mark" } : {}, el("td", {}, name), el("td", { class: "number" }, value));
    return el("table", { class: "rows" }, ...pairs.map(row));
  };

  // Arrow keys move the focus among `items`, of which one at a time can be reached by Tab.
  lens.roving = function (container, items, across) {
    const all = () => items().filter((item) => !item.hidden);
    container.addEventListener("keydown", (event) => {
      const list = all();
      const at = list.indexOf(event.target);
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across() }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? list.length - 1 : at + step;
      if (at < 0 || !list[to]) return;
      event.preventDefault();
      list.forEach((item) => (item.tabIndex = -1));
      list[to].tabIndex = 0;
      list[to].focus();
    });
  };

  // The page's text colour says which theme it has: every front-end sets it.
  function theme(widget) {
    widget.ink = getComputedStyle(widget.place).color;
    const [r, g, b] = widget.ink.match(/[\d.]+/g).map(Number);
    lens.dark = widget.dark = 0.299 * r + 0.587 * g + 0.114 * b > 128;
    widget.root.classList.toggle("dark", widget.dark);
    widget.repaint.forEach((paint) => paint());
  }

  function retheme() {
    document.querySelectorAll("[data-widget]").forEach((place) => {
      if (place.widget && place.widget.ink !== getComputedStyle(place).color) theme(place.widget);
    });
  }
  new MutationObserver(retheme).observe(document.body, { attributes: true });
  new MutationObserver(retheme).observe(document.documentElement, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);

  const STYLE = `
    .root { position: relative; font: 13px/1.5 system-ui, sans-serif; color: inherit; max-width: 1200px; }
    .root { --line: rgba(128,128,128,.45); --paper: #fff; --focus: #d55e00; }
    .root.dark { --paper: #202124; --focus: #ffb000; }
    [hidden] { display: none !important; }
    .title { font-weight: 600; font-size: 15px; margin: 4px 0; }
    .note { font-style: italic; margin: 4px 0; }
    .controls { display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: center; margin: 6px 0; }
    .control { white-space: nowrap; }
    .panes { display: flex; flex-wrap: wrap; gap: 12px 20px; align-items: flex-start; }
    select, input, button { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line);
      border-radius: 4px; padding: 2px 6px; max-width: 100%; }
    .dark option { background: #202124; color: #f0f0f0; }
    button { cursor: pointer; }
    :focus-visible { outline: 3px solid var(--focus); outline-offset: 1px; }
    .heads { display: grid; gap: 4px; }
    .head { padding: 2px; text-align: center; font-size: 11px; line-height: 1.3; background: none; overflow: hidden; }
    .head canvas { display: block; width: 100%; aspect-ratio: 1; }
    .head[aria-pressed=true] { border-color: var(--focus); box-shadow: 0 0 0 2px var(--focus); font-weight: 600; }
    .head.seen { border-color: currentColor; }
    .layer { align-self: center; justify-self: center; font-size: 11px; font-weight: 600; padding: 0 4px; }
    .small { gap: 2px; box-sizing: border-box; }
    .small .head span { display: none; }
    .small .head { padding: 0; border-radius: 2px; min-width: 0; }
    .small .layer { font-size: 10px; padding: 0; }
    .words { margin: 6px 0; line-height: 2; overflow-wrap: anywhere; }
    .word { white-space: pre-wrap; padding: 2px 0; border-radius: 3px; unicode-bidi: isolate; cursor: pointer;
      border-bottom: 2px solid transparent; }
    .word.still { cursor: default; }
    .word.focus { border-bottom-color: var(--focus); box-shadow: 0 0 0 2px var(--focus); }
    .map { position: relative; max-width: 100%; }
    .map canvas { display: block; max-width: 100%; cursor: crosshair; }
    .says { min-height: 1.5em; margin: 2px 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
    .tip { position: absolute; z-index: 5; max-width: 320px; padding: 6px 8px; pointer-events: none; font-size: 12px;
      background: var(--paper); border: 1px solid var(--line); border-radius: 4px; box-shadow: 0 2px 8px rgba(0,0,0,.25); }
    table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
    td, th { padding: 1px 10px 1px 0; text-align: left; font-weight: normal; white-space: pre-wrap; vertical-align: top; }
    th { border-bottom: 1px solid var(--line); font-weight: 600; }
    td.number, th.number { text-align: right; white-space: nowrap; }
    tr.mark td { color: #d55e00; font-weight: 600; }
    .dark tr.mark td { color: #ffb000; }
    .steps td { vertical-align: middle; }
    .grid { white-space: pre; font-size: 12px; }
    .grid td, .grid th { padding: 1px 5px; max-width: 7em; overflow: hidden; text-overflow: ellipsis; white-space: pre;
      border: 1px solid var(--line); unicode-bidi: isolate; }
    .grid td { cursor: pointer; }
    .grid th:first-child { position: sticky; left: 0; background: var(--paper); }
    .sample { margin: 6px 0; padding-top: 4px; border-top: 1px solid var(--line); }
    .wide { overflow-x: auto; max-width: 100%; }
    svg text { fill: currentColor; font: 12px system-ui, sans-serif; }
  `;
})();
