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
    /// What patching each head would find, from one backward pass.
    AttributionPatching, "4.a", attribution_patching(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, answers: (usize, usize)) -> Tensor;
    task: "Estimate for every head what patching it would do: by how much the logit difference of the *corrupted* run would change if the head's `z` were that of the *clean* run, at all positions. To first order this is the gradient in the corrupted run times the change of `z`, summed. Two forward passes and one backward pass serve all heads at once.

- `clean`, `corrupted`: one prompt each, of the same length
- `answers`: two token ids; the metric is the logit of the first minus that of the second, at the last position
- `z` is `[batch, pos, head, d_head]`
- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::nodes => (HookedTransformer, Tokens, Tokens, (usize, usize));
    hints: &[
        "Patching starts from the corrupted run, so that is where the gradient is taken. What is put in is clean.",
        "Capture z in the clean run; watch z in the corrupted one; for each layer gradient * (clean z - corrupted z), summed over batch, positions and d_head.",
        r#"let gradients = run.taps.gradients(&(last.get(answers.0)? - last.get(answers.1)?)?)?; then (gradients.get(("z", layer))? * change)?.sum((0, 1, 3))?;"#,
    ];
    wrong: [
        "clean and corrupted are exchanged throughout: this is what corrupting each head would do to the clean run." => answers::exchanged,
        "the sign is the opposite one. The change is clean minus corrupted." => answers::wrong_sign,
        "the gradient is that of the clean run. Patching starts from the corrupted one." => answers::at_the_clean_run,
        "this is the gradient alone. Multiply it by the change of z before you sum." => answers::gradient_alone,
        "the gradient is multiplied by the clean z. What counts is by how much z changes: subtract the corrupted z." => answers::times_the_clean,
        "this is a mean over d_head. A head is patched as a whole: sum." => answers::meaned,
        "only the last position counts here. The head is patched at all positions: sum over them." => answers::last_position,
        "the sign is lost. A head whose patch lowers the metric has a negative estimate." => answers::without_sign,
    ];
    accepted: [];
}

exercise! {
    /// Integrated gradients of the residual stream.
    IntegratedGradients, "4.b", integrated_gradients(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, layer: usize, answers: (usize, usize), steps: usize) -> Tensor;
    task: "Attribute the logit difference to the positions of the residual stream that enters block `layer`, by integrated gradients: `x` is that stream in the clean run, the baseline `x0` in the corrupted one. Average the gradient over `steps` points between them, in the middle of each of `steps` equal pieces, and multiply by `x - x0`.

To run the model with a stream of your own, edit the point and watch it: `HookPlan::new().edit(point, Edit::replace(between)).watch(point)`.

- returns `[pos]`: the sum over `d_model` at each position";
    axes: &[&["pos"]];
    inputs: inputs::paths => (HookedTransformer, Tokens, Tokens, usize, (usize, usize), usize);
    hints: &[
        "Point i of n is x0 + (i + 0.5) / n * (x - x0). At each of them a run with its own gradient.",
        "Add up the gradients of all points, divide by steps, multiply by x - x0, and sum over batch and d_model.",
        r#"let between = (&x0 + (&change * place)?)?; let plan = HookPlan::new().edit(point, Edit::replace(between)).watch(point); total = (total + gradients.get(point)?)?;"#,
    ];
    wrong: [
        "all signs are the opposite: the activation is the clean run's, the baseline the corrupted one's." => answers::baseline_exchanged,
        "the gradients are summed and not averaged. Divide by the number of steps." => answers::not_divided,
        "this is the gradient of the clean run alone, at the end of the path. Average along it." => answers::clean_gradient_only,
        "this is the gradient at the baseline alone, at the beginning of the path. Average along it." => answers::baseline_gradient_only,
        "these are gradients of probabilities. The metric is a difference of logits." => answers::of_probabilities,
        "the mean gradient is multiplied by x. Multiply by x - x0, or nothing adds up to the difference of the metric." => answers::times_the_activation,
    ];
    accepted: [
        "You took the left end of each piece, and so never the clean run: a rule that is in use, but the middle needs fewer steps for the same error." => answers::left_sum,
        "You took the right end of each piece, and so never the baseline: a rule that is in use, but the middle needs fewer steps for the same error." => answers::right_sum,
    ];
}

exercise! {
    /// Scores of the edges from all heads to one MLP.
    EapScores, "4.c", eap_scores(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, reader: usize, answers: (usize, usize)) -> Tensor;
    task: "Score the edges from every head to the MLP of layer `reader` by edge attribution patching: by how much the *clean* run's logit difference would change if this MLP alone read the head's corrupted output. That is the corrupted minus the clean output of the head, times the gradient at what the MLP reads, in the clean run.

- a head's output is its `result`, `[batch, pos, head, d_model]`
- what an MLP reads, before its norm, is the point `(\"mlp_in\", reader)`, `[batch, pos, d_model]`
- returns `[layer, head]`, for the layers 0 to `reader`: attention comes before the MLP in a block";
    axes: &[&["layer", "head"]];
    inputs: inputs::readers => (HookedTransformer, Tokens, Tokens, usize, (usize, usize));
    hints: &[
        "The run that is changed is the clean one: the gradient is its gradient, and the change is corrupted minus clean.",
        "Capture result in both runs, watch mlp_in in the clean one. For each layer the product of change and gradient, summed over positions and d_model: an einsum.",
        r#"einsum("b p h d, b p d -> h", &[&change, &gradient])? for each layer in 0..=reader, and Tensor::stack at the end."#,
    ];
    wrong: [
        "the sign is the opposite one. The score is what corrupting the edge does: corrupted minus clean." => answers::clean_minus_corrupted,
        "the gradient is that of the corrupted run. The edge is corrupted in the clean one." => answers::corrupted_gradient,
        "this gradient is that of the whole residual stream, which all later components read too. Watch what this MLP alone reads: mlp_in." => answers::whole_stream,
        "only the last position counts here. Sum over all." => answers::last_position_of_edges,
        "this is a mean over d_model. Sum, so that the score is in units of the metric." => answers::mean_of_coordinates,
    ];
    accepted: [];
}

exercise! {
    /// How good an estimate is.
    CompareEstimate, "4.d", compare(exact: &Tensor, estimated: &Tensor) -> (f32, Vec<(usize, usize)>);
    task: "Say how good an estimate is: Pearson's correlation of the two, and the three heads that were missed most, by the absolute difference, the worst one first. What was missed is what to look at next.

- `exact`, `estimated`: `[layer, head]`
- returns the correlation, and three pairs of a layer and a head";
    axes: &[&[], &["miss", "of layer and head"]];
    inputs: inputs::estimates => (Tensor, Tensor);
    hints: &[
        "Pearson's correlation is the cosine of the two after their means are subtracted.",
        "Centre both; the sum of products divided by the root of the product of both sums of squares. Flatten the absolute differences, top_k(3), and turn each place into a layer and a head.",
        "let worst = misses.top_k(3)?.1.to_vec1::<u32>()?; and (at as usize / heads, at as usize % heads) for each.",
    ];
    wrong: [
        "the means are not subtracted: this is the cosine." => answers::not_centred,
        "this is the square of the correlation." => answers::squared,
        "only estimates that are too large are listed. Take the absolute difference." => answers::signed,
        "only estimates that are too small are listed. Take the absolute difference." => answers::too_small,
        "these are the smallest misses." => answers::smallest_misses,
        "the right misses, but the worst one last. It comes first." => answers::worst_last,
        "these are the largest effects. List the largest differences between the two." => answers::largest_effects,
        "layer and head are exchanged in each pair." => answers::head_and_layer,
    ];
    accepted: [];
}
