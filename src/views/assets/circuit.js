// A circuit: layers upwards, positions to the right, edges with a width and a colour from their scores.
(function () {
  "use strict";
  const lens = window[KEY];
  if (lens.kinds.circuit) return;
  const { el, svg } = lens;

  // A colour for each kind of edge, distinguishable with any colour vision, on light and dark pages.
  const KINDS = { q: "#009e73", k: "#d55e00", v: "#1f83c6", ov: "#1f83c6", other: "#8a8a8a" };

  lens.kinds.circuit = async function (widget, data) {
    const most = Math.max(...data.edges.map((edge) => Math.abs(edge.score)), 1e-12);
    const state = Object.assign({ threshold: 0, pinned: null }, widget.state);
    let over = null;
    const near = (i) => data.edges.flatMap(({ from, to }) => (from === i ? [to] : to === i ? [from] : []));
    const slider = el("input", { type: "range", min: 0, max: 100, step: 1, value: state.threshold });
    const says = el("span", { "aria-live": "polite" });
    slider.oninput = () => {
      state.threshold = +slider.value;
      update();
    };
    const kinds = [...new Set(data.edges.map((edge) => edge.kind))];
    const legend = kinds.map((kind) => {
      const line = el("span", { style: `display:inline-block;width:22px;border-top:3px solid ${KINDS[kind]};vertical-align:middle` });
      return el("span", { class: "control" }, line, ` ${kind}`);
    });
    const negative = el("span", { style: "display:inline-block;width:22px;border-top:3px dashed;vertical-align:middle" });
    if (data.edges.some((edge) => edge.score < 0)) legend.push(el("span", { class: "control" }, negative, " negative"));
    widget.root.append(el("div", { class: "controls" },
      el("label", { class: "control" }, "Edges of at least ", slider), says, ...legend));

    const picture = svg("svg", { viewBox: `0 0 ${data.width} ${data.height}`, role: "group", "aria-label": data.description });
    // As small as the text allows; what is still wider scrolls.
    picture.style.cssText = `width:100%;max-width:${data.width}px;height:auto;min-width:${Math.round(data.width * 0.7)}px`;
    data.lanes.forEach(({ x, name }) => {
      picture.append(svg("line", { x1: x, x2: x, y1: 14, y2: data.height - 34, stroke: "currentColor", "stroke-opacity": 0.12 }));
      picture.append(svg("text", { x, y: data.height - 16, "text-anchor": "middle" }, name));
    });
    data.floors.forEach(({ y, name }) =>
      picture.append(svg("text", { x: 8, y: y + 4, "fill-opacity": 0.75 }, name)));
    const lines = data.edges.map(({ from, to, kind, score }) => {
      const [a, b] = [data.nodes[from], data.nodes[to]];
      const middle = (a.y + b.y) / 2;
      const bend = a.y === b.y ? `Q${(a.x + b.x) / 2} ${a.y - 40} ${b.x} ${b.y}` : `C${a.x} ${middle} ${b.x} ${middle} ${b.x} ${b.y}`;
      const part = Math.abs(score) / most;
      const path = svg("path", { d: `M${a.x} ${a.y} ${bend}`, fill: "none", stroke: KINDS[kind],
        "stroke-width": 1 + 5 * part, "stroke-dasharray": score < 0 ? "6 4" : undefined });
      path.style.pointerEvents = "stroke";
      path.onmouseenter = (event) => widget.tip.show(event, `${a.name} → ${b.name}`, lens.rows([[kind, lens.number(score)]]));
      path.onmouseleave = () => widget.tip.hide();
      picture.append(path);
      return path;
    });
    const nodes = data.nodes.map((node, i) => {
      const width = 14 + 7 * [...node.name].length;
      const box = svg("rect", { x: node.x - width / 2, y: node.y - 12, width, height: 24, rx: 5 });
      const group = svg("g", { role: "button", tabindex: i ? -1 : 0, "aria-label": node.about },
        box, svg("text", { x: node.x, y: node.y + 4, "text-anchor": "middle" }, node.name));
      group.style.cursor = "pointer";
      const look = (to) => (event) => {
        over = to;
        if (to === null) widget.tip.hide();
        else widget.tip.show(event, ...note(data, i));
        update();
      };
      group.onmouseenter = group.onfocus = look(i);
      group.onmouseleave = group.onblur = look(null);
      group.onclick = () => pin(i);
      group.onkeydown = (event) => {
        if (event.key === "Enter" || event.key === " ") event.preventDefault(), pin(i);
        if (event.key === "Escape") pin(state.pinned);
      };
      picture.append(group);
      return { group, box };
    });
    function pin(i) {
      state.pinned = state.pinned === i ? null : i;
      update();
    }
    lens.roving(picture, () => nodes.map((node) => node.group), () => Math.max(1, data.lanes.length));
    const about = el("div", { class: "says", "aria-live": "polite" });
    const frame = el("div", { class: "wide" }, picture);
    widget.root.append(frame, about);
    // The answer is at the last position: that is what a reader wants to see first.
    const toEnd = new ResizeObserver(() => {
      if (!frame.clientWidth) return;
      frame.scrollLeft = frame.scrollWidth;
      toEnd.disconnect();
    });
    toEnd.observe(frame);

    function update() {
      Object.assign(widget.state, state);
      const least = (state.threshold / 100) * most;
      const focus = state.pinned === null ? over : state.pinned;
      const seen = focus === null ? null : new Set([focus, ...near(focus)]);
      let shown = 0;
      data.edges.forEach((edge, i) => {
        const keep = Math.abs(edge.score) >= least;
        shown += keep;
        lines[i].setAttribute("visibility", keep ? "visible" : "hidden");
        const touches = focus === null || edge.from === focus || edge.to === focus;
        lines[i].setAttribute("stroke-opacity", touches ? 0.35 + (0.6 * Math.abs(edge.score)) / most : 0.07);
      });
      says.textContent = `${lens.number(least)} (${shown} of ${data.edges.length} edges)`;
      nodes.forEach(({ group, box }, i) => {
        const color = lens.css(lens.color(data.nodes[i].score, [-data.limit, data.limit]));
        box.setAttribute("fill", widget.dark ? "#202124" : "#ffffff");
        box.style.fill = `color-mix(in srgb, ${color.replace(/[\d.]+\)$/, "1)")} ${Math.round(60 * shade(i))}%, ${widget.dark ? "#202124" : "#fff"})`;
        box.setAttribute("stroke", i === state.pinned ? (widget.dark ? "#ffb000" : "#d55e00") : "currentColor");
        box.setAttribute("stroke-width", i === state.pinned ? 3 : 1);
        group.setAttribute("opacity", seen === null || seen.has(i) ? 1 : 0.3);
        group.setAttribute("aria-pressed", i === state.pinned);
      });
      about.replaceChildren(...(state.pinned === null ? ["Point at a node; a click pins it."] : note(data, state.pinned)));
    }
    const shade = (i) => Math.min(1, Math.abs(data.nodes[i].score) / (data.limit || 1));
    widget.repaint.push(update);
  };

  // A node with its edges, the strongest first.
  function note(data, i) {
    const edges = data.edges.filter(({ from, to }) => from === i || to === i);
    edges.sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
    const row = ({ from, to, kind, score }) =>
      [from === i ? `→ ${data.nodes[to].name} (${kind})` : `← ${data.nodes[from].name} (${kind})`, lens.number(score)];
    return [el("div", {}, data.nodes[i].about), lens.rows(edges.slice(0, 12).map(row))];
  }
})();
