//! The browser tests: notebook 01 as a reader sees it, in the real JupyterLab and as an exported page (`browser/check.py`).

use crate::places::Places;
use crate::process::on_path;
use crate::session::Jupyter;
use crate::trouble::Trouble;
use crate::{python, steps};
use std::path::{Path, PathBuf};
use std::process::Command;

const CHECK: &str = include_str!("../browser/check.py");

/// The notebook that is looked at.
pub const NOTEBOOK: &str = "notebooks/01_ioi_logit_attribution.ipynb";

/// The browser that the tests drive, if there is one.
pub fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path)
}

/// The command that looks at the notebook and at `html`, its exported page; screenshots go to `pictures`.
pub fn check(
    places: &Places,
    jupyter: &Jupyter,
    chromium: &Path,
    html: &Path,
    pictures: &Path,
) -> Result<Command, Trouble> {
    let script = places.lab.join("check.py");
    steps::write(&script, CHECK)?;
    let playwright = python::environment(places, &python::BROWSER)?;
    let mut check = jupyter.with_files(playwright);
    check.arg(script).arg(jupyter.interpreter()).arg(chromium).arg(&places.root).arg(NOTEBOOK).arg(html).arg(pictures);
    Ok(check)
}
