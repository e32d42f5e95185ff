//! Many patched runs at once.
//!
//! A patched run differs from the base run only from its site's block and position on. So runs enter layer by layer, each with
//! the residual stream of its changed positions only, and those that begin at the same position continue as one batch; keys
//! and values of earlier positions are the base run's. In the last block, positions before the first one that is read are
//! skipped, and of the logits only those that the metric reads are computed.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::keep::Kept;
use super::result::Untouched;
use super::site::PatchSite;
use super::start::Group;
use crate::error::{Error, Result, human_bytes};
use crate::experiment::{Experiment, Source};
use crate::hooks::{AxisName, Edit, HookPlan, HookPoint, Site};
use crate::model::{AttentionDir, RunOptions};
use crate::progress::Progress;

/// Working memory of a sweep by default, in bytes.
const BUDGET: u64 = 1 << 30;

/// How often a sweep with a file saves.
const SAVES: usize = 20;

/// Metrics report their progress as often, unless what they read is smaller than this many bytes: a product with the unembedding
/// is slow for few rows at a time.
const REPORTS: usize = 8;
const SMALL: u64 = 1 << 23;

/// The memory of a metric's evaluation, in multiples of the logits that it reads.
const METRIC_TIMES: usize = 5;

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
}

impl Running {
    fn join(&mut self, jobs: impl IntoIterator<Item = usize>, resid: Tensor) -> Result<()> {
        self.jobs.extend(jobs);
        self.resid = Some(match self.resid.take() {
            Some(before) => Tensor::cat(&[before, resid], 0)?,
            None => resid,
        });
        Ok(())
    }
}

/// The metric with each site patched.
pub(super) fn sweep(experiment: &Experiment, sites: &[PatchSite], activations: &Activations) -> Result<Vec<Value>> {
    let mut values: Vec<Option<Value>> = vec![None; sites.len()];
    let kept = experiment.keep.as_ref().map(|path| Kept::new(path, experiment, sites));
    if let Some(kept) = &kept {
        kept.fill(&mut values)?;
    }
    let mut jobs = Vec::new();
    let differing: BTreeMap<HookPoint, Vec<bool>> = activations
        .iter()
        .map(|(point, (source, base))| Ok((*point, differing(*point, source, base)?)))
        .collect::<Result<_>>()?;
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
    let most = experiment.rows_within(experiment.budget.unwrap_or(BUDGET))?;
    // A sweep with a file is done in pieces, even where everything would fit at once.
    let pieces = if kept.is_some() { jobs.len().div_ceil(SAVES).max(1) } else { usize::MAX };
    let mut progress = Progress::of("patching", jobs.len() as u64, "sites");
    let mut rest = &jobs[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(experiment.how_many(rest, most).min(pieces));
        progress.together(now.len());
        for (index, of_prompts) in experiment.run_jobs(now, sites, activations)? {
            values[index] = Some((of_prompts, None));
        }
        if let Some(kept) = &kept {
            kept.save(&values)?;
        }
        progress.step(now.len() as u64);
        rest = later;
    }
    Ok(values.into_iter().map(|value| value.expect("each site was computed or has a reason not to be")).collect())
}

/// Where two activations differ.
///
/// # Errors
/// [`Error::Argument`] for an activation that holds NaN.
fn differing(point: HookPoint, source: &Tensor, base: &Tensor) -> Result<Vec<bool>> {
    let of = |x: &Tensor| -> Result<Vec<f32>> {
        let numbers = x.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        match numbers.iter().any(|number| number.is_nan()) {
            true => Err(Error::argument(format!("{point} holds NaN, so nothing can be patched there."))),
            false => Ok(numbers),
        }
    };
    Ok(of(source)?.into_iter().zip(of(base)?).map(|(source, base)| source != base).collect())
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
    fn is_causal(&self) -> bool {
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
            let mut groups: BTreeMap<(HookPoint, usize, bool), Vec<&Job>> = BTreeMap::new();
            for job in jobs.iter().filter(|job| sites[job.index].layer() == layer) {
                let site = &sites[job.index];
                let single = site.positions(self.base_tokens().pos()).is_some_and(|positions| positions.len() == 1);
                groups.entry((site.point, job.from, single)).or_default().push(job);
            }
            let mut left = Vec::new();
            for ((point, from, _), jobs) in groups {
                let (source, base) = &activations[&point];
                let chosen = jobs.iter().map(|job| sites[job.index].clone()).collect();
                let group = Group { sites: chosen, from, source, base };
                let indices = jobs.iter().map(|job| job.index);
                if point == HookPoint::Block(layer, Site::ResidPre) {
                    let resid = group.entering(self.base_tokens().pos())?;
                    running.entry(from).or_default().join(indices, resid)?;
                } else {
                    let suffix = self.model.suffix_of_copies(self.base_tokens(), from, jobs.len())?;
                    left.push((from, indices.collect::<Vec<_>>(), group.leaving(self, &suffix)?));
                    progress.step(jobs.len() as u64);
                }
            }
            for (&from, running) in &mut running {
                let resid = running.resid.take().expect("what runs has a stream");
                running.resid = Some(self.next_layer(layer, from, resid)?);
                progress.step(running.jobs.len() as u64);
            }
            for (from, indices, resid) in left {
                // After the last block, earlier runs hold only positions that matter.
                let resid = if layer + 1 == layers { self.what_is_read_from(resid, from)? } else { resid };
                running.entry(from).or_default().join(indices, resid)?;
            }
        }
        let mut found = Vec::new();
        for (from, running) in running {
            let resid = running.resid.expect("what runs has a stream");
            let values = self.values(resid, from)?;
            progress.step(running.jobs.len() as u64);
            found.extend(running.jobs.into_iter().zip(values.chunks(self.clean_values.len()).map(<[f32]>::to_vec)));
        }
        Ok(found)
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
        let mut found = Vec::new();
        for (point, jobs) in by_point {
            let (source, base) = &activations[&point];
            let chosen = jobs.iter().map(|job| sites[job.index].clone()).collect();
            let group = Group { sites: chosen, from: 0, source, base };
            let plan = HookPlan::new().edit(point, Edit::replace(group.patched(tokens.pos())?));
            let options = RunOptions { stop_at_layer: Some(layers as isize), ..Default::default() };
            let resid = self.model.run(tokens.repeated(jobs.len()), plan, options)?.left;
            let values = self.values(self.what_is_read_from(resid, 0)?, 0)?;
            progress.step(jobs.len() as u64);
            found.extend(
                jobs.iter().map(|job| job.index).zip(values.chunks(self.clean_values.len()).map(<[f32]>::to_vec)),
            );
        }
        Ok(found)
    }

    /// The first position of the last block that is needed in full: attention there only looks back, so earlier positions are
    /// needed for their keys and values alone.
    fn first_read(&self) -> usize {
        // A splice there may be at the keys themselves.
        let spliced = self.model.splices().is_in(self.model.cfg().n_layers - 1);
        if self.is_causal() && !spliced { self.metrics.rows().first() } else { 0 }
    }

    /// Of a residual stream whose positions begin at `from`, the positions that matter after the last block.
    fn what_is_read_from(&self, resid: Tensor, from: usize) -> Result<Tensor> {
        match self.first_read().saturating_sub(from) {
            0 => Ok(resid),
            before => Ok(resid.narrow(1, before, resid.dim(1)? - before)?.contiguous()?),
        }
    }

    /// The residual stream after block `layer` of runs that begin at position `from`; after the last block, from the first
    /// position that is read.
    fn next_layer(&self, layer: usize, from: usize, resid: Tensor) -> Result<Tensor> {
        let tokens = self.base_tokens();
        let copies = resid.dim(0)? / tokens.batch();
        let suffix = self.model.suffix_of_copies(tokens, from, copies)?;
        let past = self.base_run()?.past(layer, from, copies)?;
        let (run, first) = (&mut self.model.hooks(tokens, from), self.first_read());
        if layer + 1 < self.model.cfg().n_layers || first <= from {
            return self.model.block_on_suffix(layer, resid, &suffix, past, run);
        }
        let before = resid.narrow(1, 0, first - from)?.contiguous()?;
        let past = self.model.keys_and_values(layer, &before, &suffix.first(first - from)?, past)?;
        let suffix = self.model.suffix_of_copies(tokens, first, copies)?;
        self.model.block_on_suffix(layer, self.what_is_read_from(resid, from)?, &suffix, Some(past), run)
    }

    /// The metrics of each prompt from the final stream of runs that begin at position `from`, `[run, metric, prompt]`; as many runs
    /// at once as the budget has room for in logits.
    fn values(&self, resid: Tensor, from: usize) -> Result<Vec<f32>> {
        let batch = self.base_tokens().batch();
        let copies = resid.dim(0)? / batch;
        let of_copy = (METRIC_TIMES * self.metrics.rows().len() * self.metrics.width(&self.model) * 4) as u64;
        let within = |bytes: u64| (bytes / of_copy.max(1)).clamp(1, copies as u64) as usize;
        let most = within(self.budget.unwrap_or(BUDGET)).min(within(SMALL).max(copies.div_ceil(REPORTS)));
        let mut progress = Progress::of("evaluating metrics", copies as u64, "runs");
        let mut values = Vec::with_capacity(copies * self.clean_values.len());
        for first in (0..copies).step_by(most) {
            let count = most.min(copies - first);
            let rows = self.read_rows(&resid.narrow(0, first * batch, count * batch)?, from, count)?;
            let logits = self.metrics.logits_after(&self.model, &rows)?;
            values.extend(self.metrics.evaluate(&logits, Some(&self.clean_logits))?);
            progress.step(count as u64);
        }
        Ok(values)
    }

    /// The final stream where the metric reads it, `[copy * row, d_model]`; the base run's at positions before `from`, which the
    /// run shares with it.
    fn read_rows(&self, resid: &Tensor, from: usize, copies: usize) -> Result<Tensor> {
        let (batch, rows) = (self.base_tokens().batch(), self.metrics.rows());
        let (begins, positions) = (from.max(self.first_read()), resid.dim(1)?);
        let runs = copies * batch * positions;
        let mut shared = false;
        let mut places = Vec::with_capacity(copies * rows.len());
        for copy in 0..copies {
            for (prompt, of_prompt) in rows.positions().iter().enumerate() {
                places.extend(of_prompt.iter().map(|&position| match position.checked_sub(begins) {
                    Some(place) => ((copy * batch + prompt) * positions + place) as u32,
                    None => {
                        shared = true;
                        (runs + prompt * self.base_tokens().pos() + position) as u32
                    }
                }));
            }
        }
        let mut stream = resid.flatten(0, 1)?;
        if shared {
            stream = Tensor::cat(&[stream, self.base_run()?.resid[self.model.cfg().n_layers].flatten(0, 1)?], 0)?;
        }
        Ok(stream.index_select(&Tensor::new(places, stream.device())?, 0)?)
    }
}
