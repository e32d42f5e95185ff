//! The exercises of this section.

use candle_core::Tensor;

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;

exercise! {
    /// How much higher the right answer's logit is than the wrong one's.
    LogitDiff, "1.3.a", logit_diff(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Tensor;
    task: "How much does the model prefer the right answer? Take, at the last position of each prompt, the logit of the right token minus that of the wrong one. Unlike a probability it is linear in what the model writes, and what both names share cancels.

- `logits`: `[batch, pos, d_vocab]`
- `right[b]`, `wrong[b]`: the two token ids of prompt `b`
- returns `[prompt]`";
    axes: &[&["prompt"]];
    inputs: inputs::logits => (Tensor, Vec<u32>, Vec<u32>);
    hints: &[
        "The answer is what would come next: only the logits of the last position count, and of those two of each prompt.",
        "logits.i((.., pos - 1))? is [batch, d_vocab]. gather takes one number from each row: its indices are a tensor of u32 with as many axes, [batch, 1].",
        "let right = Tensor::new(right, logits.device())?.unsqueeze(1)?; the same for wrong; then (last.gather(&right, 1)? - last.gather(&wrong, 1)?)?.squeeze(1)?. If candle asks for it, make last contiguous first.",
    ];
    wrong: [
        "this is read at the first position. The answer comes after the last one." => answers::first_position,
        "this is read one position before the last. The logits at the last position are about what comes after it." => answers::one_before_last,
        "this is wrong minus right. A model that answers well should have positive numbers." => answers::other_way_round,
        "this is one number, the mean over prompts. Return one for each prompt." => answers::averaged,
        "this is a difference of probabilities. Take the logits as they are, without softmax." => answers::probabilities,
        "every prompt is judged by the first prompt's answers. Prompt b has right[b] and wrong[b]." => answers::first_prompt_s_answers,
    ];
    accepted: [];
}

exercise! {
    /// The directions in the residual stream along which the logit differences grow.
    AnswerDirections, "1.3.b", answer_directions(model: &HookedTransformer, right: &[u32], wrong: &[u32]) -> Tensor;
    task: "For each prompt, the direction in the residual stream along which its logit difference grows: the right token's column of the unembedding minus the wrong token's.

- `model.W_U()`: `[d_model, d_vocab]`
- returns `[prompt, d_model]`";
    axes: &[&["prompt", "d_model"]];
    inputs: inputs::answers => (HookedTransformer, Vec<u32>, Vec<u32>);
    hints: &[
        "A token's logit is a product with its column of W_U.",
        "index_select(&ids, 1)? takes columns, the ids as a tensor of u32; subtract; transpose, so that each prompt has a row.",
        "let right = w_u.index_select(&Tensor::new(right, w_u.device())?, 1)?; the same for wrong; then Ok((right - wrong)?.t()?).",
    ];
    wrong: [
        "these are rows of the embedding W_E, by which tokens enter the model. Logits leave it through W_U." => answers::embedding_rows,
        "right and wrong are exchanged: along these directions the wrong answer grows." => answers::directions_exchanged,
        "the wrong token's column is not subtracted. Along this direction other things grow too, whatever is common to all names." => answers::right_alone,
    ];
    accepted: [];
}

exercise! {
    /// What each component of the residual stream contributes to the logit difference.
    StackToLogitDiff, "1.3.c", stack_to_logit_diff(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Tensor;
    task: "How much does each of several vectors in the residual stream contribute to the logit difference? Divide each by the final norm's scale *of the run* at the last position, take the product with its prompt's direction, and average over prompts.

- `stack`: `[component, batch, d_model]`, vectors at the last position
- `cache.get(\"ln_final.hook_scale\")?`: `[batch, pos, 1]`
- `directions`: `[batch, d_model]`
- returns `[component]`";
    axes: &[&["component"]];
    inputs: inputs::stacks => (Tensor, ActivationCache, Tensor);
    hints: &[
        "Within a prompt every component is divided by the same number: the scale that the norm had when the model ran.",
        "scale.i((.., pos - 1))? is [batch, 1] and broadcasts against [component, batch, d_model]. einsum sums over d_model; a mean over prompts is left.",
        r#"let normed = stack.broadcast_div(&scale.i((.., scale.dim(1)? - 1))?)?; then einsum("component batch d_model, batch d_model -> component batch", &[&normed, directions])?.mean(1)?."#,
    ];
    wrong: [
        "nothing is divided by the norm's scale. The unembedding reads the stream after the final norm." => answers::without_norm,
        "each component is divided by its own scale. Then the components no longer sum to the whole: divide all of them by the scale of the whole stream, which the cache has." => answers::own_norm,
        "this is the scale at the first position. The stack was taken at the last." => answers::first_scale,
        "this multiplies by the scale. The norm divides by it." => answers::multiplied,
        "this is a sum over prompts. Take the mean." => answers::summed,
        "this is divided by the number of prompts twice." => answers::divided_twice,
        "this is the largest of the prompts. Take the mean." => answers::largest,
    ];
    accepted: [];
}

exercise! {
    /// The logit difference that can be read from the residual stream so far.
    AccumulatedLogitDiff, "1.3.d", accumulated_logit_diff(cache: &ActivationCache, directions: &Tensor) -> Tensor;
    task: "The logit lens: compute the logit difference from the residual stream at the last position *before* each layer (`resid_pre`), *in the middle* of it, after attention (`resid_mid`), and at the very end (`resid_post` of the last layer). Use your `stack_to_logit_diff`: all of them through the final norm's scale of the run, so that the step from one to the next is what lies between them.

- `cache.dims().n_layers` is the number of layers
- returns `[stream]`, of size `2 * n_layers + 1`: `resid_pre` 0, `resid_mid` 0, `resid_pre` 1, ..";
    axes: &[&["stream"]];
    inputs: inputs::caches => (ActivationCache, Tensor);
    hints: &[
        "cache.get((\"resid_pre\", layer))? is [batch, pos, d_model]. You have a function for a stack of vectors at the last position.",
        "Push resid_pre and resid_mid of each layer, then the last resid_post; stack them to [stream, batch, pos, d_model]; take the last position.",
        "let streams = Tensor::stack(&streams, 0)?; stack_to_logit_diff(&streams.i((.., .., streams.dim(2)? - 1))?, cache, directions).",
    ];
    wrong: [
        "this is what each layer adds, not the sum so far. resid_pre and resid_mid are already sums." => answers::parts_alone,
        "each stream is divided by its own scale. That is a logit lens too, the usual one, but its steps are not contributions. Here all are divided by the final norm's scale of the run." => answers::own_norms,
        "the end is missing: resid_post of the last layer, which gives the answer itself." => answers::without_end,
        "the middles are missing: resid_mid, between attention and MLP." => answers::without_middles,
        "the beginning is missing: resid_pre of layer 0, which has only the embeddings." => answers::without_beginning,
    ];
    accepted: [];
}

exercise! {
    /// What each head contributes to the logit difference.
    HeadLogitDiffs, "1.3.e", head_logit_diffs(model: &HookedTransformer, cache: &ActivationCache, directions: &Tensor) -> Tensor;
    task: "What does each head contribute? A head writes its `z` times its own matrix. Do that at the last position, and give the result to your `stack_to_logit_diff`: the components are now heads.

- `cache.get((\"z\", layer))?`: `[batch, pos, head, d_head]`
- `model.W_O()?`: `[layer, head, d_head, d_model]`
- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::models_and_caches => (HookedTransformer, ActivationCache, Tensor);
    hints: &[
        "For one layer: what all heads write is [head, batch, d_model], which is a stack whose components are heads.",
        "Take z at the last position, [batch, head, d_head], and model.W_O()?.i(layer)?, [head, d_head, d_model]; einsum sums over d_head and keeps the head.",
        r#"einsum("batch head d_head, head d_head d_model -> head batch d_model", &[&last, &model.W_O()?.i(layer)?])? goes to stack_to_logit_diff; Tensor::stack(&layers, 0) at the end."#,
    ];
    wrong: [
        "these are the values at the last position, before attention mixes them. What a head writes is made of z." => answers::values_of_the_last,
        "this is what heads write at the first position. The answer is read at the last." => answers::heads_at_the_first,
        "every layer's z goes through layer 0's output matrices. Take model.W_O()?.i(layer)?." => answers::one_output_matrix,
        "every head has the whole layer's bias b_O added. It belongs to the layer, not to a head: leave it out." => answers::with_biases,
    ];
    accepted: [];
}

exercise! {
    /// The heads with the largest scores, whichever sign.
    TopHeads, "1.3.f", top_heads(scores: &Tensor, k: usize) -> Vec<(usize, usize)>;
    task: "The `k` heads that matter most, as pairs (layer, head), the largest first. A head may also work *against* the answer, so take the size of a score, not its sign.

- `scores`: `[layer, head]`";
    axes: &[&["rank", "layer or head"]];
    inputs: inputs::scores => (Tensor, usize);
    hints: &[
        "Rank all scores in one list; an index into that list says which layer and which head.",
        "scores.abs()?.flatten_all()?.top_k(k)? gives values and indices. Each layer takes n_heads entries of the flat list.",
        "let indices = indices.to_vec1::<u32>()?; each index is the head (index as usize / n_heads, index as usize % n_heads).",
    ];
    wrong: [
        "these are ranked by value, so that heads against the answer come last. Rank by size: abs." => answers::by_value,
        "the index into the flat list is divided by the number of layers. A row, one layer, has n_heads entries." => answers::divided_by_layers,
        "the pairs are (head, layer). Return (layer, head)." => answers::head_first,
        "these are the smallest scores." => answers::smallest,
        "the right heads, but the smallest score first. The largest comes first." => answers::ascending,
    ];
    accepted: [];
}

exercise! {
    /// How much heads attend from the last position to a position of each prompt.
    AttentionTo, "1.3.g", attention_to(cache: &ActivationCache, heads: &[(usize, usize)], positions: &[usize]) -> Tensor;
    task: "From the last position, how much does each of these heads attend to one position of each prompt? `positions[b]` is the position in prompt `b`; average over prompts.

- `heads`: pairs (layer, head)
- `cache.get((\"pattern\", layer))?`: `[batch, head, q_pos, k_pos]`
- returns `[head]`, in the order of `heads`";
    axes: &[&["head"]];
    inputs: inputs::looks => (ActivationCache, Vec<(usize, usize)>, Vec<usize>);
    hints: &[
        "The last position is the query, and the name's position is the key.",
        "For each head, go through the prompts, and add up the pattern's entry for this prompt, this head, the last query and this prompt's own position.",
        "pattern.at(&[prompt as isize, head as isize, -1, pos as isize])?.item()? is one entry. Divide the sum by the number of prompts; Tensor::new(means, &Device::Cpu) makes a tensor of a Vec<f32>.",
    ];
    wrong: [
        "all numbers are 0. If you read what the name attends to, query and key are exchanged: the last position comes later, and is masked. Here it is the last position that attends." => answers::from_the_name,
        "every prompt is averaged over all prompts' positions. Prompt b has one position of its own, positions[b]." => answers::every_prompt_s_positions,
        "the first prompt's position is taken in every prompt. Prompt b has positions[b]." => answers::first_prompt_s_position,
        "this is a sum over prompts. Take the mean." => answers::not_averaged,
        "layer and head are exchanged: a pair is (layer, head)." => answers::layer_for_head,
    ];
    accepted: [];
}

exercise! {
    /// Which name the heads that write the answer attend to.
    WhichName, "1.3.g2", which_name() -> String;
    task: "Which name do the top heads attend to from the last position: `\"IO\"`, `\"S1\"` or `\"S2\"`? Use what you have written: `attention_to(&cache, &[(3, 6), (3, 0)], &io)?`, and so on. Return one of these three as a text, `Ok(\"..\".to_string())`.";
    axes: &[];
    inputs: inputs::nothing => ();
    rule: answers::is_the_name;
    hints: &[
        "Measure before you guess: attention_to for io, s1 and s2.",
        "For (3, 6) and (3, 0), one of the three numbers is above 0.8, and the others are near 0.",
        "In the attention view above: choose head 6, and read the last row, \" to\".",
    ];
    wrong: [
        "in GPT-2 the heads that write the name do attend to IO. These do not: measure it." => answers::indirect_object,
        "S1 is the same name, but not the position that they attend to: measure it." => answers::first_subject,
    ];
    accepted: [];
}
