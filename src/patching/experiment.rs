//! Two runs to be compared, and sweeps of sites between them.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use ndarray::{ArrayD, IxDyn};

use super::engine;
use super::metric::Metric;
use super::result::{PatchResult, Untouched};
use super::site::{PatchSite, SweepAxis};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, HookQuery, Site};
use crate::labelled::{Axis, Labelled};
use crate::model::{HookedTransformer, KvCache, RunOptions};
use crate::tokens::{Input, Tokens};

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
/// // All of the last token's stream is all of the answer.
/// let last = result.normalised.at(&[-1, -1])?;
/// assert!(last > 0.5, "{last}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Patching {
    pub(super) model: HookedTransformer,
    pub(super) metric: Metric,
    /// The run that is patched.
    pub(super) base: BaseRun,
    /// The tokens whose activations are put in.
    source: Tokens,
    pub(super) clean_logits: Tensor,
    clean: Vec<f32>,
    corrupted: Vec<f32>,
    noising: bool,
    budget: u64,
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
        let (clean, corrupted) = (model.to_tokens(clean)?, model.to_tokens(corrupted)?);
        check_alike(&clean, &corrupted)?;
        metric.check(&clean, model.cfg().d_vocab_out())?;
        let clean_logits = last_logits(model, &clean)?;
        let clean_values = metric.evaluate(&columns_of(&metric, &clean_logits)?, clean.batch(), Some(&clean_logits))?;
        let mut base = BaseRun::new(model, corrupted)?;
        let logits = last_logits(model, &base.tokens)?;
        base.values = metric.evaluate(&columns_of(&metric, &logits)?, clean.batch(), Some(&clean_logits))?;
        let patching = Self {
            model: model.clone(),
            clean: clean_values,
            corrupted: base.values.clone(),
            base,
            source: clean,
            clean_logits,
            metric,
            noising: false,
            budget: BUDGET,
        };
        patching.check_difference()?;
        Ok(patching)
    }

    /// Corrupted activations are put into the clean run, instead of clean ones into the corrupted run.
    ///
    /// # Errors
    /// As [`HookedTransformer::run`].
    pub fn noising(mut self) -> Result<Self> {
        if !self.noising {
            let clean = std::mem::replace(&mut self.source, self.base.tokens.clone());
            self.base = BaseRun::new(&self.model, clean)?;
            self.base.values = self.clean.clone();
            self.noising = true;
        }
        Ok(self)
    }

    /// The working memory that a sweep may take, in bytes; a gigabyte unless told otherwise.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = bytes;
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

    /// Patches one site after the other along these axes: `sweep("z", &[SweepAxis::Layer, SweepAxis::Head])`. What no axis
    /// names is patched whole.
    ///
    /// # Shapes
    /// One axis for each given.
    ///
    /// # Errors
    /// A site that the model does not have, an axis that its activation does not have or that is given twice, layers where
    /// the point names one.
    pub fn sweep(&self, point: impl Into<HookQuery>, axes: &[SweepAxis]) -> Result<PatchResult> {
        let points = point.into().resolve_all(&self.model.dims())?;
        let by_layer = axes.contains(&SweepAxis::Layer);
        if axes.iter().enumerate().any(|(i, axis)| axes[..i].contains(axis)) {
            return Err(Error::argument(format!("the axes {axes:?} name one twice: give each once.")));
        }
        if points.len() > 1 && !by_layer {
            return Err(Error::argument(format!(
                "the point is in {} layers: name one layer, or sweep over SweepAxis::Layer.",
                points.len()
            )));
        }
        let sizes: Vec<usize> = axes.iter().map(|&axis| self.size(axis, &points)).collect::<Result<_>>()?;
        let count = sizes.iter().product();
        let sites: Vec<PatchSite> = (0..count)
            .map(|mut number| {
                let mut site = PatchSite::of(points[0]);
                for (&axis, &size) in axes.iter().zip(&sizes).rev() {
                    let index = number % size;
                    number /= size;
                    match axis {
                        SweepAxis::Layer => site.point = points[index],
                        SweepAxis::Position => site.pos = Some(index),
                        SweepAxis::Head => site.head = Some(index),
                        SweepAxis::Source => site.source = Some(index),
                        SweepAxis::Neuron => site.neuron = Some(index),
                    }
                }
                site
            })
            .collect();
        let axes =
            axes.iter().zip(&sizes).map(|(&axis, &size)| self.axis(axis, size, &points)).collect::<Result<_>>()?;
        self.run(&sites, axes, &points[0].to_string())
    }

    /// Patches each of these sites by itself.
    ///
    /// # Shapes
    /// `[site]`.
    ///
    /// # Errors
    /// An empty list; a site that the model or the prompts do not have.
    pub fn sites(&self, sites: &[PatchSite]) -> Result<PatchResult> {
        let axis = Axis::new("site", sites.iter().map(PatchSite::to_string));
        self.run(sites, vec![axis], "sites")
    }

    fn size(&self, axis: SweepAxis, points: &[HookPoint]) -> Result<usize> {
        let dims = self.model.dims();
        let has = |names: &[crate::hooks::AxisName]| points[0].axes().iter().find(|axis| names.contains(axis)).copied();
        use crate::hooks::AxisName as Name;
        let of = |names: &[Name]| {
            has(names).map(|name| name.size(&dims, 1, self.base.tokens.pos())).ok_or_else(|| {
                Error::argument(format!("{} has no axis for SweepAxis::{axis:?}: leave it out.", points[0]))
            })
        };
        match axis {
            SweepAxis::Layer => Ok(points.len()),
            SweepAxis::Position => of(&[Name::Pos, Name::QPos]),
            SweepAxis::Head => of(&[Name::Head, Name::KeyValueHead]),
            SweepAxis::Source => of(&[Name::KPos]),
            SweepAxis::Neuron => of(&[Name::DMlp]),
        }
    }

    fn axis(&self, axis: SweepAxis, size: usize, points: &[HookPoint]) -> Result<Axis> {
        Ok(match axis {
            SweepAxis::Layer => Axis::new("layer", points.iter().map(|point| point.layer().unwrap_or(0).to_string())),
            SweepAxis::Position => Axis::new("position", self.position_labels()?),
            SweepAxis::Source => Axis::new("source", self.position_labels()?),
            SweepAxis::Head => Axis::numbered("head", size),
            SweepAxis::Neuron => Axis::numbered("neuron", size),
        })
    }

    /// Each position with the token of the first prompt there, which makes it unique: `"3: Mary"`.
    fn position_labels(&self) -> Result<Vec<String>> {
        let row = self.base.tokens.row(0);
        let text = |&id: &u32| match self.model.tokenizer() {
            Ok(tokenizer) => tokenizer.to_single_str_token(id),
            Err(_) => Ok(id.to_string()),
        };
        row.iter().enumerate().map(|(i, id)| Ok(format!("{i}:{}", text(id)?))).collect()
    }

    fn run(&self, sites: &[PatchSite], axes: Vec<Axis>, what: &str) -> Result<PatchResult> {
        if sites.is_empty() {
            return Err(Error::argument("there is no site to patch: give at least one."));
        }
        let dims = self.model.dims();
        sites.iter().try_for_each(|site| site.check(&dims, self.base.tokens.pos()))?;
        let source = self.source_activations(sites)?;
        let values = engine::sweep(self, sites, &source, self.budget)?;
        let prompts = self.base.tokens.batch();
        let raw: Vec<f32> = values.iter().map(|(values, _)| mean(values)).collect();
        let scale = self.clean() - self.corrupted();
        let normalised = raw.iter().map(|value| (value - self.corrupted()) / scale).collect();
        let each: Vec<f32> = values.iter().flat_map(|(values, _)| values.clone()).collect();
        let untouched: Vec<Option<Untouched>> = values.iter().map(|(_, untouched)| *untouched).collect();
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        let name = self.metric.name();
        let way = if self.noising { "noising" } else { "denoising" };
        let with_prompts = [&axes[..], &[Axis::numbered("prompt", prompts)]].concat();
        Ok(PatchResult {
            raw: Labelled::new(format!("{name}, {way} {what}"), axes.clone(), raw)?,
            normalised: Labelled::new(format!("normalised {name}, {way} {what}"), axes, normalised)?,
            per_prompt: Labelled::new(format!("{name}, {way} {what}"), with_prompts, each)?,
            clean: self.clean(),
            corrupted: self.corrupted(),
            untouched: ArrayD::from_shape_vec(IxDyn(&shape), untouched)
                .map_err(|error| Error::argument(format!("the sites do not fit their axes: {error}.")))?,
        })
    }

    /// Both runs' activations at the points of these sites.
    fn source_activations(&self, sites: &[PatchSite]) -> Result<BTreeMap<HookPoint, (Tensor, Tensor)>> {
        let mut plan = HookPlan::new();
        let mut points: Vec<HookPoint> = sites.iter().map(|site| site.point).collect();
        points.sort_unstable();
        points.dedup();
        for point in &points {
            plan = plan.capture(*point);
        }
        let capture = |tokens: &Tokens| -> Result<BTreeMap<HookPoint, Tensor>> {
            let options = RunOptions { logits: false, ..Default::default() };
            Ok(self.model.run(tokens, &plan, &options)?.captured)
        };
        let (mut source, mut base) = (capture(&self.source)?, capture(&self.base.tokens)?);
        let pair = |point| Some((point, (source.remove(&point)?, base.remove(&point)?)));
        Ok(points.into_iter().filter_map(pair).collect())
    }

    /// The first position at which the two batches differ: before it, a causal model's activations are the same.
    pub(super) fn first_difference(&self) -> usize {
        let (base, source) = (&self.base.tokens, &self.source);
        let differ = |pos: &usize| (0..base.batch()).any(|b| base.id(b, *pos) != source.id(b, *pos));
        (0..base.pos()).find(differ).unwrap_or(base.pos())
    }

    fn check_difference(&self) -> Result<()> {
        let (clean, corrupted) = (self.clean(), self.corrupted());
        let values = self.clean.iter().chain(&self.corrupted);
        if values.clone().any(|value| value.is_nan()) {
            return Err(Error::argument(format!(
                "the {} of a prompt is NaN: run_with_cache shows the first activation that is.",
                self.metric.name()
            )));
        }
        let size = values.fold(f32::MIN_POSITIVE, |size, value| size.max(value.abs()));
        if (clean - corrupted).abs() < 1e-5 * size {
            return Err(Error::argument(format!(
                "the {} is {clean} for the clean prompts and {corrupted} for the corrupted ones: there is no difference \
                 that patching could restore. Do the prompts call for different answers?",
                self.metric.name()
            )));
        }
        Ok(())
    }
}

impl BaseRun {
    fn new(model: &HookedTransformer, tokens: Tokens) -> Result<Self> {
        let plan = HookPlan::new().capture("resid_pre").capture("attn_out").capture(("resid_post", -1));
        let options = RunOptions { keep_kv_cache: true, logits: false, ..Default::default() };
        let run = model.run(&tokens, plan, &options)?;
        let of = |point: HookPoint| run.captured[&point].clone();
        let layers = 0..model.cfg().n_layers;
        let mut resid: Vec<Tensor> = layers.clone().map(|l| of(HookPoint::Block(l, Site::ResidPre))).collect();
        let mid = layers
            .map(|l| Ok((of(HookPoint::Block(l, Site::ResidPre)) + of(HookPoint::Block(l, Site::AttnOut)))?))
            .collect::<Result<_>>()?;
        resid.push(of(HookPoint::Block(model.cfg().n_layers - 1, Site::ResidPost)));
        let kv = run.kv_cache.expect("the options ask for it");
        Ok(Self { tokens, kv, resid, mid, values: Vec::new() })
    }
}

/// The logits after the last token of each prompt, `[prompt, d_vocab_out]`.
fn last_logits(model: &HookedTransformer, tokens: &Tokens) -> Result<Tensor> {
    let logits = model.forward(tokens)?;
    let rows = tokens.last_positions().into_iter().enumerate().map(|(b, last)| logits.get(b)?.get(last));
    Ok(Tensor::stack(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?.to_dtype(DType::F32)?)
}

/// Of all logits those that the metric reads.
fn columns_of(metric: &Metric, logits: &Tensor) -> Result<Tensor> {
    match metric.columns() {
        None => Ok(logits.clone()),
        Some(columns) => {
            let count = columns.len();
            Ok(logits.index_select(&Tensor::from_vec(columns, count, logits.device())?, 1)?)
        }
    }
}

fn check_alike(clean: &Tokens, corrupted: &Tokens) -> Result<()> {
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

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len().max(1) as f64) as f32
}

impl std::fmt::Debug for Patching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prompts, positions) = (self.base.tokens.batch(), self.base.tokens.pos());
        write!(
            f,
            "Patching({prompts} prompts of {positions} positions; {}: clean {:.4}, corrupted {:.4}{})",
            self.metric.name(),
            self.clean(),
            self.corrupted(),
            if self.noising { "; noising" } else { "" }
        )
    }
}
