//! The exercises about an autoencoder's parts.

use super::{inputs, resampled, sae_answers as answers};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use candle_core::Tensor;

exercise! {
    /// The activations of latents, and the reconstruction.
    SaeForward, "3.f", sae_forward(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> (Tensor, Tensor);
    task: "Write the SAE of the introduction. One detail: each row of W_dec is divided by its length first. Otherwise an SAE can cheat the penalty, with tiny activations and long rows.

- `x`: `[batch, d]`, `w_enc`: `[d, latent]`, `b_enc`: `[latent]`, `w_dec`: `[latent, d]`, `b_dec`: `[d]`
- returns the activations `[batch, latent]` and the reconstruction `[batch, d]`";
    axes: &[&["batch", "latent"], &["batch", "d"]];
    inputs: inputs::autoencoders => (Tensor, Tensor, Tensor, Tensor, Tensor);
    hints: &[
        "b_dec is used twice: it is taken off before the encoder, and put back after the decoder.",
        "Lengths of the rows of w_dec with sum_keepdim(1), divide; broadcast_sub, matmul, broadcast_add, relu; matmul, broadcast_add.",
        "let w_dec = w_dec.broadcast_div(&w_dec.sqr()?.sum_keepdim(1)?.sqrt()?)?; x.broadcast_sub(b_dec)?.matmul(w_enc)?.broadcast_add(b_enc)?.relu()?;",
    ];
    wrong: [
        "the rows of w_dec are used as they are. Divide each by its length." => answers::not_normalised,
        "the columns of w_dec are normalised, over latents. Normalise each row, a latent's direction." => answers::columns_normalised,
        "b_dec is not subtracted from x before the encoder." => answers::not_subtracted,
        "b_dec is not added to the reconstruction." => answers::not_added,
        "b_enc is left out." => answers::no_encoder_bias,
        "there is no relu." => answers::not_rectified,
    ];
    accepted: [];
}

exercise! {
    /// The squared error, and the penalty on activations.
    SaeLoss, "3.f2", sae_loss(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, l1: f64) -> Tensor;
    task: "The loss: the squared error, averaged over the entries of x, plus `l1` times the *sum* of the activations; the mean of that over the batch.

- `x`, `reconstruction`: `[batch, d]`, `acts`: `[batch, latent]`
- returns a number, as a tensor without axes";
    axes: &[&[]];
    inputs: inputs::reconstructions => (Tensor, Tensor, Tensor, f64);
    hints: &[
        "One number for each row of the batch from each of the two terms.",
        "Mean of the squares over axis 1; sum of the activations over axis 1, times l1; add, mean over axis 0.",
        "(squared + (sparsity * l1)?)?.mean(0); with squared of shape [batch] and sparsity of shape [batch].",
    ];
    wrong: [
        "the squared error is summed over the entries of x. Take its mean." => answers::squares_summed,
        "the activations are averaged over latents. Take their sum: more latents must not make each cheaper." => answers::acts_averaged,
        "the penalty counts active latents. A count has no gradient: take the sum of the activations." => answers::counted,
        "the penalty is not multiplied by l1." => answers::no_coefficient,
        "the activations are squared. That shrinks large ones and leaves small ones alive: take their sum." => answers::acts_squared,
    ];
    accepted: [];
}

exercise! {
    /// New directions for latents that are never active.
    Resample, "3.g", resample(w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, times_active: &[usize], scale: f64, seed: u64) -> (Tensor, Tensor, Tensor);
    task: "Resample the dead latents, those that were active 0 times. Each gets a random unit vector as its row of `w_dec`, `scale` times that vector as its column of `w_enc`, and 0 in `b_enc`. Live latents stay as they are; if none is dead, nothing changes. Any random directions are right.

- `w_enc`: `[d, latent]`, `b_enc`: `[latent]`, `w_dec`: `[latent, d]`
- returns all three";
    axes: &[&["d", "latent"], &["latent"], &["latent", "d"]];
    inputs: inputs::some_dead => (Tensor, Tensor, Tensor, Vec<usize>, f64, u64);
    rule: resampled::resampled;
    hints: &[
        "Tensors of candle cannot be changed in place: collect the pieces of each latent, and cat them.",
        "For each latent, either narrow its column, bias and row out of the old tensors, or make new ones: Random::new(seed).normal((1, d)), divided by its length. Cat columns along axis 1, the others along axis 0.",
        "let unit = direction.broadcast_div(&direction.sqr()?.sum_all()?.sqrt()?)?; columns.push((unit.t()? * scale)?); rows.push(unit);",
    ];
    wrong: [
        "the dead latents keep their columns of w_enc, so they stay as deaf as they were." => answers::encoder_kept,
        "the dead latents keep their b_enc. It may be what silenced them: set it to 0." => answers::bias_kept,
        "all latents are resampled. Those that are alive stay." => answers::all_of_them,
        "the live latents are resampled, and the dead ones stay." => answers::live_ones,
        "the columns of w_enc are not scaled. With scale they begin small, so that a new latent does not disturb the others." => answers::no_scale,
        "the new directions are not unit vectors." => answers::long_directions,
    ];
    accepted: [];
}

exercise! {
    /// The k largest pre-activations of each row.
    TopKActs, "3.h", top_k_acts(pre: &Tensor, k: usize) -> Tensor;
    task: "Keep the `k` largest pre-activations of each row, and set all others to 0. Where one of the `k` is negative, it becomes 0 as well.

- `pre`: `[batch, latent]`
- returns the same shape";
    axes: &[&["batch", "latent"]];
    inputs: inputs::for_top_k => (Tensor, usize);
    hints: &[
        "The k-th largest number of a row decides what is kept.",
        "top_k gives the k largest of each row, the largest first; its last column is the limit. Compare with broadcast_ge, choose with where_cond, and let relu see to negative ones.",
        "let last = pre.top_k(k)?.0.narrow(1, k - 1, 1)?; pre.broadcast_ge(&last)?.where_cond(&pre.relu()?, &pre.zeros_like()?);",
    ];
    wrong: [
        "the k largest of each latent over the batch are kept. Each row keeps its own." => answers::over_the_batch,
        "one too many is kept." => answers::one_too_many,
        "negative ones among the k pass. They become 0." => answers::negative_kept,
        "the k are chosen by absolute value. Choose the largest." => answers::by_size,
        "the branches are exchanged: where_cond takes from the first where the mask is 1, so the k largest are 0 and the others stay." => answers::the_others,
        "the k smallest are kept." => answers::the_smallest,
    ];
    accepted: [];
}

exercise! {
    /// Pre-activations above a threshold of their latent.
    JumpRelu, "3.h2", jump_relu(pre: &Tensor, threshold: &Tensor) -> Tensor;
    task: "Pass a pre-activation on, whole, where it is above its latent's threshold *and* above 0; otherwise 0.

- `pre`: `[batch, latent]`, `threshold`: `[latent]`, which may be negative
- returns the shape of `pre`";
    axes: &[&["batch", "latent"]];
    inputs: inputs::for_thresholds => (Tensor, Tensor);
    hints: &[
        "The threshold decides whether, not how much.",
        "broadcast_gt gives the mask; where_cond chooses between relu and 0.",
        "pre.broadcast_gt(threshold)?.where_cond(&pre.relu()?, &pre.zeros_like()?);",
    ];
    wrong: [
        "the threshold is subtracted: that is relu with another bias. What is above the threshold passes whole." => answers::threshold_subtracted,
        "negative pre-activations pass where the threshold is negative. They become 0." => answers::below_zero_passes,
        "the threshold is ignored: this is relu." => answers::threshold_ignored,
        "absolute values are compared with the threshold. Compare the numbers themselves." => answers::by_absolute,
        "the branches are exchanged: where_cond takes from the first where the mask is 1, so what is above the threshold is 0." => answers::below_the_threshold,
    ];
    accepted: [];
}
