//! The tokens of a widget: given as texts, or found from the ids that were run.

use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::tokens::Tokenizer;

/// Anything that says what the tokens are: a list of texts, or a model or tokenizer that reads ids.
pub trait Words {
    /// The text of each position; `ids` are the tokens that were run, where the numbers know them.
    ///
    /// # Errors
    /// A model or tokenizer without ids to read; a model without a tokenizer.
    fn words(&self, ids: Option<&[u32]>) -> Result<Vec<String>>;
}

impl<W: Words + ?Sized> Words for &W {
    fn words(&self, ids: Option<&[u32]>) -> Result<Vec<String>> {
        (**self).words(ids)
    }
}

impl<T: AsRef<str>> Words for [T] {
    fn words(&self, _: Option<&[u32]>) -> Result<Vec<String>> {
        Ok(self.iter().map(|token| token.as_ref().to_owned()).collect())
    }
}

impl<T: AsRef<str>, const N: usize> Words for [T; N] {
    fn words(&self, ids: Option<&[u32]>) -> Result<Vec<String>> {
        self.as_slice().words(ids)
    }
}

impl<T: AsRef<str>> Words for Vec<T> {
    fn words(&self, ids: Option<&[u32]>) -> Result<Vec<String>> {
        self.as_slice().words(ids)
    }
}

impl Words for Tokenizer {
    fn words(&self, ids: Option<&[u32]>) -> Result<Vec<String>> {
        let ids = ids.ok_or_else(|| {
            Error::argument(
                "these numbers do not record the tokens they belong to, so a model cannot name them: \
                 give the tokens as texts, for instance `model.to_str_tokens(prompt)?`.",
            )
        })?;
        Ok(ids.iter().map(|&id| self.piece(id)).collect())
    }
}

impl Words for HookedTransformer {
    fn words(&self, ids: Option<&[u32]>) -> Result<Vec<String>> {
        self.own_tokenizer()?.words(ids)
    }
}

/// Checks that there is one word for each position.
pub(super) fn one_word_each(words: &[String], positions: usize) -> Result<()> {
    if words.len() == positions {
        return Ok(());
    }
    Err(Error::argument(format!(
        "{} tokens were given for numbers of {positions} positions: give one token for each position.",
        words.len()
    )))
}
