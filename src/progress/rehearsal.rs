//! Runs work under a test clock and records every moment at which something was reported.

use std::time::Duration;

use super::THREAD;
use crate::interrupt;

/// Something that work reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// The time on the rehearsal's clock.
    pub at: Duration,
    /// What is being done.
    pub what: String,
    pub event: Event,
    /// The number of pieces of work around it.
    pub depth: usize,
    /// The work that is reported, and the fraction of it that is done, 0 to 1; `None` if its length is unknown.
    pub of: String,
    pub share: Option<f64>,
    /// The line that became due.
    pub line: Option<String>,
}

/// What happened to a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It began; opaque work cannot be counted.
    Began {
        is_opaque: bool,
    },
    Stepped,
    Ended,
}

/// The clock and what has been reported so far.
pub(super) struct Rehearsal {
    pub clock: Box<dyn Fn() -> Duration>,
    pub moments: Vec<Moment>,
    /// After how many moments an interrupt comes.
    pub interrupted_at: usize,
}

/// Runs `work` on this thread under `clock` instead of the real one; its reports are returned and not written.
pub fn rehearse<T>(clock: impl Fn() -> Duration + 'static, work: impl FnOnce() -> T) -> (T, Vec<Moment>) {
    rehearse_interrupted(usize::MAX, clock, work)
}

/// As [`rehearse`], with an interrupt after so many moments, which every look from then on finds.
pub fn rehearse_interrupted<T>(
    moments: usize,
    clock: impl Fn() -> Duration + 'static,
    work: impl FnOnce() -> T,
) -> (T, Vec<Moment>) {
    let rehearsal = Rehearsal { clock: Box::new(clock), moments: Vec::new(), interrupted_at: moments };
    let before = THREAD.with_borrow_mut(|thread| thread.rehearsal.replace(rehearsal));
    let result = work();
    let rehearsal = THREAD.with_borrow_mut(|thread| std::mem::replace(&mut thread.rehearsal, before));
    interrupt::rehearse(false);
    (result, rehearsal.map(|rehearsal| rehearsal.moments).unwrap_or_default())
}
