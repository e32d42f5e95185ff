// The features that are active in prompts: pointing at one colours the tokens by its activations, pointing at a token lists
// the features that are active there.
(function () {
  "use strict";
  const lens = window[KEY];
  if (lens.kinds.features) return;
  const { el } = lens;

  // [the index of its dictionary, prompt, position, feature, activation, share] of a row.
  const same = (a, b) => a[0] === b[0] && a[3] === b[3];

  lens.kinds.features = async function (widget, data) {
    const state = Object.assign({ shown: data.first, token: null, row: null }, widget.state);
    const says = el("div", { class: "says", "aria-live": "polite" });
    const table = el("div", { class: "wide" });
    const view = { widget, data, state, says, rows: [] };
    const lines = data.prompts.map((tokens, prompt) => promptLine(view, tokens, prompt));
    view.spans = lines.map((line) => line.spans);
    view.save = () => Object.assign(widget.state, state);
    view.list = () => {
      view.save();
      table.replaceChildren(listed(view));
      view.paint();
    };
    view.paint = (look = null) => paint(view, look);
    widget.root.append(...lines.map((line) => line.box), table, says);
    widget.repaint.push(view.list);
  };

  function promptLine(view, tokens, prompt) {
    const box = el("div", { class: "words" });
    const { data, state } = view;
    const spans = tokens.map((token, position) => {
      const span = el("span", { class: "word", role: "button", tabindex: position ? -1 : 0 }, token || "∅");
      const at = data.rows.filter((row) => row[1] === prompt && row[2] === position);
      const best = () => at.slice(0, 8).map((row) => [name(data, row), said(data.shares ? row[5] : row[4])]);
      span.onmouseenter = span.onfocus = (event) =>
        view.widget.tip.show(event, el("div", {}, `${token} (${position}): ${at.length} in the table`), lens.rows(best()));
      span.onmouseleave = span.onblur = () => view.widget.tip.hide();
      span.onclick = () => {
        const here = state.token && state.token[0] === prompt && state.token[1] === position;
        state.token = here ? null : [prompt, position];
        state.row = null;
        view.list();
      };
      span.onkeydown = (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), span.onclick());
      box.append(span);
      if (token.endsWith("\\n")) box.append(el("br"));
      return span;
    });
    lens.roving(box, () => spans, () => tokens.length + 1);
    return { box, spans };
  }

  // JSON has no number that is not finite.
  const said = (value) => (value === null ? "not finite" : Math.abs(value) >= 0.01 && Math.abs(value) < 1000 ? value.toFixed(2) : lens.number(value));

  const name = (data, row) => `${row[0] === null ? "?" : data.names[row[0]]} ${row[3]}`;

  // The rows of all tokens or of the chosen one.
  function chosen({ data, state }) {
    return data.rows.filter((row) => !state.token || (row[1] === state.token[0] && row[2] === state.token[1]));
  }

  function listed(view) {
    const { data, state, widget } = view;
    const all = chosen(view);
    const columns = data.shares ? [4, 5] : [4];
    const most = columns.map((column) => Math.max(...all.map((row) => Math.abs(row[column])), 0));
    const rows = all.slice(0, state.shown).map((row, i) => {
      const cells = columns.map((column, c) => {
        const [r, g, b] = lens.color(row[column], [-1, 1]);
        const part = most[c] > 0 ? (100 * Math.abs(row[column])) / most[c] : 0;
        const cell = el("td", { class: "number" }, said(row[column]));
        cell.style.cssText = `min-width:64px;padding:1px 4px;border-left:6px solid transparent;background:linear-gradient(90deg,rgba(${r},${g},${b},.35) ${part}%,transparent 0) padding-box`;
        return cell;
      });
      const token = (data.prompts[row[1]] || [])[row[2]];
      const where = data.prompts.length > 1 ? `(prompt ${row[1]}, ${row[2]})` : `(${row[2]})`;
      const line = el("tr", { tabindex: i ? -1 : 0, "aria-label": `${name(data, row)}, ${token} ${where}` },
        el("td", {}, name(data, row)), el("td", {}, `${token} `, el("small", {}, where)), ...cells);
      line.onmouseenter = line.onfocus = () => view.paint(row);
      line.onmouseleave = line.onblur = () => view.paint();
      line.onclick = () => {
        state.row = state.row !== null && data.rows[state.row] === row ? null : data.rows.indexOf(row);
        view.save();
        view.paint(row);
      };
      line.onkeydown = (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), line.onclick());
      line.style.cursor = "pointer";
      return line;
    });
    const head = ["feature", "token", "activation", "share"].slice(0, 2 + columns.length);
    const heads = head.map((each, c) => el("th", { class: c > 1 ? "number" : "", scope: "col", style: c > 1 ? "padding-right:4px;padding-left:10px" : undefined }, each));
    const body = el("tbody", {}, ...rows);
    lens.roving(body, () => rows, () => 1);
    const box = el("div", {}, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
    const bar = el("div", { class: "controls" });
    if (all.length > state.shown) {
      bar.append(el("button", { type: "button", onclick: () => ((state.shown += data.first), view.list()) }, `more (${all.length - state.shown})`));
    }
    if (state.token) {
      bar.append(el("button", { type: "button", onclick: () => ((state.token = null), view.list()) }, "all tokens"));
    }
    box.append(bar);
    view.rows = rows;
    widget.tip.hide();
    return box;
  }

  // Colours the tokens by the feature that is pointed at or kept, otherwise by the sums of all shares.
  function paint(view, look) {
    const { data, state, spans, says, widget } = view;
    const row = look || (state.row === null ? null : data.rows[state.row]);
    const values = data.sums.map((sums) => sums.map((sum) => (row ? 0 : sum)));
    for (const each of row ? data.rows : []) {
      if (same(each, row) && values[each[1]]) values[each[1]][each[2]] = each[4];
    }
    const size = Math.max(...values.map((line) => Math.max(...line.map(Math.abs), 0)), 0);
    spans.forEach((line, prompt) =>
      line.forEach((span, position) => {
        const value = values[prompt][position];
        lens.shade(widget, span, lens.color(value, [-size, size]));
        const here = state.token && state.token[0] === prompt && state.token[1] === position;
        const marked = row && row[1] === prompt && row[2] === position;
        span.classList.toggle("focus", Boolean(here || marked));
        span.setAttribute("aria-pressed", Boolean(here));
        span.setAttribute("aria-label", `${data.prompts[prompt][position]}: ${said(value)}`);
      }));
    // A colour alone: what made a row wider would move the rows away from under the pointer.
    chosen(view).slice(0, view.rows.length).forEach((each, i) => {
      const marked = Boolean(row && same(each, row));
      view.rows[i].style.color = marked ? "var(--focus)" : "";
      view.rows[i].toggleAttribute("data-marked", marked);
    });
    const sums = data.shares ? "the sums of all shares at each token" : "the sums of all activations at each token";
    says.textContent = row
      ? `Colours: activations of ${name(data, row)}${state.row === null ? "; a click keeps them" : ""}.`
      : `Colours: ${sums}. Point at a feature to see where it is active, click a token to list its features.`;
  }
})();
