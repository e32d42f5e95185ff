//! The exercises of this section.

use super::{answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// What each part adds to the logit of the right token.
    LogitAttribution, "1.2.h", logit_attribution(embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]) -> Tensor;
    task: "Split the logit of each *next* token into what the embedding and each head added to it. It is the first thing to try when you ask which head is responsible for an answer.

- `embed`: `[pos, d_model]`, the embeddings
- `l0`, `l1`: `[pos, head, d_model]`, what the heads of layers 0 and 1 wrote into the stream
- `w_u`: `[d_model, d_vocab]`; `ids`: the tokens, `pos` of them
- returns `[pos - 1, 1 + 2 * heads]`: the embedding's part first, then layer 0, then layer 1; row `i` is about token `i + 1`";
    axes: &[&["position", "part"]];
    inputs: inputs::two_layers => (Tensor, Tensor, Tensor, Tensor, Vec<u32>);
    hints: &[
        "The logit of a token is the product of the stream with that token's column of W_U.",
        "Take the columns of the next tokens: w_u.index_select of ids[1..] over axis 1 is [d_model, pos - 1]. Put the parts side by side, [pos, 1 + 2 heads, d_model], leave out the last position, and multiply.",
        r#"let parts = Tensor::cat(&[&embed.unsqueeze(1)?, l0, l1], 1)?; then einsum("p c d, d p -> p c", &[&parts.narrow(0, 0, ids.len() - 1)?, &directions])."#,
    ];
    wrong: [
        "these are the logits of each position's own token. A position predicts the next one." => answers::own_token,
        "there is a row for every token, of its own logits. A position predicts the next one, and the last predicts nothing that is known." => answers::every_position,
        "the stream is taken one position too late: the token at i + 1 is predicted at i." => answers::stream_of_the_next,
        "the embedding's part is missing: the direct path from token to logit counts too." => answers::without_the_direct_path,
        "layer 1 comes before layer 0." => answers::layers_exchanged,
        "the heads of each layer are added up. Keep them apart." => answers::heads_summed,
    ];
    accepted: [];
}

exercise! {
    /// The same with the norm before the unembedding, and its bias.
    LogitAttributionLn, "1.2.i", logit_attribution_ln(parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]) -> Tensor;
    task: "The same for a model that divides its last stream by its size, and has a bias in the unembedding. With it you can take apart any GPT-2.

- `parts`: `[pos, part, d_model]`, everything that was added up in the stream
- `scale`: `[pos, 1]`, what the final norm divided by at each position, `cache.get(\"ln_final.hook_scale\")?.get(0)?`
- `w_u`: `[d_model, d_vocab]`; `b_u`: `[d_vocab]`; `ids`: the tokens
- returns `[pos - 1, part + 1]`: the parts, and last the bias's own; a row's sum is the right token's logit";
    axes: &[&["position", "part"]];
    inputs: inputs::with_norm => (Tensor, Tensor, Tensor, Tensor, Vec<u32>);
    hints: &[
        "The size of the whole stream is what every part is divided by.",
        "Divide parts by scale, which needs one more axis to fit; then as in logit_attribution; then one more column with b_u of the next tokens.",
        "let normed = parts.broadcast_div(&scale.unsqueeze(2)?)?; the bias's column is b_u.index_select(&next, 0)?.unsqueeze(1)?; Tensor::cat(&[&of_parts, &of_bias], 1).",
    ];
    wrong: [
        "the parts are not divided by the norm's scale." => answers::no_scale,
        "each part is divided by its own size. The norm divided the whole stream, by one number for each position." => answers::own_scale,
        "the parts are multiplied by the scale. The norm divides by it." => answers::multiplied,
        "the bias of the unembedding is missing: the rows do not sum to the logits." => answers::no_bias,
        "the bias is that of each position's own token, not of the next." => answers::bias_of_the_own_token,
    ];
    accepted: [];
}

exercise! {
    /// A head's output, put to zero.
    ZeroHead, "1.2.j1", zero_head(z: &Tensor, head: usize) -> Tensor;
    task: "What a hook does that takes a head away: give `z` back with one head's output put to zero, and everything else as it was.

- `z`: `[batch, pos, head, d_head]`
- returns the same shape";
    axes: &[&["batch", "pos", "head", "d_head"]];
    inputs: inputs::outputs => (Tensor, usize);
    hints: &[
        "Multiply by a tensor that is 0 for this head and 1 for the others.",
        "Make a Vec<f32> with one number a head, turn it into a tensor of shape (heads, 1), which fits the last two axes of z, and use broadcast_mul.",
        "let kept: Vec<f32> = (0..heads).map(|other| if other == head { 0.0 } else { 1.0 }).collect(); then z.broadcast_mul(&Tensor::from_vec(kept, (heads, 1), z.device())?).",
    ];
    wrong: [
        "every head is zero. Only one is to go." => answers::all_heads,
        "the head is kept, and the others are zero." => answers::the_others,
        "a position is zero in the place of a head. Heads are axis 2." => answers::a_position,
        "a dimension of every head is zero in the place of a head. Heads are axis 2." => answers::a_dimension,
    ];
    accepted: [];
}

exercise! {
    /// What is lost without each head.
    AblationScores, "1.2.j2", ablation_scores(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Tensor;
    task: "How much worse does the model get without each head? For every head of every layer, run the model with your `zero_head` as a hook, and compare the loss in the second half (without its first token, as in C3) with that of the whole model.

- `Edit::custom(\"zero\", move |z, _point| zero_head(z, head))` makes an edit of your function, `HookPlan::new().edit((\"z\", layer), edit)` a plan, and `model.run_with_hooks(tokens.clone(), plan)?` runs it and gives logits and a cache
- returns `[layer, head]`: the loss without the head, minus the loss with it";
    axes: &[&["layer", "head"]];
    inputs: inputs::rows => (HookedTransformer, Tokens, usize);
    hints: &[
        "First write a closure from a plan to the loss; the empty plan gives what you compare with.",
        "log_probs_of(&logits, tokens)? has 2 * seq_len entries a row; those from seq_len + 1 on are the second half but its first token. Two loops, over layers and heads, fill a Vec<f32>.",
        "scores.push(loss(HookPlan::new().edit((\"z\", layer), edit))? - clean); and at the end Tensor::from_vec(scores, (n_layers, n_heads), &Device::Cpu).",
    ];
    wrong: [
        "the loss is over the whole row. The first half is random with and without the head." => answers::over_the_whole_row,
        "the first token of the second half is in it, which no head can know." => answers::with_the_turn,
        "this is clean minus ablated. What is lost is the other way round." => answers::clean_minus_ablated,
        "the head of that number is gone in every layer. Take one layer's point, (\"z\", layer)." => answers::in_every_layer,
        "the loss of the whole model is not subtracted." => answers::no_baseline,
        "the plan grows: it is made before the loops, so each run has the edits of all runs before it as well. Make a new HookPlan for every run." => answers::plan_grows,
        "the plan grows within a layer: it is made once for each layer, so each run has the edits of the layer's runs before it as well. Make a new HookPlan for every run." => answers::plan_grows_by_layer,
    ];
    accepted: [];
}

exercise! {
    /// A head's output, replaced by its mean over prompts.
    MeanHead, "1.2.k", mean_head(z: &Tensor, head: usize) -> Tensor;
    task: "Zero may be a number that the head never writes. Milder: replace its output by its mean over the prompts, at each position. What the head does for all prompts stays; what it knows about this one goes.

- `z`: `[batch, pos, head, d_head]`
- returns the same shape";
    axes: &[&["batch", "pos", "head", "d_head"]];
    inputs: inputs::outputs => (Tensor, usize);
    hints: &[
        "Prompts are axis 0, and positions are not averaged.",
        "z.mean_keepdim(0)? is the mean; broadcast_sub gives how z has to change; only the chosen head's change is added.",
        "let change = z.mean_keepdim(0)?.broadcast_sub(z)?; then z + change.broadcast_mul(&chosen)?, with chosen of shape (heads, 1), 1 for the head.",
    ];
    wrong: [
        "this is the mean over positions. Average over prompts, axis 0." => answers::over_positions,
        "this is the mean over heads. Average over prompts, axis 0." => answers::over_heads,
        "this is the mean over the head's dimensions. Average over prompts, axis 0." => answers::one_number,
        "this is the mean over prompts and positions. Keep the positions apart." => answers::over_prompts_and_positions,
        "every head is replaced. Only one is to go." => answers::all_heads_mean,
    ];
    accepted: [];
}

exercise! {
    /// The head of `induction` that looks at the token before.
    PreviousTokenHead, "1.2.l", previous_token_head() -> String;
    task: "Which head of `induction` looks at the token before? Return its name as a text, such as `Ok(\"L1H2\".to_string())` for head 2 of layer 1, from what you see in its pattern and in the effect of its ablation.";
    axes: &[];
    inputs: inputs::nothing => ();
    rule: inputs::looks_at_the_token_before;
    hints: &[
        "It is in layer 0, and its pattern is one line just under the diagonal.",
        "It is the head whose ablation costs most.",
        "Compare the four maps of layer 0: two have a line just left of the diagonal. In which of them is it bright in rows far down, too?",
    ];
    wrong: [
        "layers and heads are counted from 0, and this is the second head of the second layer." => answers::counted_from_one,
        "that is a head of layer 1. Those find what the head that is asked for tells them." => answers::a_head_of_layer_1,
        "that head looks back too, but only over short distances. Which one costs most when it is gone?" => answers::the_second_best,
    ];
    accepted: [];
}
