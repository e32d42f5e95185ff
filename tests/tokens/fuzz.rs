//! Damaged tokenizers, then texts and ids: a sentence or tokens, never a panic, whoever's code it would be in.

use std::fs;

use candle_lens::tokens::{Bos, Tokenizer};

use crate::support::damage::{torture, torture_keys};
use crate::support::fixture::tiny_gpt2;
use crate::support::scratch;
use crate::support::tokenizer::small_json;

const TEXTS: [&str; 4] = ["the then", "", "🙂 naïve\u{0}\u{202e}", "aaaa  \n\n the"];

fn use_it(bytes: &[u8]) -> candle_lens::Result<()> {
    let tokenizer = Tokenizer::from_bytes(bytes)?;
    let mut result = Ok(());
    for text in TEXTS {
        let tokens = match tokenizer.to_tokens_with(text, Bos::Omit) {
            Ok(tokens) => tokens,
            Err(error) => {
                result = Err(error);
                continue;
            }
        };
        result = tokenizer.to_strings(&tokens).and_then(|_| tokenizer.to_str_tokens_rows(tokens)).map(drop);
    }
    tokenizer.to_string([0, 1, 2, 259, 260, u32::MAX]).map(drop).ok();
    result
}

/// The small tokenizer with parts that other models' tokenizers have.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let json: serde_json::Value = serde_json::from_slice(&small_json()).expect("JSON");
    let with = |parts: &[(&str, serde_json::Value)]| {
        let mut json = json.clone();
        parts.iter().for_each(|(part, value)| json[*part] = value.clone());
        json.to_string().into_bytes()
    };
    let replace =
        |from: &str, to: &str| serde_json::json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let strip = serde_json::json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let llama = [
        (
            "normalizer",
            serde_json::json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]}),
        ),
        (
            "decoder",
            serde_json::json!({"type": "Sequence", "decoders": [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, strip]}),
        ),
    ];
    let split = serde_json::json!({"type": "Split", "pattern": {"Regex": "\\d{1,3}| ?[^\\s\\d]+|\\s+"}, "behavior": "Isolated", "invert": false});
    let pieces = [(
        "pre_tokenizer",
        serde_json::json!({"type": "Sequence", "pretokenizers": [split, {"type": "FixedLength", "length": 5}]}),
    )];
    vec![
        ("gpt2", fs::read(tiny_gpt2().join("tokenizer.json")).expect("the fixture is there")),
        ("small", small_json()),
        ("llama", with(&llama)),
        ("pieces", with(&pieces)),
    ]
}

#[test]
fn damaged_tokenizers_that_are_used() {
    let folder = scratch("fuzz_tokenizers");
    for (seed, (name, whole)) in kinds().into_iter().enumerate() {
        let file = folder.join(format!("{name}.json"));
        let read = || use_it(&fs::read(&file).expect("it was written"));
        // An empty text has no tokens, so the file is used as far as possible.
        let whole_too = || match read() {
            Err(error) if error.to_string().contains("has no tokens") => Ok(()),
            other => other,
        };
        torture_keys(60 + seed as u64, 80, &file, &whole, whole_too);
        torture(70 + seed as u64, 40, &file, &whole, whole_too);
    }
}
