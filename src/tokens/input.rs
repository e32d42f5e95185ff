//! What can be given as tokens: texts, ids, or a batch that is ready to be run.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::tokens::{TokenizeOptions, Tokenizer, Tokens};

/// What a model reads: one text, several texts, or token ids. Built by `into()` from the usual types
/// (`&str`, `String`, arrays, slices and vectors of these, [`Tokens`], rows of `u32`, a tensor of ids), so that
/// every method that takes `impl Into<Input>` takes them all.
#[derive(Clone, Debug)]
pub enum Input {
    /// Texts, to be tokenized.
    Texts(Vec<String>),
    /// Rows of ids, which need the same length.
    Rows(Vec<Vec<u32>>),
    /// A tensor of ids, `[batch, pos]` or `[pos]`.
    Tensor(Tensor),
    /// A batch that is ready to be read.
    Tokens(Tokens),
}

impl Input {
    /// The tokens of this input; texts need a tokenizer, ids are used as they are.
    ///
    /// # Errors
    /// Text without a tokenizer, whatever [`Tokenizer::to_tokens`] rejects, rows of unequal lengths, and options
    /// that only concern text together with ids.
    pub fn into_tokens(self, tokenizer: Option<&Tokenizer>, options: impl Into<TokenizeOptions>) -> Result<Tokens> {
        let options = options.into();
        let tokens = match self {
            Self::Texts(texts) => {
                let tokenizer = tokenizer.ok_or_else(|| {
                    Error::tokens("text was given, but this model has no tokenizer: pass token ids instead.")
                })?;
                return tokenizer.encode(&texts, &options);
            }
            Self::Rows(rows) => Tokens::from_rows(rows)?,
            Self::Tensor(ids) => Tokens::from_tensor(&ids)?,
            Self::Tokens(tokens) => tokens,
        };
        if options != TokenizeOptions::default() {
            return Err(Error::argument(
                "tokenization options were given with token ids, which are used as they are: \
                 leave the options out, or pass the text.",
            ));
        }
        Ok(tokens)
    }
}

impl From<Tokens> for Input {
    fn from(tokens: Tokens) -> Self {
        Self::Tokens(tokens)
    }
}

impl From<&Tokens> for Input {
    fn from(tokens: &Tokens) -> Self {
        Self::Tokens(tokens.clone())
    }
}

impl From<Tensor> for Input {
    fn from(ids: Tensor) -> Self {
        Self::Tensor(ids)
    }
}

impl From<&Tensor> for Input {
    fn from(ids: &Tensor) -> Self {
        Self::Tensor(ids.clone())
    }
}

macro_rules! from_texts {
    ($($text:ty),*) => {$(
        impl From<$text> for Input {
            fn from(text: $text) -> Self {
                Self::Texts(vec![String::from(text)])
            }
        }
    )*};
}
from_texts!(&str, String, &String);

fn texts(list: &[impl AsRef<str>]) -> Input {
    Input::Texts(list.iter().map(|text| text.as_ref().to_string()).collect())
}

fn row(ids: &[u32]) -> Input {
    Input::Rows(vec![ids.to_vec()])
}

fn rows(rows: &[Vec<u32>]) -> Input {
    Input::Rows(rows.to_vec())
}

macro_rules! from_lists {
    ($($item:ty => $build:ident),*) => {$(
        from_lists!(@each $item, $build, () &[$item], () &Vec<$item>, () Vec<$item>,
            (const N: usize) [$item; N], (const N: usize) &[$item; N]);
    )*};
    (@each $item:ty, $build:ident, $(($($generic:tt)*) $list:ty),*) => {$(
        impl<$($generic)*> From<$list> for Input {
            fn from(list: $list) -> Self {
                $build(&list[..])
            }
        }
    )*};
}
from_lists!(&str => texts, String => texts, u32 => row, Vec<u32> => rows);

/// One token, by its text or by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenRef {
    /// A text that is exactly one token.
    Text(String),
    /// An id.
    Id(u32),
}

impl From<u32> for TokenRef {
    fn from(id: u32) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for TokenRef {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<&String> for TokenRef {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for TokenRef {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
