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
    /// The mean residual stream where prompts are about to be answered.
    MeanH, "2.f", mean_h(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Tensor;
    task: "What do prompts of one function have in common? Compute the mean, over prompts, of the residual stream after block `layer` at the last position: the arrow, where the answer is read.

- returns `[d_model]`";
    axes: &[&["d_model"]];
    inputs: inputs::prompts => (HookedTransformer, Tokens, usize);
    hints: &[
        "After a block, the residual stream is resid_post; the last position is prompts.pos() - 1.",
        r#"Capture ("resid_post", layer) in a run, take the last position with narrow(1, ..), and average over prompts."#,
        r#"let (_, cache) = model.run_with_hooks(prompts, HookPlan::new().capture(("resid_post", layer)))?; then cache.get(..)?.narrow(1, prompts.pos() - 1, 1)?.mean((0, 1))?;"#,
    ];
    wrong: [
        "this is the mean over positions as well. Only at the last one is the answer about to be given." => answers::mean_over_positions,
        "this is one position too early, at the word in question. Take the arrow after it." => answers::at_the_word,
        "this is the residual stream before the block. Take it after the block." => answers::before_the_layer,
        "this is the residual stream between attention and MLP. Take it after the whole block." => answers::before_the_mlp,
        "this is the first prompt alone. What its own question adds averages out over many." => answers::first_prompt,
    ];
    accepted: [];
}

exercise! {
    /// How probable answers are when a vector is added.
    AnswersWithVector, "2.g", answers_with_vector(model: &HookedTransformer, prompts: &Tokens, answers: &[u32], vector: &Tensor, layer: usize) -> Tensor;
    task: "Does that vector carry the function? Add it to the residual stream after block `layer`, at the last position of each prompt, and return the log-probability of each prompt's answer there.

- `vector`: `[d_model]`
- `answers`: the id that is right for each prompt
- returns `[prompt]`";
    axes: &[&["prompt"]];
    inputs: inputs::with_vector => (HookedTransformer, Tokens, Vec<u32>, Tensor, usize);
    hints: &[
        "An Edit adds a vector, and .pos(-1) says where. The cross-entropy of the answers is their negative log-probability.",
        r#"Run with HookPlan::new().edit(("resid_post", layer), Edit::add(..).pos(-1)), take the logits at the last position, [prompt, d_vocab], and the cross-entropy with the answers."#,
        "let logits = logits.narrow(1, prompts.pos() - 1, 1)?.squeeze(1)?; then cross_entropy(&logits, answers)?.neg()?;",
    ];
    wrong: [
        "the vector is added at every position. Add it at the last one only, where it was taken from." => answers::everywhere,
        "the vector is added one position too early, at the word in question." => answers::added_at_the_word,
        "the vector is added before the block. It was taken after the block." => answers::added_before_the_layer,
        "the vector replaces the residual stream, so that the model no longer knows what is asked. Add it." => answers::replaced,
        "nothing was added: these are the answers of the model as it is." => answers::nothing_added,
        "these are losses. A log-probability is the negative of one." => answers::losses,
        "these are probabilities. Take their logarithm, or the negative cross-entropy." => answers::probabilities,
    ];
    accepted: [];
}

exercise! {
    /// How much of what shuffling removes each head restores.
    IndirectEffects, "2.h", indirect_effects(model: &HookedTransformer, clean: &Tokens, shuffled: &Tokens, answers: &[u32]) -> Tensor;
    task: "Which heads carry the function? For each head take its output `z` at the last position, averaged over the clean prompts. Patch it into the run of the shuffled prompts, at the last position. The effect is by how much the mean log-probability of the answers rises over that of the shuffled prompts as they are.

- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::shuffled => (HookedTransformer, Tokens, Tokens, Vec<u32>);
    hints: &[
        "One run of the clean prompts keeps z of all layers; one run of the shuffled ones is the baseline; then there is one run for each head.",
        "z is [prompt, pos, head, d_head]: its last position, averaged over prompts, is [head, d_head]. Edit::replace with .pos(-1) and .head(head) patches one row of it in.",
        r#"let patch = Edit::replace(z.get(head)?).pos(-1).head(head); then run HookPlan::new().edit(("z", layer), patch) on the shuffled prompts, and subtract the baseline."#,
    ];
    wrong: [
        "these are differences of probabilities. Take log-probabilities." => answers::in_probabilities,
        "each shuffled prompt gets z of the clean prompt with its own number. Take the mean over clean prompts, so that only what they share is patched in." => answers::each_its_own,
        "the head is patched at every position. Patch the last one only." => answers::at_every_position,
        "the clean prompts are patched. They know the function already: patch the shuffled ones." => answers::on_clean_prompts,
        "the mean is that of the shuffled prompts, which show no function. Take it from the clean ones." => answers::of_shuffled_prompts,
        "the log-probability of the shuffled prompts as they are was not subtracted." => answers::without_baseline,
        "the plan grows: it is made before the loops, so each run has the edits of all runs before it as well. Make a new HookPlan for every run." => answers::plan_grows,
        "the plan grows within a layer: it is made once for each layer, so each run has the edits of the layer's runs before it as well. Make a new HookPlan for every run." => answers::plan_grows_by_layer,
    ];
    accepted: [];
}

exercise! {
    /// The sum of what a few heads write.
    FunctionVector, "2.i", function_vector(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Tensor;
    task: "The function vector is what the best heads write into the residual stream: for each, its mean `z` at the last position times its own `W_O`, all of them added up. The bias of the layer belongs to no head.

- `heads`: pairs of layer and head
- returns `[d_model]`";
    axes: &[&["d_model"]];
    inputs: inputs::heads => (HookedTransformer, Tokens, Vec<(usize, usize)>);
    hints: &[
        "z has d_head numbers. W_O of a head, [d_head, d_model], turns them into a direction in the residual stream.",
        "For each pair: the mean of z over prompts at the last position, as a row [1, d_head], times model.W_O()?.get(layer)?.get(head)?. Add up.",
        "vector = (vector + z.matmul(&w_o)?.squeeze(0)?)?; beginning with Tensor::zeros(model.cfg().d_model, DType::F32, &Device::Cpu)?.",
    ];
    wrong: [
        "this is the mean over heads. Their outputs are added, in the model as here." => answers::mean_of_heads,
        "this is the mean over positions as well. Take the last one." => answers::over_positions,
        "this is the first prompt alone. Average over prompts." => answers::of_the_first,
        "the bias b_O was added. It belongs to the layer, not to its heads." => answers::with_the_bias,
        "these are the outputs of whole layers. Take the heads that are asked for." => answers::whole_layers,
    ];
    accepted: [];
}

exercise! {
    /// Logits while a direction is added at every position.
    Steer, "2.j", steer(model: &HookedTransformer, prompts: &Tokens, direction: &Tensor, layer: usize, coefficient: f32) -> Tensor;
    task: "Steer the model: add `coefficient` times the direction to the residual stream after block `layer`, at *every* position, and return the logits. During generation each position becomes part of the context, and attention from later positions should find the direction there too.

- `direction`: `[d_model]`; do not change its length
- returns `[prompt, pos, d_vocab]`";
    axes: &[&["prompt", "pos", "d_vocab"]];
    inputs: inputs::directions => (HookedTransformer, Tokens, Tensor, usize, f32);
    hints: &[
        "An Edit without .pos(..) changes all positions.",
        "A tensor times a number is (direction * f64::from(coefficient))?; Edit::add broadcasts it over prompts and positions.",
        r#"let (logits, _) = model.run_with_hooks(prompts, HookPlan::new().edit(("resid_post", layer), Edit::add(push)))?;"#,
    ];
    wrong: [
        "the direction is added at the last position only. Add it at every one." => answers::last_position_only,
        "the direction is added before the block. Add it after the block." => answers::into_the_layer,
        "the coefficient is not used." => answers::without_coefficient,
        "the direction is subtracted: this steers away from it." => answers::away_from_it,
        "the direction was scaled to length 1. Its length says how strongly the model uses it." => answers::of_length_one,
    ];
    accepted: [];
}
