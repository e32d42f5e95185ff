//! What happens behind edits of features, and what is kept of the runs.

use std::fmt;

use crate::dictionaries::AtBos;
use crate::hooks::{HookQueries, HookQuery};
use crate::metrics::Metric;

/// What happens behind edits of features. Without edits, logits are those of the clean run in every mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EditMode {
    /// Everything behind an edit is the model's own: errors are recomputed on the activations of this run, so that later MLPs do what
    /// they do, whether their dictionaries explain it or not. What the model does; the default. circuit-tracer's `feature_intervention`
    /// with `freeze_attention=False`.
    #[default]
    Free,
    /// As [`EditMode::Free`], with the attention patterns of the clean run: circuit-tracer's default.
    FrozenPatterns,
    /// Errors are those of the clean run, so that an edit reaches what follows through features alone; patterns and norms are live. The
    /// gradients of a [`ChainedGraph`](crate::feature_graphs::ChainedGraph) are slopes of this run, but for the scales of norms.
    FrozenErrors,
    /// Patterns, scales of norms, errors and all other features keep their values: what is left is linear, and edits of features move
    /// each target by its edges in a linear graph. MLPs without a dictionary keep what they write. circuit-tracer's
    /// `feature_intervention` with `constrained_layers=range(n_layers)`.
    Held,
}

impl EditMode {
    /// Whether attention patterns are those of the clean run.
    pub(super) fn holds_patterns(self) -> bool {
        matches!(self, Self::FrozenPatterns | Self::Held)
    }

    /// Whether errors are those of the clean run.
    pub(super) fn freezes_errors(self) -> bool {
        matches!(self, Self::FrozenErrors | Self::Held)
    }
}

impl fmt::Display for EditMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::FrozenPatterns => "patterns frozen",
            Self::FrozenErrors => "errors frozen",
            Self::Held => "held",
        })
    }
}

/// How a run under edits of features goes on, and what is kept of it and of the clean run. An [`EditMode`] converts into it.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let options = FeatureEditOptions::new(EditMode::Free).metric(&metric).capture(("pattern", ("z", 3)));
/// assert!(options.to_string().starts_with("free"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FeatureEditOptions {
    pub(super) mode: EditMode,
    pub(super) bos: AtBos,
    pub(super) metric: Option<Metric>,
    pub(super) captures: Vec<HookQuery>,
}

impl FeatureEditOptions {
    /// Options with this mode that keep logits only.
    pub fn new(mode: EditMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Evaluates a metric before and after.
    pub fn metric(mut self, metric: &Metric) -> Self {
        self.metric = Some(metric.clone());
        self
    }

    /// Keeps points of both runs, inner points of dictionaries among them: `"pattern"`, `("sae_acts_post", 2)`.
    pub fn capture(mut self, points: impl Into<HookQueries>) -> Self {
        self.captures.extend(points.into().queries().iter().cloned());
        self
    }

    /// What becomes of a BOS: left alone by default, so that no feature is there.
    pub fn bos(mut self, bos: AtBos) -> Self {
        self.bos = bos;
        self
    }
}

impl From<EditMode> for FeatureEditOptions {
    fn from(mode: EditMode) -> Self {
        Self::new(mode)
    }
}

impl From<&Self> for FeatureEditOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl fmt::Display for FeatureEditOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mode)?;
        if let Some(metric) = &self.metric {
            write!(f, ", {}", crate::visible::visible(metric.name()))?;
        }
        if !self.captures.is_empty() {
            let names: Vec<String> = self.captures.iter().map(HookQuery::to_string).collect();
            write!(f, ", keeps {}", names.join(", "))?;
        }
        if self.bos == AtBos::Spliced {
            f.write_str(", BOS spliced")?;
        }
        Ok(())
    }
}
