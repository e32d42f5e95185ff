//! Whether a cell is running, as far as the system says.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// The thread on which cells run; 0 before it is known.
#[cfg(target_os = "linux")]
static THREAD: AtomicI32 = AtomicI32::new(0);

/// Records that cells run on the calling thread.
pub(super) fn cells_run_here() {
    // SAFETY: a system call without arguments, which always succeeds.
    #[cfg(target_os = "linux")]
    THREAD.store(unsafe { libc::gettid() }, Ordering::Relaxed);
}

/// Whether the thread of the cells waits for the next one: it reads from standard input, by which evcxr sends them. `None`
/// where the system does not say.
#[cfg(target_os = "linux")]
pub(super) fn is_waiting() -> Option<bool> {
    let path = format!("/proc/self/task/{}/syscall", THREAD.load(Ordering::Relaxed));
    // The number of the system call and its arguments in hexadecimal, or "running".
    let call = std::fs::read_to_string(path).ok()?;
    let mut words = call.split_whitespace();
    let is_read = words.next() == Some(&libc::SYS_read.to_string());
    Some(is_read && words.next() == Some("0x0"))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_waiting() -> Option<bool> {
    None
}

/// The processor time that this process has used.
pub(super) fn processor_time() -> Duration {
    // SAFETY: all-zero is a valid `rusage`, and the call fills the one that it is handed.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, 1000 * time.tv_usec as u32);
    time(usage.ru_utime) + time(usage.ru_stime)
}
