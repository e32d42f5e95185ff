//! GGUF files with the small vocabularies of tests/fixtures/gguf_tokenizers (tests/fixtures/gguf_tokenizers.py).

use serde_json::Value;

use super::fixture::json;
use super::gguf::{GgufFile, list_value, text, text_value, u32_value, value};

pub const KEYS: &str = "tokenizer.ggml.";

/// The file of a case of cases.json.
pub fn file(case: &Value) -> GgufFile {
    let vocabulary = json(&format!("gguf_tokenizers/{}.json", case["vocabulary"].as_str().expect("a name")));
    let architecture = case["architecture"].as_str().expect("a name");
    let mut file = GgufFile::small().with("general.architecture", text_value(architecture));
    for (name, said) in case["said"].as_object().expect("keys and values") {
        file = file.with(&format!("{KEYS}{name}"), scalar(said));
    }
    for (name, list) in vocabulary.as_object().expect("lists") {
        let name = if name == "types" { "token_type" } else { name };
        file = file.with(&format!("{KEYS}{name}"), list_of(list.as_array().expect("a list")));
    }
    file
}

pub fn flag(flag: bool) -> Vec<u8> {
    value(7, &[flag.into()])
}

/// A list of texts.
pub fn texts(all: &[&str]) -> Vec<u8> {
    list_value(8, all.len() as u64, &all.iter().flat_map(|said| text(said)).collect::<Vec<u8>>())
}

/// A list of 32-bit whole numbers.
pub fn ints(all: &[i32]) -> Vec<u8> {
    list_value(5, all.len() as u64, &all.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

/// A list of 32-bit numbers.
pub fn floats(all: &[f32]) -> Vec<u8> {
    list_value(6, all.len() as u64, &all.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

fn scalar(said: &Value) -> Vec<u8> {
    match said {
        Value::Bool(said) => flag(*said),
        Value::String(said) => text_value(said),
        said => u32_value(said.as_u64().expect("a number") as u32),
    }
}

fn list_of(list: &[Value]) -> Vec<u8> {
    match &list[0] {
        Value::String(_) => texts(&list.iter().map(|said| said.as_str().expect("a text")).collect::<Vec<_>>()),
        Value::Number(number) if number.is_i64() => {
            ints(&list.iter().map(|number| number.as_i64().expect("a whole number") as i32).collect::<Vec<_>>())
        }
        _ => floats(&list.iter().map(|number| number.as_f64().expect("a number") as f32).collect::<Vec<_>>()),
    }
}
