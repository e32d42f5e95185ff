//! The plan of one run: what it keeps and what it changes.

use std::fmt;
use std::sync::Arc;

use candle_core::Device;

use super::edit::Edit;
use super::point::HookPoint;
use super::queries::HookQueries;
use super::query::HookQuery;
use super::run::Reach;
use super::splice::Splice;
use super::splices::Splices;
use crate::error::Result;
use crate::slice::Slice;
use crate::visible::visible;

/// Which points a plan keeps.
#[derive(Clone)]
pub(super) enum Capture {
    /// All points that cost nothing extra.
    All,
    Named(HookQuery),
    Where(Arc<dyn Fn(HookPoint) -> bool + Send + Sync>),
}

/// What one run keeps (captures), changes (edits), watches for gradients and splices in. Made in one expression, checked before anything is
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
/// Common plans are one line each: ablating heads, steering with a direction, and knocking out attention.
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
///     println!("{plan}");
///     assert_eq!(logits.dim(1)?, model.to_tokens(prompt)?.pos());
/// }
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct HookPlan {
    pub(super) captures: Vec<Capture>,
    pub(super) edits: Vec<(HookQuery, Edit)>,
    pub(super) watched: Vec<HookQuery>,
    pub(super) splices: Vec<(HookQuery, Arc<dyn Splice>)>,
    pub(super) pos: Slice,
    pub(super) device: Option<Device>,
    pub(super) budget: Option<u64>,
    pub(super) remove_batch_dim: bool,
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
    /// `run.taps.gradients(&scalar)` gives the gradient of a scalar computed from the run's results with respect to the
    /// activation there, after edits and at all positions.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?.without_weight_gradients();
    /// let plan = HookPlan::new().edit(("z", 0), Edit::zero().head(3)).watch("resid_pre");
    /// let run = model.run("The keys on the cabinet", plan, RunOptions { loss: Loss::Mean, ..Default::default() })?;
    /// let gradients = run.taps.gradients(&run.loss.clone().expect("asked for"))?;
    /// assert_eq!(gradients.get(("resid_pre", 1))?.dims(), [1, run.tokens.pos(), model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn watch(mut self, points: impl Into<HookQueries>) -> Self {
        self.watched.extend(points.into().queries);
        self
    }

    /// Splices a function into the model at one point, such as a sparse dictionary: it gets the activation there after the
    /// edits of that point, and the run goes on with what it returns. Its inner sites are points like any others, under the
    /// name of the point and their own: `blocks.2.hook_resid_post.hook_sae_acts_post`. One function at a point; an example is
    /// at [`Splice`].
    pub fn splice(mut self, point: impl Into<HookQuery>, splice: impl Splice + 'static) -> Self {
        self.splices.push((point.into(), Arc::new(splice)));
        self
    }

    /// Keeps only these positions of everything captured; one index drops the axis. Of patterns and scores, query positions.
    pub fn pos(mut self, pos: impl Into<Slice>) -> Self {
        self.pos = pos.into();
        self
    }

    /// Moves what is captured to this device.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = Some(device.clone());
        self
    }

    /// Refuses the run if it would need more than `bytes` (see [`MemoryPlan`](super::MemoryPlan) for what is counted). Without this, a run
    /// on the CPU may need 70 % of the memory that is free, where the system reports it (Linux).
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// Drops the batch axis of everything captured; the run must have one prompt.
    pub fn remove_batch_dim(mut self) -> Self {
        self.remove_batch_dim = true;
        self
    }

    /// How the line of an edit begins in the plan's text.
    pub(crate) const EDIT: &str = "  edit  ";

    /// How the line of a splice begins.
    pub(crate) const SPLICE: &str = "  splice  ";

    /// This plan with those of other splices that a run of this reach comes by.
    pub(crate) fn with_splices_of(mut self, others: &Splices, reach: &Reach) -> Self {
        let reached = others.iter().filter(|(point, _)| reach.contains(*point));
        self.splices.extend(reached.map(|(point, splice)| (point.into(), splice.clone())));
        self
    }

    /// Whether it splices something in and does nothing else.
    pub(crate) fn has_only_splices(&self) -> bool {
        !self.splices.is_empty() && self.edits.is_empty() && self.captures_nothing()
    }

    /// Whether the plan changes nothing.
    pub fn is_read_only(&self) -> bool {
        self.edits.is_empty() && self.splices.is_empty()
    }

    /// Whether the plan watches a point.
    pub(crate) fn watches(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Whether the plan does the same whichever positions are run together: then its runs can be continued.
    pub(crate) fn is_by_position(&self) -> bool {
        self.edits.iter().all(|(_, edit)| edit.is_by_position())
            && self.splices.iter().all(|(_, splice)| splice.is_by_position())
    }

    /// The plan for the positions from `past` to `pos` of a text that grows to `longest`: edits of what is not there yet wait, and
    /// those of earlier positions are done.
    ///
    /// # Errors
    /// A position that the text never reaches; a value with a position axis for positions of which some are not there.
    pub(crate) fn so_far(&self, (past, pos): (usize, usize), longest: usize) -> Result<Self> {
        let there = |(point, edit): &(HookQuery, Edit)| {
            Ok(edit.so_far((past, pos), longest)?.map(|edit| (point.clone(), edit)))
        };
        let edits = self.edits.iter().map(there).filter_map(Result::transpose).collect::<Result<_>>()?;
        Ok(Self { edits, ..self.clone() })
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
        for (query, splice) in &self.splices {
            write!(f, "\n{}{query}: {}", Self::SPLICE, visible(&splice.name()))?;
        }
        for (query, edit) in &self.edits {
            write!(f, "\n{}{query}: {edit}", Self::EDIT)?;
        }
        for query in &self.watched {
            write!(f, "\n  watch {query}")?;
        }
        if self.captures_nothing() && self.is_read_only() {
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
