//! From token ids back to text, and single tokens: their ids, texts and positions.

use super::caught::caught;
use super::pieces;
use crate::error::{Error, Result};
use crate::tokens::{Bos, Input, TokenRef, TokenizeOptions, Tokenizer, Tokens};

/// Which of several occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Occurrence {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

impl Tokenizer {
    /// The text of these ids, special tokens included. An id that the tokenizer does not have (a model's vocabulary can be larger
    /// than its tokenizer's) is written as `⟨50277⟩`, and an incomplete character as U+FFFD, as in TransformerLens.
    ///
    /// # Errors
    /// An id that neither the tokenizer nor its model has. A tokenizer without a model accepts every id.
    pub fn to_string(&self, ids: impl AsRef<[u32]>) -> Result<String> {
        let ids = ids.as_ref();
        self.check(ids)?;
        let mut text = String::new();
        for run in ids.chunk_by(|&a, &b| self.knows(a) == self.knows(b)) {
            if !self.knows(run[0]) {
                text.extend(run.iter().map(|&id| pieces::unknown(id)));
            } else if text.is_empty() {
                let decoded = caught(|| self.inner().decode(run, false));
                text +=
                    &decoded.map_err(|error| Error::tokens(format!("the ids {run:?} cannot be decoded: {error}.")))?;
            } else {
                text += &self.text_behind(run);
            }
        }
        Ok(text)
    }

    /// The text of ids that follow others: with the space that a decoder removes from the beginning of a text.
    pub(crate) fn text_behind(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A token as all views display it, whatever its id. A part of a character is shown as its bytes, `⟨e6⟩⟨97⟩`, an id without a
    /// token as `⟨50277⟩`.
    pub fn piece(&self, id: u32) -> String {
        pieces::legible(&self.bytes(id))
    }

    /// The bytes that a token represents.
    fn bytes(&self, id: u32) -> Vec<u8> {
        if let Some(added) = self.inner().get_added_vocabulary().get_added_tokens_decoder().get(&id) {
            return added.content.clone().into_bytes();
        }
        let Some(token) = self.inner().id_to_token(id) else { return pieces::unknown(id).into_bytes() };
        // A decoder that fails on a token of its own vocabulary offers nothing better.
        self.spelling()
            .bytes(&token)
            .unwrap_or_else(|| caught(|| self.inner().decode(&[id], false)).unwrap_or(token).into_bytes())
    }

    fn knows(&self, id: u32) -> bool {
        self.inner().id_to_token(id).is_some()
    }

    /// Rejects ids that neither the tokenizer nor its model has.
    fn check(&self, ids: &[u32]) -> Result<()> {
        let Some(d_vocab) = self.d_vocab() else { return Ok(()) };
        match ids.iter().find(|&&id| id as usize >= d_vocab && !self.knows(id)) {
            None => Ok(()),
            Some(id) => Err(Error::tokens(format!(
                "token id {id} does not exist: the model's ids go from 0 to {}.",
                d_vocab.saturating_sub(1)
            ))),
        }
    }

    /// The text of each row, special tokens and padding included.
    ///
    /// # Errors
    /// As [`Tokenizer::to_string`].
    pub fn to_strings(&self, tokens: &Tokens) -> Result<Vec<String>> {
        (0..tokens.batch()).map(|b| self.to_string(tokens.row(b))).collect()
    }

    /// The tokens of one text or one row of ids, each as its own text, including its space, even where
    /// the vocabulary writes that as `▁`.
    ///
    /// Unlike TransformerLens, which shows every token that is only a part of a character as U+FFFD, this gives its
    /// bytes, `⟨e6⟩⟨97⟩`, so that neighbours can be distinguished; [`Tokenizer::to_string`] joins them to the character.
    /// An id that the tokenizer does not have is `⟨50277⟩`.
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
        self.pieces(&tokens.row(0))
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
        (0..tokens.batch()).map(|b| self.pieces(&row(b))).collect()
    }

    fn pieces(&self, ids: &[u32]) -> Result<Vec<String>> {
        ids.iter().map(|&id| self.to_single_str_token(id)).collect()
    }

    /// The ids of a text that follows another one, such as an answer after its prompt: without BOS, and without
    /// the space that some tokenizers (Llama 1 and 2, Mistral, Phi 3) put before every text. So `" Mary"` is the
    /// single token `▁Mary` there, as it is in a prompt.
    ///
    /// # Errors
    /// A text without tokens.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// assert_eq!(model.tokenizer()?.continuation(" Mary John")?.len(), 2);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn continuation(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = caught(|| self.behind().encode_fast(text, false));
        let ids = encoding.map_err(|error| Error::tokens(format!("the text cannot be tokenized: {error}.")))?;
        match ids.get_ids() {
            [] => Err(Error::tokens(format!("the text {text:?} has no tokens: give a text."))),
            ids => Ok(ids.to_vec()),
        }
    }

    /// [`Tokenizer::continuation`] of each text, padded as prompts are.
    pub(crate) fn continuations(&self, texts: &[String]) -> Result<Tokens> {
        let rows = texts.iter().map(|text| self.continuation(text)).collect::<Result<Vec<_>>>()?;
        match self.filler() {
            Some(pad) => Tokens::padded(rows, pad, self.padding_side()),
            None => Tokens::from_rows(rows),
        }
    }

    /// The id of a text that is exactly one token (no BOS is added), as it appears inside a text: `" Mary"` with its
    /// space. Where a tokenizer puts a space before every text, `"Mary"` is the token without one if the vocabulary
    /// has it, else the one with it.
    ///
    /// # Errors
    /// A text of no or several tokens, with the list of its pieces.
    pub fn to_single_token(&self, text: &str) -> Result<u32> {
        let ids = self.continuation(text)?;
        if let [id] = ids[..] {
            return Ok(id);
        }
        if let [id] = *self.to_tokens_with(text, Bos::Omit)?.real_row(0) {
            return Ok(id);
        }
        Err(Error::tokens(format!(
            "{text:?} is not one token but {}: {:?}. Inside a text most words begin with a space, which is part of \
             their token: {:?} or {:?} may be meant.",
            ids.len(),
            self.pieces(&ids)?,
            format!(" {}", text.trim()),
            text.trim()
        )))
    }

    /// The text of one id, as in [`Tokenizer::to_str_tokens`].
    ///
    /// # Errors
    /// As [`Tokenizer::to_string`].
    pub fn to_single_str_token(&self, id: u32) -> Result<String> {
        self.check(&[id])?;
        Ok(self.piece(id))
    }

    /// The position of a token in one text or one row of ids; positions count the BOS and padding on the left, and padding itself
    /// is never found.
    ///
    /// # Errors
    /// A text that is not one token, a token that does not occur, more than one row.
    pub fn get_token_position(
        &self,
        token: impl Into<TokenRef>,
        input: impl Into<Input>,
        which: Occurrence,
    ) -> Result<usize> {
        let token = token.into();
        let id = match &token {
            TokenRef::Id(id) => *id,
            TokenRef::Text(text) => self.to_single_token(text)?,
        };
        let tokens = self.to_tokens(input)?;
        one_row(&tokens, "give one row at a time")?;
        let row = tokens.real_row(0);
        let place = |id: u32| match which {
            Occurrence::First => row.iter().position(|&found| found == id),
            Occurrence::Last => row.iter().rposition(|&found| found == id),
        };
        // "Mary" at the very beginning of a text may be the token that is " Mary" elsewhere.
        let at_beginning = || match &token {
            TokenRef::Id(_) => None,
            TokenRef::Text(text) => match *self.to_tokens_with(text, Bos::Omit).ok()?.real_row(0) {
                [other] => place(other),
                _ => None,
            },
        };
        match place(id).or_else(at_beginning) {
            Some(place) => Ok(tokens.first_positions()[0] + place),
            None => Err(Error::tokens(format!(
                "the token {:?} (id {id}) does not occur in {:?}.",
                self.piece(id),
                self.pieces(&row)?
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
