//! The exercises about circuits.

use super::{circuit_answers as answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::head::Head;
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// The share of the logit difference that a circuit alone has.
    Faithfulness, "1.3.t", faithfulness(model: &HookedTransformer, tokens: &Tokens, groups: &[usize], answers: &Answers, circuit: &[Head]) -> f32;
    task: "Run the prompts with every head *outside* the circuit replaced by the mean of the prompt's group (your `mean_by_group`; the means are those of the plain run). How much is left of the mean logit difference?

- `answers.logit_diff(&logits, tokens)?.mean()`: the mean over prompts
- returns the circuit's logit difference divided by the model's";
    axes: &[&[]];
    inputs: inputs::circuits => (HookedTransformer, Tokens, Vec<usize>, Answers, Vec<Head>);
    hints: &[
        "Which heads are edited: those in the list, or those that are not?",
        "Capture z in a plain run. For every layer and head that the circuit lacks, add an edit that replaces its part of z by the means. Then one run with all edits, and the ratio of the two mean logit differences.",
        r#"For every layer and head with !circuit.contains(&Head::new(layer, head)): plan = plan.edit(("z", layer), Edit::replace(means.i((.., .., head))?).head(head));"#,
    ];
    wrong: [
        "the circuit is ablated, and the rest is left. Ablate the heads that are not in the list." => answers::circuit_ablated,
        "the heads outside are set to zero. Put in the means of the groups." => answers::zeros,
        "the means go over all prompts. Take those of each prompt's group." => answers::means_over_all,
        "this is the mean of each prompt's ratio. Take the ratio of the means: one small denominator would spoil the first." => answers::mean_of_ratios,
        "this is the circuit's logit difference. Divide by the model's." => answers::not_divided,
        "this is the share that is lost. The question is what is left." => answers::lost,
    ];
    accepted: [
        "This is it with means over the other members of each group, as your mean_by_group has them." => answers::faithfulness_by_others,
    ];
}

exercise! {
    /// What a head adds to a circuit from which a set was taken.
    Minimality, "1.3.u", minimality(model: &HookedTransformer, tokens: &Tokens, groups: &[usize], answers: &Answers, circuit: &[Head], head: Head, set: &[Head]) -> f32;
    task: "What does `head` add to the circuit without `set`? Take the heads of `set` out of the circuit and measure the faithfulness of what is left; then take out `head` as well. The difference is the head's contribution.

- returns `faithfulness(circuit without set) - faithfulness(circuit without set and head)`";
    axes: &[&[]];
    inputs: inputs::without_one => (HookedTransformer, Tokens, Vec<usize>, Answers, Vec<Head>, Head, Vec<Head>);
    hints: &[
        "The set is out of the circuit in both runs.",
        "Make the list of heads that are kept: those of the circuit that are not in set. Its faithfulness, then that of the list without head, then the difference.",
        "let mut kept: Vec<Head> = circuit.iter().copied().filter(|head| !set.contains(head)).collect(); and later kept.retain(|&other| other != head);",
    ];
    wrong: [
        "the set is still in the circuit, in both runs: this is what the head adds to the whole circuit." => answers::set_left_in,
        "the heads are taken out of the whole model. What is left must be the circuit's." => answers::of_the_model,
        "this is the ratio of the two. Take the difference." => answers::ratio,
        "this is the ratio of the two, with the head over without it. Take the difference." => answers::ratio_with_over_without,
        "the sign is wrong: with the head, minus without it." => answers::sign_turned,
        "this is what head and set add together. The set is out in both runs." => answers::head_and_set,
    ];
    accepted: [
        "This is it with means over the other members of each group, as your mean_by_group has them." => answers::minimality_by_others,
    ];
}

exercise! {
    /// The faithfulness of circuit and model without the same heads.
    Completeness, "1.3.v", completeness(model: &HookedTransformer, tokens: &Tokens, groups: &[usize], answers: &Answers, circuit: &[Head], sets: &[Vec<Head>]) -> Tensor;
    task: "For each set of heads: the faithfulness of the circuit without them, and that of the whole model without them. If the circuit is complete, the two are nearly equal whatever the set.

- returns `[set, of]`: of the circuit, of the model";
    axes: &[&["set", "of"]];
    inputs: inputs::without_sets => (HookedTransformer, Tokens, Vec<usize>, Answers, Vec<Head>, Vec<Vec<Head>>);
    hints: &[
        "The whole model is a circuit too: the one with all heads.",
        "List all heads. For each set, filter it out of the circuit and out of all heads, and measure the faithfulness of both lists.",
        "for heads in [circuit, &all[..]] { let kept: Vec<Head> = heads.iter().copied().filter(|head| !set.contains(head)).collect(); .. }; Tensor::from_vec(numbers, (sets.len(), 2), &Device::Cpu);",
    ];
    wrong: [
        "the model keeps the set: its column is 1 throughout. Take the heads out on both sides." => answers::model_kept_whole,
        "the circuit keeps the set: its column is the same throughout. Take the heads out on both sides." => answers::circuit_kept_whole,
        "the columns are exchanged: the circuit comes first." => answers::columns_exchanged,
        "the second column is the model without circuit *and* set. Take out the set alone." => answers::model_without_circuit,
    ];
    accepted: [
        "This is it with means over the other members of each group, as your mean_by_group has them." => answers::completeness_by_others,
    ];
}
