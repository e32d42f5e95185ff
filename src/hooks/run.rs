//! One run's hooks at work: the forward pass shows each activation to [`HookRun::at`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};

use super::apply::slice_positions;
use super::edit::Edit;
use super::point::HookPoint;
use super::site::Site;
use super::splice_run::TextPart;
use super::splices::Splices;
use super::stage::Stage;
use super::taps::Taps;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::slice::Slice;

/// A plan checked against a model: points exist, edits fit.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(super) captured: BTreeSet<HookPoint>,
    pub(super) edits: BTreeMap<HookPoint, Vec<Edit>>,
    pub(super) watched: BTreeSet<HookPoint>,
    pub(super) splices: Splices,
    pub(super) pos: Slice,
    pub(super) device: Option<Device>,
    pub(super) remove_batch_dim: bool,
}

/// What a plan is checked against besides the model's sizes.
pub(crate) struct Setting<'a> {
    pub reach: &'a Reach,
    pub batch: usize,
    pub pos: usize,
    /// How many positions were run before these.
    pub past: usize,
    pub right_padded: bool,
    /// How many prompts have a token at each position that is run.
    pub prompts_at: &'a [usize],
    /// Whether logits are computed.
    pub logits: bool,
    pub dtype: DType,
    pub device: &'a Device,
}

/// Which part of the model a run passes through.
pub(crate) struct Reach {
    /// The first block; `None` when the run starts at the embedding.
    pub start: Option<usize>,
    /// The first block that does not run; `None` when the run goes on to the logits.
    pub stop: Option<usize>,
    /// How many blocks there are.
    pub n_layers: usize,
}

impl Reach {
    pub(crate) fn whole(dims: &Dims) -> Self {
        Self { start: None, stop: None, n_layers: dims.n_layers }
    }

    /// The blocks that run.
    pub(crate) fn layers(&self) -> Range<usize> {
        self.start.unwrap_or(0)..self.stop.unwrap_or(self.n_layers)
    }

    pub(super) fn contains(&self, point: HookPoint) -> bool {
        match (point.layer(), point.stage()) {
            (Some(layer), _) => self.layers().contains(&layer),
            (None, Stage::Embedding) => self.start.is_none(),
            (None, _) => self.stop.is_none(),
        }
    }

    pub(super) fn check(&self, point: HookPoint) -> Result<()> {
        if self.contains(point) {
            return Ok(());
        }
        let from = self.start.map_or("the embedding".into(), |l| format!("block {l}"));
        let to = self.stop.map_or("the logits".into(), |l| format!("before block {l}"));
        Err(Error::argument(format!(
            "{point} is never reached: this run goes from {from} to {to}. Change start_at_layer or stop_at_layer, or \
             the plan."
        )))
    }
}

/// The hooks of one run and what they have kept so far.
#[derive(Default)]
pub(crate) struct HookRun {
    plan: Resolved,
    /// 1 for real tokens, 0 for padding, `[batch, pos]`; `None` when nothing is padded.
    real: Option<Tensor>,
    /// What is run, where something is spliced in.
    text: TextPart,
    captured: BTreeMap<HookPoint, Tensor>,
    taps: BTreeMap<HookPoint, (Tensor, Var)>,
    /// What splices read.
    read: BTreeMap<HookPoint, Tensor>,
}

impl HookRun {
    pub(crate) fn new(plan: Resolved, real: Option<Tensor>) -> Self {
        Self { plan, real, ..Default::default() }
    }

    /// Hooks that only splice.
    pub(crate) fn splicing(splices: &Splices, text: TextPart) -> Self {
        Self { plan: Resolved { splices: splices.clone(), ..Default::default() }, text, ..Default::default() }
    }

    /// The same hooks in a run of this part of these texts.
    pub(crate) fn of_text(self, text: TextPart) -> Self {
        Self { text, ..self }
    }

    /// Whether something is spliced in.
    pub(crate) fn has_splices(&self) -> bool {
        !self.plan.splices.is_empty()
    }

    /// The same hooks that change one activation as well.
    pub(crate) fn editing(mut self, point: HookPoint, edit: Edit) -> Self {
        self.plan.edits.insert(point, vec![edit]);
        self
    }

    /// Whether they change an activation.
    pub(crate) fn has_edits(&self) -> bool {
        !self.plan.edits.is_empty()
    }

    pub(super) fn text(&self) -> &TextPart {
        &self.text
    }

    pub(super) fn splices(&self) -> &Splices {
        &self.plan.splices
    }

    /// Shows the activation `x` at `point` to the plan: edits act in their order, the result is tapped and kept if asked
    /// for, and then goes through what is spliced in there.
    pub(crate) fn at(&mut self, point: HookPoint, x: Tensor) -> Result<Tensor> {
        let x = self.show(point, x)?;
        let x = self.through_splice(point, x)?;
        self.keep_for_splices(point, &x);
        Ok(x)
    }

    /// Keeps what a later splice reads.
    pub(super) fn keep_for_splices(&mut self, point: HookPoint, x: &Tensor) {
        if self.plan.splices.is_read(point) {
            self.read.insert(point, x.clone());
        }
    }

    /// What was kept for splices to read.
    pub(super) fn kept_for_splices(&self, point: HookPoint) -> Option<Tensor> {
        self.read.get(&point).cloned()
    }

    /// As [`HookRun::at`], without a splice.
    pub(super) fn show(&mut self, point: HookPoint, mut x: Tensor) -> Result<Tensor> {
        for edit in self.plan.edits.get(&point).into_iter().flatten() {
            x = edit.apply(point, &x, self.real.as_ref())?;
        }
        if self.plan.watched.contains(&point) {
            // candle keeps gradients of variables only, so a variable of zeros is added: its gradient is the activation's.
            let tap = Var::zeros(x.shape(), x.dtype(), x.device())?;
            let tapped = (&x + tap.as_tensor())?;
            self.taps.insert(point, (x.detach(), tap));
            x = tapped;
        }
        if self.plan.captured.contains(&point) {
            let mut kept = slice_positions(&x, point, &self.plan.pos)?;
            if let Some(device) = &self.plan.device {
                kept = kept.to_device(device)?;
            }
            if self.plan.remove_batch_dim {
                kept = kept.squeeze(0)?;
            }
            self.captured.insert(point, kept);
        }
        Ok(x)
    }

    /// As [`HookRun::at`], for a site of a block.
    pub(crate) fn at_site(&mut self, layer: usize, site: Site, x: Tensor) -> Result<Tensor> {
        self.at(HookPoint::Block(layer, site), x)
    }

    /// Whether the plan keeps, changes or watches this point, or a splice reads it.
    pub(super) fn names(&self, point: HookPoint) -> bool {
        self.plan.captured.contains(&point) || self.goes_through(point) || self.plan.splices.is_read(point)
    }

    /// Whether the plan edits this point.
    pub(super) fn edits(&self, point: HookPoint) -> bool {
        self.plan.edits.contains_key(&point)
    }

    /// Whether what is here afterwards may be something else than what comes.
    pub(crate) fn changes(&self, point: HookPoint) -> bool {
        self.edits(point) || self.plan.splices.is_at(point)
    }

    fn goes_through(&self, point: HookPoint) -> bool {
        self.changes(point) || self.plan.watched.contains(&point)
    }

    /// Whether the plan keeps, changes, watches or splices at this site of this block, or a splice reads it.
    pub(crate) fn wants(&self, layer: usize, site: Site) -> bool {
        self.names(HookPoint::Block(layer, site))
    }

    /// Whether the run must go through one of these sites of this block, because the plan changes, watches or splices there.
    pub(crate) fn goes_through_any(&self, layer: usize, sites: &[Site]) -> bool {
        sites.iter().any(|&site| self.goes_through(HookPoint::Block(layer, site)))
    }

    /// Whether an activation at one of these sites of this block is another than the model's own, because the plan edits or
    /// splices there.
    pub(crate) fn changes_any(&self, layer: usize, sites: &[Site]) -> bool {
        sites.iter().any(|&site| self.changes(HookPoint::Block(layer, site)))
    }

    /// Whether the plan needs the logits themselves.
    pub(crate) fn wants_logits(&self) -> bool {
        self.names(HookPoint::UnembedOut)
    }

    /// What was kept, and what was watched.
    pub(crate) fn into_parts(self, dims: Dims) -> (BTreeMap<HookPoint, Tensor>, Taps) {
        (self.captured, Taps { taps: self.taps, dims })
    }
}
