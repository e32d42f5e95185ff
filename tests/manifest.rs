//! The reference files are those that their manifest describes, and stay small.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ring::digest::{SHA256, digest};

use crate::support::fixture::{TOLERANCE, json, path};

const MOST_BYTES: u64 = 2_000_000;

/// Folders whose files are all in the manifest.
const FOLDERS: [&str; 2] = ["tiny_gpt2", "architectures"];

/// The files of a folder of fixtures.
fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(path(folder)).expect("the folder is there");
    entries.map(|entry| entry.expect("a readable folder").path()).filter(|path| path.is_file()).map(move |file| {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if folder.is_empty() { name } else { format!("{folder}/{name}") }
    })
}

fn is_of_numpy(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "npz" || end == "npy")
}

#[test]
fn every_reference_file_is_in_the_manifest() {
    let manifest = json("manifest.json");
    assert_eq!(manifest["tolerance"].as_f64(), Some(TOLERANCE));
    for program in ["python", "torch", "transformers", "transformer_lens", "tokenizers", "safetensors", "numpy"] {
        assert!(manifest["versions"][program].is_string(), "the version of {program}");
    }
    let listed = manifest["files"].as_object().expect("a list of files");
    let of_folders = FOLDERS.into_iter().flat_map(names);
    let found: BTreeSet<String> = of_folders.chain(names("").filter(|name| is_of_numpy(name))).collect();
    assert_eq!(found, listed.keys().cloned().collect());
    let mut total = 0;
    for name in &found {
        let bytes = fs::read(path(name)).expect("a readable file");
        assert_eq!(listed[name]["bytes"].as_u64(), Some(bytes.len() as u64), "{name}");
        let hash: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(listed[name]["sha256"].as_str(), Some(&hash[..]), "{name}");
        total += bytes.len() as u64;
    }
    assert!(total < MOST_BYTES, "{total} bytes of references");
}
