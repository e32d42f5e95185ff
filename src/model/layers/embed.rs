//! Token and position embeddings.

use candle_core::Tensor;

use crate::error::Result;
use crate::hooks::{HookPoint, HookRun};
use crate::host;
use crate::model::weights::Weights;
use crate::tokens::Tokens;

/// The output of the embeddings: the residual stream that enters the first block, token plus position embedding, if
/// positions have one; and, where these enter queries and keys only, the position embedding by itself.
///
/// # Shapes
/// `[batch, pos, d_model]` each, of the tokens at `positions`.
pub(in crate::model) fn embed(
    weights: &Weights,
    tokens: &Tokens,
    positions: &[u32],
    shortformer: bool,
    run: &mut HookRun,
) -> Result<(Tensor, Option<Tensor>)> {
    let (batch, pos) = (tokens.batch(), tokens.pos());
    let ids = run.at(HookPoint::Tokens, tokens.to_tensor(weights.device())?)?;
    // Tokens were checked before the run, on the CPU: reading them back from another device would make it wait.
    if run.changes(HookPoint::Tokens) {
        check_ids(&ids, weights.w_e.dim(0)?)?;
    }
    let embedded = weights.w_e.index_select(&ids.flatten_all()?, 0)?.reshape((batch, pos, ()))?;
    let embedded = run.at(HookPoint::Embed, embedded)?;
    let Some(placed) = position_embeddings(weights, batch, positions)? else { return Ok((embedded, None)) };
    let placed = run.at(HookPoint::PosEmbed, placed)?;
    if shortformer { Ok((embedded, Some(placed))) } else { Ok(((embedded + placed)?, None)) }
}

/// The vector of each of these positions; none where positions have no vectors.
///
/// # Shapes
/// `[batch, pos, d_model]`.
pub(in crate::model) fn position_embeddings(
    weights: &Weights,
    batch: usize,
    positions: &[u32],
) -> Result<Option<Tensor>> {
    let Some(w_pos) = &weights.w_pos else { return Ok(None) };
    let positions = Tensor::from_slice(positions, positions.len(), weights.device())?;
    Ok(Some(w_pos.index_select(&positions, 0)?.reshape((batch, (), w_pos.dim(1)?))?))
}

/// The position of each token from column `from` on, counted from its prompt's first real token, so that left padding
/// shifts it; padding in front counts as 0.
pub(in crate::model) fn position_ids(tokens: &Tokens, from: usize) -> Vec<u32> {
    let mut ids = Vec::with_capacity(tokens.batch() * (tokens.pos() - from));
    for b in 0..tokens.batch() {
        let first = (0..tokens.pos()).find(|&p| tokens.is_real(b, p)).unwrap_or(0);
        ids.extend((from..tokens.pos()).map(|p| p.saturating_sub(first) as u32));
    }
    ids
}

/// Refuses ids of a plan that the embedding does not have: on some devices they would read out of bounds.
fn check_ids(ids: &Tensor, d_vocab: usize) -> Result<()> {
    let largest = host::numbers::<u32>(&ids.flatten_all()?.max(0)?)?[0];
    if largest as usize >= d_vocab {
        return Err(crate::Error::tokens(format!(
            "token id {largest} does not exist: the model knows ids 0 to {}. Was the text tokenised for another model?",
            d_vocab - 1
        )));
    }
    Ok(())
}
