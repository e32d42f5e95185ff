//! The warm template: a folder in which candle-lens and everything below it is compiled as evcxr would compile it.
//!
//! evcxr compiles each kernel's cells in its own folder, which starts empty: the first `:dep` cell would take
//! minutes. Ours starts as a copy of this template (see `copies.rs`).
//!
//! ```text
//! .lab/template/Cargo.toml   a workspace of the two packages below, with the profile of the cells
//! .lab/template/Cargo.lock   the repository's, so that a notebook has the versions that the tests had
//!                            (for a published crate: what cargo chose when the template was made)
//! .lab/template/anchor/      depends on candle-lens on a platform that does not exist; without it cargo would forget
//!                            the locked versions, because evcxr first compiles a manifest with no dependency
//! .lab/template/ctx/         evcxr's folder (its package is called `ctx`), with `target/`
//! .lab/template/built        written last: what the template was built from, and what it then held
//! ```

mod shelf;
pub mod trial;
pub mod workbench;
mod workspace;

use crate::copies;
use crate::jobs::Jobs;
use crate::places::{Library, Places};
use crate::steps::{self, digest, lock, step};
use crate::trouble::Trouble;
use crate::{evcxr, features, inventory, rust};
use std::env::consts::DLL_PREFIX;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What separates the key from the list of files in the stamp.
const HOLDS: &str = "\nholds:\n";

/// Where the template is.
pub fn folder(lab: &Path) -> PathBuf {
    lab.join("template")
}

/// The folder for `EVCXR_TMPDIR` in a template or in a copy of it.
pub fn evcxr_folder(template: &Path) -> PathBuf {
    template.join("ctx")
}

/// The file whose lock keeps copying and compiling apart.
pub fn lock_file(lab: &Path) -> PathBuf {
    lab.join("template.lock")
}

/// Whether a kernel can start from the template.
pub fn is_built(lab: &Path) -> bool {
    stamp(lab).is_file()
}

/// A word on the template, or what is wrong with it.
pub fn describe(places: &Places) -> Result<String, Trouble> {
    let template = folder(&places.lab);
    if !is_built(&places.lab) {
        return Err(Trouble::new(
            format!(
                "{} is not there: the first cell of each notebook would compile everything.",
                places.brief(&template)
            ),
            "Run `cargo lab setup` (4 to 6 minutes on 2 cores).",
        ));
    }
    let damaged = damaged(&places.lab);
    if let Some(first) = damaged.first() {
        return Err(Trouble::new(
            format!(
                "{} of its files are missing or cut off, among them {}: no kernel can start.",
                damaged.len(),
                places.brief(first)
            ),
            "Run `cargo lab setup`.",
        ));
    }
    if !is_fresh(&places.lab, &key(places)?) {
        return Err(Trouble::new(
            "the library or the compiler has changed since it was made: each kernel compiles the changes at its start.",
            "Run `cargo lab setup`.",
        ));
    }
    let features = features::of(&places.lab);
    let with = if features.is_empty() { String::new() } else { format!(", with the features {features}") };
    Ok(places.brief(&template) + &with)
}

fn stamp(lab: &Path) -> PathBuf {
    folder(lab).join("built")
}

/// Compiles what is missing or out of date.
pub fn refresh(places: &Places, jobs: &Jobs) -> Result<(), Trouble> {
    copies::sweep(&places.lab)?;
    let (template, key) = (folder(&places.lab), key(places)?);
    if is_fresh(&places.lab, &key) {
        return Ok(());
    }
    let _alone = lock(
        &lock_file(&places.lab),
        "copying or compiling the kernel's template, or a kernel of another user runs from it",
    )?;
    let cut_off = damaged(&places.lab);
    for path in &cut_off {
        // Cargo goes by modification times and would take what is cut off for whole.
        let _ = fs::remove_file(path);
    }
    if !cut_off.is_empty() {
        forget_notes(places, &template);
    }
    let doing = if is_built(&places.lab) {
        "Compiling the changes of candle-lens for the kernel (up to 2 minutes; everything if a dependency changed)"
    } else {
        "Compiling candle-lens for the kernel (4 to 6 minutes on 2 cores; seconds where another clone did; later only what changed)"
    };
    step(doing, || {
        let _ = fs::remove_file(stamp(&places.lab));
        let started = SystemTime::now();
        workspace::write(places, &template)?;
        shelf::take(places, &template);
        // What is wrong may be the notes.
        workspace::compile(places, &template, jobs).inspect_err(|_| forget_notes(places, &template))?;
        inventory::settle(&template);
        steps::write(&stamp(&places.lab), &stamped(&template, &key))?;
        // A source that changes while we compile must count as newer.
        File::options()
            .write(true)
            .open(stamp(&places.lab))
            .and_then(|file| file.set_modified(started))
            .map_err(|source| Trouble::file("Dating", &stamp(&places.lab), &source))?;
        shelf::keep(places, &template);
        Ok(())
    })
}

/// Removes the compiler's notes on the library, wherever it was compiled.
fn forget_notes(places: &Places, template: &Path) {
    workbench::forget_notes(&places.cache);
    for target in fs::read_dir(evcxr_folder(template).join("target")).into_iter().flatten().flatten() {
        let _ = fs::remove_dir_all(target.path().join("debug/incremental"));
    }
}

/// What the stamp says: the key, and behind it what the template holds.
fn stamped(template: &Path, key: &str) -> String {
    format!("{key}{HOLDS}{}", inventory::take(template))
}

/// The files of the template that are missing or are not what they were when it was made.
fn damaged(lab: &Path) -> Vec<PathBuf> {
    let stamp = fs::read_to_string(stamp(lab)).unwrap_or_default();
    stamp.split_once(HOLDS).map_or(Vec::new(), |(_, recorded)| inventory::damaged(&folder(lab), recorded))
}

/// Everything but the library's sources that decides whether compiled code can be used again.
fn key(places: &Places) -> Result<String, Trouble> {
    let mut read = workspace::anchor(places).into_bytes();
    if places.library == Library::Checkout {
        read.extend(manifests(places)?);
    }
    Ok(format!("{}manifests: {}\n", machine(places)?, digest(&read)))
}

/// What the clone says of its dependencies and their versions.
fn manifests(places: &Places) -> Result<Vec<u8>, Trouble> {
    let mut all = Vec::new();
    for name in ["Cargo.toml", "Cargo.lock"] {
        let path = places.root.join(name);
        all.extend(fs::read(&path).map_err(|source| Trouble::file("Reading", &path, &source))?);
    }
    Ok(all)
}

/// What decides it for the dependencies too, beside their versions.
fn machine(places: &Places) -> Result<String, Trouble> {
    Ok(format!(
        "{}evcxr: {}\nlinkers: {:?}\nfeatures: {}\n{}",
        rust::version()?,
        evcxr::VERSION,
        workspace::linkers(),
        features::of(&places.lab),
        workspace::profile()
    ))
}

/// Whether the template was built from this key and from sources that have not changed since.
fn is_fresh(lab: &Path, key: &str) -> bool {
    let is_key = |stamp: String| stamp.split_once(HOLDS).is_some_and(|(old, _)| old == key);
    fs::read_to_string(stamp(lab)).is_ok_and(is_key) && has_these_sources(lab) && damaged(lab).is_empty()
}

/// Whether the library's sources are those that the template was built from.
pub fn has_these_sources(lab: &Path) -> bool {
    let built = fs::metadata(stamp(lab)).and_then(|data| data.modified());
    let sources = compiled_sources(&evcxr_folder(&folder(lab)).join("target"), &folder(lab));
    built.is_ok_and(|since| sources.is_some_and(|sources| none_newer(&sources, since)))
}

/// Whether all of these are there and none has changed since.
fn none_newer(sources: &[PathBuf], since: SystemTime) -> bool {
    sources.iter().all(|path| fs::metadata(path).and_then(|data| data.modified()).is_ok_and(|at| at <= since))
}

/// Where evcxr, working in `folder`, has its compiled dependencies.
pub fn libraries(folder: &Path) -> Option<PathBuf> {
    Some(folder.join("target").join(rust::platform()?).join("debug/deps"))
}

/// The source files of the crates by path in a `target` of evcxr's outside `own`, and those they include, as cargo noted them.
pub fn compiled_sources(target: &Path, own: &Path) -> Option<Vec<PathBuf>> {
    let targets = fs::read_dir(target).ok()?;
    let note = targets
        .flatten()
        .map(|entry| entry.path().join(format!("debug/{DLL_PREFIX}ctx.d")))
        .find(|path| path.is_file())?;
    let text = fs::read_to_string(note).ok()?;
    // A template that was copied lists the cells of the one it was copied from.
    let is_cell = |path: &Path| path.starts_with(own) || path.ends_with("template/ctx/src/lib.rs");
    Some(listed_sources(&text).into_iter().filter(|path| !is_cell(path)).collect())
}

/// The paths after the colon of a dep-info file (`made: from from`, a space in a path written `\ `).
fn listed_sources(note: &str) -> Vec<PathBuf> {
    let line = note.lines().next().unwrap_or_default();
    let (_, sources) = line.split_once(": ").unwrap_or_default();
    let spaced = sources.replace("\\ ", "\0");
    spaced.split(' ').filter(|path| !path.is_empty()).map(|path| PathBuf::from(path.replace('\0', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dep_info_file_is_read() {
        let note = "/t/libctx.so: /t/ctx/src/lib.rs /a\\ b/src/lib.rs /a\\ b/src/data.bin\n\n/other: /x\n";
        let expected = ["/t/ctx/src/lib.rs", "/a b/src/lib.rs", "/a b/src/data.bin"].map(PathBuf::from);
        assert_eq!(listed_sources(note), expected);
        assert!(listed_sources("").is_empty());
    }

    #[test]
    fn notes_on_the_library_are_forgotten_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("candle-lens-lab-notes-{}", std::process::id()));
        let places = Places::for_test(&root);
        let template = folder(&places.lab);
        let debug = evcxr_folder(&template).join("target/triple/debug");
        steps::write(&debug.join("incremental/candle_lens-1/s-1/dep-graph.bin"), "notes").unwrap();
        steps::write(&debug.join("deps/libcandle_lens.so"), "a library").unwrap();
        let notes = places.cache.join("workbench/notes/candle_lens-1/s-1/dep-graph.bin");
        steps::write(&notes, "notes").unwrap();
        forget_notes(&places, &template);
        assert!(!debug.join("incremental").exists() && debug.join("deps/libcandle_lens.so").is_file());
        assert!(!notes.exists());
        forget_notes(&places, &template);
        steps::remove_folder(&root).unwrap();
    }

    #[test]
    fn a_changed_source_makes_the_template_stale() {
        let checkout = std::env::temp_dir().join(format!("candle-lens-lab-template-{}", std::process::id()));
        let lab = checkout.join(".lab");
        let source = checkout.join("src/lib.rs");
        steps::write(&source, "").unwrap();
        let note = folder(&lab).join(format!("ctx/target/triple/debug/{DLL_PREFIX}ctx.d"));
        steps::write(&note, &format!("x: {}\n", source.display())).unwrap();
        assert!(!is_fresh(&lab, "key"), "no stamp");
        let library = folder(&lab).join("ctx/target/triple/debug/deps/libcandle_lens.so");
        steps::write(&library, "a library").unwrap();
        steps::write(&stamp(&lab), "key").unwrap();
        assert!(!is_fresh(&lab, "key"), "a stamp of an older launcher");
        steps::write(&stamp(&lab), &stamped(&folder(&lab), "key")).unwrap();
        assert!(is_fresh(&lab, "key"));
        fs::write(&library, "a lib").unwrap();
        assert!(!is_fresh(&lab, "key"), "a library that is cut off");
        fs::write(&library, "a library").unwrap();
        assert!(is_fresh(&lab, "key"));
        assert!(!is_fresh(&lab, "another key"));
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(!is_fresh(&lab, "key"), "a newer source");
        fs::remove_file(&source).unwrap();
        assert!(!is_fresh(&lab, "key"), "a missing source");
        steps::remove_folder(&checkout).unwrap();
    }
}
