//! A block with all multiplied out that does not change between targets: the weights and the centring of norms are in the matrices, their
//! scales in the pattern, and biases are vectors that the block writes at each position.
//!
//! Gradients are `[pos, target, d_model]` here, so that the positions behind a target, where it has none, are left out.

use candle_core::Tensor;

use super::affine::{AffineBlock, NormMap};
use crate::error::Result;
use crate::hooks::Site;
use crate::model::ops::linear;

/// A block with pattern and scales held.
pub(super) struct FoldedBlock {
    /// Before the MLP.
    ln2: Option<NormMap>,
    /// `[head, k_pos, q_pos]`, over the scales of the norms before and after attention.
    pattern: Tensor,
    /// `[d_model, head d_head]`: from what attention writes to `z`.
    to_z: Tensor,
    /// `[head d_head, d_model]`: from values to what attention reads.
    from_v: Tensor,
    /// What `b_V` and `b_O` write, `[pos, d_model]`.
    pub biases: Tensor,
    /// What the shifts of the norms around attention write, `[pos, d_model]`.
    pub shifts: Option<Tensor>,
    /// Attention and MLP read the same residual stream.
    pub parallel: bool,
}

impl FoldedBlock {
    pub(super) fn new(block: &AffineBlock) -> Result<Self> {
        let (before, after) = (block.ln1.as_ref(), block.ln1_post.as_ref());
        let (values, pattern) = (&block.w_v, &block.pattern);
        // [head d_head, d_model].
        let out = block.w_o.t()?.contiguous()?;
        let written = Written { pattern, out: &out, after };
        let biases = written.of(&block.b_v, Some(&block.b_o))?;
        let before_shift = match before.and_then(|norm| norm.b.as_ref()) {
            Some(b) => {
                Some(written.of(&linear(&b.unsqueeze(0)?, &values.t()?.contiguous()?, None)?.squeeze(0)?, None)?)
            }
            None => None,
        };
        let after_shift = after.and_then(|norm| norm.b.as_ref());
        let shifts = match (before_shift, after_shift) {
            (Some(own), Some(b)) => Some(own.broadcast_add(b)?),
            (Some(own), None) => Some(own),
            (None, Some(b)) => Some(biases.zeros_like()?.broadcast_add(b)?),
            (None, None) => None,
        };
        let mut scaled = pattern.transpose(1, 2)?;
        if let Some(inverse) = before.and_then(|norm| norm.inverse.as_ref()) {
            scaled = scaled.broadcast_mul(inverse)?;
        }
        if let Some(inverse) = after.and_then(|norm| norm.inverse.as_ref()) {
            scaled = scaled.broadcast_mul(&inverse.t()?)?;
        }
        Ok(Self {
            pattern: scaled.contiguous()?,
            to_z: match after {
                Some(norm) => norm.push_unscaled(&out)?.t()?.contiguous()?,
                None => block.w_o.clone(),
            },
            from_v: match before {
                Some(norm) => norm.unscaled(values)?.contiguous()?,
                None => values.clone(),
            },
            biases,
            shifts,
            parallel: block.parallel,
            ln2: block.ln2.clone(),
        })
    }

    pub(super) fn numbers(&self) -> [&Tensor; 3] {
        [&self.pattern, &self.to_z, &self.from_v]
    }

    /// The gradient at what attention reads from that at what it adds to the residual stream.
    ///
    /// # Shapes
    /// `[pos, target, d_model]`, of the first positions only.
    pub(super) fn attention(&self, g: &Tensor) -> Result<Tensor> {
        let (pos, targets, _) = g.dims3()?;
        let heads = self.pattern.dim(0)?;
        // One product for each head mixes the positions of all targets.
        let z = linear(g, &self.to_z, None)?.reshape((pos, targets, heads, ()))?;
        let d_head = z.dim(3)?;
        let z = z.permute((2, 0, 1, 3))?.reshape((heads, pos, targets * d_head))?;
        let v = self.pattern.narrow(1, 0, pos)?.narrow(2, 0, pos)?.contiguous()?.matmul(&z)?;
        let v =
            v.reshape((heads, pos, targets, d_head))?.permute((1, 2, 0, 3))?.reshape((pos, targets, heads * d_head))?;
        linear(&v, &self.from_v, None)
    }

    /// The norm before the MLP as the point that a dictionary reads has it: whole, without its weights, not at all.
    pub(super) fn reading(&self, site: Site) -> Reading<'_> {
        match (site, &self.ln2) {
            (Site::Ln2Normalized, Some(norm)) => Reading { norm: Some(norm), weighted: false },
            (Site::MlpHookIn, Some(norm)) => Reading { norm: Some(norm), weighted: true },
            _ => Reading { norm: None, weighted: false },
        }
    }
}

/// What lies between the residual stream and the point that a dictionary reads.
pub(super) struct Reading<'a> {
    norm: Option<&'a NormMap>,
    weighted: bool,
}

impl Reading<'_> {
    /// The gradient at the residual stream, but for the division by the scale.
    ///
    /// # Shapes
    /// `[.., d_model]`.
    pub(super) fn unscaled(&self, g: &Tensor) -> Result<Tensor> {
        match self.norm {
            Some(norm) if self.weighted => norm.unscaled(g),
            Some(norm) => norm.unscaled_normalized(g),
            None => Ok(g.clone()),
        }
    }

    /// `1 / s`, `[pos, 1]`, where the stream is divided by a scale.
    pub(super) fn inverse(&self) -> Option<&Tensor> {
        self.norm.and_then(|norm| norm.inverse.as_ref())
    }

    /// The norm's shift, where it is read.
    pub(super) fn shift(&self) -> Option<&Tensor> {
        self.norm.filter(|_| self.weighted).and_then(|norm| norm.b.as_ref())
    }
}

/// What values that are the same at all positions write.
struct Written<'a> {
    pattern: &'a Tensor,
    out: &'a Tensor,
    after: Option<&'a NormMap>,
}

impl Written<'_> {
    /// # Shapes
    /// `values [head d_head]`, `more [d_model]` give `[pos, d_model]`.
    fn of(&self, values: &Tensor, more: Option<&Tensor>) -> Result<Tensor> {
        let (heads, pos, _) = self.pattern.dims3()?;
        // How much of a value arrives: 1 in each row of a softmax without sinks.
        let arrives = self.pattern.sum(2)?.t()?.reshape((pos, heads, 1))?;
        let z = arrives.broadcast_mul(&values.reshape((1, heads, ()))?)?.reshape((pos, ()))?;
        let mut written = linear(&z, self.out, None)?;
        if let Some(more) = more {
            written = written.broadcast_add(more)?;
        }
        self.after.map_or(Ok(written.clone()), |norm| norm.push(&written))
    }
}
