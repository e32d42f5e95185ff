//! The exercises of this section.

use super::{answers, batches, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use candle_core::Tensor;

exercise! {
    /// The toy model: into few dimensions and back.
    ToyForward, "3.a", toy_forward(x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor;
    task: "Write the model: hidden = W x, output = relu(Wᵀ hidden + b), each instance with its own weights.

- `x`: `[batch, instance, feature]`, `w`: `[instance, hidden, feature]`, `b`: `[instance, feature]`
- returns `[batch, instance, feature]`";
    axes: &[&["batch", "instance", "feature"]];
    inputs: inputs::weights => (Tensor, Tensor, Tensor);
    hints: &[
        "Two products over named axes: what is summed in the first, what in the second?",
        "einsum to [batch, instance, hidden] sums over features; einsum back sums over hidden. Then add b, which broadcasts over the batch, then relu.",
        r#"einsum("b i f, i h f -> b i h", &[x, w])?, einsum("b i h, i h f -> b i f", &[&hidden, w])?, broadcast_add(b)?, relu();"#,
    ];
    wrong: [
        "relu comes before the bias. Add b first: a negative bias is what silences interference." => answers::relu_before_the_bias,
        "there is no relu." => answers::no_relu,
        "the bias is left out." => answers::no_bias,
        "there is a relu in the middle too. The hidden layer is linear." => answers::relu_in_the_middle,
        "all instances use the weights of the first." => answers::one_instance,
    ];
    accepted: [];
}

exercise! {
    /// Inputs in which each feature is rarely active.
    SparseBatch, "3.b", sparse_batch(p: &[f32], n_features: usize, batch: usize, seed: u64) -> Tensor;
    task: "Draw inputs: each feature is active with the probability of its instance, independently of all others, and its value is then uniform from 0 to 1. Otherwise it is 0. Any order of drawing is right: the check looks at frequencies.

- `p[i]`: how often a feature of instance `i` is active
- `Random::new(seed)` has `chance(p)` and `uniform()`
- returns `[batch, instance, feature]`";
    axes: &[&["batch", "instance", "feature"]];
    inputs: inputs::independent => (Vec<f32>, usize, usize, u64);
    rule: batches::independent;
    hints: &[
        "Two things are drawn for each feature of each input: whether it is active, and its value.",
        "Three loops, over the batch, p and the features, in the order of the axes; push a value into a Vec; Tensor::from_vec at the end.",
        "values.push(if random.chance(p as f64) { random.uniform() as f32 } else { 0. });",
    ];
    wrong: [
        "one draw decides about all features of an instance. Draw for each feature." => answers::all_at_once,
        "the values are uniform times p: always active, and small. Let chance(p) decide whether there is a value." => answers::scaled_by_p,
        "an active feature is always 1. Its value is uniform from 0 to 1." => answers::ones,
        "p is the probability of being silent here. It is that of being active." => answers::silent_with_p,
    ];
    accepted: [];
}

exercise! {
    /// The squared error, weighted by importance.
    ImportanceLoss, "3.c", importance_loss(out: &Tensor, x: &Tensor, importance: &Tensor) -> Tensor;
    task: "The loss: the squared error of each feature times its importance, averaged over the batch and the features, and summed over instances. (Summed, so that each instance trains as if it were alone.)

- `out`, `x`: `[batch, instance, feature]`; `importance`: `[feature]`
- returns a number, as a tensor without axes";
    axes: &[&[]];
    inputs: inputs::outputs => (Tensor, Tensor, Tensor);
    hints: &[
        "The importance multiplies the squared error, not the error.",
        "Subtract, square, broadcast_mul with the importance, mean over axes 0 and 2, sum of what is left.",
        "(x - out)?.sqr()?.broadcast_mul(importance)?.mean((0, 2))?.sum_all();",
    ];
    wrong: [
        "this is a mean over instances too. Sum over them, or each learns more slowly the more there are." => answers::mean_over_instances,
        "this is a sum over features. Take their mean." => answers::summed_over_features,
        "the importance is squared too. Square the error first, then multiply." => answers::importance_squared,
        "the errors are not squared." => answers::not_squared,
        "the importance is left out." => answers::unweighted,
    ];
    accepted: [];
}

exercise! {
    /// How many dimensions each feature has for itself.
    Dimensionality, "3.d", dimensionality(w: &Tensor) -> Tensor;
    task: "A feature's **dimensionality** is the squared length of its direction, divided by the sum over *all* features, itself included, of the squared product with its *unit* direction: D_f = |W_f|² / Σ_g (Ŵ_f · W_g)². It is 1 for a feature that shares with none, 1/2 for two on one axis.

- `w`: `[instance, hidden, feature]`
- returns `[instance, feature]`";
    axes: &[&["instance", "feature"]];
    inputs: inputs::directions => (Tensor,);
    hints: &[
        "Only W_f is made a unit vector, not W_g: long neighbours disturb more.",
        "Squared lengths by a sum over axis 1. Divide w by the lengths, multiply with w to [instance, f, g], square, sum over g.",
        r#"let overlaps = einsum("i h f, i h g -> i f g", &[&unit, w])?; and the squared lengths divided by overlaps.sqr()?.sum(2)?;"#,
    ];
    wrong: [
        "the other factor is the unit vector: W_f times the unit vectors of all g. It is the unit vector of f, times all W_g." => answers::other_normalised,
        "the feature's own term is left out of the sum." => answers::without_its_own,
        "nothing is normalised: the sum is of W_f times W_g." => answers::nothing_normalised,
        "the fraction is upside down." => answers::upside_down,
    ];
    accepted: [];
}

exercise! {
    /// Inputs whose features come in pairs, both or neither.
    CorrelatedBatch, "3.e", correlated_batch(p: &[f32], n_pairs: usize, batch: usize, seed: u64) -> Tensor;
    task: "Features 0 and 1 are a pair, 2 and 3, and so on. A pair is active with probability p: then both of its features have a value, each its own. Pairs are independent.

- returns `[batch, instance, feature]`, with `2 * n_pairs` features";
    axes: &[&["batch", "instance", "feature"]];
    inputs: inputs::pairs => (Vec<f32>, usize, usize, u64);
    rule: batches::together;
    hints: &[
        "One draw decides about a pair; two more are its values.",
        "As sparse_batch, with a loop over pairs in place of features: draw whether the pair is active, then push two values, uniform or 0.",
        "let are_active = random.chance(p as f64); then twice values.push(if are_active { random.uniform() as f32 } else { 0. });",
    ];
    wrong: [
        "the features of a pair are drawn one by one, as if they were independent." => answers::independent_pairs,
        "both features of a pair have the same value. Draw one for each." => answers::same_value,
        "one draw decides about all pairs. Draw for each pair." => answers::all_pairs_together,
    ];
    accepted: [];
}

exercise! {
    /// Inputs whose features come in pairs, of which one at most is active.
    AnticorrelatedBatch, "3.e2", anticorrelated_batch(p: &[f32], n_pairs: usize, batch: usize, seed: u64) -> Tensor;
    task: "Pairs again, but the two features of a pair are never active together. Each of the two is still active with probability p (at most 1/2).

- returns `[batch, instance, feature]`, with `2 * n_pairs` features";
    axes: &[&["batch", "instance", "feature"]];
    inputs: inputs::pairs => (Vec<f32>, usize, usize, u64);
    rule: batches::apart;
    hints: &[
        "If the second feature is only drawn where the first is silent, with what probability must it be drawn to be active with probability p in all?",
        "The first is silent with probability 1 - p, so the second needs p / (1 - p) there. Or: draw with 2 p whether the pair is active, then with 1/2 which of the two.",
        "let first = random.chance(p as f64); let second = !first && random.chance((p / (1. - p)) as f64);",
    ];
    wrong: [
        "the second feature is drawn with p where the first is silent, so that it is active with p (1 - p) only. It needs p / (1 - p) there." => answers::second_with_p,
        "one of the two is always active. Both may be silent." => answers::one_always,
        "which of the two may be active is drawn once for the whole batch. Draw it for each input." => answers::pairs_once,
        "the features of a pair are drawn one by one, as if they were independent." => answers::independent_pairs,
    ];
    accepted: [];
}
