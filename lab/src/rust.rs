//! The Rust compiler that is used here.

use crate::process::{command, on_path};
use crate::trouble::Trouble;
use std::path::PathBuf;

/// The oldest Rust that compiles the library.
const OLDEST: (u32, u32) = (1, 95);

/// How to get it.
const GET: &str = "Install Rust: `curl https://sh.rustup.rs -sSf | sh -s -- -y --profile minimal` (Windows, and what this does: \
                   https://rustup.rs), or `rustup update` if it is there, and start again.";

/// The first line of what `rustc` says of itself.
///
/// # Errors
/// There is none, or it is too old for the library.
pub fn describe() -> Result<String, Trouble> {
    let version = version()?.lines().next().unwrap_or_default().to_string();
    match release(&version) {
        Some(release) if release >= OLDEST => Ok(version),
        _ => Err(Trouble::new(
            format!("{version:?} is older than Rust {}.{}, which the library needs.", OLDEST.0, OLDEST.1),
            GET,
        )),
    }
}

/// The numbers of `rustc 1.95.0 (..)`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split_whitespace().nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What `rustc` says of itself, several lines.
pub fn version() -> Result<String, Trouble> {
    ask("-vV").map_err(|source| {
        Trouble::new(format!("The kernel compiles each cell, and rustc did not start: {source}."), GET)
    })
}

/// The platform it runs on and compiles for.
pub fn platform() -> Option<String> {
    version().ok()?.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_string))
}

/// The sources of its standard library, if they are installed.
pub fn library_sources() -> Option<PathBuf> {
    let sysroot = PathBuf::from(ask("--print=sysroot").ok()?.trim());
    Some(sysroot.join("lib/rustlib/src/rust/library")).filter(|folder| folder.join("core").is_dir())
}

/// Lets rustup fetch those sources if they are missing. evcxr would at the first variable; without them it does not know its type.
pub fn fetch_sources() {
    if library_sources().is_none()
        && let Some(rustup) = on_path("rustup")
    {
        // Where that fails, evcxr says so.
        let _ = command(rustup).args(["component", "add", "rust-src"]).status();
    }
}

/// The folder of its standard library as dynamic libraries.
pub fn libraries() -> Option<PathBuf> {
    Some(PathBuf::from(ask("--print=target-libdir").ok()?.trim())).filter(|folder| folder.is_dir())
}

fn ask(question: &str) -> std::io::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(String::from_utf8_lossy(&command(rustc).arg(question).output()?.stdout).into_owned())
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
