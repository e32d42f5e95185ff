//! Notebooks that can be opened and read while the kernel is being prepared.
//!
//! `cargo lab` starts a second process of its own, which prepares what is missing, and opens JupyterLab as soon as that is installed. A kernel
//! that is started meanwhile is `waiting.py`: it says what is going on, and becomes the kernel when that is prepared.
//!
//! ```text
//! .lab/preparing/lock        held by the process that prepares, as its standard input
//! .lab/preparing/log         what it says
//! .lab/preparing/python      the Python that the kernel waits with; written when the preparation begins
//! .lab/preparing/waiting.py
//! ```

use crate::places::{self, Places};
use crate::process::{command, on_path};
use crate::steps::{self, make_folder, open_lock};
use crate::trouble::Trouble;
use crate::{evcxr, kernelspec, setup, template};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SCRIPT: &str = include_str!("waiting.py");

/// What [`prepared`] answers while a process still prepares.
const BUSY: u8 = 3;

fn folder(lab: &Path) -> PathBuf {
    lab.join("preparing")
}

/// What the process that prepares says.
pub fn log(lab: &Path) -> PathBuf {
    folder(lab).join("log")
}

/// Starts the process that prepares what is missing; it ends with this one. Where another launcher already prepares this clone, nothing is started.
pub fn begin(places: &Places, python: &Path) -> Result<(), Trouble> {
    let folder = folder(&places.lab);
    make_folder(&folder)?;
    let held = open_lock(&folder.join("lock"))?;
    if held.try_lock().is_err() {
        return Ok(());
    }
    steps::write(&folder.join("waiting.py"), SCRIPT)?;
    let failed = |source| Trouble::file("Writing into", &folder, &source);
    fs::write(folder.join("python"), python.to_string_lossy().as_bytes()).map_err(failed)?;
    let said = File::create(log(&places.lab)).map_err(failed)?;
    let errors = said.try_clone().map_err(failed)?;
    let mut prepare = quietly(&kernelspec::launcher()?);
    prepare.arg("prepare").arg(std::process::id().to_string()).stdin(held).stdout(said).stderr(errors);
    // Ctrl-C in the terminal is JupyterLab's, which asks first.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut prepare, 0);
    prepare.spawn().map(drop).map_err(failed)
}

/// A program that leaves the processor to JupyterLab, where the system can do that.
fn quietly(program: &Path) -> Command {
    if cfg!(windows) || on_path("nice").is_none() {
        return command(program);
    }
    let mut nice = command("nice");
    nice.args(["-n", "5"]).arg(program);
    nice
}

/// Prepares what is missing, for as long as the process `client` is there.
pub fn prepare(places: &Places, client: u32) -> Result<ExitCode, Trouble> {
    #[cfg(unix)]
    std::thread::spawn(move || crate::process::end_orphan(std::process::id(), client, std::process::id()));
    #[cfg(not(unix))]
    let _ = client;
    setup::everything(places).map(|_| ExitCode::SUCCESS)
}

/// Says with its exit code whether the kernel of `lab` is prepared (0), is being prepared (3) or neither (1).
pub fn prepared(lab: &Path) -> Result<ExitCode, Trouble> {
    Ok(if is_busy(lab)? {
        ExitCode::from(BUSY)
    } else if is_there(lab)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_busy(lab: &Path) -> Result<bool, Trouble> {
    Ok(folder(lab).is_dir() && open_lock(&folder(lab).join("lock"))?.try_lock().is_err())
}

fn is_there(lab: &Path) -> Result<bool, Trouble> {
    Ok(template::is_built(lab) && evcxr::program(&places::cache()?).is_file())
}

/// The kernel that waits in place of the one of `lab`, if that is being prepared or could not be.
pub fn kernel(lab: &Path, connection_file: &Path) -> Result<Option<Command>, Trouble> {
    let folder = folder(lab);
    let Ok(python) = fs::read_to_string(folder.join("python")) else { return Ok(None) };
    if !is_busy(lab)? && is_there(lab)? {
        return Ok(None);
    }
    let mut waiting = command(python);
    waiting.arg(folder.join("waiting.py")).arg(kernelspec::launcher()?).arg(lab).arg(log(lab));
    waiting.arg(connection_file);
    Ok(Some(waiting))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_waits_while_it_is_being_prepared_and_where_that_failed() {
        let root = std::env::temp_dir().join(format!("candle-lens-lab-waiting-{}", std::process::id()));
        let lab = Places::for_test(&root).lab;
        let waits = || kernel(&lab, Path::new("c.json")).unwrap();
        assert!(waits().is_none() && !is_busy(&lab).unwrap(), "nobody has prepared anything");
        steps::write(&folder(&lab).join("python"), "/python").unwrap();
        let held = open_lock(&folder(&lab).join("lock")).unwrap();
        held.try_lock().unwrap();
        assert!(is_busy(&lab).unwrap());
        let words: Vec<_> = waits().unwrap().get_args().map(|word| word.to_owned()).collect();
        assert_eq!(words[0], folder(&lab).join("waiting.py"));
        assert_eq!(words[2..], [lab.clone(), folder(&lab).join("log"), "c.json".into()].map(PathBuf::into_os_string));
        drop(held);
        assert!(!is_busy(&lab).unwrap());
        assert!(waits().is_some(), "without a template, it says why");
        steps::remove_folder(&root).unwrap();
    }
}
