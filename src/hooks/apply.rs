//! How an edit is checked against an activation's axes, and carried out.
//!
//! Everything is done by `where` over a 0/1 mask of the selected part, so that gradients flow through the part that
//! stays and through the value that takes its place.

use candle_core::{D, Tensor};

use super::axis::AxisName;
use super::edit::{Action, Edit, MeanOver};
use super::point::HookPoint;
use super::stage::Kind;
use crate::error::{Error, Result};
use crate::host;
use crate::slice::Slice;
use crate::wide::widened;

/// The selected indices along each axis; `None` where the whole axis is meant.
struct Scope {
    axes: Vec<Option<Vec<usize>>>,
    /// Axes selected by one index, which the shape of the part leaves out.
    dropped: Vec<usize>,
}

impl Edit {
    fn scope(&self, point: HookPoint, shape: &[usize]) -> Result<Scope> {
        let axes = self.at.indices(point, shape)?;
        let is_one = |dim: &usize| matches!(self.at.slice(point.axes()[*dim]), Slice::At(_));
        let dropped = (0..axes.len()).filter(is_one).collect();
        Ok(Scope { axes, dropped })
    }

    /// Checks the edit against an activation of `shape` at `point`, before anything is computed.
    pub(super) fn check(&self, point: HookPoint, shape: &[usize]) -> Result<()> {
        let scope = self.scope(point, shape)?;
        if let Action::Replace(value) | Action::Add(value) = &self.action {
            scope.layout(value.dims(), shape).ok_or_else(|| {
                let part = scope.part_shape(shape);
                let expected = if part == shape {
                    format!("{shape:?} or what broadcasts to it")
                } else {
                    format!("{part:?} (the selected part) or {shape:?} (the whole activation)")
                };
                Error::shape(format!("the value of an edit of {point}"), expected, value.dims())
            })?;
        }
        if point.kind() == Kind::Ids && !matches!(self.action, Action::Replace(_) | Action::Custom { .. }) {
            return Err(Error::argument(format!(
                "{point} holds token ids, so \"{self}\" makes no sense there: use Edit::replace or Edit::custom."
            )));
        }
        self.check_direction(point, shape, &scope)?;
        if matches!(self.action, Action::KnockOut) && point.kind() != Kind::Score {
            return Err(Error::argument(format!(
                "{point} is not an attention score, so there is nothing to knock out: edit (\"attn_scores\", layer), \
                 or zero it."
            )));
        }
        Ok(())
    }

    /// Refuses a direction of another width or of zeros, and a norm kept where there is none.
    fn check_direction(&self, point: HookPoint, shape: &[usize], scope: &Scope) -> Result<()> {
        let direction = match &self.action {
            Action::ProjectOut(direction) => Some(direction),
            _ if self.keeps_norm => None,
            _ => return Ok(()),
        };
        if point.kind() != Kind::Vector {
            return Err(Error::argument(format!(
                "{point} does not hold vectors, so \"{self}\" makes no sense there: choose a point of vectors, such as \
                 resid_post."
            )));
        }
        if scope.axes.last().is_some_and(Option::is_some) {
            return Err(Error::argument(format!(
                "\"{self}\" of {point} concerns whole vectors, but only some of their numbers are selected: drop that \
                 selection."
            )));
        }
        if self.keeps_norm && matches!(self.action, Action::Scale(_)) {
            return Err(Error::argument(format!(
                "\"{self}\" would leave each vector as it was, or turn it round: leave out the scale or keeping_norm()."
            )));
        }
        let Some(direction) = direction else { return Ok(()) };
        let width = shape.last().copied().unwrap_or(0);
        if direction.dims() != [width] {
            let what = format!("the direction that is projected out of {point}");
            return Err(Error::shape(what, format!("[{width}]"), direction.dims()));
        }
        let norm = host::numbers::<f32>(&widened(direction)?.sqr()?.sum_all()?)?[0];
        match norm > 0. && norm.is_finite() {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "the direction that is projected out of {point} has the squared norm {norm}: give one that is finite and \
                 not 0 everywhere."
            ))),
        }
    }

    /// Refuses a mean that is of one activation alone wherever it is put, and so would change nothing; `prompts_at` counts the
    /// prompts that have a token at each position.
    pub(super) fn check_mean(&self, point: HookPoint, prompts_at: &[usize]) -> Result<()> {
        let Action::Mean(over) = self.action else { return Ok(()) };
        let positions = self.at.slice(AxisName::Pos).indices(prompts_at.len(), AxisName::Pos.one())?;
        match over {
            MeanOver::Batch if positions.iter().all(|&position| prompts_at[position] < 2) => {
                Err(Error::argument(format!(
                    "\"{self}\" of {point} is the mean of one prompt, which is that prompt's own activation, so it \
                     would change nothing: run several prompts together, or take the mean over positions too \
                     (MeanOver::BatchAndPos)."
                )))
            }
            MeanOver::BatchAndPos if prompts_at.iter().sum::<usize>() < 2 => Err(Error::argument(format!(
                "\"{self}\" of {point} is the mean of one token, which is its own activation, so it would change \
                 nothing: run more prompts or longer ones."
            ))),
            _ => Ok(()),
        }
    }

    /// The activation after the edit. `real` marks the tokens that are not padding, `[batch, pos]`, if any are.
    pub(crate) fn apply(&self, point: HookPoint, x: &Tensor, real: Option<&Tensor>) -> Result<Tensor> {
        let scope = self.scope(point, x.dims())?;
        // Laid out first, in f32 where either is half precision: the gradient of a broadcast value is a sum over its copies.
        let whole = |value: &Tensor| -> Result<Tensor> {
            let value = widened(&value.to_device(x.device())?)?;
            Ok(scope.spread(&value, x.dims())?.to_dtype(x.dtype())?)
        };
        let edited = match &self.action {
            Action::Replace(value) => whole(value)?,
            Action::Add(value) => (x + whole(value)?)?,
            Action::Scale(factor) => (x * *factor)?,
            Action::Zero => x.zeros_like()?,
            Action::KnockOut => Tensor::full(f32::NEG_INFINITY, x.shape(), x.device())?.to_dtype(x.dtype())?,
            Action::Mean(over) => mean(x, point.pos_axis(), *over, real)?,
            Action::ProjectOut(direction) => project_out(x, direction)?,
            Action::Custom { name, hook } => {
                let edited = hook(x, point)?;
                if edited.dims() != x.dims() {
                    let what = format!("what the hook {name:?} returned for {point}");
                    return Err(Error::shape(what, format!("{:?}", x.dims()), edited.dims()));
                }
                edited.to_dtype(x.dtype())?
            }
        };
        let edited = if self.keeps_norm { with_norms_of(&edited, x)? } else { edited };
        self.at.choose(point, &edited, x)
    }
}

/// `x` without what it has along a direction.
fn project_out(x: &Tensor, direction: &Tensor) -> Result<Tensor> {
    let wide = widened(x)?;
    let direction = direction.to_device(x.device())?.to_dtype(wide.dtype())?;
    let norm = direction.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    let unit = direction.broadcast_div(&norm)?;
    let along = wide.broadcast_mul(&unit)?.sum_keepdim(D::Minus1)?;
    Ok((&wide - along.broadcast_mul(&unit)?)?.to_dtype(x.dtype())?)
}

/// Each vector of `x` (along the last axis) scaled to the norm of that of `like`; one of zeros stays.
fn with_norms_of(x: &Tensor, like: &Tensor) -> Result<Tensor> {
    let wide = widened(x)?;
    let norm = |x: &Tensor| x.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
    let (is, wanted) = (norm(&wide)?, norm(&widened(like)?)?);
    let divisor = is.eq(0f64)?.where_cond(&is.ones_like()?, &is)?;
    Ok(wide.broadcast_mul(&(wanted / divisor)?)?.to_dtype(x.dtype())?)
}

/// How a value lies in the activation: as the whole of it, or as the selected part.
enum Layout {
    Whole,
    Part,
}

impl Scope {
    /// The shape of the selected part; axes selected by one index are left out.
    fn part_shape(&self, shape: &[usize]) -> Vec<usize> {
        let kept = (0..shape.len()).filter(|dim| !self.dropped.contains(dim));
        kept.map(|dim| self.axes[dim].as_ref().map_or(shape[dim], Vec::len)).collect()
    }

    fn layout(&self, value: &[usize], shape: &[usize]) -> Option<Layout> {
        if value == shape {
            return Some(Layout::Whole);
        }
        if broadcasts(value, &self.part_shape(shape)) {
            return Some(Layout::Part);
        }
        broadcasts(value, shape).then_some(Layout::Whole)
    }

    /// `value` laid out over the whole activation, so that the mask can pick from it.
    fn spread(&self, value: &Tensor, shape: &[usize]) -> Result<Tensor> {
        match self.layout(value.dims(), shape) {
            Some(Layout::Whole) => Ok(value.broadcast_as(shape)?),
            Some(Layout::Part) => {
                let mut part = value.broadcast_as(self.part_shape(shape))?;
                for &dim in &self.dropped {
                    part = part.unsqueeze(dim)?;
                }
                for (dim, selected) in self.axes.iter().enumerate() {
                    let Some(selected) = selected else { continue };
                    if self.dropped.contains(&dim) {
                        continue;
                    }
                    let mut row_of = vec![0u32; shape[dim]];
                    for (i, &index) in selected.iter().enumerate() {
                        row_of[index] = i as u32;
                    }
                    let row_of = Tensor::from_vec(row_of, shape[dim], value.device())?;
                    part = part.contiguous()?.index_select(&row_of, dim)?;
                }
                Ok(part.broadcast_as(shape)?)
            }
            None => Err(Error::shape("the value of an edit", format!("{shape:?}"), value.dims())),
        }
    }
}

fn broadcasts(value: &[usize], shape: &[usize]) -> bool {
    value.len() <= shape.len() && value.iter().rev().zip(shape.iter().rev()).all(|(v, s)| v == s || *v == 1)
}

/// The mean over batch (and positions), padding left out, as wide as `x`.
fn mean(x: &Tensor, pos: usize, over: MeanOver, real: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    (shape[0], shape[pos]) = (x.dim(0)?, x.dim(pos)?);
    let dtype = x.dtype();
    let x = widened(x)?;
    let weights = match real {
        Some(real) => real.to_dtype(x.dtype())?.reshape(shape)?,
        None => Tensor::ones(shape, x.dtype(), x.device())?,
    };
    let dims: &[usize] = if over == MeanOver::Batch { &[0] } else { &[0, pos] };
    let is_real = weights.gt(0f64)?.broadcast_as(x.shape())?;
    let counted = is_real.where_cond(&x.contiguous()?, &x.zeros_like()?)?;
    let total = counted.sum_keepdim(dims)?;
    let count = weights.sum_keepdim(dims)?.maximum(1f64)?;
    Ok(total.broadcast_div(&count)?.broadcast_as(x.shape())?.to_dtype(dtype)?)
}

/// The part of an activation that a position slice keeps, at the axis that counts positions.
pub(super) fn slice_positions(x: &Tensor, point: HookPoint, pos: &Slice) -> Result<Tensor> {
    pos.apply(x, point.pos_axis(), AxisName::Pos.one())
}
