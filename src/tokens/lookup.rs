//! From token ids back to text, and single tokens: their ids, their texts, their places.

use super::caught::caught;
use crate::error::{Error, Result};
use crate::tokens::{Bos, Input, TokenRef, TokenizeOptions, Tokenizer, Tokens};

/// Which of several occurrences is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Occurrence {
    /// The one nearest the beginning.
    #[default]
    First,
    /// The one nearest the end.
    Last,
}

impl Tokenizer {
    /// The text of these ids, special tokens included.
    ///
    /// # Errors
    /// An id that is not in the vocabulary.
    pub fn to_string(&self, ids: &[u32]) -> Result<String> {
        if let Some(&unknown) = ids.iter().find(|&&id| self.inner().id_to_token(id).is_none()) {
            let size = self.vocab_size();
            return Err(Error::tokens(format!(
                "token id {unknown} is not in the vocabulary, which has {size} entries: ids go from 0 to {}.",
                size.saturating_sub(1)
            )));
        }
        caught(|| self.inner().decode(ids, false))
            .map_err(|error| Error::tokens(format!("the ids {ids:?} cannot be decoded: {error}.")))
    }

    /// The text of each row, special tokens and padding included.
    ///
    /// # Errors
    /// An id that is not in the vocabulary.
    pub fn to_strings(&self, tokens: &Tokens) -> Result<Vec<String>> {
        (0..tokens.batch()).map(|b| self.to_string(tokens.row(b))).collect()
    }

    /// The tokens of one text or one row of ids, each as its own text. A token that is only a part of a character
    /// shows as U+FFFD, as in TransformerLens; [`Tokenizer::to_string`] joins them rightly.
    ///
    /// # Errors
    /// More than one row (use [`Tokenizer::to_str_tokens_rows`]), and as [`Tokenizer::to_tokens`].
    pub fn to_str_tokens(&self, input: impl Into<Input>) -> Result<Vec<String>> {
        self.to_str_tokens_with(input, TokenizeOptions::default())
    }

    /// As [`Tokenizer::to_str_tokens`], with a BOS policy or truncation.
    ///
    /// # Errors
    /// As [`Tokenizer::to_str_tokens`].
    pub fn to_str_tokens_with(
        &self,
        input: impl Into<Input>,
        options: impl Into<TokenizeOptions>,
    ) -> Result<Vec<String>> {
        let tokens = self.to_tokens_with(input, options)?;
        one_row(&tokens, "to_str_tokens_rows gives a list for each")?;
        self.pieces(tokens.row(0))
    }

    /// The tokens of each text or row, each as its own text. Texts come without padding; a batch of ids comes with
    /// the padding that it has, so that the list agrees with the positions of its activations.
    ///
    /// # Errors
    /// As [`Tokenizer::to_tokens`].
    pub fn to_str_tokens_rows(&self, input: impl Into<Input>) -> Result<Vec<Vec<String>>> {
        let input = input.into();
        let is_text = matches!(input, Input::Texts(_));
        let tokens = self.to_tokens(input)?;
        let row = |b| if is_text { tokens.real_row(b) } else { tokens.row(b) };
        (0..tokens.batch()).map(|b| self.pieces(row(b))).collect()
    }

    fn pieces(&self, ids: &[u32]) -> Result<Vec<String>> {
        ids.iter().map(|&id| self.to_single_str_token(id)).collect()
    }

    /// The id of a text that is exactly one token (no BOS is added).
    ///
    /// # Errors
    /// A text of no or several tokens, with the list of its pieces.
    pub fn to_single_token(&self, text: &str) -> Result<u32> {
        let tokens = self.to_tokens_with(text, Bos::Omit)?;
        match *tokens.real_row(0) {
            [id] => Ok(id),
            ref ids => Err(Error::tokens(format!(
                "{text:?} is not one token but {}: {:?}. Inside a text most words begin with a space, which is part \
                 of their token: {:?} or {:?} may be meant.",
                ids.len(),
                self.pieces(ids)?,
                format!(" {}", text.trim()),
                text.trim()
            ))),
        }
    }

    /// The text of one id.
    ///
    /// # Errors
    /// An id that is not in the vocabulary.
    pub fn to_single_str_token(&self, id: u32) -> Result<String> {
        self.to_string(&[id])
    }

    /// Where a token stands in one text or one row of ids; positions count the BOS and padding on the left, and
    /// padding itself is never found.
    ///
    /// # Errors
    /// A text that is not one token, a token that does not occur, more than one row.
    pub fn get_token_position(
        &self,
        token: impl Into<TokenRef>,
        input: impl Into<Input>,
        which: Occurrence,
    ) -> Result<usize> {
        let id = match token.into() {
            TokenRef::Id(id) => id,
            TokenRef::Text(text) => self.to_single_token(&text)?,
        };
        let tokens = self.to_tokens(input)?;
        one_row(&tokens, "ask for one row at a time")?;
        let is_it = |&found: &u32| found == id;
        let found = match which {
            Occurrence::First => tokens.real_row(0).iter().position(is_it),
            Occurrence::Last => tokens.real_row(0).iter().rposition(is_it),
        };
        match found {
            Some(place) => Ok(tokens.first_positions()[0] + place),
            None => Err(Error::tokens(format!(
                "the token {:?} (id {id}) does not occur in {:?}.",
                self.to_single_str_token(id)?,
                self.pieces(tokens.real_row(0))?
            ))),
        }
    }
}

fn one_row(tokens: &Tokens, instead: &str) -> Result<()> {
    if tokens.batch() == 1 {
        return Ok(());
    }
    Err(Error::tokens(format!("{} rows were given where one is needed: {instead}.", tokens.batch())))
}
