//! Interrupts: what happens when the stop button of a notebook is pressed.
//!
//! The kernel starts the process of the cells with SIGINT ignored. There, and nowhere else, [`listen`] installs a handler:
//! an ordinary program keeps its Ctrl-C. Work of this library looks for an interrupt at each of its steps and then returns
//! [`Error::Interrupted`], which ends the cell; variables of earlier cells are still there. A cell of one's own code looks
//! by [`check_interrupt`], or by the steps of a [`Progress`](crate::progress::Progress).
//!
//! # Rules
//! - An interrupt ends the library's work that is going on, of every thread. Otherwise the next look in the same cell returns
//!   it, once. It never ends work of a later cell.
//! - While no cell runs, it does nothing.
//! - It ends the process, and all variables are lost, if the running cell does not look for two seconds while no work of the
//!   library is going on (after a look, for five seconds), or if it is repeated before it has had an effect, or within two
//!   seconds in the same cell. A sentence on stderr says so before.
//!
//! # Limits
//! Linux and macOS; elsewhere `listen` does nothing, and an interrupt ends the process as evcxr does it. One call into candle,
//! such as a backward pass, is not interrupted: the interrupt takes effect at its end. Whether a cell is running, Linux says
//! (the thread of the cells waits for the next one by reading from its standard input). Where it does not, a process that
//! uses no processor time for a second counts as waiting, so that a cell that only sleeps is not interrupted.

pub(crate) mod cell;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod idle;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod listener;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::progress;

/// How many interrupts there have been.
static CAME: AtomicU64 = AtomicU64::new(0);

/// The last of them that is over: an error was returned for it, or no cell was running.
static OVER: AtomicU64 = AtomicU64::new(0);

/// How many threads are doing work of the library.
static WORKING: AtomicUsize = AtomicUsize::new(0);

/// When something last looked for an interrupt, in milliseconds of [`now`].
static LOOKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static THREAD: Thread = const {
        Thread { depth: Cell::new(0), before: Cell::new(0), rehearsed: Cell::new(false), is_deaf: Cell::new(false) }
    };
}

/// The library's work of one thread.
struct Thread {
    /// How many pieces of work are nested.
    depth: Cell<usize>,
    /// The last interrupt that was over when the outermost of them began.
    before: Cell<u64>,
    /// Whether a rehearsal has come to its interrupt.
    rehearsed: Cell<bool>,
    /// Whether what it does is not to be interrupted.
    is_deaf: Cell<bool>,
}

/// Returns an error if the notebook was interrupted: for loops of your own, which nothing else could stop without losing all
/// variables. It costs a few nanoseconds, so call it in each turn. Inside a function that is handed to the library, such as a
/// hook, it works as well.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut sum = 0.;
/// for number in 0..1000 {
///     check_interrupt()?;
///     sum += (number as f64).sqrt();
/// }
/// assert!(sum > 0.);
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Interrupted`] after an interrupt, once outside of the library's work.
pub fn check_interrupt() -> Result<()> {
    // After the process of the cells has ended, this may be the first of the library that the new one calls.
    listen();
    if !is_due() {
        return Ok(());
    }
    Err(progress::interrupted().unwrap_or_else(|| Error::interrupted("the code of the cell", 0, 0, "")))
}

/// Waits for so long.
///
/// # Errors
/// [`Error::Interrupted`] as soon as an interrupt comes.
pub(crate) fn wait(how_long: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        check_interrupt()?;
        let left = how_long.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Makes this process listen to interrupts if it is one of evcxr's whose SIGINT the kernel has set to be ignored. The kernel
/// calls it at its start, on the thread on which cells run.
#[doc(hidden)]
pub fn listen() {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    listener::listen();
}

/// Whether an interrupt has come that whoever asks has to return.
pub(crate) fn is_due() -> bool {
    LOOKED.store(now(), Ordering::Relaxed);
    let came = CAME.load(Ordering::Acquire);
    THREAD
        .try_with(|thread| {
            if thread.is_deaf.get() {
                return false;
            }
            let before = if thread.depth.get() > 0 { thread.before.get() } else { OVER.load(Ordering::Acquire) };
            let is_due = came > before;
            if is_due {
                OVER.fetch_max(came, Ordering::AcqRel);
            }
            is_due || thread.rehearsed.get()
        })
        .unwrap_or(false)
}

/// Does something short that an interrupt must not end, such as saving what was done before it.
pub(crate) fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    struct Hears(bool);
    impl Drop for Hears {
        fn drop(&mut self) {
            let _ = THREAD.try_with(|thread| thread.is_deaf.set(self.0));
        }
    }
    let _hears = Hears(THREAD.with(|thread| thread.is_deaf.replace(true)));
    work()
}

/// Sets whether this thread's rehearsal has come to its interrupt.
pub(crate) fn rehearse(is_interrupted: bool) {
    THREAD.with(|thread| thread.rehearsed.set(is_interrupted));
}

/// Milliseconds since the first call, and 1 more.
fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// Whether work is going on that looks for interrupts, or something looked at most `lately` ago.
#[cfg_attr(not(any(target_os = "linux", target_os = "macos")), expect(dead_code))]
fn is_heard(lately: Duration) -> bool {
    let looked = LOOKED.load(Ordering::Relaxed);
    WORKING.load(Ordering::Acquire) > 0 || looked > 0 && now() < looked + lately.as_millis() as u64
}

/// A piece of the library's own work, until it is dropped: it looks for interrupts at its steps.
#[derive(Debug)]
pub(crate) struct Working {
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Working {
    pub(crate) fn begin() -> Self {
        listen();
        THREAD.with(|thread| {
            if thread.depth.replace(thread.depth.get() + 1) == 0 {
                thread.before.set(OVER.load(Ordering::Acquire));
                WORKING.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { thread: PhantomData }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // A thread that is exiting looks no more.
        let _ = THREAD.try_with(|thread| {
            thread.depth.set(thread.depth.get() - 1);
            if thread.depth.get() == 0 {
                WORKING.fetch_sub(1, Ordering::AcqRel);
            }
        });
    }
}
