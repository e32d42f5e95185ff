//! The step `homes`: kernels where folders cannot be written, and where the disk is full (Linux, where namespaces may be made).
//!
//! Read-only mounts and a small disk in memory stand for another user's installation, a clone that somebody else owns and a full home. Each
//! is seen by the command that is tried alone. (A home with a space in its path is in `wheel.rs`.)

use crate::check::Count;
use crate::places::{self, Places};
use crate::process::{command, on_path};
use crate::steps::{make_folder, remove_folder, write};
use crate::trouble::Trouble;
use crate::wheel::{NewUser, TRY};
use crate::{kernelspec, setup};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts and runs.
const SCRIPT: &str = include_str!("homes.sh");

/// A home that holds locks and notes, and no copy of a template.
const SMALL: &str = "1m";

/// Tries them all.
pub fn elsewhere(places: &Places) -> Result<Count, Trouble> {
    if !has_namespaces() {
        let needs = "read-only folders and full disks: need Linux and `unshare --mount --map-root-user`";
        return Ok(Count { left_out: vec![needs.into()], ..Count::default() });
    }
    let jupyter = setup::everything(places)?;
    // Outside the clone, which is read-only in some of the trials.
    let folder = std::env::temp_dir().join(format!("candle-lens-homes-{}", std::process::id()));
    remove_folder(&folder)?;
    let machine = Machine { user: NewUser::at(folder.join("home")), folder: folder.clone() };
    let mut count = Count::default();
    let client = |machine: &Machine| {
        let mut client = machine.user.command(jupyter.interpreter());
        client.env(places::CACHE, &places.cache).arg(machine.folder.join("try.py")).arg("/");
        client
            .env("JUPYTER_PATH", places.lab.join("jupyter"))
            .env("JUPYTER_RUNTIME_DIR", machine.folder.join("runtime"));
        client
    };
    let (lab, whole) = (&places.lab, "0");
    count.add(machine.tries(
        "another user's installation",
        lab,
        whole,
        &client(&machine),
        &["logits: [1, ", "ended with 0"],
    )?);
    let full = ["No space left on device", "Check that the disk is not full", "ended with 1, and left 0"];
    count.add(machine.tries("a full home", lab, SMALL, &client(&machine), &full)?);
    let mut doctor = machine.user.command(kernelspec::launcher()?);
    doctor.arg("doctor").env_remove(places::CACHE);
    let own = machine.user.home.join(".cache/candle-lens/clone-");
    let moved = format!(".lab cannot be written: what belongs there goes to {}", own.display());
    count.add(machine.tries(
        "a read-only clone",
        &places.root,
        whole,
        &doctor,
        &[&moved, "`cargo lab setup` makes what is missing"],
    )?);
    remove_folder(&folder)?;
    Ok(count)
}

/// A user on a machine whose folders are as they are for each trial.
struct Machine {
    user: NewUser,
    folder: PathBuf,
}

impl Machine {
    /// A command, with `read_only` read-only and a home of this size, must say all these texts.
    fn tries(
        &self,
        what: &str,
        read_only: &Path,
        size: &str,
        tried: &Command,
        texts: &[&str],
    ) -> Result<Count, Trouble> {
        make_folder(&self.user.home)?;
        make_folder(&self.folder.join("runtime"))?;
        write(&self.folder.join("try.py"), TRY)?;
        let script = self.folder.join("homes.sh");
        write(&script, SCRIPT)?;
        let mut shell = unshare();
        shell.arg("sh").arg(script).arg(read_only).arg(size).arg(tried.get_program()).args(tried.get_args());
        for (name, value) in tried.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let output = shell.output().map_err(|source| Trouble::file("Starting", read_only, &source))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let missing: Vec<_> = texts.iter().filter(|text| !said.contains(**text)).collect();
        match missing.is_empty() {
            true => println!("    {what}: as it must be"),
            false => println!("    {what}: expected {missing:?} in\n{said}{}", String::from_utf8_lossy(&output.stderr)),
        }
        Ok(Count::one(missing.is_empty()))
    }
}

fn unshare() -> Command {
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--map-root-user"]);
    unshare
}

fn has_namespaces() -> bool {
    on_path("unshare").is_some()
        && unshare()
            .args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .output()
            .is_ok_and(|output| output.status.success())
}
