//! The step `growth`: how large the library is as kernels and as tests have it, beside `lab/growth.json`. What is more than 15 % larger takes
//! longer to compile and to load, and what it shows of itself is read for every cell.
//!
//! Bytes and crates, because one compiler makes nearly the same of the same sources each time (only the paths in them differ), however busy
//! the machine; times are not so. Another compiler or platform makes something else: then there is nothing to compare with, and the step
//! leaves it out. Nothing is compiled here. The steps `unit` and the first that starts a kernel have done it.
//!
//! `UPDATE_GROWTH=1 cargo lab test growth` writes the file anew: then its difference says in the commit what grew.

use crate::check::{Count, did_not_start, in_checkout, target};
use crate::places::Places;
use crate::process::line;
use crate::steps::write;
use crate::trouble::Trouble;
use crate::{features, rust, template};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where the committed sizes are.
const FILE: &str = "lab/growth.json";

/// What asks for new ones.
const UPDATE: &str = "UPDATE_GROWTH";

/// A size may be so many percent above the committed one.
const LIMIT: u64 = 15;

/// The library as cargo names it, for tests and for kernels.
const ARCHIVE: &str = "libcandle_lens.rlib";

/// Of what kernels and tests wait for.
const CRATES: &str = "crates";

/// Variables of cargo by which it compiles something else; a profile has more of them.
const SETTINGS: [&str; 4] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_INCREMENTAL"];
const PROFILES: &str = "CARGO_PROFILE_";

/// Sizes by what they are of.
type Sizes = Vec<(&'static str, u64)>;

/// What is here.
struct Here {
    platform: String,
    compiler: String,
    /// What there is of each kind, or why it is not known.
    sizes: Vec<(&'static str, Result<Sizes, String>)>,
}

/// Measures, and compares or writes.
///
/// # Errors
/// A file that cannot be read or written; a cargo that does not start; a build that is not there, if its sizes are to be written.
pub fn compared(places: &Places) -> Result<Count, Trouble> {
    let compiler = rust::describe()?;
    let platform = rust::platform().unwrap_or_default();
    let below = vec![("below the library, build tools among them", crates(places)?)];
    let sizes = vec![
        (CRATES, Ok(below)),
        ("kernel", kernel(places).and_then(|folder| sizes(&folder, &compiler))),
        ("tests", tests(places).and_then(|folder| sizes(&folder, &compiler))),
    ];
    let here = Here { platform, compiler, sizes };
    let path = places.root.join(FILE);
    if std::env::var_os(UPDATE).is_some() {
        write(&path, &format!("{:#}\n", here.to_json()?))?;
        println!("    wrote {FILE}");
        return Ok(Count::one(true));
    }
    let text = fs::read_to_string(&path).map_err(|source| Trouble::file("Reading", &path, &source))?;
    let committed = serde_json::from_str(&text).map_err(|source| {
        Trouble::new(format!("{FILE} cannot be read: {source}."), "Restore it with git, or write it anew.")
    })?;
    Ok(here.judged(&committed))
}

impl Here {
    /// As the file keeps it.
    fn to_json(&self) -> Result<Value, Trouble> {
        let mut all = Map::new();
        for (whose, sizes) in &self.sizes {
            let sizes = sizes.as_ref().map_err(|why| {
                let what = format!("The sizes of the library in {whose} are not known: {why}.");
                Trouble::new(what, "`cargo lab setup` and `cargo test --no-run` compile what is measured.")
            })?;
            let sizes: Map<_, _> = sizes.iter().map(|(what, size)| (what.to_string(), json!(size))).collect();
            all.insert(whose.to_string(), sizes.into());
        }
        Ok(json!({ "platform": self.platform, "compiler": self.compiler, "sizes": all }))
    }

    /// Each size beside the committed one.
    fn judged(&self, committed: &Value) -> Count {
        let mut count = Count::default();
        let differs = |what: &str, here: &str| {
            let there = committed[what].as_str().unwrap_or("none");
            (there != here).then(|| format!("{FILE} has the sizes of the {what} {there}, and this is {here}"))
        };
        for (whose, sizes) in &self.sizes {
            // The same crates are compiled whatever compiles them.
            let other = differs("platform", &self.platform)
                .or_else(|| differs("compiler", &self.compiler).filter(|_| *whose != CRATES));
            let other = other.or_else(|| {
                let none = committed["sizes"][whose].is_null();
                none.then(|| format!("{FILE} has nothing of it; `{UPDATE}=1 cargo lab test growth` writes all of it"))
            });
            match (other, sizes) {
                (None, Ok(sizes)) => sizes.iter().for_each(|(what, now)| {
                    count.add(Count::one(may_be(whose, what, *now, committed["sizes"][whose][what].as_u64())));
                }),
                (Some(why), _) => count.left_out.push(format!("growth of {whose}: {why}")),
                (None, Err(why)) => count.left_out.push(format!("growth of {whose}: {why}")),
            }
        }
        count
    }
}

/// Whether a size is within the limit; says what it is.
fn may_be(whose: &str, what: &str, now: u64, before: Option<u64>) -> bool {
    let Some(before) = before else {
        println!("    {whose}, {what}: {now}, of which {FILE} has NOTHING");
        return false;
    };
    let good = now * 100 <= before * (100 + LIMIT);
    let percent = 100. * (now as f64 / before.max(1) as f64 - 1.);
    let verdict = if good { "" } else { ": MORE THAN IT MAY GROW" };
    println!("    {whose}, {what}: {now} ({percent:+.1} % of {before}){verdict}");
    good
}

/// The folder of the library that kernels load, or why there is none that can be measured.
fn kernel(places: &Places) -> Result<PathBuf, String> {
    if template::describe(places).is_err() {
        return Err("needs a kernel of these sources (`cargo lab setup`)".into());
    }
    let features = features::of(&places.lab);
    if !features.is_empty() {
        return Err(format!("kernels have the features {features}"));
    }
    template::libraries(&template::evcxr_folder(&template::folder(&places.lab)))
        .ok_or_else(|| "rustc does not name its platform".into())
}

/// The folder of the library that tests use, or why there is none that can be measured.
fn tests(places: &Places) -> Result<PathBuf, String> {
    let folder = target(places).join("debug/deps");
    match is_of_sources(&folder.join(ARCHIVE), &places.root) {
        true => Ok(folder),
        false => Err("needs tests that were compiled from these sources (`cargo test --no-run`)".into()),
    }
}

/// Whether a library is there and no source in the clone is newer.
fn is_of_sources(library: &Path, root: &Path) -> bool {
    let sources = ["src", "Cargo.toml", "Cargo.lock"].map(|name| newest(&root.join(name)));
    modified(library).is_some_and(|built| sources.iter().flatten().all(|source| *source <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// When a file, or the last of those in a folder and below it, was written.
fn newest(path: &Path) -> Option<SystemTime> {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().filter_map(|entry| newest(&entry.path())).max(),
        Err(_) => modified(path),
    }
}

/// The sizes of the library in this folder, if this compiler made it as it usually does.
fn sizes(folder: &Path, compiler: &str) -> Result<Sizes, String> {
    let is_setting = |name: &String| SETTINGS.contains(&name.as_str()) || name.starts_with(PROFILES);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(name) = names.into_iter().find(is_setting) {
        return Err(format!("{name} is set, by which cargo compiles something else"));
    }
    let unread = |path: &Path, source: &std::io::Error| format!("{} cannot be read: {source}", path.display());
    let archive = folder.join(ARCHIVE);
    let bytes = fs::read(&archive).map_err(|source| unread(&archive, &source))?;
    let shown = shown(&bytes).ok_or_else(|| format!("{} has nothing that other crates read", archive.display()))?;
    if !names_compiler(shown, compiler) {
        return Err(format!("{} was not made by {compiler}", archive.display()));
    }
    let dynamic = folder.join(format!("{DLL_PREFIX}candle_lens{DLL_SUFFIX}"));
    let all = fs::metadata(&dynamic).map_err(|source| unread(&dynamic, &source))?.len();
    Ok(vec![
        ("bytes of its own code, and of what other crates read", bytes.len() as u64),
        ("bytes of what other crates read", shown.len() as u64),
        ("bytes with all that is below it", all),
    ])
}

/// The part of an archive in which the compiler keeps what other crates read.
fn shown(archive: &[u8]) -> Option<&[u8]> {
    let mut rest = archive.strip_prefix(b"!<arch>\n")?;
    loop {
        let (header, content) = rest.split_at_checked(60)?;
        let length: usize = std::str::from_utf8(&header[48..58]).ok()?.trim().parse().ok()?;
        if header.starts_with(b"lib.rmeta/") {
            return content.get(..length);
        }
        // Parts begin at even places.
        rest = content.get(length.next_multiple_of(2)..)?;
    }
}

/// Whether the compiler of this description made what other crates read, where its version is near the beginning.
fn names_compiler(shown: &[u8], compiler: &str) -> bool {
    let version = compiler.strip_prefix("rustc ").unwrap_or(compiler).as_bytes();
    shown[..shown.len().min(1000)].windows(version.len()).any(|part| part == version)
}

/// How many crates are compiled for the library, besides itself.
fn crates(places: &Places) -> Result<u64, Trouble> {
    let words = ["tree", "--package", "candle-lens", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let mut tree = in_checkout(places, &words);
    let output = tree.output().map_err(|source| did_not_start(&tree, &source))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    match output.status.success() && names.len() > 1 {
        true => Ok(names.len() as u64 - 1),
        false => Err(Trouble::new(
            format!("{} does not say what is compiled: {}", line(&tree), String::from_utf8_lossy(&output.stderr)),
            "Read cargo's message; it needs the network once.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(tests: Result<Sizes, String>) -> Here {
        let sizes = vec![(CRATES, Ok(vec![("all", 115)])), ("tests", tests)];
        Here { platform: "a".into(), compiler: "rustc 1".into(), sizes }
    }

    fn committed(compiler: &str) -> Value {
        let sizes = json!({ "crates": { "all": 100 }, "tests": { "a": 1000, "b": 1000 } });
        json!({ "platform": "a", "compiler": compiler, "sizes": sizes })
    }

    #[test]
    fn a_size_that_grew_by_more_than_the_limit_fails() {
        let judged = |sizes: Sizes| here(Ok(sizes)).judged(&committed("rustc 1"));
        assert_eq!(judged(vec![("a", 1150), ("b", 10)]), Count { passed: 3, ..Count::default() });
        assert_eq!(judged(vec![("a", 1151), ("b", 1000)]).failed, 1);
        assert_eq!(judged(vec![("a", 1000), ("c", 1)]).failed, 1, "a size that nobody committed");
    }

    #[test]
    fn what_cannot_be_compared_is_left_out_with_its_reason() {
        let judged = |sizes, compiler| here(sizes).judged(&committed(compiler));
        let count = judged(Err("needs tests".into()), "rustc 1");
        assert_eq!((count.passed, count.left_out), (1, vec!["growth of tests: needs tests".into()]));
        let count = judged(Ok(vec![("a", 9000)]), "rustc 2");
        let why = "growth of tests: lab/growth.json has the sizes of the compiler rustc 2, and this is rustc 1";
        assert_eq!((count.passed, count.failed, count.left_out), (1, 0, vec![why.into()]));
        let mut elsewhere = here(Ok(vec![]));
        elsewhere.platform = "b".into();
        let count = elsewhere.judged(&committed("rustc 1"));
        assert_eq!((count.passed, count.failed, count.left_out.len()), (0, 0, 2));
        assert!(
            here(Err("needs tests".into())).to_json().unwrap_err().to_string().contains("tests are not known: needs")
        );
    }

    #[test]
    fn what_nobody_committed_anything_of_is_left_out() {
        let committed = json!({ "platform": "a", "compiler": "rustc 1", "sizes": { "crates": { "all": 100 } } });
        let count = here(Ok(vec![("a", 1)])).judged(&committed);
        assert_eq!((count.passed, count.failed), (1, 0));
        assert!(count.left_out[0].starts_with("growth of tests: lab/growth.json has nothing of it; `UPDATE_GROWTH=1"));
    }

    #[test]
    fn what_was_written_is_what_is_compared_with() {
        let here = here(Ok(vec![("a", 7), ("b", 8)]));
        assert_eq!(here.judged(&here.to_json().unwrap()), Count { passed: 3, ..Count::default() });
    }

    #[test]
    fn a_library_that_is_older_than_a_source_is_not_measured() {
        let root = std::env::temp_dir().join(format!("candle-lens-lab-growth-{}", std::process::id()));
        let (source, library) = (root.join("src/room/part.rs"), root.join(ARCHIVE));
        write(&source, "").unwrap();
        assert!(!is_of_sources(&library, &root), "there is none");
        write(&library, "").unwrap();
        assert!(is_of_sources(&library, &root));
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(!is_of_sources(&library, &root), "a newer source");
        crate::steps::remove_folder(&root).unwrap();
    }

    #[test]
    fn what_an_archive_shows_is_found() {
        let part = |name: &str, content: &[u8]| {
            let mut part = format!("{name:<48}{:<10}`\n", content.len()).into_bytes();
            part.extend(content);
            part.resize(part.len().next_multiple_of(2), b'\n');
            part
        };
        let archive = [b"!<arch>\n".to_vec(), part("a.o/", b"odd"), part("lib.rmeta/", b"12345"), part("b.o/", b"")];
        assert_eq!(shown(&archive.concat()), Some(&b"12345"[..]));
        assert_eq!(shown(&archive[..2].concat()), None);
        assert_eq!(shown(b"something else"), None);
        assert_eq!(shown(&[archive[0].clone(), b"a.o/".to_vec()].concat()), None, "cut off");
    }

    #[test]
    fn the_compiler_is_found_in_what_it_made() {
        let made = b"rust\0\0\0\x0a....1.95.0 (59807616e 2026-04-14)....";
        assert!(names_compiler(made, "rustc 1.95.0 (59807616e 2026-04-14)"));
        assert!(!names_compiler(made, "rustc 1.96.0 (59807616e 2026-05-14)"));
        assert!(!names_compiler(b"", "rustc 1.95.0"));
    }
}
