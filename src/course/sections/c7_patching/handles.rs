//! The exercises of this section.

use candle_core::Tensor;

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise, lent};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::hooks::HookPlan;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

lent!(HookPlan;);

exercise! {
    /// The logit difference at the end of one prompt, in a run under a plan.
    LogitDiffWith, "1.3.h", logit_diff_with(model: &HookedTransformer, prompt: &Tokens, plan: &HookPlan, right: u32, wrong: u32) -> f32;
    task: "One patched run: run one prompt under a plan, and return the logit of the right token minus that of the wrong one, at the last position. All sweeps below call this function.

- `model.run_with_hooks(prompt, plan)?` gives logits `[batch, pos, d_vocab]`, and a cache";
    axes: &[&[]];
    inputs: inputs::plans => (HookedTransformer, Tokens, HookPlan, u32, u32);
    hints: &[
        "The plan does all the patching; you run it and read two logits.",
        "logits.at(&[0, -1])? is what the last position of the first prompt has: at takes negative indices. An id becomes an index with `as isize`.",
        "let last = logits.at(&[0, -1])?; Ok(last.at(&[right as isize])?.item()? - last.at(&[wrong as isize])?.item()?).",
    ];
    wrong: [
        "the plan is not used: this is the prompt's own logit difference. Give the plan to run_with_hooks." => answers::without_plan,
        "this is wrong minus right." => answers::other_way_round,
        "this is read at the first position. The answer comes after the last one." => answers::first_position,
        "this is a difference of probabilities. Take the logits as they are, without softmax." => answers::probabilities,
        "this is the right token's logit alone. Subtract the wrong one's: a patch may raise both." => answers::right_alone,
    ];
    accepted: [];
}

exercise! {
    /// How much of the clean answer is back.
    Recovered, "1.3.h2", recovered(patched: &Tensor, clean: f32, corrupted: f32) -> Tensor;
    task: "How much of the clean answer is back? Put logit differences on a scale on which the corrupted run is 0 and the clean run is 1. Keep the sign, and do not cut anything off: below 0 is worse than the corrupted run.

- `patched`: logit differences of patched runs, of any shape, which is also the answer's
- `clean`, `corrupted`: the logit differences of the two runs";
    axes: &[&["row", "column"]];
    inputs: inputs::differences => (Tensor, f32, f32);
    hints: &[
        "Where is 0? Where is 1? A straight line passes through both.",
        "Subtract the corrupted number, and divide by how far the clean one is from it.",
        "Ok(((patched - corrupted as f64)? / (clean - corrupted) as f64)?): candle's numbers beside tensors are f64.",
    ];
    wrong: [
        "this is 1 in the corrupted run and 0 in the clean one. Denoising starts from the corrupted run: that is 0." => answers::reversed,
        "the sign is lost. A site whose patch makes the answer worse is below 0." => answers::without_sign,
        "this is divided by the clean number. Divide by the distance, clean - corrupted, so that the clean run is 1." => answers::share_of_clean,
        "this is 0 in the corrupted run, but it is not divided by the distance to the clean run." => answers::not_divided,
        "this is measured from the clean run: it is 0 there, and -1 in the corrupted run. Subtract the corrupted number." => answers::from_clean,
        "this is cut off at 0 and 1. What is outside says something: leave it." => answers::clamped,
    ];
    accepted: [];
}

exercise! {
    /// Every layer's and position's residual stream, patched.
    PatchResidPre, "1.3.i", patch_resid_pre(model: &HookedTransformer, clean: &ActivationCache, corrupted: &Tokens, right: u32, wrong: u32) -> Tensor;
    task: "For each layer and position: the logit difference of the corrupted prompt when the residual stream that enters this layer, at this position only, is that of the clean run.

- `clean.get((\"resid_pre\", layer))?`: `[batch, pos, d_model]`
- returns `[layer, pos]`, logit differences as your `logit_diff_with` gives them";
    axes: &[&["layer", "pos"]];
    inputs: inputs::sweeps => (HookedTransformer, ActivationCache, Tokens, u32, u32);
    hints: &[
        "Two loops, and one run inside. The activations are clean, and the prompt that runs is corrupted.",
        "For each layer and position: an Edit::replace of the clean stream at that position, with .pos(pos as isize), in a HookPlan at (\"resid_pre\", layer). Push logit_diff_with; make a tensor of all numbers at the end.",
        "let edit = Edit::replace(stream.i((.., pos))?).pos(pos as isize); let plan = HookPlan::new().edit((\"resid_pre\", layer), edit); then push logit_diff_with(model, corrupted, &plan, right, wrong)?; at the end Tensor::from_vec(results, (n_layers, n_pos), &Device::Cpu)?.",
    ];
    wrong: [
        "this is the other direction, noising: corrupted activations in the clean run. Run the corrupted prompt, and patch clean activations in." => answers::noising,
        "the activations that are patched in are those of the corrupted run itself, so nothing changes. Take them from the clean cache." => answers::own_cache,
        "every position is patched at once, so that all positions of a layer have the same number. Patch one: .pos(pos as isize)." => answers::all_positions,
        "each number belongs to the next position." => answers::next_position,
        "this is the stream after the block, resid_post. Patch the one that enters it, resid_pre." => answers::after_the_block,
        "the plan grows: it is made before the loops, so each run has the edits of all runs before it as well. Make a new HookPlan for every run." => answers::stream_grows,
        "the plan grows within a layer: it is made once for each layer, so each run has the edits of the layer's runs before it as well. Make a new HookPlan for every run." => answers::stream_grows_by_layer,
    ];
    accepted: [];
}

exercise! {
    /// The stream, attention's output and the MLP's, patched at every layer and position.
    PatchBlocks, "1.3.j", patch_blocks(model: &HookedTransformer, clean: &ActivationCache, corrupted: &Tokens, right: u32, wrong: u32) -> Tensor;
    task: "The same for three points of each layer, in this order: the stream that enters it (`\"resid_pre\"`), what attention writes (`\"attn_out\"`), what the MLP writes (`\"mlp_out\"`).

- returns `[point, layer, pos]`";
    axes: &[&["point", "layer", "pos"]];
    inputs: inputs::sweeps => (HookedTransformer, ActivationCache, Tokens, u32, u32);
    hints: &[
        "One loop more around what you have; the name of the point becomes a variable.",
        "for point in [\"resid_pre\", \"attn_out\", \"mlp_out\"] { .. }, and (point, layer) wherever \"resid_pre\" was.",
        "The outermost loop is over points, the innermost over positions: then Tensor::from_vec(results, (3, n_layers, n_pos), &Device::Cpu)? has them in order.",
    ];
    wrong: [
        "the second part is the stream after attention, resid_mid. Patch only what attention adds to it, attn_out." => answers::stream_for_attention,
        "the MLP comes before attention. The order is resid_pre, attn_out, mlp_out." => answers::mlps_first,
        "these are three points of the stream itself. Patch what attention and the MLP add to it: attn_out and mlp_out." => answers::streams_alone,
        "the numbers are in the order of another loop: layers outside and points inside. Make the points' loop the outer one." => answers::layers_first,
        "the plan grows: it is made before the loops, so each run has the edits of all runs before it as well. Make a new HookPlan for every run." => answers::blocks_grow,
        "the plan grows within a point: it is made once for each point, so each run has the edits of the point's runs before it as well. Make a new HookPlan for every run." => answers::blocks_grow_by_point,
        "the plan grows within a layer: it is made once for each layer, so each run has the edits of the layer's runs before it as well. Make a new HookPlan for every run." => answers::blocks_grow_by_layer,
    ];
    accepted: [];
}

exercise! {
    /// Every head's output, patched at all positions.
    PatchHeads, "1.3.k", patch_heads(model: &HookedTransformer, clean: &ActivationCache, corrupted: &Tokens, right: u32, wrong: u32) -> Tensor;
    task: "For each head: the logit difference of the corrupted prompt when this head's output `z`, at all positions, is that of the clean run.

- `clean.get((\"z\", layer))?`: `[batch, pos, head, d_head]`
- `Edit::replace(value).head(head)` replaces one head's part and leaves the others
- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::sweeps => (HookedTransformer, ActivationCache, Tokens, u32, u32);
    hints: &[
        "As before, with heads in place of positions. Which axis is the head's?",
        "z.i((.., .., head))? is one head at all positions, and .head(head as isize) says where it goes.",
        "let edit = Edit::replace(z.i((.., .., head))?).head(head as isize); let plan = HookPlan::new().edit((\"z\", layer), edit);",
    ];
    wrong: [
        "all heads of a layer are patched at once, so that its heads have the same number. Patch one: .head(head as isize)." => answers::whole_layer,
        "the head's number is used as a position: the second axis of z is positions, the third heads." => answers::head_as_position,
        "this patches the head's values v. Its output is z, what its pattern makes of them." => answers::values_alone,
        "this is patched at the last position only. Leave .pos out: all positions are patched." => answers::last_position,
        "the plan grows: it is made before the loops, so each run has the edits of all runs before it as well. Make a new HookPlan for every run." => answers::heads_grow,
        "the plan grows within a layer: it is made once for each layer, so each run has the edits of the layer's runs before it as well. Make a new HookPlan for every run." => answers::heads_grow_by_layer,
    ];
    accepted: [];
}

exercise! {
    /// Each head's output, queries, keys, values and pattern, patched.
    PatchHeadsEvery, "1.3.l", patch_heads_every(model: &HookedTransformer, clean: &ActivationCache, corrupted: &Tokens, right: u32, wrong: u32) -> Tensor;
    task: "The same for five points of each head, in this order: output `\"z\"`, queries `\"q\"`, keys `\"k\"`, values `\"v\"`, and `\"pattern\"`.

- the first four are `[batch, pos, head, d_head]`; a pattern is `[batch, head, q_pos, k_pos]`
- returns `[point, layer, head]`";
    axes: &[&["point", "layer", "head"]];
    inputs: inputs::sweeps => (HookedTransformer, ActivationCache, Tokens, u32, u32);
    hints: &[
        "One loop more again. One of the five points has its heads on another axis.",
        "value.narrow(axis, head, 1)?.squeeze(axis)? is one head on either axis: 1 for the pattern, 2 for the others.",
        "let head_axis = if point == \"pattern\" { 1 } else { 2 }; the rest is patch_heads with (point, layer) for (\"z\", layer), and (5, n_layers, n_heads) at the end.",
    ];
    wrong: [
        "the first part patches values: it equals the fourth. The output is z." => answers::values_for_z,
        "the output comes after queries, keys and values. The order is z, q, k, v, pattern." => answers::output_last,
        "keys come before queries. The order is z, q, k, v, pattern." => answers::keys_first,
        "the pattern's queries and keys are exchanged. Patch it in as it is." => answers::pattern_turned,
        "the pattern is missing, the fifth part." => answers::without_pattern,
        "the plan grows: it is made before the loops, so each run has the edits of all runs before it as well. Make a new HookPlan for every run." => answers::all_grow,
        "the plan grows within a point: it is made once for each point, so each run has the edits of the point's runs before it as well. Make a new HookPlan for every run." => answers::all_grow_by_point,
        "the plan grows within a layer: it is made once for each layer, so each run has the edits of the layer's runs before it as well. Make a new HookPlan for every run." => answers::all_grow_by_layer,
    ];
    accepted: [];
}

exercise! {
    /// What in a head carries the difference between the prompts.
    WhatCarriesIt, "1.3.m", what_carries_it() -> String;
    task: "In this model, what in the heads carries the difference between the two prompts: `\"queries\"`, `\"keys\"`, `\"values\"` or the `\"pattern\"`? Return one of these four as a text, `Ok(\"..\".to_string())`.";
    axes: &[];
    inputs: inputs::nothing => ();
    rule: answers::is_what_carries_it;
    hints: &[
        "Bring your five maps onto the scale of recovered, and compare the largest numbers.",
        "One of the maps looks nearly like that of z. What does z have from it?",
        "The heads attend to the same positions in both prompts; what they find there differs.",
    ];
    wrong: [
        "patched queries alone bring back less than a fifth of the answer, in any head; something else brings back more than twice as much." => answers::queries,
        "patched keys alone bring back next to nothing." => answers::keys,
        "patterns alone bring back next to nothing: the heads attend to the same positions in both prompts." => answers::pattern,
    ];
    accepted: [];
}
