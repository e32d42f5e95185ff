//! Starting other programs with the environment they would have without us.

use crate::trouble::Trouble;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

/// Where the dynamic linker looks first.
pub const LIBRARY_PATH: &str = if cfg!(windows) {
    "PATH"
} else if cfg!(target_os = "macos") {
    "DYLD_FALLBACK_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// A command that does not inherit what `cargo run` added to our own environment.
///
/// That matters: `cargo run` puts `target/debug` first where libraries are sought, and a notebook's cells would load the
/// `libcandle_lens.so` of the tests instead of the one they were compiled against.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
            command.env_remove(&name);
        }
    }
    command.env("PATH", search_path());
    let target = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_path_buf()));
    if let (Some(paths), Some(target)) = (std::env::var_os(LIBRARY_PATH), target) {
        command.env(LIBRARY_PATH, without_folder(&paths, &target));
    }
    command
}

/// A search path without the entries that lie in `folder`.
fn without_folder(paths: &OsStr, folder: &Path) -> OsString {
    let kept: Vec<PathBuf> = std::env::split_paths(paths).filter(|path| !path.starts_with(folder)).collect();
    std::env::join_paths(kept).unwrap_or_default()
}

/// The cargo that started us, so that every step uses one toolchain.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// This program under another name in `folder`, by which it knows what it is called for.
pub fn link_launcher(folder: &Path, name: &str) -> Result<PathBuf, Trouble> {
    let link = folder.join(program_file(name));
    std::env::current_exe()
        .and_then(|launcher| {
            std::fs::hard_link(&launcher, &link).or_else(|_| std::fs::copy(&launcher, &link).map(drop))
        })
        .map_err(|source| Trouble::file("Writing", &link, &source))?;
    Ok(link)
}

/// The file of a program of this name.
pub fn program_file(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

/// The first program of this name where programs are sought.
pub fn on_path(program: &str) -> Option<PathBuf> {
    found_in(&search_path(), program)
}

fn found_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    let file = program_file(program);
    std::env::split_paths(path).map(|folder| folder.join(&file)).find(|path| path.is_file())
}

/// Where programs are sought: cargo's own folder too, where no cargo is found without. A Jupyter that ran before Rust was installed does
/// not know it, and starts our kernels all the same.
pub fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rust = cargo_home().map(|home| home.join("bin")).filter(|folder| folder.is_dir());
    match rust {
        Some(rust) if found_in(&path, "cargo").is_none() => {
            std::env::join_paths(std::env::split_paths(&path).chain([rust])).unwrap_or(path)
        }
        _ => path,
    }
}

/// Cargo's folder, by cargo's rules.
pub fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// Runs a command to its end, its output going where ours goes.
///
/// # Errors
/// It could not be started or did not succeed; `fix` says what to do then.
pub fn run(command: &mut Command, fix: &str) -> Result<(), Trouble> {
    let status =
        command.status().map_err(|source| Trouble::new(format!("{} did not start: {source}.", line(command)), fix))?;
    if status.success() { Ok(()) } else { Err(Trouble::new(format!("{} ended with {status}.", line(command)), fix)) }
}

/// Goes on as another program, which gets our signals; where systems cannot do that, waits for it.
#[cfg(unix)]
pub fn become_program(mut command: Command) -> std::io::Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(&mut command))
}

/// Goes on as another program, which gets our signals; where systems cannot do that, waits for it.
#[cfg(not(unix))]
pub fn become_program(mut command: Command) -> std::io::Result<ExitCode> {
    command.status().map(exit_code)
}

/// What this program ends with when another one ended so.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

/// Kills the processes of the group that a process led, if it led one: a compiler or a cell that outlived its kernel.
#[cfg(unix)]
pub fn end_group(leader: u32) {
    let Ok(listed) = Command::new("ps").args(["-A", "-o", "pgid=,pid="]).output() else { return };
    let members = members(&String::from_utf8_lossy(&listed.stdout), leader);
    if !members.is_empty() {
        let _ = Command::new("kill").arg("-KILL").args(members).stderr(std::process::Stdio::null()).status();
    }
}

/// How often a kernel is checked for whether its client is still there.
#[cfg(unix)]
const LOOKING: std::time::Duration = std::time::Duration::from_secs(5);

/// Waits until `client` is no longer the parent of `process`, or until that is gone, and ends `group` and the group that the process
/// leads. Without a client (0) there is nothing to wait for.
#[cfg(unix)]
pub fn end_orphan(process: u32, client: u32, group: u32) {
    if client == 0 {
        return;
    }
    while parent(process) == Some(client) {
        std::thread::sleep(LOOKING);
    }
    end_group(process);
    end_group(group);
}

/// The parent of a process that is there.
#[cfg(unix)]
fn parent(process: u32) -> Option<u32> {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) {
        // The second field, the program's name in parentheses, may hold anything.
        return stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok();
    }
    let listed = Command::new("ps").args(["-o", "ppid=", "-p", &process.to_string()]).output().ok()?;
    String::from_utf8_lossy(&listed.stdout).trim().parse().ok()
}

/// The processes of a group in a list of groups and processes.
#[cfg(unix)]
fn members(listed: &str, group: u32) -> Vec<String> {
    let pairs = listed.lines().filter_map(|line| line.split_whitespace().collect::<Vec<_>>().try_into().ok());
    pairs.filter(|[owner, _]: &[&str; 2]| owner.parse() == Ok(group)).map(|[_, id]| id.to_string()).collect()
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    match !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c)) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A command as one would type it.
pub fn line(command: &Command) -> String {
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_a_group_left_running_is_ended() {
        use std::os::unix::process::CommandExt;
        assert_eq!(members("   1     1\n 700   702\n1700  1701\n 700 70001\n", 700), ["702", "70001"]);
        let mut leader = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        end_group(leader.id());
        assert!(!leader.wait().unwrap().success());
    }

    #[cfg(unix)]
    #[test]
    fn a_process_whose_parent_is_gone_is_ended() {
        use std::os::unix::process::CommandExt;
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        assert_eq!(parent(child.id()), Some(std::process::id()));
        end_orphan(child.id(), 0, child.id());
        assert!(child.try_wait().unwrap().is_none(), "a kernel without a client to miss goes on");
        // As if another process had started it, which is no longer its parent.
        end_orphan(child.id(), std::process::id() + 1, child.id());
        assert!(!child.wait().unwrap().success());
        assert_eq!(parent(child.id()), None);
        let mut other = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        end_orphan(child.id(), 1, other.id());
        assert!(!other.wait().unwrap().success(), "what a process that is gone has started is ended");
    }

    #[test]
    fn entries_of_the_target_folder_are_dropped() {
        let given = std::env::join_paths(["/repo/target/debug/deps", "/usr/lib", "/repo/target-other"]).unwrap();
        let expected = std::env::join_paths(["/usr/lib", "/repo/target-other"]).unwrap();
        assert_eq!(without_folder(&given, Path::new("/repo/target")), expected);
    }
}
