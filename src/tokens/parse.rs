//! The contents of a `tokenizer.json`, read as if a stranger had written it.

use super::caught::caught;
use crate::files::read_json;

/// The most that the parts of a tokenizer may lengthen a text by.
const MOST_GROWTH: f64 = 1e4;

/// Padding and truncation that the file may ask for are ours to do.
pub(super) fn parse(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, tokenizers::Error> {
    // The tokenizers crate panics at damaged JSON inside a decoder and at some parts that are not what they say:
    // the first is found here, the rest is caught.
    read_json::<serde::de::IgnoredAny>(bytes)?;
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

pub(super) fn unreadable(error: &tokenizers::Error) -> String {
    format!("this is not a complete tokenizer.json ({error}): download or copy it anew.")
}
