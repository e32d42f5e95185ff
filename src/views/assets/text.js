// Coloured text: one number per token, several to choose from, the activations of neurons, and predictions.
(function () {
  "use strict";
  const lens = window[KEY];
  if (lens.kinds.tokens) return;
  const { el } = lens;

  // Text with an element for each token; `about` fills the tooltip of a token.
  function line(widget, tokens, about, pick) {
    const box = el("div", { class: "words" });
    const spans = tokens.map((token, i) => {
      const span = el("span", { class: "word", role: pick ? "button" : "note", tabindex: i ? -1 : 0 }, token || "∅");
      span.onmouseenter = span.onfocus = (event) => widget.tip.show(event, ...about(i));
      span.onmouseleave = span.onblur = () => widget.tip.hide();
      if (pick) {
        span.onclick = () => pick(i);
        span.onkeydown = (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), pick(i));
      }
      box.append(span);
      if (token.endsWith("\\n")) box.append(el("br"));
      return span;
    });
    lens.roving(box, () => spans, () => tokens.length + 1);
    return { box, spans };
  }

  lens.kinds.tokens = async function (widget, data) {
    const lengths = data.samples.map((sample) => sample.length);
    const before = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, each) => sum + each, 0));
    const total = lengths.reduce((sum, each) => sum + each, 0);
    const [first, second] = data.dims;
    const value = await lens.unpack(data.values, (block) => block * total);
    const state = Object.assign({ first: 0, second: 0, page: 0, size: 5, k: data.k, range: null }, widget.state);
    let preview = null;
    const view = { widget, data, state, first, second };
    view.chosen = () => state.first * second.labels.length + (preview === null ? state.second : preview);
    view.at = (sample, position, block = view.chosen()) => value(block, before[sample] + position);
    view.range = () => {
      const size = data.values.size[view.chosen()];
      return state.range || data.range || [-size, size];
    };
    const content = el("div", {});
    view.update = () => {
      Object.assign(widget.state, state);
      const makers = { topk_tokens: tops };
      content.replaceChildren(...(makers[data.mode] || texts)(view));
      sync();
    };
    const sync = controls(view, (to) => {
      preview = to;
      view.update();
    });
    widget.root.append(content);
    widget.repaint.push(view.update);
  };

  function controls(view, look) {
    const { data, state, widget, first, second } = view;
    const bar = el("div", { class: "controls" });
    const syncs = [];
    const set = (key) => (to) => {
      state[key] = to;
      state.range = null;
      view.update();
    };
    if (first.labels.length > 1) bar.append(lens.select(first.name, first.labels, state.first, set("first")));
    if (second.labels.length > 1 && data.mode === "colored_tokens_multi" && second.labels.length <= 24) {
      const chips = second.labels.map((label, i) => {
        const chip = el("button", { type: "button" }, label);
        chip.onmouseenter = () => look(i);
        chip.onmouseleave = () => look(null);
        chip.onclick = () => set("second")(i);
        syncs.push(() => {
          chip.setAttribute("aria-pressed", i === state.second);
          chip.style.borderColor = i === state.second ? "var(--focus)" : "";
          chip.style.fontWeight = i === state.second ? 600 : "";
        });
        return chip;
      });
      bar.append(el("span", { class: "control", role: "group", "aria-label": "number" }, ...chips.flatMap((chip) => [chip, " "])));
    } else if (second.labels.length > 1) {
      bar.append(lens.select(second.name || "number", second.labels, state.second, set("second")));
    }
    if (data.mode.startsWith("topk")) bar.append(amount("Top", state.k, (k) => set("k")(k)));
    if (data.mode === "colored_tokens_multi" || data.mode === "text_neuron_activations") bar.append(...bounds(view, syncs));
    if (data.samples.length > 1 && data.mode !== "topk_samples") bar.append(pages(view, syncs));
    if (bar.children.length) widget.root.append(bar);
    return () => syncs.forEach((sync) => sync());
  }

  function amount(label, value, change) {
    const input = el("input", { type: "number", min: 1, max: 100, value, style: "width:4em" });
    input.onchange = () => change(Math.max(1, Math.min(100, Math.round(+input.value) || 1)));
    return el("label", { class: "control" }, label, " ", input);
  }

  // The values with the strongest colours, and a reset to those of the numbers.
  function bounds(view, syncs) {
    const make = (label, i) => {
      const input = el("input", { type: "number", step: "any", style: "width:6em" });
      input.onchange = () => {
        const range = [...view.range()];
        range[i] = (i ? 1 : -1) * Math.abs(+input.value || range[i]);
        view.state.range = range;
        view.update();
      };
      syncs.push(() => (input.value = +view.range()[i].toPrecision(3)));
      return el("label", { class: "control" }, label, " ", input);
    };
    const reset = el("button", { type: "button", onclick: () => ((view.state.range = null), view.update()) }, "Reset");
    return [make("Negative bound", 0), make("Positive bound", 1), reset];
  }

  function pages(view, syncs) {
    const { state, data } = view;
    const count = data.samples.length;
    if (data.mode === "topk_tokens") state.size = 1;
    const last = () => Math.max(0, Math.ceil(count / state.size) - 1);
    const go = (step) => () => {
      state.page = Math.max(0, Math.min(last(), state.page + step));
      view.update();
    };
    const back = el("button", { type: "button", "aria-label": "previous samples", onclick: go(-1) }, "◀");
    const on = el("button", { type: "button", "aria-label": "next samples", onclick: go(1) }, "▶");
    const says = el("span", { "aria-live": "polite" });
    syncs.push(() => {
      state.page = Math.min(state.page, last());
      const from = state.page * state.size;
      const to = Math.min(count, from + state.size) - 1;
      says.textContent = from === to ? ` sample ${from} of ${count} ` : ` samples ${from} to ${to} of ${count} `;
      back.disabled = state.page === 0;
      on.disabled = state.page === last();
    });
    const box = el("span", { class: "control" }, back, says, on);
    if (data.mode !== "topk_tokens") {
      box.append(" ", amount("per page", state.size, (size) => {
        state.size = size;
        view.update();
      }));
    }
    return box;
  }

  // What numbers are sorted by: NaN comes last.
  const sortable = (number) => (Number.isNaN(number) ? -Infinity : number);

  function texts(view) {
    const { data, state, widget, second } = view;
    const all = data.samples.map((_, i) => i);
    const most = (sample) => Math.max(...data.samples[sample].map((_, position) => sortable(view.at(sample, position))));
    let shown = all.slice(state.page * state.size, (state.page + 1) * state.size);
    if (data.mode === "topk_samples") shown = all.sort((a, b) => most(b) - most(a) || a - b).slice(0, state.k);
    return shown.map((sample) => {
      const about = (position) => {
        const token = data.samples[sample][position];
        const one = [[`${token} (${position})`, lens.number(view.at(sample, position))]];
        if (data.mode !== "colored_tokens_multi") return [lens.rows(one)];
        const start = state.first * second.labels.length;
        const rows = second.labels.slice(0, 24).map((label, i) =>
          [label, lens.number(view.at(sample, position, start + i)), start + i === view.chosen()]);
        return [el("div", {}, `${token} (${position})`), lens.rows(rows)];
      };
      const { box, spans } = line(widget, data.samples[sample], about);
      spans.forEach((span, position) => {
        const number = view.at(sample, position);
        lens.shade(widget, span, lens.color(number, view.range()));
        span.classList.add("still");
        span.setAttribute("aria-label", `${data.samples[sample][position]}: ${lens.number(number)}`);
      });
      if (data.samples.length === 1) return box;
      const says = data.mode === "topk_samples" ? `sample ${sample}, largest ${lens.number(most(sample))}` : `sample ${sample}`;
      return el("div", { class: "sample" }, el("small", {}, says), box);
    });
  }

  // The tokens of a sample with the largest and the smallest numbers, side by side.
  function tops(view) {
    const { data, state, widget } = view;
    const sample = Math.min(state.page, data.samples.length - 1);
    const tokens = data.samples[sample];
    const order = tokens.map((_, i) => i).sort((a, b) => sortable(view.at(sample, b)) - sortable(view.at(sample, a)) || a - b);
    const head = ["", "top token", "value", "bottom token", "value"];
    const cell = (position, paint) => {
      const td = el("td", {}, `${tokens[position] || "∅"}`, " ", el("small", {}, `(${position})`));
      if (paint) lens.shade(widget, td, lens.color(view.at(sample, position), view.range()));
      return td;
    };
    const rows = order.slice(0, state.k).map((top, i) => {
      const bottom = order[order.length - 1 - i];
      const number = (position) => el("td", { class: "number" }, lens.number(view.at(sample, position)));
      return el("tr", {}, el("td", { class: "number" }, `${i + 1}`), cell(top, true), number(top), cell(bottom, true), number(bottom));
    });
    const columns = head.map((name) => el("th", { class: name === "value" ? "number" : "", scope: "col" }, name));
    return [el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ...columns)), el("tbody", {}, ...rows)))];
  }

  // JSON has no infinity: where a model gives a token probability 0, its log probability is null.
  const log = (number) => (number === null ? -Infinity : number);
  const fixed = (number, digits) => (number === null ? "-inf" : number.toFixed(digits));

  lens.kinds.log_probs = async function (widget, data) {
    const state = Object.assign({ token: null }, widget.state);
    const kept = el("div", { class: "says", "aria-live": "polite" });
    const about = (i) => {
      if (i === 0) return [el("div", {}, `${data.tokens[0]} (0): the first token is not predicted`)];
      const { rank, log_prob, best } = data.places[i - 1];
      const rows = best.map(([token, each], place) =>
        [`${place}  ${data.vocabulary[token]}`, `${lens.number(Math.exp(log(each)))}  (${fixed(each, 2)})`, place === rank]);
      const says = `${data.tokens[i]} (${i}): rank ${rank}, probability ${lens.number(Math.exp(log(log_prob)))}, log probability ${fixed(log_prob, 3)}`;
      return [el("div", {}, says), lens.rows(rows)];
    };
    const { box, spans } = line(widget, data.tokens, about, (i) => {
      state.token = state.token === i ? null : i;
      Object.assign(widget.state, state);
      update();
    });
    const update = () => {
      spans.forEach((span, i) => {
        const part = i ? Math.exp(log(data.places[i - 1].log_prob)) : 0;
        lens.shade(widget, span, lens.color(part, [-1, 1]));
        span.classList.toggle("focus", i === state.token);
        span.setAttribute("aria-pressed", i === state.token);
      });
      kept.replaceChildren(...(state.token === null ? ["Point at a token; a click keeps its list."] : about(state.token)));
    };
    widget.root.append(box, kept);
    widget.repaint.push(update);
  };
})();
