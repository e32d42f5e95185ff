//! A tokenizer from `vocab.json` and `merges.txt`, the files of GPT-2 and OPT before there was `tokenizer.json`.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::files::read_json;

/// Classes that split texts as GPT-2 does.
const LIKE_GPT2: [&str; 5] =
    ["GPT2Tokenizer", "CodeGenTokenizer", "GPTNeoXTokenizer", "PreTrainedTokenizer", "Tokenizers"];

/// How Qwen 2 and 3 split a text before they merge.
pub(super) const QWEN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Whether the two files determine a tokenizer of this class. Other classes split texts in ways that the files do not record.
pub(super) fn is_known(class: Option<&str>) -> bool {
    let qwen = |class: &str| class.starts_with("Qwen");
    class.is_none_or(|class| qwen(class) || LIKE_GPT2.iter().any(|known| class.starts_with(known)))
}

/// The tokenizer, which merges bytes; special tokens are added to it later.
///
/// # Errors
/// The file and what is wrong with it.
pub(super) fn tokenizer(
    (vocab, merges): (&[u8], &[u8]),
    class: Option<&str>,
    add_prefix_space: bool,
) -> Result<tokenizers::Tokenizer, (&'static str, String)> {
    let vocab: HashMap<String, u32> = read_json(vocab)
        .map_err(|error| ("vocab.json", format!("it is not a vocabulary ({error}): download or copy it again.")))?;
    let wrong = |why: String| ("merges.txt", format!("{why}: download or copy it again, and vocab.json with it."));
    let text = std::str::from_utf8(merges).map_err(|error| wrong(format!("it is not text ({error})")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty());
    let merges: Merges = lines
        .map(|(number, line)| {
            let pair = line.split_once(' ').filter(|(_, second)| !second.trim_end().contains(' '));
            let (first, second) = pair.ok_or_else(|| wrong(format!("line {} is not a pair of tokens", number + 1)))?;
            Ok((first.to_string(), second.trim_end().to_string()))
        })
        .collect::<Result<_, _>>()?;
    let vocab: Vocab = vocab.into_iter().collect();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build();
    let bpe = bpe.map_err(|error| wrong(format!("it does not match the vocabulary ({error})")))?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_decoder(Some(ByteLevel::default()));
    if class.is_some_and(|class| class.starts_with("Qwen")) {
        let pattern = SplitPattern::Regex(QWEN.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| wrong(format!("texts cannot be split ({error})")))?;
        let parts = [PreTokenizerWrapper::from(split), ByteLevel::new(add_prefix_space, true, false).into()];
        inner.with_pre_tokenizer(Some(Sequence::new(parts.into())));
        inner.with_normalizer(Some(NFC)).map_err(|error| wrong(error.to_string()))?;
    } else {
        inner.with_pre_tokenizer(Some(ByteLevel::new(add_prefix_space, true, true)));
    }
    Ok(inner)
}
