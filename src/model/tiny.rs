//! The embedded model. `src/model/tiny/README.md` is its card; `examples/train_tiny.rs` trains it.

use super::load::Folder;

/// The name it is loaded by.
pub(super) const NAME: &str = "tiny";

/// Its files, in the layout of any other model's folder.
pub(super) fn folder() -> Folder {
    Folder {
        path: "the embedded model".into(),
        config: include_bytes!("tiny/config.json").to_vec(),
        weights: include_bytes!("tiny/model.safetensors").to_vec(),
        tokenizer: Some(include_bytes!("tiny/tokenizer.json").to_vec()),
        tokenizer_config: None,
    }
}
