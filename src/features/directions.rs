//! Where the features of a dictionary write and read in the residual stream.
//!
//! A decoder row is a direction of the point that the dictionary writes. What it adds to the residual stream from there is itself,
//! `sum_h W_dec[f, h] W_O[h]` from `hook_z`, and `W_dec[f] W_out` from the neurons; the layers of a cross-layer transcoder write at
//! several layers, whose rows are summed. Likewise an encoder column is a direction of the point that is read, and what it reads
//! of the residual stream from there is itself, behind the norm where the point is, and `sum_h W_V[h] W_enc[h, f]` from `hook_z` for a
//! head that attends to nothing else.

use candle_core::{D, Tensor};

use crate::dictionaries::{Activation, Dictionary};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::model::ops::{centred, root_mean_square, rows_over};
use crate::visible::visible;
use crate::wide::widened;

/// A dictionary that fits a model, and its two points.
pub(super) struct Fitted<'a> {
    pub dictionary: Dictionary,
    pub model: &'a HookedTransformer,
    pub reads: HookPoint,
    pub writes: HookPoint,
}

/// How the residual stream reaches a point.
enum Reading {
    /// As it is.
    Stream,
    /// Through a norm without its weights.
    Norm,
    /// Through the norm of this layer's MLP.
    Mlp(usize),
    /// Through the norm and the values of this layer.
    Values(usize),
}

/// # Errors
/// A feature that the dictionary does not have.
pub(super) fn check_feature(dictionary: &Dictionary, feature: usize) -> Result<()> {
    let size = dictionary.d_sae();
    if feature < size {
        return Ok(());
    }
    Err(Error::IndexOutOfRange { axis: "feature", index: crate::slice::forward(feature), size })
}

/// Rows of a matrix, one for each of these indices, in the dtype in which they are summed.
fn rows(matrix: &Tensor, axis: usize, indices: &[usize]) -> Result<Tensor> {
    let ids: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
    let ids = Tensor::new(ids, matrix.device())?;
    Ok(widened(&matrix.contiguous()?.index_select(&ids, axis)?)?)
}

/// The decoder rows of these features for one unit of the activation that the dictionary reports, `[feature, d_out]`, or of a layer
/// of a cross-layer transcoder `[feature, n_writes, d_out]`.
pub(super) fn decoder_rows(dictionary: &Dictionary, features: &[usize]) -> Result<Tensor> {
    let rows = rows(&dictionary.w_dec(), 0, features)?;
    if !dictionary.parts().scaled_by_decoder_norm {
        return Ok(rows);
    }
    let flat = rows.flatten_from(1)?;
    let norms = flat.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(flat.broadcast_div(&norms)?.reshape(rows.shape())?)
}

/// The directions by which these features read, `[feature, d_in]`; matching pursuit reads by its decoder.
pub(super) fn encoder_rows(dictionary: &Dictionary, features: &[usize]) -> Result<Tensor> {
    match dictionary.activation() {
        Activation::MatchingPursuit { .. } => rows(&dictionary.w_dec(), 0, features),
        _ => Ok(rows(&dictionary.w_enc(), 1, features)?.t()?.contiguous()?),
    }
}

impl<'a> Fitted<'a> {
    /// # Errors
    /// As [`Dictionary::for_model`].
    pub fn new(dictionary: &Dictionary, model: &'a HookedTransformer) -> Result<Self> {
        let dictionary = dictionary.for_model(model)?;
        let expects = dictionary.expects();
        let (Some(reads), Some(writes)) = (expects.hook_in, expects.writes()) else {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" does not say which point it reads.",
                visible(&dictionary.name())
            )));
        };
        Ok(Self { dictionary, model, reads, writes })
    }

    /// What these features add to the residual stream, for one unit of activation.
    ///
    /// # Shapes
    /// `[feature, d_model]`.
    ///
    /// # Errors
    /// A dictionary that writes a point from which nothing goes to the residual stream unchanged.
    pub fn written(&self, features: &[usize]) -> Result<Tensor> {
        let rows = decoder_rows(&self.dictionary, features)?;
        let rows = if rows.rank() == 3 { rows.sum(1)? } else { rows };
        self.to_stream(&rows)
    }

    /// What these vectors at the point that is written add to the residual stream, without biases.
    ///
    /// # Shapes
    /// `[vector, d_out]` gives `[vector, d_model]`.
    ///
    /// # Errors
    /// As [`Fitted::written`].
    pub fn to_stream(&self, vectors: &Tensor) -> Result<Tensor> {
        let vectors = widened(&vectors.to_device(&self.model.device())?)?;
        let through = |w: Tensor| -> Result<Tensor> { Ok(vectors.matmul(&widened(&w)?)?) };
        let (written, norm) = match self.writes {
            HookPoint::Embed | HookPoint::PosEmbed => return Ok(vectors),
            HookPoint::Block(_, Site::ResidPre | Site::ResidMid | Site::ResidPost | Site::AttnOut | Site::MlpOut) => {
                return Ok(vectors);
            }
            HookPoint::Block(layer, Site::Z) => {
                let w_o = self.model.weight(&format!("blocks.{layer}.attn.W_O"))?;
                let w_o = match self.dictionary.expects().head {
                    Some(head) => w_o.get(head)?,
                    None => w_o.flatten(0, 1)?,
                };
                (through(w_o.contiguous()?)?, format!("blocks.{layer}.ln1_post.w"))
            }
            HookPoint::Block(layer, Site::MlpPost) => {
                (through(self.model.w_out_of(layer)?)?, format!("blocks.{layer}.ln2_post.w"))
            }
            other => {
                return Err(Error::argument(format!(
                    "the dictionary \"{}\" writes {other}, from which nothing goes to the residual stream unchanged, so its \
                     features have no directions there: this is for dictionaries that write the residual stream, attention or \
                     MLP outputs, z or neurons.",
                    visible(&self.dictionary.name())
                )));
            }
        };
        // The scale of this norm differs from position to position.
        match self.model.dims().norms_after {
            true => Ok(written.broadcast_mul(&widened(&self.model.weight(&norm)?)?)?),
            false => Ok(written),
        }
    }

    /// What rows of the residual stream are at the point that is read, if nothing else is there and heads attend to nothing
    /// else; norms take the scale of each row itself. Biases are left out.
    ///
    /// # Shapes
    /// `[row, d_model]` gives `[row, d_in]`.
    ///
    /// # Errors
    /// A dictionary that reads a point that is not a linear function of the residual stream, norms aside.
    pub fn seen(&self, stream: &Tensor) -> Result<Tensor> {
        let reading = self.reading()?;
        let stream = widened(stream)?;
        if matches!(reading, Reading::Stream) {
            return Ok(stream);
        }
        let normed = match self.norm_weights(&reading)? {
            Some(w) => self.normed(&stream)?.broadcast_mul(&w)?,
            None => self.normed(&stream)?,
        };
        match reading {
            Reading::Values(layer) => Ok(normed.matmul(&self.value_weights(layer)?)?),
            _ => Ok(normed),
        }
    }

    /// The directions of the residual stream that these features read, through the weights of the norm and its centring where the point is
    /// behind one; from `hook_z`, through the values of its heads.
    ///
    /// # Shapes
    /// `[feature, d_model]`.
    ///
    /// # Errors
    /// As [`Fitted::seen`].
    pub fn read(&self, features: &[usize]) -> Result<Tensor> {
        let reading = self.reading()?;
        let mut rows = encoder_rows(&self.dictionary, features)?.to_device(&self.model.device())?;
        if let Reading::Values(layer) = reading {
            rows = rows.matmul(&self.value_weights(layer)?.t()?.contiguous()?)?;
        }
        if let Some(w) = self.norm_weights(&reading)? {
            rows = rows.broadcast_mul(&w)?;
        }
        if !matches!(reading, Reading::Stream) && self.is_centred() { centred(&rows) } else { Ok(rows) }
    }

    /// Whether the point that is read is a linear function of the residual stream, norms aside.
    pub fn reads_stream(&self) -> bool {
        self.reading().is_ok()
    }

    /// How the residual stream reaches the point that is read.
    fn reading(&self) -> Result<Reading> {
        match self.reads {
            HookPoint::Embed | HookPoint::Block(_, Site::ResidPre | Site::ResidMid | Site::ResidPost) => {
                Ok(Reading::Stream)
            }
            HookPoint::Block(_, Site::Ln1Normalized | Site::Ln2Normalized) => Ok(Reading::Norm),
            HookPoint::Block(layer, Site::MlpHookIn) => Ok(Reading::Mlp(layer)),
            HookPoint::Block(layer, Site::Z | Site::V) => Ok(Reading::Values(layer)),
            other => Err(Error::argument(format!(
                "the dictionary \"{}\" reads {other}, which is not a linear function of the residual stream, so its features \
                 read no directions of it: this is for dictionaries that read the residual stream, behind a norm or not, or z.",
                visible(&self.dictionary.name())
            ))),
        }
    }

    /// The weights of the norm on the way, where the point is behind them and they are not folded.
    fn norm_weights(&self, reading: &Reading) -> Result<Option<Tensor>> {
        match reading {
            Reading::Stream | Reading::Norm => Ok(None),
            Reading::Mlp(layer) => weight_if_there(self.model, &format!("blocks.{layer}.ln2.w")),
            Reading::Values(layer) => weight_if_there(self.model, &format!("blocks.{layer}.ln1.w")),
        }
    }

    /// The value weights of the heads that are read, `[d_model, d_in]`; at `hook_v` those that heads share are there once.
    fn value_weights(&self, layer: usize) -> Result<Tensor> {
        let shared = format!("blocks.{layer}.attn._W_V");
        let w_v = match self.reads {
            HookPoint::Block(_, Site::V) if self.model.weight(&shared).is_ok() => self.model.weight(&shared)?,
            _ => self.model.weight(&format!("blocks.{layer}.attn.W_V"))?,
        };
        let w_v = match self.dictionary.expects().head {
            Some(head) => w_v.get(head)?,
            None => w_v.transpose(0, 1)?.flatten_from(1)?,
        };
        Ok(widened(&w_v.contiguous()?)?)
    }

    /// The layer, where the dictionary writes `hook_z` of all heads.
    pub fn all_heads(&self) -> Option<usize> {
        match (self.writes, self.dictionary.expects().head) {
            (HookPoint::Block(layer, Site::Z), None) => Some(layer),
            _ => None,
        }
    }

    /// Whether blocks read through a norm that takes the mean out.
    fn is_centred(&self) -> bool {
        let dims = self.model.dims();
        dims.has_norm && !dims.reads_unnormed && self.model.final_norm().centres()
    }

    /// Through a norm of the blocks without its weights; unchanged where blocks read without one.
    fn normed(&self, stream: &Tensor) -> Result<Tensor> {
        let dims = self.model.dims();
        if !dims.has_norm || dims.reads_unnormed {
            return Ok(stream.clone());
        }
        let numerator = if self.is_centred() { centred(stream)? } else { stream.clone() };
        let scale = root_mean_square(&numerator, self.model.cfg().eps)?;
        rows_over(&numerator, &scale)
    }
}

/// A weight in the dtype in which it is summed; none where it is folded into others.
pub(super) fn weight_if_there(model: &HookedTransformer, name: &str) -> Result<Option<Tensor>> {
    Ok(model.weight(name).ok().map(|w| widened(&w)).transpose()?)
}

/// How many columns of the unembedding are read at a time: those of large vocabularies in half precision are not widened whole.
const COLUMNS: usize = 1 << 14;

/// What rows of the residual stream add to each logit: through the weights of the final norm, without its scale.
///
/// # Shapes
/// `[row, d_model]` gives `[row, d_vocab_out]`.
pub(super) fn to_logits(model: &HookedTransformer, stream: &Tensor) -> Result<Tensor> {
    let mut stream = widened(stream)?;
    if model.final_norm().centres() {
        stream = centred(&stream)?;
    }
    if let Some(w) = weight_if_there(model, "ln_final.w")? {
        stream = stream.broadcast_mul(&w)?;
    }
    let (w_u, vocabulary) = (model.W_U(), model.cfg().d_vocab_out());
    let part = |from: usize| -> Result<Tensor> {
        let columns = w_u.narrow(1, from, COLUMNS.min(vocabulary - from))?.contiguous()?;
        Ok(stream.matmul(&widened(&columns)?)?)
    };
    let parts = (0..vocabulary).step_by(COLUMNS).map(part).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 1)?)
}

/// Rows divided by their norms; rows of zeros stay.
///
/// # Shapes
/// `[row, width]`.
pub(super) fn unit(rows: &Tensor) -> Result<Tensor> {
    let norms = widened(rows)?.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    let is_zero = norms.eq(0.0)?.to_dtype(norms.dtype())?;
    Ok(widened(rows)?.broadcast_div(&(norms + is_zero)?)?)
}
