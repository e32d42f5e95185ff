// Attention: thumbnails of heads, the text, and the map of one head, linked.
(function () {
  "use strict";
  const lens = window[KEY];
  if (lens.kinds.attention) return;
  const { el } = lens;

  lens.kinds.attention = async function (widget, data) {
    const n = data.positions, count = data.names.length;
    const block = data.masked ? (n * (n + 1)) / 2 : n * n;
    const place = (dest, src) => (data.masked ? (dest * (dest + 1)) / 2 : dest * n) + src;
    const runs = [];
    for (const run of data.runs) {
      const value = await lens.unpack(run.values, (head) => head * block);
      runs.push({ name: run.name, tokens: run.tokens, value: (head, dest, src) => value(head, place(dest, src)) });
    }
    if (runs.length === 2) {
      const [clean, corrupted] = runs;
      const value = (...at) => corrupted.value(...at) - clean.value(...at);
      const tokens = clean.tokens.map((token, i) => token + (token === corrupted.tokens[i] ? "" : `→${corrupted.tokens[i]}`));
      runs.push({ name: "difference", tokens, value });
    }
    const state = Object.assign(
      { run: 0, head: 0, cell: null, word: null, turned: 0, sort: 0, query: "" }, widget.state);
    const view = { widget, data, runs, n, count, state, preview: null };
    view.head = () => (view.preview === null ? state.head : view.preview);
    view.run = () => runs[state.run];
    view.hidden = (dest, src) => data.masked && src > dest;
    const signed = () => data.runs.some((run) => run.values.signed) || state.run === 2;
    // Orange is for what is negative: where that can be seen, heads have no hues.
    const plain = () => signed() || count === 1 || data.mode === "attention_explorer";
    view.hue = (head) => (plain() ? undefined : lens.hue(head, Math.min(count, 12)));
    view.color = (head, value) => lens.color(value, data.range, view.hue(head));
    view.update = () => {
      Object.assign(widget.state, state);
      view.parts.forEach((part) => part());
    };
    view.parts = [];
    const has = (...modes) => modes.includes(data.mode.replace("attention_", ""));
    if (has("explorer", "patterns")) widget.root.append(controls(view));
    if (has("explorer", "patterns")) widget.root.append(words(view));
    const panes = el("div", { class: "panes" });
    if (!has("pattern")) panes.append(thumbnails(view, has("explorer") && data.scores));
    panes.append(map(view, has("patterns") ? 260 : 520));
    widget.root.append(panes);
    widget.repaint.push(() => view.parts.forEach((part) => part(true)));
  };

  function controls(view) {
    const { state, data, runs } = view;
    const bar = el("div", { class: "controls" });
    const set = (key) => (value) => {
      state[key] = value;
      view.update();
    };
    if (runs.length > 1) bar.append(lens.select("Show", runs.map((run) => run.name), state.run, set("run")));
    const ways = ["source ← destination", "destination ← source"];
    bar.append(lens.select("Tokens", ways, state.turned, set("turned")));
    if (data.scores) {
      bar.append(lens.select("Sort by", ["layer and head", ...data.scores.map((score) => score.name)], state.sort, set("sort")));
      const search = el("input", { type: "search", placeholder: "e.g. L2", size: 8, value: state.query,
        oninput: () => set("query")(search.value) });
      bar.append(el("label", { class: "control" }, "Find heads ", search));
    }
    return bar;
  }

  // The text; the token in focus says which row or column colours the others.
  function words(view) {
    const { state, widget, n } = view;
    const box = el("div", { class: "words", role: "group", "aria-label": "tokens" });
    const spans = Array.from({ length: n }, (_, i) => {
      const span = el("span", { class: "word", role: "button", tabindex: i ? -1 : 0 });
      span.onmouseenter = () => look(i);
      span.onfocus = () => look(i);
      span.onmouseleave = span.onblur = () => look(null);
      span.onclick = () => pick(i);
      span.onkeydown = (event) => {
        if (event.key === "Enter" || event.key === " ") event.preventDefault(), pick(i);
      };
      return span;
    });
    let seen = null;
    function look(i) {
      seen = i;
      view.row = i;
      view.parts.forEach((part) => part());
    }
    function pick(i) {
      state.word = state.word === i ? null : i;
      view.update();
    }
    spans.forEach((span) => {
      box.append(span);
      if (view.runs[0].tokens[spans.indexOf(span)].endsWith("\\n")) box.append(el("br"));
    });
    lens.roving(box, () => spans, () => n + 1);
    view.parts.push(() => {
      const { tokens, value } = view.run();
      const head = view.head();
      const focus = seen === null ? (view.over ? view.over[state.turned ? 1 : 0] : state.word) : seen;
      spans.forEach((span, i) => {
        span.textContent = tokens[i] || "∅";
        let most = 0;
        if (focus === null) {
          // Without a focus, the maximum that anything attends to the token, or that it attends to anything.
          for (let j = 0; j < n; j++) {
            const [dest, src] = state.turned ? [i, j] : [j, i];
            if (view.hidden(dest, src)) continue;
            const each = value(head, dest, src);
            if (Number.isFinite(each) && Math.abs(each) > Math.abs(most)) most = each;
          }
        } else {
          const [dest, src] = state.turned ? [i, focus] : [focus, i];
          most = view.hidden(dest, src) ? 0 : value(head, dest, src);
        }
        lens.shade(widget, span, view.color(head, most));
        span.classList.toggle("focus", i === focus);
        span.setAttribute("aria-pressed", i === state.word);
        span.setAttribute("aria-label", `${tokens[i]} (${i}): ${lens.number(most)}`);
        span.title = `${tokens[i]} (${i}): ${lens.number(most)}`;
      });
    });
    return box;
  }

  // A button with a small map for each head: pointing previews it, a click keeps it.
  function thumbnails(view, scores) {
    const { data, state, count, n } = view;
    const side = count > 48 ? 52 : count > 16 ? 64 : 84;
    const widest = count > 48 ? 700 : 560;
    const box = el("div", { class: "heads", role: "group", "aria-label": "heads" });
    box.style.cssText = "padding:3px" + (count > 64 ? ";max-height:760px;overflow:auto" : ";overflow-x:auto");
    // A row for each layer, with a name for each head or, where they are too small, for each column.
    const most = Math.max(1, ...data.layers.map((layer) => layer.heads));
    const small = Math.max(16, Math.min(side, Math.floor((widest - 46) / most) - 4));
    const named = small >= 44;
    // As wide as its columns, so that none is out of sight: where there is no room beside it, the map is below.
    const inside = most * (small + (named ? 4 : 2)) + (count > 64 ? 64 : 50);
    const buttons = data.names.map((name, head) => {
      const canvas = el("canvas", { width: n, height: n, "aria-hidden": "true" });
      if (n < 3 * side) canvas.style.imageRendering = "pixelated";
      const label = el("span", {}, name);
      const button = el("button", { class: "head", type: "button", title: name, tabindex: head ? -1 : 0 }, canvas, label);
      const look = (to) => () => {
        view.preview = to;
        view.parts.forEach((part) => part());
      };
      button.onmouseenter = button.onfocus = look(head);
      button.onmouseleave = button.onblur = look(null);
      button.onclick = () => {
        state.head = head;
        view.update();
      };
      return button;
    });
    const inLayers = () => data.layers.length > 0 && !(scores && state.sort) && !state.query.trim();
    const across = () => (inLayers() ? most : getComputedStyle(box).gridTemplateColumns.split(" ").length);
    lens.roving(box, () => [...box.querySelectorAll("button")], across);
    const place = () => {
      if (!inLayers()) {
        box.style.gridTemplateColumns = `repeat(auto-fill,minmax(${side}px,1fr))`;
        [box.style.flex, box.style.maxWidth] = ["1 1 280px", `${widest}px`];
        box.classList.remove("small");
        return arrange(box, buttons, scores && scores[state.sort - 1], data.names, state.query);
      }
      box.style.gridTemplateColumns = `auto repeat(${most},minmax(${named ? 40 : 14}px,${small}px))`;
      [box.style.flex, box.style.maxWidth] = [`0 1 ${inside}px`, "100%"];
      box.classList.toggle("small", !named);
      layers(box, buttons, data, most, named);
    };
    let drawn = null, order = "";
    view.parts.push((again) => {
      if (drawn !== state.run || again) buttons.forEach((button, head) => thumbnail(view, button.firstChild, head));
      drawn = state.run;
      const wanted = `${state.sort}/${state.query}`;
      if (order !== wanted) {
        place();
        order = wanted;
      }
      buttons.forEach((button, head) => {
        button.setAttribute("aria-pressed", head === state.head);
        button.classList.toggle("seen", head === view.preview);
      });
    });
    return box;
  }

  // The heads in sequence, with the name of their layer in front of each row.
  function layers(box, buttons, data, most, named) {
    const label = (text) => el("div", { class: "layer" }, text);
    const rows = [];
    let next = 0;
    data.layers.forEach(({ name, heads }) => {
      const first = label(name);
      first.style.gridColumnStart = 1;
      rows.push(first, ...buttons.slice(next, next + heads));
      next += heads;
    });
    const numbers = Array.from({ length: most }, (_, head) => label(`${head}`));
    box.replaceChildren(...(named ? [] : [label("head"), ...numbers]), ...rows);
    buttons.forEach((button, head) => {
      button.lastChild.textContent = data.names[head];
      button.hidden = false;
      button.tabIndex = head ? -1 : 0;
    });
  }

  function arrange(box, buttons, score, names, query) {
    const places = names.map((_, i) => i);
    box.replaceChildren();
    if (score) places.sort((a, b) => score.values[b] - score.values[a] || a - b);
    places.forEach((head) => {
      const button = buttons[head];
      button.lastChild.textContent = score ? `${names[head]} ${(+score.values[head].toPrecision(2))}` : names[head];
      button.hidden = !names[head].toLowerCase().includes(query.trim().toLowerCase());
      button.tabIndex = -1;
      box.append(button);
    });
    const first = [...box.children].find((button) => !button.hidden);
    if (first) first.tabIndex = 0;
  }

  function thumbnail(view, canvas, head) {
    const { n } = view;
    const { value } = view.run();
    const image = new ImageData(n, n);
    for (let dest = 0; dest < n; dest++) {
      for (let src = 0; src < (view.data.masked ? dest + 1 : n); src++) {
        const [r, g, b, a] = view.color(head, value(head, dest, src));
        image.data.set([r, g, b, Math.round(a * 255)], 4 * (dest * n + src));
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // The large map: destinations down, sources across.
  function map(view, widest) {
    const { state, n, data } = view;
    const canvas = el("canvas", { tabindex: 0, role: "img" });
    const says = el("div", { class: "says", "aria-live": "polite" });
    const name = el("div", { class: "title" });
    const box = el("div", { class: "map" }, name, canvas, says);
    box.style.flex = `1 1 ${Math.min(widest, 340)}px`;
    box.style.maxWidth = `${widest}px`;
    const look = (cell) => {
      view.over = cell;
      view.parts.forEach((part) => part());
    };
    const at = (event) => {
      const bounds = canvas.getBoundingClientRect();
      const { left, cell } = view.frame;
      const [src, dest] = [event.clientX - bounds.left - left, event.clientY - bounds.top].map((x) => Math.floor(x / cell));
      return src >= 0 && dest >= 0 && src < n && dest < n ? [dest, src] : null;
    };
    canvas.onmousemove = (event) => look(at(event));
    canvas.onmouseleave = () => look(null);
    canvas.onclick = (event) => {
      const cell = at(event);
      state.cell = cell && String(cell) === String(state.cell) ? null : cell;
      view.update();
    };
    canvas.onkeydown = (event) => {
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] || [];
      if (event.key === "Escape") state.cell = null;
      else if (down === undefined) return;
      else {
        const [dest, src] = state.cell || [n - 1, 0];
        const inside = (x) => Math.max(0, Math.min(n - 1, x));
        state.cell = state.cell ? [inside(dest + down), inside(src + right)] : [dest, src];
      }
      event.preventDefault();
      view.update();
    };
    view.parts.push(() => {
      const head = view.head(), { tokens, value } = view.run();
      const cell = view.over || state.cell;
      name.textContent = data.mode === "attention_pattern" ? "" : data.names[head];
      name.hidden = !name.textContent;
      canvas.setAttribute("aria-label", `Attention of ${data.names[head]}, ${n} tokens; arrow keys move through its cells`);
      paint(view, canvas, box.clientWidth || widest);
      if (!cell) return (says.textContent = "Point at a cell, or walk with the arrow keys.");
      const [dest, src] = cell;
      const number = view.hidden(dest, src) ? "N/A" : lens.number(value(head, dest, src));
      says.textContent = `(${dest}, ${src})  Src: ${tokens[src]}  Dest: ${tokens[dest]}  Val: ${number}`;
    });
    new ResizeObserver(() => box.clientWidth && view.widget.ink && paint(view, canvas, box.clientWidth)).observe(box);
    return box;
  }

  const LETTERS = "11px system-ui, sans-serif";

  function paint(view, canvas, width) {
    const { n, widget, state } = view;
    const { tokens, value } = view.run();
    const head = view.head();
    const context = canvas.getContext("2d");
    context.font = LETTERS;
    const names = tokens.map((token, i) => `${!token ? "∅" : token.length > 14 ? token.slice(0, 13) + "…" : token} (${i})`);
    const margin = Math.ceil(Math.max(...names.map((each) => context.measureText(each).width))) + 26;
    const cell = Math.max(1, Math.min(36, (width - margin - 2) / n));
    const left = margin, size = cell * n;
    view.frame = { left, cell };
    const fine = window.devicePixelRatio || 1;
    const [wide, high] = [left + size + 2, size + margin];
    canvas.width = Math.round(wide * fine);
    canvas.height = Math.round(high * fine);
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high}px`;
    context.scale(fine, fine);
    const gap = cell > 8 ? 1 : 0;
    for (let dest = 0; dest < n; dest++) {
      for (let src = 0; src < n; src++) {
        if (view.hidden(dest, src)) continue;
        context.fillStyle = lens.css(view.color(head, value(head, dest, src)));
        context.fillRect(left + src * cell, dest * cell, cell - gap, cell - gap);
      }
    }
    context.strokeStyle = "rgba(128,128,128,.6)";
    context.strokeRect(left - 0.5, 0.5, size + 1, size);
    labels(context, widget, names, view.frame, size, margin);
    const marked = view.over || state.cell;
    if (marked) cross(context, widget, marked, view.frame, size);
    const row = view.row ?? state.word;
    if (row !== null && row !== undefined) {
      context.strokeStyle = widget.dark ? "#ffb000" : "#d55e00";
      context.lineWidth = 2;
      if (state.turned) context.strokeRect(left + row * cell, 1, cell, size - 2);
      else context.strokeRect(left, row * cell, size, cell);
    }
  }

  // Every token's name where there is room, else every second, third, and so on.
  function labels(context, widget, names, { left, cell }, size, margin) {
    context.font = LETTERS;
    context.fillStyle = widget.ink;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const step = Math.max(1, Math.ceil(13 / cell));
    for (let i = 0; i < names.length; i += step) {
      context.fillText(names[i], left - 5, (i + 0.5) * cell);
      context.save();
      context.translate(left + (i + 0.5) * cell, size + 6);
      context.rotate(-Math.PI / 2);
      context.fillText(names[i], 0, 0);
      context.restore();
    }
    context.textAlign = "center";
    context.globalAlpha = 0.75;
    context.fillText("Source", left + size / 2, size + margin - 7);
    context.translate(7, size / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("Destination", 0, 0);
    context.setTransform(window.devicePixelRatio || 1, 0, 0, window.devicePixelRatio || 1, 0, 0);
    context.globalAlpha = 1;
  }

  function cross(context, widget, [dest, src], { left, cell }, size) {
    context.strokeStyle = widget.ink;
    context.lineWidth = 1;
    context.globalAlpha = 0.5;
    context.strokeRect(left + src * cell - 0.5, 0.5, cell, size);
    context.strokeRect(left - 0.5, dest * cell - 0.5, size, cell);
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.strokeRect(left + src * cell, dest * cell, cell, cell);
  }
})();
