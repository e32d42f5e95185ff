//! The files that make Jupyter know our kernel, and what the kernel does before its first cell.
//!
//! They are in `.lab/`, not in the user's own Jupyter folders; `cargo lab install` puts a kernelspec there as well.

use crate::places::{self, Places};
use crate::steps;
use crate::trouble::Trouble;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The kernel's name; its display name is "Rust (candle-lens)".
pub const NAME: &str = "candle-lens";

/// The folder whose `init.evcxr` and `prelude.rs` a kernel runs before its first cell: the library is loaded, its prelude
/// imported.
pub fn startup(lab: &Path) -> PathBuf {
    lab.join("evcxr")
}

/// Writes the kernelspec, the kernel's start-up and JupyterLab's settings.
pub fn write(places: &Places) -> Result<(), Trouble> {
    let jupyter = places.lab.join("jupyter");
    write_spec(places, &launcher()?, &jupyter.join("kernels"))?;
    // As a notebook for the stock kernel writes it, letter by letter: where it differs, evcxr loads everything anew.
    let dependency = format!(":dep candle-lens = {}\n", places.dependency());
    // The format of a last expression that evcxr does not draw (src/views/show.rs): the flag makes our views draw
    // themselves.
    let startup_commands = format!("{dependency}:fmt {{:-?}}\n");
    steps::write(&startup(&places.lab).join("init.evcxr"), &startup_commands)?;
    // The first variable of a kernel makes evcxr's rust-analyzer read the library, which takes seconds: here rather than in the
    // user's first cell. It is used up, so that none stays. The first `?` makes evcxr compile again, and a last expression
    // that has one would then be formatted instead of drawn: here it does no harm.
    // It listens to interrupts from the first cell on; a library that is too old to do so is called in vain.
    let prelude = "use candle_lens::prelude::*;\n\
                   let first = Tensor::zeros(1, DType::F32, &Device::Cpu)?;\ndrop(first);\n\
                   { mod interrupt { pub fn listen() {} } { use candle_lens::*; interrupt::listen(); } }\n";
    steps::write(&startup(&places.lab).join("prelude.rs"), prelude)?;
    // JupyterLab would ask at its first start whether it may fetch news.
    let page = json!({ "disabledExtensions": { "@jupyterlab/apputils-extension:announcements": true } });
    steps::write(&jupyter.join("config/labconfig/page_config.json"), &format!("{page:#}\n"))
}

/// The program that runs now.
///
/// # Errors
/// The system does not say which one that is.
pub fn launcher() -> Result<PathBuf, Trouble> {
    std::env::current_exe()
        .map_err(|source| Trouble::new(format!("The launcher does not find itself: {source}."), "Start it again."))
}

/// What a kernel must know of the environment in which it was set up: a server that starts it for another user has it not.
const KEPT: [&str; 3] = [places::CACHE, "CARGO_HOME", "RUSTUP_HOME"];

/// Writes the kernelspec into a folder of kernels: Jupyter starts `launcher`, which becomes the kernel.
pub fn write_spec(places: &Places, launcher: &Path, kernels: &Path) -> Result<(), Trouble> {
    let kept = KEPT.into_iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
    let environment: std::collections::BTreeMap<_, _> = kept.filter(|(_, value)| !value.is_empty()).collect();
    let spec = json!({
        "argv": [launcher, "kernel", places.lab, "{connection_file}"],
        "display_name": "Rust (candle-lens)",
        "language": "rust",
        "env": environment,
        // By SIGINT, to which the library listens; a message would make evcxr end the process of the cells.
        "interrupt_mode": if cfg!(unix) { "signal" } else { "message" },
    });
    steps::write(&kernels.join(NAME).join("kernel.json"), &format!("{spec:#}\n"))
}
