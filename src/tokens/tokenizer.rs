//! The tokenizer of a model: text to ids with an explicit policy for the beginning of sequence, and back.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::caught::caught;
use crate::error::{Error, Result};
use crate::tokens::{Input, PaddingSide, Tokens};

/// What GPT-2 and its kin use as BOS, EOS and padding when a folder does not say.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The file beside a tokenizer.json that names its special tokens.
const CONFIG: &str = "tokenizer_config.json";

/// The most that the parts of a tokenizer may lengthen a text by.
const MOST_GROWTH: f64 = 1e4;

/// Whether a beginning-of-sequence token (BOS) is put before each text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bos {
    /// What the tokenizer's [`Tokenizer::default_prepend_bos`] says: yes, unless it was told otherwise or has no BOS.
    #[default]
    Default,
    /// One BOS before each text. A BOS that is spelt out in the text comes in addition, as in TransformerLens.
    Prepend,
    /// None, not even where the tokenizer file would add one: for a piece of a prompt, such as an answer.
    Omit,
}

/// How texts become tokens. `Bos` and `PaddingSide` turn `into()` options that only set that one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Whether to begin with a BOS.
    pub bos: Bos,
    /// Where shorter texts are padded; `None` is the tokenizer's default.
    pub padding_side: Option<PaddingSide>,
    /// Whether to keep only the first `n_ctx` tokens of a longer text, rather than to refuse it.
    pub truncate: bool,
}

impl From<Bos> for TokenizeOptions {
    fn from(bos: Bos) -> Self {
        Self { bos, ..Self::default() }
    }
}

impl From<PaddingSide> for TokenizeOptions {
    fn from(side: PaddingSide) -> Self {
        Self { padding_side: Some(side), ..Self::default() }
    }
}

/// A `tokenizer.json` with the ids that a model needs: BOS, EOS and padding. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    prepend_bos: bool,
    padding_side: PaddingSide,
    n_ctx: Option<usize>,
}

/// The names of the special tokens, as `tokenizer_config.json` spells them.
#[derive(Default)]
struct SpecialNames {
    bos: Option<String>,
    eos: Option<String>,
    pad: Option<String>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. A `tokenizer_config.json` beside it names BOS, EOS and padding; what it leaves out
    /// is filled in as TransformerLens does: EOS is `<|endoftext|>`, BOS and padding are EOS.
    ///
    /// # Errors
    /// A file that cannot be read or is no tokenizer, or special tokens that are not in its vocabulary.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| {
            Error::file(path, format!("the tokenizer cannot be read ({error}): give the path of a tokenizer.json."))
        })?;
        let config = path.with_file_name(CONFIG);
        let config = match config.exists() {
            true => Some(std::fs::read(&config).map_err(|error| {
                Error::file(&config, format!("it cannot be read ({error}): mend its permissions, or remove it."))
            })?),
            false => None,
        };
        Self::from_parts(path, &bytes, config.as_deref())
    }

    /// As [`Tokenizer::from_file`], of contents already read; errors name `path` and the config beside it.
    pub(crate) fn from_parts(path: &Path, bytes: &[u8], config: Option<&[u8]>) -> Result<Self> {
        let inner = parse(bytes).map_err(|error| Error::file(path, unreadable(&error)))?;
        let names = config.map_or(Ok(SpecialNames::default()), SpecialNames::parse);
        names
            .and_then(|names| Self::with_names(inner, &names))
            .map_err(|message| Error::file(path.with_file_name(CONFIG), message))
    }

    /// Reads the contents of a `tokenizer.json`, with `<|endoftext|>` as BOS, EOS and padding if it is there.
    ///
    /// # Errors
    /// Bytes that are no tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let inner = parse(bytes).map_err(|error| Error::tokens(unreadable(&error)))?;
        Self::with_names(inner, &SpecialNames::default()).map_err(Error::tokens)
    }

    /// The contents of the files that [`Tokenizer::from_file`] reads, by name: the tokenizer, and its special tokens.
    pub(crate) fn to_files(&self) -> Result<[(&'static str, Vec<u8>); 2]> {
        let unwritable = |error: &dyn fmt::Display| Error::tokens(format!("the tokenizer cannot be written: {error}."));
        let tokenizer = self.inner.to_string(true).map_err(|error| unwritable(&error))?;
        let name = |id: Option<u32>| id.and_then(|id| self.inner.id_to_token(id));
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": name(self.bos),
            "eos_token": name(self.eos),
            "pad_token": name(self.pad),
        });
        let config = serde_json::to_vec_pretty(&config).map_err(|error| unwritable(&error))?;
        Ok([("tokenizer.json", tokenizer.into_bytes()), (CONFIG, config)])
    }

    fn with_names(inner: tokenizers::Tokenizer, names: &SpecialNames) -> Result<Self, String> {
        let id = |name: &Option<String>| match name {
            None => Ok(None),
            Some(name) => inner.token_to_id(name).map(Some).ok_or_else(|| {
                format!(
                    "the special token {name:?} is not in the tokenizer's vocabulary: correct one of the two files."
                )
            }),
        };
        let eos = id(&names.eos)?.or_else(|| inner.token_to_id(END_OF_TEXT));
        let bos = id(&names.bos)?.or(eos);
        let pad = id(&names.pad)?.or(eos);
        Ok(Self {
            inner: Arc::new(inner),
            bos,
            eos,
            pad,
            prepend_bos: true,
            padding_side: PaddingSide::Right,
            n_ctx: None,
        })
    }

    /// The same with the longest text that the model reads, in tokens.
    pub fn with_n_ctx(mut self, n_ctx: usize) -> Self {
        self.n_ctx = Some(n_ctx);
        self
    }

    /// The same with another meaning of [`Bos::Default`].
    pub fn with_default_prepend_bos(mut self, prepend: bool) -> Self {
        self.prepend_bos = prepend;
        self
    }

    /// The same with another default side of padding.
    pub fn with_padding_side(mut self, side: PaddingSide) -> Self {
        self.padding_side = side;
        self
    }

    /// The id of the beginning of sequence.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The id of the end of sequence.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// The id of padding.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// Whether [`Bos::Default`] prepends a BOS.
    pub fn default_prepend_bos(&self) -> bool {
        self.prepend_bos && self.bos.is_some()
    }

    /// The side of padding where none is asked for.
    pub fn padding_side(&self) -> PaddingSide {
        self.padding_side
    }

    /// The longest text that is accepted, in tokens.
    pub fn n_ctx(&self) -> Option<usize> {
        self.n_ctx
    }

    /// How many ids there are: one more than the greatest.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// The tokens of one or several texts, with the default BOS and padding.
    ///
    /// # Shapes
    /// `[batch, pos]`: one row for each text, as long as the longest.
    ///
    /// # Errors
    /// An empty list; an empty text without BOS; a text of more than `n_ctx` tokens (TransformerLens cuts it silently).
    ///
    /// ```no_run
    /// # fn main() -> candle_lens::Result<()> {
    /// let tokenizer = candle_lens::tokens::Tokenizer::from_file("gpt2/tokenizer.json")?;
    /// let tokens = tokenizer.to_tokens(["When Mary and John went", "Then"])?;
    /// assert_eq!((tokens.batch(), tokens.lengths()), (2, &[6, 2][..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_tokens(&self, input: impl Into<Input>) -> Result<Tokens> {
        self.to_tokens_with(input, TokenizeOptions::default())
    }

    /// As [`Tokenizer::to_tokens`], with a BOS policy, a padding side, or both and truncation.
    ///
    /// # Errors
    /// As [`Tokenizer::to_tokens`].
    pub fn to_tokens_with(&self, input: impl Into<Input>, options: impl Into<TokenizeOptions>) -> Result<Tokens> {
        input.into().into_tokens(Some(self), &options.into())
    }

    pub(super) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// One padded row for each text.
    pub(super) fn encode(&self, texts: &[String], options: &TokenizeOptions) -> Result<Tokens> {
        let bos = match options.bos {
            Bos::Default => self.bos.filter(|_| self.prepend_bos),
            Bos::Omit => None,
            Bos::Prepend => Some(self.bos.ok_or_else(|| {
                Error::tokens("a BOS was asked for, but this tokenizer has none: use Bos::Omit or Bos::Default.")
            })?),
        };
        // Special tokens of the file's own post-processor stay out, so that no BOS comes twice.
        let texts_of = || texts.iter().map(String::as_str).collect();
        let encodings = caught(|| self.inner.encode_batch_fast(texts_of(), false))
            .map_err(|error| Error::tokens(format!("the text cannot be tokenized: {error}.")))?;
        let mut rows = Vec::with_capacity(texts.len());
        for (text, encoding) in texts.iter().zip(&encodings) {
            let mut row: Vec<u32> = bos.into_iter().chain(encoding.get_ids().iter().copied()).collect();
            if row.is_empty() {
                return Err(Error::tokens(format!(
                    "the text {text:?} has no tokens: give a text, or prepend a BOS (Bos::Prepend)."
                )));
            }
            if let Some(n_ctx) = self.n_ctx.filter(|&n_ctx| row.len() > n_ctx) {
                if !options.truncate {
                    return Err(self.too_long(text, row.len(), n_ctx, bos.is_some()));
                }
                row.truncate(n_ctx);
            }
            rows.push(row);
        }
        let side = options.padding_side.unwrap_or(self.padding_side);
        match self.pad {
            Some(pad) => Tokens::padded(rows, pad, side),
            None => Tokens::from_rows(rows),
        }
    }

    fn too_long(&self, text: &str, count: usize, n_ctx: usize, bos: bool) -> Error {
        let beginning: String = text.chars().take(40).collect();
        let with_bos = if bos { " with its BOS" } else { "" };
        Error::tokens(format!(
            "the text that begins {beginning:?} has {count} tokens{with_bos}, but the model reads at most \
             n_ctx = {n_ctx}: shorten it, or ask for its first {n_ctx} tokens with TokenizeOptions {{ truncate: true, .. }}."
        ))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = [("bos", self.bos), ("eos", self.eos), ("pad", self.pad)];
        write!(f, "Tokenizer [{} ids", self.vocab_size())?;
        for (name, id) in ids {
            if let Some(id) = id {
                write!(f, ", {name} {id}")?;
            }
        }
        write!(f, ", BOS {} by default", if self.default_prepend_bos() { "prepended" } else { "omitted" })?;
        write!(f, ", padding {}]", self.padding_side)
    }
}

impl SpecialNames {
    /// Reads `tokenizer_config.json`, where a token is a text or an object with its text as `content`.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let config: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is no valid JSON ({error}): copy it anew from the model's folder."))?;
        let name = |key: &str| {
            let value = &config[key];
            value.as_str().or_else(|| value["content"].as_str()).map(str::to_string)
        };
        Ok(Self { bos: name("bos_token"), eos: name("eos_token"), pad: name("pad_token") })
    }
}

/// Padding and truncation that the file may ask for are ours to do.
fn parse(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, tokenizers::Error> {
    // The tokenizers crate panics at damaged JSON inside a decoder and at some parts that are not what they say:
    // the first is found here, the rest is caught.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes)?;
    let mut inner = caught(|| tokenizers::Tokenizer::from_bytes(bytes))?;
    check_growth(bytes)?;
    inner.with_padding(None);
    inner.with_truncation(None)?;
    Ok(inner)
}

/// Refuses parts that, one after another, would make a text so much longer that it fits in no memory: 40 times "aa" for "a" are
/// some terabytes.
fn check_growth(bytes: &[u8]) -> tokenizers::Result<()> {
    let json: serde_json::Value = serde_json::from_slice(bytes)?;
    let growth = |part: &str| json.get(part).map_or(1.0, growth_of);
    match growth("normalizer").max(growth("decoder")) > MOST_GROWTH {
        true => Err("its replacements make a text more than 10000 times as long".into()),
        false => Ok(()),
    }
}

/// How many times as long a text can be at most behind this part of a tokenizer; what is put in front of it is not counted.
fn growth_of(part: &serde_json::Value) -> f64 {
    let parts = ["normalizers", "decoders"].into_iter().filter_map(|list| part[list].as_array()).flatten();
    let pattern = part["pattern"]["String"].as_str().map_or(1, str::len).max(1);
    let own = part["content"].as_str().map_or(1.0, |content| content.len() as f64 / pattern as f64);
    parts.map(growth_of).fold(own.max(1.0), |product, growth| product * growth)
}

fn unreadable(error: &tokenizers::Error) -> String {
    format!("this is not a complete tokenizer.json ({error}): download or copy it anew.")
}
