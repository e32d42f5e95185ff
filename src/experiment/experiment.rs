//! What is compared: a clean run, and what takes the place of its activations.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::Tensor;

use super::baseline::Baseline;
use super::runs::{BaseRun, NodeRun};
use super::several::check_room;
use super::source::Source;
use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::metrics::{BoundMetrics, Metrics, mean};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::variables::holds;
use crate::visible::visible;

/// A clean run, a [`Baseline`] that takes the place of activations, and a metric, or several that are evaluated on the same runs.
///
/// With a baseline of other prompts, clean activations are patched into the corrupted run (denoising), or after
/// [`noising`](Experiment::noising) corrupted ones into the clean run. With any other baseline, sites of the clean run are
/// ablated: sweeps then say what is left of the metric, and the corrupted metric counts as 0. Integrated gradients and edges
/// are of the clean run in either case.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = ["When John and Mary went to the shops, John gave the bag to"];
/// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let experiment = Experiment::new(&model, clean, corrupted, metric.clone())?;
/// let result = experiment.get_act_patch_resid_pre()?;
/// assert!(result.clean > 0.0 && result.corrupted < 0.0);
/// // The name in which the prompts differ is all of the difference before the first block.
/// assert!((result.normalised.at(&[0, 10])? - 1.0).abs() < 0.05);
///
/// let ablation = Experiment::new(&model, clean, Baseline::Zero, metric)?;
/// let heads = ablation.get_act_patch_attn_head_out_all_pos()?;
/// assert!(heads.normalised.bottom(1)[0].value < 0.5, "some head matters");
///
/// // Two metrics of the same runs: results have an axis `metric` in front.
/// let answers = model.answers([(" Mary", " John")])?;
/// let both = [Metric::logit_diff(&answers), Metric::log_prob(&model, [" Mary"])?];
/// let heads = Experiment::new(&model, clean, corrupted, both)?.get_act_patch_attn_head_out_all_pos()?;
/// assert_eq!(heads.raw.shape(), [2, 4, 8]);
/// assert_eq!(heads.only("log-probability")?.raw.shape(), [4, 8]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Experiment {
    pub(crate) model: HookedTransformer,
    pub(crate) metrics: BoundMetrics,
    /// The clean prompts.
    pub(crate) tokens: Tokens,
    /// What takes the place of clean activations.
    pub(crate) source: Source,
    pub(crate) clean_logits: Tensor,
    /// `[metric, prompt]`.
    pub(crate) clean_values: Vec<f32>,
    /// `[metric, prompt]`; zeros where activations are ablated.
    pub(crate) corrupted_values: Vec<f32>,
    pub(crate) noising: bool,
    pub(crate) budget: Option<u64>,
    /// Where sweeps save what they have done.
    pub(crate) keep: Option<PathBuf>,
    /// The run that is patched, from the first sweep on.
    base: Arc<OnceLock<BaseRun>>,
    /// What the first runs wrote, so that edges need not run them again; dropped where something else is done.
    first: Arc<Mutex<Option<FirstRuns>>>,
}

holds! {
    Experiment { model, tokens, source, clean_logits, clean_values, corrupted_values, base, first }
}

/// The clean run, and the corrupted one, where there is one.
pub(crate) type FirstRuns = (NodeRun, Option<NodeRun>);

impl Experiment {
    /// Runs the clean prompts, and the corrupted ones if the baseline is prompts, and evaluates the metric, or each metric of a list
    /// on the same logits.
    ///
    /// # Errors
    /// An empty list of metrics, two with one name, more than there is memory for; corrupted prompts with other token counts than the clean ones (patching goes position by position), or with the same
    /// metric, so that nothing could be restored; a mean that is a prompt's own activation, or by position where prompts have
    /// several lengths; group numbers that do not fit; and as [`HookedTransformer::run`].
    pub fn new(
        model: &HookedTransformer,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: impl Into<Metrics>,
    ) -> Result<Self> {
        let model = model.without_weight_gradients();
        let tokens = model.to_tokens(clean)?;
        let source = Source::of(&model, baseline.into(), &tokens)?;
        let metrics = BoundMetrics::new(&metric.into(), &tokens, model.cfg().d_vocab_out())?;
        check_room(&metrics, &model, &tokens)?;
        let mut progress = match source {
            Source::Run(_) => Progress::of("running both prompts", 2, "runs"),
            _ => Progress::of("running the prompts", 1, "runs"),
        };
        let clean = NodeRun::new(&model, &tokens)?;
        let clean_logits = clean.logits(&model, &metrics)?;
        progress.step(1)?;
        let mut experiment = Self {
            noising: !matches!(source, Source::Run(_)),
            corrupted_values: vec![0.; metrics.each().len() * tokens.batch()],
            clean_values: Vec::new(),
            model,
            metrics,
            tokens,
            source,
            clean_logits,
            budget: None,
            keep: None,
            base: Arc::default(),
            first: Arc::default(),
        };
        experiment.clean_values = experiment.values_of(&experiment.clean_logits)?;
        let corrupted = match &experiment.source {
            Source::Run(tokens) => {
                let run = NodeRun::new(&experiment.model, tokens)?;
                experiment.corrupted_values =
                    experiment.values_of(&run.logits(&experiment.model, &experiment.metrics)?)?;
                Some(run)
            }
            _ => None,
        };
        experiment.check_numbers()?;
        if corrupted.is_some() {
            experiment.check_shares()?;
        }
        experiment.first = Arc::new(Mutex::new(Some((clean, corrupted))));
        Ok(experiment)
    }

    /// As [`Experiment::new`], for the clean prompts of a cache, which are run again: sweeps need more of them than a cache need
    /// hold.
    ///
    /// # Errors
    /// A cache that another model made, or the same one processed otherwise; one of a run that was not the plain run of its
    /// prompts (under edits, from a given residual stream, behind a past), whose activations would not be those that are patched
    /// in; as [`Experiment::new`].
    pub fn from_cache(
        model: &HookedTransformer,
        clean: &ActivationCache,
        baseline: impl Into<Baseline>,
        metric: impl Into<Metrics>,
    ) -> Result<Self> {
        clean.check_model(model)?;
        let interventions = clean.provenance().interventions();
        if !interventions.is_empty() {
            return Err(Error::argument(format!(
                "from_cache runs the prompts of the cache again, but its own run was not a plain one ({}), so other \
                 activations than the cache's would be patched in: make the cache without that, or run what you mean \
                 by plans (Experiment::plans).",
                interventions.join("; ")
            )));
        }
        Self::new(model, clean.tokens().clone(), baseline, metric)
    }

    /// Corrupted activations are patched into the clean run, instead of clean ones into the corrupted run.
    ///
    /// # Errors
    /// An ablation, which has no corrupted run.
    pub fn noising(mut self) -> Result<Self> {
        let Source::Run(_) = self.source else {
            return Err(Error::argument(format!(
                "a {} has no corrupted run whose activations could be patched in, and changes the clean run already: \
                 leave noising() out, or give the experiment corrupted prompts.",
                self.source.name()
            )));
        };
        if !self.noising {
            self.noising = true;
            self.base = Arc::default();
        }
        Ok(self)
    }

    /// The working memory that sweeps and scores of edges may take, in bytes; 1 GiB by default. It decides how much runs at
    /// once, and changes no number.
    ///
    /// For edges, the logits of all prompts come on top of the default, and count as part of what a given budget must hold.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// Sweeps save what they have done in this file as they go. One that was interrupted continues from it when it is begun
    /// again with the same file; one that was finished is read from it. Each sweep needs its own file.
    pub fn save_to(mut self, path: impl AsRef<Path>) -> Self {
        self.keep = Some(path.as_ref().into());
        self
    }

    /// The prompts of the run that is patched.
    pub(crate) fn base_tokens(&self) -> &Tokens {
        match &self.source {
            Source::Run(corrupted) if !self.noising => corrupted,
            _ => &self.tokens,
        }
    }

    /// The metric of each prompt in the run that is patched, `[metric, prompt]`.
    pub(crate) fn base_values(&self) -> &[f32] {
        if self.noising { &self.clean_values } else { &self.corrupted_values }
    }

    /// What is patched into the run that is patched.
    pub(crate) fn base_source(&self) -> Source {
        if self.noising { self.source.clone() } else { Source::Run(self.tokens.clone()) }
    }

    /// The run that is patched.
    pub(crate) fn base_run(&self) -> Result<&BaseRun> {
        if let Some(run) = self.base.get() {
            return Ok(run);
        }
        self.forget_first_runs();
        let run = BaseRun::new(&self.model, self.base_tokens())?;
        Ok(self.base.get_or_init(|| run))
    }

    /// What the first runs wrote, if nothing else was done in between.
    pub(crate) fn take_first_runs(&self) -> Option<FirstRuns> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Drops what the first runs wrote, where it is of no use.
    pub(crate) fn forget_first_runs(&self) {
        drop(self.take_first_runs());
    }

    /// The metrics of each prompt from the logits of a whole run, `[metric, prompt]`.
    pub(crate) fn evaluate(&self, logits: &Tensor) -> Result<Vec<f32>> {
        self.metrics.of_logits(logits, Some(&self.clean_logits))
    }

    /// The metrics of each prompt from all logits where they read, `[metric, prompt]`.
    pub(crate) fn values_of(&self, logits: &Tensor) -> Result<Vec<f32>> {
        self.metrics.evaluate(&self.metrics.columns_of(logits)?, Some(&self.clean_logits))
    }
}

impl std::fmt::Debug for Experiment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prompts, positions) = (self.tokens.batch(), self.tokens.pos());
        write!(f, "Experiment({prompts} prompts of {positions} positions")?;
        for (index, name) in self.metrics().iter().enumerate() {
            let of = |values| mean(self.of_metric(values, index));
            write!(f, "; {}: clean {:.4}", visible(name), of(&self.clean_values))?;
            if let Source::Run(_) = self.source {
                write!(f, ", corrupted {:.4}", of(&self.corrupted_values))?;
            }
        }
        match &self.source {
            Source::Run(_) => write!(f, "; {})", if self.noising { "noising" } else { "denoising" }),
            source => write!(f, "; {})", source.name()),
        }
    }
}
