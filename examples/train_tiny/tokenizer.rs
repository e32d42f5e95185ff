//! The tokenizer of the embedded model: byte-level BPE as GPT-2's, with its own small vocabulary.

use std::collections::BTreeSet;

use tokenizers::models::bpe::{BPE, BpeTrainer, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, Trainer};

use crate::tiny::vocabulary::vocabulary;

/// BOS, EOS and padding in one, as in GPT-2.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// How ByteLevel writes a space.
const SPACE: char = 'Ġ';

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Builds the tokenizer: all 256 bytes, years, and every word of the tasks as one token.
///
/// Digits are merged by hand: GPT-2's pattern keeps " 1741" together, so the merges of a space with a century must
/// come before those of two digits, or "74" could be merged first.
pub fn build() -> Result<Tokenizer, Failure> {
    let mut symbols: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    symbols.sort();
    let mut merges = year_merges();
    merges.extend(word_merges(&vocabulary())?);
    let pieces = symbols.into_iter().chain(merges.iter().map(|(left, right)| format!("{left}{right}")));
    let mut vocab = Vocab::default();
    for piece in pieces {
        let id = vocab.len() as u32;
        vocab.entry(piece).or_insert(id);
    }
    let mut tokenizer = Tokenizer::new(BPE::builder().vocab_and_merges(vocab, merges).build()?);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_post_processor(Some(ByteLevel::new(true, false, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens([AddedToken::from(END_OF_TEXT, true)])?;
    Ok(tokenizer)
}

/// " 10" to " 20", then "00" to "99".
fn year_merges() -> Merges {
    let digits = || ('0'..='9').map(String::from);
    let mut merges = vec![(SPACE.into(), "1".into()), (SPACE.into(), "2".into())];
    merges.extend(digits().map(|digit| (format!("{SPACE}1"), digit)));
    merges.push((format!("{SPACE}2"), "0".into()));
    merges.extend(digits().flat_map(|tens| digits().map(move |units| (tens.clone(), units))));
    merges
}

/// The merges of a BPE that was trained on each word once, until each is one token.
fn word_merges(words: &BTreeSet<String>) -> Result<Merges, Failure> {
    let mut trainer = BpeTrainer::builder().show_progress(false).vocab_size(10_000).build();
    trainer.feed(words.iter(), |word| Ok(vec![word.replace(' ', &SPACE.to_string())]))?;
    let mut trained = BPE::default();
    trainer.train(&mut trained)?;
    Ok(serde_json::from_value(serde_json::to_value(&trained)?["merges"].take())?)
}
