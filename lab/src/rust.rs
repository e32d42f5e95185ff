//! The Rust compiler that is used here.

use crate::process::command;
use crate::trouble::Trouble;
use std::path::PathBuf;

/// What `rustc` says of itself, several lines.
pub fn version() -> Result<String, Trouble> {
    ask("-vV").map_err(|source| {
        Trouble::new(format!("rustc did not start: {source}."), "Install Rust from https://rustup.rs and start again.")
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

/// The folder of its standard library as dynamic libraries.
pub fn libraries() -> Option<PathBuf> {
    Some(PathBuf::from(ask("--print=target-libdir").ok()?.trim())).filter(|folder| folder.is_dir())
}

fn ask(question: &str) -> std::io::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(String::from_utf8_lossy(&command(rustc).arg(question).output()?.stdout).into_owned())
}
