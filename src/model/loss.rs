//! Next-token cross-entropy.

use candle_core::Tensor;

use super::ops::cross_entropy;
use crate::error::{Error, Result};
use crate::tokens::Tokens;

/// The loss of each prediction, `-log p(token at i + 1 | tokens up to i)`; 0 where either token is padding. f32 for
/// logits of half precision.
///
/// # Shapes
/// `logits [batch, pos, d_vocab_out]`, result `[batch, pos - 1]`.
///
/// # Errors
/// [`Error::Tokens`] for prompts of one token, which have no next token to predict.
pub(super) fn per_token(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let (batch, pos, _) = logits.dims3()?;
    if pos < 2 {
        return Err(Error::tokens(
            "the loss of a prompt of one token is undefined: there is no next token to predict. Give at least two \
             tokens.",
        ));
    }
    // The last position predicts nothing known and gets any target: leaving its loss out afterwards is cheap, taking
    // its logits out before would copy all others, forward and back.
    let next = (0..batch).flat_map(|b| tokens.row(b).into_iter().skip(1).chain([0]));
    let rows = logits.reshape((batch * pos, ()))?;
    let losses = cross_entropy(&rows, &next.collect::<Vec<_>>())?.reshape((batch, pos))?.narrow(1, 0, pos - 1)?;
    let real: Vec<f32> = real_predictions(tokens).into_iter().map(|real| f32::from(u8::from(real))).collect();
    let real = Tensor::from_vec(real, (batch, pos - 1), logits.device())?.to_dtype(losses.dtype())?;
    Ok((losses * real)?)
}

/// The log-probability that logits give to each next token, `log p(token at i + 1 | tokens up to i)`; 0 where either token is padding.
/// f32 for logits of half precision.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let tokens = model.to_tokens("When John and Mary went to the shops,")?;
/// let logits = model.forward(&tokens)?;
/// let log_probs = log_probs_of(&logits, &tokens)?;
/// assert_eq!(log_probs.dims(), [1, tokens.pos() - 1]);
/// assert_close(&log_probs.mean_all()?.neg()?, &model.loss(&tokens)?, 1e-6)?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Shapes
/// `logits [batch, pos, d_vocab_out]`, result `[batch, pos - 1]`.
///
/// # Errors
/// [`Error::Shape`] for logits of other tokens than these; [`Error::Tokens`] for prompts of one token, and for tokens that have no logit.
pub fn log_probs_of(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let (batch, pos) = (tokens.batch(), tokens.pos());
    let &[rows, columns, d_vocab_out] = logits.dims() else {
        return Err(Error::shape("the logits", "[batch, pos, d_vocab_out]", logits.dims()));
    };
    if (rows, columns) != (batch, pos) {
        return Err(Error::shape(
            format!("the logits of {batch} prompts of {pos} tokens"),
            format!("[{batch}, {pos}, d_vocab_out]"),
            logits.dims(),
        ));
    }
    check(tokens, d_vocab_out)?;
    Ok(per_token(logits, tokens)?.neg()?)
}

/// Refuses tokens that have no logit, and so no loss: a model's output vocabulary may be another than its input's.
pub(super) fn check(tokens: &Tokens, d_vocab_out: usize) -> Result<()> {
    let without = (0..tokens.batch()).flat_map(|b| tokens.row(b)).find(|&id| id as usize >= d_vocab_out);
    match without {
        None => Ok(()),
        Some(id) => Err(Error::tokens(format!(
            "token {id} has no logit, so its loss is undefined: this model's d_vocab_out is {d_vocab_out}. \
             Ask for the logits only, and compare them with labels of your own."
        ))),
    }
}

/// The mean of [`per_token`] over real predictions, a scalar.
pub(super) fn mean(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let losses = per_token(logits, tokens)?;
    let count = real_predictions(tokens).into_iter().filter(|real| *real).count();
    if count == 0 {
        return Err(Error::tokens("no prompt has two tokens or more, so there is no prediction to take the loss of."));
    }
    Ok((losses.sum_all()? / count as f64)?)
}

/// Whether a prediction and its target are real tokens, `[batch, pos - 1]` in a row.
fn real_predictions(tokens: &Tokens) -> Vec<bool> {
    let places = (0..tokens.batch()).flat_map(|b| (1..tokens.pos()).map(move |p| (b, p)));
    places.map(|(b, p)| tokens.is_real(b, p - 1) && tokens.is_real(b, p)).collect()
}
