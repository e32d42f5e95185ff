//! The Rust kernel itself: evcxr_jupyter, built once per version and shared by every clone.

use crate::process::{cargo, command, run};
use crate::steps::{make_folder, remove_folder, step};
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The version our notebooks are tested with.
pub const VERSION: &str = "0.22.0";

/// The kernel's program.
pub fn program(cache: &Path) -> PathBuf {
    let name = if cfg!(windows) { "evcxr_jupyter.exe" } else { "evcxr_jupyter" };
    root(cache).join("bin").join(name)
}

fn root(cache: &Path) -> PathBuf {
    cache.join(format!("evcxr_jupyter-{VERSION}"))
}

/// Builds the kernel if it is not there.
pub fn install(cache: &Path) -> Result<(), Trouble> {
    let program = program(cache);
    if runs(&program) {
        return Ok(());
    }
    step(&format!("Building the Rust kernel, evcxr_jupyter {VERSION} (about 10 minutes on 2 cores, once)"), || {
        let root = root(cache);
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

/// A word on the kernel's program, or what is wrong with it.
pub fn describe(cache: &Path) -> Result<String, Trouble> {
    let program = program(cache);
    if runs(&program) {
        return Ok(format!("evcxr_jupyter {VERSION} in {}", program.display()));
    }
    Err(Trouble::new(
        format!("{} is not there or does not start.", program.display()),
        "Run `cargo lab setup`, which builds it (about 10 minutes on 2 cores, once).",
    ))
}

/// Whether the program is whole: a copy that was cut short does not start.
fn runs(program: &Path) -> bool {
    let status = command(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
