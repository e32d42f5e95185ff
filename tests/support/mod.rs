//! What several test files share: small tokenizers, folders for files that a test writes.

use std::path::PathBuf;

pub mod fixture;
pub mod tokenizer;

/// An empty folder of this name for the files of one test.
pub fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the scratch folder can be made");
    folder
}
