//! Random tokens that repeat, the standard test of induction heads.

use crate::error::{Error, Result};
use crate::hooks::{HookPlan, check_free};
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tasks::repeated::repeated_tokens as repeated_row;
use crate::tokens::Tokens;

/// Options of [`repeated_tokens`] and [`super::induction_scores`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatOptions {
    /// Random tokens, each of which comes twice: a row has one BOS and twice this number.
    pub seq_len: usize,
    /// Rows.
    pub batch: usize,
    /// The seed of the random tokens.
    pub seed: u64,
}

impl Default for RepeatOptions {
    fn default() -> Self {
        Self { seq_len: 20, batch: 4, seed: 0 }
    }
}

/// Rows of a BOS token (the end of text, or token 0, where there is none) and `seq_len` random tokens twice, none of them the BOS.
///
/// # Shapes
/// `[batch, 1 + 2 seq_len]`.
///
/// # Errors
/// Rows that are longer than `n_ctx`, or more of them than fit in memory; no rows; a vocabulary with fewer tokens than a row needs.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 5, batch: 2, seed: 1 })?;
/// assert_eq!((tokens.batch(), tokens.pos()), (2, 11));
/// assert_eq!(tokens.row(0)[1..6], tokens.row(0)[6..]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn repeated_tokens(model: &HookedTransformer, options: impl Into<RepeatOptions>) -> Result<Tokens> {
    let RepeatOptions { seq_len, batch, seed } = options.into();
    let length = seq_len.saturating_mul(2).saturating_add(1);
    check_rows(model, seq_len, length, batch)?;
    let bos = model.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id().or(tokenizer.eos_id())).unwrap_or(0);
    let vocabulary: Vec<u32> = (0..model.cfg().d_vocab as u32).filter(|&id| id != bos).collect();
    let mut random = Random::new(seed);
    let row = |_| Ok(repeated_row(&vocabulary, bos, seq_len, length, &mut random)?.ids);
    Tokens::from_rows((0..batch).map(row).collect::<Result<_>>()?)
}

/// Refuses rows that the model cannot read, or more than fit in memory, before any is made.
fn check_rows(model: &HookedTransformer, seq_len: usize, length: usize, batch: usize) -> Result<()> {
    let n_ctx = model.cfg().n_ctx;
    if length > n_ctx || batch == 0 {
        return Err(Error::argument(format!(
            "{batch} rows of a BOS token and {seq_len} tokens twice were requested: give 1 row or more, each of at \
             most n_ctx = {n_ctx} tokens."
        )));
    }
    let plan = HookPlan::new().capture("pattern");
    let bytes = plan.memory(&model.dims(), batch, length, model.dtype())?.total();
    check_free(bytes, "this number of rows", "give a smaller batch")
}
