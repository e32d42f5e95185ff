//! What is said when the process of the cells has ended (Linux).
//!
//! evcxr reads what that process writes on stderr until nobody has it open. We have, so it waits for our sentence.

use super::{ERROR, cells};
use crate::signals;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// How often a process that is not there yet is looked for, so many times; then more rarely: one that ended between two cells
/// is replaced only when the next one runs.
const LOOKING: Duration = Duration::from_millis(100);
const OFTEN: u32 = 50;
const RARELY: Duration = Duration::from_secs(1);

/// Where evcxr ends the process itself, for `:clear` or at the kernel's end, it asks for the status at once. Otherwise it waits
/// until we let go of stderr.
const ASKED_FOR: Duration = Duration::from_millis(50);

/// How long what a cell started and left running may go on writing to the outputs of a process that has ended.
const LEFT: Duration = Duration::from_millis(500);

/// The process of the cells.
pub struct Watched {
    pub process: u32,
    pub stderr: File,
    /// Whether why it ends has been said.
    pub is_said: bool,
    outputs: Vec<PathBuf>,
    /// How often the system had run out of memory when it began.
    out_of_memory: u64,
}

/// Watches each process of the cells in turn.
pub fn watch(evcxr: u32, watched: &Mutex<Option<Watched>>) {
    let mut looked = 0;
    loop {
        let Some((process, stderr)) = cells::find(evcxr).and_then(|process| Some((process, open(process)?))) else {
            sleep(if looked < OFTEN { LOOKING } else { RARELY });
            looked += 1;
            continue;
        };
        looked = 0;
        let begun = Watched {
            process,
            stderr,
            is_said: false,
            outputs: cells::outputs(process),
            out_of_memory: out_of_memory(),
        };
        *lock(watched) = Some(begun);
        wait(process);
        sleep(ASKED_FOR);
        let stat = cells::stat(process);
        let Some(mut ended) = lock(watched).take() else { continue };
        if let Some(stat) = stat.filter(|stat| stat.state == 'Z') {
            let is_full = out_of_memory() > ended.out_of_memory;
            if let Some(what) = what(stat.status, is_full).filter(|_| !ended.is_said) {
                let line = format!(
                    "{ERROR}the process of the notebook has ended, and all variables are lost: {what}. Run the cells that define them again.\n"
                );
                let _ = ended.stderr.write_all(line.as_bytes());
            }
        }
        let outputs = std::mem::take(&mut ended.outputs);
        drop(ended);
        end_others(process, &outputs);
    }
}

fn lock(watched: &Mutex<Option<Watched>>) -> std::sync::MutexGuard<'_, Option<Watched>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens what a process has as its stderr.
fn open(process: u32) -> Option<File> {
    File::options().write(true).open(format!("/proc/{process}/fd/2")).ok()
}

/// Waits until a process, which is not a child of ours, has ended.
#[cfg(target_os = "linux")]
fn wait(process: u32) {
    // SAFETY: system calls; the descriptor is a new one, which the file closes.
    let descriptor = unsafe {
        let made = libc::syscall(libc::SYS_pidfd_open, process, 0);
        (made >= 0).then(|| <File as std::os::fd::FromRawFd>::from_raw_fd(made as i32))
    };
    while cells::stat(process).is_some_and(|stat| stat.state != 'Z') {
        let Some(descriptor) = &descriptor else {
            sleep(LOOKING);
            continue;
        };
        let mut asked =
            libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(descriptor), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut asked, 1, -1) };
    }
}

#[cfg(not(target_os = "linux"))]
fn wait(_process: u32) {}

/// What the status of a process that has ended means; none where the process itself has said why.
fn what(status: i32, is_full: bool) -> Option<String> {
    if libc::WIFEXITED(status) {
        return Some(format!("a cell ended it, with exit code {}", libc::WEXITSTATUS(status)));
    }
    let signal = libc::WTERMSIG(status);
    Some(match signal {
        libc::SIGINT => return None,
        libc::SIGKILL if is_full => "the system killed it, because the memory ran out".into(),
        libc::SIGKILL => "it was killed (signal 9), as the system does when the memory runs out".into(),
        libc::SIGABRT => {
            "it was aborted (signal 6). If no line above says why, a cell called abort() or candle could not get memory"
                .into()
        }
        libc::SIGSEGV | libc::SIGBUS => format!(
            "it crashed (signal {signal}): its stack overflowed, as by a function that calls itself without end, or unsafe code used \
             memory that it does not have"
        ),
        other => format!("it was ended by signal {other}"),
    })
}

/// How often the system has killed a process for want of memory.
fn out_of_memory() -> u64 {
    let counts = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    counts.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

/// Ends what still has an output of a process that has ended: evcxr would wait for it.
fn end_others(ended: u32, outputs: &[PathBuf]) {
    let is_pipe = |output: &&PathBuf| output.to_string_lossy().starts_with("pipe:");
    let pipes: Vec<PathBuf> = outputs.iter().filter(is_pipe).cloned().collect();
    if pipes.is_empty() || cells::writers(&pipes).is_empty() {
        return;
    }
    sleep(LEFT);
    for process in cells::writers(&pipes).into_iter().filter(|process| *process != ended) {
        signals::end(process);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn each_end_is_put_into_words() {
        let of = |script: &str| {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            wait(child.id());
            let seen = cells::stat(child.id()).unwrap().status;
            assert_eq!(seen, child.wait().unwrap().into_raw());
            what(seen, false)
        };
        assert!(of("exit 3").unwrap().contains("exit code 3"));
        assert!(of("kill -9 $$").unwrap().contains("killed (signal 9), as the system does"));
        assert!(of("kill -ABRT $$").unwrap().contains("aborted (signal 6)"));
        assert!(of("kill -SEGV $$").unwrap().contains("its stack overflowed"));
        assert!(of("kill -TERM $$").unwrap().contains("signal 15"));
        assert_eq!(what(libc::SIGINT, false), None);
        assert!(what(libc::SIGKILL, true).unwrap().contains("the memory ran out"));
        assert!(fs::read_to_string("/proc/vmstat").unwrap().contains("oom_kill "));
    }

    #[test]
    fn what_a_cell_left_running_is_ended() {
        let mut cell = Command::new("sh");
        cell.args(["-c", "sleep 60 & read line"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cell = cell.spawn().unwrap();
        let outputs: Vec<PathBuf> = cells::outputs(cell.id()).into_iter().take(1).collect();
        sleep(Duration::from_millis(200));
        drop(cell.stdin.take());
        cell.wait().unwrap();
        assert_eq!(cells::writers(&outputs).len(), 1);
        end_others(cell.id(), &outputs);
        sleep(Duration::from_millis(100));
        assert!(cells::writers(&outputs).is_empty());
    }
}
