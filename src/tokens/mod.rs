//! Text to token ids and back.
//!
//! [`Tokenizer`] turns text into [`Tokens`], a rectangular batch of ids that knows which of them are padding;
//! [`Input`] is everything that a model takes in place of tokens (a text, several texts, ids).
//! The vocabulary and the semantics are TransformerLens' (`to_tokens`, `to_str_tokens`, `to_single_token`,
//! `get_token_position`); where TransformerLens truncates or guesses silently, this room returns an error.

mod batch;
mod bpe_files;
mod caught;
mod gguf;
mod input;
mod io;
mod lookup;
mod parse;
mod parts;
mod pieces;
mod special;
mod tokenizer;

pub use batch::{PaddingSide, Tokens};
pub use input::{Input, TokenRef};
pub use lookup::Occurrence;
pub use tokenizer::{Bos, TokenizeOptions, Tokenizer};
