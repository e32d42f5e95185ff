//! The activations of one run. The cache owns them: reading them needs no model, and dropping the model frees its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::sink::Sink;
use crate::dims::{Dims, ReadBy};
use crate::error::{Error, Result};
use crate::hooks::{AxisName, HookPlan, HookPoint, HookQuery};
use crate::model::{FinalNorm, ModelProvenance};
use crate::slice::Slice;
use crate::tokens::{PaddingSide, Tokens};
use crate::variables::holds;

/// Where a cache comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Which weights the model had, and what was done to them.
    pub model: ModelProvenance,
    /// The plan of the run.
    pub plan: String,
    /// The version of this crate.
    pub version: String,
    /// When the run ended, in UTC.
    pub date: String,
}

impl Provenance {
    /// The beginning of the line that says where a run began.
    pub(super) const BEGAN: &str = "  began ";

    /// What distinguishes the run from a plain run of its tokens, one line each: the edits and splices of its plan, a residual stream
    /// that it started from, positions that were run before. Empty for a plain run.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let plan = HookPlan::new().capture_all().edit(("z", 0), Edit::zero().head(3));
    /// let (_, cache) = model.run_with_hooks("The keys on the cabinet", &plan)?;
    /// assert_eq!(cache.provenance().interventions(), ["edit  z0: zero, head 3"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn interventions(&self) -> Vec<String> {
        let starts = [HookPlan::EDIT, HookPlan::SPLICE, Self::BEGAN];
        let intervenes = |line: &&str| starts.iter().any(|start| line.starts_with(start));
        self.plan.lines().filter(intervenes).map(|line| line.trim().to_string()).collect()
    }
}

/// Activations of one run by hook point, with the sizes of the model and the tokens that were run.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_logits, cache) = model.run_with_cache("The keys on the cabinet")?;
/// assert_eq!(cache.get(("q", 0))?.dims(), cache.get("blocks.0.attn.hook_q")?.dims());
/// assert_eq!(cache.get(("resid_post", -1))?.dim(2)?, model.cfg().d_model);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct ActivationCache {
    pub(super) captured: BTreeMap<HookPoint, Tensor>,
    pub(super) dims: Dims,
    pub(super) tokens: Tokens,
    /// The positions that were kept.
    pub(super) pos: Slice,
    pub(super) has_batch_dim: bool,
    /// The final norm, to recompute it for slices of the residual stream.
    pub(super) final_norm: FinalNorm,
    /// Whether the model has a soft cap on its logits, so that they are not projections of the residual stream.
    pub(super) soft_cap: bool,
    /// The points that the plan of the run changed.
    pub(super) edited: BTreeSet<HookPoint>,
    /// Whether any model of these sizes may read it.
    pub(super) any_model: bool,
    pub(super) provenance: Provenance,
    /// Whether attention to the first token of each prompt counts.
    pub(super) sink: Sink,
}

holds! {
    ActivationCache { captured, tokens } = |cache| match cache.captured.len() {
        1 => "1 activation".into(),
        count => format!("{count} activations"),
    };
}

impl ActivationCache {
    /// The activation at a point, named as in [`HookQuery`]: `"resid_post3"`, `("q", 0)`, `("resid_post", -1)`.
    ///
    /// # Errors
    /// [`Error::UnknownHook`], [`Error::AbsentHook`], [`Error::LayerOutOfRange`], or [`Error::NotCached`].
    pub fn get(&self, point: impl Into<HookQuery>) -> Result<Tensor> {
        let point = self.point(point.into())?;
        self.captured.get(&point).cloned().ok_or_else(|| {
            let hint = if point.on_demand() {
                "it costs extra, so it is kept only when the plan names it: add .capture(..) with this name to the \
                 plan and run again."
            } else {
                "the plan does not capture it: run with a plan that does, or use run_with_cache to capture everything."
            };
            Error::NotCached { point: point.to_string(), hint: hint.into() }
        })
    }

    /// Whether the activation is here.
    pub fn contains(&self, point: impl Into<HookQuery>) -> bool {
        self.point(point.into()).is_ok_and(|point| self.captured.contains_key(&point))
    }

    /// The activation at a point, as part of a sum that makes the residual stream.
    ///
    /// # Errors
    /// As [`ActivationCache::get`]; a point at which something is spliced in, which the cache holds as it was before.
    pub(super) fn added(&self, point: impl Into<HookQuery>) -> Result<Tensor> {
        let point = self.point(point.into())?;
        let is_there = |line: &str| {
            let name = line.split(": ").next().unwrap_or_default();
            // A name that is not understood may be this point's.
            HookQuery::from(name).resolve(&self.dims).map_or(true, |spliced| spliced == point)
        };
        let mut lines = self.provenance.plan.lines().filter_map(|line| line.strip_prefix(HookPlan::SPLICE));
        if self.edited.contains(&point) && lines.any(is_there) {
            return Err(Error::argument(format!(
                "the run went on with what was spliced in at {point}, and the cache holds what was there before, with which \
                 the parts do not add up to the residual stream: capture the splice's last inner point (such as \
                 hook_sae_output) and take it from the cache, or decompose a run without it."
            )));
        }
        self.get(point)
    }

    /// The point that a name means: one of the model's, or one inside a splice that was captured.
    fn point(&self, name: HookQuery) -> Result<HookPoint> {
        let inner = self.captured.keys().copied().filter(|point| matches!(point, HookPoint::Inner(_)));
        name.resolve_among(&self.dims, &inner.collect::<Vec<_>>())
    }

    /// How many activations there are.
    pub fn len(&self) -> usize {
        self.captured.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.captured.is_empty()
    }

    /// The points and activations, in the order of the forward pass.
    pub fn iter(&self) -> impl Iterator<Item = (HookPoint, &Tensor)> {
        self.captured.iter().map(|(point, tensor)| (*point, tensor))
    }

    /// The sizes of the model that was run.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// The tokens that were run.
    pub fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// Where the cache comes from: model, plan, version, date.
    pub fn provenance(&self) -> Provenance {
        self.provenance.clone()
    }

    /// The final norm of the model that was run.
    pub(crate) fn final_norm(&self) -> &FinalNorm {
        &self.final_norm
    }

    /// Whether activations have a batch axis.
    pub fn has_batch_dim(&self) -> bool {
        self.has_batch_dim
    }

    /// The size of all activations in bytes; activations that share memory are counted separately.
    pub fn bytes(&self) -> u64 {
        self.captured.values().map(|t| (t.elem_count() * t.dtype().size_in_bytes()) as u64).sum()
    }

    /// The cache without its batch axis.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are several prompts.
    pub fn remove_batch_dim(mut self) -> Result<Self> {
        if !self.has_batch_dim {
            return Ok(self);
        }
        if self.tokens.batch() != 1 {
            return Err(Error::argument(format!(
                "the batch axis can only be removed from a cache of one prompt, but this one has {}.",
                self.tokens.batch()
            )));
        }
        for tensor in self.captured.values_mut() {
            *tensor = tensor.squeeze(0)?;
        }
        self.has_batch_dim = false;
        Ok(self)
    }

    /// The cache on another device, including the final norm, through which slices of the residual stream are read.
    ///
    /// # Errors
    /// candle's, if it does not fit on the device.
    pub fn to_device(mut self, device: &Device) -> Result<Self> {
        for tensor in self.captured.values_mut() {
            *tensor = tensor.to_device(device)?;
        }
        self.final_norm = self.final_norm.copied(device)?;
        Ok(self)
    }

    /// One site of the layers before `layer` in one tensor; -1 means all layers.
    ///
    /// # Shapes
    /// `[layer, ..]`, followed by the site's own axes.
    ///
    /// # Errors
    /// As [`ActivationCache::get`]; `layer` 0 leaves nothing to stack.
    pub fn stack_activation(&self, name: &str, layer: isize) -> Result<Tensor> {
        let layer = match layer {
            -1 => self.dims.n_layers,
            ..-1 => {
                return Err(Error::argument(format!(
                    "layer {layer} was given to stack {name:?}: give the number of layers to stack, or -1 for all."
                )));
            }
            layer => ReadBy::Block(layer).resolve(&self.dims)?.layer,
        };
        if layer == 0 {
            return Err(Error::argument(format!(
                "there are no layers before layer 0, so there is no {name:?} to stack: give 1 or more, or -1 for all."
            )));
        }
        let parts = (0..layer).map(|l| self.get((name, l))).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&parts, 0)?)
    }

    /// The positions `pos` of an activation of this cache, where `pos` refers to positions of the run.
    ///
    /// # Errors
    /// Positions of a cache that holds only some, or counted from the end of a right-padded batch.
    pub(super) fn at_positions(&self, tensor: &Tensor, pos: &Slice, axis_from_end: usize) -> Result<Tensor> {
        if *pos == Slice::All {
            return Ok(tensor.clone());
        }
        if self.pos != Slice::All {
            return Err(Error::argument(format!(
                "this cache was captured at positions {} only, so position {pos} cannot be selected: leave pos out, or \
                 capture all positions.",
                self.pos
            )));
        }
        if pos.counts_from_end() && self.tokens.is_padded() && self.tokens.padding_side() == PaddingSide::Right {
            return Err(Error::argument(format!(
                "position {pos} counts from the end of a right-padded batch, where the shorter prompts have padding: \
                 pad on the left, or give positions from the start."
            )));
        }
        pos.apply(tensor, tensor.rank() - axis_from_end, "position")
    }

    /// The position axis of an activation counts from its end: 2 for `[.., pos, d_model]`, 3 if a head axis follows.
    pub(super) fn axis_from_end(point: HookPoint) -> usize {
        let axes = point.axes();
        let at = axes.iter().position(|axis| *axis == AxisName::Pos).unwrap_or(axes.len() - 2);
        axes.len() - at
    }
}

impl fmt::Display for ActivationCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ActivationCache of {} points, {}", self.len(), crate::error::human_bytes(self.bytes()))?;
        let width = self.captured.keys().map(|point| point.to_string().len()).max().unwrap_or(0);
        for (point, tensor) in &self.captured {
            writeln!(f, "  {:width$}  {:?}", point.to_string(), tensor.dims())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ActivationCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivationCache({} points, {})", self.len(), crate::error::human_bytes(self.bytes()))
    }
}
