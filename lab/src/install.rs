//! `cargo lab install`: makes the kernel known outside `cargo lab`, to the user's own Jupyter and to VS Code.
//!
//! Only the kernelspec is put into the user's Jupyter folder; it points to a copy of this launcher that outlives
//! `cargo clean`. A launcher that came from `cargo install`, without a clone, serves the published crate of its version.

use crate::places::Places;
use crate::trouble::Trouble;
use crate::{kernelspec, setup, steps};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Sets up what is missing and writes the kernelspec.
pub fn install(places: &Places) -> Result<(), Trouble> {
    setup::everything(places)?;
    let kernels = user_kernels(|name| std::env::var_os(name)).ok_or_else(|| {
        Trouble::new(
            "There is no folder for Jupyter's kernels: the environment names no home folder.",
            "Set HOME (Linux, macOS), APPDATA (Windows) or JUPYTER_DATA_DIR.",
        )
    })?;
    let launcher = keep_launcher(&places.lab)?;
    kernelspec::write_spec(places, &launcher, &kernels)?;
    println!("\"Rust (candle-lens)\" is installed in {}.", kernels.join(kernelspec::NAME).display());
    println!("Start Jupyter or VS Code anew and pick it. Removing that folder removes it.");
    Ok(())
}

/// A copy of this program that no build replaces or removes.
fn keep_launcher(lab: &Path) -> Result<PathBuf, Trouble> {
    let kept = lab.join("bin").join(format!("candle-lens-lab{}", std::env::consts::EXE_SUFFIX));
    let part = kept.with_extension("part");
    steps::make_folder(&lab.join("bin"))?;
    // A running kernel may be using the old copy: it keeps the file it has, the name gets the new one.
    std::fs::copy(kernelspec::launcher()?, &part)
        .and_then(|_| std::fs::rename(&part, &kept))
        .map_err(|source| Trouble::file("Writing", &kept, &source))?;
    Ok(kept)
}

/// Where Jupyter looks for the user's own kernels, by its rules for each system.
fn user_kernels(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = path("JUPYTER_DATA_DIR").or_else(|| match std::env::consts::OS {
        "windows" => path("APPDATA").map(|folder| folder.join("jupyter")),
        "macos" => path("HOME").map(|home| home.join("Library/Jupyter")),
        _ => path("XDG_DATA_HOME")
            .or_else(|| path("HOME").map(|home| home.join(".local/share")))
            .map(|folder| folder.join("jupyter")),
    })?;
    Some(data.join("kernels"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernelspec_goes_where_jupyter_looks() {
        let kernels = |pairs: &'static [(&str, &str)]| {
            user_kernels(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.into()))
        };
        assert_eq!(kernels(&[("HOME", "/h")]), Some("/h/.local/share/jupyter/kernels".into()));
        assert_eq!(kernels(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]), Some("/d/jupyter/kernels".into()));
        assert_eq!(kernels(&[("HOME", "/h"), ("JUPYTER_DATA_DIR", "/j")]), Some("/j/kernels".into()));
        assert_eq!(kernels(&[]), None);
    }
}
