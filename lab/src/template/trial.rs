//! Whether a real evcxr finds the template compiled. It does where it calls cargo as `workspace.rs` has; otherwise each kernel would compile
//! everything at its start. A part of the step `kernel`.

use super::{evcxr_folder, libraries};
use crate::check::Count;
use crate::copies;
use crate::places::Places;
use crate::session::{Jupyter, Said};
use crate::trouble::Trouble;
use crate::verdict;
use std::collections::BTreeSet;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;

/// Seconds that everything takes on a slow machine.
const PATIENCE: u64 = 1800;

/// Tries it, in a copy and without the stand-ins.
pub fn finds_it_compiled(places: &Places, jupyter: &Jupyter) -> Result<Count, Trouble> {
    let (copy, _held) = copies::make(&places.lab)?;
    let library =
        libraries(&evcxr_folder(&copy)).unwrap_or_default().join(format!("{DLL_PREFIX}candle_lens{DLL_SUFFIX}"));
    let written = || fs::metadata(&library).and_then(|data| data.modified()).ok();
    let before = written();
    let mut session = jupyter.start(&places.root, Some(&evcxr_folder(&copy)))?;
    let mut crates = BTreeSet::new();
    let reply = session.execute(&format!(":dep candle-lens = {}", places.dependency()), PATIENCE, |said| {
        if let Said::Log(text) = said {
            crates.extend(begun(text).map(str::to_string));
        }
    });
    session.end();
    let is_untouched = before.is_some() && before == written();
    copies::remove(&copy);
    let complaint = verdict::complaint(&reply?);
    if !is_untouched || !crates.is_empty() || complaint.is_some() {
        let library = if is_untouched { "was left" } else { "was not left" };
        println!(
            "    evcxr was to compile nothing but the cell: the library {library} as it was, and it says that it compiled {crates:?}. {}",
            complaint.unwrap_or_default()
        );
        return Ok(Count::one(false));
    }
    Ok(Count::one(true))
}

/// The crates that cargo compiles, of which evcxr names those whose names have no hyphen.
fn begun(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix("Compiling ")?.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_crates_are_read() {
        let said = "   Compiling ctx v1.0.0 (/t/ctx)\nwarning: none\n   Compiling libc v0.2.1\n";
        assert_eq!(begun(said).collect::<Vec<_>>(), ["ctx", "libc"]);
    }
}
