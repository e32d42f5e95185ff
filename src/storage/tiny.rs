//! The embedded model. `src/storage/tiny/README.md` is its model card; `examples/train_tiny` trains it.

/// The name under which it is loaded.
pub(crate) const NAME: &str = "tiny";

/// The names of its files.
pub(crate) fn names() -> Vec<String> {
    ["config.json", "model.safetensors", "tokenizer.json"].map(String::from).to_vec()
}

/// Its files, the same as in the folder of any other model.
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    match name {
        "config.json" => Some(include_bytes!("tiny/config.json")),
        "model.safetensors" => Some(include_bytes!("tiny/model.safetensors")),
        "tokenizer.json" => Some(include_bytes!("tiny/tokenizer.json")),
        _ => None,
    }
}
