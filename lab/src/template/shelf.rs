//! Compiled dependencies that are kept for other clones: half of what a template takes.
//!
//! A registry's crate has the same name in every clone, so that cargo finds it compiled wherever it lies; the library's name depends on
//! the clone's folder (for it there is `workbench.rs`). Files are shared by hard links where the disk can do that, and take no room while a
//! template has them.
//!
//! ```text
//! dependencies-KEY/ctx/target/   of the cache, as in the template
//! dependencies-KEY/holds         written last: the files and their lengths
//! ```

use super::{machine, manifests};
use crate::copies::{self, Sharing};
use crate::inventory;
use crate::places::{Library, Places};
use crate::steps::{self, digest, remove_folder};
use crate::trouble::Trouble;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How the folders are called.
const PREFIX: &str = "dependencies-";

/// How many of them are kept.
const KEPT: usize = 2;

/// Where evcxr compiles, in a template as here.
const TARGET: &str = "ctx/target";

/// What the folder holds.
const HOLDS: &str = "holds";

/// Gives a template that has nothing compiled the dependencies that another clone has compiled, if one has.
pub fn take(places: &Places, template: &Path) {
    let Ok(Some(shelf)) = named(places) else { return };
    if template.join(TARGET).exists() {
        return;
    }
    let Ok(holds) = fs::read_to_string(shelf.join(HOLDS)) else { return };
    // It was cut off or changed: better none than a library that no kernel can load.
    let copied = inventory::damaged(&shelf, &holds).is_empty()
        && copies::copy_folder(&shelf.join(TARGET), &template.join(TARGET), Sharing::HardLinks, &|_| true).is_ok();
    if !copied {
        let _ = remove_folder(&shelf).and_then(|()| remove_folder(&template.join(TARGET)));
    }
}

/// Keeps the dependencies of a whole template. Not being able to costs another clone some minutes and fails nothing.
pub fn keep(places: &Places, template: &Path) {
    let Ok(Some(shelf)) = named(places) else { return };
    if shelf.exists() {
        return;
    }
    let part = shelf.with_extension(format!("{}.part", std::process::id()));
    let written = write(template, &part)
        .and_then(|()| fs::rename(&part, &shelf).map_err(|source| Trouble::file("Writing", &shelf, &source)));
    if let Err(why) = written {
        let _ = remove_folder(&part);
        // Another launcher may have been first.
        if !shelf.exists() {
            println!("    The compiled dependencies are not kept for other clones. {why}");
        }
    }
    sweep(&places.cache, SystemTime::now());
}

fn write(template: &Path, part: &Path) -> Result<(), Trouble> {
    remove_folder(part)?;
    copies::copy_folder(&template.join(TARGET), &part.join(TARGET), Sharing::HardLinks, &is_dependency)
        .map_err(|source| Trouble::file("Copying compiled dependencies to", part, &source))?;
    steps::write(&part.join(HOLDS), &inventory::take(part))
}

/// Not what is compiled from a clone, nor cells.
fn is_dependency(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let ours = ["candle_lens", "candle-lens", "ctx"];
    copies::is_needed(name) && !ours.iter().any(|ours| text.trim_start_matches("lib").starts_with(ours))
}

/// The folder for this library's versions and this machine; a published crate, which has one template for all, needs none.
fn named(places: &Places) -> Result<Option<PathBuf>, Trouble> {
    if places.library != Library::Checkout {
        return Ok(None);
    }
    let mut key = machine(places)?.into_bytes();
    key.extend(manifests(places)?);
    Ok(Some(places.cache.join(format!("{PREFIX}{}", digest(&key)))))
}

/// Removes all but the newest, and what an interrupted launcher has left.
fn sweep(cache: &Path, now: SystemTime) {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let mut dated: Vec<_> =
        ours.map(|entry| (entry.metadata().and_then(|data| data.modified()).unwrap_or(now), entry.path())).collect();
    dated.sort();
    let is_part = |path: &Path| path.extension().is_some();
    let whole = dated.iter().rev().filter(|(_, path)| !is_part(path)).skip(KEPT);
    // One that is being written is young.
    let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age.as_secs() > 24 * 3600);
    for (_, path) in whole.chain(dated.iter().filter(|(at, path)| is_part(path) && old(*at))) {
        let _ = remove_folder(path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder;
    use super::*;
    use std::time::Duration;

    /// A clone in a folder of its own, with a cache that all of them share.
    fn clone(root: &Path, name: &str) -> Places {
        let places = Places { cache: root.join("cache"), ..Places::for_test(&root.join(name)) };
        for manifest in ["Cargo.toml", "Cargo.lock"] {
            steps::write(&places.root.join(manifest), "versions").unwrap();
        }
        places
    }

    #[test]
    fn another_clone_takes_the_dependencies_and_nothing_of_this_one() {
        let root = std::env::temp_dir().join(format!("candle-lens-lab-shelf-{}", std::process::id()));
        let [first, second, third, other] = ["first", "second", "third", "other"].map(|name| clone(&root, name));
        let template = |places: &Places| folder(&places.lab);
        let debug = "ctx/target/triple/debug";
        let dependency = format!("{debug}/deps/libcandle_core-1.rlib");
        let ours = ["deps/libcandle_lens.so", "deps/libctx.so", ".fingerprint/candle-lens-1/lib", "libcode_1.so"];
        let whole = "x".repeat(100_000);
        steps::write(&template(&first).join(&dependency), &whole).unwrap();
        for name in ours {
            steps::write(&template(&first).join(debug).join(name), "ours").unwrap();
        }
        take(&second, &template(&second));
        assert!(!template(&second).exists(), "nobody has kept any");
        keep(&first, &template(&first));
        take(&second, &template(&second));
        assert_eq!(fs::read_to_string(template(&second).join(&dependency)).unwrap(), whole);
        assert!(ours.iter().all(|name| !template(&second).join(debug).join(name).exists()));

        // Others need other versions, and what a template has stays.
        steps::write(&other.root.join("Cargo.lock"), "other versions").unwrap();
        take(&other, &template(&other));
        assert!(!template(&other).exists());
        steps::write(&template(&other).join(&dependency), "its own").unwrap();
        steps::write(&other.root.join("Cargo.lock"), "versions").unwrap();
        take(&other, &template(&other));
        assert_eq!(fs::read_to_string(template(&other).join(&dependency)).unwrap(), "its own");

        // What is cut off is not taken, and is kept anew by whoever compiles it again.
        let shelf = named(&first).unwrap().unwrap();
        fs::remove_file(shelf.join(&dependency)).unwrap();
        fs::write(shelf.join(&dependency), "cut off").unwrap();
        take(&third, &template(&third));
        assert!(!template(&third).join(&dependency).exists() && !shelf.exists());
        keep(&first, &template(&first));
        assert_eq!(fs::read_to_string(shelf.join(&dependency)).unwrap(), whole);
        remove_folder(&root).unwrap();
    }

    #[test]
    fn the_newest_are_kept() {
        let cache = std::env::temp_dir().join(format!("candle-lens-lab-swept-{}", std::process::id()));
        let names = ["dependencies-1", "dependencies-2", "dependencies-3", "dependencies-4.7.part", "models"];
        for name in names {
            steps::write(&cache.join(name).join("file"), name).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        sweep(&cache, SystemTime::now());
        assert_eq!(names.map(|name| cache.join(name).exists()), [false, true, true, true, true]);
        sweep(&cache, SystemTime::now() + Duration::from_secs(48 * 3600));
        assert_eq!(names.map(|name| cache.join(name).exists()), [false, true, true, false, true]);
        remove_folder(&cache).unwrap();
    }
}
