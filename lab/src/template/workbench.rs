//! The workbench: one folder in which the library of every clone is compiled.
//!
//! The compiler's notes on a crate, by which it compiles only what has changed, are good only where the folder of the sources, the folder of
//! what is made, and the name that cargo has for the crate, which depends on the first, are the same. So cargo calls this program in the
//! compiler's place (see `stand_ins/tools.rs`), which copies the library's sources to the workbench, compiles them there under one name, and
//! gives the clone what was made. Another clone, and a kernel that starts with newer sources, then compiles what differs from the last library
//! that any of them compiled.
//!
//! ```text
//! workbench/lock    held by whoever compiles
//! workbench/src/    the library's sources as they were compiled last
//! workbench/made/   the library, until the clone has it
//! workbench/notes/  the compiler's
//! ```
//!
//! Nothing depends on it: where it cannot be written, or the user has a compiler's wrapper, the library is compiled where it lies. It holds
//! `src` only: the library includes no file from elsewhere.

use crate::places;
use crate::process::{exit_code, link_launcher};
use crate::steps::{make_folder, open_lock, remove_folder};
use crate::trouble::Trouble;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The library, as the compiler calls it.
const LIBRARY: &str = "candle_lens";

/// What messages and panics have before `/src/..`, whichever clone it was.
const SHOWN: &str = "candle-lens";

/// How cargo's words for the folder of notes and for the crate's own name begin.
const NOTES: &str = "incremental=";
const NAME: &str = "metadata=";

/// The workbench, as the cache has it.
const FOLDER: &str = "workbench";

/// The file whose lock is held by whoever compiles, as the cache has it.
pub const LOCK: &str = "workbench/lock";

/// Names the program that cargo calls in the compiler's place.
pub const WRAPPER: &str = "RUSTC_WRAPPER";

/// What this program is called there.
pub const COMPILER: &str = "compiler";

/// Makes cargo call `compiler`, which is this program, in the compiler's place. A wrapper that is asked for already, by the user or by some
/// of evcxr's settings, stays what it is.
pub fn listen(cargo: &mut Command, compiler: &Path) {
    if std::env::var_os(WRAPPER).is_none() {
        cargo.env(WRAPPER, compiler);
    }
}

/// The same, from a `folder` for this program under that name, which is made anew: what would be written over the old link would be written over
/// the program.
pub fn listen_from(folder: &Path, cargo: &mut Command) -> Result<(), Trouble> {
    remove_folder(folder)?;
    make_folder(folder)?;
    listen(cargo, &link_launcher(folder, COMPILER)?);
    Ok(())
}

/// Where the workbench is.
fn folder(cache: &Path) -> PathBuf {
    cache.join(FOLDER)
}

/// Removes the compiler's notes: the next compilation takes as long as the first.
pub fn forget_notes(cache: &Path) {
    let _ = remove_folder(&folder(cache).join("notes"));
}

/// A call of the compiler for the library of a clone.
pub struct Job {
    bench: PathBuf,
    root: PathBuf,
    words: Vec<OsString>,
}

impl Job {
    /// The job that these words to the compiler are, if they are one and this user has a workbench. A crate from a registry is none, because cargo
    /// has it compiled without notes, nor is a mere look at the library, for which notes are other ones.
    pub fn of(words: &[OsString]) -> Option<Self> {
        let any = |is: &dyn Fn(&str) -> bool| words.iter().any(|word| word.to_str().is_some_and(is));
        let makes_library = after(words, "--crate-name")? == LIBRARY
            && any(&|word| word.starts_with(NOTES))
            && any(&|word| word.starts_with("--emit=") && word.contains("link"));
        let root = std::env::var_os("CARGO_MANIFEST_DIR").filter(|_| makes_library)?;
        let bench = folder(&places::cache().ok()?);
        places::is_writable(&bench).then(|| Self { bench, root: root.into(), words: words.to_vec() })
    }

    /// Compiles it; `as_asked` is the call without us, whose program and environment are used.
    pub fn compile(&self, mut as_asked: Command) -> Result<ExitCode, Trouble> {
        let failed = |source| Trouble::file("Calling the compiler in", &self.bench, &source);
        let Ok(_held) = self.lay_out() else {
            return as_asked.status().map(exit_code).map_err(failed);
        };
        let mut call = Command::new(as_asked.get_program());
        for (name, value) in as_asked.get_envs() {
            match value {
                Some(value) => call.env(name, value),
                None => call.env_remove(name),
            };
        }
        let status = call.args(self.translated()).current_dir(&self.bench).status().map_err(failed)?;
        if status.success() {
            self.name_sources()?;
            self.hand_over()?;
        }
        Ok(exit_code(status))
    }

    /// Puts the sources on the workbench, which is ours until what is returned is dropped.
    fn lay_out(&self) -> Result<File, Trouble> {
        let held = open_lock(&self.bench.with_file_name(LOCK))?;
        let sources = self.bench.join("src");
        held.lock()
            .and_then(|()| mirror(&self.root.join("src"), &sources))
            .map_err(|source| Trouble::file("Copying the library's sources to", &sources, &source))?;
        remove_folder(&self.made())?;
        make_folder(&self.made())?;
        make_folder(&self.bench.join("notes"))?;
        Ok(held)
    }

    /// The words by which the library is compiled here.
    fn translated(&self) -> Vec<OsString> {
        let (crate_file, out) = (self.root.join("src/lib.rs"), self.out());
        let joined = |what: &str, path: &Path| {
            let mut word = OsString::from(what);
            word.push(path);
            word
        };
        let translate = |word: &OsString| match word.to_str() {
            Some(text) if text.starts_with(NOTES) => joined(NOTES, &self.bench.join("notes")),
            Some(text) if text.starts_with(NAME) => joined(NAME, Path::new(SHOWN)),
            _ if Path::new(word) == crate_file => self.bench.join("src/lib.rs").into(),
            _ if Some(word.as_os_str()) == out => self.made().into(),
            _ => word.clone(),
        };
        let mut shown = self.bench.clone().into_os_string();
        shown.push(format!("={SHOWN}"));
        self.words.iter().map(translate).chain(["--remap-path-prefix".into(), shown]).collect()
    }

    /// Where cargo wants what is made.
    fn out(&self) -> Option<&OsStr> {
        after(&self.words, "--out-dir").map(OsString::as_os_str)
    }

    fn made(&self) -> PathBuf {
        self.bench.join("made")
    }

    /// Makes the compiler's list of sources, from which cargo learns what a change of which compiles the library again, one of the clone's.
    fn name_sources(&self) -> Result<(), Trouble> {
        let more = self.words.iter().find_map(|word| word.to_str()?.strip_prefix("extra-filename="));
        let list = self.made().join(format!("{LIBRARY}{}.d", more.unwrap_or_default()));
        let written = |folder: &Path| folder.join("src").display().to_string().replace(' ', "\\ ");
        fs::read_to_string(&list)
            .map(|text| text.replace(&written(&self.bench), &written(&self.root)))
            .and_then(|text| fs::write(&list, text))
            .map_err(|source| Trouble::file("Writing the list of sources", &list, &source))
    }

    /// Puts what was made where cargo wants it.
    fn hand_over(&self) -> Result<(), Trouble> {
        let (made, out) = (self.made(), Path::new(self.out().unwrap_or(OsStr::new("."))));
        let failed = |source| Trouble::file("Putting the library into", out, &source);
        for entry in fs::read_dir(&made).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let (from, to) = (made.join(&name), out.join(&name));
            let copy = || {
                // What is there may be a link.
                let _ = fs::remove_file(&to);
                fs::copy(&from, &to).and_then(|_| fs::remove_file(&from))
            };
            // On another disk it is a copy.
            fs::rename(&from, &to).or_else(|_| copy()).map_err(failed)?;
        }
        Ok(())
    }
}

/// The word after another one.
pub fn after<'a, Word: PartialEq<str>>(words: &'a [Word], name: &str) -> Option<&'a Word> {
    words.windows(2).find(|pair| pair[0] == *name).map(|pair| &pair[1])
}

/// Makes `to` a folder of the same files as `from`; what is equal already is left alone.
fn mirror(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        names.insert(entry.file_name());
        let is_folder = fs::metadata(&path)?.is_dir();
        if copy.exists() && copy.is_dir() != is_folder {
            remove(&copy)?;
        }
        if is_folder {
            mirror(&path, &copy)?;
        } else {
            let content = fs::read(&path)?;
            if !fs::read(&copy).is_ok_and(|old| old == content) {
                fs::write(&copy, content)?;
            }
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    fn job(folder: &Path, words: &str) -> Job {
        let words = words.split(' ').map(OsString::from).collect();
        Job { bench: folder.join("cache/workbench"), root: folder.join("a clone"), words }
    }

    #[test]
    fn the_workbench_has_the_clone_s_files_and_no_others() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-mirror-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("to"));
        for (name, text) in [("lib.rs", "mod a;"), ("a/mod.rs", "new"), ("b", "a file that was a folder")] {
            steps::write(&from.join(name), text).unwrap();
        }
        for (name, text) in
            [("lib.rs", "mod a;"), ("a/mod.rs", "old"), ("a/gone.rs", ""), ("gone/mod.rs", ""), ("b/c", "")]
        {
            steps::write(&to.join(name), text).unwrap();
        }
        mirror(&from, &to).unwrap();
        let read = |name: &str| fs::read_to_string(to.join(name)).ok();
        assert_eq!(
            ["lib.rs", "a/mod.rs", "b"].map(read),
            ["mod a;", "new", "a file that was a folder"].map(|text| Some(text.into()))
        );
        assert!(!to.join("a/gone.rs").exists() && !to.join("gone").exists());
        remove_folder(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn two_clones_call_the_compiler_alike() {
        let folder = Path::new("/f");
        let words =
            "--crate-name candle_lens FILE -C metadata=1f -C incremental=/f/i --out-dir /t/deps -L dependency=/t/deps";
        let mut job = job(folder, words);
        job.words[2] = job.root.join("src/lib.rs").into();
        let bench = job.bench.display();
        let expected = format!(
            "--crate-name candle_lens {bench}/src/lib.rs -C metadata=candle-lens -C incremental={bench}/notes --out-dir {bench}/made \
             -L dependency=/t/deps --remap-path-prefix {bench}=candle-lens"
        );
        let words: Vec<_> = job.translated().into_iter().map(|word| word.into_string().unwrap()).collect();
        assert_eq!(words.join(" "), expected);
    }

    /// The compiled pieces among its notes, by the disk's numbers of their files.
    #[cfg(unix)]
    fn pieces(notes: &Path) -> BTreeSet<u64> {
        use std::os::unix::fs::MetadataExt;
        let inside = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let sessions = inside(notes.to_path_buf()).flat_map(inside);
        // Older ones stay for some seconds.
        let newest =
            sessions.filter(|path| path.is_dir()).max_by_key(|path| path.metadata().unwrap().modified().unwrap());
        let files = inside(newest.unwrap());
        files
            .filter(|path| path.extension().is_some_and(|ending| ending == "o"))
            .map(|path| path.metadata().unwrap().ino())
            .collect()
    }

    #[cfg(unix)]
    #[test]
    fn another_clone_compiles_only_what_differs() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-clones-{}", std::process::id()));
        let rustc = |words: &[&str], at: &Path| {
            make_folder(at).unwrap();
            assert!(Command::new("rustc").args(words).current_dir(at).status().unwrap().success());
        };
        steps::write(&folder.join("a.rs"), "pub fn twice(x: u64) -> u64 { 2 * x }").unwrap();
        rustc(&["--crate-type", "lib", "../a.rs"], &folder.join("deps"));
        let compile = |clone: &str, more: &str| {
            let (root, out) = (folder.join(clone), folder.join(clone).join("out"));
            let source =
                format!("pub mod one; pub mod two {{ pub fn four(x: u64) -> u64 {{ a::twice(a::twice(x)) }} }} {more}");
            steps::write(&root.join("src/lib.rs"), &source).unwrap();
            steps::write(&root.join("src/one.rs"), "pub fn one() -> String { String::from(\"1\") }").unwrap();
            make_folder(&out).unwrap();
            fs::hard_link(folder.join("deps/liba.rlib"), out.join("liba.rlib")).unwrap();
            let shown = out.display();
            let words = format!(
                "--edition=2024 --crate-name candle_lens FILE --crate-type lib --emit=dep-info,link -C opt-level=0 -C codegen-units=16 \
                 -C metadata={clone} -C incremental={shown}/i --out-dir {shown} -L dependency={shown} --extern a={shown}/liba.rlib"
            );
            let mut job = job(&folder, &words);
            job.words[3] = root.join("src/lib.rs").into();
            job.root = root;
            job.compile(Command::new("rustc")).unwrap();
            assert!(out.join("libcandle_lens.rlib").is_file());
            pieces(&job.bench.join("notes"))
        };
        let first = compile("first", "");
        assert!(first.len() > 1, "{first:?}");
        assert_eq!(compile("second", ""), first, "nothing differs, so that every piece is the first clone's");
        let third = compile("third", "pub mod three { pub fn eight(x: u64) -> u64 { 2 * super::two::four(x) } }");
        let kept = first.intersection(&third).count();
        assert!(third.len() > first.len() && 2 * kept > first.len(), "of {first:?} few are in {third:?}");
        remove_folder(&folder).unwrap();
    }

    #[test]
    fn other_crates_published_ones_and_looks_are_no_jobs() {
        let is_job = |words: &str| Job::of(&words.split(' ').map(OsString::from).collect::<Vec<_>>()).is_some();
        assert!(!is_job("-vV"));
        assert!(!is_job("--crate-name candle_core -C incremental=/i"));
        assert!(!is_job("--crate-name candle_lens -C metadata=1f --emit=dep-info,link"));
        assert!(!is_job("--crate-name candle_lens -C incremental=/i --emit=dep-info,metadata"));
    }

    #[cfg(unix)]
    #[test]
    fn cargo_is_told_of_the_clone_s_sources() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-bench-{}", std::process::id()));
        let out = folder.join("out");
        let mut job = job(&folder, "-c true --out-dir OUT -C extra-filename=-1");
        job.words[3] = out.clone().into();
        make_folder(&out).unwrap();
        steps::write(&job.root.join("src/lib.rs"), "").unwrap();
        job.words[1] =
            format!("echo x: {0}/src/lib.rs {0}/src/a.rs > made/candle_lens-1.d", job.bench.display()).into();
        job.compile(Command::new("sh")).unwrap();
        let clone = job.root.display().to_string().replace(' ', "\\ ");
        let list = fs::read_to_string(out.join("candle_lens-1.d")).unwrap();
        assert_eq!(list, format!("x: {clone}/src/lib.rs {clone}/src/a.rs\n"));
        assert!(job.bench.join("src/lib.rs").is_file() && job.bench.join("notes").is_dir());
        forget_notes(&folder.join("cache"));
        assert!(!job.bench.join("notes").exists());
        remove_folder(&folder).unwrap();
    }
}
