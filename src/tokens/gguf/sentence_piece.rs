//! The kind `llama`: SentencePiece's BPE over characters, with a token for each byte of what no other token spells.
//!
//! SentencePiece merges the pair whose token has the best score. The `tokenizers` crate needs the merges in a row: all ways of
//! splitting a token into two tokens, the best scores first, and among equal scores the longest first part, which splits runs of
//! spaces from the left, as SentencePiece does. This gives exactly the merges of Gemma 3's own `tokenizer.json`.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::Built;
use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::Result;

/// The longest token, in bytes, because all its splits are tried. Gemma's longest has 93.
const LONGEST: usize = 512;

/// The most merges for each token, because a small file can imply very many. Gemma has 2.
const MOST_MERGES: usize = 32;

/// # Errors
/// Scores that are missing or all equal; a token that is too long; far more merges than tokens; no token for what the others do not spell; a file that asks
/// for texts to be rewritten.
pub(super) fn build(vocabulary: &Vocabulary) -> Result<Built> {
    let strips = vocabulary.flag("remove_extra_whitespaces")? == Some(true);
    if strips || vocabulary.has_charsmap() {
        let key = if strips { "remove_extra_whitespaces" } else { "precompiled_charsmap" };
        return Err(vocabulary.unsupported(format!(
            "its tokenizer rewrites texts before it splits them ({key}), which is not supported"
        )));
    }
    let vocab: Vocab = vocabulary.tokens().map(|(id, token, _)| (token.to_string(), id)).collect();
    let spells_all = (0..=255u8).all(|byte| vocab.contains_key(&format!("<0x{byte:02X}>")));
    let unknown = unknown(vocabulary)?;
    if unknown.is_none() && !spells_all {
        return Err(vocabulary.wrong("it has neither a token for each byte nor an unknown token (unknown_token_id)"));
    }
    let mut builder = BPE::builder().vocab_and_merges(vocab, merges(vocabulary)?).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    let failed = |error| vocabulary.wrong(format!("its tokenizer cannot be built ({error})"));
    let mut inner = tokenizers::Tokenizer::new(builder.build().map_err(failed)?);
    let prefix = vocabulary.flag("add_space_prefix")?.unwrap_or(true);
    let spaces = |from: &str, to: &str| Replace::new(from, to).map_err(failed);
    let prepended = prefix.then(|| NormalizerWrapper::from(Prepend::new("▁".into())));
    let normalizers = prepended.into_iter().chain([spaces(" ", "▁")?.into()]).collect();
    inner.with_normalizer(Some(Sequence::new(normalizers))).map_err(failed)?;
    let mut decoders: Vec<DecoderWrapper> =
        vec![spaces("▁", " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    decoders.extend(prefix.then(|| Strip::new(' ', 1, 0).into()));
    inner.with_decoder(Some(Decoders::new(decoders)));
    Ok(Built { inner, class: Some("LlamaTokenizer"), prepend_bos: Some(true) })
}

/// The unknown token: the one that the file names, or Llama's.
fn unknown(vocabulary: &Vocabulary) -> Result<Option<String>> {
    let usual = vocabulary.tokens().next().filter(|(id, _, kind)| *id == 0 && *kind == TokenKind::Unknown);
    let id = vocabulary.id("unknown")?.or(usual.map(|(id, _, _)| id));
    Ok(id.and_then(|id| vocabulary.token(id)).map(String::from))
}

/// A token as two others.
struct Merge<'a> {
    parts: (&'a str, &'a str),
    /// How many characters they have.
    lengths: (usize, usize),
    score: f64,
}

impl Merge<'_> {
    /// What is merged first.
    fn order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then_with(|| other.lengths.cmp(&self.lengths))
    }
}

/// The merges that the file has, or those that the scores imply.
fn merges(vocabulary: &Vocabulary) -> Result<Merges> {
    if let Some(merges) = vocabulary.merges()? {
        return Ok(merges);
    }
    let scores = vocabulary.scores()?.ok_or_else(|| {
        vocabulary.wrong("its tokenizer has neither scores (tokenizer.ggml.scores) nor merges (tokenizer.ggml.merges)")
    })?;
    let ids: HashMap<&str, u32> = vocabulary.tokens().map(|(id, token, _)| (token, id)).collect();
    let mut merges: Vec<Merge> = Vec::new();
    for (id, token, kind) in vocabulary.tokens() {
        // The score of user-defined tokens is 0 in SentencePiece; converters do not keep it.
        let score = match kind {
            TokenKind::Normal => scores[id as usize] + 0.0,
            TokenKind::UserDefined => 0.0,
            TokenKind::Unknown | TokenKind::Control | TokenKind::Unused | TokenKind::Byte => continue,
        };
        if token.len() > LONGEST {
            let length = token.len();
            return Err(
                vocabulary.wrong(format!("its token {id} has {length} bytes, and the longest may have {LONGEST}"))
            );
        }
        let from = merges.len();
        let whole = token.chars().count();
        for (characters, (at, _)) in token.char_indices().enumerate().skip(1) {
            let parts = token.split_at(at);
            if ids.contains_key(parts.0) && ids.contains_key(parts.1) {
                merges.push(Merge { parts, lengths: (characters, whole - characters), score });
            }
        }
        if merges.len() > MOST_MERGES * ids.len() {
            return Err(vocabulary
                .wrong(format!("its {} tokens imply more than {MOST_MERGES} times as many merges", ids.len())));
        }
        merges[from..].sort_by_key(|merge| (ids[merge.parts.0], ids[merge.parts.1]));
    }
    check_order(vocabulary, &merges, &scores)?;
    merges.sort_by(Merge::order);
    Ok(merges.into_iter().map(|Merge { parts: (first, second), .. }| (first.into(), second.into())).collect())
}

/// Rejects scores that give no order: some converters write the same for all tokens.
fn check_order(vocabulary: &Vocabulary, merges: &[Merge], scores: &[f64]) -> Result<()> {
    let normal = vocabulary.tokens().filter(|(_, _, kind)| *kind == TokenKind::Normal);
    let distinct: HashSet<u64> = normal.map(|(id, ..)| scores[id as usize].to_bits()).collect();
    match distinct.len() == 1 && merges.len() > 1 {
        true => Err(vocabulary.wrong("the scores of its tokens are all equal, so the order of merges is unknown")),
        false => Ok(()),
    }
}
