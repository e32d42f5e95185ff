//! Which part of an activation is meant: a slice for each axis. Edits, patched sites and sweeps select with it, so that an
//! index means the same everywhere and may be negative everywhere.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Device, Tensor};

use super::axis::AxisName;
use super::point::HookPoint;
use crate::error::{Error, Result};
use crate::slice::Slice;

/// A part of an activation: along each axis one index, several, or all of it. Negative indices count from the end.
///
/// ```
/// use candle_lens::prelude::*;
/// let part = Selection::new().pos(-1).head([1, 5]);
/// assert_eq!(part.to_string(), "pos -1, head [1, 5]");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// By [key](AxisName::key); what is not here is selected whole.
    parts: BTreeMap<AxisName, Slice>,
}

/// The builder methods of a selection, for a type with one in its field `at`.
macro_rules! selecting {
    ($type:ty) => {
        impl $type {
            /// Only at these prompts of the batch.
            pub fn batch(self, batch: impl Into<crate::slice::Slice>) -> Self {
                Self { at: self.at.batch(batch), ..self }
            }

            /// Only at these positions; of attention scores and patterns, these query positions.
            pub fn pos(self, pos: impl Into<crate::slice::Slice>) -> Self {
                Self { at: self.at.pos(pos), ..self }
            }

            /// Only at these key positions (sources) of attention scores and patterns.
            pub fn key_pos(self, pos: impl Into<crate::slice::Slice>) -> Self {
                Self { at: self.at.key_pos(pos), ..self }
            }

            /// Only at these heads.
            pub fn head(self, head: impl Into<crate::slice::Slice>) -> Self {
                Self { at: self.at.head(head), ..self }
            }

            /// Only at these MLP neurons.
            pub fn neuron(self, neuron: impl Into<crate::slice::Slice>) -> Self {
                Self { at: self.at.neuron(neuron), ..self }
            }

            /// Only at these features of a [splice](crate::hooks::Splice).
            pub fn feature(self, feature: impl Into<crate::slice::Slice>) -> Self {
                Self { at: self.at.feature(feature), ..self }
            }

            /// Only at this part.
            pub fn at(self, at: crate::hooks::Selection) -> Self {
                Self { at, ..self }
            }
        }
    };
}
pub(crate) use selecting;

impl Selection {
    /// All of an activation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this part of an axis. [`AxisName::Pos`] is the query position where there are two, and [`AxisName::Head`] the
    /// key/value head where heads share keys.
    pub fn along(mut self, axis: AxisName, slice: impl Into<Slice>) -> Self {
        match slice.into() {
            Slice::All => self.parts.remove(&axis.key()),
            slice => self.parts.insert(axis.key(), slice),
        };
        self
    }

    /// Only these prompts of the batch.
    pub fn batch(self, batch: impl Into<Slice>) -> Self {
        self.along(AxisName::Batch, batch)
    }

    /// Only these positions; of attention scores and patterns, these query positions.
    pub fn pos(self, pos: impl Into<Slice>) -> Self {
        self.along(AxisName::Pos, pos)
    }

    /// Only these key positions (sources) of attention scores and patterns.
    pub fn key_pos(self, pos: impl Into<Slice>) -> Self {
        self.along(AxisName::KPos, pos)
    }

    /// Only these heads.
    pub fn head(self, head: impl Into<Slice>) -> Self {
        self.along(AxisName::Head, head)
    }

    /// Only these MLP neurons.
    pub fn neuron(self, neuron: impl Into<Slice>) -> Self {
        self.along(AxisName::DMlp, neuron)
    }

    /// Only these features of a [splice](super::Splice).
    pub fn feature(self, feature: impl Into<Slice>) -> Self {
        self.along(AxisName::Feature, feature)
    }

    /// What is selected along an axis.
    pub fn slice(&self, axis: AxisName) -> &Slice {
        self.parts.get(&axis.key()).unwrap_or(&Slice::All)
    }

    /// The selected indices along each axis of the activation of `shape` at `point`; `None` where the whole axis is meant.
    ///
    /// # Errors
    /// An axis that the activation does not have; an index outside one, an empty selection.
    pub(crate) fn indices(&self, point: HookPoint, shape: &[usize]) -> Result<Vec<Option<Vec<usize>>>> {
        let axes = point.axes();
        if let Some(axis) = self.parts.keys().find(|axis| axes.iter().all(|there| there.key() != **axis)) {
            let names: Vec<_> = axes.iter().map(|axis| axis.as_str()).collect();
            return Err(Error::argument(format!(
                "{point} has the axes [{}], so no {} can be selected there: drop .{}(..) or choose a point with that \
                 axis.",
                names.join(", "),
                axis.one(),
                axis.word()
            )));
        }
        let of = |(axis, size): (&AxisName, &usize)| match self.slice(*axis) {
            Slice::All => Ok(None),
            slice => slice.indices(*size, axis.one()).map(Some),
        };
        axes.iter().zip(shape).map(of).collect()
    }

    /// The same part without indices that count from the end.
    ///
    /// # Errors
    /// As [`Selection::indices`].
    pub(crate) fn resolved(&self, point: HookPoint, shape: &[usize]) -> Result<Self> {
        let mut resolved = Self::default();
        for (axis, indices) in point.axes().iter().zip(self.indices(point, shape)?) {
            let Some(indices) = indices else { continue };
            let slice: Slice = match self.slice(*axis) {
                Slice::At(_) => indices[0].into(),
                _ => indices.into(),
            };
            resolved = resolved.along(*axis, slice);
        }
        Ok(resolved)
    }

    /// 1 at the selected part and 0 elsewhere, of size 1 along axes that are selected whole; `None` when everything is
    /// selected.
    ///
    /// # Errors
    /// As [`Selection::indices`].
    pub(crate) fn mask(&self, point: HookPoint, shape: &[usize], device: &Device) -> Result<Option<Tensor>> {
        let mut mask: Option<Tensor> = None;
        for (dim, selected) in self.indices(point, shape)?.into_iter().enumerate() {
            let Some(selected) = selected else { continue };
            let mut ones = vec![0u8; shape[dim]];
            selected.into_iter().for_each(|index| ones[index] = 1);
            let mut along = vec![1; shape.len()];
            along[dim] = shape[dim];
            let axis = Tensor::from_vec(ones, along, device)?;
            mask = Some(match mask {
                Some(mask) => mask.broadcast_mul(&axis)?,
                None => axis,
            });
        }
        Ok(mask)
    }

    /// `inside` at the selected part and `outside` elsewhere, both activations at `point`.
    ///
    /// # Errors
    /// As [`Selection::indices`].
    pub(crate) fn choose(&self, point: HookPoint, inside: &Tensor, outside: &Tensor) -> Result<Tensor> {
        match self.mask(point, outside.dims(), outside.device())? {
            Some(mask) => {
                let mask = mask.broadcast_as(outside.shape())?;
                Ok(mask.where_cond(&inside.contiguous()?, &outside.contiguous()?)?)
            }
            None => Ok(inside.contiguous()?),
        }
    }

    /// Whether some position counts from the end.
    pub(crate) fn counts_from_end(&self) -> bool {
        [AxisName::Pos, AxisName::KPos].iter().any(|axis| self.slice(*axis).counts_from_end())
    }

    /// The same part in a run of the positions after the first `past`; key positions are counted from the first in both.
    ///
    /// # Errors
    /// A position before `past`.
    pub(crate) fn after(&self, past: usize) -> Result<Self> {
        let pos = self.slice(AxisName::Pos).after(past)?;
        Ok(self.clone().pos(pos))
    }

    /// The part of it that is there when the positions from `past` to `pos` of a text that grows to `longest` are run, and whether
    /// it is all of it; none where nothing is. Keys are all there from the first on.
    ///
    /// # Errors
    /// A position that the text never reaches.
    pub(crate) fn so_far(&self, (past, pos): (usize, usize), longest: usize) -> Result<Option<(Self, bool)>> {
        let (mut there, mut whole) = (self.clone(), true);
        for (axis, past) in [(AxisName::Pos, past), (AxisName::KPos, 0)] {
            if *self.slice(axis) == Slice::All {
                continue;
            }
            let wanted = self.slice(axis).indices(longest, axis.one())?;
            let reached: Vec<usize> = wanted.iter().copied().filter(|index| (past..pos).contains(index)).collect();
            if reached.is_empty() {
                return Ok(None);
            }
            if reached.len() < wanted.len() {
                (there, whole) = (there.along(axis, reached), false);
            }
        }
        Ok(Some((there, whole)))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return f.write_str("all");
        }
        let parts: Vec<String> = self.parts.iter().map(|(axis, slice)| format!("{} {slice}", axis.word())).collect();
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Site;

    const Z: HookPoint = HookPoint::Block(0, Site::Z);

    #[test]
    fn a_mask_is_one_exactly_at_what_is_selected() -> Result<()> {
        let shape = [2, 5, 3, 4];
        let mask = Selection::new().pos([-1, 1]).head(2).mask(Z, &shape, &Device::Cpu)?.expect("a part is selected");
        assert_eq!(mask.dims(), [1, 5, 3, 1]);
        for pos in 0..5 {
            for head in 0..3 {
                let expected = u8::from([4, 1].contains(&pos) && head == 2);
                assert_eq!(mask.get(0)?.get(pos)?.get(head)?.get(0)?.to_scalar::<u8>()?, expected, "{pos} {head}");
            }
        }
        assert!(Selection::new().mask(Z, &shape, &Device::Cpu)?.is_none());
        assert!(Selection::new().pos(..).head(1).head(..).mask(Z, &shape, &Device::Cpu)?.is_none());
        Ok(())
    }

    #[test]
    fn negative_indices_resolve_and_lists_keep_their_form() -> Result<()> {
        let part = Selection::new().pos(-1).head([-1, 0]).resolved(Z, &[2, 5, 3, 4])?;
        assert_eq!(part, Selection::new().pos(4).head([2, 0]));
        assert_eq!(part.to_string(), "pos 4, head [2, 0]");
        Ok(())
    }

    #[test]
    fn what_an_activation_does_not_have_is_refused_by_name() {
        let message = |part: Selection| part.indices(Z, &[2, 5, 3, 4]).expect_err("refused").to_string();
        assert!(message(Selection::new().neuron(0)).contains("drop .neuron(..)"));
        assert!(message(Selection::new().key_pos(0)).contains("drop .key_pos(..)"));
        assert!(message(Selection::new().feature(0)).contains("drop .feature(..)"));
        assert!(message(Selection::new().head(3)).contains("head 3"));
        assert!(message(Selection::new().along(AxisName::Layer, 0)).contains("no layer can be selected"));
    }
}
