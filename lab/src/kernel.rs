//! The notebook kernel: evcxr_jupyter, in its own warm folder, with its calculations at full speed.
//!
//! Jupyter starts `candle-lens-lab kernel LAB CONNECTION_FILE`, which starts evcxr_jupyter and stays beside it (`supervisor`; on
//! Windows it only waits). The standard input of evcxr_jupyter, which never reads it, is the write end of a pipe: when the kernel ends,
//! in whatever way, the janitor at the other end sees it, ends what is left of the kernel (a compiler that still runs) and removes
//! the folder.

use crate::copies::Held;
use crate::places;
use crate::process::{LIBRARY_PATH, become_program, command};
use crate::stand_ins::{self, standard, tools};
use crate::trouble::Trouble;
use crate::{copies, evcxr, features, kernelspec, rust, steps, template, waiting};
use std::io::PipeWriter;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Cargo lets the environment override evcxr's own profile, which has checks that make matrix products four times slower.
/// The template's workspace says the same; this is for a kernel that starts without it.
const PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false"),
];

/// What makes calculations quicker in the process of the cells (docs/speed.md has the measurements), unless the user has
/// set it otherwise: glibc keeps freed memory up to 1 GiB instead of giving it back after every large tensor, and candle's own
/// threads, which wait by spinning, do not take the cores from those of the matrix products. `.cargo/config.toml` says the
/// same for benches and tests.
const SPEED: [(&str, &str); 3] =
    [("MALLOC_MMAP_THRESHOLD_", "1073741824"), ("MALLOC_TRIM_THRESHOLD_", "1073741824"), ("CANDLE_NUM_THREADS", "1")];

/// An error of candle that leaves a cell is its sentence: the twenty lines of a backtrace behind it are all evcxr's. Panics keep theirs
/// (evcxr sets `RUST_BACKTRACE`).
const SHORT_ERRORS: (&str, &str) = ("RUST_LIB_BACKTRACE", "0");

/// The variable that names the file in which the course notes what a student did (the library's src/course/journal.rs); empty means none.
/// Unless it is set, the file is beside the notebook, which is where a kernel is started.
pub const PROGRESS: &str = "CANDLE_LENS_COURSE_PROGRESS";

/// The file's name.
pub const PROGRESS_FILE: &str = "progress.jsonl";

/// Starts the kernel and, on success, returns only when it has ended.
///
/// It loads the library and its prelude before it answers, from a copy of the template in `lab`. While the template itself
/// is compiled (`EVCXR_TMPDIR` is set), or before it was, it starts empty: Jupyter would not wait for the compiler. While `cargo lab` prepares
/// it, another kernel takes its place (`waiting.rs`).
pub fn start(lab: &Path, connection_file: &Path) -> Result<ExitCode, Trouble> {
    if std::env::var_os("EVCXR_TMPDIR").is_none()
        && let Some(waiting) = waiting::kernel(lab, connection_file)?
    {
        return become_program(waiting).map_err(|source| did_not_start(&source));
    }
    let cache = places::cache()?;
    let mut kernel = command(evcxr::program(&cache));
    kernel.arg("--control_file").arg(connection_file).envs(PROFILE);
    let settings = SPEED.into_iter().chain([SHORT_ERRORS]);
    kernel.envs(settings.filter(|(name, _)| std::env::var_os(name).is_none()));
    if std::env::var_os(PROGRESS).is_none()
        && let Ok(folder) = std::env::current_dir()
    {
        kernel.env(PROGRESS, folder.join(PROGRESS_FILE));
    }
    // The user's own evcxr settings may set another folder or run code of theirs: notebooks are to run alike everywhere.
    kernel.env("EVCXR_CONFIG_DIR", lab.join("evcxr-empty"));
    let (mut is_loaded, mut janitor) = (false, None);
    let features = features::of(lab);
    kernel.env(features::VARIABLE, &features);
    if let Some(compiling) = std::env::var_os("EVCXR_TMPDIR") {
        if !features.is_empty() {
            let home = lab.join("cargo");
            steps::remove_folder(&home)?;
            tools::stand_in(&mut kernel, &home)?;
        }
        find_libraries(&mut kernel, Path::new(&compiling));
    } else if template::is_built(lab) {
        copies::sweep(lab)?;
        let (copy, held) = copies::make(lab)?;
        let (watching, end) = janitor_of(&copy, held)?;
        janitor = Some(watching);
        if !stand_ins::are_off() || !features.is_empty() {
            tools::stand_in(&mut kernel, &copy.join("cargo"))?;
        }
        if let Some(sources) = standard::folder(&cache).filter(|_| !stand_ins::are_off()) {
            kernel.env("RUST_SRC_PATH", sources);
        }
        find_libraries(&mut kernel, &template::evcxr_folder(&copy));
        kernel.env("EVCXR_CONFIG_DIR", kernelspec::startup(lab));
        kernel.env("EVCXR_TMPDIR", template::evcxr_folder(&copy)).stdin(end);
        is_loaded = true;
    }
    supervise(kernel, janitor, is_loaded).map_err(|source| did_not_start(&source))
}

#[cfg(unix)]
use crate::supervisor::run as supervise;

/// Without signals there is nothing to hand on.
#[cfg(not(unix))]
fn supervise(kernel: Command, janitor: Option<Command>, _is_loaded: bool) -> std::io::Result<ExitCode> {
    // Nobody ends groups.
    janitor.map(|mut janitor| janitor.arg("0").spawn()).transpose()?;
    become_program(kernel)
}

/// Lets the cells that evcxr compiles in `folder` find the library and the compiler's own. The paths that rustc leaves in
/// a cell's file are relative to the folder below the one evcxr loads it from: by luck they fit where cargo puts a path
/// dependency beside the cells and where toolchain and cells share no folder but `/`.
fn find_libraries(kernel: &mut Command, folder: &Path) {
    let others = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    let own = [template::libraries(folder), rust::libraries()].into_iter().flatten();
    let paths = std::env::join_paths(own.chain(std::env::split_paths(&others)));
    kernel.env(LIBRARY_PATH, paths.unwrap_or(others));
}

/// The process that removes `copy` when the returned end of the pipe is closed everywhere; still to be told which group it ends then.
/// It also holds the locks, by having them open as its standard output and error.
fn janitor_of(copy: &Path, held: Held) -> Result<(Command, PipeWriter), Trouble> {
    let failed = |source: std::io::Error| Trouble::file("Watching over", copy, &source);
    let (watched, end) = std::io::pipe().map_err(failed)?;
    let launcher = std::env::current_exe().map_err(failed)?;
    let mut janitor = command(launcher);
    janitor
        .arg("janitor")
        .arg(copy)
        .arg(std::process::id().to_string())
        .arg(client().to_string())
        .stdin(watched)
        .stdout(held.copy)
        .stderr(held.template.map_or_else(Stdio::null, Stdio::from));
    // Jupyter kills a kernel's whole process group.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut janitor, 0);
    Ok((janitor, end))
}

/// The process that starts this kernel. The first process of a container has every orphan for a child, so that says nothing.
#[cfg(unix)]
fn client() -> u32 {
    let parent = std::os::unix::process::parent_id();
    if parent == 1 { 0 } else { parent }
}

#[cfg(not(unix))]
fn client() -> u32 {
    0
}

fn did_not_start(source: &std::io::Error) -> Trouble {
    Trouble::new(
        format!("evcxr_jupyter did not start: {source}."),
        "Run `cargo lab setup`, which builds it if it is missing.",
    )
}
