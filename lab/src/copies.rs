//! Each kernel's own copy of the template: two kernels that compile in one folder corrupt each other.
//!
//! A copy lives as long as its kernel. Its lock file is held by a janitor process that waits for the kernel's end and then
//! removes the copy; a copy whose lock nobody holds is left over (a crash, a power cut) and is swept at the next start.
//!
//! The template of another user, who set it up for many, is read where it lies: a copy has symbolic links to it (a hard link to
//! another's file is forbidden, and a copy would cost each kernel 1 GB). The janitor then holds the template's lock too, so that
//! it is not compiled anew under a running kernel.

use crate::steps::{lock, make_folder, open_lock, remove_folder};
use crate::trouble::Trouble;
use crate::{places, template};
use std::env::consts::DLL_PREFIX;
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

/// How a copy shares the large files of the template.
#[derive(Clone, Copy, PartialEq)]
pub enum Sharing {
    /// Our own: by hard links, but for what is compiled again while kernels run.
    HardLinks,
    /// Another user's, and nothing has to be compiled: by symbolic links.
    SymbolicLinks {
        /// Our library as well, because its sources are those that were compiled.
        library: bool,
    },
}

/// What keeps a copy, and what it was made from, as they are.
pub struct Held {
    /// The lock of the copy.
    pub copy: File,
    /// The lock of another user's template.
    pub template: Option<File>,
}

fn names_lock(folder: &Path) -> PathBuf {
    folder.with_extension("lock")
}

fn lock_of(copy: &Path) -> PathBuf {
    copy.with_extension("lock")
}

/// Makes a copy for a kernel that starts now; it is in use until what is returned with it is dropped.
pub fn make(lab: &Path) -> Result<(PathBuf, Held), Trouble> {
    let folder = places::kernels(lab)?;
    places::refuse_space(&folder)?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let copy = folder.join(format!("{}-{}", since.as_millis(), std::process::id()));
    let held = {
        let _names = lock(&names_lock(&folder), "starting or sweeping kernels")?;
        lock(&lock_of(&copy), "using this kernel's folder")?
    };
    let unchanging = open_lock(&template::lock_file(lab))?;
    unchanging.lock_shared().map_err(|source| Trouble::file("Locking the template of", &copy, &source))?;
    let is_ours = folder.starts_with(lab);
    let sharing = match is_ours {
        true => Sharing::HardLinks,
        false => Sharing::SymbolicLinks { library: template::has_these_sources(lab) },
    };
    copy_folder(&template::folder(lab), &copy, sharing, &is_needed).map_err(|source| {
        remove(&copy);
        Trouble::file("Copying the kernel's template to", &copy, &source)
    })?;
    Ok((copy, Held { copy: held, template: (!is_ours).then_some(unchanging) }))
}

/// Gives the folder `to` the template of `lab`, as if it had been built there.
pub fn seed(lab: &Path, to: &Path) -> Result<(), Trouble> {
    let unchanging = open_lock(&template::lock_file(lab))?;
    unchanging.lock_shared().map_err(|source| Trouble::file("Locking the template of", lab, &source))?;
    copy_folder(&template::folder(lab), &template::folder(to), Sharing::HardLinks, &is_needed)
        .map_err(|source| Trouble::file("Copying the kernel's template to", to, &source))
}

/// Copies a folder but for the names that are not `needed`.
pub fn copy_folder(from: &Path, to: &Path, sharing: Sharing, needed: &dyn Fn(&OsStr) -> bool) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name, data) = (entry.path(), entry.file_name(), entry.metadata()?);
        if !needed(&name) {
            continue;
        }
        let target = to.join(&name);
        if data.is_dir() {
            copy_folder(&path, &target, sharing, needed)?;
        } else if !is_linked(&path, data.len(), sharing) || !link(&path, &target, sharing) {
            fs::copy(&path, &target)?;
            // Cargo goes by modification times. What was copied may be another's, and read-only.
            make_writable(&target)?;
            File::options().write(true).open(&target)?.set_modified(data.modified()?)?;
        }
    }
    Ok(())
}

/// Whether the file has got another name.
fn link(from: &Path, to: &Path, sharing: Sharing) -> bool {
    match sharing {
        Sharing::HardLinks => fs::hard_link(from, to).is_ok(),
        #[cfg(unix)]
        Sharing::SymbolicLinks { .. } => std::os::unix::fs::symlink(from, to).is_ok(),
        #[cfg(not(unix))]
        Sharing::SymbolicLinks { .. } => false,
    }
}

fn make_writable(file: &Path) -> std::io::Result<()> {
    let mut permissions = fs::metadata(file)?.permissions();
    if permissions.readonly() {
        #[cfg(unix)]
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        #[cfg(not(unix))]
        permissions.set_readonly(false);
        fs::set_permissions(file, permissions)?;
    }
    Ok(())
}

/// Not what a kernel would write anew anyway: incremental state and the cells of the kernel that built the template.
pub fn is_needed(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let cell = name.trim_start_matches("lib").strip_prefix("code_").and_then(|rest| rest.split('.').next());
    name != "incremental" && cell.is_none_or(|number| number.parse::<u32>().is_err())
}

/// Our own library and the cells are compiled again while kernels run; nothing of them is shared, but the library where it cannot
/// change. Cargo has it under a second name above the folder of compiled code, which it checks to be the same file.
fn is_linked(path: &Path, length: u64, sharing: Sharing) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (ours, compiled) = (name.contains("candle_lens"), folder == Some(OsStr::new(COMPILED)));
    let may_share = match sharing {
        Sharing::SymbolicLinks { library: true } if ours => compiled || name.starts_with(DLL_PREFIX),
        _ => compiled && !ours,
    };
    length >= LINK_FROM && may_share && !name.contains("ctx")
}

/// The janitor: waits until its input ends, which is when evcxr has, which leads `group`; ends what that left running, and
/// removes the copy. A `kernel` (the launcher beside evcxr) whose client is gone, killed or crashed, is ended: nobody could reach
/// it any more.
pub fn wait_and_remove(copy: &Path, kernel: u32, client: u32, group: u32) {
    #[cfg(unix)]
    std::thread::spawn(move || crate::process::end_orphan(kernel, client, group));
    #[cfg(not(unix))]
    let _ = (kernel, client, group);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    #[cfg(unix)]
    crate::process::end_group(group);
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
    let folder = places::kernels(lab)?;
    make_folder(&folder)?;
    let _names = lock(&names_lock(&folder), "starting or sweeping kernels")?;
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

    #[cfg(unix)]
    #[test]
    fn another_user_s_template_is_linked_where_nothing_is_compiled() {
        let lab = lab("others");
        let template = template::folder(&lab);
        let large = "x".repeat(LINK_FROM as usize);
        let debug = "ctx/target/triple/debug";
        let files = [
            "deps/libcandle_core.rlib",
            "deps/libcandle_lens.rlib",
            "libcandle_lens.so",
            "deps/libctx.so",
            "deps/small.d",
        ];
        for file in files {
            let content = if file == "deps/small.d" { "small" } else { &large };
            steps::write(&template.join(debug).join(file), content).unwrap();
            let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o444);
            fs::set_permissions(template.join(debug).join(file), read_only).unwrap();
        }
        for (library, linked) in [(true, &files[..3]), (false, &files[..1])] {
            let copy = lab.join(format!("copy-{library}"));
            copy_folder(&template, &copy, Sharing::SymbolicLinks { library }, &is_needed).unwrap();
            for file in files {
                let (path, is_linked) = (copy.join(debug).join(file), linked.contains(&file));
                assert_eq!(path.is_symlink(), is_linked, "{file}, library {library}");
                assert!(
                    is_linked || !fs::metadata(&path).unwrap().permissions().readonly(),
                    "{file} is rewritten in place"
                );
            }
        }
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
        let folder = places::kernels(&lab).unwrap();
        let dead = folder.join("1-1");
        steps::write(&dead.join("Cargo.toml"), "").unwrap();
        steps::write(&lock_of(&dead), "").unwrap();
        let half_removed = folder.join("2-2");
        steps::write(&half_removed.join("Cargo.toml"), "").unwrap();

        assert_eq!(sweep(&lab).unwrap(), 1);
        assert!(alive.is_dir() && !dead.exists() && !half_removed.exists() && !lock_of(&dead).exists());
        drop(held);
        assert_eq!(sweep(&lab).unwrap(), 0);
        assert!(!alive.exists());
        steps::remove_folder(&lab).unwrap();
    }
}
