//! Stays beside evcxr_jupyter while it runs: Jupyter's process for the kernel is this one.
//!
//! Three things need a process that is neither evcxr's nor the cells':
//! - **Interrupts.** JupyterLab sends SIGINT to the kernel's process group, VS Code to the kernel's process alone. evcxr_jupyter is
//!   started with SIGINT ignored, which the process of its cells inherits; the library listens there (its `src/interrupt/`) and ends
//!   only what is running. evcxr_jupyter leads a group of its own, to which each SIGINT is handed on, once; a process of cells in which
//!   nothing listens (the library is not loaded, or an older one) is ended, as evcxr does it, if a cell is running ([`interrupts`]).
//! - **The end of the process of the cells.** evcxr says only which signal it was. Here a sentence says what that means and that all
//!   variables are lost ([`ended`]); what a cell started and left running, for which evcxr would wait, is ended.
//! - **The end of this process.** evcxr_jupyter does not outlive it: on Linux by the system's means, elsewhere by the janitor's.
//!
//! What is known about the process of the cells comes from `/proc` ([`cells`]), so on macOS only interrupts are handed on: one that nobody
//! listens to has no effect while the library is said to be loaded, and restarting the kernel is what remains. On Windows there
//! is nothing to supervise with: an interrupt is a message to evcxr, which ends the process of the cells.

mod cells;
mod ended;
mod interrupts;

use crate::signals;
use std::io::Result;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the library's errors begin with, so that a cell that shows such a line has failed.
const ERROR: &str = crate::verdict::ERROR;

/// Starts the kernel and waits for its end.
///
/// `listens` says whether the library is loaded before the first cell. The janitor is told which group to end.
pub fn run(mut kernel: Command, janitor: Option<Command>, listens: bool) -> Result<ExitCode> {
    lead_a_group();
    signals::hold_interrupts();
    kernel.process_group(0);
    // SAFETY: what is called between fork and exec may be called there.
    unsafe { kernel.pre_exec(before_exec) };
    let mut child = kernel.spawn()?;
    // Its standard input is the end of the janitor's pipe.
    drop(kernel);
    let evcxr = child.id();
    if let Some(Err(source)) = janitor.map(|mut janitor| janitor.arg(evcxr.to_string()).spawn()) {
        let _ = child.kill();
        return Err(source);
    }
    let watched = Arc::new(Mutex::new(None));
    let shared = Arc::clone(&watched);
    thread::spawn(move || interrupts::attend(evcxr, listens, &shared));
    if cfg!(target_os = "linux") {
        thread::spawn(move || ended::watch(evcxr, &watched));
    }
    let status = child.wait()?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// A group of our own, which the janitor ends when nobody needs the kernel any more: VS Code starts a kernel in its own.
fn lead_a_group() {
    // SAFETY: system calls without conditions; the second one fails where we lead a group or a session already.
    unsafe {
        if libc::getpgrp() != libc::getpid() {
            libc::setpgid(0, 0);
        }
    }
}

/// In the process that becomes evcxr_jupyter.
fn before_exec() -> Result<()> {
    signals::ignore_interrupts();
    // SAFETY: a system call that may be made between fork and exec.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_kernel_ignores_interrupts() {
        // The supervisor's own threads hold them; nothing of that is inherited.
        let kernel = std::thread::spawn(|| {
            signals::hold_interrupts();
            let mut kernel = Command::new("sh");
            kernel.args(["-c", "kill -INT $$; grep SigBlk /proc/self/status; exit 7"]);
            // SAFETY: as above.
            unsafe { kernel.pre_exec(before_exec) };
            kernel.output().unwrap()
        });
        let kernel = kernel.join().unwrap();
        assert_eq!(kernel.status.code(), Some(7));
        if cfg!(target_os = "linux") {
            assert_eq!(String::from_utf8_lossy(&kernel.stdout), "SigBlk:\t0000000000000000\n");
        }
        let ended = Command::new("sh").args(["-c", "kill -INT $$; exit 7"]).status().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGINT), "the tests themselves are started with SIGINT ignored");
    }
}
