//! `cargo lab install`: makes the kernel known outside `cargo lab`, to the user's own Jupyter, to everybody's, and to VS Code.
//!
//! Only the kernelspec is put into Jupyter's folder; it points to a copy of this launcher that outlives
//! `cargo clean`. A launcher that came from `cargo install` or in the Python package, without a clone, serves the published crate of
//! its version, unless it is told which.

use crate::places::{Places, Which};
use crate::trouble::Trouble;
use crate::{kernelspec, setup, steps};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is installed, and where.
#[derive(Debug, Default, PartialEq)]
pub struct Install {
    /// The library that the kernel serves.
    pub which: Which,
    /// The folder in whose `share/jupyter` the kernelspec goes; none is the user's own.
    pub prefix: Option<PathBuf>,
}

/// What a command that is about a library takes.
const LIBRARY: &str = "Valid are --library VERSION, --git URL [--tag TAG] and --path FOLDER, one of them";

/// Understands the options of `cargo lab install`, and with `libraries_only` those of a command that is about a library.
///
/// # Errors
/// An unknown option, one without its value, or more than one library.
pub fn parse(command: &str, words: &[&str], libraries_only: bool) -> Result<Install, Trouble> {
    let valid =
        if libraries_only { format!("{LIBRARY}.") } else { format!("{LIBRARY}, and --user or --prefix FOLDER.") };
    let wrong = |what: String| Trouble::new(what, valid.clone());
    let (mut install, mut libraries, mut tag) = (Install::default(), Vec::new(), None);
    let mut rest = words.iter();
    while let Some(option) = rest.next() {
        if *option == "--user" && !libraries_only {
            install.prefix = None;
            continue;
        }
        let known = ["--library", "--git", "--tag", "--path"].contains(option);
        if !known && (*option != "--prefix" || libraries_only) {
            return Err(wrong(format!("`cargo lab {command}` does not know {option:?}.")));
        }
        let value = rest.next().ok_or_else(|| wrong(format!("{option} needs what it names behind it.")))?;
        match *option {
            "--library" => libraries.push(Which::Crate(requirement(value))),
            "--git" => libraries.push(Which::Crate(format!("git = {value:?}"))),
            "--path" => libraries.push(Which::Folder(value.into())),
            "--tag" => tag = Some(value),
            _ => install.prefix = Some(whole(value)?),
        }
    }
    install.which = match (libraries.pop(), tag) {
        _ if !libraries.is_empty() => return Err(wrong("More than one library was named.".into())),
        (Some(Which::Crate(git)), tag) if git.starts_with("git = ") => {
            let tag = tag.map(|tag| format!(", tag = {tag:?}")).unwrap_or_default();
            Which::Crate(format!("{{ {git}{tag} }}"))
        }
        (_, Some(_)) => return Err(wrong("--tag belongs to --git.".into())),
        (library, None) => library.unwrap_or_default(),
    };
    Ok(install)
}

/// A version as a manifest has it. What a manifest may have behind `candle-lens =` is taken as it is.
fn requirement(version: &str) -> String {
    if version.starts_with(['"', '{']) { version.into() } else { format!("{version:?}") }
}

fn whole(folder: &str) -> Result<PathBuf, Trouble> {
    std::path::absolute(folder).map_err(|source| Trouble::file("Finding", Path::new(folder), &source))
}

/// Sets up what is missing and writes the kernelspec.
pub fn install(places: &Places, prefix: Option<&Path>) -> Result<(), Trouble> {
    let kernels = match prefix {
        Some(prefix) => prefix.join("share/jupyter/kernels"),
        None => user_kernels(|name| std::env::var_os(name)).ok_or_else(|| {
            Trouble::new(
                "There is no folder for Jupyter's kernels: the environment names no home folder.",
                "Set HOME (Linux, macOS), APPDATA (Windows) or JUPYTER_DATA_DIR, or name a folder with --prefix.",
            )
        })?,
    };
    // Now rather than when everything is compiled: it may not be ours to write.
    steps::make_folder(&kernels.join(kernelspec::NAME))?;
    setup::everything(places)?;
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

    #[test]
    fn a_library_is_a_version_a_tag_or_a_folder() {
        let parse = |line: &str| parse("install", &line.split_whitespace().collect::<Vec<_>>(), false);
        let crate_of = |dependency: &str| Install { which: Which::Crate(dependency.into()), prefix: None };
        assert_eq!(parse("").unwrap(), Install::default());
        assert_eq!(parse("--user --library 0.1.2").unwrap(), crate_of("\"0.1.2\""));
        assert_eq!(parse("--library \"=0.1\"").unwrap(), crate_of("\"=0.1\""));
        assert_eq!(parse("--git https://h/r").unwrap(), crate_of("{ git = \"https://h/r\" }"));
        let tagged = crate_of("{ git = \"https://h/r\", tag = \"v1\" }");
        assert_eq!(parse("--tag v1 --git https://h/r").unwrap(), tagged);
        let here = Install { which: Which::Folder("/c".into()), prefix: Some("/usr/local".into()) };
        assert_eq!(parse("--path /c --prefix /usr/local").unwrap(), here);
    }

    #[test]
    fn an_option_that_is_not_understood_is_named_with_the_valid_ones() {
        for (line, wrong) in [
            ("--libary 1", "--libary"),
            ("--path", "--path needs"),
            ("--path a --library 1", "More than one"),
            ("--library 1 --tag v1", "belongs to --git"),
            ("--tag v1", "belongs to --git"),
        ] {
            let message =
                parse("install", &line.split_whitespace().collect::<Vec<_>>(), false).unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains("--git URL [--tag TAG]"), "{line}: {message}");
        }
        let message = parse("doctor", &["--prefix", "/usr"], true).unwrap_err().to_string();
        assert!(message.contains("does not know \"--prefix\"") && !message.contains("--user"), "{message}");
    }
}
