//! The tokenizer of a model: text to ids with an explicit policy for the beginning of sequence, and back.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::bpe_files;
use super::caught::caught;
use super::parse::{parse, unreadable};
use super::pieces::{self, Spelling};
use super::special::{CONFIG, Declared, GENERATION, PREPEND_BOS, Special};
use crate::error::{Error, Result};
use crate::progress;
use crate::tokens::{Input, PaddingSide, Tokens};

const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// Whether a beginning-of-sequence token (BOS) is put before each text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bos {
    /// As [`Tokenizer::default_prepend_bos`]. A model's tokenizer follows TransformerLens' choice for its family: none for
    /// Pythia and other GPT-NeoX models, Phi 1 and 2, Qwen 2 and 3, and for a tokenizer whose files say that it has no
    /// BOS (there TransformerLens takes the end of text); one for all others.
    #[default]
    Default,
    /// One BOS before each text. A BOS that is spelt out in the text comes in addition, as in TransformerLens.
    Prepend,
    /// None, not even where the tokenizer file would add one: for a piece of a prompt, such as an answer.
    Omit,
}

/// How texts are tokenized. `Bos` and `PaddingSide` convert by `into()` to options that set only that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Whether to begin with a BOS.
    pub bos: Bos,
    /// Where shorter texts are padded; `None` is the tokenizer's default.
    pub padding_side: Option<PaddingSide>,
    /// Whether to keep only the first `n_ctx` tokens of a longer text instead of returning an error.
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
    /// The same for a text that follows another one, once it was needed; `None` in it if it does not differ.
    behind: Arc<OnceLock<Option<tokenizers::Tokenizer>>>,
    spelling: Arc<Spelling>,
    special: Special,
    /// What `Bos::Default` means, if the files say so.
    prepend_bos: Option<bool>,
    padding_side: PaddingSide,
    n_ctx: Option<usize>,
    d_vocab: Option<usize>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or a `vocab.json` with the `merges.txt` beside it. The other files of its folder say
    /// which tokens are special: `tokenizer_config.json`, `special_tokens_map.json` (before it, where only it names a
    /// token, or the first lists no added tokens), then the tokenizer's own post-processor, `config.json` and
    /// `generation_config.json`. What none of them says is filled in: `<|endoftext|>` is BOS and EOS where the
    /// vocabulary has it, and padding is EOS, as in TransformerLens. Special tokens that the tokenizer does not have
    /// are added to it, as `transformers` does.
    ///
    /// A file that ends in `.gguf` has all of this in its metadata, for tokenizers of llama.cpp's kinds `gpt2` and `llama`;
    /// whether [`Bos::Default`] prepends a BOS is what the file says.
    ///
    /// # Errors
    /// A file that cannot be read or is not a tokenizer; a GGUF file whose tokenizer is of a kind that is not supported.
    ///
    /// ```
    /// use candle_lens::tokens::Tokenizer;
    /// let tokenizer = Tokenizer::from_file("tests/fixtures/gguf_tokenizers/small.gguf")?;
    /// assert_eq!(tokenizer.to_str_tokens("the the 12")?, ["t", "he", " the", " ", "1", "2"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return Self::from_gguf_file(path);
        }
        let given = path.file_name().unwrap_or_default();
        let mut find = |name: &str| {
            let named = match name {
                TOKENIZER if given != VOCAB => path.to_path_buf(),
                TOKENIZER => return Ok(None),
                _ => path.with_file_name(name),
            };
            if name != TOKENIZER && !named.exists() {
                return Ok(None);
            }
            std::fs::read(&named).map(Some).map_err(|error| {
                let message = match name {
                    TOKENIZER => format!("the tokenizer cannot be read ({error}): give the path of a tokenizer.json."),
                    _ => format!("it cannot be read ({error}): fix its permissions, or remove it."),
                };
                Error::file(&named, message)
            })
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_files(folder, &mut find)?.ok_or_else(|| {
            Error::file(
                path,
                "it is not a complete tokenizer: a vocab.json needs GPT-2's merges.txt beside it. Give a tokenizer.json.",
            )
        })
    }

    /// The tokenizer that the files of a folder make; `find` gives the contents of one, errors name `folder`. None where
    /// there are no such files, or they are of a kind that cannot be read, which a line on stderr says.
    pub(crate) fn from_files(
        folder: &Path,
        find: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>,
    ) -> Result<Option<Self>> {
        let json = find(TOKENIZER)?;
        let pair = match json {
            Some(_) => None,
            None => find(VOCAB)?.zip(find(MERGES)?),
        };
        if json.is_none() && pair.is_none() {
            return Ok(None);
        }
        let declared = Declared::read(folder, find)?;
        let class = declared.class.as_deref();
        let inner = match (&json, &pair) {
            (Some(bytes), _) => {
                parse(bytes).map_err(|error| Error::file(folder.join(TOKENIZER), unreadable(&error)))?
            }
            (None, Some((vocab, merges))) if bpe_files::is_known(class) => {
                bpe_files::tokenizer((vocab, merges), class, declared.add_prefix_space)
                    .map_err(|(name, message)| Error::file(folder.join(name), message))?
            }
            _ => {
                progress::say(&format!(
                    "{}: the tokenizer has no tokenizer.json, and vocab.json and merges.txt are of the class {}, which is \
                     not read from them: the model reads token ids only. Python's \
                     AutoTokenizer.from_pretrained(..).save_pretrained(..) writes a tokenizer.json.",
                    folder.display(),
                    class.unwrap_or_default(),
                ));
                return Ok(None);
            }
        };
        Self::declared(inner, &declared).map(Some).map_err(|message| Error::file(folder.join(CONFIG), message))
    }

    /// The ids that a model's files name as ends of a text, for a model without a tokenizer too.
    pub(crate) fn end_ids_of(folder: &Path, find: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<u32>> {
        Ok(Declared::read(folder, find)?.end_ids().to_vec())
    }

    /// Reads the contents of a `tokenizer.json`, with `<|endoftext|>` as BOS, EOS and padding if it is there.
    ///
    /// # Errors
    /// Bytes that are not a tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let inner = parse(bytes).map_err(|error| Error::tokens(unreadable(&error)))?;
        Self::declared(inner, &Declared::default()).map_err(Error::tokens)
    }

    /// The contents of the files that [`Tokenizer::from_file`] reads, by name: the tokenizer, its special tokens, and
    /// the ends of a text.
    pub(crate) fn to_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let unwritable = |error: &dyn fmt::Display| Error::tokens(format!("the tokenizer cannot be written: {error}."));
        let tokenizer = self.inner.to_string(true).map_err(|error| unwritable(&error))?;
        let name = |id: Option<u32>| id.and_then(|id| self.inner.id_to_token(id));
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": name(self.special.bos),
            "eos_token": name(self.special.eos),
            "pad_token": name(self.special.pad),
            "padding_side": self.padding_side.to_string(),
            PREPEND_BOS: self.prepend_bos.unwrap_or(true),
        });
        let generation = serde_json::json!({
            "bos_token_id": self.special.bos,
            "eos_token_id": (!self.special.ends.is_empty()).then_some(&self.special.ends),
            "pad_token_id": self.special.pad,
        });
        let text = |value: &serde_json::Value| serde_json::to_vec_pretty(value).map_err(|error| unwritable(&error));
        Ok(vec![(TOKENIZER, tokenizer.into_bytes()), (CONFIG, text(&config)?), (GENERATION, text(&generation)?)])
    }

    pub(super) fn declared(mut inner: tokenizers::Tokenizer, declared: &Declared) -> Result<Self, String> {
        let special = declared.settle(&mut inner)?;
        Ok(Self {
            spelling: Arc::new(Spelling::of(&inner)),
            inner: Arc::new(inner),
            behind: Arc::default(),
            special,
            prepend_bos: declared.prepend_bos,
            padding_side: declared.padding_side.unwrap_or_default(),
            n_ctx: None,
            d_vocab: None,
        })
    }

    /// The same, with the length of the longest text that the model can read, in tokens.
    pub fn with_n_ctx(mut self, n_ctx: usize) -> Self {
        self.n_ctx = Some(n_ctx);
        self
    }

    /// The same, for a model with this number of ids, of which the tokenizer may have fewer or more.
    pub(crate) fn with_d_vocab(mut self, d_vocab: usize) -> Self {
        self.d_vocab = Some(d_vocab);
        self
    }

    /// The same, with another meaning of [`Bos::Default`].
    pub fn with_default_prepend_bos(mut self, prepend: bool) -> Self {
        self.prepend_bos = Some(prepend);
        self
    }

    /// The same, with another default side of padding.
    pub fn with_padding_side(mut self, side: PaddingSide) -> Self {
        self.padding_side = side;
        self
    }

    /// The id of the beginning of sequence.
    pub fn bos_id(&self) -> Option<u32> {
        self.special.bos
    }

    /// The id of the end of sequence.
    pub fn eos_id(&self) -> Option<u32> {
        self.special.eos
    }

    /// Every id that ends a generated text: EOS, and what `config.json` and `generation_config.json` name, which for many
    /// chat models are several.
    pub fn end_ids(&self) -> &[u32] {
        &self.special.ends
    }

    /// The id of padding. Where the model has no row for it, batches are padded with another: padding is never read.
    pub fn pad_id(&self) -> Option<u32> {
        self.special.pad
    }

    /// Whether [`Bos::Default`] prepends a BOS.
    pub fn default_prepend_bos(&self) -> bool {
        self.prepend_bos.unwrap_or(true) && self.special.bos.is_some()
    }

    /// Whether texts get a BOS, if the files of a model that this crate saved say so.
    pub(crate) fn saved_prepend_bos(&self) -> Option<bool> {
        self.prepend_bos
    }

    /// The default side of padding.
    pub fn padding_side(&self) -> PaddingSide {
        self.padding_side
    }

    /// The length of the longest text that is accepted, in tokens.
    pub fn n_ctx(&self) -> Option<usize> {
        self.n_ctx
    }

    /// The number of ids: one more than the largest.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// The tokens of one or several texts, with the default BOS and padding.
    ///
    /// # Shapes
    /// `[batch, pos]`: one row for each text, as long as the longest.
    ///
    /// # Errors
    /// An empty list; an empty text without BOS; a text of more than `n_ctx` tokens (TransformerLens truncates it silently).
    ///
    /// ```no_run
    /// # fn main() -> candle_lens::Result<()> {
    /// let tokenizer = candle_lens::tokens::Tokenizer::from_file("gpt2/tokenizer.json")?;
    /// let tokens = tokenizer.to_tokens(["When Mary and John went", "Then"])?;
    /// assert_eq!((tokens.batch(), tokens.lengths()), (2, vec![6, 2]));
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
        input.into().into_tokens(Some(self), options)
    }

    pub(super) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The tokenizer for a text that follows another one.
    pub(super) fn behind(&self) -> &tokenizers::Tokenizer {
        self.behind.get_or_init(|| pieces::behind_text(&self.inner)).as_ref().unwrap_or(&self.inner)
    }

    pub(super) fn spelling(&self) -> &Spelling {
        &self.spelling
    }

    /// The number of ids of the model, if this is a model's tokenizer.
    pub(super) fn d_vocab(&self) -> Option<usize> {
        self.d_vocab
    }

    /// The id that shorter rows are filled with: padding, or another special token if the model cannot read that.
    pub(crate) fn filler(&self) -> Option<u32> {
        let readable = |id: &u32| self.d_vocab.is_none_or(|d_vocab| (*id as usize) < d_vocab);
        let Special { pad, eos, bos, .. } = self.special;
        pad.map(|pad| [Some(pad), eos, bos].into_iter().flatten().find(readable).unwrap_or(0))
    }

    /// One padded row for each text.
    pub(super) fn encode(&self, texts: &[String], options: &TokenizeOptions) -> Result<Tokens> {
        let bos = match options.bos {
            Bos::Default => self.special.bos.filter(|_| self.default_prepend_bos()),
            Bos::Omit => None,
            Bos::Prepend => Some(self.special.bos.ok_or_else(|| {
                Error::tokens("a BOS was requested, but this tokenizer has none: use Bos::Omit or Bos::Default.")
            })?),
        };
        // The special tokens of the file's post-processor are left out, so that no BOS is added twice.
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
        match self.filler() {
            Some(pad) => Tokens::padded(rows, pad, side),
            None => Tokens::from_rows(rows),
        }
    }

    fn too_long(&self, text: &str, count: usize, n_ctx: usize, bos: bool) -> Error {
        let beginning: String = text.chars().take(40).collect();
        let with_bos = if bos { " with its BOS" } else { "" };
        Error::tokens(format!(
            "the text that begins {beginning:?} has {count} tokens{with_bos}, but the model reads at most \
             n_ctx = {n_ctx}: shorten it, or keep its first {n_ctx} tokens with TokenizeOptions {{ truncate: true, .. }}."
        ))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = [("bos", self.special.bos), ("eos", self.special.eos), ("pad", self.special.pad)];
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
