//! The Rust kernel itself: evcxr_jupyter, built once per version and shared by every clone. One of that version which lies beside the
//! launcher (as in the Python package) or on the path is copied instead.

use crate::jobs::Jobs;
use crate::process::{cargo, command, on_path, run};
use crate::steps::{make_folder, remove_folder, step, write};
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The version our notebooks are tested with.
pub const VERSION: &str = "0.22.0";

/// How it is compiled.
const PROFILE: &str = include_str!("evcxr.toml");

/// The kernel's program.
pub fn program(cache: &Path) -> PathBuf {
    let name = if cfg!(windows) { "evcxr_jupyter.exe" } else { "evcxr_jupyter" };
    root(cache).join("bin").join(name)
}

fn root(cache: &Path) -> PathBuf {
    cache.join(format!("evcxr_jupyter-{VERSION}"))
}

/// Builds the kernel if it is not there.
pub fn install(cache: &Path, jobs: &Jobs) -> Result<(), Trouble> {
    let program = program(cache);
    if runs(&program) || adopt(&program)? {
        return Ok(());
    }
    step(&format!("Building the Rust kernel, evcxr_jupyter {VERSION} (about 3 minutes on 2 cores, once)"), || {
        let root = root(cache);
        // Kept until the end, so that an interrupted build goes on where it stopped.
        let build = root.join("build");
        make_folder(&build)?;
        let profile = build.join("profile.toml");
        write(&profile, PROFILE)?;
        let mut install = cargo();
        install.arg("install").arg("--config").arg(&profile);
        install.args(["--locked", "--force", "--version", VERSION, "evcxr_jupyter", "--root"]);
        // Away from the repository, whose cargo configuration is not meant for this build.
        install.arg(&root).arg("--target-dir").arg(&build).current_dir(&root);
        jobs.share(&mut install);
        run(
            &mut install,
            "Read cargo's message above. It needs the network and a linker (a C compiler); then start again.",
        )?;
        remove_folder(&build)
    })
}

/// Copies a kernel of this version that is there already; whether there was one.
fn adopt(program: &Path) -> Result<bool, Trouble> {
    let beside = std::env::current_exe().ok().and_then(|launcher| Some(launcher.with_file_name(program.file_name()?)));
    let found = beside.into_iter().chain(on_path("evcxr_jupyter")).find(|found| is_version(found) && runs(found));
    let Some(found) = found else { return Ok(false) };
    step(&format!("Copying the Rust kernel from {}", found.display()), || {
        let part = program.with_extension("part");
        make_folder(program.parent().unwrap_or(program))?;
        std::fs::copy(&found, &part)
            .and_then(|_| std::fs::rename(&part, program))
            .map_err(|source| Trouble::file("Writing", program, &source))
    })?;
    Ok(true)
}

/// Whether a program is evcxr_jupyter of our version. It does not say its version, but it holds the names of its sources' folders.
fn is_version(program: &Path) -> bool {
    let name = format!("evcxr-{VERSION}/");
    std::fs::read(program).is_ok_and(|bytes| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
}

/// A word on the kernel's program, or what is wrong with it.
pub fn describe(cache: &Path) -> Result<String, Trouble> {
    let program = program(cache);
    if runs(&program) {
        return Ok(format!("evcxr_jupyter {VERSION} in {}", program.display()));
    }
    Err(Trouble::new(
        format!("{} is not there or does not start.", program.display()),
        "Run `cargo lab setup`, which builds it (about 3 minutes on 2 cores, once).",
    ))
}

/// Whether the program is whole: a copy that was cut short does not start.
fn runs(program: &Path) -> bool {
    let status = command(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_kernel_is_known_by_its_version() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-evcxr-{}", std::process::id()));
        let (right, other) = (folder.join("right"), folder.join("other"));
        write(&right, &format!("#!/bin/sh\n# registry/evcxr-{VERSION}/src\n")).unwrap();
        write(&other, "#!/bin/sh\n# registry/evcxr-0.1.0/src\n").unwrap();
        assert!(is_version(&right) && !is_version(&other) && !is_version(&folder.join("none")));
        assert!(!runs(&right), "it may not be executed");
        std::fs::set_permissions(&right, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(runs(&right));
        remove_folder(&folder).unwrap();
    }
}
