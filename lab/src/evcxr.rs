//! The Rust kernel itself: evcxr_jupyter, built once per version and shared by every clone.

use crate::places::Places;
use crate::process::{cargo, command, run};
use crate::steps::{make_folder, remove_folder, step};
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The version our notebooks are tested with.
pub const VERSION: &str = "0.22.0";

/// The kernel's program.
pub fn program(places: &Places) -> PathBuf {
    let name = if cfg!(windows) { "evcxr_jupyter.exe" } else { "evcxr_jupyter" };
    root(places).join("bin").join(name)
}

fn root(places: &Places) -> PathBuf {
    places.cache.join(format!("evcxr_jupyter-{VERSION}"))
}

/// Builds the kernel if it is not there.
pub fn install(places: &Places) -> Result<(), Trouble> {
    let program = program(places);
    if runs(&program) {
        return Ok(());
    }
    step(&format!("Building the Rust kernel, evcxr_jupyter {VERSION} (about 10 minutes on 2 cores, once)"), || {
        let root = root(places);
        // Kept until the end, so that an interrupted build goes on where it stopped.
        let build = root.join("build");
        make_folder(&build)?;
        let mut install = cargo();
        install.args(["install", "--locked", "--force", "--version", VERSION, "evcxr_jupyter", "--root"]);
        // Away from the repository, whose cargo configuration is not meant for this build.
        install.arg(&root).arg("--target-dir").arg(&build).current_dir(&root);
        run(
            &mut install,
            "Read cargo's message above. It needs the network and a linker (a C compiler); then start again.",
        )?;
        remove_folder(&build)
    })
}

/// Whether the program is whole: a copy that was cut short does not start.
fn runs(program: &Path) -> bool {
    let status = command(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
