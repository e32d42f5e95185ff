//! Each kernel's own copy of the template: two kernels that compile in one folder corrupt each other.
//!
//! A copy lives as long as its kernel. Its lock file is held by a janitor process that waits for the kernel's end and then
//! removes the copy; a copy whose lock nobody holds is left over (a crash, a power cut) and is swept at the next start.

use crate::steps::{lock, make_folder, open_lock, remove_folder};
use crate::template;
use crate::trouble::Trouble;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files at least this large are worth a hard link.
const LINK_FROM: u64 = 64 * 1024;

/// The folder of compiled code, which the compiler replaces as a whole, so that a hard link is safe. All else (cargo's
/// notes, what build scripts generate) is rewritten in place, which would change the template and all its copies.
const COMPILED: &str = "deps";

fn folder(lab: &Path) -> PathBuf {
    lab.join("kernels")
}

fn lock_of(copy: &Path) -> PathBuf {
    copy.with_extension("lock")
}

/// Makes a copy for a kernel that starts now; it is in use until the returned lock is dropped.
pub fn make(lab: &Path) -> Result<(PathBuf, File), Trouble> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let copy = folder(lab).join(format!("{}-{}", since.as_millis(), std::process::id()));
    let held = {
        let _names = lock(&lab.join("kernels.lock"), "starting or sweeping kernels")?;
        lock(&lock_of(&copy), "using this kernel's folder")?
    };
    let unchanging = open_lock(&template::lock_file(lab))?;
    unchanging.lock_shared().map_err(|source| Trouble::file("Locking the template of", &copy, &source))?;
    copy_folder(&template::folder(lab), &copy)
        .map_err(|source| Trouble::file("Copying the kernel's template to", &copy, &source))?;
    Ok((copy, held))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name, data) = (entry.path(), entry.file_name(), entry.metadata()?);
        if !is_needed(&name) {
            continue;
        }
        let target = to.join(&name);
        if data.is_dir() {
            copy_folder(&path, &target)?;
        } else if !is_linked(&path, data.len()) || fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target)?;
            // Cargo goes by modification times.
            File::options().write(true).open(&target)?.set_modified(data.modified()?)?;
        }
    }
    Ok(())
}

/// Not what a kernel would write anew anyway: incremental state and the cells of the kernel that built the template.
fn is_needed(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let cell = name.trim_start_matches("lib").strip_prefix("code_").and_then(|rest| rest.split('.').next());
    name != "incremental" && cell.is_none_or(|number| number.parse::<u32>().is_err())
}

/// Our own library and the cells are compiled again while kernels run; nothing of them is shared.
fn is_linked(path: &Path, length: u64) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    length >= LINK_FROM
        && folder == Some(OsStr::new(COMPILED))
        && !name.contains("candle_lens")
        && !name.contains("ctx")
}

/// The janitor: waits until its input ends, which is when the process `kernel` has, ends what that left running, and
/// removes the copy. A kernel whose client is gone, killed or crashed, is ended: nobody could reach it any more.
pub fn wait_and_remove(copy: &Path, kernel: u32, client: u32) {
    #[cfg(unix)]
    std::thread::spawn(move || crate::process::end_orphan(kernel, client));
    #[cfg(not(unix))]
    let _ = client;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    #[cfg(unix)]
    crate::process::end_group(kernel);
    remove(copy);
}

/// Removes a copy and its lock file. What cannot be removed now is swept later.
pub fn remove(copy: &Path) {
    if remove_folder(copy).is_ok() {
        let _ = fs::remove_file(lock_of(copy));
    }
}

/// Removes the copies whose kernel is gone; says how many kernels are alive.
pub fn sweep(lab: &Path) -> Result<usize, Trouble> {
    let folder = folder(lab);
    make_folder(&folder)?;
    let _names = lock(&lab.join("kernels.lock"), "starting or sweeping kernels")?;
    let entries = fs::read_dir(&folder).map_err(|source| Trouble::file("Reading", &folder, &source))?;
    let mut copies: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().with_extension("")).collect();
    copies.sort();
    copies.dedup();
    let mut alive = 0;
    for copy in copies {
        if open_lock(&lock_of(&copy))?.try_lock().is_ok() {
            remove(&copy);
        } else {
            alive += 1;
        }
    }
    Ok(alive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    fn lab(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("candle-lens-lab-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_copy_shares_only_what_is_never_rewritten() {
        let lab = lab("copies");
        let template = template::folder(&lab);
        let large = "x".repeat(LINK_FROM as usize);
        let deps = "ctx/target/triple/debug/deps";
        steps::write(&template.join(deps).join("libcandle_core.rlib"), &large).unwrap();
        steps::write(&template.join(deps).join("libcandle_lens.so"), &large).unwrap();
        steps::write(&template.join(deps).join("libunicode_ident.rlib"), &large).unwrap();
        steps::write(&template.join(deps).join("candle_core.d"), "small").unwrap();
        steps::write(&template.join("Cargo.lock"), &large).unwrap();
        let generated = "ctx/target/triple/debug/build/pulp-1/out/asm.rs";
        steps::write(&template.join(generated), &large).unwrap();
        steps::write(&template.join("ctx/target/triple/debug/libcode_3.so"), "cell").unwrap();
        steps::write(&template.join("ctx/target/triple/debug/incremental/state.bin"), "state").unwrap();
        let (copy, held) = make(&lab).unwrap();

        // Left out by a rule that only looked for "code_", this one made every kernel compile everything anew.
        assert!(copy.join(deps).join("libunicode_ident.rlib").exists());
        let overwrite = |name: &str| fs::write(copy.join(deps).join(name), "new").unwrap();
        overwrite("libcandle_lens.so");
        overwrite("candle_core.d");
        assert_eq!(fs::read_to_string(template.join(deps).join("libcandle_lens.so")).unwrap(), large);
        fs::write(copy.join("Cargo.lock"), "new").unwrap();
        assert_eq!(fs::read_to_string(template.join("Cargo.lock")).unwrap(), large);
        // A build script that ran again in one kernel made every later kernel compile what depends on it.
        fs::write(copy.join(generated), "new").unwrap();
        assert_eq!(fs::read_to_string(template.join(generated)).unwrap(), large);
        assert_eq!(fs::read_to_string(template.join(deps).join("candle_core.d")).unwrap(), "small");
        assert_eq!(fs::read_to_string(copy.join(deps).join("libcandle_core.rlib")).unwrap(), large);
        assert!(!copy.join("ctx/target/triple/debug/libcode_3.so").exists());
        assert!(!copy.join("ctx/target/triple/debug/incremental").exists());
        drop(held);
        steps::remove_folder(&lab).unwrap();
    }

    #[test]
    fn a_copy_keeps_modification_times() {
        let lab = lab("times");
        let file = template::folder(&lab).join("ctx/Cargo.toml");
        steps::write(&file, "old").unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123_000_000);
        File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
        let (copy, _held) = make(&lab).unwrap();
        assert_eq!(fs::metadata(copy.join("ctx/Cargo.toml")).unwrap().modified().unwrap(), old);
        steps::remove_folder(&lab).unwrap();
    }

    #[test]
    fn only_the_copies_of_dead_kernels_are_swept() {
        let lab = lab("sweep");
        steps::write(&template::folder(&lab).join("Cargo.toml"), "").unwrap();
        let (alive, held) = make(&lab).unwrap();
        let dead = folder(&lab).join("1-1");
        steps::write(&dead.join("Cargo.toml"), "").unwrap();
        steps::write(&lock_of(&dead), "").unwrap();
        let half_removed = folder(&lab).join("2-2");
        steps::write(&half_removed.join("Cargo.toml"), "").unwrap();

        assert_eq!(sweep(&lab).unwrap(), 1);
        assert!(alive.is_dir() && !dead.exists() && !half_removed.exists() && !lock_of(&dead).exists());
        drop(held);
        assert_eq!(sweep(&lab).unwrap(), 0);
        assert!(!alive.exists());
        steps::remove_folder(&lab).unwrap();
    }
}
