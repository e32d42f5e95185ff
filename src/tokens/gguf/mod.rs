//! The tokenizer that a GGUF file describes: llama.cpp's kinds `gpt2` (byte-level BPE) and `llama` (SentencePiece's BPE).
//!
//! The file holds the vocabulary, the merges or the scores that imply them, and the name of the original tokenizer. What a name
//! stands for was read from the original models' `tokenizer.json` and from llama.cpp (`src/llama-vocab.cpp`). Where these two
//! differ, the original is followed, because the model was trained with it. `transformers`' conversion of the same file differs
//! from the originals in several ways: it does not split digits (`smollm` and others) or normalise texts (Qwen), does not take
//! whole words from Llama 3's vocabulary, adds no space to a text of Llama 1 and 2 that begins with one, and merges long runs of
//! spaces in another order (Gemma).

mod byte_level;
mod sentence_piece;
mod splitters;
mod vocabulary;

use std::path::Path;

use tokenizers::AddedToken;

use self::vocabulary::{TokenKind, Vocabulary};
use super::special::Declared;
use crate::error::{Error, Result};
use crate::progress;
use crate::storage::{GgufMetadata, gguf};
use crate::tokens::Tokenizer;

/// What all keys of a tokenizer begin with.
const KEYS: &str = "tokenizer.ggml.";

/// What a user can do about a tokenizer that is not understood.
const INSTEAD: &str = "put the original model's tokenizer.json beside the file, which is used instead";

/// Keys that are read here or do not change how a text is tokenized.
const UNDERSTOOD: [&str; 32] = [
    "model",
    "pre",
    "tokens",
    "merges",
    "scores",
    "token_type",
    "token_type_count",
    "bos_token_id",
    "eos_token_id",
    "eot_token_id",
    "eom_token_id",
    "unknown_token_id",
    "padding_token_id",
    "seperator_token_id",
    "cls_token_id",
    "mask_token_id",
    "prefix_token_id",
    "suffix_token_id",
    "middle_token_id",
    "fim_pre_token_id",
    "fim_suf_token_id",
    "fim_mid_token_id",
    "fim_pad_token_id",
    "fim_rep_token_id",
    "fim_sep_token_id",
    "add_bos_token",
    "add_eos_token",
    "add_sep_token",
    "add_space_prefix",
    "remove_extra_whitespaces",
    "precompiled_charsmap",
    "suppress_tokens",
];

/// A tokenizer of one kind, and what follows from its name.
struct Built {
    inner: tokenizers::Tokenizer,
    /// Python's class of the tokenizer, where it decides which special tokens there are.
    class: Option<&'static str>,
    /// Whether texts get a BOS where the file does not say so.
    prepend_bos: Option<bool>,
}

impl Tokenizer {
    /// The tokenizer of a GGUF file, as [`Tokenizer::from_file`] reads it.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`], and a file without a tokenizer.
    pub(super) fn from_gguf_file(path: &Path) -> Result<Self> {
        Self::from_gguf(&gguf::read(path)?.metadata)?.ok_or_else(|| {
            Error::file(
                path,
                format!("this GGUF file has no tokenizer: {INSTEAD}, or give the path of a tokenizer.json."),
            )
        })
    }

    /// The tokenizer that the metadata describe, or none if they have none.
    ///
    /// The file says whether [`Bos::Default`](crate::tokens::Bos::Default) prepends a BOS. Where it does not, one is
    /// prepended for SentencePiece and for what splits texts like Llama 3 or Tekken, as in llama.cpp; otherwise the model's
    /// family decides, as in TransformerLens, where llama.cpp prepends none. An EOS is never appended; a line on stderr says so if
    /// the file asks for one.
    ///
    /// # Errors
    /// [`Error::File`]: a kind, a pre-tokenizer or a key that is not understood; a vocabulary that is empty, incomplete or
    /// contradicts itself.
    pub(crate) fn from_gguf(metadata: &GgufMetadata) -> Result<Option<Self>> {
        let kind = metadata.string("tokenizer.ggml.model")?;
        let Some(kind) = kind.filter(|kind| !["none", "no_vocab"].contains(kind)) else { return Ok(None) };
        check_keys(metadata)?;
        let build = match kind {
            "gpt2" => byte_level::build,
            "llama" => sentence_piece::build,
            _ => {
                let message = format!(
                    "its tokenizer is of the kind {kind:?}, which is not supported (gpt2 and llama are): {INSTEAD}."
                );
                return Err(Error::file(metadata.path(), message));
            }
        };
        let vocabulary = Vocabulary::read(metadata)?;
        let mut built = build(&vocabulary)?;
        let failed = |error| vocabulary.wrong(format!("its special tokens cannot be added to the tokenizer ({error})"));
        add_tokens(&mut built.inner, &vocabulary).map_err(failed)?;
        let wanted = vocabulary.flag("add_bos_token")?;
        if vocabulary.flag("add_eos_token")? == Some(true) {
            progress::say(&format!(
                "{}: the file asks for an EOS after each text (add_eos_token). None is appended, because it would end every \
                 prompt.",
                metadata.path().display()
            ));
        }
        let declared = declared(&vocabulary, &built, wanted)?;
        let tokenizer =
            Self::declared(built.inner, &declared).map_err(|message| Error::file(metadata.path(), message))?;
        if wanted == Some(true) && tokenizer.bos_id().is_none() {
            return Err(
                vocabulary.wrong("it asks for a BOS before each text (add_bos_token), but names none (bos_token_id)")
            );
        }
        Ok(Some(tokenizer))
    }
}

/// Refuses a key that might change how texts are tokenized.
fn check_keys(metadata: &GgufMetadata) -> Result<()> {
    let of_tokenizer = metadata.keys().filter(|key| key.starts_with("tokenizer."));
    let harmless = |key: &&str| {
        key.starts_with("tokenizer.chat_template")
            || *key == "tokenizer.huggingface.json"
            || key.strip_prefix(KEYS).is_some_and(|name| UNDERSTOOD.contains(&name))
    };
    let mut unknown = of_tokenizer.filter(|key| !harmless(key));
    match unknown.next() {
        None => Ok(()),
        Some(key) => {
            let message =
                format!("its key {key:?} is not understood and may change how texts are tokenized: {INSTEAD}.");
            Err(Error::file(metadata.path(), message))
        }
    }
}

/// Tokens that are found in a text before anything else is done with it.
fn add_tokens(inner: &mut tokenizers::Tokenizer, vocabulary: &Vocabulary) -> tokenizers::Result<()> {
    let (mut special, mut others) = (Vec::new(), Vec::new());
    for (id, token, kind) in vocabulary.tokens() {
        let whole = || AddedToken::from(token, true).normalized(false).rstrip(vocabulary.takes_spaces_behind(id));
        match kind {
            TokenKind::Control | TokenKind::Unknown => special.push(whole()),
            TokenKind::UserDefined => others.push(AddedToken { special: false, ..whole() }),
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => {}
        }
    }
    inner.add_special_tokens(special)?;
    inner.add_tokens(others)?;
    Ok(())
}

/// The special tokens by their names, which are those of files that Python wrote.
fn declared(vocabulary: &Vocabulary, built: &Built, prepend_bos: Option<bool>) -> Result<Declared> {
    let [bos, eos, pad, eot, eom] = ["bos", "eos", "padding", "eot", "eom"].map(|name| vocabulary.id(name));
    let (bos, eos) = (bos?, eos?);
    let text = |id: Option<u32>| id.and_then(|id| vocabulary.token(id)).map(String::from);
    // Files of the kind `llama` may leave out what Llama has.
    let usual = |id: u32| (vocabulary.is_llama() && vocabulary.is_control(id)).then_some(id);
    Ok(Declared {
        bos: text(bos.or_else(|| usual(1))).into(),
        eos: text(eos.or_else(|| usual(2))).into(),
        pad: text(pad?).into(),
        end_ids: [eot?, eom?].into_iter().flatten().collect(),
        class: built.class.map(String::from),
        prepend_bos: prepend_bos.or(built.prepend_bos),
        ..Declared::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_does_the_same() -> Result<()> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf_tokenizers/small.gguf");
        let whole = Tokenizer::from_file(fixture)?;
        let files = whole.to_files()?;
        let mut find = |name: &str| Ok(files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes.clone()));
        let saved = Tokenizer::from_files(Path::new("saved"), &mut find)?.expect("a tokenizer was saved");
        assert_eq!(format!("{saved:?}"), format!("{whole:?}"));
        for text in ["the the12", " 3\n\n  <|endoftext|>naïve", "日本"] {
            assert_eq!(saved.to_tokens(text)?, whole.to_tokens(text)?);
        }
        Ok(())
    }
}
