//! A cell's compilation without cargo, while nothing but the cell has changed.
//!
//! For every cell evcxr calls `cargo build`, which looks at all 300 crates (0.3 s) before it calls the compiler. So a
//! kernel's cargo (see `tools.rs`) notes how the real cargo calls the compiler for a cell, and calls it so itself the next
//! time, if cargo would be asked the same, the manifests and settings are the same, and no source of a crate by path has
//! changed since. Otherwise the real cargo is asked, as for a new `:dep`.

use crate::process::{become_program, exit_code};
use crate::steps::{digest, write};
use crate::trouble::Trouble;
use crate::{level, template};
use serde_json::{Map, Value, json};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

/// Where the compiler's wrapper, which is this program too, notes the call.
const NOTE: &str = "CANDLE_LENS_NOTE";

/// By which cargo is told of a program to call in the compiler's place.
const WRAPPER: &str = "RUSTC_WRAPPER";

/// The file in which evcxr finds the path of what was compiled.
const COMPILED: &str = "EVCXR_EXECUTION_SO_PATH";

/// The crate that evcxr makes of a cell.
const CELL: &str = "ctx";

/// What decides, beside the cell, how it is compiled; in evcxr's folder.
const SETTINGS: [&str; 4] = ["Cargo.toml", ".cargo/config.toml", "../Cargo.toml", "../Cargo.lock"];

/// Whether cargo is asked to build.
pub fn is_build(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.find(|argument| !argument.starts_with('-')).is_some_and(|first| first == "build")
}

/// Compiles a cell: as the last time, or by `cargo`, which is the real one with evcxr's arguments.
///
/// The working directory is evcxr's folder.
pub fn build(mut cargo: Command, note_taker: &Path) -> Result<ExitCode, Trouble> {
    let failed = |source| Trouble::file("Compiling the cell in", Path::new("."), &source);
    let folder = std::env::current_dir().map_err(failed)?;
    let (kept, taken) = (folder.join("target/candle-lens-cell.json"), folder.join("target/candle-lens-cell.taken"));
    let asked = asked();
    if let Some(call) = known(&kept, &asked) {
        return become_program(call).map_err(failed);
    }
    // evcxr's own wrapper, which some of its settings ask for, stays what it is.
    if std::env::var_os(WRAPPER).is_none() {
        cargo.env(WRAPPER, note_taker).env(NOTE, &taken);
    }
    let started = SystemTime::now();
    let _ = fs::remove_file(&taken);
    let status = cargo.status().map_err(failed)?;
    if status.success() && keep(&taken, &kept, &asked, started).is_none() {
        let _ = fs::remove_file(kept);
    }
    Ok(exit_code(status))
}

/// As the compiler's wrapper: notes how cargo calls the compiler for a cell, and goes on as the compiler.
pub fn take_note() -> Result<ExitCode, Trouble> {
    let mut arguments = std::env::args_os().skip(1);
    let compiler = PathBuf::from(arguments.next().unwrap_or_default());
    if let (Some(note), Some(path)) = (note(), std::env::var_os(NOTE)) {
        write(Path::new(&path), &note.to_string())?;
    }
    let mut call = Command::new(&compiler);
    call.args(arguments).env_remove(WRAPPER).env_remove(NOTE);
    become_program(call).map_err(|source| Trouble::file("Starting", &compiler, &source))
}

/// The call that this process is, if it is a cell's and can be written down.
fn note() -> Option<Value> {
    let call: Vec<String> = std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect::<Option<_>>()?;
    if after(&call, "--crate-name")? != CELL {
        return None;
    }
    let environment: Map<String, Value> = std::env::vars_os()
        .filter(|(name, _)| name != NOTE && name != WRAPPER)
        .map(|(name, value)| Some((name.into_string().ok()?, Value::from(value.into_string().ok()?))))
        .collect::<Option<_>>()?;
    let folder = std::env::current_dir().ok()?;
    Some(json!({ "folder": folder.to_str()?, "call": call, "environment": environment }))
}

/// The word after another one.
fn after<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
}

/// Puts the note of a build that began at `started` in force; a source that changed since counts as newer.
fn keep(taken: &Path, kept: &Path, asked: &str, started: SystemTime) -> Option<()> {
    let mut note: Value = serde_json::from_slice(&fs::read(taken).ok()?).ok()?;
    note["asked"] = asked.into();
    note["settings"] = settings().into();
    fs::remove_file(kept).or_else(|error| if kept.exists() { Err(error) } else { Ok(()) }).ok()?;
    write(kept, &note.to_string()).ok()?;
    File::options().write(true).open(kept).and_then(|file| file.set_modified(started)).ok()
}

/// How the compiler was called for the last cell that cargo compiled, if it would be called so again.
fn known(kept: &Path, asked: &str) -> Option<Command> {
    let since = fs::metadata(kept).and_then(|data| data.modified()).ok()?;
    let note: Value = serde_json::from_slice(&fs::read(kept).ok()?).ok()?;
    let sources = template::compiled_sources(kept.parent()?, kept.parent()?.parent()?)?;
    let older = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).is_ok_and(|at| at < since);
    if note["asked"] != asked || note["settings"] != settings() || !sources.iter().all(older) {
        return None;
    }
    let words: Vec<String> = serde_json::from_value(note["call"].clone()).ok()?;
    let (compiler, arguments) = words.split_first()?;
    let made = Path::new(after(arguments, "--out-dir")?).join(format!("{DLL_PREFIX}{CELL}{DLL_SUFFIX}"));
    fs::write(std::env::var_os(COMPILED)?, made.to_str()?).ok()?;
    let source = fs::read_to_string("src/lib.rs").ok()?;
    let level = level::level(&source, &fs::read_to_string(SETTINGS[0]).ok()?);
    let arguments = arguments
        .iter()
        .map(|word| if word.starts_with("opt-level=") { format!("opt-level={level}") } else { word.clone() });
    let mut call = Command::new(compiler);
    call.args(arguments).env_clear().current_dir(note["folder"].as_str()?);
    for (name, value) in note["environment"].as_object()? {
        call.env(name, value.as_str()?);
    }
    Some(call)
}

/// What cargo is asked: the arguments and the environment.
fn asked() -> String {
    let mut variables: Vec<_> = std::env::vars_os().collect();
    variables.sort();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    digest(format!("{arguments:?} {variables:?}").as_bytes())
}

fn settings() -> String {
    digest(&SETTINGS.iter().flat_map(|path| fs::read(path).unwrap_or_default()).collect::<Vec<_>>())
}
