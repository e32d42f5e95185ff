//! Backward rules: parts of a model whose gradients follow a rule in place of the derivative. The values of a run are the
//! model's own in any case.
//!
//! *Constants.* With attention patterns and the scales of norms held fixed, a model without MLPs is affine in what its parts write,
//! and with the MLPs held fixed too every model is (Dunefsky et al. 2024, "Transcoders Find Interpretable LLM Feature
//! Circuits", <https://arxiv.org/abs/2406.11944>; Ameisen et al. 2025, "Circuit Tracing",
//! <https://transformer-circuits.pub/2025/attribution-graphs/methods.html>). With all three, gradient times activation
//! of the first `resid_pre` and of every `mlp_out` sums to the logit difference less what biases add. A gradient of an
//! early part includes what later heads carry on by their values; `direct_logit_attribution` has the direct path alone.
//! (A soft cap, as in Gemma 2, stays nonlinear unless [`Frozen::ActivationRatios`] is given too.)
//!
//! *Rules of MLPs.* The identity rule, `act(x) -> x constant(act(x) / x)`, makes a neuron linear by its ratio at hand, and the half
//! rule, `a u -> (a constant(u) + constant(a) u) / 2`, shares a gated product between its factors (Achtibat et al. 2024, "AttnLRP",
//! <https://arxiv.org/abs/2402.05602>). With patterns and scales constant these are [`RELP`] (Jafari et al. 2025, "RelP",
//! <https://arxiv.org/abs/2508.21258>): gradient times activation of each layer's residual stream then sums to a logit less what
//! biases add (conservation), which a derivative's does not, because a saturated neuron has slope 0 and an output.
//!
//! # Limits
//! A rule is not a derivative: no small step has the effect that it predicts, and a metric that is not linear in logits is not
//! conserved. Which of them estimates patching better is a question for [`Comparison`](crate::experiment::Comparison).

use super::config::HookedTransformerConfig;
use super::transformer::HookedTransformer;

/// A part whose gradients follow a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// Attention patterns are constants: gradients reach what a head reads by its values, not by queries and keys.
    AttentionPatterns,
    /// What every norm divides by is a constant, that of queries and keys and the final one among them.
    NormScales,
    /// What MLPs write is a constant: gradients go on from there along the residual stream, and not back through neurons.
    Mlps,
    /// The ratio `act(x) / x` of every activation function is a constant (identity rule), soft caps among them.
    ActivationRatios,
    /// Each factor of a gated MLP's product is a constant to the other, and each takes half of the gradient (half rule).
    Gates,
}

/// The rules of RelP (Jafari et al. 2025): attention patterns, scales of norms and ratios of activations are constants, and gated
/// products are shared by halves. A model that lacks one of these parts takes the others.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = "When John and Mary went to the shops, John gave the bag to";
/// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let experiment = Experiment::new(&model, clean, corrupted, metric)?.noising()?;
/// let axes = [AxisName::Layer, AxisName::Pos];
/// let patched = experiment.sweep("resid_pre", &axes)?;
/// let pearson = |experiment: &Experiment| -> Result<f64> {
///     Ok(Comparison::new(&patched, &experiment.attribution("resid_pre")?.sweep("resid_pre", &axes)?)?.pearson)
/// };
/// let (derivative, rules) = (pearson(&experiment)?, pearson(&experiment.with_frozen(RELP)?)?);
/// println!("residual stream: attribution patching {derivative:.3}, RelP {rules:.3}");
/// assert!(rules > derivative, "{derivative} and {rules}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub const RELP: [Frozen; 4] = [Frozen::AttentionPatterns, Frozen::NormScales, Frozen::ActivationRatios, Frozen::Gates];

impl Frozen {
    const ALL: [Self; 5] = [Self::AttentionPatterns, Self::NormScales, Self::Mlps, Self::ActivationRatios, Self::Gates];

    /// What a model must have for the rule to change a gradient.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Self::AttentionPatterns => "attention",
            Self::NormScales => "norms",
            Self::Mlps => "MLPs",
            Self::ActivationRatios => "activation functions",
            Self::Gates => "gated MLPs",
        }
    }
}

/// Which parts follow a rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrozenParts {
    pub patterns: bool,
    pub scales: bool,
    pub mlps: bool,
    pub ratios: bool,
    pub gates: bool,
}

impl FrozenParts {
    fn part(&mut self, part: Frozen) -> &mut bool {
        match part {
            Frozen::AttentionPatterns => &mut self.patterns,
            Frozen::NormScales => &mut self.scales,
            Frozen::Mlps => &mut self.mlps,
            Frozen::ActivationRatios => &mut self.ratios,
            Frozen::Gates => &mut self.gates,
        }
    }
}

impl HookedTransformerConfig {
    /// Whether a model has what this rule is of.
    pub(crate) fn has_part(&self, part: Frozen) -> bool {
        let dims = self.dims();
        let has_mlps = dims.n_layers > 0 && !dims.attn_only;
        let has_caps = self.output_logits_soft_cap.is_some() || self.attn_scores_soft_cap.is_some();
        match part {
            Frozen::AttentionPatterns => dims.n_layers > 0,
            Frozen::NormScales => dims.has_norm || dims.qk_norm || dims.neuron_norm,
            Frozen::Mlps => has_mlps,
            Frozen::ActivationRatios => has_mlps || has_caps,
            Frozen::Gates => has_mlps && dims.gated_mlp,
        }
    }
}

impl HookedTransformer {
    /// The same model, whose runs give the same numbers, but whose gradients follow these rules. At a frozen
    /// part itself there still is a gradient; what is upstream of it and leads nowhere else has none and is reported as
    /// structurally zero. The parts given replace those that were frozen before; none at all gives the ordinary model
    /// back. A part that the model does not have changes nothing. Frozen patterns cut the gradients of the weights of
    /// queries and keys, too. In an experiment, [`Experiment::with_frozen`](crate::experiment::Experiment::with_frozen) does the
    /// same without running the prompts again.
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
            *frozen.part(part) = true;
        }
        Self { frozen, ..self.clone() }
    }

    /// The parts whose gradients follow a rule.
    pub fn frozen(&self) -> Vec<Frozen> {
        let mut parts = self.frozen;
        Frozen::ALL.into_iter().filter(|&part| *parts.part(part)).collect()
    }

    /// The rules in a title: `RelP`, or the frozen parts; none where gradients are derivatives.
    pub(crate) fn rules(&self) -> Option<String> {
        match self.frozen() {
            parts if parts.is_empty() => None,
            parts if parts == RELP => Some("RelP".into()),
            parts => Some(format!("frozen {parts:?}")),
        }
    }
}
