//! The Python side: virtual environments, every package at a pinned version.

use crate::places::Places;
use crate::process::{command, run};
use crate::steps::{digest, remove_folder, step, write};
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment: its name and its packages.
pub struct Packages {
    name: &'static str,
    requirements: &'static str,
}

/// What notebooks need.
pub const JUPYTER: Packages = Packages { name: "jupyter", requirements: include_str!("../jupyter/requirements.txt") };

/// What the browser tests need besides.
pub const BROWSER: Packages = Packages { name: "browser", requirements: include_str!("../browser/requirements.txt") };

/// The variable that names a Python which has what a kernel's client needs (jupyter_client, nbformat), as the one has that the
/// launcher's Python package is installed in: then no environment is made.
const GIVEN: &str = "CANDLE_LENS_PYTHON";

/// The oldest Python that the pinned packages run on.
const OLDEST: (u32, u32) = (3, 9);

/// Prints the version, then fails where a virtual environment cannot be made.
const PROBE: &str = "import sys; print(*sys.version_info[:2], flush=True); import venv, ensurepip";

/// A Python that will do.
struct Python {
    program: &'static [&'static str],
    version: (u32, u32),
}

/// What one candidate turned out to be.
#[derive(Debug, PartialEq)]
enum Probe {
    Good((u32, u32)),
    Absent,
    TooOld(u32, u32),
    NoVenv(u32, u32),
}

/// A word on the Python that was found, or what is wrong with all of them.
pub fn describe() -> Result<String, Trouble> {
    let Python { program, version: (major, minor) } = find()?;
    Ok(format!("{} {major}.{minor}", program.join(" ")))
}

/// A word on an environment, or that there is none.
pub fn find_environment(places: &Places, packages: &Packages) -> Result<String, Trouble> {
    let python = existing(places, packages)?;
    if given(packages).is_some() {
        return Ok(format!("that of {}", python.display()));
    }
    Ok(folder(places, packages, &find()?).display().to_string())
}

/// The Python of an environment that is there.
pub fn existing(places: &Places, packages: &Packages) -> Result<PathBuf, Trouble> {
    if let Some(python) = given(packages) {
        return has_client(python);
    }
    let folder = folder(places, packages, &find()?);
    if is_whole(&folder) {
        return Ok(inside(&folder));
    }
    Err(Trouble::new(
        format!("{} is not there or was left half made.", folder.display()),
        "Run `cargo lab setup` (about 1 minute, with the network).",
    ))
}

/// Whether there is a Python from which an environment can be made, or a right one is given; said before anything takes time.
pub fn refuse(packages: &Packages) -> Result<(), Trouble> {
    match given(packages) {
        Some(python) => has_client(python).map(drop),
        None => find().map(drop),
    }
}

/// The Python that the environment names for these packages.
fn given(packages: &Packages) -> Option<PathBuf> {
    let named = std::env::var_os(GIVEN).filter(|path| !path.is_empty()).map(PathBuf::from);
    named.filter(|_| packages.name == JUPYTER.name)
}

fn has_client(python: PathBuf) -> Result<PathBuf, Trouble> {
    let tried = command(&python).args(["-c", "import jupyter_client, nbformat"]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    Err(Trouble::new(
        format!("{}, which {GIVEN} names, cannot import jupyter_client and nbformat.", python.display()),
        format!("`{} -m pip install jupyter_client nbformat`, or unset the variable.", python.display()),
    ))
}

/// The environment for this Python and these packages.
fn folder(places: &Places, packages: &Packages, python: &Python) -> PathBuf {
    let (major, minor) = python.version;
    let key = digest(packages.requirements.as_bytes());
    places.cache.join(format!("{}-{key}-python{major}.{minor}", packages.name))
}

fn inside(folder: &Path) -> PathBuf {
    if cfg!(windows) { folder.join("Scripts/python.exe") } else { folder.join("bin/python") }
}

fn is_whole(folder: &Path) -> bool {
    folder.join("ready").is_file() && inside(folder).is_file()
}

/// The environment's Python; the environment is made if it is missing or was left half made.
pub fn environment(places: &Places, packages: &Packages) -> Result<PathBuf, Trouble> {
    if let Some(python) = given(packages) {
        return has_client(python);
    }
    let python = find()?;
    let folder = folder(places, packages, &python);
    let inside = inside(&folder);
    if is_whole(&folder) {
        return Ok(inside);
    }
    step(&format!("Installing Python packages in {} (about 1 minute)", folder.display()), || {
        remove_folder(&folder)?;
        pip(&folder)?;
        install(packages, &folder)?;
        write(&folder.join("ready"), "Written last: the environment is whole.\n")
    })?;
    Ok(inside)
}

/// The first Python that will do, with what belongs to its standard library.
pub fn interpreter() -> Result<Command, Trouble> {
    Ok(find()?.command())
}

/// Makes an environment in `folder` that holds only pip, and returns that pip.
pub fn pip(folder: &Path) -> Result<Command, Trouble> {
    run(interpreter()?.arg("-m").arg("venv").arg(folder), "Read Python's message above; it must be able to make one.")?;
    Ok(pip_in(folder))
}

/// The pip of the environment in `folder`.
pub fn pip_in(folder: &Path) -> Command {
    let mut pip = command(inside(folder));
    pip.args(["-m", "pip"]);
    pip
}

fn install(packages: &Packages, folder: &Path) -> Result<(), Trouble> {
    let list = folder.join("requirements.txt");
    write(&list, packages.requirements)?;
    let mut pip = pip_in(folder);
    pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"]).arg(&list);
    run(
        &mut pip,
        "Read pip's message above. It needs the network (or its own settings for a mirror); then start again.",
    )
}

/// The first Python that will do.
fn find() -> Result<Python, Trouble> {
    const CANDIDATES: [&[&str]; 3] = [&["python3"], &["python"], &["py", "-3"]];
    let mut seen = String::new();
    for program in CANDIDATES {
        let result = probe(program);
        if let Probe::Good(version) = result {
            return Ok(Python { program, version });
        }
        seen.push_str(&tell(program[0], &result));
    }
    Err(Trouble::new(
        format!("No Python was found that can make virtual environments:{seen}"),
        format!(
            "Install Python {}.{} or newer with its venv module (Debian and Ubuntu: apt install python3 python3-venv; \
             others: https://www.python.org/downloads/), and start again.",
            OLDEST.0, OLDEST.1
        ),
    ))
}

fn probe(program: &[&str]) -> Probe {
    let Ok(output) = command(program[0]).args(&program[1..]).args(["-c", PROBE]).output() else {
        return Probe::Absent;
    };
    understand(&String::from_utf8_lossy(&output.stdout), output.status.success())
}

/// Reads what the probe printed and whether it succeeded.
fn understand(printed: &str, succeeded: bool) -> Probe {
    let mut numbers = printed.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Probe::Absent;
    };
    if (major, minor) < OLDEST {
        Probe::TooOld(major, minor)
    } else if succeeded {
        Probe::Good((major, minor))
    } else {
        Probe::NoVenv(major, minor)
    }
}

fn tell(name: &str, probe: &Probe) -> String {
    match probe {
        Probe::Good(_) => String::new(),
        Probe::Absent => format!("\n  {name}: not there, or it does not run"),
        Probe::TooOld(major, minor) => format!("\n  {name}: {major}.{minor}, older than {}.{}", OLDEST.0, OLDEST.1),
        Probe::NoVenv(major, minor) => format!("\n  {name}: {major}.{minor}, without the modules venv and ensurepip"),
    }
}

impl Python {
    fn command(&self) -> Command {
        let mut command = command(self.program[0]);
        command.args(&self.program[1..]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_understood() {
        assert_eq!(understand("3 11\n", true), Probe::Good((3, 11)));
        assert_eq!(understand("3 9\n", true), Probe::Good((3, 9)));
        assert_eq!(understand("3 8\n", true), Probe::TooOld(3, 8));
        assert_eq!(understand("2 7\n", false), Probe::TooOld(2, 7));
        assert_eq!(understand("3 12\n", false), Probe::NoVenv(3, 12));
        assert_eq!(understand("Python was not found; run without arguments", false), Probe::Absent);
    }

    #[test]
    fn every_requirement_is_pinned_to_its_files() {
        for (packages, main) in [(JUPYTER, "jupyterlab=="), (BROWSER, "playwright==")] {
            let whole = packages.requirements.replace("\\\n", "");
            let lines: Vec<_> = whole.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.iter().any(|line| line.starts_with(main)));
            for line in lines {
                assert!(line.contains("=="), "{line} has no exact version");
                assert!(line.contains("--hash=sha256:"), "{line} has no hash of its files");
            }
        }
    }
}
