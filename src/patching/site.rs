//! One part of an activation that is patched.

use candle_core::{Device, Tensor};

use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, Edit, HookPoint, HookQuery, Selection, selecting};
use crate::tokens::Tokens;

/// The part of one activation that is patched in: all of it, or what a [`Selection`] leaves. Negative indices count from the
/// end.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let site = PatchSite::new(&model, ("z", 2))?.pos(-1).head([5, 6]);
/// assert_eq!(site.to_string(), "blocks.2.attn.hook_z, pos -1, head [5, 6]");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchSite {
    pub(super) point: HookPoint,
    pub(super) at: Selection,
}

selecting!(PatchSite);

impl PatchSite {
    /// The whole activation at a point.
    ///
    /// # Errors
    /// A name that is not a point of this model.
    pub fn new(model: &crate::model::HookedTransformer, point: impl Into<HookQuery>) -> Result<Self> {
        Ok(Self::of(point.into().resolve(&model.dims())?))
    }

    pub(super) fn of(point: HookPoint) -> Self {
        Self { point, at: Selection::default() }
    }

    /// The edit of a plan that puts in what `source` has there.
    pub(super) fn edit(&self, source: &Tensor) -> Edit {
        Edit::replace(source.clone()).at(self.at.clone())
    }

    /// Where it is.
    pub(crate) fn point(&self) -> HookPoint {
        self.point
    }

    /// The indices along each axis of an activation of this shape that are chosen; `None` where all are.
    ///
    /// # Errors
    /// Indices that the activation does not have.
    pub(crate) fn chosen(&self, shape: &[usize]) -> Result<Vec<Option<Vec<usize>>>> {
        self.at.indices(self.point, shape)
    }

    /// The same site with all indices counted from the start.
    ///
    /// # Errors
    /// A point outside the blocks; indices that the model or the prompts do not have.
    pub(crate) fn resolved(&self, dims: &Dims, tokens: &Tokens) -> Result<Self> {
        let point = self.point.check(dims)?;
        if point.layer().is_none() {
            return Err(Error::argument(format!(
                "{point} is outside the blocks, where nothing is swept: give a point of a block, such as \
                 (\"resid_pre\", 0)."
            )));
        }
        let shape = point.shape(dims, tokens.batch(), tokens.pos());
        Ok(Self { point, at: self.at.resolved(point, &shape)? })
    }

    /// That an ordinary run computes the point, as patching needs.
    pub(super) fn check_ordinary(&self) -> Result<()> {
        if self.point.on_demand() {
            return Err(Error::argument(format!(
                "{} is not computed in an ordinary run, so it is not swept: patch it with a plan (HookPlan::edit), or \
                 estimate the sweep by gradients (Experiment::attribution).",
                self.point
            )));
        }
        Ok(())
    }

    /// The positions that it changes by itself, of `count`; `None` where that is all of them.
    pub(super) fn positions(&self, count: usize) -> Option<Vec<usize>> {
        self.along(AxisName::Pos, count)
    }

    /// What a resolved site selects along an axis; `None` where that is all of it.
    pub(super) fn along(&self, axis: AxisName, size: usize) -> Option<Vec<usize>> {
        match self.at.slice(axis) {
            crate::slice::Slice::All => None,
            slice => slice.indices(size, axis.one()).ok(),
        }
    }

    /// The prompts at which a resolved site is, among those that it selects: they have a token at one of its positions. All of
    /// those selected where it is not of some positions, and where none has one.
    pub(crate) fn prompts(&self, tokens: &Tokens) -> Vec<usize> {
        let selected = self.along(AxisName::Batch, tokens.batch()).unwrap_or_else(|| (0..tokens.batch()).collect());
        let along = |axis| self.along(axis, tokens.pos());
        let (pos, key_pos) = (along(AxisName::Pos), along(AxisName::KPos));
        let is_there = |prompt: usize, positions: &Option<Vec<usize>>| match positions {
            Some(positions) => positions.iter().any(|&pos| tokens.is_real(prompt, pos)),
            None => true,
        };
        let there: Vec<usize> =
            selected.iter().copied().filter(|&prompt| is_there(prompt, &pos) && is_there(prompt, &key_pos)).collect();
        if there.is_empty() { selected } else { there }
    }

    /// The block that it is in.
    pub(super) fn layer(&self) -> usize {
        // A resolved site is in a block.
        self.point.layer().unwrap_or(0)
    }

    /// 1 where the activation of this whole shape is patched, broadcastable to its positions from `from` on, of which there
    /// are `count`; `None` where that is everywhere.
    pub(super) fn mask(
        &self,
        shape: &[usize],
        (from, count): (usize, usize),
        device: &Device,
    ) -> Result<Option<Tensor>> {
        let Some(mask) = self.at.mask(self.point, shape, device)? else { return Ok(None) };
        let dim = self.point.pos_axis();
        match mask.dim(dim)? {
            1 => Ok(Some(mask)),
            _ => Ok(Some(mask.narrow(dim, from, count)?.contiguous()?)),
        }
    }
}

impl std::fmt::Display for PatchSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at == Selection::default() {
            true => write!(f, "{}", self.point),
            false => write!(f, "{}, {}", self.point, self.at),
        }
    }
}
