//! One place where an activation is put in, and the axes along which a sweep goes.

use candle_core::{Device, Tensor};

use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, Edit, HookPoint, HookQuery, Site};
use crate::tokens::Tokens;

/// An axis of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepAxis {
    /// Every layer.
    Layer,
    /// Every position; of patterns and scores, the destination.
    Position,
    /// Every head.
    Head,
    /// Every source position of patterns and scores.
    Source,
    /// Every neuron.
    Neuron,
}

/// What of one activation is put in: all of it, or one position, head, source or neuron.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let site = PatchSite::new(&model, ("z", 2))?.pos(3).head(5);
/// assert_eq!(site.to_string(), "blocks.2.attn.hook_z, position 3, head 5");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchSite {
    pub(super) point: HookPoint,
    pub(super) pos: Option<usize>,
    pub(super) head: Option<usize>,
    pub(super) source: Option<usize>,
    pub(super) neuron: Option<usize>,
}

impl PatchSite {
    /// The whole activation at a point.
    ///
    /// # Errors
    /// A name that is no point of this model.
    pub fn new(model: &crate::model::HookedTransformer, point: impl Into<HookQuery>) -> Result<Self> {
        Ok(Self::of(point.into().resolve(&model.dims())?))
    }

    pub(super) fn of(point: HookPoint) -> Self {
        Self { point, pos: None, head: None, source: None, neuron: None }
    }

    /// Only at this position; of patterns and scores, this destination.
    pub fn pos(mut self, pos: usize) -> Self {
        self.pos = Some(pos);
        self
    }

    /// Only at this head.
    pub fn head(mut self, head: usize) -> Self {
        self.head = Some(head);
        self
    }

    /// Only at this source position of a pattern or of scores.
    pub fn source(mut self, source: usize) -> Self {
        self.source = Some(source);
        self
    }

    /// Only at this neuron.
    pub fn neuron(mut self, neuron: usize) -> Self {
        self.neuron = Some(neuron);
        self
    }

    /// The edit of a plan that puts in what `source` has there.
    pub(super) fn edit(&self, source: &Tensor) -> Edit {
        let mut edit = Edit::replace(source.clone());
        if let Some(pos) = self.pos {
            edit = edit.pos(pos);
        }
        if let Some(head) = self.head {
            edit = edit.head(head);
        }
        if let Some(source) = self.source {
            edit = edit.key_pos(source);
        }
        match self.neuron {
            Some(neuron) => edit.neuron(neuron),
            None => edit,
        }
    }

    /// The chosen index along an axis of the activation.
    pub(super) fn along(&self, axis: AxisName) -> Option<usize> {
        match axis {
            AxisName::Pos | AxisName::QPos => self.pos,
            AxisName::Head | AxisName::KeyValueHead => self.head,
            AxisName::KPos => self.source,
            AxisName::DMlp => self.neuron,
            AxisName::Batch | AxisName::DModel | AxisName::DHead | AxisName::One => None,
        }
    }

    /// The indices along each axis of an activation of this shape that are chosen.
    pub(crate) fn ranges(&self, shape: &[usize]) -> Vec<(usize, usize)> {
        let axes = self.point.axes().iter().zip(shape);
        axes.map(|(&axis, &size)| self.along(axis).map_or((0, size), |index| (index, index + 1))).collect()
    }

    /// Where it is.
    pub(crate) fn point(&self) -> HookPoint {
        self.point
    }

    /// That the point is in a block and has the chosen indices.
    pub(super) fn check(&self, dims: &Dims, positions: usize) -> Result<()> {
        let HookPoint::Block(..) = self.point.check(dims)? else {
            return Err(Error::argument(format!(
                "{} is outside the blocks, where nothing is swept: give a point of a block, such as (\"resid_pre\", 0).",
                self.point
            )));
        };
        let mut chosen = [self.pos, self.head, self.source, self.neuron].iter().flatten().count();
        for &axis in self.point.axes() {
            let Some(index) = self.along(axis) else { continue };
            chosen -= 1;
            let size = axis.size(dims, 1, positions);
            if index >= size {
                return Err(Error::argument(format!(
                    "{self}: {axis} {index} does not exist, there are {size} (0 to {}).",
                    size - 1
                )));
            }
        }
        if chosen > 0 {
            let axes: Vec<&str> = self.point.axes().iter().map(|axis| axis.as_str()).collect();
            return Err(Error::argument(format!(
                "{self} chooses along an axis that the activation does not have: its axes are [{}].",
                axes.join(", ")
            )));
        }
        Ok(())
    }

    /// As [`PatchSite::check`], and that an ordinary run computes the point, as patching needs.
    pub(super) fn check_ordinary(&self, dims: &Dims, positions: usize) -> Result<()> {
        self.check(dims, positions)?;
        if self.point.on_demand() {
            return Err(Error::argument(format!(
                "{} is not computed in an ordinary run, so it is not swept: patch it with a plan (HookPlan::edit), or estimate \
                 the sweep by gradients (Experiment::attribution).",
                self.point
            )));
        }
        Ok(())
    }

    /// The prompts that have a token where the site is; all of them where it is not of one position, and where none has one.
    pub(crate) fn prompts(&self, tokens: &Tokens) -> Vec<usize> {
        let is_there = |prompt: usize, pos: Option<usize>| pos.is_none_or(|pos| tokens.is_real(prompt, pos));
        let there: Vec<usize> =
            (0..tokens.batch()).filter(|&b| is_there(b, self.pos) && is_there(b, self.source)).collect();
        if there.is_empty() { (0..tokens.batch()).collect() } else { there }
    }

    /// The layer and the site in it.
    pub(super) fn place(&self) -> (usize, Site) {
        match self.point {
            HookPoint::Block(layer, site) => (layer, site),
            // `check` lets no other point through.
            _ => (0, Site::ResidPre),
        }
    }

    /// 1 where the activation is put in, broadcastable to it; `None` where that is everywhere. Positions count from
    /// `from`, and there are `rows` of them.
    pub(super) fn mask(&self, shape: &[usize], from: usize, device: &Device) -> Result<Option<Tensor>> {
        let mut mask: Option<Tensor> = None;
        for (dim, &axis) in self.point.axes().iter().enumerate() {
            let Some(index) = self.along(axis) else { continue };
            let index = if matches!(axis, AxisName::Pos | AxisName::QPos) { index - from } else { index };
            let mut part = vec![1; shape.len()];
            part[dim] = shape[dim];
            let one: Vec<u8> = (0..shape[dim]).map(|i| u8::from(i == index)).collect();
            let one = Tensor::from_vec(one, part, device)?;
            mask = Some(match mask {
                Some(mask) => mask.broadcast_mul(&one)?,
                None => one,
            });
        }
        Ok(mask)
    }
}

impl std::fmt::Display for PatchSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.point)?;
        let parts = [("position", self.pos), ("head", self.head), ("source", self.source), ("neuron", self.neuron)];
        parts
            .into_iter()
            .filter_map(|(name, index)| Some((name, index?)))
            .try_for_each(|(name, index)| write!(f, ", {name} {index}"))
    }
}
