//! Tokenizers whose tokens are words, each with a space before the next.

use std::fmt::Display;

use candle_lens::tokens::Tokenizer;
use candle_lens::{Error, Result};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Tokenizer as Inner};

/// BOS, EOS and padding in one, as in GPT-2, and the token of unknown words.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer with these tokens, of which the first has id 0; [`END_OF_TEXT`] must be among them.
pub fn tokenizer<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Tokenizer> {
    let mut inner = inner(words, END_OF_TEXT)?;
    inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(|error| failed(&error))?;
    read_back(&inner)
}

/// A tokenizer with these tokens and no special one; unknown words become `unknown`, which is one of them.
pub fn plain_tokenizer<'a>(words: impl IntoIterator<Item = &'a str>, unknown: &str) -> Result<Tokenizer> {
    read_back(&inner(words, unknown)?)
}

fn inner<'a>(words: impl IntoIterator<Item = &'a str>, unknown: &str) -> Result<Inner> {
    let vocab = words.into_iter().zip(0..).map(|(word, id)| (word.to_string(), id)).collect();
    let model = WordLevel::builder().vocab(vocab).unk_token(unknown.into()).build();
    let mut inner = Inner::new(model.map_err(|error| failed(&error))?);
    inner.with_pre_tokenizer(Some(WhitespaceSplit));
    Ok(inner)
}

/// The tokenizer as users will read it.
fn read_back(inner: &Inner) -> Result<Tokenizer> {
    Tokenizer::from_bytes(inner.to_string(false).map_err(|error| failed(&error))?.as_bytes())
}

fn failed(error: &dyn Display) -> Error {
    Error::tokens(format!("the tokenizer could not be made ({error})."))
}
