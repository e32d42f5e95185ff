//! Sweeps along axes and over lists of sites.

use std::collections::BTreeMap;

use candle_core::Tensor;
use ndarray::{ArrayD, IxDyn};

use super::donor::Donor;
use super::engine;
use super::experiment::{Patching, mean};
use super::result::{PatchResult, Untouched};
use super::site::{PatchSite, SweepAxis};
use crate::error::{Error, Result};
use crate::hooks::{AxisName as Name, HookPlan, HookPoint, HookQuery};
use crate::labelled::{Axis, Labelled};
use crate::model::RunOptions;
use crate::tokens::Tokens;

impl Patching {
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
        let has = |names: &[Name]| points[0].axes().iter().find(|axis| names.contains(axis)).copied();
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
        let activations = self.activations_of(sites)?;
        let values = engine::sweep(self, sites, &activations)?;
        self.result(values, axes, what)
    }

    /// Results of the metrics of all patched runs, in the order of the axes.
    pub(super) fn result(&self, values: Vec<engine::Value>, axes: Vec<Axis>, what: &str) -> Result<PatchResult> {
        let prompts = self.base.tokens.batch();
        let raw: Vec<f32> = values.iter().map(|(values, _)| mean(values)).collect();
        let scale = self.clean() - self.corrupted();
        let normalised = raw.iter().map(|value| (value - self.corrupted()) / scale).collect();
        let each: Vec<f32> = values.iter().flat_map(|(values, _)| values.clone()).collect();
        let untouched: Vec<Option<Untouched>> = values.iter().map(|(_, untouched)| *untouched).collect();
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        let name = self.metric.name();
        let way = match &self.donor {
            Donor::Run(_) if self.noising => "noising",
            Donor::Run(_) => "denoising",
            _ => "ablating",
        };
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

    /// Both runs' activations at the points of these sites, which are checked.
    pub(super) fn activations_of(&self, sites: &[PatchSite]) -> Result<engine::Activations> {
        if sites.is_empty() {
            return Err(Error::argument("there is no site to patch: give at least one."));
        }
        let dims = self.model.dims();
        sites.iter().try_for_each(|site| site.check(&dims, self.base.tokens.pos()))?;
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
        let base = capture(&self.base.tokens)?;
        let mut source = match &self.donor {
            Donor::Run(tokens) => capture(tokens)?,
            donor => base.iter().map(|(point, x)| Ok((*point, donor.activation(x)?))).collect::<Result<_>>()?,
        };
        Ok(base.into_iter().filter_map(|(point, base)| Some((point, (source.remove(&point)?, base)))).collect())
    }
}
