//! The exercises of this section.

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// Whether a string of brackets is balanced.
    IsBalanced, "1.4.a", is_balanced(text: &str) -> bool;
    task: "Is a string of `(` and `)` balanced? Read it from left to right: each `(` goes one deeper, each `)` comes one back. A model can only be understood by someone who knows which algorithms there are, so write the obvious one first.

- `text` has nothing but brackets in it; the check tries all strings of up to eight, the empty one too, which is balanced";
    axes: &[];
    inputs: inputs::all_short_strings => (String,);
    rule: inputs::names_the_string;
    hints: &[
        "There are two ways to fail: to end at another depth than 0, and to be below 0 on the way.",
        "Keep the depth in a number that may be negative. Return false as soon as it is below 0; at the end, it must be 0.",
        "let mut depth = 0_i32; for bracket in text.chars() { depth += if bracket == '(' { 1 } else { -1 }; if depth < 0 { return Ok(false); } } Ok(depth == 0).",
    ];
    wrong: [
        "this only counts. \")(\" has as many of each, and closes what was never opened." => answers::counts_only,
        "this only looks for a depth below 0. \"((\" never gets there, and leaves two open." => answers::never_below,
        "a string may not touch depth 0 on the way here, but \"()()\" does and is balanced." => answers::never_back_before_the_end,
    ];
    accepted: [];
}

exercise! {
    /// How many brackets from each position to the end close, less those that open.
    Elevations, "1.4.b", elevations(tokens: &Tokens) -> Tensor;
    task: "A transformer has no loop over positions: it adds up over all of them at once. Do the same. For each position, count the `)` less the `(` **from that position to the end**, the position itself included. Call it the elevation, seen by someone who walks in from the right. In the first column, at `[START]`, is the elevation of the whole string.

- `tokens`: the ids are 0 for `[START]`, 1 for `[PAD]`, 2 for `(` and 3 for `)`; `tokens.to_tensor(&Device::Cpu)?` is `[batch, pos]`
- returns `[batch, pos]` in f32; `[START]` and `[PAD]` count 0";
    axes: &[&["batch", "pos"]];
    inputs: inputs::token_batches => (Tokens,);
    hints: &[
        "Give each token its step, 1, -1 or 0. What is left from a position on is the total less what came before it.",
        "steps = (id is 3) - (id is 2), as f32. A running sum from the left is steps.cumsum(1)?; from the right: the sum of the row, less that running sum, plus the step itself.",
        "let steps = (ids.eq(3u32)?.to_dtype(DType::F32)? - ids.eq(2u32)?.to_dtype(DType::F32)?)?; let before = (steps.cumsum(1)? - &steps)?; Ok(steps.sum_keepdim(1)?.broadcast_sub(&before)?).",
    ];
    wrong: [
        "this adds up from the left. Here each position counts what comes from it to the end." => answers::from_the_left,
        "the signs are exchanged: from the right, a `)` goes up." => answers::signs_exchanged,
        "the position's own bracket is not counted." => answers::without_itself,
        "padding is counted as if it were `)`: everything that is not `(`." => answers::padding_counts,
    ];
    accepted: [];
}

exercise! {
    /// The two ways in which strings fail.
    Failures, "1.4.c", failures(tokens: &Tokens) -> (Tensor, Tensor);
    task: "From the elevations, mark the two ways in which a string can fail:

- a **total failure**: the elevation of the whole string is not 0
- a **negative failure**: at some position the elevation is below 0, which from the right means a `(` that nothing closes

A string is balanced when it has neither. Call `elevations`.

- returns two tensors `[batch]` in f32, 1 where the string fails that way: total, then negative";
    axes: &[&["batch"], &["batch"]];
    inputs: inputs::token_batches => (Tokens,);
    hints: &[
        "Column 0 is the whole string; the least elevation says whether it was ever below 0.",
        "elevations.narrow(1, 0, 1)?.squeeze(1)? is the total; elevations.min(1)? the least. Compare both with 0.",
        "total.ne(0f32)?.to_dtype(DType::F32)? and least.lt(0f32)?.to_dtype(DType::F32)?.",
    ];
    wrong: [
        "negative failures are looked for from the left: that finds a `)` that closes nothing. From the right, it is a `(` that nothing closes." => answers::read_left_to_right,
        "the total is the last column. That is the last position alone: the whole string is column 0." => answers::last_column,
        "a least elevation of 0 counts as negative." => answers::touching_zero,
    ];
    accepted: [];
}

exercise! {
    /// How many strings the model gets right.
    Accuracy, "1.4.d", accuracy(model: &HookedTransformer, texts: &[String]) -> f32;
    task: "What share of these strings does the model get right? It answers **at the first position**, `[START]`, which attends to all the others: of its two logits, the first is for \"not balanced\", the second for \"balanced\". Shorter strings are padded, and nothing attends to padding. Call `is_balanced` for the truth.

- `model.forward(texts)?` takes the strings as they are and returns `[batch, pos, 2]`";
    axes: &[&[]];
    inputs: inputs::models_and_strings => (HookedTransformer, Vec<String>);
    hints: &[
        "Which of the two logits at position 0 is larger?",
        "narrow(1, 0, 1)?.squeeze(1)?.argmax(1)? is 1 where the model says balanced. Compare with is_balanced, string by string.",
        "let says = model.forward(texts)?.narrow(1, 0, 1)?.squeeze(1)?.argmax(1)?.to_vec1::<u32>()?; then count where (says[i] == 1) == is_balanced(&texts[i])? and divide by texts.len().",
    ];
    wrong: [
        "the answer is read at the last position, which for most strings is padding. The model answers at [START]." => answers::at_the_last_position,
        "the two outputs are exchanged: the second is for balanced strings." => answers::outputs_exchanged,
        "this is the share of strings that are called balanced, right or not." => answers::share_called_balanced,
    ];
    accepted: [];
}

exercise! {
    /// The direction of the normalised residual stream that means "not balanced".
    PostFinalLnDir, "1.4.e", post_final_ln_dir(model: &HookedTransformer) -> Tensor;
    task: "Of two logits only the difference matters: \"not balanced\" less \"balanced\". It is a product of the normalised residual stream with one direction. Which?

- `model.W_U()`: `[d_model, 2]`
- returns `[d_model]`";
    axes: &[&["d_model"]];
    inputs: inputs::models => (HookedTransformer,);
    hints: &[
        "Each logit is a product with a column of W_U.",
        "The first column less the second.",
        "let w_u = model.W_U(); Ok((w_u.i((.., 0))? - w_u.i((.., 1))?)?).",
    ];
    wrong: [
        "the sign is exchanged: here positive means not balanced." => answers::balanced_less_unbalanced,
        "this is one column, the logit of \"not balanced\" alone. Subtract the other." => answers::one_column,
    ];
    accepted: [];
}

exercise! {
    /// What each part of the model adds to the residual stream.
    OutByComponents, "1.4.f", out_by_components(model: &HookedTransformer, cache: &ActivationCache) -> Tensor;
    task: "Take the residual stream apart: the embeddings (of token and position together), then for each layer what each head writes and what the MLP writes. Together with the biases `b_O` this is all of the stream at the end.

- `cache.get((\"z\", layer))?`: `[batch, pos, head, d_head]`; `model.W_O()?`: `[layer, head, d_head, d_model]`
- `embed`, `pos_embed`, `mlp_out`: `[batch, pos, d_model]`
- returns `[component, batch, pos, d_model]`: 1 + layers × (heads + 1) components, in this order";
    axes: &[&["component", "batch", "pos", "d_model"]];
    inputs: inputs::models_and_caches => (HookedTransformer, ActivationCache);
    hints: &[
        "A head writes its z times its own part of W_O.",
        "Push embed + pos_embed; then for each layer the heads, one after the other, and mlp_out; stack at the end.",
        r#"let heads = einsum("b p h e, h e d -> h b p d", &[&cache.get(("z", layer))?, &model.W_O()?.get(layer)?])?; then push heads.get(head)? for each head and cache.get(("mlp_out", layer))?."#,
    ];
    wrong: [
        "the embeddings lack the positions: add pos_embed." => answers::without_positions,
        "each head is given a share of b_O. It belongs to the layer and to no head." => answers::bias_to_heads,
        "the MLP of each layer comes before its heads." => answers::mlp_first,
        "each head uses the W_O of another one." => answers::heads_exchanged,
    ];
    accepted: [];
}

exercise! {
    /// Components through the final norm, with each string's own scale.
    ThroughFinalNorm, "1.4.g", through_final_norm(components: &Tensor, cache: &ActivationCache) -> Tensor;
    task: "Between the stream and the logits stands a norm. It subtracts a mean, which is linear, and divides by a **scale**, which is not: the scale depends on everything in the stream at once. Take the scale as it was in the run, one number for each string, and the norm becomes linear, so that each component has its share of what leaves it. Do so at `[START]`.

- `components`: `[component, batch, pos, d_model]`
- `cache.get(\"ln_final.hook_scale\")?`: `[batch, pos, 1]`
- returns `[component, batch, d_model]`: at position 0, less each vector's own mean over d_model, divided by the string's scale";
    axes: &[&["component", "batch", "d_model"]];
    inputs: inputs::components_and_caches => (Tensor, ActivationCache);
    hints: &[
        "The scale is the whole stream's, not a component's: all components of a string are divided by the same number.",
        "components at position 0, less mean_keepdim(2), broadcast_div by the scale at position 0, which is [batch, 1].",
        "let at_start = components.i((.., .., 0))?; let centred = at_start.broadcast_sub(&at_start.mean_keepdim(2)?)?; Ok(centred.broadcast_div(&cache.get(\"ln_final.hook_scale\")?.i((.., 0))?)?).",
    ];
    wrong: [
        "each component is divided by a scale of its own, so that small ones look as important as large ones. The stream has one scale." => answers::scale_of_each,
        "the mean over d_model is not subtracted." => answers::no_centring,
        "nothing is divided by the scale." => answers::no_scale,
        "the scale is that of the last position. The answer is read at position 0." => answers::scale_of_the_end,
        "all strings are divided by their mean scale. Each string has its own." => answers::mean_scale,
    ];
    accepted: [];
}

exercise! {
    /// Each component's part in saying "not balanced".
    InDirection, "1.4.h", in_direction(components: &Tensor, dir: &Tensor, balanced: &[bool]) -> Tensor;
    task: "How much does each component push each string towards \"not balanced\"? Project on the direction, and measure from what the component does for a typical balanced string: subtract, for each component, its mean over the balanced strings.

- `components`: `[component, batch, d_model]`, as `through_final_norm` returns them; `dir`: `[d_model]`; `balanced[b]` says whether string `b` is
- returns `[component, batch]`";
    axes: &[&["component", "batch"]];
    inputs: inputs::components => (Tensor, Tensor, Vec<bool>);
    hints: &[
        "A product with the direction, and then one number to subtract for each component.",
        "shares = components times dir, [component, batch]. For the mean over balanced strings, select them: index_select with their indices along axis 1, then mean_keepdim(1).",
        r#"let shares = einsum("c b d, d -> c b", &[components, dir])?; let rows: Vec<u32> = (0..balanced.len()).filter(|&b| balanced[b]).map(|b| b as u32).collect(); shares.broadcast_sub(&shares.index_select(&Tensor::new(rows, shares.device())?, 1)?.mean_keepdim(1)?)?."#,
    ];
    wrong: [
        "the mean of all strings is subtracted. Measure from the balanced ones alone." => answers::mean_of_all,
        "the mean of the strings that are not balanced is subtracted." => answers::mean_of_unbalanced,
        "nothing is subtracted." => answers::no_mean,
        "one mean is subtracted from all components. Each has its own." => answers::one_mean,
    ];
    accepted: [];
}
