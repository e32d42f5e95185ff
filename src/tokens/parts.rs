//! Batches made of batches: continued, repeated, split.

use crate::error::{Error, Result};
use crate::tokens::{PaddingSide, Tokens};

impl Tokens {
    /// The batch with more tokens appended to each row.
    ///
    /// # Errors
    /// A different number of rows, or padding between the two.
    pub fn continued(&self, more: &Self) -> Result<Self> {
        if more.batch() != self.batch() {
            return Err(Error::tokens(format!(
                "a batch of {} rows cannot be continued by one of {}: give the same number of rows.",
                self.batch(),
                more.batch()
            )));
        }
        if more.is_padded() || (self.is_padded() && self.side == PaddingSide::Right) {
            return Err(Error::tokens(
                "padding would be inside the text: pad the prompts on the left (PaddingSide::Left), and continue all \
                 rows by the same number of tokens.",
            ));
        }
        Ok(Self {
            ids: (0..self.batch()).flat_map(|b| self.row(b).into_iter().chain(more.row(b))).collect(),
            pos: self.pos + more.pos,
            lengths: self.lengths.iter().map(|length| length + more.pos).collect(),
            side: self.side,
        })
    }

    /// This many copies of the batch, one below the other.
    pub(crate) fn repeated(&self, copies: usize) -> Self {
        Self {
            ids: self.ids.repeat(copies).into(),
            pos: self.pos,
            lengths: self.lengths.repeat(copies).into(),
            side: self.side,
        }
    }

    /// `count` rows, starting at row `from`.
    pub(crate) fn rows(&self, from: usize, count: usize) -> Self {
        let ids = self.ids[from * self.pos..(from + count) * self.pos].to_vec();
        Self { ids: ids.into(), pos: self.pos, lengths: self.lengths[from..from + count].into(), side: self.side }
    }

    /// These rows, in this order.
    pub(crate) fn chosen(&self, rows: &[usize]) -> Self {
        let ids = rows.iter().flat_map(|row| self.ids[row * self.pos..(row + 1) * self.pos].iter().copied()).collect();
        Self { ids, pos: self.pos, lengths: rows.iter().map(|row| self.lengths[*row]).collect(), side: self.side }
    }

    /// The first row by itself.
    pub(crate) fn first_row(&self) -> Self {
        Self { ids: self.row(0).into(), pos: self.pos, lengths: self.lengths[..1].into(), side: self.side }
    }
}
