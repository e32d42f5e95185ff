//! The embedded model. `src/storage/tiny/README.md` is its card; `examples/train_tiny` trains it.

/// The name it is loaded by.
pub(crate) const NAME: &str = "tiny";

/// Its files, as any other model's folder has them.
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    match name {
        "config.json" => Some(include_bytes!("tiny/config.json")),
        "model.safetensors" => Some(include_bytes!("tiny/model.safetensors")),
        "tokenizer.json" => Some(include_bytes!("tiny/tokenizer.json")),
        _ => None,
    }
}
