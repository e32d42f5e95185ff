//! The step `wheel`: the Python package is built (lab/wheel), installed in a new environment of a new user, whose home has spaces and
//! other letters than English in its name, and gives this user's Jupyter a kernel that computes.
//!
//! The environment has the Jupyter of `cargo lab setup` below it and pip only a local folder, so nothing is downloaded. What the kernel
//! would compile is copied from this clone's template, or the step would take six minutes more.

use crate::check::{Count, succeeds};
use crate::places::{self, Places};
use crate::process::{cargo_home, command, line, run};
use crate::session::Jupyter;
use crate::steps::{digest, make_folder, remove_folder, write};
use crate::trouble::Trouble;
use crate::{copies, evcxr, python, setup, template};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The client that starts the kernel as any Jupyter does.
pub const TRY: &str = include_str!("../wheel/try.py");

/// What to do about a program that pip has installed and that does not start.
const FIX: &str = "Read the message above; the package may have been built for another system.";

/// What a machine without Rust is told.
const GET_RUST: &str = "https://sh.rustup.rs";

/// Builds, installs and tries the package.
pub fn packed(places: &Places) -> Result<Count, Trouble> {
    if cfg!(windows) {
        let needs = "the Python package: is tried on Unix only".into();
        return Ok(Count { left_out: vec![needs], ..Count::default() });
    }
    let jupyter = setup::everything(places)?;
    let folder = std::env::temp_dir().join(format!("candle-lens-wheel-{}", std::process::id()));
    remove_folder(&folder)?;
    let user = NewUser::at(folder.join("Zo\u{eb} M\u{fc}ller"));
    let tried = user.install(places, &jupyter, &folder).and_then(|program| user.tries(places, &program));
    remove_folder(&folder)?;
    tried
}

/// Somebody on a machine that has Rust and Jupyter, and nothing of ours.
pub struct NewUser {
    /// The home folder.
    pub home: PathBuf,
    environment: PathBuf,
}

impl NewUser {
    /// The user with this home; all else of theirs is beside it.
    pub fn at(home: PathBuf) -> Self {
        Self { environment: home.with_file_name("environment"), home }
    }

    /// The package's command, as pip has made it.
    fn install(&self, places: &Places, jupyter: &Jupyter, folder: &Path) -> Result<PathBuf, Trouble> {
        let mut pip = python::pip(&self.environment)?;
        let wheels = folder.join("wheels");
        pip.args(["wheel", "--quiet", "--no-deps", "--no-index", "--wheel-dir"]).arg(&wheels);
        pip.arg(places.root.join("lab/wheel")).env("CANDLE_LENS_EVCXR", evcxr::program(&places.cache));
        run(&mut pip, "Read pip's message above.")?;
        for wheel in wheels.read_dir().into_iter().flatten().flatten() {
            let size = wheel.metadata().map_or(0, |data| data.len());
            println!("    {}: {:.1} MB", wheel.file_name().display(), size as f64 / 1e6);
        }
        let own = packages_of(&self.environment.join("bin/python"))?;
        let others = packages_of(jupyter.interpreter())?;
        write(&own.join("jupyter.pth"), &format!("{}\n", others.display()))?;
        let mut pip = python::pip_in(&self.environment);
        pip.args(["install", "--quiet", "--no-index", "--find-links"]).arg(&wheels).arg("candle-lens-kernel");
        run(&mut pip, "Read pip's message above.")?;
        Ok(self.environment.join("bin/candle-lens-kernel"))
    }

    /// What the user types.
    fn tries(&self, places: &Places, program: &Path) -> Result<Count, Trouble> {
        let cache = self.cache();
        let lab = cache.join(format!("clone-{}", digest(places.root.as_os_str().as_encoded_bytes())));
        make_folder(&lab)?;
        copies::seed(&places.lab, &lab)?;
        let library = |command: &str| {
            let mut command_line = self.command(program);
            command_line.arg(command).arg("--path").arg(&places.root);
            command_line
        };
        let mut count = says(library("install").env_remove(places::CACHE), &format!("Set {} to", places::CACHE))?;
        count.add(succeeds(library("install").arg("--sys-prefix"))?);
        count.add(succeeds(&mut library("doctor"))?);
        let script = self.home.join("try.py");
        write(&script, TRY)?;
        count.add(succeeds(self.command(self.environment.join("bin/python")).arg(script).arg(&self.home))?);
        let untouched = template::is_built(&lab) && evcxr::describe(&cache).is_ok();
        count.add(Count::one(untouched));
        let mut without_rust = library("install");
        without_rust.env("PATH", &self.home).env_remove("CARGO_HOME").env_remove("RUSTC");
        count.add(says(&mut without_rust, GET_RUST)?);
        Ok(count)
    }

    /// The folder that the user names for it, because the home's path has a space.
    fn cache(&self) -> PathBuf {
        self.home.with_file_name("Zo\u{eb}s-cache")
    }

    /// A program as this user starts it: none of our settings, and the Rust that is there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = command(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("XDG_") || text.starts_with("CANDLE_LENS_") || text.starts_with("JUPYTER_") {
                command.env_remove(&name);
            }
        }
        let user = std::env::home_dir().unwrap_or_default();
        let rustup = std::env::var_os("RUSTUP_HOME").map_or_else(|| user.join(".rustup"), PathBuf::from);
        command.env("HOME", &self.home).env("RUSTUP_HOME", rustup).env(places::CACHE, self.cache());
        if let Some(cargo) = cargo_home() {
            command.env("CARGO_HOME", cargo);
        }
        command
    }
}

/// A command that must fail and say what to do is one test.
fn says(command: &mut Command, what: &str) -> Result<Count, Trouble> {
    let output =
        command.output().map_err(|source| Trouble::new(format!("{} did not start: {source}.", line(command)), FIX))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_told = !output.status.success() && said.contains(what);
    if !is_told {
        println!("    {} must fail and say {what:?}, and said:\n{said}", line(command));
    }
    Ok(Count::one(is_told))
}

/// The folder of a Python's packages.
fn packages_of(python: &Path) -> Result<PathBuf, Trouble> {
    let mut ask = command(python);
    ask.args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]);
    let output = ask.output().map_err(|source| Trouble::file("Starting", python, &source))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
