//! The kind `gpt2`: BPE over bytes, each of which is written as a letter. The merges are in the file.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::Built;
use super::splitters::{self, Splitter};
use super::vocabulary::Vocabulary;
use crate::error::Result;

/// # Errors
/// A pre-tokenizer that is not supported; merges that are missing or name no token.
pub(super) fn build(vocabulary: &Vocabulary) -> Result<Built> {
    let splitter = splitter(vocabulary)?;
    if vocabulary.flag("add_space_prefix")? == Some(true) {
        return Err(vocabulary.unsupported(
            "it asks for a space before each text (add_space_prefix), which tokenizers of the kind gpt2 do not add",
        ));
    }
    let merges =
        vocabulary.merges()?.ok_or_else(|| vocabulary.wrong("its tokenizer has no merges (tokenizer.ggml.merges)"))?;
    let vocab: Vocab = vocabulary.tokens().map(|(id, token, _)| (token.to_string(), id)).collect();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(splitter.whole_words).build();
    let failed = |error| vocabulary.wrong(format!("its tokenizer cannot be built ({error})"));
    let mut inner = tokenizers::Tokenizer::new(bpe.map_err(failed)?);
    if splitter.composed {
        inner.with_normalizer(Some(NFC)).map_err(failed)?;
    }
    inner.with_pre_tokenizer(Some(splitter.pre_tokenizer().map_err(failed)?));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok(Built { inner, class: splitter.class, prepend_bos: splitter.prepend_bos })
}

/// The splitter that the file names, or that its architecture implies: older files name none.
fn splitter(vocabulary: &Vocabulary) -> Result<&'static Splitter> {
    let name = vocabulary.pre_tokenizer()?.filter(|name| *name != "default");
    if let Some(name) = name {
        return splitters::named(name).ok_or_else(|| {
            vocabulary.unsupported(format!(
                "it names the pre-tokenizer {name:?} (tokenizer.ggml.pre), which is not supported (supported: {})",
                splitters::names()
            ))
        });
    }
    let architecture = vocabulary.architecture().unwrap_or_default();
    splitters::of_architecture(architecture).ok_or_else(|| {
        vocabulary.wrong(format!(
            "it names no pre-tokenizer (tokenizer.ggml.pre), and models of the architecture {architecture:?} have \
             different ones"
        ))
    })
}
