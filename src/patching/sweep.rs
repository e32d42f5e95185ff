//! Sweeps along axes and over lists of sites.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use ndarray::{ArrayD, IxDyn};

use super::engine::{self, Value};
use super::grid::Grid;
use super::result::PatchResult;
use super::site::PatchSite;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Levels, PerPrompt, Source, captured};
use crate::hooks::{AxisName, HookPoint, HookQuery, check_free};
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::progress::Progress;

impl Experiment {
    /// Patches one site after the other along these axes: `sweep("z", &[AxisName::Layer, AxisName::Head])`. What no axis
    /// names is patched whole. Where prompts are padded, the mean at a position is over the prompts that have a token
    /// there, and the label says how many they are.
    ///
    /// # Shapes
    /// One axis for each given.
    ///
    /// # Errors
    /// A site that the model does not have, an axis that its activation does not have or that is given twice, layers where
    /// the point names one; a position where the prompts that have a token have the same metric clean and corrupted.
    pub fn sweep(&self, point: impl Into<HookQuery>, axes: &[AxisName]) -> Result<PatchResult> {
        let grid = Grid::new(&self.model, self.base_tokens(), point.into(), axes)?;
        self.run(&grid.sites, grid.axes, &grid.what)
    }

    /// Patches each of these sites alone.
    ///
    /// # Shapes
    /// `[site]`.
    ///
    /// # Errors
    /// An empty list; a site that the model or the prompts do not have; a site at a position where the prompts that have a
    /// token have the same metric clean and corrupted.
    pub fn sites(&self, sites: &[PatchSite]) -> Result<PatchResult> {
        let sites = &self.resolved(sites)?[..];
        let prompts = self.base_tokens().batch();
        let label = |site: &PatchSite| match site.prompts(self.base_tokens()).len() {
            all if all == prompts => site.to_string(),
            some => format!("{site} ({some} of {prompts} prompts)"),
        };
        let axis = Axis::new("site", sites.iter().map(label));
        self.run(sites, vec![axis], "sites")
    }

    fn run(&self, sites: &[PatchSite], axes: Vec<Axis>, what: &str) -> Result<PatchResult> {
        self.check_shares()?;
        sites.iter().try_for_each(|site| self.check_there(site))?;
        self.check_results(sites.len())?;
        let mut progress = Progress::of("patching", sites.len() as u64, "sites");
        let activations = self.activations_of(sites)?;
        progress.together(sites.len());
        let values = engine::sweep(self, sites, &activations)?;
        self.result(sites, values, axes, what)
    }

    /// The metric of each prompt with each of these resolved sites patched alone by what is given for its point, beside what the
    /// run has there.
    pub(crate) fn patched_with(
        &self,
        sites: &[PatchSite],
        activations: &BTreeMap<HookPoint, (Tensor, Tensor)>,
    ) -> Result<Vec<Value>> {
        sites.iter().try_for_each(PatchSite::check_ordinary)?;
        engine::sweep(self, sites, activations)
    }

    /// The result from the metrics of all patched runs, in the order of the axes: one site each, or, where no sites are given,
    /// whatever the axes say. Of several metrics each is a part of the result, along an axis in front.
    pub(crate) fn result(
        &self,
        sites: &[PatchSite],
        values: Vec<Value>,
        axes: Vec<Axis>,
        what: &str,
    ) -> Result<PatchResult> {
        let (prompts, names) = (self.base_tokens().batch(), self.metrics());
        let all: Vec<usize> = (0..prompts).collect();
        let of: Vec<Vec<usize>> = (0..values.len())
            .map(|i| sites.get(i).map_or(all.clone(), |site| site.prompts(self.base_tokens())))
            .collect();
        let (mut raw, mut normalised, mut each) = (Vec::new(), Vec::new(), Vec::new());
        let (mut clean_levels, mut corrupted_levels) = (Vec::new(), Vec::new());
        for metric in 0..names.len() {
            for ((values, _), of) in values.iter().zip(&of) {
                let (clean, corrupted) = self.means(metric, of);
                let values = self.of_metric(values, metric);
                let value = mean_of(values, of);
                raw.push(value);
                normalised.push((value - corrupted) / (clean - corrupted));
                clean_levels.push(clean);
                corrupted_levels.push(corrupted);
                each.extend(values);
            }
        }
        let name = self.metrics.name();
        let axes = match self.metrics.is_list() {
            true => [&[Axis::new("metric", &names)], &axes[..]].concat(),
            false => axes,
        };
        let way = match &self.source {
            Source::Run(_) if self.noising => "noising",
            Source::Run(_) => "denoising",
            _ => "ablating",
        };
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        let untouched = names.iter().flat_map(|_| values.iter().map(|(_, untouched)| *untouched)).collect();
        let there = names.iter().flat_map(|_| of.iter()).flat_map(|of| all.iter().map(|prompt| of.contains(prompt)));
        let with_prompts = [&axes[..], &[Axis::numbered("prompt", prompts)]].concat();
        Ok(PatchResult {
            raw: Labelled::new(format!("{name}, {way} {what}"), axes.clone(), raw)?,
            normalised: Labelled::new(format!("normalised {name}, {way} {what}"), axes, normalised)?,
            per_prompt: Labelled::new(format!("{name}, {way} {what}"), with_prompts, each)?,
            clean: self.clean(),
            corrupted: self.corrupted(),
            untouched: shaped(&shape, untouched)?,
            levels: Levels::new(&shape, clean_levels, corrupted_levels),
            runs: PerPrompt::new(self, &[&shape[..], &[prompts]].concat(), there.collect())?,
            setting: self.setting(),
        })
    }

    /// Refuses more results than there is memory for.
    fn check_results(&self, sites: usize) -> Result<()> {
        // Values while they are computed, then by prompt, and the means.
        let numbers = sites as u64 * (2 * self.clean_values.len() + 5 * self.metrics().len()) as u64;
        let (metrics, prompts) = (self.metrics().len(), self.tokens.batch());
        let what = format!("the results of {sites} sites, {metrics} metrics and {prompts} prompts");
        check_free(4 * numbers, &what, "sweep fewer sites at once, or take fewer metrics or prompts")
    }

    /// Refuses a site at which only some prompts have a token and their metric does not differ, so that nothing could be
    /// normalised.
    pub(crate) fn check_there(&self, site: &PatchSite) -> Result<()> {
        let of = site.prompts(self.base_tokens());
        if of.len() == self.base_tokens().batch() {
            return Ok(());
        }
        for (metric, name) in self.metrics().iter().enumerate() {
            let (clean, corrupted) = self.means(metric, &of);
            if (clean - corrupted).abs() <= 1e-5 * clean.abs().max(corrupted.abs()) {
                return Err(Error::argument(format!(
                    "at {site} only the prompts {of:?} have a token, and their {name} is {clean} clean and {corrupted} \
                     corrupted: there is no difference that patching could restore. Group the prompts by length."
                )));
            }
        }
        Ok(())
    }

    /// One metric of the clean and of the corrupted run, the mean over these prompts.
    pub(crate) fn means(&self, metric: usize, of: &[usize]) -> (f32, f32) {
        let mean = |values| mean_of(self.of_metric(values, metric), of);
        (mean(&self.clean_values), mean(&self.corrupted_values))
    }

    /// The sites with all indices counted from the start, each checked.
    pub(super) fn resolved(&self, sites: &[PatchSite]) -> Result<Vec<PatchSite>> {
        sites.iter().map(|site| site.resolved(&self.model.dims(), self.base_tokens())).collect()
    }

    /// Both runs' activations at the points of these resolved sites.
    pub(super) fn activations_of(&self, sites: &[PatchSite]) -> Result<engine::Activations> {
        if sites.is_empty() {
            return Err(Error::argument("there is no site to patch: give at least one."));
        }
        sites.iter().try_for_each(PatchSite::check_ordinary)?;
        let points: BTreeSet<HookPoint> = sites.iter().map(|site| site.point).collect();
        let base = captured(&self.model, self.base_tokens(), &points)?;
        let mut source = self.base_source().activations(&self.model, self.base_tokens(), &base)?;
        Ok(base.into_iter().filter_map(|(point, base)| Some((point, (source.remove(&point)?, base)))).collect())
    }
}

/// The mean of the numbers of these prompts.
fn mean_of(values: &[f32], of: &[usize]) -> f32 {
    let own: Vec<f32> = of.iter().map(|&prompt| values[prompt]).collect();
    mean(&own)
}

fn shaped<T>(shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>> {
    ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|error| Error::argument(format!("the sites do not fit their axes: {error}.")))
}
