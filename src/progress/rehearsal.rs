//! Work with a clock of the tester's own, which tells every moment at which something was reported.

use std::time::Duration;

use super::THREAD;

/// Something that work reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// By the rehearsal's clock.
    pub at: Duration,
    /// What is being done.
    pub what: String,
    pub event: Event,
    /// Within how much other work.
    pub depth: usize,
    /// The work that is spoken of, and how far it is, 0 to 1; nothing where nobody knows its length.
    pub of: String,
    pub share: Option<f64>,
    /// The line that this made due.
    pub line: Option<String>,
}

/// What happened to a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It began; it may be one that cannot be counted.
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
}

/// Does `work`, all on this thread, with `clock` instead of the real one: what would be said is told and not written.
pub fn rehearse<T>(clock: impl Fn() -> Duration + 'static, work: impl FnOnce() -> T) -> (T, Vec<Moment>) {
    let rehearsal = Rehearsal { clock: Box::new(clock), moments: Vec::new() };
    let before = THREAD.with_borrow_mut(|thread| thread.rehearsal.replace(rehearsal));
    let result = work();
    let rehearsal = THREAD.with_borrow_mut(|thread| std::mem::replace(&mut thread.rehearsal, before));
    (result, rehearsal.map(|rehearsal| rehearsal.moments).unwrap_or_default())
}
