//! `cargo lab`: JupyterLab on the notebooks.

use crate::places::Places;
use crate::trouble::Trouble;
use crate::{setup, stand_ins, waiting};
use std::process::{Command, ExitCode};

/// Opens JupyterLab, as soon as that is installed; what else is missing is prepared meanwhile. Returns when it is closed.
pub fn open(places: &Places, browser: bool, plain: bool, options: &[String]) -> Result<ExitCode, Trouble> {
    let jupyter = if setup::is_done(places) {
        setup::everything(places)?
    } else {
        let jupyter = setup::reading(places)?;
        waiting::begin(places, jupyter.interpreter())?;
        println!("==> Preparing the Rust kernel meanwhile; notebooks can be read, and their cells say how far it is");
        println!("    what it says is in {}", places.brief(&waiting::log(&places.lab)));
        jupyter
    };
    println!("==> Opening JupyterLab on notebooks/ (Ctrl-C twice ends it)");
    let mut lab = jupyter.python();
    lab.args(["-m", "jupyterlab", "--LabApp.default_url=/lab/tree/notebooks"]);
    lab.arg(format!("--ServerApp.root_dir={}", places.root.display()));
    // Jupyter would list the language servers it did not find.
    lab.arg("--LanguageServerManager.autodetect=False");
    // On a busy machine the kernel may need more than the minute that Jupyter grants.
    lab.arg("--MappingKernelManager.kernel_info_timeout=600");
    if plain {
        println!(
            "    with kernels as evcxr has them ({}): the first variable of each takes half a minute",
            stand_ins::PLAIN
        );
        lab.env(stand_ins::PLAIN, "1");
    }
    if !browser {
        lab.arg("--no-browser");
    }
    if is_root() {
        println!("    as root, which Jupyter allows only with --allow-root; it listens on this machine only");
        lab.arg("--allow-root");
    }
    lab.args(options);
    become_lab(lab)
}

/// In a container one often is.
fn is_root() -> bool {
    cfg!(unix) && Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// On Unix Ctrl-C must reach JupyterLab alone, which asks before it stops.
#[cfg(unix)]
fn become_lab(mut lab: Command) -> Result<ExitCode, Trouble> {
    Err(did_not_start(&std::os::unix::process::CommandExt::exec(&mut lab)))
}

#[cfg(not(unix))]
fn become_lab(mut lab: Command) -> Result<ExitCode, Trouble> {
    let status = lab.status().map_err(|source| did_not_start(&source))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn did_not_start(source: &std::io::Error) -> Trouble {
    Trouble::new(format!("JupyterLab did not start: {source}."), "Run `cargo lab clean` and start again.")
}
