//! Batches in files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::storage;
use crate::tokens::Tokens;

impl Tokens {
    /// Saves the batch in one file, which is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        storage::store(path.as_ref(), Self::KIND, self, &BTreeMap::new())
    }

    /// Loads a batch that [`Tokens::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged, or not of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (tokens, _): (Self, _) = storage::restore(path, Self::KIND)?;
        tokens.check_whole().map_err(|error| error.in_file(path))?;
        Ok(tokens)
    }

    const KIND: &str = "tokens";

    /// Checks a batch from a file: one id for each position, and rows that are no longer than the batch.
    pub(crate) fn check_whole(&self) -> Result<()> {
        let whole = self.pos.checked_mul(self.batch()) == Some(self.ids.len()) && !self.ids.is_empty();
        if whole && self.lengths.iter().all(|length| (1..=self.pos).contains(length)) {
            return Ok(());
        }
        Err(Error::tokens("its tokens are incomplete: save it again."))
    }
}
