//! Runs of texts whose activations dictionaries read.

use candle_core::Tensor;

use super::directions::Fitted;
use super::score::{Batch, left_alone};
use crate::dictionaries::{AtBos, Dictionaries, FeatureActs};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::model::{HookedTransformer, RunOptions};
use crate::tokens::Tokens;

/// # Errors
/// No dictionary; as [`Fitted::new`].
pub(super) fn fitted(dictionaries: Dictionaries, model: &HookedTransformer) -> Result<Vec<Fitted<'_>>> {
    let all: Vec<Fitted> = dictionaries.to_vec()?.iter().map(|each| Fitted::new(each, model)).collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(Error::argument("no dictionary was given: name at least one."));
    }
    Ok(all)
}

/// The features that are active in a batch, of each dictionary: a row for each position that counts.
///
/// # Errors
/// As [`HookedTransformer::run`].
pub(super) fn read(all: &[Fitted], batch: &Batch) -> Result<Vec<FeatureActs>> {
    let Some(model) = all.first().map(|fitted| fitted.model) else { return Ok(Vec::new()) };
    let plan = all.iter().fold(HookPlan::new(), |plan, fitted| plan.capture(fitted.reads.to_string()));
    // What is outside the blocks and behind them needs a whole run.
    let last = all.iter().map(|fitted| fitted.reads.layer().map(|layer| layer as isize + 1)).max().flatten();
    let stop_at_layer = last.filter(|_| all.iter().all(|fitted| fitted.reads.layer().is_some()));
    let run = model.run(&batch.tokens, plan, RunOptions { stop_at_layer, logits: false, ..Default::default() })?;
    let encode = |fitted: &Fitted| {
        let x = rows_of(fitted, &run.captured[&fitted.reads])?;
        fitted.dictionary.encode(&x.index_select(&batch.rows(x.device())?, 0)?)
    };
    all.iter().map(encode).collect()
}

/// What a dictionary reads, one row for each position of the batch: `[batch * pos, d_in]`.
pub(super) fn rows_of(fitted: &Fitted, activation: &Tensor) -> Result<Tensor> {
    let rows = activation.flatten(0, 1)?;
    let rows = match (fitted.reads, fitted.dictionary.expects().head) {
        (HookPoint::Block(_, Site::Z), Some(head)) => rows.narrow(1, head, 1)?,
        _ => rows,
    };
    Ok(rows.flatten_from(1)?.contiguous()?)
}

/// The whole of some prompts as one batch, and the text of each token.
pub(super) fn whole(model: &HookedTransformer, tokens: Tokens, bos: AtBos) -> (Batch, Vec<Vec<String>>) {
    let pieces = |b: usize| tokens.row(b).into_iter().map(|id| model.piece(id)).collect();
    let pieces = (0..tokens.batch()).map(pieces).collect();
    (Batch::of(tokens, left_alone(model, bos)), pieces)
}
