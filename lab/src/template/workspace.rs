//! What cargo is told about the template, and its compilation without the kernel.
//!
//! evcxr would compile all of it as well, and then read all of it to tell types; but it takes three minutes to build itself, and the library
//! need not wait for it. Cargo is called here as evcxr calls it, so that evcxr finds everything done (`trial.rs` tries whether it does).

use super::workbench;
use crate::jobs::Jobs;
use crate::places::{Library, Places};
use crate::process::{cargo, on_path};
use crate::steps;
use crate::trouble::Trouble;
use crate::{features, rust};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Optimised as in release, because the model runs in there; otherwise what evcxr would have chosen, except that a cell is
/// compiled in one piece and with no notes for the next one, which is a third quicker; that the library's own parts are not
/// optimised across each other, which nearly halves the time of its compilation and costs its computations next to nothing
/// (src/model/ops/kernels.rs); and that the compiler keeps notes on the library (`workbench.rs`), so that an update compiles what
/// has changed. A published library has none.
const PROFILE: &str = "\
[profile.dev]
opt-level = 3
debug = false
strip = \"debuginfo\"
rpath = true
lto = \"off\"
debug-assertions = false
codegen-units = 16
panic = \"unwind\"
incremental = false
overflow-checks = false

[profile.dev.package.ctx]
codegen-units = 1

[profile.dev.package.candle-lens]
incremental = true
";

/// Crates that no calculation goes through: matrix products of complex numbers, downloads, archives, the reading of patterns, lines of
/// progress; and those whose code is mostly generic and so compiled with the library: matrices, vector instructions, figures (one of megabytes
/// takes 25 ms more). Without optimisation they are compiled in half to nine tenths of the time.
const NOT_OPTIMISED: [&str; 16] = [
    "gemm-c32",
    "gemm-c64",
    "ureq",
    "ureq-proto",
    "rustls",
    "rustls-webpki",
    "zip",
    "typed-path",
    "regex-syntax",
    "indicatif",
    "console",
    "plotly",
    "ndarray",
    "nalgebra",
    "simba",
    "wide",
];

/// Linkers that evcxr takes where it finds them, the first before the second; cargo compiles everything anew for another one.
const LINKERS: [&str; 2] = ["mold", "lld"];

/// How often a line says how far it is.
const TELLING: Duration = Duration::from_secs(15);

/// How everything is compiled, as a manifest says it.
pub fn profile() -> String {
    let not_optimised = NOT_OPTIMISED.map(|name| format!("\n[profile.dev.package.{name}]\nopt-level = 0\n"));
    PROFILE.to_string() + &not_optimised.concat()
}

/// Which of the linkers are there.
pub fn linkers() -> [Option<&'static str>; 2] {
    LINKERS.map(|name| on_path(name).map(|_| name))
}

/// Writes the manifests and the locked versions.
pub fn write(places: &Places, template: &Path) -> Result<(), Trouble> {
    // evcxr takes the first member for its own package.
    let workspace = format!("[workspace]\nmembers = [\"ctx\", \"anchor\"]\nresolver = \"3\"\n\n{}", profile());
    steps::write(&template.join("Cargo.toml"), &workspace)?;
    steps::write(&template.join("anchor/Cargo.toml"), &anchor(places))?;
    steps::write(&template.join("anchor/src/lib.rs"), "")?;
    // As evcxr has it, which writes it anew.
    let cells = package("ctx", "1.0.0", "\n[lib]\ncrate-type = [\"cdylib\"]\n", "dependencies", places);
    steps::write(&template.join("ctx/Cargo.toml"), &cells)?;
    steps::write(&template.join("ctx/src/lib.rs"), "")?;
    if places.library != Library::Checkout {
        return Ok(());
    }
    let lock = places.root.join("Cargo.lock");
    let versions = fs::read_to_string(&lock).map_err(|source| Trouble::file("Reading", &lock, &source))?;
    steps::write(&template.join("Cargo.lock"), &versions)
}

/// The manifest of the anchor. The lock file keeps what any platform needs; rust-analyzer, which evcxr asks for types,
/// leaves out what this one does not. Otherwise it would read the whole library once for the anchor and once for the cells.
pub fn anchor(places: &Places) -> String {
    package("anchor", "0.0.0", "", "target.'cfg(candle_lens_anchor)'.dependencies", places)
}

/// The manifest of a package that depends on the library.
fn package(name: &str, version: &str, kind: &str, dependencies: &str, places: &Places) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n{kind}\n[{dependencies}]\ncandle-lens = {}\n",
        places.dependency()
    )
}

/// Compiles the library and all below it.
pub fn compile(places: &Places, template: &Path, jobs: &Jobs) -> Result<(), Trouble> {
    let failed = |source| Trouble::file("Compiling in", template, &source);
    let mut build = as_evcxr(places, &template.join("ctx"))?;
    jobs.share(&mut build);
    if places.library == Library::Checkout {
        workbench::listen_from(&places.lab.join("compiler"), &mut build)?;
    }
    let mut child = build.stderr(Stdio::piped()).spawn().map_err(failed)?;
    let (mut crates, mut told, mut complaint) = (0, Instant::now(), Vec::new());
    // Paths may hold anything.
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(|said| said.split(b'\n')) {
        let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
        crates += usize::from(line.trim_start().starts_with("Compiling "));
        if !complaint.is_empty() || line.starts_with("error") {
            complaint.push(line);
        }
        if told.elapsed() > TELLING {
            println!("    {crates} crates of the library begun");
            told = Instant::now();
        }
    }
    match child.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(Trouble::new(
            format!("candle-lens does not compile for the kernel:\n{}", complaint.join("\n")),
            "Run `cargo check` in the repository: it shows the errors of our own sources in full. \
             A message about the network or the disk says itself what is missing.",
        )),
    }
}

/// Cargo as evcxr calls it to build cells in a folder; the flags decide whether what it compiles can be used again.
fn as_evcxr(places: &Places, cells: &Path) -> Result<Command, Trouble> {
    let mut flags = "-Cprefer-dynamic".to_string();
    let mut build = cargo();
    match linkers() {
        [Some(mold), _] => {
            let cargo = build.get_program().to_owned();
            build = crate::process::command(mold);
            build.arg("-run").arg(cargo);
        }
        [None, Some(lld)] => flags += &format!(" -Clink-arg=-fuse-ld={lld}"),
        [None, None] => {}
    }
    build.arg("build").current_dir(cells).env("RUSTFLAGS", flags);
    build.env("CARGO_TARGET_DIR", "target").env("CARGO_BUILD_BUILD_DIR", "target");
    // Cargo's lines, whatever the user's own settings are.
    build.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_QUIET", "false").env("CARGO_TERM_PROGRESS_WHEN", "never");
    if let Some(platform) = rust::platform() {
        build.args(["--target", &platform]);
    }
    let manifest = cells.join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).map_err(|source| Trouble::file("Reading", &manifest, &source))?;
    build.args(features::arguments(&features::of(&places.lab), &manifest).into_iter().flatten());
    Ok(build)
}
