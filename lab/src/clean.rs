//! `cargo lab clean`: removes everything the launcher made, and says what and how large it was.

use crate::copies;
use crate::places::Places;
use crate::steps::{open_lock, remove_folder};
use crate::template::workbench;
use crate::trouble::Trouble;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Removes this clone's `.lab/` and, unless `checkout_only`, what every clone shares.
pub fn clean(places: &Places, checkout_only: bool) -> Result<ExitCode, Trouble> {
    let alive = if places.lab.is_dir() { copies::sweep(&places.lab)? } else { 0 };
    if alive > 0 {
        return Err(Trouble::new(
            format!("{alive} kernel(s) of this clone are still running."),
            "Shut them down (in JupyterLab: Kernel, Shut Down All Kernels), then start again.",
        ));
    }
    let shared = (!checkout_only).then_some(&places.cache);
    let folders: Vec<_> = [&places.lab].into_iter().chain(shared).collect();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        refuse_if_busy(folder)?;
    }
    let mut freed = 0;
    for folder in folders {
        if !folder.is_dir() {
            println!("{} is not there", folder.display());
            continue;
        }
        let size = size(folder);
        remove_folder(folder)?;
        println!("removed {} ({} MB)", folder.display(), size / 1_000_000);
        freed += size;
    }
    println!("{} MB freed. Compiled tests are cargo's own: `cargo clean` removes target/.", freed / 1_000_000);
    Ok(ExitCode::SUCCESS)
}

fn refuse_if_busy(folder: &Path) -> Result<(), Trouble> {
    let mut free = true;
    for name in ["set-up.lock", "packages.lock", workbench::LOCK] {
        free &= open_lock(&folder.join(name))?.try_lock().is_ok();
    }
    if free {
        return Ok(());
    }
    Err(Trouble::new(
        format!("Another launcher is setting up {}.", folder.display()),
        "Wait for it or stop it, then start again.",
    ))
}

/// The bytes of a folder's files; a file with several names in it is counted once for each.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let data = entry.metadata().ok()?;
        Some(if data.is_dir() { size(&entry.path()) } else { data.len() })
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn what_was_made_is_removed_and_what_is_shared_only_on_demand() {
        let checkout = std::env::temp_dir().join(format!("candle-lens-lab-clean-{}", std::process::id()));
        let places = Places::for_test(&checkout);
        steps::write(&places.lab.join("a/b"), "12345").unwrap();
        steps::write(&places.cache.join("models/m/c"), "123").unwrap();
        steps::write(&checkout.join("README.md"), "kept").unwrap();
        assert_eq!(size(&checkout), 5 + 3 + 4);

        for path in [places.cache.join(workbench::LOCK), places.lab.join("set-up.lock")] {
            let busy = open_lock(&path).unwrap();
            busy.lock().unwrap();
            assert!(clean(&places, false).is_err() && places.lab.is_dir(), "{}", path.display());
        }
        clean(&places, true).unwrap();
        assert!(!places.lab.exists() && places.cache.exists());
        clean(&places, false).unwrap();
        assert!(!places.cache.exists() && checkout.join("README.md").exists());
        remove_folder(&checkout).unwrap();
    }
}
