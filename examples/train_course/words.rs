//! Tokenizers whose tokens are words, each with a space before the next.

use candle_lens::tokens::Tokenizer;
use candle_lens::{Error, Result};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Tokenizer as Inner};

/// BOS, EOS and padding in one, as in GPT-2, and the token of unknown words.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer with these tokens, of which the first has id 0; [`END_OF_TEXT`] must be among them.
pub fn tokenizer<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Tokenizer> {
    let failed = |error: String| Error::tokens(format!("the tokenizer could not be made ({error})."));
    let vocab = words.into_iter().zip(0..).map(|(word, id)| (word.to_string(), id)).collect();
    let model = WordLevel::builder().vocab(vocab).unk_token(END_OF_TEXT.into()).build();
    let mut inner = Inner::new(model.map_err(|error| failed(error.to_string()))?);
    inner.with_pre_tokenizer(Some(WhitespaceSplit));
    inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(|error| failed(error.to_string()))?;
    let path = std::env::temp_dir().join(format!("train-course-{}.json", std::process::id()));
    inner.save(&path, false).map_err(|error| failed(error.to_string()))?;
    let tokenizer = Tokenizer::from_file(&path);
    std::fs::remove_file(&path).map_err(|error| Error::file(&path, format!("could not be removed ({error}).")))?;
    tokenizer
}
