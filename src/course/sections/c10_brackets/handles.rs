//! The exercises of this section.

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;
use candle_core::Tensor;

exercise! {
    /// How often the model is right without one head.
    AccuracyWithout, "1.4.i", accuracy_without(model: &HookedTransformer, texts: &[String], balanced: &[bool], layer: usize, head: usize) -> f32;
    task: "Which heads can the model not do without? Run it with one head's output set to zero and return the share of strings that it still gets right.

- `Edit::zero().head(head)` at the point `(\"z\", layer)` of a plan; `model.run_with_hooks(texts, plan)?.0` are the logits
- the model answers at position 0: output 0 is \"not balanced\", output 1 \"balanced\"";
    axes: &[&[]];
    inputs: inputs::strings_and_heads => (HookedTransformer, Vec<String>, Vec<bool>, usize, usize);
    hints: &[
        "A plan with one edit, a run, and the accuracy of C9.",
        "HookPlan::new().edit((\"z\", layer), Edit::zero().head(head)); then argmax at position 0, which is 1 for balanced.",
        "let plan = HookPlan::new().edit((\"z\", layer), Edit::zero().head(head)); let says = model.run_with_hooks(texts, plan)?.0.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?; then count says[i] == 1 against balanced[i].",
    ];
    wrong: [
        "nothing is ablated: the run needs the plan." => answers::with_all_heads,
        "all heads of the layer are ablated. Restrict the edit to one, with .head(head)." => answers::without_the_layer,
        "another head of the layer is ablated." => answers::without_another_head,
        "the MLP is ablated too, by an edit of the whole layer." => answers::without_the_mlp_too,
    ];
    accepted: [];
}

exercise! {
    /// What `[START]` attends to, by position.
    StartAttention, "1.4.j", start_attention(cache: &ActivationCache, layer: usize, head: usize) -> Tensor;
    task: "Where does this head look from `[START]`? Average over strings the attention that the query at position 0 gives to each key position. Strings differ in length: at each key position, average over **the strings that have a token there**. Padding is never attended to, so its zeros would only make later positions look less important.

- `cache.get((\"pattern\", layer))?`: `[batch, head, q_pos, k_pos]`; `cache.tokens()` has the ids, of which 1 is `[PAD]`
- returns `[k_pos]`";
    axes: &[&["k_pos"]];
    inputs: inputs::caches_and_heads => (ActivationCache, usize, usize);
    hints: &[
        "A sum over strings, divided by how many strings have that position.",
        "pattern.i((.., head, 0))? is [batch, k_pos]. Its sum over the batch, divided by the count of ids that are not 1 in each column.",
        "let there = cache.tokens().to_tensor(&Device::Cpu)?.ne(1u32)?.to_dtype(DType::F32)?; Ok((pattern.i((.., head, 0))?.sum(0)? / there.sum(0)?)?).",
    ];
    wrong: [
        "padding is averaged in: divide by the number of strings that have the position." => answers::padding_averaged_in,
        "this is the attention that [START] receives, a column of the pattern. It is the query here: a row." => answers::received_by_start,
        "this is the row of the last query, not of the first." => answers::of_the_last_query,
    ];
    accepted: [];
}

exercise! {
    /// How much of its attention a head gives to marked positions.
    AttentionToMarked, "1.4.k", attention_to_marked(cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor) -> Tensor;
    task: "A mean over positions hides what is different in each string. Here some positions of each string are marked, for instance those at which the elevation is below 0. How much of its attention does the query at `[START]` give to the marked ones, together?

- `marked`: `[batch, pos]` in f32, 1 where the position counts
- returns `[batch]`, shares from 0 to 1";
    axes: &[&["batch"]];
    inputs: inputs::caches_heads_and_marks => (ActivationCache, usize, usize, Tensor);
    hints: &[
        "The row of the query at position 0 sums to 1. Which part of it lies on marked keys?",
        "Multiply the row by the marks and sum over keys.",
        r#"Ok((cache.get(("pattern", layer))?.i((.., head, 0))? * marked)?.sum(1)?)."#,
    ];
    wrong: [
        "this is a mean over the marked positions, not their sum." => answers::mean_of_marked,
        "this is a mean over all positions, not a sum." => answers::mean_of_all_positions,
        "this is the attention that goes elsewhere: one less what was asked for." => answers::elsewhere,
        "the marked positions are queries here: what they give to [START]." => answers::from_the_marked,
    ];
    accepted: [];
}

exercise! {
    /// The direction, before a head reads it, that the head turns into a given one.
    PreHeadDir, "1.4.l", pre_head_dir(model: &HookedTransformer, dir: &Tensor, layer: usize, head: usize) -> Tensor;
    task: "What does the head look for in what it reads? A position passes on `x · W_V · W_O`, with `x` the normalised stream there. If what the head writes counts along `dir`, which direction of `x` counts?

- `dir`: `[d_model]`, such as \"not balanced\" of C9
- `model.W_V()?`: `[layer, head, d_model, d_head]`; `model.W_O()?`: `[layer, head, d_head, d_model]`
- returns `[d_model]`";
    axes: &[&["d_model"]];
    inputs: inputs::directions_and_heads => (HookedTransformer, Tensor, usize, usize);
    hints: &[
        "x A · dir = x · (A dir): the matrix comes to stand on the other side.",
        "Begin with dir and multiply from the right to the left: W_O dir, then W_V of that.",
        r#"einsum("a e, e d, d -> a", &[&model.W_V()?.i((layer, head))?, &model.W_O()?.i((layer, head))?, dir])."#,
    ];
    wrong: [
        "this is what the head makes of dir, dir W_V W_O. Going back it is W_V W_O dir." => answers::head_transposed,
        "this is another head of the layer." => answers::another_head,
        "this is the head of this number in another layer." => answers::another_layer,
    ];
    accepted: [];
}

exercise! {
    /// What each neuron of a layer writes at `[START]`.
    OutByNeuron, "1.4.m", out_by_neuron(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Tensor;
    task: "An MLP is a sum over neurons: each writes its activation times its row of W_out. Return what each neuron writes at `[START]`. Together with `b_out` this is all of `mlp_out` there.

- `cache.get((\"post\", layer))?`: `[batch, pos, neuron]`; `model.W_out()?`: `[layer, neuron, d_model]`
- returns `[batch, neuron, d_model]`";
    axes: &[&["batch", "neuron", "d_model"]];
    inputs: inputs::models_caches_and_layers => (HookedTransformer, ActivationCache, usize);
    hints: &[
        "A product without a sum: the neuron's axis stays.",
        "Activations after the non-linearity, at position 0: [batch, neuron]. Rows of W_out: [neuron, d_model].",
        r#"einsum("b n, n d -> b n d", &[&cache.get(("post", layer))?.i((.., 0))?, &model.W_out()?.get(layer)?])."#,
    ];
    wrong: [
        "these are activations before the non-linearity: \"pre\" for \"post\"." => answers::before_the_nonlinearity,
        "b_out is shared out among the neurons. It belongs to none." => answers::bias_to_neurons,
        "this is the last position, not [START]." => answers::neurons_at_the_end,
    ];
    accepted: [];
}

exercise! {
    /// What each neuron of a layer writes along a direction, without the large tensor.
    OutByNeuronInDir, "1.4.n", out_by_neuron_in_dir(model: &HookedTransformer, cache: &ActivationCache, layer: usize, dir: &Tensor) -> Tensor;
    task: "The tensor of the last exercise has d_model numbers for each neuron, of which one direction is wanted. In a model of some size it would not fit in memory. Project **first**: a neuron's row of W_out along the direction is one number, by which its activations are multiplied.

- returns `[batch, neuron]`, at `[START]`";
    axes: &[&["batch", "neuron"]];
    inputs: inputs::models_caches_layers_and_directions => (HookedTransformer, ActivationCache, usize, Tensor);
    hints: &[
        "(a w) · dir = a (w · dir).",
        "W_out times dir is [neuron]; broadcast it over the batch of activations.",
        r#"let weights = model.W_out()?.get(layer)?.matmul(&dir.unsqueeze(1)?)?.squeeze(1)?; Ok(cache.get(("post", layer))?.i((.., 0))?.broadcast_mul(&weights)?)."#,
    ];
    wrong: [
        "these are activations before the non-linearity: \"pre\" for \"post\"." => answers::before_the_nonlinearity_in_dir,
        "the direction is taken as a unit vector. It is as long as it is: that is the weight of the logits." => answers::unit_direction,
        "this is the direction through W_in, what the neuron reads, not what it writes." => answers::through_w_in,
    ];
    accepted: [];
}

exercise! {
    /// What a head of layer 0 passes on for each kind of bracket.
    VLeftRight, "1.4.o", v_left_right(model: &HookedTransformer, head: usize) -> (Tensor, Tensor);
    task: "What does a head of the first layer pass on for a `(`, and what for a `)`? Nothing has been written to the stream yet but the embeddings. Take each bracket's embedding together with the **mean position embedding** of positions 1 on (those that brackets stand at), normalise it as the first norm does (subtract the mean, divide by the root of the variance plus eps), and carry it through the head's W_V and W_O.

- the ids are 2 for `(` and 3 for `)`; `model.W_E()`: `[d_vocab, d_model]`; `model.W_pos()?`: `[n_ctx, d_model]`
- returns two vectors `[d_model]`: of `(`, then of `)`";
    axes: &[&["d_model"], &["d_model"]];
    inputs: inputs::models_and_heads => (HookedTransformer, usize);
    hints: &[
        "The same steps for two ids: write them once, in a closure or a loop.",
        "x = W_E[id] + mean of W_pos[1..]; x - mean; divided by sqrt(mean of squares + eps) with eps = model.cfg().eps; times W_V[0, head], times W_O[0, head].",
        r#"let x = x.broadcast_sub(&x.mean_keepdim(0)?)?; let scale = (x.sqr()?.mean_all()?.item()? as f64 + model.cfg().eps).sqrt(); einsum("d, d e, e f -> f", &[&(x / scale)?, &w_v, &w_o])."#,
    ];
    wrong: [
        "the positions are left out: a bracket never comes without one." => answers::no_position,
        "the norm is left out." => answers::not_normalised,
        "the position of [START] is in the mean: take positions from 1 on." => answers::start_in_the_mean,
        "the two brackets are exchanged." => answers::brackets_exchanged,
        "b_V is added before W_O. It is the same for both brackets: what they pass on themselves is asked for." => answers::with_b_v,
    ];
    accepted: [];
}
