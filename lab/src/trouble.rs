//! The launcher's error: what failed, and how to fix it.

use crate::places::COMMAND;
use std::fmt;
use std::path::Path;

/// A failed step, described so that the reader can fix it.
#[derive(Debug)]
pub struct Trouble {
    what: String,
    fix: String,
    /// Whether it is only that there is no network, which is nobody's fault.
    pub no_network: bool,
}

impl Trouble {
    /// `what` failed; `fix` says what to do. Both are full sentences.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), no_network: false }
    }

    /// A file or folder could not be read or written.
    pub fn file(doing: &str, path: &Path, source: &std::io::Error) -> Self {
        Self::new(
            format!("{doing} {} failed: {source}.", path.display()),
            "Check that the disk is not full and that the folder is yours to write, then start again.",
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}\nTo fix it: {}", self.what, self.fix);
        f.write_str(&text.replace("cargo lab", COMMAND))
    }
}
