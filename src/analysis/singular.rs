//! The singular vectors of a head or an MLP, read as tokens.
//!
//! The right singular vectors of a matrix that writes into (or reads from) the residual stream, through the unembedding:
//! `V^T W_U` (Millidge and Black 2022, "The Singular Value Decompositions of Transformer Weight Matrices are Highly
//! Interpretable"). TransformerLens: `SVDInterpreter.get_singular_vectors`. The vectors are read as the end of the model reads the
//! residual stream: centred if its norms centre, and with the final norm's weights if these are not folded into `W_U`, so that
//! the result does not depend on folding (TransformerLens uses `W_U` alone).
//!
//! Limits: the sign of a vector is arbitrary, so its smallest numbers mean as much as its largest.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::factored_matrix::FactoredMatrix;
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::absolute;
use crate::wide::{matmul, mean_keepdim};

/// Which matrix of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SingularOf {
    /// `W_V W_O` of this head; negative indices count from the end.
    Ov(isize),
    /// `W_in` of the MLP as neurons read the residual stream, with the weights of the norm before it if they are not folded.
    WIn,
    /// `W_out` of the MLP, as neurons write into the residual stream.
    WOut,
}

/// The first `count` singular vectors of a matrix of layer `layer`, each as one number for every token.
///
/// # Shapes
/// `[token, vector]`, the vector of the largest singular value first; tokens are labelled by text where the model has a
/// tokenizer.
///
/// # Errors
/// A layer or head that does not exist, a model without MLPs, more vectors than the matrix has.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let vectors = singular_vectors(&model, SingularOf::WOut, -1, 3)?;
/// assert_eq!(vectors.shape(), [model.cfg().d_vocab_out(), 3]);
/// println!("{}", vectors.select("vector", 0)?.top(1)[0]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn singular_vectors(model: &HookedTransformer, of: SingularOf, layer: isize, count: usize) -> Result<Labelled> {
    let layer = model.dims().layer(layer)? as isize;
    let _work = Progress::opaque("computing singular vectors");
    let thin = |w: Tensor, transpose: bool| -> Result<FactoredMatrix> {
        let w = w.get(layer as usize)?;
        FactoredMatrix::from_matrix(&if transpose { w.t()?.contiguous()? } else { w })
    };
    let matrix = match of {
        SingularOf::Ov(head) => {
            let head = absolute(head, model.cfg().n_heads, "head")?;
            model.OV()?.get(&[layer, head as isize])?
        }
        SingularOf::WIn => {
            let w_in = model.W_in()?;
            let norm = &model.weights.blocks[layer as usize].ln2;
            let read = match norm {
                Some(norm) => w_in.broadcast_mul(&norm.w.unsqueeze(1)?)?,
                None => w_in,
            };
            thin(read, true)?
        }
        SingularOf::WOut => thin(model.W_out()?, false)?,
    };
    let vectors = matrix.svd()?.v;
    let available = vectors.dim(1)?;
    if count == 0 || count > available {
        return Err(Error::argument(format!(
            "{count} singular vectors were requested, but this matrix has {available}: give 1 to {available}."
        )));
    }
    let vectors = vectors.narrow(1, 0, count)?.t()?.contiguous()?;
    let norm = model.final_norm();
    let vectors = match norm.centres() {
        true => vectors.broadcast_sub(&mean_keepdim(&vectors, 1)?)?,
        false => vectors,
    };
    let vectors = norm.through_weights(&vectors)?;
    let in_words = matmul(&vectors, &model.W_U())?.t()?.contiguous()?.to_dtype(DType::F32)?;
    let tokens = Axis::new("token", (0..model.cfg().d_vocab_out()).map(|id| model.piece(id as u32)));
    Labelled::from_tensor(
        format!("singular vectors of {of:?}"),
        vec![tokens, Axis::numbered("vector", count)],
        &in_words,
    )
}
