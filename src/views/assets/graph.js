// A graph of features: positions to the right, layers upwards, the tokens below; a slider by influence, a note for each node.
(function () {
  "use strict";
  const lens = window[KEY];
  if (lens.kinds.graph) return;
  const { el, svg } = lens;

  // How many edges in and out of a node are highlighted and listed, and how many a note lists.
  const EDGES = 10, NOTED = 3;
  const RADIUS = 6, BOX = 19, TOKEN = [22, 9];
  // Room between the marks of two rows, of a row without marks, around, of a line of the axis; with more nodes than these, features
  // are without their names.
  const BETWEEN = 24, EMPTY = 16, EDGE = 8, LINE = 15, NAMED = 120;
  const SHAPES = {
    mlp: "MLP feature", attention: "attention feature", error: "error", token: "token", position: "position embedding",
    target: "target", margin: "bias", group: "group",
  };

  lens.kinds.graph = async function (widget, data) {
    const state = Object.assign({ share: 100 * data.share, form: 0, pinned: null, off: [] }, widget.state);
    const view = { widget, data, state, over: null, group: null };
    view.form = () => data.forms[state.form];
    view.says = el("span", { "aria-live": "polite" });
    view.about = el("div", { tabindex: -1 });
    view.about.onkeydown = (event) => {
      if (event.key !== "Escape" || state.pinned === null) return;
      view.marks.get(state.pinned).group.focus();
      view.pin(state.pinned);
    };
    const controls = el("div", { class: "controls" }), legend = el("div", { class: "controls" }), stage = el("div", {});
    stage.style.cssText = "display:flex;align-items:flex-start";
    controls.append(...slider(view));
    if (data.forms.length > 1) {
      controls.append(lens.select("Groups", ["as one node each", "as their members"], state.form, (form) => {
        state.form = form;
        state.pinned = null;
        legend.replaceChildren(...keys(view));
        view.draw();
      }));
    }
    widget.root.append(controls, legend, stage, view.about);
    view.draw = () => {
      arrange(view);
      picture(view, stage);
      view.update();
    };
    view.update = () => update(view);
    view.pin = (i) => {
      state.pinned = state.pinned === i ? null : i;
      view.update();
    };
    legend.replaceChildren(...keys(view));
    view.draw();
    widget.repaint.push(view.update);
  };

  function slider(view) {
    const { state, data } = view;
    const input = el("input", { type: "range", min: 0, max: 100, step: "any", value: state.share });
    input.oninput = () => {
      state.share = +input.value;
      view.draw();
    };
    view.slider = input;
    return [el("label", { class: "control" }, `Share of ${data.all} `, input), view.says];
  }

  // What shapes, colours and dashes mean. Kinds of edges can be taken away.
  function keys(view) {
    const form = view.form(), state = view.state;
    const here = Object.keys(SHAPES).filter((shape) => form.nodes.some((node) => node.shape === shape));
    const signs = here.filter((shape) => !["target", "margin", "group", "token"].includes(shape)).map((shape) => {
      const mark = svg("svg", { width: 26, height: 14, "aria-hidden": "true" }, outline({ shape, x: 13, y: 7 }));
      mark.style.cssText = "vertical-align:middle;margin-right:4px;fill:rgba(128,128,128,.5);stroke:currentColor";
      return el("span", { class: "control" }, mark, SHAPES[shape]);
    });
    const line = (color, dash, words) => {
      const mark = el("span", {});
      mark.style.cssText = `display:inline-block;width:22px;border-top:3px ${dash} ${color};vertical-align:middle`;
      return el("span", { class: "control" }, mark, ` ${words}`);
    };
    const plain = form.kinds.length === 1;
    const kinds = plain ? [] : form.kinds.map((kind) => {
      const box = el("input", { type: "checkbox" });
      box.checked = !state.off.includes(kind.name);
      box.onchange = () => {
        state.off = state.off.filter((name) => name !== kind.name).concat(box.checked ? [] : [kind.name]);
        view.draw();
      };
      const label = el("label", { class: "control" }, box, " ");
      label.append(line(kind.color, "solid", kind.name));
      return label;
    });
    if (form.edges.length && plain) kinds.push(line(form.kinds[0].color, "solid", "positive"));
    if (form.edges.some((edge) => edge[3] < 0)) {
      kinds.push(line(plain ? form.kinds[0].negative : "currentColor", "dashed", "negative"));
    }
    const groups = state.form === 0 ? [] : view.data.groups.map((name, i) => {
      const look = (to) => () => ((view.group = to), view.update());
      const button = el("button", { type: "button" }, `${i + 1} ${name}`);
      button.onmouseenter = button.onfocus = look(i);
      button.onmouseleave = button.onblur = look(null);
      return button;
    });
    return [...signs, ...kinds, ...groups];
  }

  // The outline of a node around its middle.
  function outline({ shape, x, y, width }) {
    const r = RADIUS;
    if (shape === "mlp") return svg("circle", { cx: x, cy: y, r });
    if (shape === "attention") return svg("path", { d: `M${x} ${y - r}L${x + r} ${y + r}L${x - r} ${y + r}Z` });
    if (shape === "error") return svg("rect", { x: x - r + 0.5, y: y - r + 0.5, width: 2 * r - 1, height: 2 * r - 1 });
    const [w, h] = shape === "token" || shape === "position" ? [22, 9] : [width, BOX];
    return svg("rect", { x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 3 });
  }

  const isBox = (node) => ["target", "margin", "group"].includes(node.shape);

  // Which nodes and edges are shown, and where: those of one row and position in lines beside and below each other.
  function arrange(view) {
    const form = view.form(), { state } = view;
    const isOn = form.kinds.map((kind) => form.kinds.length === 1 || !state.off.includes(kind.name));
    view.shown = form.nodes.map((node, i) => (node.stays || state.share >= 100 || node.before < state.share / 100 ? i : -1)).filter((i) => i >= 0);
    const there = new Set(view.shown);
    view.edges = form.edges.filter(([from, to, kind]) => isOn[kind] && there.has(from) && there.has(to));
    if (!there.has(state.pinned)) state.pinned = null;
    view.over = null;
    view.named = view.shown.filter((i) => !form.nodes[i].stays).length <= NAMED;
    const cells = new Map(), loose = [];
    for (const node of view.shown.map((i) => form.nodes[i])) {
      const key = node.floor * form.lanes.length + node.pos;
      if (node.pos === undefined) loose.push(node);
      else if (cells.has(key)) cells.get(key).push(node);
      else cells.set(key, [node]);
    }
    view.widths = form.lanes.map((lane) => Math.max(lane.width, TOKEN[0]));
    view.heights = form.floors.map(() => EMPTY);
    const placed = [...cells.values()].map((nodes) => cell(view, nodes));
    const margin = loose.length ? Math.max(...loose.map((node) => node.width)) + 16 : 0;
    view.middles = [];
    view.width = view.widths.reduce((left, width) => (view.middles.push(left + (width + EDGE) / 2), left + width + EDGE), margin) + EDGE;
    const pitch = BOX + 7, all = view.heights.reduce((sum, height) => sum + height, 0);
    view.tops = [];
    view.bottom = view.heights.reduceRight((top, height, floor) => ((view.tops[floor] = top), top + height), Math.max(EDGE, loose.length * pitch - all));
    placed.forEach((place) => place());
    loose.forEach((node, i) => ((node.x = margin / 2), (node.y = view.bottom - (i + 0.5) * pitch)));
  }

  // Makes room for the nodes of a row and position; the result puts them there.
  function cell(view, nodes) {
    const size = (node) => (node.shape === "token" || node.shape === "position" ? TOKEN : isBox(node) ? [node.width, BOX]
      : view.named ? [node.width, 2 * RADIUS + 11] : [2 * RADIUS, 2 * RADIUS]);
    const [across, down] = [0, 1].map((way) => Math.max(...nodes.map((node) => size(node)[way])) + 6);
    const count = nodes.length, wide = across > 46;
    const fits = wide ? Math.min(3, Math.ceil(Math.sqrt(count / 2))) : Math.min(8, Math.max(Math.min(count, 3), Math.ceil(Math.sqrt(1.6 * count))));
    const lines = Math.ceil(count / fits), { pos, floor } = nodes[0];
    view.widths[pos] = Math.max(view.widths[pos], Math.min(count, fits) * across);
    view.heights[floor] = Math.max(view.heights[floor], lines * down + BETWEEN);
    return () => nodes.forEach((node, i) => {
      const line = Math.floor(i / fits), inLine = Math.min(fits, count - line * fits);
      node.x = view.middles[pos] + ((i % fits) + 0.5 - inLine / 2) * across;
      node.y = view.tops[floor] + view.heights[floor] / 2 + (line + 0.5 - lines / 2) * down;
    });
  }

  function picture(view, stage) {
    const form = view.form(), { data, widget } = view;
    const contrast = form.lanes.some((lane) => lane.corrupted);
    const [clean, corrupted] = [view.bottom + LINE / 2, view.bottom + 1.5 * LINE], numbers = contrast ? corrupted + LINE : corrupted;
    const size = { width: view.width, height: numbers + LINE };
    const field = svg("svg", { ...size, role: "group", "aria-label": data.description });
    const side = svg("svg", { width: 66, height: size.height, "aria-hidden": "true" });
    side.style.cssText = field.style.cssText = "display:block;flex:none";
    form.floors.forEach((floor, i) => {
      const ground = (width) => svg("rect", { x: 0, y: view.tops[i], width, height: view.heights[i], fill: "currentColor", "fill-opacity": 0.05 });
      if (floor.shaded) field.append(ground(view.width)), side.append(ground(66));
      side.append(svg("text", { x: 2, y: view.tops[i] + view.heights[i] / 2 + 4, "fill-opacity": 0.8 }, floor.name));
    });
    form.lanes.forEach((lane, pos) => {
      const x = view.middles[pos], at = { x, "text-anchor": "middle" };
      const other = contrast && lane.corrupted !== lane.token ? "font-weight:700" : "";
      field.append(
        svg("line", { x1: x, x2: x, y1: 4, y2: clean - 10, stroke: "currentColor", "stroke-opacity": 0.1 }),
        svg("text", { ...at, y: clean + 4, style: `font-size:11px;${other}` }, lane.token),
        svg("text", { ...at, y: numbers + 4, style: "font-size:10px", "fill-opacity": 0.7 }, pos));
      if (contrast) field.append(svg("text", { ...at, y: corrupted + 4, style: `font-size:11px;${other}` }, lane.corrupted));
    });
    const name = (y, words) => side.append(svg("text", { x: 2, y: y + 4, "fill-opacity": 0.8, style: "font-size:11px" }, words));
    if (contrast) name(clean, "clean"), name(corrupted, "corrupted");
    name(numbers, "position");
    view.lines = view.edges.map((edge) => line(view, field, edge));
    view.marks = new Map(view.shown.map((i) => [i, mark(view, field, i)]));
    field.addEventListener("keydown", (event) => walk(view, event));
    const frame = el("div", { class: "wide" }, field);
    frame.style.cssText = "flex:0 1 auto;min-width:0";
    const before = view.frame ? view.frame.scrollWidth - view.frame.scrollLeft : 0;
    view.frame = frame;
    stage.replaceChildren(side, frame);
    // The answer is at the last position: that is what a reader wants to see first.
    const toEnd = new ResizeObserver(() => {
      if (!frame.clientWidth) return;
      frame.scrollLeft = frame.scrollWidth - before;
      toEnd.disconnect();
    });
    toEnd.observe(frame);
    widget.tip.hide();
  }

  function line(view, field, [from, to, kind, weight]) {
    const form = view.form(), a = form.nodes[from], b = form.nodes[to];
    const [y, z] = [a.y - RADIUS, b.y + RADIUS], middle = (y + z) / 2;
    // Edges of several kinds between the same nodes lie beside each other.
    const aside = 7 * (kind - (form.kinds.length - 1) / 2);
    const path = svg("path", { class: "edge", d: `M${a.x} ${y}C${a.x + aside} ${middle} ${b.x + aside} ${middle} ${b.x} ${z}`, fill: "none",
      stroke: weight < 0 ? form.kinds[kind].negative : form.kinds[kind].color,
      "stroke-dasharray": weight < 0 ? "5 4" : undefined });
    path.style.pointerEvents = "stroke";
    path.onmouseenter = (event) =>
      view.widget.tip.show(event, `${a.name} → ${b.name}`, lens.rows([[form.kinds[kind].name, signed(weight)]]));
    path.onmouseleave = () => view.widget.tip.hide();
    field.append(path);
    return path;
  }

  const signed = (value) => (value > 0 ? "+" : "") + lens.number(value).replace("-", "−");

  function mark(view, field, i) {
    const node = view.form().nodes[i];
    const y = view.named && !node.stays && !isBox(node) ? node.y - 5.5 : node.y;
    const shape = outline({ ...node, y });
    const group = svg("g", { role: "button", tabindex: i === view.shown[0] ? 0 : -1, "aria-label": spoken(view, node) });
    if (!isBox(node)) group.append(svg("rect", { x: node.x - 11, y: y - 9, width: 22, height: 18, fill: "transparent" }));
    group.append(shape);
    const words = (text, x, y, size) =>
      group.append(svg("text", { x, y, "text-anchor": "middle", style: `font-size:${size}px` }, text));
    if (isBox(node)) words(node.label, node.x, node.y + 4, 11);
    else if (view.named && node.label && !node.stays) words(node.label, node.x, y + RADIUS + 9.5, 9);
    if (node.groups && view.state.form > 0) words(node.groups.map((group) => group + 1).join(), node.x + 10, y - 4, 9);
    group.style.cursor = "pointer";
    const look = (to) => (event) => {
      view.over = to;
      if (to === null) view.widget.tip.hide();
      else view.widget.tip.show(event, ...note(view, i, NOTED));
      view.update();
    };
    group.onmouseenter = group.onfocus = look(i);
    group.onmouseleave = group.onblur = look(null);
    group.onclick = () => view.pin(i);
    group.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") event.preventDefault(), view.pin(i);
      if (event.key === "Escape" && view.state.pinned !== null) view.pin(view.state.pinned);
    };
    field.append(group);
    return { group, shape };
  }

  // Arrow keys go to the nearest node in their direction.
  function walk(view, event) {
    const all = view.form().nodes, there = view.shown;
    const from = there.find((i) => view.marks.get(i).group === event.target);
    if (from === undefined) return;
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    let to = { Home: there[0], End: there[there.length - 1] }[event.key];
    if (way) {
      const cost = (i) => {
        const [dx, dy] = [all[i].x - all[from].x, all[i].y - all[from].y];
        const along = dx * way[0] + dy * way[1], across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
        return along > 1 ? along + (way[0] ? 4 : 1.5) * across : Infinity;
      };
      to = there.reduce((best, i) => (cost(i) < (best === undefined ? Infinity : cost(best)) ? i : best), undefined);
    }
    if (to === undefined) return;
    event.preventDefault();
    view.marks.forEach(({ group }, i) => group.setAttribute("tabindex", i === to ? 0 : -1));
    view.marks.get(to).group.focus();
  }

  // A node's edges, those that carry most first.
  const edgesOf = (view, i, end) => view.edges.filter((edge) => edge[end] === i);

  function update(view) {
    const { state, widget } = view, form = view.form();
    Object.assign(widget.state, state);
    const focus = state.pinned === null ? view.over : state.pinned;
    const near = new Set([focus]), bright = new Set(), brightest = [1, 1];
    for (const end of focus === null ? [] : [0, 1]) {
      edgesOf(view, focus, end).slice(0, EDGES).forEach((edge, i) => {
        if (i === 0) brightest[end] = edge[4] || 1;
        bright.add(edge);
        near.add(edge[1 - end]);
      });
    }
    // Many edges of the same strength are thin and faint, so that they can be told apart.
    const thin = Math.min(1, 15 / Math.sqrt(Math.max(1, view.edges.length)));
    view.edges.forEach((edge, e) => {
      // Those of the node in focus are compared with its largest.
      const part = bright.has(edge) ? Math.sqrt(edge[4] / brightest[edge[0] === focus ? 0 : 1]) : Math.sqrt(edge[4]) * thin;
      view.lines[e].setAttribute("stroke-width", (0.6 + 2.8 * part).toFixed(2));
      view.lines[e].setAttribute("stroke-opacity", focus === null ? (0.12 + 0.78 * part).toFixed(2) : bright.has(edge) ? 1 : 0.05);
    });
    const free = form.nodes.filter((node) => !node.stays);
    const most = Math.max(...free.map((node) => Math.abs(node.value)), 1e-12);
    view.marks.forEach(({ group, shape }, i) => {
      const node = form.nodes[i], pinned = i === state.pinned;
      const part = Math.sqrt(Math.min(1, Math.abs(node.value) / most));
      const grey = !["mlp", "attention", "group"].includes(node.shape);
      const [r, g, b] = grey ? [128, 128, 128] : lens.color(node.value, [-1, 1]);
      const mixed = Math.round((isBox(node) ? 25 : 15) + (isBox(node) ? 15 : 80) * part);
      shape.style.fill = `color-mix(in srgb, rgb(${r},${g},${b}) ${mixed}%, ${widget.dark ? "#202124" : "#fff"})`;
      shape.setAttribute("stroke", pinned ? (widget.dark ? "#ffb000" : "#d55e00") : grey ? "currentColor" : `rgb(${r},${g},${b})`);
      shape.setAttribute("stroke-width", pinned ? 3 : 1.2);
      if (node.value < 0) shape.setAttribute("stroke-dasharray", "3 2");
      const lit = (focus === null || near.has(i)) && (view.group === null || (node.groups || []).includes(view.group));
      group.setAttribute("opacity", lit ? 1 : 0.25);
      group.setAttribute("aria-pressed", pinned);
    });
    const nodes = view.shown.filter((i) => !form.nodes[i].stays).length;
    const says = `${Math.round(state.share)} %: ${nodes} of ${free.length} features and errors, ${view.edges.length} of ${form.edges.length} edges`;
    // What is pinned is written anew only where it may be different: a focus on its buttons stays.
    const now = state.pinned === null ? "" : `${state.form} ${state.pinned} ${says}`;
    if (now === "") view.about.replaceChildren(el("div", { class: "says" }, "Point at a node, or walk there with the arrow keys; a click or Enter pins it."));
    else if (view.noted !== now) pinned(view);
    view.noted = now;
    if (view.says.textContent !== says) view.says.textContent = says;
    view.slider.setAttribute("aria-valuetext", says);
  }

  const where = (node) => (node.token === undefined || ["target", "group"].includes(node.shape) ? "" : ` at "${node.token || "∅"}" (${node.pos})`);

  // Targets are what influence is of.
  const numbersOf = (view, node) => [...(node.shape === "target" ? [] : [[view.data.strength, node.value]]), ...(node.numbers || [])];

  function spoken(view, node) {
    return `${node.name}${where(node)}, ${numbersOf(view, node).map(([name, value]) => `${name} ${lens.number(value)}`).join(", ")}`;
  }

  // What there is to say of a node: its numbers, its largest edges, what the feature is of.
  function note(view, i, count) {
    const form = view.form(), node = form.nodes[i];
    const row = (end) => (edge) => {
      const [, , kind, weight] = edge, other = form.nodes[edge[1 - end]];
      const name = `${end ? "←" : "→"} ${other.name}${where(other)}${form.kinds.length > 1 ? ` (${form.kinds[kind].name})` : ""}`;
      return [name, signed(weight)];
    };
    const rows = [1, 0].flatMap((end) => edgesOf(view, i, end).slice(0, count).map(row(end)));
    const heading = el("b", {}, node.name + where(node));
    return [heading, lens.rows(numbersOf(view, node).map(([name, value]) => [name, lens.number(value)])),
      ...(rows.length ? [el("hr", { style: "border:0;border-top:1px solid var(--line);margin:4px 0" }), lens.rows(rows)] : []),
      ...brief(view, node, 1)];
  }

  // The dashboard in short.
  function brief(view, node, texts) {
    if (node.brief === undefined) return [];
    const of = view.data.briefs[node.brief];
    const listed = (name, list) =>
      list.length ? [el("div", {}, el("b", {}, `${name} `), list.map(([token, value]) => `${token || "∅"} ${signed(value)}`).join(", "))] : [];
    const example = ({ value, words }) => {
      const line = el("div", { class: "says" }, `${lens.number(value)} `);
      words.forEach(([word, level]) => {
        const span = el("span", { style: "white-space:pre-wrap" }, word);
        if (level) lens.shade(view.widget, span, lens.color(level, [-9, 9])), (span.style.fontWeight = level > 8 ? 700 : 400);
        line.append(span);
      });
      return line;
    };
    return [el("div", { class: "sample" }, el("b", {}, of.of), of.often ? ` ${of.often}` : "", ...listed("raises", of.up),
      ...listed("lowers", of.down), ...of.texts.slice(0, texts).map(example))];
  }

  // The pinned node, with buttons that go along its edges.
  function pinned(view) {
    const form = view.form(), i = view.state.pinned, node = form.nodes[i];
    const go = (to) => () => {
      view.pin(to);
      view.about.focus();
    };
    const list = (end) => {
      const edges = edgesOf(view, i, end);
      if (!edges.length) return [];
      const rows = edges.slice(0, EDGES).map((edge) => {
        const [, , kind, weight] = edge, to = edge[1 - end], other = form.nodes[to];
        const button = el("button", { type: "button", onclick: go(to) }, other.name + where(other));
        const through = form.kinds.length > 1 ? [el("td", {}, form.kinds[kind].name)] : [];
        return el("tr", {}, el("td", {}, button), ...through, el("td", { class: "number" }, signed(weight)));
      });
      const head = `${end ? "in" : "out"}: ${Math.min(EDGES, edges.length)} of ${edges.length} edges`;
      return [el("div", {}, el("div", {}, el("b", {}, head)), el("table", { class: "steps" }, ...rows))];
    };
    const about = el("div", {}, el("div", { class: "title" }, node.name + where(node)),
      lens.rows(numbersOf(view, node).map(([name, value]) => [name, lens.number(value)])),
      ...(node.members ? [el("div", {}, node.members.join(", "))] : []), ...brief(view, node, 3));
    about.style.maxWidth = "420px";
    view.about.replaceChildren(el("div", { class: "panes" }, about, ...list(1), ...list(0)));
  }
})();
