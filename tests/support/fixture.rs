//! The reference files of tests/fixtures.

use std::path::PathBuf;

/// A file or folder of tests/fixtures.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The folder of the tiny GPT-2, as `transformers` saved it.
pub fn tiny_gpt2() -> PathBuf {
    path("tiny_gpt2")
}

/// A JSON file in the folder of the tiny GPT-2.
pub fn json(name: &str) -> serde_json::Value {
    let bytes = std::fs::read(tiny_gpt2().join(name)).expect("the reference file is there");
    serde_json::from_slice(&bytes).expect("the reference file is JSON")
}
