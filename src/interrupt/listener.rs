//! Listens to SIGINT. The handler does what is safe in one: it counts, and wakes a thread by a byte through a pipe. That thread
//! decides what an interrupt means that nobody has looked for.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};
use std::{io, mem, process, ptr, thread};

use super::{CAME, OVER, cell, idle, is_heard};
use crate::error::PREFIX;
use crate::progress;

/// How long a cell may take to look for an interrupt.
const GRACE: Duration = Duration::from_secs(2);

/// How long a cell counts as one that looks for interrupts after it did.
const LATELY: Duration = Duration::from_secs(5);

/// When it is said that an interrupt has not had an effect yet.
const SAID_AFTER: Duration = Duration::from_secs(1);

/// Interrupts that are nearer than this are one: a key that repeats, a double click.
const ONE: Duration = Duration::from_millis(300);

/// How often the thread looks whether an interrupt has had its effect.
const REST: Duration = Duration::from_millis(20);

/// A process that uses less processor time than this in a second runs no cell.
const NOTHING: Duration = Duration::from_millis(20);

/// The end of the pipe that the handler writes to.
static WAKE: AtomicI32 = AtomicI32::new(-1);

pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if is_ours() {
            idle::cells_run_here();
            // Without a handler, interrupts stay ignored.
            let _ = install();
        }
    });
}

/// Whether this is a process of cells that was started with SIGINT ignored: as our kernel starts it, and as a shell starts
/// what runs in the background, which is left alone.
fn is_ours() -> bool {
    // SAFETY: all-zero is a valid `sigaction`; the call only reads the present action into it.
    let is_ignored = unsafe {
        let mut action = mem::zeroed::<libc::sigaction>();
        libc::sigaction(libc::SIGINT, ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    };
    is_ignored && std::env::var_os("EVCXR_IS_RUNTIME").is_some()
}

fn install() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let writer = std::os::fd::OwnedFd::from(writer).into_raw_fd();
    WAKE.store(writer, Ordering::Release);
    let reader = File::from(std::os::fd::OwnedFd::from(reader));
    thread::Builder::new().name("candle-lens interrupts".into()).spawn(move || watch(reader))?;
    // SAFETY: all-zero is a valid `sigaction`, and the handler does only what is safe in one.
    let installed = unsafe {
        let mut action = mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = on_interrupt as *const () as usize;
        // Calls that can go on do: whoever reads from standard input is not disturbed.
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGINT, &raw const action, ptr::null_mut())
    };
    if installed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_interrupt(_signal: libc::c_int) {
    CAME.fetch_add(1, Ordering::AcqRel);
    // SAFETY: `write` may be called in a handler; it only fails, without consequence, if thousands of bytes are waiting. The
    // error number of the code that was interrupted is put back.
    unsafe {
        let number = error_number();
        let before = *number;
        libc::write(WAKE.load(Ordering::Acquire), [1u8].as_ptr().cast(), 1);
        *number = before;
    }
}

/// The place of the thread's error number.
#[cfg(target_os = "linux")]
unsafe fn error_number() -> *mut libc::c_int {
    // SAFETY: a function without conditions.
    unsafe { libc::__errno_location() }
}

#[cfg(target_os = "macos")]
unsafe fn error_number() -> *mut libc::c_int {
    // SAFETY: a function without conditions.
    unsafe { libc::__error() }
}

/// An interrupt and the cell in which it came.
struct Interrupt {
    /// Its number, counted from 1, or that of the last one that counts as the same.
    number: u64,
    at: Instant,
    cell: Option<u64>,
}

fn watch(mut reader: File) {
    let mut last: Option<Interrupt> = None;
    let mut bytes = [0; 64];
    loop {
        match reader.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        let came = CAME.load(Ordering::Acquire);
        if last.as_ref().is_none_or(|last| came > last.number) {
            let now = Interrupt { number: came, at: Instant::now(), cell: cell::current() };
            last = Some(attend(now, last.as_ref()));
        }
    }
}

/// Waits until an interrupt has had its effect, or ends the process; returns it with the number of the last one that counts as
/// the same.
fn attend(mut now: Interrupt, last: Option<&Interrupt>) -> Interrupt {
    if let Some(last) = last.filter(|last| last.at.elapsed() < GRACE && last.cell == now.cell && runs(&now)) {
        match last.at.elapsed() < ONE {
            true => over(now.number),
            false => end_process("it was interrupted twice within two seconds"),
        }
    }
    let (mut quiet, mut is_said) = (Quiet::new(), false);
    while OVER.load(Ordering::Acquire) < now.number {
        let waited = now.at.elapsed();
        let came = CAME.load(Ordering::Acquire);
        if came > now.number && waited < ONE {
            now.number = came;
        }
        if !runs(&now) || idle::is_waiting().is_none() && quiet.lasts() {
            over(came);
            now.number = came;
        } else if came > now.number {
            end_process("it was interrupted again before the first interrupt had an effect");
        } else if !is_heard(LATELY) && waited >= GRACE {
            end_process(
                "its cell did not look for the interrupt within two seconds, as the work of candle-lens does, and a loop \
                 that calls check_interrupt()?",
            );
        } else if is_heard(LATELY) && waited >= SAID_AFTER && !mem::replace(&mut is_said, true) {
            progress::say(&still(progress::reported()));
        }
        thread::sleep(REST);
    }
    now
}

/// Marks all interrupts up to this one as over.
fn over(number: u64) {
    OVER.fetch_max(number, Ordering::AcqRel);
}

/// Since when this process has used no processor time to speak of, and how much it had used then.
struct Quiet {
    since: Instant,
    used: Duration,
}

impl Quiet {
    fn new() -> Self {
        Self { since: Instant::now(), used: idle::processor_time() }
    }

    /// Whether it has been so for a second.
    fn lasts(&mut self) -> bool {
        if idle::processor_time() > self.used + NOTHING {
            *self = Self::new();
        }
        self.since.elapsed() >= SAID_AFTER
    }
}

/// Whether the cell in which an interrupt came is still running.
fn runs(now: &Interrupt) -> bool {
    idle::is_waiting() != Some(true) && cell::current() == now.cell
}

/// What is said of an interrupt that has had no effect yet.
fn still(work: Option<String>) -> String {
    let at = match work {
        Some(work) => format!("when the present step of {work:?} ends"),
        None => "when the cell next looks for one".into(),
    };
    format!(
        "the interrupt takes effect {at}. Interrupt again to end the kernel's process at once, which loses all variables."
    )
}

/// Ends this process as SIGINT by itself does, after a sentence on stderr.
fn end_process(why: &str) -> ! {
    let line = format!("{PREFIX}the process of the notebook is ended, and all variables are lost: {why}.\n");
    let _ = io::stderr().write_all(line.as_bytes());
    // The kernel gets a moment to read it.
    thread::sleep(Duration::from_millis(100));
    // SAFETY: calls without conditions; the signal's usual effect is the end of the process.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::kill(libc::getpid(), libc::SIGINT);
    }
    thread::sleep(Duration::from_secs(1));
    process::exit(130);
}
