//! The contents of a `tokenizer.json`, which are not trusted.

use super::caught::caught;
use crate::files::read_json;

/// The largest factor by which the parts of a tokenizer may lengthen a text.
const MOST_GROWTH: f64 = 1e4;

/// Padding and truncation that the file may request are left to this crate.
pub(super) fn parse(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, tokenizers::Error> {
    // The tokenizers crate panics on damaged JSON inside a decoder and on some parts of the wrong kind: the former is found here,
    // the latter is caught.
    read_json::<serde::de::IgnoredAny>(bytes)?;
    let mut inner = caught(|| tokenizers::Tokenizer::from_bytes(bytes))?;
    check_growth(bytes)?;
    inner.with_padding(None);
    inner.with_truncation(None)?;
    Ok(inner)
}

/// Rejects parts that together would lengthen a text beyond any memory: 40 replacements of "a" by "aa" make terabytes.
fn check_growth(bytes: &[u8]) -> tokenizers::Result<()> {
    let json: serde_json::Value = serde_json::from_slice(bytes)?;
    let growth = |part: &str| json.get(part).map_or(1.0, growth_of);
    match growth("normalizer").max(growth("decoder")) > MOST_GROWTH {
        true => Err("its replacements make a text more than 10000 times longer".into()),
        false => Ok(()),
    }
}

/// The largest factor by which this part of a tokenizer can lengthen a text; a prefix is not counted.
fn growth_of(part: &serde_json::Value) -> f64 {
    let parts = ["normalizers", "decoders"].into_iter().filter_map(|list| part[list].as_array()).flatten();
    let pattern = part["pattern"]["String"].as_str().map_or(1, str::len).max(1);
    let own = part["content"].as_str().map_or(1.0, |content| content.len() as f64 / pattern as f64);
    parts.map(growth_of).fold(own.max(1.0), |product, growth| product * growth)
}

pub(super) fn unreadable(error: &tokenizers::Error) -> String {
    format!("this is not a complete tokenizer.json ({error}): download or copy it again.")
}
