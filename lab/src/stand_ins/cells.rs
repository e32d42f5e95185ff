//! A cell's compilation without cargo, while nothing but the cell has changed.
//!
//! For every cell evcxr calls `cargo build`, which looks at all 300 crates (0.3 s) before it calls the compiler. So a
//! kernel's cargo (see `tools.rs`) notes how the real cargo calls the compiler for a cell, and calls it so itself the next
//! time, if cargo would be called in the same way, manifests, settings and compiler are the same, and neither sources nor manifests of
//! crates by path have changed since. Otherwise the real cargo is called, as for a new `:dep`; always, where such a crate has a
//! build script. A note is in force only as long as every build since has succeeded.

use super::tools::{real_cargo_home, real_tool};
use super::{explain, interrupted, level};
use crate::process::{become_program, exit_code};
use crate::steps::{digest, write};
use crate::template;
use crate::template::workbench::{Job, WRAPPER, after, listen};
use crate::trouble::Trouble;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

/// Where the compiler's wrapper, which is this program as well, notes the call.
const NOTE: &str = "CANDLE_LENS_NOTE";

/// The file in which evcxr finds the path of what was compiled.
const COMPILED: &str = "EVCXR_EXECUTION_SO_PATH";

/// Names evcxr's folder, in which it calls cargo.
const FOLDER: &str = "EVCXR_TMPDIR";

/// What evcxr asks cargo for.
const BUILD: &str = "build";
const CHECK: &str = "check";

/// The crate that evcxr makes of a cell.
const CELL: &str = "ctx";

/// evcxr shows whatever the compiler says as an error, and says it again of the functions of earlier cells, for which it looks like the
/// cause of every later failure: warnings are not for cells.
const QUIET: &str = "-Awarnings";

/// What decides, beside the cell, how it is compiled; in evcxr's folder.
const SETTINGS: [&str; 3] = ["Cargo.toml", "../Cargo.toml", "../Cargo.lock"];

/// What cargo passes to the compiler about other compilers that run: it is valid only as long as that cargo runs.
const JOBS: [&str; 3] = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

/// Whether evcxr asks cargo to build a cell.
pub fn is_build(arguments: impl Iterator<Item = String>) -> bool {
    std::env::var_os(COMPILED).is_some() && asks_for(BUILD, arguments)
}

/// Whether evcxr asks cargo what the compiler says of a cell.
pub fn is_check(arguments: impl Iterator<Item = String>) -> bool {
    let folder = std::env::var_os(FOLDER).and_then(|folder| fs::canonicalize(folder).ok());
    folder.is_some() && folder == fs::canonicalize(".").ok() && asks_for(CHECK, arguments)
}

/// The arguments that ask for a build where these ask for a check.
fn as_build(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|word| if word == CHECK { BUILD.into() } else { word })
}

fn asks_for(what: &str, mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.find(|argument| !argument.starts_with('-')).is_some_and(|first| first == what)
}

/// Compiles a cell: as the last time, or by `cargo`, which is the real one with evcxr's arguments.
///
/// The working directory is evcxr's folder.
pub fn build(mut cargo: Command, note_taker: &Path) -> Result<ExitCode, Trouble> {
    let failed = |source| Trouble::file("Compiling the cell in", Path::new("."), &source);
    let folder = std::env::current_dir().map_err(failed)?;
    let (kept, taken) = (folder.join("target/candle-lens-cell.json"), folder.join("target/candle-lens-cell.taken"));
    let asked = asked();
    if let Some(call) = known(&kept, &asked).and_then(Known::build) {
        return explain::compile(call).map(interrupted::judged);
    }
    // Whatever goes wrong from here on, the next cell calls cargo as well.
    let _ = fs::remove_file(&kept);
    let _ = fs::remove_file(&taken);
    cargo.env(NOTE, &taken);
    listen(&mut cargo, note_taker);
    let started = SystemTime::now();
    let status = cargo.status().map_err(failed)?;
    if status.success() && keep(&taken, &kept, &asked, started).is_none() {
        let _ = fs::remove_file(kept);
    }
    let _ = fs::remove_file(taken);
    Ok(interrupted::judged(exit_code(status)))
}

/// Says what the compiler has to say of a cell: as the last cell was compiled, but without making anything of it. Where that does not hold
/// any more, `real`, the real cargo, is asked to build it.
pub fn check(real: &Path, note_taker: &Path) -> Result<ExitCode, Trouble> {
    let kept = Path::new("target/candle-lens-cell.json");
    let folder = std::env::current_dir().map_err(|source| Trouble::file("Finding", Path::new("."), &source))?;
    if let Some(call) =
        known(&folder.join(kept), &asked()).map(|known| known.check(&folder.join("target/candle-lens-check")))
    {
        return explain::compile(call).map(interrupted::judged);
    }
    let mut build = real_tool(real, as_build(std::env::args_os().skip(1)));
    listen(&mut build, note_taker);
    become_program(build).map_err(|source| Trouble::file("Starting", real, &source))
}

/// As the compiler's wrapper: notes how cargo calls the compiler for a cell, lets the library be compiled on the workbench, and goes on as
/// the compiler for all else.
pub fn take_note() -> Result<ExitCode, Trouble> {
    let mut arguments = std::env::args_os().skip(1);
    let compiler = PathBuf::from(arguments.next().unwrap_or_default());
    let arguments: Vec<OsString> = arguments.collect();
    // The template's is nobody's cell.
    let of_cell = std::env::var_os(FOLDER).is_some() && arguments.iter().any(|word| word == CELL);
    if let (Some(note), Some(path)) = (note(), std::env::var_os(NOTE)) {
        write(Path::new(&path), &note.to_string())?;
    }
    let mut call = Command::new(&compiler);
    call.args(&arguments).args(of_cell.then_some(QUIET)).env_remove(WRAPPER).env_remove(NOTE);
    if of_cell {
        return explain::compile(call);
    }
    if let Some(job) = Job::of(&arguments) {
        return job.compile(call);
    }
    become_program(call).map_err(|source| Trouble::file("Starting", &compiler, &source))
}

/// The call that this process is, if it is a cell's and can be written down.
fn note() -> Option<Value> {
    let mut call: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect::<Option<_>>()?;
    if after(&call, "--crate-name")? != CELL {
        return None;
    }
    call.push(QUIET.into());
    let environment: Map<String, Value> = std::env::vars_os()
        .filter(|(name, _)| name != NOTE && name != WRAPPER && !JOBS.iter().any(|jobs| name == jobs))
        .map(|(name, value)| Some((name.into_string().ok()?, Value::from(value.into_string().ok()?))))
        .collect::<Option<_>>()?;
    let folder = std::env::current_dir().ok()?;
    Some(json!({ "folder": folder.to_str()?, "call": call, "environment": environment }))
}

/// Puts the note of a build that began at `started` in force; a source that changed since counts as newer. Of the environment
/// only what cargo added is kept: the rest is ours the next time too, and is nobody's business on a disk.
fn keep(taken: &Path, kept: &Path, asked: &str, started: SystemTime) -> Option<()> {
    let mut note: Value = serde_json::from_slice(&fs::read(taken).ok()?).ok()?;
    note["asked"] = asked.into();
    note["settings"] = settings(Path::new(note["call"][0].as_str()?))?.into();
    note["environment"]
        .as_object_mut()?
        .retain(|name, value| std::env::var_os(name).as_deref() != value.as_str().map(OsStr::new));
    write(kept, &note.to_string()).ok()?;
    File::options().write(true).open(kept).and_then(|file| file.set_modified(started)).ok()
}

/// How the compiler was called for the last cell that cargo compiled, if it would be called so again.
fn known(kept: &Path, asked: &str) -> Option<Known> {
    let since = fs::metadata(kept).and_then(|data| data.modified()).ok()?;
    let note: Value = serde_json::from_slice(&fs::read(kept).ok()?).ok()?;
    let words: Vec<String> = serde_json::from_value(note["call"].clone()).ok()?;
    let (compiler, arguments) = words.split_first()?;
    let older = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).is_ok_and(|at| at < since);
    let same = note["asked"] == asked && note["settings"] == settings(Path::new(compiler))?;
    if !same || !decisive(&template::compiled_sources(kept.parent()?, kept.parent()?.parent()?)?)?.iter().all(older) {
        return None;
    }
    let environment = note["environment"].as_object()?.iter();
    Some(Known {
        compiler: compiler.into(),
        arguments: arguments.to_vec(),
        folder: note["folder"].as_str()?.into(),
        environment: environment
            .map(|(name, value)| Some((name.clone(), value.as_str()?.into())))
            .collect::<Option<_>>()?,
    })
}

/// A call of the compiler that can be repeated.
struct Known {
    compiler: String,
    arguments: Vec<String>,
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Known {
    /// The call that compiles the cell there is now.
    fn build(mut self) -> Option<Command> {
        let made = Path::new(after(&self.arguments, "--out-dir")?).join(format!("{DLL_PREFIX}{CELL}{DLL_SUFFIX}"));
        // It may be one file with a cell that is loaded, which must not change.
        let _ = fs::remove_file(&made);
        fs::write(std::env::var_os(COMPILED)?, made.to_str()?).ok()?;
        let source = fs::read_to_string("src/lib.rs").ok()?;
        let level = level::level(&source, &fs::read_to_string(SETTINGS[0]).ok()?);
        self.replace("opt-level=", &level);
        Some(self.call())
    }

    /// The call that only looks at it; what the compiler leaves, which nobody reads, goes to `scratch`.
    fn check(mut self, scratch: &Path) -> Command {
        self.replace("--emit=", "metadata");
        if let Some(place) = self.arguments.iter().position(|word| word == "--out-dir") {
            self.arguments[place + 1] = scratch.display().to_string();
        }
        self.call()
    }

    fn replace(&mut self, name: &str, value: &str) {
        for word in self.arguments.iter_mut().filter(|word| word.starts_with(name)) {
            *word = format!("{name}{value}");
        }
    }

    fn call(self) -> Command {
        let mut call = Command::new(self.compiler);
        call.args(self.arguments).current_dir(self.folder).envs(self.environment);
        call
    }
}

/// The files by whose age a crate by path is judged: its sources and all manifests above them; none if one of these crates has a
/// build script, whose reasons to run only cargo knows.
fn decisive(sources: &[PathBuf]) -> Option<BTreeSet<PathBuf>> {
    let folders: BTreeSet<&Path> = sources.iter().filter_map(|source| source.parent()).collect();
    let above: BTreeSet<&Path> = folders.into_iter().flat_map(Path::ancestors).collect();
    let manifests = above.iter().map(|folder| folder.join("Cargo.toml")).filter(|path| path.is_file());
    let mut files: BTreeSet<PathBuf> = manifests.collect();
    if files.iter().any(|manifest| manifest.with_file_name("build.rs").is_file()) {
        return None;
    }
    files.extend(sources.iter().cloned());
    Some(files)
}

/// What cargo is called with: the arguments and the environment. A check is asked for as a build is.
fn asked() -> String {
    let mut variables: Vec<_> = std::env::vars_os().filter(|(name, _)| name != COMPILED).collect();
    variables.sort();
    let arguments: Vec<_> = as_build(std::env::args_os().skip(1)).collect();
    digest(format!("{arguments:?} {variables:?}").as_bytes())
}

/// All that decides how a cell is compiled besides what cargo is called with: manifests, settings of cargo in all folders above and in
/// its own, and the compiler's age.
fn settings(compiler: &Path) -> Option<String> {
    let folder = std::env::current_dir().ok()?;
    let above = folder.ancestors().map(|folder| folder.join(".cargo/config.toml"));
    let own = real_cargo_home()?.join("config.toml");
    let files = SETTINGS.iter().map(PathBuf::from).chain(above).chain([own]);
    let mut content: Vec<u8> = files.flat_map(|path| fs::read(path).unwrap_or_default()).collect();
    let age = fs::metadata(compiler).and_then(|data| data.modified()).ok()?;
    content.extend(format!("{age:?}").into_bytes());
    Some(digest(&content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_count_and_build_scripts_are_left_to_cargo() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-cells-{}", std::process::id()));
        let (manifest, source) = (folder.join("mine/Cargo.toml"), folder.join("mine/src/deep/lib.rs"));
        write(&manifest, "").unwrap();
        write(&source, "").unwrap();
        let files = decisive(std::slice::from_ref(&source)).unwrap();
        assert!(files.contains(&manifest) && files.contains(&source));
        write(&folder.join("mine/build.rs"), "").unwrap();
        assert!(decisive(std::slice::from_ref(&source)).is_none());
        crate::steps::remove_folder(&folder).unwrap();
    }

    #[test]
    fn a_check_is_the_build_without_a_result() {
        let words =
            "--crate-name ctx --emit=dep-info,link -C opt-level=3 --out-dir /t/debug/deps --extern a=/t/liba.so";
        let known = Known {
            compiler: "rustc".into(),
            arguments: words.split(' ').map(String::from).collect(),
            folder: "/t".into(),
            environment: Vec::new(),
        };
        let check = known.check(Path::new("/t/check"));
        let expected = "--crate-name ctx --emit=metadata -C opt-level=3 --out-dir /t/check --extern a=/t/liba.so";
        assert!(check.get_args().eq(expected.split(' ')));
        let asked = as_build(["--offline", "check", "--target", "x"].map(OsString::from).into_iter());
        assert!(asked.eq(["--offline", "build", "--target", "x"].map(OsString::from)));
    }

    #[test]
    fn the_word_after_another() {
        let words = ["rustc", "--crate-name", "ctx"].map(String::from);
        assert_eq!(after(&words, "--crate-name"), Some(&"ctx".into()));
        assert_eq!(after(&words, "ctx"), None);
    }
}
