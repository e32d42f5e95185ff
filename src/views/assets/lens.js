// What a lens reads: a table of tokens, points of the residual stream by positions, coloured by a number of the reader's choice.
(function () {
  "use strict";
  const lens = window[KEY];
  if (lens.kinds.lens) return;
  const { el } = lens;

  lens.kinds.lens = async function (widget, data) {
    const [rows, columns, prompts] = [data.rows.length, data.positions.length, data.inputs.length];
    const state = Object.assign({ prompt: 0, color: data.color }, widget.state);
    const place = (row, column) => (row * prompts + state.prompt) * columns + column;
    const best = (at) => Array.from({ length: data.k }, (_, i) => [
      data.vocabulary[data.best[2 * (at * data.k + i)]], data.best[2 * (at * data.k + i) + 1] / 1e4,
    ]);
    // 0 to 1, and NaN where there is no number.
    const strength = (at) => {
      const p = data.best[2 * at * data.k + 1] / 1e4;
      if (p < 0) return NaN;
      if (state.color === 0) return p;
      const { values, most, log } = data.numbers[state.color - 1];
      if (values[at] === null) return NaN;
      if (log) return most > 0 ? 1 - Math.log1p(values[at]) / Math.log1p(most) : 1;
      return most > 0 ? values[at] / most : 0;
    };
    const bar = el("div", { class: "controls" });
    const set = (key) => (to) => {
      state[key] = to;
      update();
    };
    if (prompts > 1) bar.append(lens.select("prompt", data.inputs.map((words, i) => `${i}: ${words.slice(0, 6).join("")}`), state.prompt, set("prompt")));
    bar.append(lens.select("colour", ["probability", ...data.numbers.map((each) => each.name)], state.color, set("color")));
    const box = el("div", { class: "wide" });
    widget.root.append(bar, box);

    function about(row, column) {
      const at = place(row, column);
      const pairs = best(at).map(([text, p]) => [text, p < 0 ? "" : p.toFixed(4)]);
      const more = data.numbers.map((each) => [each.name, each.values[at] === null ? "" : lens.number(each.values[at])]);
      const known = data.log_prob && data.log_prob[at] !== null;
      if (known) more.push(["probability of the target", lens.number(Math.exp(data.log_prob[at]))]);
      const head = `${data.rows[row]}, position ${data.positions[column]}: ${data.inputs[state.prompt][column]}`;
      return [el("div", { class: "title" }, head), lens.rows(pairs), lens.rows(more)];
    }

    function update() {
      Object.assign(widget.state, state);
      const cells = [];
      const table = el("table", { class: "grid" });
      for (let row = rows - 1; row >= 0; row--) {
        const line = el("tr", {}, el("th", { scope: "row" }, data.rows[row]));
        for (let column = 0; column < columns; column++) {
          const at = place(row, column);
          const part = strength(at);
          const text = data.best[2 * at * data.k + 1] < 0 ? "" : data.vocabulary[data.best[2 * at * data.k]];
          const cell = el("td", { tabindex: cells.length ? -1 : 0 }, text);
          cell.setAttribute("aria-label", `${data.rows[row]}, ${data.inputs[state.prompt][column]}: ${text}`);
          lens.shade(widget, cell, lens.color(part, [-1, 1]));
          cell.onmouseenter = cell.onfocus = (event) => widget.tip.show(event, ...about(row, column));
          cell.onmouseleave = cell.onblur = () => widget.tip.hide();
          cells.push(cell);
          line.append(cell);
        }
        table.append(line);
      }
      const inputs = data.inputs[state.prompt].map((text) => el("th", { scope: "col" }, text));
      table.append(el("tr", {}, el("th", {}), ...inputs));
      lens.roving(table, () => cells, () => columns);
      box.replaceChildren(table);
    }
    widget.repaint.push(update);
  };
})();
