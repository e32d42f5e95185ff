//! Errors that were kept of the plain run of some prompts.

use std::sync::Arc;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::hooks::TextPart;
use crate::tokens::Tokens;
use crate::visible::visible;

/// The error at one point, with the prompts that it belongs to.
#[derive(Clone)]
pub(super) struct Frozen {
    prompts: Arc<Vec<Vec<u32>>>,
    /// `[batch, pos, ..]`.
    error: Tensor,
}

impl Frozen {
    pub(super) fn new(tokens: &Tokens, error: Tensor) -> Self {
        Self { prompts: Arc::new((0..tokens.batch()).map(|row| tokens.row(row)).collect()), error: error.detach() }
    }

    /// The error of the positions of a run, which may be of several copies of the prompts.
    ///
    /// # Shapes
    /// `[rows, count, ..]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run of other prompts.
    pub(super) fn part(&self, text: &TextPart, (rows, count): (usize, usize), name: &str) -> Result<Tensor> {
        let prompts = self.prompts.len();
        let same = |row: usize| text.ids(row) == self.prompts[row % prompts];
        if !rows.is_multiple_of(prompts) || !text.texts().is_multiple_of(prompts) || !(0..text.texts()).all(same) {
            return Err(Error::argument(format!(
                "the error term of \"{}\" is that of {prompts} prompts of {} tokens, and other ones are run: run the same \
                 prompts, or splice with the error terms of these (ErrorTerm::frozen(prompts)) or with ErrorTerm::Recomputed.",
                visible(name),
                self.prompts.first().map_or(0, Vec::len)
            )));
        }
        let part = self.error.narrow(1, text.from(), count)?.contiguous()?;
        match rows / prompts {
            1 => Ok(part),
            copies => Ok(Tensor::cat(&vec![&part; copies], 0)?),
        }
    }
}
