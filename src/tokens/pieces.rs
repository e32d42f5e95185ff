//! Single tokens: the bytes that each represents, and how they are displayed.
//!
//! A vocabulary writes tokens in its own spelling: GPT-2's has a letter for each byte (`Ġ` is the space),
//! SentencePiece writes `▁` for the space and `<0x0A>` for a byte. A decoder made for whole texts loses the space at the
//! beginning and replaces a part of a character by U+FFFD; neither is acceptable for single tokens.

use serde_json::Value;

/// How a vocabulary writes its tokens, according to its decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// A letter for each byte, as GPT-2's.
    Bytes,
    /// Texts in which each first part is written for the second; `<0x0A>` may be a byte.
    Replaced { parts: Vec<(String, String)>, byte_tokens: bool },
    /// Anything else: the decoder is called.
    Other,
}

impl Spelling {
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> Self {
        let Some(decoder) = inner.get_decoder().and_then(|decoder| serde_json::to_value(decoder).ok()) else {
            return Self::Other;
        };
        let steps = decoder["decoders"].as_array().cloned().unwrap_or_else(|| vec![decoder]);
        let (mut parts, mut byte_tokens) = (Vec::new(), false);
        for step in &steps {
            match step["type"].as_str() {
                Some("ByteLevel") => return Self::Bytes,
                Some("Metaspace") => parts.push((text(&step["replacement"]), " ".into())),
                Some("Replace") if step["pattern"]["String"].is_string() => {
                    parts.push((text(&step["pattern"]["String"]), text(&step["content"])));
                }
                Some("ByteFallback") => byte_tokens = true,
                Some("Fuse" | "Strip") => {}
                _ => return Self::Other,
            }
        }
        Self::Replaced { parts, byte_tokens }
    }

    /// The bytes that an ordinary token represents; `None` if the decoder has to be called.
    pub(super) fn bytes(&self, token: &str) -> Option<Vec<u8>> {
        match self {
            Self::Bytes => Some(bytes_of_letters(token).unwrap_or_else(|| token.as_bytes().to_vec())),
            Self::Replaced { parts, byte_tokens } => {
                let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                let byte = byte.filter(|digits| *byte_tokens && digits.len() == 2);
                if let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    return Some(vec![byte]);
                }
                let text = parts.iter().fold(token.to_string(), |text, (from, to)| text.replace(from, to));
                Some(text.into_bytes())
            }
            Self::Other => None,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

/// Bytes as text; a byte that is not a whole character is written as `⟨e6⟩`.
pub(super) fn legible(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown += chunk.valid();
        for byte in chunk.invalid() {
            shown += &format!("⟨{byte:02x}⟩");
        }
    }
    shown
}

/// An id that the tokenizer does not have.
pub(super) fn unknown(id: u32) -> String {
    format!("⟨{id}⟩")
}

/// The bytes that a token in GPT-2's alphabet represents: printable ASCII and Latin-1 represent themselves, the characters from
/// U+0100 on represent the other bytes in order.
fn bytes_of_letters(token: &str) -> Option<Vec<u8>> {
    let itself = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let byte = |letter: char| match u32::from(letter) {
        code if itself(code) => Some(code as u8),
        code => {
            let place = code.checked_sub(0x100)? as usize;
            (0..=255u8).filter(|byte| !itself(u32::from(*byte))).nth(place)
        }
    };
    token.chars().map(byte).collect()
}

/// The same tokenizer for a text that follows another one, where it differs: nothing is put before the text.
pub(super) fn behind_text(inner: &tokenizers::Tokenizer) -> Option<tokenizers::Tokenizer> {
    let as_value = |part: serde_json::Result<Value>| part.unwrap_or(Value::Null);
    let normalizer = as_value(serde_json::to_value(inner.get_normalizer()));
    let splitter = as_value(serde_json::to_value(inner.get_pre_tokenizer()));
    let (new_normalizer, new_splitter) = (without_prefix(normalizer.clone()), without_prefix(splitter.clone()));
    if new_normalizer == normalizer && new_splitter == splitter {
        return None;
    }
    let mut behind = inner.clone();
    let normalizer: Option<tokenizers::NormalizerWrapper> = serde_json::from_value(new_normalizer).ok()?;
    let splitter: Option<tokenizers::PreTokenizerWrapper> = serde_json::from_value(new_splitter).ok()?;
    behind.with_normalizer(normalizer).ok()?;
    behind.with_pre_tokenizer(splitter);
    Some(behind)
}

/// A normalizer or pre-tokenizer that puts nothing before a text.
fn without_prefix(mut part: Value) -> Value {
    for key in ["normalizers", "pretokenizers"] {
        if let Some(steps) = part.get_mut(key).and_then(Value::as_array_mut) {
            let kept = std::mem::take(steps).into_iter().map(without_prefix).filter(|step| !step.is_null());
            *steps = kept.collect();
        }
    }
    match part["type"].as_str() {
        Some("Prepend") => Value::Null,
        Some("Metaspace") => {
            part["prepend_scheme"] = "never".into();
            part
        }
        Some("ByteLevel") if part.get("add_prefix_space").is_some() => {
            part["add_prefix_space"] = false.into();
            part
        }
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_letter() {
        use tokenizers::pre_tokenizers::byte_level::ByteLevel;
        let mut bytes: Vec<u8> =
            ByteLevel::alphabet().iter().flat_map(|letter| bytes_of_letters(&letter.to_string()).unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes_of_letters("Ġthe"), Some(b" the".to_vec()));
        assert_eq!(bytes_of_letters("a b"), None, "a space is not a letter of the alphabet");
    }

    #[test]
    fn parts_of_characters_are_told_apart() {
        assert_eq!(legible("é".as_bytes()), "é");
        assert_eq!(legible(b" \xe6\x97"), " ⟨e6⟩⟨97⟩");
        assert_eq!(legible(b"\xa5s"), "⟨a5⟩s");
    }
}
