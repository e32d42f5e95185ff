//! The warm template: a folder in which evcxr has already compiled candle-lens and everything below it.
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

use crate::copies;
use crate::places::{Library, Places};
use crate::process::on_path;
use crate::session::{Jupyter, Said};
use crate::steps::{self, digest, lock, step};
use crate::trouble::Trouble;
use crate::{evcxr, features, inventory, rust, verdict};
use std::env::consts::DLL_PREFIX;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Optimised as in release, because the model runs in there; otherwise what evcxr would have chosen, except that a cell is
/// compiled in one piece and with no notes for the next one, which is a third quicker; that the library's own parts are not
/// optimised across each other, which nearly halves the time of its compilation and costs its computations next to nothing
/// (src/model/ops/kernels.rs); and that the compiler keeps notes on the library (0.6 GB, which no kernel's copy has), so that an
/// update compiles what has changed. A published library has none.
const PROFILE: &str = "\
[profile.dev]
opt-level = 3
debug = false
strip = \"debuginfo\"
rpath = true
lto = \"off\"
debug-assertions = false
codegen-units = 16
panic = \"unwind\"
incremental = false
overflow-checks = false

[profile.dev.package.ctx]
codegen-units = 1

[profile.dev.package.candle-lens]
incremental = true
";

/// What separates the key from the list of files in the stamp.
const HOLDS: &str = "\nholds:\n";

/// Seconds the first compilation may take on a very slow machine.
const PATIENCE: u64 = 4 * 3600;

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
pub fn refresh(places: &Places, jupyter: &Jupyter) -> Result<(), Trouble> {
    copies::sweep(&places.lab)?;
    let template = folder(&places.lab);
    let key = key(places)?;
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
        forget_notes(&template);
    }
    let doing = if is_built(&places.lab) {
        "Compiling the changes of candle-lens for the kernel (1 to 3 minutes; everything if a dependency changed)"
    } else {
        "Compiling candle-lens for the kernel (4 to 6 minutes on 2 cores; later only what changed)"
    };
    step(doing, || {
        let _ = fs::remove_file(stamp(&places.lab));
        let started = SystemTime::now();
        write_workspace(places, &template)?;
        // What is wrong may be the notes.
        compile(places, jupyter, &template).inspect_err(|_| forget_notes(&template))?;
        inventory::settle(&template);
        steps::write(&stamp(&places.lab), &stamped(&template, &key))?;
        // A source that changes while we compile must count as newer.
        File::options()
            .write(true)
            .open(stamp(&places.lab))
            .and_then(|file| file.set_modified(started))
            .map_err(|source| Trouble::file("Dating", &stamp(&places.lab), &source))
    })
}

/// Removes the compiler's notes on the library: the next compilation takes as long as the first.
fn forget_notes(template: &Path) {
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
    let mut manifests = anchor(places).into_bytes();
    if places.library == Library::Checkout {
        for name in ["Cargo.toml", "Cargo.lock"] {
            let path = places.root.join(name);
            manifests.extend(fs::read(&path).map_err(|source| Trouble::file("Reading", &path, &source))?);
        }
    }
    // evcxr links with these where it finds them, and cargo compiles everything anew for another linker.
    let linkers = ["mold", "lld"].map(|name| on_path(name).is_some().then_some(name));
    Ok(format!(
        "{}evcxr: {}\nlinkers: {linkers:?}\nmanifests: {}\nfeatures: {}\n{PROFILE}",
        rust::version()?,
        evcxr::VERSION,
        digest(&manifests),
        features::of(&places.lab)
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

fn write_workspace(places: &Places, template: &Path) -> Result<(), Trouble> {
    // evcxr takes the first member for its own package.
    let workspace = format!("[workspace]\nmembers = [\"ctx\", \"anchor\"]\nresolver = \"3\"\n\n{PROFILE}");
    steps::write(&template.join("Cargo.toml"), &workspace)?;
    steps::write(&template.join("anchor/Cargo.toml"), &anchor(places))?;
    steps::write(&template.join("anchor/src/lib.rs"), "")?;
    if places.library != Library::Checkout {
        return Ok(());
    }
    let lock = places.root.join("Cargo.lock");
    let versions = fs::read_to_string(&lock).map_err(|source| Trouble::file("Reading", &lock, &source))?;
    steps::write(&template.join("Cargo.lock"), &versions)
}

/// The manifest of the anchor. The lock file keeps what any platform needs; rust-analyzer, which evcxr asks for types,
/// leaves out what this one does not. Otherwise it would read the whole library once for the anchor and once for the cells.
fn anchor(places: &Places) -> String {
    format!(
        "[package]\nname = \"anchor\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [target.'cfg(candle_lens_anchor)'.dependencies]\ncandle-lens = {}\n",
        places.dependency()
    )
}

/// Lets a real kernel compile, so that every flag is evcxr's own.
fn compile(places: &Places, jupyter: &Jupyter, template: &Path) -> Result<(), Trouble> {
    let mut session = jupyter.start(&places.root, Some(&evcxr_folder(template)))?;
    let (mut crates, mut reported) = (0, Instant::now());
    let dependency = format!(":dep candle-lens = {}", places.dependency());
    let tell = |said: Said| {
        let Said::Log(text) = said else { return };
        crates += text.matches("Compiling ").count();
        if reported.elapsed() > Duration::from_secs(15) {
            println!("    {crates} crates begun");
            reported = Instant::now();
        }
    };
    let reply = session.execute(&dependency, PATIENCE, tell);
    session.end();
    match verdict::complaint(&reply?) {
        None => Ok(()),
        Some(complaint) => Err(Trouble::new(
            format!("candle-lens does not compile in the kernel: {complaint}"),
            "Run `cargo check` in the repository: it shows the errors of our own sources in full. \
             A message about the network or the disk says itself what is missing.",
        )),
    }
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
        let template = std::env::temp_dir().join(format!("candle-lens-lab-notes-{}", std::process::id()));
        let debug = evcxr_folder(&template).join("target/triple/debug");
        steps::write(&debug.join("incremental/candle_lens-1/s-1/dep-graph.bin"), "notes").unwrap();
        steps::write(&debug.join("deps/libcandle_lens.so"), "a library").unwrap();
        forget_notes(&template);
        assert!(!debug.join("incremental").exists() && debug.join("deps/libcandle_lens.so").is_file());
        forget_notes(&template);
        steps::remove_folder(&template).unwrap();
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
        let later = SystemTime::now() + Duration::from_secs(5);
        File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(!is_fresh(&lab, "key"), "a newer source");
        fs::remove_file(&source).unwrap();
        assert!(!is_fresh(&lab, "key"), "a missing source");
        steps::remove_folder(&checkout).unwrap();
    }
}
