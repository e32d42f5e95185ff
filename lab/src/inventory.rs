//! What the warm template holds, by name and length. A library that a power cut or a full disk has cut off would end every
//! kernel before its first cell, and cargo, which goes by modification times, would never compile it again.

use crate::steps::digest;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What compiled code is called.
const COMPILED: [&str; 6] = ["rlib", "rmeta", "so", "dylib", "dll", "lib"];

/// The file of the locked versions.
const LOCK: &str = "Cargo.lock";

/// One line for each compiled file and one for the locked versions.
pub fn take(template: &Path) -> String {
    let lines = files(template).into_iter().filter_map(|path| line(template, &path));
    lines.collect::<Vec<_>>().join("\n")
}

/// Waits until the disk has these files: what is recorded must survive a power cut.
pub fn settle(template: &Path) {
    for path in files(template) {
        // A system that cannot do this for a file has nothing better.
        let _ = File::open(path).and_then(|file| file.sync_all());
    }
}

/// The files of `recorded` that are missing or are not what they were.
pub fn damaged(template: &Path, recorded: &str) -> Vec<PathBuf> {
    let differs = |line_then: &&str| {
        let path = line_then.split_once(' ').map(|(_, name)| template.join(name));
        path.is_none_or(|path| line(template, &path).as_deref() != Some(*line_then))
    };
    let names = recorded.lines().filter(differs).filter_map(|line| line.split_once(' '));
    names.map(|(_, name)| template.join(name)).collect()
}

/// The length of a compiled file, or what the locked versions hold, and where it lies in the template.
fn line(template: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(template).ok()?.to_str()?;
    let about = match name {
        LOCK => digest(&fs::read(path).ok()?),
        _ => fs::metadata(path).ok()?.len().to_string(),
    };
    Some(format!("{about} {name}"))
}

fn files(template: &Path) -> Vec<PathBuf> {
    let targets = fs::read_dir(template.join("ctx/target")).into_iter().flatten().flatten();
    let folders = targets.map(|target| target.path().join("debug/deps"));
    let compiled = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let is_compiled = |path: &PathBuf| path.extension().is_some_and(|kind| COMPILED.iter().any(|known| kind == *known));
    let mut files: Vec<PathBuf> = compiled.map(|entry| entry.path()).filter(is_compiled).collect();
    files.push(template.join(LOCK));
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn what_is_cut_off_missing_or_changed_is_found() {
        let template = std::env::temp_dir().join(format!("candle-lens-lab-inventory-{}", std::process::id()));
        let deps = template.join("ctx/target/triple/debug/deps");
        steps::write(&deps.join("libcandle_core.rlib"), "whole").unwrap();
        steps::write(&deps.join("libcandle_lens.so"), "whole too").unwrap();
        steps::write(&deps.join("candle_core.d"), "a note").unwrap();
        steps::write(&template.join(LOCK), "version = 4").unwrap();
        let recorded = take(&template);
        assert_eq!(recorded.lines().count(), 3);
        settle(&template);
        assert!(damaged(&template, &recorded).is_empty());
        fs::write(deps.join("libcandle_lens.so"), "who").unwrap();
        assert_eq!(damaged(&template, &recorded), [deps.join("libcandle_lens.so")]);
        fs::remove_file(deps.join("libcandle_core.rlib")).unwrap();
        fs::write(template.join(LOCK), "version = 5").unwrap();
        assert_eq!(damaged(&template, &recorded).len(), 3);
        steps::remove_folder(&template).unwrap();
    }
}
