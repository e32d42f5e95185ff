//! Two runs to be compared, and sweeps of sites between them.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::donor::{Ablation, Donor};
use super::start::copied;
use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::metrics::{BoundMetric, Metric, mean};
use crate::model::{HookedTransformer, KvCache, RunOptions};
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::visible::visible;

/// Working memory of a sweep unless told otherwise, in bytes.
const BUDGET: u64 = 1 << 30;

/// A clean and a corrupted batch of prompts, their metrics, and what is needed to patch one with the other.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = ["When John and Mary went to the shops, John gave the bag to"];
/// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
/// let answers = model.answers([(" Mary", " John")])?;
/// let patching = Patching::new(&model, clean, corrupted, Metric::logit_diff(&answers))?;
/// let result = patching.get_act_patch_resid_pre()?;
/// assert!(result.clean > 0.0 && result.corrupted < 0.0);
/// // The name in which the prompts differ is all of the difference before the first block.
/// assert!((result.normalised.at(&[0, 10])? - 1.0).abs() < 0.05);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Patching {
    pub(super) model: HookedTransformer,
    pub(super) metric: BoundMetric,
    /// The run that is patched.
    pub(super) base: BaseRun,
    /// What gives the activations that are put in.
    pub(super) donor: Donor,
    pub(super) clean_logits: Tensor,
    clean: Vec<f32>,
    corrupted: Vec<f32>,
    pub(super) noising: bool,
    pub(super) budget: u64,
    /// Where sweeps save what they have done.
    pub(super) keep: Option<PathBuf>,
}

/// A run with all that later runs of its suffixes need.
#[derive(Clone)]
pub(super) struct BaseRun {
    pub tokens: Tokens,
    pub kv: KvCache,
    /// The stream that enters each block, and at the end the last one's, `[batch, pos, d_model]`.
    pub resid: Vec<Tensor>,
    /// The stream between attention and MLP of each block, where blocks have one after the other; else with attention's
    /// output added.
    pub mid: Vec<Tensor>,
    /// The metric of each prompt.
    pub values: Vec<f32>,
}

impl Patching {
    /// Runs both batches and takes their metrics.
    ///
    /// # Errors
    /// Prompts of different token counts (position by position is all that patching compares), metrics that are the same
    /// for both, so that nothing could be restored, and as [`HookedTransformer::run`].
    pub fn new(
        model: &HookedTransformer,
        clean: impl Into<Input>,
        corrupted: impl Into<Input>,
        metric: Metric,
    ) -> Result<Self> {
        let model = &model.without_weight_gradients();
        let (clean, corrupted) = (model.to_tokens(clean)?, model.to_tokens(corrupted)?);
        check_alike(&clean, &corrupted)?;
        let metric = metric.bind(&clean, model.cfg().d_vocab_out())?;
        let mut progress = Progress::of("running both prompts", 2, "runs");
        let clean_logits = metric.read(&model.forward(&clean)?)?.to_dtype(DType::F32)?;
        progress.step(1);
        let clean_values = metric.evaluate(&metric.columns_of(&clean_logits)?, Some(&clean_logits))?;
        let (mut base, logits) = BaseRun::new(model, corrupted, &metric)?;
        base.values = metric.evaluate(&metric.columns_of(&logits)?, Some(&clean_logits))?;
        let patching = Self {
            model: model.clone(),
            clean: clean_values,
            corrupted: base.values.clone(),
            base,
            donor: Donor::Run(clean),
            clean_logits,
            metric,
            noising: false,
            budget: BUDGET,
            keep: None,
        };
        patching.check_difference()?;
        Ok(patching)
    }

    /// As [`Patching::new`], for the clean prompts of a cache, which are run again: the sweeps need more of them than a cache
    /// need hold.
    ///
    /// # Errors
    /// A cache that another model made, or the same one processed otherwise; one of a run that was not the plain run of its
    /// prompts (under edits, from a given residual stream, behind a past), whose activations would not be those that are put
    /// in; as [`Patching::new`].
    pub fn from_cache(
        model: &HookedTransformer,
        clean: &ActivationCache,
        corrupted: impl Into<Input>,
        metric: Metric,
    ) -> Result<Self> {
        clean.check_model(model)?;
        let interventions = clean.provenance().interventions();
        if !interventions.is_empty() {
            return Err(Error::argument(format!(
                "from_cache runs the prompts of the cache again, but its own run was not a plain one ({}), so other activations \
                 than the cache's would be put in: make the cache without that, or run what you mean by plans \
                 (Patching::plans).",
                interventions.join("; ")
            )));
        }
        Self::new(model, clean.tokens().clone(), corrupted, metric)
    }

    /// Corrupted activations are put into the clean run, instead of clean ones into the corrupted run.
    ///
    /// # Errors
    /// An ablation, which has no corrupted run; and as [`HookedTransformer::run`].
    pub fn noising(mut self) -> Result<Self> {
        let Donor::Run(clean) = self.donor.clone() else {
            return Err(Error::argument(
                "an ablation has no corrupted run whose activations could be put in, and takes from the clean run already: \
                 leave noising() out, or make the experiment with Patching::new.",
            ));
        };
        if !self.noising {
            self.donor = Donor::Run(self.base.tokens.clone());
            self.base = BaseRun::new(&self.model, clean, &self.metric)?.0;
            self.base.values = self.clean.clone();
            self.noising = true;
        }
        Ok(self)
    }

    /// Sites of one batch of prompts are ablated instead of patched: sweeps then tell what is left of the metric.
    /// `normalised` is the share that remains (the corrupted metric counts as 0).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = ["When John and Mary went to the shops, John gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let heads = Patching::ablation(&model, prompts, metric, &Ablation::Zero)?.get_act_patch_attn_head_out_all_pos()?;
    /// println!("without {:?} {:.2} of it is left", heads.normalised.bottom(1)[0].labels, heads.normalised.bottom(1)[0].value);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the ablation needs and the prompts do not have, a metric that is 0, and as [`Patching::new`].
    pub fn ablation(
        model: &HookedTransformer,
        prompts: impl Into<Input>,
        metric: Metric,
        ablation: &Ablation,
    ) -> Result<Self> {
        let model = &model.without_weight_gradients();
        let tokens = model.to_tokens(prompts)?;
        let metric = metric.bind(&tokens, model.cfg().d_vocab_out())?;
        let donor = Donor::of(ablation, &tokens)?;
        let (mut base, clean_logits) = BaseRun::new(model, tokens, &metric)?;
        let clean = metric.evaluate(&metric.columns_of(&clean_logits)?, Some(&clean_logits))?;
        base.values = clean.clone();
        let patching = Self {
            model: model.clone(),
            corrupted: vec![0.; clean.len()],
            clean,
            base,
            donor,
            clean_logits,
            metric,
            noising: true,
            budget: BUDGET,
            keep: None,
        };
        patching.check_difference()?;
        Ok(patching)
    }

    /// The working memory that a sweep may take, in bytes; a gigabyte unless told otherwise.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = bytes;
        self
    }

    /// Sweeps save what they have done in this file as they go. One that was interrupted, begun again with the same file,
    /// goes on where it was; one that was finished is read from it. Each sweep needs a file of its own.
    pub fn save_to(mut self, path: impl AsRef<Path>) -> Self {
        self.keep = Some(path.as_ref().into());
        self
    }

    /// The metric of the clean run, the mean over prompts.
    pub fn clean(&self) -> f32 {
        mean(&self.clean)
    }

    /// The metric of the corrupted run, the mean over prompts.
    pub fn corrupted(&self) -> f32 {
        mean(&self.corrupted)
    }

    /// Whether the run that is patched is the clean one.
    pub(crate) fn is_noising(&self) -> bool {
        self.noising
    }

    /// The run that is patched, its metric and the logits of the clean run.
    pub(crate) fn base_run(&self) -> (&HookedTransformer, &Tokens, &BoundMetric, &Tensor) {
        (&self.model, &self.base.tokens, &self.metric, &self.clean_logits)
    }

    /// The metric of each prompt from the logits of a whole run.
    pub(super) fn judge(&self, logits: &Tensor) -> Result<Vec<f32>> {
        self.metric.of_logits(logits, Some(&self.clean_logits))
    }

    /// The first position at which what is put in may differ: before it, a causal model's activations are the same.
    pub(super) fn first_difference(&self) -> usize {
        let Donor::Run(source) = &self.donor else { return 0 };
        let base = &self.base.tokens;
        let differ = |pos: &usize| (0..base.batch()).any(|b| base.id(b, *pos) != source.id(b, *pos));
        (0..base.pos()).find(differ).unwrap_or(base.pos())
    }

    /// The metric of each prompt, of the clean and of the corrupted run.
    pub(super) fn of_prompts(&self) -> (&[f32], &[f32]) {
        (&self.clean, &self.corrupted)
    }

    /// The metrics of all prompts, clean and corrupted.
    pub(super) fn both_values(&self) -> impl Iterator<Item = f32> {
        self.clean.iter().chain(&self.corrupted).copied()
    }

    /// Why a metric is NaN: the first activation that is, in either run.
    fn why_nan(&self) -> Error {
        let mut runs = vec![("run that is patched", &self.base.tokens)];
        if let Donor::Run(tokens) = &self.donor {
            runs.push(("other run", tokens));
        }
        for (which, tokens) in runs {
            match first_nan(&self.model, tokens) {
                Ok(Some(point)) => {
                    let name = self.metric.name();
                    return Error::argument(format!(
                        "the {name} of a prompt is NaN, because activations are: the first of the {which} is {point}."
                    ));
                }
                Ok(None) => {}
                Err(error) => return error,
            }
        }
        Error::argument(format!("the {} of a prompt is NaN, though no activation is.", self.metric.name()))
    }

    fn check_difference(&self) -> Result<()> {
        if self.both_values().any(f32::is_nan) {
            return Err(self.why_nan());
        }
        check_difference(self.metric.name(), &self.clean, &self.corrupted)
    }
}

/// Refuses numbers of prompts that are none, and clean and corrupted ones with the same mean.
pub(crate) fn check_difference(metric: &str, of_clean: &[f32], of_corrupted: &[f32]) -> Result<()> {
    let (clean, corrupted) = (mean(of_clean), mean(of_corrupted));
    let values = of_clean.iter().chain(of_corrupted);
    if values.clone().any(|value| value.is_nan()) {
        return Err(Error::argument(format!(
            "the {metric} of a prompt is NaN: run_with_cache shows the first activation that is."
        )));
    }
    let size = values.fold(f32::MIN_POSITIVE, |size, value| size.max(value.abs()));
    if (clean - corrupted).abs() < 1e-5 * size {
        return Err(Error::argument(format!(
            "the {metric} is {clean} for the clean prompts and {corrupted} for the corrupted ones: there is no difference \
             that patching could restore. Do the prompts call for different answers?"
        )));
    }
    Ok(())
}

impl BaseRun {
    /// Keys and values of one layer's positions before `from`, for so many copies of the batch.
    pub(super) fn past(&self, layer: usize, from: usize, copies: usize) -> Result<Option<(Tensor, Tensor)>> {
        let past = self.kv.before(layer, from)?;
        past.map(|(k, v)| Ok((copied(&k, copies)?, copied(&v, copies)?))).transpose()
    }

    /// The run, and its logits where the metric reads, `[row, d_vocab_out]`, f32.
    fn new(model: &HookedTransformer, tokens: Tokens, metric: &BoundMetric) -> Result<(Self, Tensor)> {
        let plan = HookPlan::new().capture("resid_pre").capture("attn_out").capture(("resid_post", -1));
        let options = RunOptions { keep_kv_cache: true, ..Default::default() };
        let run = model.run(&tokens, plan, &options)?;
        let logits = metric.read(run.logits.as_ref().expect("the options ask for logits"))?.to_dtype(DType::F32)?;
        let of = |point: HookPoint| run.captured[&point].clone();
        let layers = 0..model.cfg().n_layers;
        let mut resid: Vec<Tensor> = layers.clone().map(|l| of(HookPoint::Block(l, Site::ResidPre))).collect();
        let mid = layers
            .map(|l| Ok((of(HookPoint::Block(l, Site::ResidPre)) + of(HookPoint::Block(l, Site::AttnOut)))?))
            .collect::<Result<_>>()?;
        resid.push(of(HookPoint::Block(model.cfg().n_layers - 1, Site::ResidPost)));
        let kv = run.kv_cache.expect("the options ask for it");
        Ok((Self { tokens, kv, resid, mid, values: Vec::new() }, logits))
    }
}

/// The first point of a run at which an activation holds NaN.
fn first_nan(model: &HookedTransformer, tokens: &Tokens) -> Result<Option<HookPoint>> {
    let options = RunOptions { logits: false, ..Default::default() };
    let captured = model.run(tokens, HookPlan::new().capture_all(), &options)?.captured;
    for point in HookPoint::all(&model.dims()) {
        let Some(x) = captured.get(&point) else { continue };
        let numbers = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if numbers.iter().any(|number| number.is_nan()) {
            return Ok(Some(point));
        }
    }
    Ok(None)
}

/// Refuses two batches that cannot be compared prompt by prompt and position by position.
pub(crate) fn check_alike(clean: &Tokens, corrupted: &Tokens) -> Result<()> {
    if clean.batch() != corrupted.batch() {
        return Err(Error::tokens(format!(
            "there are {} clean prompts and {} corrupted ones: each needs its counterpart.",
            clean.batch(),
            corrupted.batch()
        )));
    }
    let lengths = clean.lengths().iter().zip(corrupted.lengths());
    if let Some((prompt, (a, b))) = lengths.enumerate().find(|(_, (a, b))| a != b) {
        return Err(Error::tokens(format!(
            "prompt {prompt} has {a} tokens clean and {b} corrupted, but patching goes position by position: make them \
             equally long (to_str_tokens shows the tokens)."
        )));
    }
    if clean.pos() != corrupted.pos() || clean.first_positions() != corrupted.first_positions() {
        return Err(Error::tokens("the two batches are padded differently: pad both on the same side to one length."));
    }
    Ok(())
}

impl std::fmt::Debug for Patching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prompts, positions) = (self.base.tokens.batch(), self.base.tokens.pos());
        write!(
            f,
            "Patching({prompts} prompts of {positions} positions; {}: clean {:.4}, corrupted {:.4}{})",
            visible(self.metric.name()),
            self.clean(),
            self.corrupted(),
            if self.noising { "; noising" } else { "" }
        )
    }
}
