//! The files that make Jupyter know our kernel. They lie in `.lab/jupyter`, not in the user's own Jupyter folders.

use crate::places::Places;
use crate::steps;
use crate::trouble::Trouble;
use serde_json::json;

/// The kernel's name; its display name is "Rust (candle-lens)".
pub const NAME: &str = "candle-lens";

/// Writes the kernelspec and JupyterLab's settings.
pub fn write(places: &Places) -> Result<(), Trouble> {
    let launcher = std::env::current_exe()
        .map_err(|source| Trouble::new(format!("The launcher does not find itself: {source}."), "Start it again."))?;
    let spec = json!({
        "argv": [launcher, "kernel", places.checkout, "{connection_file}"],
        "display_name": "Rust (candle-lens)",
        "language": "rust",
        "interrupt_mode": "message",
    });
    let jupyter = places.lab.join("jupyter");
    steps::write(&jupyter.join("kernels").join(NAME).join("kernel.json"), &format!("{spec:#}\n"))?;
    // JupyterLab would ask at its first start whether it may fetch news.
    let page = json!({ "disabledExtensions": { "@jupyterlab/apputils-extension:announcements": true } });
    steps::write(&jupyter.join("config/labconfig/page_config.json"), &format!("{page:#}\n"))
}
