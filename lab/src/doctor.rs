//! `cargo lab doctor`: looks at every part and says what is wrong and how to mend it. It changes nothing.

use crate::places::{Library, Places};
use crate::process::on_path;
use crate::trouble::Trouble;
use crate::{evcxr, kernelspec, python, rust, template};
use std::path::PathBuf;
use std::process::ExitCode;

/// The oldest Rust that compiles the library.
const OLDEST_RUST: (u32, u32) = (1, 95);

/// What one part turned out to be: a word on it, or what is wrong with it.
type Finding = Result<String, Trouble>;

/// Examines every part; fails if one that notebooks need is missing.
pub fn examine(places: &Places) -> ExitCode {
    let needed = [
        ("Rust", compiler()),
        ("linker", linker()),
        ("Python", python::describe()),
        ("Jupyter environment", python::find_environment(places, &python::JUPYTER)),
        ("kernel", evcxr::describe(&places.cache)),
        ("kernelspec", spec(places)),
        ("warm template", template::describe(places)),
    ];
    let optional = [("fast linker", fast_linker()), ("browser for the tests", browser())];
    let missing = needed.iter().filter(|(name, finding)| !tell(name, finding, "WRONG")).count();
    for (name, finding) in &optional {
        tell(name, finding, "none");
    }
    match (missing, &places.library) {
        (0, _) => println!("\nEverything that notebooks need is there."),
        (_, Library::Checkout) => {
            println!("\n`cargo lab setup` makes what is missing, Rust, Python and linker excepted.")
        }
        (_, Library::Crate(_)) => {
            println!("\n`candle-lens-lab install` makes what is missing, Rust, Python and linker excepted.")
        }
    }
    if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints one finding; whether it is good.
fn tell(name: &str, finding: &Finding, word: &str) -> bool {
    match finding {
        Ok(about) => println!("ok     {name}: {about}"),
        Err(trouble) => println!("{word:<6} {name}: {}", trouble.to_string().replace('\n', "\n       ")),
    }
    finding.is_ok()
}

fn compiler() -> Finding {
    let mend = "Install Rust from https://rustup.rs, or `rustup update`.";
    let version = rust::version()?.lines().next().unwrap_or_default().to_string();
    match release(&version) {
        Some(release) if release >= OLDEST_RUST => Ok(version),
        _ => Err(Trouble::new(
            format!("{version:?} is older than {}.{}, which the library needs.", OLDEST_RUST.0, OLDEST_RUST.1),
            mend,
        )),
    }
}

/// The numbers of `rustc 1.95.0 (..)`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split_whitespace().nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn linker() -> Finding {
    if cfg!(windows) {
        return Ok("Rust brings or finds its own on Windows".into());
    }
    let mend = "Install a C compiler (Debian and Ubuntu: apt install gcc; macOS: xcode-select --install).";
    on_path("cc").map(|path| path.display().to_string()).ok_or_else(|| Trouble::new("There is no `cc`.", mend))
}

fn fast_linker() -> Finding {
    let found = ["mold", "lld"].into_iter().find_map(on_path);
    found.map(|path| path.display().to_string()).ok_or_else(|| {
        Trouble::new(
            "Cells are linked by the system's linker.",
            "It is optional: mold or lld links each cell a little quicker (Debian and Ubuntu: apt install lld).",
        )
    })
}

fn browser() -> Finding {
    crate::browser::chromium().map(|path| path.display().to_string()).ok_or_else(|| {
        Trouble::new(
            "No Chromium was found.",
            "Only the browser tests need one (Debian: apt install chromium); notebooks open in any browser.",
        )
    })
}

fn spec(places: &Places) -> Finding {
    let file = places.lab.join("jupyter/kernels").join(kernelspec::NAME).join("kernel.json");
    let mend = "Run `cargo lab setup`.";
    let text = std::fs::read_to_string(&file)
        .map_err(|source| Trouble::new(format!("{} cannot be read: {source}.", places.brief(&file)), mend))?;
    let spec: serde_json::Value = serde_json::from_str(&text)
        .map_err(|source| Trouble::new(format!("{} is damaged: {source}.", places.brief(&file)), mend))?;
    let launcher = PathBuf::from(spec["argv"][0].as_str().unwrap_or_default());
    if launcher.is_file() {
        return Ok(places.brief(&file));
    }
    Err(Trouble::new(format!("it starts {}, which is not there.", launcher.display()), mend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read() {
        assert_eq!(release("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(release("rustc 2.0.1-nightly"), Some((2, 0)));
        assert_eq!(release("no rustc"), None);
    }
}
