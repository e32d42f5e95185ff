//! A plan checked against a model and an input: every mistake is found here, before anything is computed.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;

use super::axis::AxisName;
use super::edit::Edit;
use super::memory::MemoryPlan;
use super::plan::{Capture, HookPlan};
use super::point::HookPoint;
use super::run::{Reach, Resolved, Setting};
use super::site::Site;
use super::splices::Splices;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::slice::Slice;

/// What a plan names, as points of a model.
struct Named {
    captured: BTreeSet<HookPoint>,
    watched: BTreeSet<HookPoint>,
    splices: Splices,
}

impl HookPlan {
    /// What a whole run of `batch` prompts of `pos` tokens would need under this plan, computed without running.
    ///
    /// # Errors
    /// Those of the names and slices in the plan; sizes of no model.
    pub fn memory(&self, dims: &Dims, batch: usize, pos: usize, dtype: DType) -> Result<MemoryPlan> {
        dims.check_layers()?;
        let named = self.named(dims, &Reach::whole(dims))?;
        self.memory_of(&named, dims, (batch, pos, 0), (dtype, true))
    }

    fn memory_of(
        &self,
        named: &Named,
        dims: &Dims,
        (batch, pos, past): (usize, usize, usize),
        (dtype, logits): (DType, bool),
    ) -> Result<MemoryPlan> {
        let mut plan = MemoryPlan::of_run(dims, (batch, pos), dtype, logits);
        let edited = self.edited(dims)?;
        // A backward pass goes through every number that a splice makes.
        let asked = |point| !named.watched.is_empty() || named.captured.contains(&point) || edited.contains(&point);
        plan.add_working(named.splices.numbers(dims, (batch, pos), asked));
        for &point in &named.watched {
            plan.push_watched(point, point.shape_after(dims, (batch, pos), past), dtype);
        }
        if !named.watched.is_empty() {
            plan.for_backward(dims);
        }
        let kept = self.pos.after(past)?.count(pos, AxisName::Pos.one())?;
        let drop_pos = matches!(self.pos, Slice::At(_));
        for &point in &named.captured {
            let mut shape = Vec::new();
            for (axis, size) in point.axes().iter().zip(point.shape_after(dims, (batch, pos), past)) {
                match axis {
                    AxisName::Batch if self.remove_batch_dim => {}
                    AxisName::Pos | AxisName::QPos if drop_pos => {}
                    AxisName::Pos | AxisName::QPos => shape.push(kept),
                    _ => shape.push(size),
                }
            }
            plan.push(point, shape, dtype);
        }
        Ok(plan)
    }

    /// The plan's splices, at their points.
    ///
    /// # Errors
    /// Names that the model does not have or that mean several points; two splices at one; what a splice refuses; one that reads
    /// what it cannot.
    pub(crate) fn splices(&self, dims: &Dims) -> Result<Splices> {
        let mut splices = Splices::new(dims);
        for (query, splice) in &self.splices {
            splices.put(query.resolve(dims)?, splice.clone(), dims)?;
        }
        splices.connect(dims)?;
        Ok(splices)
    }

    fn named(&self, dims: &Dims, reach: &Reach) -> Result<Named> {
        let splices = self.splices(dims)?;
        splices.check_reach(reach)?;
        let (captured, watched) =
            (self.captured(dims, reach, &splices.inner())?, self.watched(dims, reach, &splices.inner())?);
        Ok(Named { captured, watched, splices })
    }

    fn captured(&self, dims: &Dims, reach: &Reach, inner: &[HookPoint]) -> Result<BTreeSet<HookPoint>> {
        let mut points = BTreeSet::new();
        let all = || HookPoint::all(dims).into_iter().chain(inner.iter().copied());
        let reachable = || all().filter(|point| reach.contains(*point));
        for capture in &self.captures {
            match capture {
                Capture::All => points.extend(reachable().filter(|point| !point.on_demand())),
                Capture::Named(query) => {
                    for point in query.resolve_all_among(dims, inner)? {
                        reach.check(point)?;
                        points.insert(point);
                    }
                }
                Capture::Where(filter) => {
                    let before = points.len();
                    points.extend(reachable().filter(|point| filter(*point)));
                    if points.len() == before && !reachable().any(filter.as_ref()) {
                        return Err(Error::argument(
                            "the filter of capture_where accepts no hook point of this run: \
                             HookPoint::all(&model.dims()) lists the points that it is given.",
                        ));
                    }
                }
            }
        }
        Ok(points)
    }

    fn watched(&self, dims: &Dims, reach: &Reach, inner: &[HookPoint]) -> Result<BTreeSet<HookPoint>> {
        let mut points = BTreeSet::new();
        for query in &self.watched {
            for point in query.resolve_all_among(dims, inner)? {
                reach.check(point)?;
                if !point.kind().has_gradient() {
                    return Err(Error::argument(format!(
                        "{point} holds token ids, along which nothing has a gradient: watch \"embed\" instead."
                    )));
                }
                points.insert(point);
            }
        }
        Ok(points)
    }

    /// Checks the plan against a model and an input.
    ///
    /// # Errors
    /// Every mistake in the plan; a run that would need more memory than it may.
    pub(crate) fn resolve(&self, dims: &Dims, setting: &Setting) -> Result<Resolved> {
        let &Setting { reach, batch, pos, past, dtype, .. } = setting;
        self.check_setting(setting)?;
        let named = self.named(dims, reach)?;
        let mut edits: BTreeMap<HookPoint, Vec<Edit>> = BTreeMap::new();
        for (query, edit) in &self.edits {
            for point in query.resolve_all_among(dims, &named.splices.inner())? {
                reach.check(point)?;
                let edit = edit.after(past)?;
                edit.check(point, &point.shape_after(dims, (batch, pos), past))?;
                edit.check_mean(point, setting.prompts_at)?;
                edits.entry(point).or_default().push(edit);
            }
        }
        check_inner(&named, &edits, past)?;
        check_split_inputs(&named, &edits)?;
        let logits = setting.logits || named.captured.contains(&HookPoint::UnembedOut);
        let memory = self.memory_of(&named, dims, (batch, pos, past), (dtype, logits))?;
        memory.check(self.budget, batch, setting.device.is_cpu())?;
        let Named { captured, watched, splices } = named;
        let (pos, device) = (self.pos.after(past)?, self.device.clone());
        Ok(Resolved { captured, edits, watched, splices, pos, device, remove_batch_dim: self.remove_batch_dim })
    }

    fn check_setting(&self, setting: &Setting) -> Result<()> {
        if self.remove_batch_dim && setting.batch != 1 {
            return Err(Error::argument(format!(
                "remove_batch_dim needs a run of one prompt, but this one has {}: drop it, or run one prompt.",
                setting.batch
            )));
        }
        let counts_from_end = self.pos.counts_from_end() || self.edits_from_the_end();
        if setting.right_padded && counts_from_end {
            return Err(Error::argument(
                "a position that counts from the end was asked of a right-padded batch, where the last column is \
                 padding for the shorter prompts: pad on the left, or give positions from the start.",
            ));
        }
        Ok(())
    }

    /// The points that are changed: by edits, or by what is spliced in behind them.
    pub(crate) fn edited(&self, dims: &Dims) -> Result<BTreeSet<HookPoint>> {
        let splices = self.splices(dims)?;
        let inner = splices.inner();
        let mut points: BTreeSet<HookPoint> = splices.points().collect();
        for (query, _) in &self.edits {
            points.extend(query.resolve_all_among(dims, &inner)?);
        }
        Ok(points)
    }

    /// Whether the plan names a point behind the last block; else a run can stop before it.
    ///
    /// # Errors
    /// Those of the names in the plan.
    pub(crate) fn has_final(&self, dims: &Dims) -> Result<bool> {
        let named = self.named(dims, &Reach::whole(dims))?;
        let edited = self.edited(dims)?;
        Ok(named.captured.iter().chain(&named.watched).chain(&edited).any(|point| point.is_final()))
    }
}

/// Refuses points inside a splice that the plan does not have, edits of what a splice replaces unread, and a splice of whole
/// texts where only their ends are run.
fn check_inner(named: &Named, edits: &BTreeMap<HookPoint, Vec<Edit>>, past: usize) -> Result<()> {
    let inner = named.splices.inner();
    let mut points = named.captured.iter().chain(edits.keys()).chain(&named.watched);
    if let Some(foreign) = points.find(|point| matches!(point, HookPoint::Inner(_)) && !inner.contains(point)) {
        return Err(Error::argument(format!(
            "{foreign} is inside a splice that this plan does not have: add it with .splice(..)."
        )));
    }
    if let Some(point) = edits.keys().find(|point| named.splices.is_replaced_at(**point)) {
        return Err(Error::argument(format!(
            "an edit of {point} would change nothing, because what is spliced in there replaces the activation without reading \
             it: edit an inner point of the splice, such as its last, or leave it out of the plan."
        )));
    }
    if past > 0 && !named.splices.are_by_position() {
        return Err(Error::argument(
            "the plan splices in a function that does not work position by position, so it needs the whole text, but \
             the first positions of this one were run before: run the text without past_kv_cache, or let the splice \
             say that it works position by position (Splice::is_by_position).",
        ));
    }
    Ok(())
}

/// Where a head's own input is edited, watched or spliced, the one norm that all heads share no longer feeds them: asking
/// for it as well would give a number that the run did not use.
fn check_split_inputs(named: &Named, edits: &BTreeMap<HookPoint, Vec<Edit>>) -> Result<()> {
    let Named { captured, watched, splices } = named;
    let all = edits.keys().chain(watched).copied().chain(splices.points());
    for point in all {
        let HookPoint::Block(layer, site) = point else { continue };
        if !site.row().is_split_input() {
            continue;
        }
        for norm in [Site::Ln1Scale, Site::Ln1Normalized] {
            let norm = HookPoint::Block(layer, norm);
            if captured.contains(&norm) || edits.contains_key(&norm) || watched.contains(&norm) || splices.is_at(norm) {
                let done = match (edits.contains_key(&point), watched.contains(&point)) {
                    (true, _) => "edited",
                    (_, true) => "watched",
                    _ => "spliced",
                };
                return Err(Error::argument(format!(
                    "{point} is {done}, so each head of this block normalises its own input and {norm} is not used: \
                     leave one of the two out of the plan."
                )));
            }
        }
    }
    Ok(())
}
