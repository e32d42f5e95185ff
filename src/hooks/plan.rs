//! The plan of one run: what it keeps and what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device};

use super::edit::Edit;
use super::memory::MemoryPlan;
use super::point::HookPoint;
use super::queries::HookQueries;
use super::query::HookQuery;
use super::run::{Reach, Resolved, Setting};
use super::site::{AxisName, Site};
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::slice::Slice;

/// Which points a plan keeps.
#[derive(Clone)]
enum Capture {
    /// All points that cost nothing extra.
    All,
    Named(HookQuery),
    Where(Arc<dyn Fn(HookPoint) -> bool + Send + Sync>),
}

/// What one run keeps (captures), changes (edits) and watches for gradients. Made in one expression, checked before anything is
/// computed, and without effect on any other run.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let plan = HookPlan::new().capture("pattern").capture(("resid_post", -1)).edit(("z", 0), Edit::zero().head(3));
/// let (_logits, cache) = model.run_with_hooks("When John and Mary went to the shops, John gave the bag to", &plan)?;
/// assert_eq!(cache.len(), model.cfg().n_layers + 1);
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// What is often done is one line each: a mask of heads, a direction that steers, and attention that is cut.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// let direction = model.tokens_to_residual_directions([" Mary"])?.squeeze(0)?;
/// let masked = HookPlan::new().edit(("z", 2), Edit::zero().head([1, 5]));
/// let steered = HookPlan::new().edit(("resid_pre", -1), Edit::add((direction * 10.)?));
/// let cut = HookPlan::new().edit("attn_scores", Edit::knock_out().pos(-1).key_pos(4));
/// for plan in [masked, steered, cut] {
///     let (logits, _) = model.run_with_hooks(prompt, &plan)?;
///     println!("{plan}: {:?}", logits.dims());
/// }
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct HookPlan {
    captures: Vec<Capture>,
    edits: Vec<(HookQuery, Edit)>,
    watched: Vec<HookQuery>,
    pos: Slice,
    device: Option<Device>,
    budget: Option<u64>,
    remove_batch_dim: bool,
}

impl HookPlan {
    /// A plan that keeps and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps points, a block site in every layer where no layer is named: `"pattern"`, or several as
    /// `("pattern", ("z", 3))`.
    pub fn capture(mut self, points: impl Into<HookQueries>) -> Self {
        self.captures.extend(points.into().queries.into_iter().map(Capture::Named));
        self
    }

    /// Keeps every point that the model computes anyway; those that cost extra must be named.
    pub fn capture_all(mut self) -> Self {
        self.captures.push(Capture::All);
        self
    }

    /// Keeps the points that `filter` accepts, on-demand ones included.
    pub fn capture_where(mut self, filter: impl Fn(HookPoint) -> bool + Send + Sync + 'static) -> Self {
        self.captures.push(Capture::Where(Arc::new(filter)));
        self
    }

    /// Changes one point (or a site in every layer). Several edits of one point act in the order given.
    pub fn edit(mut self, point: impl Into<HookQuery>, edit: Edit) -> Self {
        self.edits.push((point.into(), edit));
        self
    }

    /// Watches points, a block site in every layer where no layer is named, for gradients: after the run,
    /// `run.taps.gradients(&scalar)` tells how a number made of the run's results changes with the activation there.
    /// What is watched is what the run goes on with, after edits, at all positions.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?.without_weight_gradients();
    /// let plan = HookPlan::new().edit(("z", 0), Edit::zero().head(3)).watch("resid_pre");
    /// let run = model.run("The keys on the cabinet", plan, &RunOptions { loss: Loss::Mean, ..Default::default() })?;
    /// let gradients = run.taps.gradients(&run.loss.clone().expect("asked for"))?;
    /// assert_eq!(gradients.get(("resid_pre", 1))?.dims(), [1, run.tokens.pos(), model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn watch(mut self, points: impl Into<HookQueries>) -> Self {
        self.watched.extend(points.into().queries);
        self
    }

    /// Keeps only these positions of everything captured; one index drops the axis. Of patterns and scores, destinations.
    pub fn pos(mut self, pos: impl Into<Slice>) -> Self {
        self.pos = pos.into();
        self
    }

    /// Moves what is captured to this device.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = Some(device.clone());
        self
    }

    /// Refuses the run if it would need more than `bytes` (see [`MemoryPlan`] for what is counted). Without this, a run
    /// on the CPU may need 70 % of the memory that is free, where the system tells it (Linux).
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// Drops the batch axis of everything captured; the run must have one prompt.
    pub fn remove_batch_dim(mut self) -> Self {
        self.remove_batch_dim = true;
        self
    }

    /// What a whole run of `batch` prompts of `pos` tokens would need under this plan, computed without running.
    ///
    /// # Errors
    /// Those of the names and slices in the plan; sizes of no model.
    pub fn memory(&self, dims: &Dims, batch: usize, pos: usize, dtype: DType) -> Result<MemoryPlan> {
        dims.check_layers()?;
        let reach = Reach::whole(dims);
        let need = MemoryPlan::of_run(dims, (batch, pos), dtype, true);
        let points = (self.captured(dims, &reach)?, self.watched(dims, &reach)?);
        self.memory_of(need, (&points.0, &points.1), dims, (batch, pos, 0), dtype)
    }

    fn memory_of(
        &self,
        mut plan: MemoryPlan,
        (captured, watched): (&BTreeSet<HookPoint>, &BTreeSet<HookPoint>),
        dims: &Dims,
        (batch, pos, past): (usize, usize, usize),
        dtype: DType,
    ) -> Result<MemoryPlan> {
        for &point in watched {
            plan.push_watched(point, point.shape_after(dims, (batch, pos), past), dtype);
        }
        if !watched.is_empty() {
            plan.for_backward(dims);
        }
        let kept = self.pos.after(past)?.count(pos, "position")?;
        let drop_pos = matches!(self.pos, Slice::At(_));
        for &point in captured {
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

    fn captured(&self, dims: &Dims, reach: &Reach) -> Result<BTreeSet<HookPoint>> {
        let mut points = BTreeSet::new();
        let reachable = || HookPoint::all(dims).into_iter().filter(|point| reach.contains(*point));
        for capture in &self.captures {
            match capture {
                Capture::All => points.extend(reachable().filter(|point| !point.on_demand())),
                Capture::Named(query) => {
                    for point in query.resolve_all(dims)? {
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
                             HookPoint::all(&model.dims()) lists the names it is asked about.",
                        ));
                    }
                }
            }
        }
        Ok(points)
    }

    fn watched(&self, dims: &Dims, reach: &Reach) -> Result<BTreeSet<HookPoint>> {
        let mut points = BTreeSet::new();
        for query in &self.watched {
            for point in query.resolve_all(dims)? {
                reach.check(point)?;
                if point == HookPoint::Tokens {
                    return Err(Error::argument(
                        "hook_tokens holds token ids, along which nothing has a gradient: watch \"embed\" instead.",
                    ));
                }
                points.insert(point);
            }
        }
        Ok(points)
    }

    /// Holds the plan against a model and an input; every mistake is found here, before anything is computed.
    pub(crate) fn resolve(&self, dims: &Dims, setting: &Setting) -> Result<Resolved> {
        let &Setting { reach, batch, pos, past, dtype, .. } = setting;
        if self.remove_batch_dim && batch != 1 {
            return Err(Error::argument(format!(
                "remove_batch_dim needs a run of one prompt, but this one has {batch}: drop it, or run one prompt."
            )));
        }
        let counts_from_end = self.pos.counts_from_end() || self.edits.iter().any(|(_, edit)| edit.counts_from_end());
        if setting.right_padded && counts_from_end {
            return Err(Error::argument(
                "a position that counts from the end was asked of a right-padded batch, where the last column is \
                 padding for the shorter prompts: pad on the left, or give positions from the start.",
            ));
        }
        let captured = self.captured(dims, reach)?;
        let mut edits: BTreeMap<HookPoint, Vec<Edit>> = BTreeMap::new();
        for (query, edit) in &self.edits {
            for point in query.resolve_all(dims)? {
                reach.check(point)?;
                let edit = edit.after(past)?;
                edit.check(point, &point.shape_after(dims, (batch, pos), past))?;
                edit.check_mean(point, setting.prompts_at)?;
                edits.entry(point).or_default().push(edit);
            }
        }
        let watched = self.watched(dims, reach)?;
        check_split_inputs(&captured, &edits, &watched)?;
        let need = MemoryPlan::of_run(dims, (batch, pos), dtype, setting.logits);
        let memory = self.memory_of(need, (&captured, &watched), dims, (batch, pos, past), dtype)?;
        memory.check(self.budget, batch, setting.device.is_cpu())?;
        let (pos, device) = (self.pos.after(past)?, self.device.clone());
        Ok(Resolved { captured, edits, watched, pos, device, remove_batch_dim: self.remove_batch_dim })
    }

    /// How the line of an edit begins in the plan's text.
    pub(crate) const EDIT: &str = "  edit  ";

    /// The points that are changed.
    pub(crate) fn edited(&self, dims: &Dims) -> Result<BTreeSet<HookPoint>> {
        let points = self.edits.iter().map(|(query, _)| query.resolve_all(dims)).collect::<Result<Vec<_>>>()?;
        Ok(points.into_iter().flatten().collect())
    }

    /// Whether the plan changes nothing.
    pub fn is_read_only(&self) -> bool {
        self.edits.is_empty()
    }

    /// Whether the final norm is in the plan; else a run can stop before it.
    ///
    /// # Errors
    /// Those of the names in the plan.
    pub(crate) fn has_final_norm(&self, dims: &Dims) -> Result<bool> {
        let whole = Reach::whole(dims);
        let mut points = self.captured(dims, &whole)?;
        points.extend(self.watched(dims, &whole)?);
        points.extend(self.edited(dims)?);
        Ok(points.iter().any(|point| matches!(point, HookPoint::LnFinalScale | HookPoint::LnFinalNormalized)))
    }

    /// Whether the plan watches a point.
    pub(crate) fn watches(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Whether the plan does the same at every position, whichever are run together: then its runs can be continued.
    pub(crate) fn is_same_everywhere(&self) -> bool {
        self.edits.iter().all(|(_, edit)| edit.is_same_everywhere())
    }

    /// The plan for the first `pos` positions of a text that grows to `longest`: edits of what is not there yet wait.
    ///
    /// # Errors
    /// A position that the text never reaches; a value with a position axis for positions of which some are not there.
    pub(crate) fn so_far(&self, pos: usize, longest: usize) -> Result<Self> {
        let edits =
            self.edits.iter().map(|(point, edit)| Ok(edit.so_far(pos, longest)?.map(|edit| (point.clone(), edit))));
        Ok(Self { edits: edits.filter_map(Result::transpose).collect::<Result<_>>()?, ..self.clone() })
    }

    /// Whether the plan keeps and watches nothing.
    pub(crate) fn captures_nothing(&self) -> bool {
        self.captures.is_empty() && self.watched.is_empty()
    }

    /// Whether some edit's position counts from the end.
    pub(crate) fn edits_from_the_end(&self) -> bool {
        self.edits.iter().any(|(_, edit)| edit.counts_from_end())
    }

    /// Whether captures keep their batch axis.
    pub fn keeps_batch_dim(&self) -> bool {
        !self.remove_batch_dim
    }

    /// The positions that captures keep.
    pub fn pos_slice(&self) -> &Slice {
        &self.pos
    }
}

/// Where a head's own input is edited or watched, the one norm that all heads share no longer feeds them: asking for it
/// as well would give a number that the run did not use.
fn check_split_inputs(
    captured: &BTreeSet<HookPoint>,
    edits: &BTreeMap<HookPoint, Vec<Edit>>,
    watched: &BTreeSet<HookPoint>,
) -> Result<()> {
    for point in edits.keys().chain(watched) {
        let HookPoint::Block(layer, site) = *point else { continue };
        if !site.is_split_input() {
            continue;
        }
        for norm in [Site::Ln1Scale, Site::Ln1Normalized] {
            let norm = HookPoint::Block(layer, norm);
            if captured.contains(&norm) || edits.contains_key(&norm) || watched.contains(&norm) {
                let done = if edits.contains_key(point) { "edited" } else { "watched" };
                return Err(Error::argument(format!(
                    "{point} is {done}, so each head of this block normalises its own input and {norm} is not used: \
                     leave one of the two out of the plan."
                )));
            }
        }
    }
    Ok(())
}

impl AsRef<HookPlan> for HookPlan {
    fn as_ref(&self) -> &HookPlan {
        self
    }
}

impl fmt::Display for HookPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookPlan")?;
        for capture in &self.captures {
            match capture {
                Capture::All => write!(f, "\n  keep  everything computed anyway")?,
                Capture::Named(query) => write!(f, "\n  keep  {query}")?,
                Capture::Where(_) => write!(f, "\n  keep  what a filter accepts")?,
            }
        }
        for (query, edit) in &self.edits {
            write!(f, "\n{}{query}: {edit}", Self::EDIT)?;
        }
        for query in &self.watched {
            write!(f, "\n  watch {query}")?;
        }
        if self.captures.is_empty() && self.edits.is_empty() && self.watched.is_empty() {
            f.write_str("\n  keeps and changes nothing")?;
        }
        if self.pos != Slice::All {
            write!(f, "\n  positions {}", self.pos)?;
        }
        if let Some(budget) = self.budget {
            write!(f, "\n  budget {}", crate::error::human_bytes(budget))?;
        }
        Ok(())
    }
}

impl fmt::Debug for HookPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
