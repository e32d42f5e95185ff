//! The exercises about paths.

use super::{inputs, path_answers as answers};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::head::Head;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// The logits when one head's change reaches the final residual stream alone.
    PathPatchToFinal, "1.3.n", path_patch_to_final(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, sender: Head) -> Tensor;
    task: "What does one head do to the logits *directly*? Take what the sender writes from the corrupted run, let all other heads write what they wrote in the clean run, and let the MLPs react. The receiver is the final residual stream, so this frozen run already has the logits, and no third run is needed.

- `sender.layer`, `sender.head`: which head
- `z`, what a head writes before `W_O`: `[batch, pos, head, d_head]`
- returns the logits of the frozen run, `[batch, pos, d_vocab]`";
    axes: &[&["batch", "pos", "d_vocab"]];
    inputs: inputs::to_final => (HookedTransformer, Tokens, Tokens, Head);
    hints: &[
        "Edits of one point act in the order in which they are given.",
        "Cache z of both runs. In a plan for the clean prompts, replace z of every layer by the clean run's; then, in the sender's layer, replace the sender's part by the corrupted run's.",
        r#"plan.edit(("z", layer), Edit::replace(clean_cache.get(("z", layer))?)) for every layer, then plan.edit(("z", sender.layer), Edit::replace(corrupted_cache.get(("z", sender.layer))?.i((.., .., sender.head))?).head(sender.head));"#,
    ];
    wrong: [
        "the other heads are not frozen: they react to the sender, and this is activation patching. Let them write what they wrote in the clean run." => answers::nothing_frozen,
        "the sender writes what it wrote in the clean run, so nothing changes. Edits act in the order given: freeze first, then patch the sender." => answers::sender_frozen,
        "the MLPs are frozen as well. That is the path of one step alone, a fair question, but here MLPs belong to the path: leave them free." => answers::mlps_frozen,
        "the runs are exchanged: the corrupted prompts run, with the sender's clean output." => answers::exchanged,
        "all heads of the sender's layer write what they wrote in the corrupted run. Select the sender with .head(..)." => answers::whole_layer,
        "the other heads are frozen at what they wrote in the corrupted run. Freeze them at the clean run's." => answers::frozen_corrupted,
    ];
    accepted: [];
}

exercise! {
    /// The logits when one head's change reaches only what other heads read.
    PathPatchToHeads, "1.3.o", path_patch_to_heads(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, sender: Head, receivers: &[Head], input: &str) -> Tensor;
    task: "Now the receivers are heads, and they hear the sender through one of their inputs: their queries, keys or values. The frozen run is the one you have; in it, look at what the receivers read. A third run of the clean prompts puts that in, and everything else in it is free.

- `receivers`: heads that read the change
- `input`: `\"q\"`, `\"k\"` or `\"v\"`, the name of the hook point, `[batch, pos, head, d_head]`
- returns the logits of the third run, `[batch, pos, d_vocab]`";
    axes: &[&["batch", "pos", "d_vocab"]];
    inputs: inputs::to_heads => (HookedTransformer, Tokens, Tokens, Head, Vec<Head>, String);
    hints: &[
        "The third run has no frozen heads: only the receivers' input is put in.",
        "Capture the input in the frozen run of path_patch_to_final. For each receiver, take its part of it, and replace the same part in a new plan for the clean prompts.",
        "plan = plan.edit((input, receiver.layer), Edit::replace(heard.get((input, receiver.layer))?.i((.., .., receiver.head))?).head(receiver.head));",
    ];
    wrong: [
        "these are the logits of the frozen run: the direct effect. Put what the receivers read there into a third run, in which nothing is frozen." => answers::logits_of_the_frozen_run,
        "all heads of the receivers' layers get the new input. Select each receiver with .head(..)." => answers::whole_layers_receive,
        "the whole residual stream before the receivers' layers is put in, so that all that reads it receives. Put in the receivers' own input." => answers::stream_put_in,
        "queries, keys and values are all put in. Only `input` receives." => answers::all_inputs,
        "other heads are not frozen in the second run, so that the receivers hear the sender through them as well." => answers::heads_between_react,
        "the third run is one of the corrupted prompts. The receivers' input goes into the clean run." => answers::third_run_corrupted,
        "the MLPs are frozen in the second run. Here they belong to the path: leave them free." => answers::mlps_frozen_between,
        "only the last receiver gets its new input: add each edit to the same plan." => answers::last_receiver,
    ];
    accepted: [];
}
