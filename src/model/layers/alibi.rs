//! ALiBi: positions have no vectors, but attention scores fall with the distance between query and key, in each head at
//! a slope of its own (Press et al. 2021, "Train Short, Test Long", <https://arxiv.org/abs/2108.12409>).

use candle_core::{Device, Tensor};

use crate::error::Result;

/// How much is taken off a score for each position between query and key, one number for each head: of a power of two
/// of heads the geometric sequence from `2^(-8 / n)` on, and of other numbers also every second of the sequence for twice
/// as many, as in the paper's code and in `transformers`.
fn slopes(n_heads: usize) -> Vec<f64> {
    let sequence = |n: usize| (1..=n).map(move |i| (-8.0 * i as f64 / n as f64).exp2());
    let most = 1 << n_heads.ilog2();
    sequence(most).chain(sequence(2 * most).step_by(2)).take(n_heads).collect()
}

/// What is added to the scores: `-slope (query - key)`, and 0 for later keys, as in TransformerLens. Queries are the
/// positions from `past` on, keys all `pos`. Padding on one side shifts both alike.
///
/// # Shapes
/// `[1, head, q_pos, k_pos]`, f32.
pub(in crate::model) fn alibi(n_heads: usize, past: usize, pos: usize, device: &Device) -> Result<Tensor> {
    let distances: Vec<f32> =
        (past..pos).flat_map(|query| (0..pos).map(move |key| query.saturating_sub(key) as f32)).collect();
    let distances = Tensor::from_vec(distances, (1, 1, pos - past, pos), device)?;
    let slopes: Vec<f32> = slopes(n_heads).into_iter().map(|slope| -slope as f32).collect();
    Ok(distances.broadcast_mul(&Tensor::from_vec(slopes, (1, n_heads, 1, 1), device)?)?)
}

#[cfg(test)]
mod tests {
    use super::slopes;

    /// The numbers of the paper for 8 heads, and for 6 those of its code by hand.
    #[test]
    fn slopes_are_those_of_the_paper() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        assert_eq!(slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
        assert_eq!(slopes(1), [0.00390625]);
    }
}
