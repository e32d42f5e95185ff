//! Sweeps along axes and over lists of sites.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use ndarray::{ArrayD, IxDyn};

use super::donor::Donor;
use super::engine::{self, Value};
use super::experiment::{Patching, mean};
use super::grid::Grid;
use super::result::{PatchResult, Untouched};
use super::site::{PatchSite, SweepAxis};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, HookQuery};
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
        let grid = Grid::new(&self.model, &self.base.tokens, point.into(), axes)?;
        self.run(&grid.sites, grid.axes, &grid.what)
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

    fn run(&self, sites: &[PatchSite], axes: Vec<Axis>, what: &str) -> Result<PatchResult> {
        if sites.is_empty() {
            return Err(Error::argument("there is no site to patch: give at least one."));
        }
        let dims = self.model.dims();
        sites.iter().try_for_each(|site| site.check(&dims, self.base.tokens.pos()))?;
        let source = self.source_activations(sites)?;
        let values = engine::sweep(self, sites, &source, self.budget)?;
        self.result(values, axes, what)
    }

    /// Results of the metrics of all patched runs, in the order of the axes.
    pub(crate) fn result(&self, values: Vec<Value>, axes: Vec<Axis>, what: &str) -> Result<PatchResult> {
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

    /// Both runs' activations at the points of these sites.
    fn source_activations(&self, sites: &[PatchSite]) -> Result<BTreeMap<HookPoint, (Tensor, Tensor)>> {
        let points: BTreeSet<HookPoint> = sites.iter().map(|site| site.point).collect();
        let base = self.capture(&self.base.tokens, points)?;
        let mut source = self.donated(&base)?;
        Ok(base.into_iter().filter_map(|(point, base)| Some((point, (source.remove(&point)?, base)))).collect())
    }

    /// What is put in where the base run has these activations.
    pub(crate) fn donated(&self, base: &BTreeMap<HookPoint, Tensor>) -> Result<BTreeMap<HookPoint, Tensor>> {
        match &self.donor {
            Donor::Run(tokens) => self.capture(tokens, base.keys().copied().collect()),
            donor => base.iter().map(|(point, x)| Ok((*point, donor.activation(x)?))).collect(),
        }
    }

    fn capture(&self, tokens: &Tokens, points: BTreeSet<HookPoint>) -> Result<BTreeMap<HookPoint, Tensor>> {
        let plan = points.into_iter().fold(HookPlan::new(), |plan, point| plan.capture(point));
        let options = RunOptions { logits: false, ..Default::default() };
        Ok(self.model.run(tokens, &plan, &options)?.captured)
    }
}
