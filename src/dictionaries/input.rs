//! What is done to the input of a dictionary before it is encoded, and undone after it is decoded.

use candle_core::{D, Tensor};

use crate::error::Result;

/// The normalisation of the input, by SAELens' names. `expected_average_only_in` is not among them: its factor is folded into
/// the weights when they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputNorm {
    /// None.
    #[default]
    None,
    /// `(x - mean) / (std + 1e-5)` with the unbiased standard deviation, undone by `y std + mean`.
    LayerNorm,
    /// `x sqrt(d_in) / |x|`, undone by the inverse factor.
    ConstantNorm,
}

/// OpenAI's and SAELens' constant beside the standard deviation.
const EPS: f64 = 1e-5;

/// How one batch of inputs was normalised, so that it can be undone.
pub(crate) enum Undo {
    Nothing,
    /// `y scale`, then `+ shift`; each `[.., 1]`.
    Affine {
        scale: Tensor,
        shift: Option<Tensor>,
    },
}

impl InputNorm {
    /// The normalised input and how to undo it.
    ///
    /// # Shapes
    /// `x [.., d_in]` gives the same.
    pub(crate) fn apply(self, x: &Tensor) -> Result<(Tensor, Undo)> {
        let width = x.dim(D::Minus1)? as f64;
        match self {
            Self::None => Ok((x.clone(), Undo::Nothing)),
            Self::LayerNorm => {
                let mean = x.mean_keepdim(D::Minus1)?;
                let centred = x.broadcast_sub(&mean)?;
                let std = (centred.sqr()?.sum_keepdim(D::Minus1)? / (width - 1.0))?.sqrt()?;
                let normed = centred.broadcast_div(&(&std + EPS)?)?;
                Ok((normed, Undo::Affine { scale: std, shift: Some(mean) }))
            }
            Self::ConstantNorm => {
                let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
                // An input of zeros stays one: there is nothing to scale.
                let norm = (&norm + norm.eq(0.0)?.to_dtype(norm.dtype())?)?;
                let factor = (norm.recip()? * width.sqrt())?;
                Ok((x.broadcast_mul(&factor)?, Undo::Affine { scale: factor.recip()?, shift: None }))
            }
        }
    }
}

impl Undo {
    /// By what outputs are multiplied, `[.., 1]`; none where nothing is undone.
    pub(crate) fn scale(&self) -> Option<&Tensor> {
        match self {
            Self::Nothing => None,
            Self::Affine { scale, .. } => Some(scale),
        }
    }

    /// `y` on the scale of the input.
    pub(crate) fn undo(&self, y: Tensor) -> Result<Tensor> {
        match self {
            Self::Nothing => Ok(y),
            Self::Affine { scale, shift } => {
                let y = y.broadcast_mul(scale)?;
                Ok(match shift {
                    Some(shift) => y.broadcast_add(shift)?,
                    None => y,
                })
            }
        }
    }
}
