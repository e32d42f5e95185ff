//! The standard library's sources as evcxr's rust-analyzer reads them: without the processors' vector instructions.
//!
//! `std::arch` is two thirds of those sources (16 of 25 MB), and every kernel would read all of it to learn the type of its
//! first variable (2 seconds). A cell can still use it; only a variable of a type from there must be given that type.

use crate::rust;
use crate::steps::{digest, remove_folder};
use crate::trouble::Trouble;
use std::fs;
use std::path::{Path, PathBuf};

/// The part whose files are left empty.
const EMPTY: &str = "stdarch";

/// The sources of the compiler that is used here, for `RUST_SRC_PATH`; none if they were not made.
pub fn folder(cache: &Path) -> Option<PathBuf> {
    Some(named(cache, &rust::version().ok()?)).filter(|folder| folder.is_dir())
}

/// A name for the sources of one compiler.
fn named(cache: &Path, version: &str) -> PathBuf {
    cache.join(format!("std-{}", digest(version.as_bytes())))
}

/// Makes them if they are missing and the compiler has its own (otherwise a kernel makes do without).
pub fn prepare(cache: &Path) -> Result<(), Trouble> {
    let folder = named(cache, &rust::version()?);
    let Some(sources) = rust::library_sources().filter(|_| !folder.is_dir()) else { return Ok(()) };
    let part = folder.with_extension("part");
    remove_folder(&part)?;
    copy(&sources, &part, false).map_err(|source| Trouble::file("Copying the standard library to", &part, &source))?;
    fs::rename(&part, &folder).map_err(|source| Trouble::file("Writing", &folder, &source))
}

/// Copies sources and manifests; of `empty` ones only the names.
fn copy(from: &Path, to: &Path, empty: bool) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        let extension = path.extension().unwrap_or_default();
        if path.is_dir() {
            copy(&path, &target, empty || path.ends_with(EMPTY))?;
        } else if extension == "rs" && empty {
            fs::write(&target, "")?;
        } else if extension == "rs" || extension == "toml" || extension == "lock" {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn the_vector_instructions_are_left_empty() {
        let root = std::env::temp_dir().join(format!("candle-lens-lab-std-{}", std::process::id()));
        for file in ["core/src/lib.rs", "stdarch/crates/core_arch/src/mod.rs", "stdarch/crates/core_arch/Cargo.toml"] {
            steps::write(&root.join("library").join(file), "text").unwrap();
        }
        copy(&root.join("library"), &root.join("copy"), false).unwrap();
        let read = |file: &str| fs::read_to_string(root.join("copy").join(file)).unwrap();
        assert_eq!(read("core/src/lib.rs"), "text");
        assert_eq!(read("stdarch/crates/core_arch/src/mod.rs"), "");
        assert_eq!(read("stdarch/crates/core_arch/Cargo.toml"), "text");
        remove_folder(&root).unwrap();
    }
}
