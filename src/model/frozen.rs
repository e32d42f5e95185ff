//! Parts of a model that gradients do not pass through: they keep the values of the run, as if they were constants.
//!
//! With attention patterns and the scales of norms held fixed, a model without MLPs is affine in what its parts write,
//! and with the MLPs held fixed too every model is (Dunefsky et al. 2024, "Transcoders Find Interpretable LLM Feature
//! Circuits", <https://arxiv.org/abs/2406.11944>; Ameisen et al. 2025, "Circuit Tracing",
//! <https://transformer-circuits.pub/2025/attribution-graphs/methods.html>). With all three, gradient times activation
//! of the first `resid_pre` and of every `mlp_out` sums to the logit difference less what biases add. A gradient of an
//! early part includes what later heads carry on by their values; `direct_logit_attribution` has the direct path alone.
//! (A soft cap on the logits, as in Gemma 2, stays nonlinear.)

use super::transformer::HookedTransformer;

/// A part that gradients do not pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// Attention patterns: gradients reach what a head reads by its values, not by queries and keys.
    AttentionPatterns,
    /// What every norm divides by, that of queries and keys and the final one among them.
    NormScales,
    /// What MLPs write: gradients go on from there along the residual stream, and not back through neurons.
    Mlps,
}

/// Which parts are frozen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrozenParts {
    pub patterns: bool,
    pub scales: bool,
    pub mlps: bool,
}

impl HookedTransformer {
    /// The same model, whose runs give the same numbers, but whose gradients take these parts as constants. At a frozen
    /// part itself there still is a gradient; what is upstream of it and leads nowhere else has none and is reported as
    /// structurally zero. The parts given replace those that were frozen before; none at all gives the ordinary model
    /// back. A part that the model does not have changes nothing. Frozen patterns cut the gradients of the weights of
    /// queries and keys, too.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let frozen = model.with_frozen([Frozen::AttentionPatterns, Frozen::NormScales, Frozen::Mlps]);
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let (_, gradients) = frozen.run_with_grads(prompt, &metric, ("z", "mlp_out"))?;
    /// // What the last MLP adds to the logit difference by itself.
    /// let last = model.cfg().n_layers - 1;
    /// let product = (gradients.get(("mlp_out", last))? * gradients.activation(("mlp_out", last))?)?;
    /// assert!(product.sum_all()?.to_scalar::<f32>()?.abs() > 0.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn with_frozen(&self, parts: impl IntoIterator<Item = Frozen>) -> Self {
        let mut frozen = FrozenParts::default();
        for part in parts {
            match part {
                Frozen::AttentionPatterns => frozen.patterns = true,
                Frozen::NormScales => frozen.scales = true,
                Frozen::Mlps => frozen.mlps = true,
            }
        }
        Self { frozen, ..self.clone() }
    }

    /// The parts that gradients do not pass through.
    pub fn frozen(&self) -> Vec<Frozen> {
        let FrozenParts { patterns, scales, mlps } = self.frozen;
        let parts =
            [(patterns, Frozen::AttentionPatterns), (scales, Frozen::NormScales), (mlps, Frozen::Mlps)].into_iter();
        parts.filter_map(|(is_frozen, part)| is_frozen.then_some(part)).collect()
    }
}
