//! The reference files are those that their manifest describes, and stay small.

use std::fs;

use crate::support::fixture::{TOLERANCE, json, path};

const MOST_BYTES: u64 = 2_000_000;

#[test]
fn every_reference_file_is_in_the_manifest() {
    let manifest = json("manifest.json");
    assert_eq!(manifest["tolerance"].as_f64(), Some(TOLERANCE));
    for program in ["python", "torch", "transformers", "transformer_lens", "tokenizers", "safetensors"] {
        assert!(manifest["versions"][program].is_string(), "the version of {program}");
    }
    let listed = manifest["files"].as_object().expect("a list of files");
    let (mut found, mut total) = (0, 0);
    for folder in ["tiny_gpt2", "architectures"] {
        for entry in fs::read_dir(path(folder)).expect("the folder is there") {
            let file = entry.expect("a readable folder");
            let name = format!("{folder}/{}", file.file_name().to_string_lossy());
            let bytes = file.metadata().expect("a readable file").len();
            assert_eq!(listed.get(&name).and_then(|row| row["bytes"].as_u64()), Some(bytes), "{name}");
            (found, total) = (found + 1, total + bytes);
        }
    }
    assert_eq!(found, listed.len(), "a file of the manifest is missing");
    assert!(total < MOST_BYTES, "{total} bytes of references");
}
