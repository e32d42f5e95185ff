//! The cargo and the rustup that a kernel calls: this launcher, which passes the calls on to the real ones.
//!
//! It changes one answer, that of `cargo metadata` (see `metadata.rs`). evcxr calls the cargo that `rustup which cargo` names,
//! or else the first on the path; its rust-analyzer calls that of `$CARGO_HOME/bin`. So a kernel gets its own folder that
//! is first on its path and its `CARGO_HOME`. The real cargo is called with the real `CARGO_HOME`.

use super::{are_off, cells, interrupted, metadata};
use crate::process::{
    become_program, cargo_home, command, exit_code, link_launcher, on_path, program_file, search_path,
};
use crate::steps::make_folder;
use crate::template::workbench::COMPILER;
use crate::trouble::Trouble;
use crate::{features, kernelspec};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// Environment variables that say where the real tools are.
const CARGO: &str = "CANDLE_LENS_CARGO";
const RUSTUP: &str = "CANDLE_LENS_RUSTUP";
const HOME: &str = "CANDLE_LENS_CARGO_HOME";

/// A tool that this program is called as.
pub enum Tool {
    /// `cargo`; the real one.
    Cargo(PathBuf),
    /// `rustup`; the real one.
    Rustup(PathBuf),
    /// The compiler's wrapper.
    Compiler,
}

/// Makes `kernel` call us for cargo and rustup, by way of the folder `home`. Where no cargo is found, nothing is changed.
pub fn stand_in(kernel: &mut Command, home: &Path) -> Result<(), Trouble> {
    let Some(real_home) = cargo_home() else { return Ok(()) };
    let rustup = on_path("rustup");
    let Some(cargo) = rustup.as_deref().and_then(chosen_cargo).or_else(|| on_path("cargo")) else { return Ok(()) };
    let bin = home.join("bin");
    make_folder(&bin)?;
    link_launcher(&bin, "cargo")?;
    if let Some(rustup) = rustup {
        link_launcher(&bin, "rustup")?;
        kernel.env(RUSTUP, rustup);
    }
    link_launcher(&bin, COMPILER)?;
    let path = search_path();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
    kernel.env("PATH", path.unwrap_or_default()).env("CARGO_HOME", home).env(CARGO, cargo).env(HOME, real_home);
    Ok(())
}

/// Cargo's own folder, passed to a kernel's cargo, whose `CARGO_HOME` is another one.
pub fn real_cargo_home() -> Option<PathBuf> {
    std::env::var_os(HOME).map(PathBuf::from)
}

/// The cargo of the toolchain that rustup chooses here; calling it directly is quicker.
fn chosen_cargo(rustup: &Path) -> Option<PathBuf> {
    let output = command(rustup).args(["which", "cargo"]).stderr(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    path.is_file().then_some(path)
}

/// The tool that a kernel calls this program as, if it does.
pub fn called_as() -> Option<Tool> {
    let name = PathBuf::from(std::env::args_os().next()?);
    let real = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    match name.file_stem()?.to_str()? {
        "cargo" => real(CARGO).map(Tool::Cargo),
        "rustup" => real(RUSTUP).map(Tool::Rustup),
        COMPILER => Some(Tool::Compiler),
        _ => None,
    }
}

/// Answers in a tool's place.
pub fn answer(tool: Tool) -> Result<ExitCode, Trouble> {
    interrupted::listen();
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if let (true, Tool::Cargo(real)) = (are_off(), &tool) {
        return hand_on(real);
    }
    match tool {
        Tool::Cargo(real) if first == "metadata" => list(&real),
        Tool::Cargo(real) if cells::is_build(std::env::args().skip(1)) => {
            cells::build(real_tool(&real, own()), &note_taker()?)
        }
        // By it evcxr finds what it says of a cell whose variables have no type that it can write down.
        Tool::Cargo(real) if cells::is_check(std::env::args().skip(1)) => cells::check(&real, &note_taker()?),
        Tool::Cargo(real) => hand_on(&real),
        Tool::Compiler => cells::take_note(),
        Tool::Rustup(_) if std::env::args_os().skip(1).eq(["which", "cargo"].map(OsStr::new)) => {
            println!("{}", kernelspec::launcher()?.with_file_name(program_file("cargo")).display());
            Ok(ExitCode::SUCCESS)
        }
        Tool::Rustup(real) => hand_on(&real),
    }
}

/// The program that cargo calls in the compiler's place.
fn note_taker() -> Result<PathBuf, Trouble> {
    Ok(kernelspec::launcher()?.with_file_name(program_file(COMPILER)))
}

/// Our own arguments.
fn own() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// The real tool with these arguments, and, where it builds a cell, the library's features (`features.rs`).
pub fn real_tool(real: &Path, arguments: impl Iterator<Item = OsString>) -> Command {
    let mut tool = command(real);
    let arguments: Vec<OsString> = arguments.collect();
    let names = std::env::var(features::VARIABLE).unwrap_or_default();
    if arguments.iter().any(|word| word == "build" || word == "check")
        && let Some(more) = features::arguments(&names, &std::fs::read_to_string("Cargo.toml").unwrap_or_default())
    {
        tool.args(&arguments).args(more);
    } else {
        tool.args(arguments);
    }
    if let Some(home) = real_cargo_home() {
        tool.env("CARGO_HOME", home);
    }
    tool
}

fn hand_on(real: &Path) -> Result<ExitCode, Trouble> {
    become_program(real_tool(real, own())).map_err(|source| Trouble::file("Starting", real, &source))
}

/// The real cargo's list of dependencies, narrowed where it is a kernel's. Where evcxr only asks whether the library can be a
/// dependency, which it is, no answer is enough.
fn list(real: &Path) -> Result<ExitCode, Trouble> {
    let cells = std::env::var_os("EVCXR_TMPDIR").map(PathBuf::from).unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(cells.join(path)).unwrap_or_default();
    let manifest = read("Cargo.toml");
    if metadata::is_known(&manifest, &read("../anchor/Cargo.toml")) {
        return Ok(ExitCode::SUCCESS);
    }
    let output = real_tool(real, own()).stdout(Stdio::piped()).spawn().and_then(Child::wait_with_output);
    let output = output.map_err(|source| Trouble::file("Starting", real, &source))?;
    let narrowed = metadata::narrowed(&output.stdout, &manifest).map(|narrowed| format!("{narrowed}\n").into_bytes());
    std::io::stdout()
        .write_all(&narrowed.unwrap_or(output.stdout))
        .map_err(|source| Trouble::file("Handing on the answer of", real, &source))?;
    Ok(exit_code(output.status))
}
