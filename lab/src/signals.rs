//! What the standard library does not know of: signals (Unix).

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether an interrupt has come since [`note_interrupts`].
static CAME: AtomicBool = AtomicBool::new(false);

/// Keeps SIGINT from this process until it waits for one. To be called before any thread is started. Programs that are started from
/// here on inherit it, unless they call [`ignore_interrupts`] first.
pub fn hold_interrupts() {
    mask(libc::SIG_BLOCK);
}

/// Ignores SIGINT, here and in the program that this process goes on as. It may be called between fork and exec.
pub fn ignore_interrupts() {
    // SAFETY: to ignore a signal needs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: libc::c_int) {
    let set = only_interrupts();
    // SAFETY: the set is valid, and where the old one would go may be null.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}

/// Only notes interrupts from here on. Programs that are started obey them, even where this one was started with SIGINT ignored: a
/// handler is not inherited.
pub fn note_interrupts() {
    extern "C" fn on_interrupt(_signal: libc::c_int) {
        CAME.store(true, Ordering::Relaxed);
    }
    // SAFETY: all-zero is a valid `sigaction`, and the handler does only what is safe in one.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = on_interrupt as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
    }
}

/// Whether an interrupt has come since [`note_interrupts`].
pub fn is_interrupted() -> bool {
    CAME.load(Ordering::Relaxed)
}

/// Waits for the next interrupt that is held.
pub fn wait_for_interrupt() {
    let (set, mut signal) = (only_interrupts(), 0);
    // SAFETY: both are valid.
    unsafe { libc::sigwait(&raw const set, &raw mut signal) };
}

fn only_interrupts() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call makes it a valid set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        set.assume_init()
    }
}

/// Interrupts the group that a process leads.
pub fn interrupt_group(leader: u32) {
    if let Ok(leader @ 2..) = i32::try_from(leader) {
        // SAFETY: a system call without conditions.
        unsafe { libc::kill(-leader, libc::SIGINT) };
    }
}

/// Ends a process at once.
pub fn end(process: u32) {
    if let Ok(process @ 2..) = i32::try_from(process) {
        // SAFETY: a system call without conditions.
        unsafe { libc::kill(process, libc::SIGKILL) };
    }
}
