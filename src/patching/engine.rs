//! Many patched runs at once.
//!
//! A patched run differs from the base run only from its site's block and position on. So runs enter layer by layer, each with
//! the residual stream of its changed positions only, and those that begin at the same position continue as one batch; keys
//! and values of earlier positions are the base run's. In the last block, positions before the first one that is read are
//! skipped, and of the logits only those that the metric reads are computed.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::keep::Kept;
use super::result::Untouched;
use super::site::PatchSite;
use super::start::Group;
use crate::error::{Error, Result, human_bytes};
use crate::experiment::{Experiment, Source};
use crate::hooks::{AxisName, Edit, HookPlan, HookPoint, Site};
use crate::host;
use crate::interrupt::uninterrupted;
use crate::model::{AttentionDir, RunOptions};
use crate::progress::Progress;

/// Working memory of a sweep by default, in bytes.
pub(super) const BUDGET: u64 = 1 << 30;

/// How often a sweep with a file saves.
const SAVES: usize = 20;

/// The metrics of each prompt, `[metric, prompt]`, and if they are the base run's, the reason.
pub(crate) type Value = (Vec<f32>, Option<Untouched>);

/// Both runs' activations: what is patched in, and what it replaces.
pub(super) type Activations = BTreeMap<HookPoint, (Tensor, Tensor)>;

/// A patched run: which site of the list, and the first position that it changes.
struct Job {
    index: usize,
    from: usize,
}

/// Runs that begin at one position.
#[derive(Default)]
struct Running {
    jobs: Vec<usize>,
    /// `[job * batch, pos, d_model]`; none before the first.
    resid: Option<Tensor>,
    /// Runs of which only the first position has changed so far, and the stream there, `[job * batch, 1, d_model]`.
    alone: (Vec<usize>, Option<Tensor>),
}

impl Running {
    fn join(&mut self, jobs: impl IntoIterator<Item = usize>, resid: Tensor) -> Result<()> {
        self.jobs.extend(jobs);
        self.resid = Some(behind(self.resid.take(), resid)?);
        Ok(())
    }

    fn join_alone(&mut self, jobs: impl IntoIterator<Item = usize>, resid: Tensor) -> Result<()> {
        self.alone.0.extend(jobs);
        self.alone.1 = Some(behind(self.alone.1.take(), resid)?);
        Ok(())
    }
}

/// Rows behind those that are there.
fn behind(before: Option<Tensor>, resid: Tensor) -> Result<Tensor> {
    Ok(match before {
        Some(before) => Tensor::cat(&[before, resid], 0)?,
        None => resid,
    })
}

/// The metric with each site patched.
pub(super) fn sweep(experiment: &Experiment, sites: &[PatchSite], activations: &Activations) -> Result<Vec<Value>> {
    let mut values: Vec<Option<Value>> = vec![None; sites.len()];
    let kept = experiment.keep.as_ref().map(|path| Kept::new(path, experiment, sites));
    if let Some(kept) = &kept {
        kept.fill(&mut values)?;
    }
    let mut jobs = Vec::new();
    let differing = differing(activations)?;
    for (index, site) in sites.iter().enumerate() {
        let reason = match experiment.has_path(site) {
            false => Some(Untouched::NoPath),
            true if !site.any(&differing[&site.point], activations[&site.point].0.dims())? => {
                Some(Untouched::Identical)
            }
            true => None,
        };
        match reason {
            _ if values[index].is_some() => {}
            Some(_) => values[index] = Some((experiment.base_values().to_vec(), reason)),
            None => jobs.push(Job { index, from: experiment.first_changed(site) }),
        }
    }
    // Sites of one layer come together, so that few batches are formed.
    jobs.sort_by_key(|job| (sites[job.index].point, job.from));
    let most = experiment.rows_at_once()?;
    // A sweep with a file is done in pieces, even where everything would fit at once.
    let pieces = if kept.is_some() { jobs.len().div_ceil(SAVES).max(1) } else { usize::MAX };
    let mut progress = Progress::of("patching", jobs.len() as u64, "sites");
    let mut rest = &jobs[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(experiment.how_many(rest, most).min(pieces));
        progress.together(now.len());
        let mut piece = || {
            for (index, of_prompts) in experiment.run_jobs(now, sites, activations)? {
                values[index] = Some((of_prompts, None));
            }
            kept.iter().try_for_each(|kept| uninterrupted(|| kept.save(&values)))?;
            progress.step(now.len() as u64)
        };
        piece().map_err(|error| error.kept_in(experiment.keep.as_deref()))?;
        rest = later;
    }
    Ok(values.into_iter().map(|value| value.expect("each site was computed or has a reason not to be")).collect())
}

/// Where both runs' activations differ. They are compared where they are, and one copy comes from the device for all points.
///
/// # Errors
/// [`Error::Argument`] for an activation that holds NaN.
fn differing(activations: &Activations) -> Result<BTreeMap<HookPoint, Vec<bool>>> {
    // 1 where they differ, as NaN does from itself, and 2 more where one of them is NaN.
    let codes = activations.values().map(|(source, base)| -> Result<Tensor> {
        let (source, base) = (source.to_dtype(DType::F32)?, base.to_dtype(DType::F32)?);
        let nan = source.ne(&source)?.maximum(&base.ne(&base)?)?;
        Ok(((source.ne(&base)? + &nan)? + &nan)?)
    });
    let codes = host::numbers_of_all::<u8>(&codes.collect::<Result<Vec<_>>>()?)?;
    let of_point = |(&point, codes): (&HookPoint, Vec<u8>)| match codes.iter().any(|&code| code > 1) {
        true => Err(Error::argument(format!("{point} holds NaN, so nothing can be patched there."))),
        false => Ok((point, codes.iter().map(|&code| code == 1).collect())),
    };
    activations.keys().zip(codes).map(of_point).collect()
}

impl PatchSite {
    /// Whether any element that the site patches differs.
    fn any(&self, differing: &[bool], shape: &[usize]) -> Result<bool> {
        Ok(any_in(differing, shape, &self.chosen(shape)?))
    }
}

fn any_in(flags: &[bool], shape: &[usize], chosen: &[Option<Vec<usize>>]) -> bool {
    let (Some((&size, shape)), Some((of_axis, chosen))) = (shape.split_first(), chosen.split_first()) else {
        return flags.iter().any(|&flag| flag);
    };
    let inner = flags.len() / size.max(1);
    let at = |i: usize| any_in(&flags[i * inner..(i + 1) * inner], shape, chosen);
    match of_axis {
        Some(indices) => indices.iter().copied().any(at),
        None => (0..size).any(at),
    }
}

impl Experiment {
    /// Whether no position depends on later ones.
    pub(super) fn is_causal(&self) -> bool {
        self.model.cfg().attention_dir == AttentionDir::Causal && self.model.splices().are_by_position()
    }

    /// Whether the metric can depend on the site: in a causal model not after the last position that is read, and in the last
    /// block only at a position that is read, unless attention still carries it to one.
    pub(crate) fn has_path(&self, site: &PatchSite) -> bool {
        let Some(positions) = site.positions(self.base_tokens().pos()) else { return true };
        let read = self.metrics.rows();
        let is_carried = site.point.stage().is_carried() || !self.model.splices().are_by_position();
        if site.layer() + 1 == self.model.cfg().n_layers && !is_carried {
            return positions.iter().any(|&pos| read.contains(pos));
        }
        !self.is_causal() || positions.iter().any(|&pos| read.reaches(pos))
    }

    /// The first position at which what is patched in may differ: before it, a causal model's activations are the same.
    fn first_difference(&self) -> usize {
        let Source::Run(corrupted) = &self.source else { return 0 };
        let clean = &self.tokens;
        let differ = |pos: &usize| (0..clean.batch()).any(|b| clean.id(b, *pos) != corrupted.id(b, *pos));
        (0..clean.pos()).find(differ).unwrap_or(clean.pos())
    }

    /// The first position at which any activation of the two runs may differ.
    pub(super) fn first_that_differs(&self) -> usize {
        let last = self.base_tokens().pos() - 1;
        if self.is_causal() { self.first_difference().min(last) } else { 0 }
    }

    /// The first position that patching the site changes.
    fn first_changed(&self, site: &PatchSite) -> usize {
        let count = self.base_tokens().pos();
        let first = |positions: Vec<usize>| positions.into_iter().min().unwrap_or(0);
        match (site.positions(count), site.along(AxisName::KPos, count)) {
            _ if !self.is_causal() || !self.model.splices().are_by_block() => 0,
            (Some(positions), _) => first(positions),
            (None, key_pos) => self.first_difference().max(key_pos.map_or(0, first)),
        }
    }

    /// How many rows of the residual stream fit within the budget at once.
    pub(super) fn rows_at_once(&self) -> Result<usize> {
        self.rows_within(self.budget.unwrap_or(BUDGET))
    }

    /// How many rows of the residual stream fit within `budget` bytes at once.
    fn rows_within(&self, budget: u64) -> Result<usize> {
        let (cfg, tokens) = (self.model.cfg(), self.base_tokens());
        let dims = self.model.dims();
        let attention = 4 * cfg.n_heads * dims.d_head + 3 * cfg.n_heads * tokens.pos();
        let spliced = self.model.splices().numbers(&dims, (1, 1), |_| true);
        let numbers = 6 * cfg.d_model + (3 * dims.d_mlp).max(attention) + spliced;
        let row = (numbers * self.model.dtype().size_in_bytes()) as u64;
        let one = (tokens.batch() * tokens.pos()) as u64 * row;
        if budget < one {
            return Err(Error::argument(format!(
                "the budget of {} is too small for a single site, which takes up to {}: give more, or fewer prompts.",
                human_bytes(budget),
                human_bytes(one)
            )));
        }
        Ok((budget / row) as usize)
    }

    /// How many of the jobs fit into `most` rows; at least one.
    fn how_many(&self, jobs: &[Job], most: usize) -> usize {
        let (batch, positions) = (self.base_tokens().batch(), self.base_tokens().pos());
        let mut rows = 0;
        let fit = jobs.iter().take_while(|job| {
            rows += batch * (positions - job.from);
            rows <= most
        });
        fit.count().max(1)
    }

    /// Runs these jobs together; returns the metrics of each prompt by the job's index in the list of sites.
    fn run_jobs(&self, jobs: &[Job], sites: &[PatchSite], activations: &Activations) -> Result<Vec<(usize, Vec<f32>)>> {
        if !self.model.splices().are_by_block() {
            return self.run_whole(jobs, sites, activations);
        }
        let layers = self.model.cfg().n_layers;
        let mut running: BTreeMap<usize, Running> = BTreeMap::new();
        // One step is one run through one block; its logits are the last step.
        let steps: usize = jobs.iter().map(|job| layers - sites[job.index].layer() + 1).sum();
        let mut progress = Progress::of("patched runs", steps as u64, "blocks");
        for layer in 0..layers {
            let mut left = Vec::new();
            for group in self.groups(jobs, sites, layer, activations) {
                let indices = group.jobs.iter().copied();
                let running = running.entry(group.from).or_default();
                if group.sites[0].point == HookPoint::Block(layer, Site::ResidPre) {
                    let resid = group.entering(self.base_tokens().pos())?;
                    if group.alone { running.join_alone(indices, resid)? } else { running.join(indices, resid)? }
                } else {
                    let count = group.jobs.len() as u64;
                    left.push((group.leaving(self)?, group));
                    progress.step(count)?;
                }
            }
            for (&from, running) in &mut running {
                self.next_of(layer, from, running)?;
                progress.step(running.jobs.len() as u64)?;
            }
            for (resid, group) in left {
                let indices = group.jobs.iter().copied();
                let running = running.entry(group.from).or_default();
                match (group.leaves_alone(), layer + 1 == layers) {
                    (true, false) => running.join_alone(indices, resid)?,
                    (true, true) => running.join(indices, self.with_others(layers, group.from, &resid)?)?,
                    (false, _) => running.join(indices, resid)?,
                }
            }
        }
        let (mut done, mut values) = (Vec::new(), Vec::new());
        for (from, running) in running {
            let resid = running.resid.expect("what runs has a stream");
            values.extend(self.values_there(resid, from)?);
            progress.step(running.jobs.len() as u64)?;
            done.extend(running.jobs);
        }
        let values = host::numbers_of_all::<f32>(&values)?.concat();
        Ok(done.into_iter().zip(values.chunks(self.clean_values.len()).map(<[f32]>::to_vec)).collect())
    }

    /// Runs that are in a block go on to the next.
    fn next_of(&self, layer: usize, from: usize, running: &mut Running) -> Result<()> {
        if let Some(resid) = running.resid.take() {
            running.resid = Some(self.next_layer(layer, from, resid)?);
        }
        let (jobs, alone) = std::mem::take(&mut running.alone);
        if let Some(alone) = alone {
            running.join(jobs, self.next_layer_after_one(layer, from, alone)?)?;
        }
        Ok(())
    }

    /// The jobs of one layer by point and first position.
    fn groups<'a>(
        &self,
        jobs: &'a [Job],
        sites: &[PatchSite],
        layer: usize,
        activations: &'a Activations,
    ) -> Vec<Group<'a>> {
        let mut groups: BTreeMap<(HookPoint, usize, bool), Vec<&Job>> = BTreeMap::new();
        for job in jobs.iter().filter(|job| sites[job.index].layer() == layer) {
            let site = &sites[job.index];
            let alone = site.positions(self.base_tokens().pos()).is_some_and(|positions| positions == [job.from]);
            groups.entry((site.point, job.from, alone)).or_default().push(job);
        }
        let group = |((point, from, alone), jobs): ((HookPoint, usize, bool), Vec<&'a Job>)| {
            let (source, base) = &activations[&point];
            let sites = jobs.iter().map(|job| sites[job.index].clone()).collect();
            Group { jobs: jobs.iter().map(|job| job.index).collect(), sites, from, alone, source, base }
        };
        groups.into_iter().map(group).collect()
    }

    /// As [`Experiment::run_jobs`], each run as a whole: for splices that read what earlier blocks made.
    fn run_whole(
        &self,
        jobs: &[Job],
        sites: &[PatchSite],
        activations: &Activations,
    ) -> Result<Vec<(usize, Vec<f32>)>> {
        let (tokens, layers) = (self.base_tokens(), self.model.cfg().n_layers);
        let mut by_point: BTreeMap<HookPoint, Vec<&Job>> = BTreeMap::new();
        jobs.iter().for_each(|job| by_point.entry(sites[job.index].point).or_default().push(job));
        let mut progress = Progress::of("patched runs", jobs.len() as u64, "runs");
        let (mut done, mut values) = (Vec::new(), Vec::new());
        for (point, jobs) in by_point {
            let (source, base) = &activations[&point];
            let chosen = jobs.iter().map(|job| sites[job.index].clone()).collect();
            let indices = jobs.iter().map(|job| job.index).collect();
            let group = Group { jobs: indices, sites: chosen, from: 0, alone: false, source, base };
            let plan = HookPlan::new().edit(point, Edit::replace(group.patched(0, tokens.pos())?));
            let options = RunOptions { stop_at_layer: Some(layers as isize), ..Default::default() };
            let resid = self.model.run(tokens.repeated(jobs.len()), plan, options)?.left;
            values.extend(self.values_there(self.what_is_read_from(resid, 0)?, 0)?);
            progress.step(jobs.len() as u64)?;
            done.extend(jobs.iter().map(|job| job.index));
        }
        let values = host::numbers_of_all::<f32>(&values)?.concat();
        Ok(done.into_iter().zip(values.chunks(self.clean_values.len()).map(<[f32]>::to_vec)).collect())
    }
}
