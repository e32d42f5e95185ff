//! The step `package`: the crate as a registry would get it is small, and compiles without the rest of the repository.

use crate::check::{Count, in_checkout, succeeds};
use crate::places::Places;
use crate::process::{command, run};
use crate::steps::{make_folder, remove_folder};
use crate::trouble::Trouble;
use std::fs;
use std::path::{Path, PathBuf};

/// crates.io takes 10 MiB, and this one is 9.8 with its models and dictionaries; a crate that grows beyond this has packed something that it should not.
const MOST_BYTES: u64 = 10_400_000;

/// Packs the crate, asserts its size, and compiles what was packed.
pub fn packed(places: &Places) -> Result<Count, Trouble> {
    let file = pack(places)?;
    let bytes = fs::metadata(&file).map_err(|source| Trouble::file("Reading", &file, &source))?.len();
    println!("    {}: {:.1} MB", places.brief(&file), bytes as f64 / 1e6);
    let mut count = Count::one(bytes < MOST_BYTES);
    if count.failed > 0 {
        println!("    it must be smaller than {:.1} MB: look at `include` in Cargo.toml", MOST_BYTES as f64 / 1e6);
    }
    // Outside of the clone, or cargo would take what is unpacked for a lost member of its workspace.
    let folder = std::env::temp_dir().join(format!("candle-lens-package-{}", std::process::id()));
    make_folder(&folder)?;
    let compiled = compile(places, &file, &folder);
    remove_folder(&folder)?;
    let compiled = compiled?;
    count.passed += compiled.passed;
    count.failed += compiled.failed;
    Ok(count)
}

/// Writes the `.crate` file.
fn pack(places: &Places) -> Result<PathBuf, Trouble> {
    let mut package = in_checkout(places, &["package", "--package", "candle-lens", "--no-verify", "--allow-dirty"]);
    package.arg("--target-dir").arg(places.root.join("target"));
    run(&mut package, "Read cargo's message above.")?;
    let folder = places.root.join("target/package");
    let entries = fs::read_dir(&folder).map_err(|source| Trouble::file("Reading", &folder, &source))?;
    let files =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "crate"));
    let newest = files.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    newest
        .ok_or_else(|| Trouble::new(format!("{} has no .crate file.", folder.display()), "Read cargo's message above."))
}

/// Unpacks the file and checks the library in it. Dependencies are those that the steps before compiled.
fn compile(places: &Places, file: &Path, folder: &Path) -> Result<Count, Trouble> {
    let mut unpack = command("tar");
    unpack.arg("-xzf").arg(file).arg("-C").arg(folder);
    run(&mut unpack, "Install tar, which unpacks the crate.")?;
    let name = file.file_stem().unwrap_or_default();
    let mut check = in_checkout(places, &["check", "--lib", "--locked", "--target-dir"]);
    check.arg(places.root.join("target")).current_dir(folder.join(name));
    succeeds(&mut check)
}
