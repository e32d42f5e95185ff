//! Progress reports of long work: what is being done, how much of it is done, the rate, and the time left.
//!
//! A notebook gets whole lines on stderr, because evcxr passes on nothing else: the first after two seconds, then one
//! at each tenth of the work and after ten seconds of silence; work of many minutes may be silent for longer, up to a
//! tenth of the elapsed time. A terminal gets a progress bar. Short work reports nothing.
//! `CANDLE_LENS_PROGRESS=off` in the environment, or [`set_progress`], turns all of it off.
//!
//! Nested work is silent but counts: a run of the model inside a sweep advances the sweep with each block. For work
//! that cannot be counted, such as candle's backward pass, a watcher thread reports (`watch`).
//!
//! Each step looks for an [`interrupt`] as well, whether anything is reported or not.

mod clock;
#[doc(hidden)]
pub mod rehearsal;
mod report;
mod thread;
mod watch;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use report::Work;
use thread::{Open, Thread};

use crate::error::{Error, Result};
use crate::interrupt::{self, Working};
use crate::visible::visible;

/// The beginning of each line, by which checks of a notebook's stderr recognise it.
pub const MARK: &str = "candle-lens ⏳ ";

/// The beginning of a note, which stops nothing; checks of a notebook's stderr recognise it by this.
pub const NOTE: &str = "candle-lens ⚠ ";

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread { open: Vec::new(), report: None, rehearsal: None }) };
}

/// Turns progress reports on or off for the whole process; they are on unless the environment turns them off.
///
/// ```
/// use std::time::Duration;
///
/// use candle_lens::prelude::*;
/// use candle_lens::progress::rehearsal::rehearse;
/// set_progress(false);
/// let (_, moments) = rehearse(|| Duration::from_secs(60), || drop(Progress::new("nothing to see", 1, "parts")));
/// assert!(moments.is_empty());
/// ```
pub fn set_progress(on: bool) {
    switch().store(on, Ordering::Relaxed);
}

fn switch() -> &'static AtomicBool {
    static ON: OnceLock<AtomicBool> = OnceLock::new();
    ON.get_or_init(|| {
        let off =
            std::env::var("CANDLE_LENS_PROGRESS").is_ok_and(|value| ["off", "0", "false"].contains(&value.as_str()));
        AtomicBool::new(!off)
    })
}

fn is_on() -> bool {
    switch().load(Ordering::Relaxed)
}

/// The error for an interrupt of what this thread is doing, if anything.
pub(crate) fn interrupted() -> Option<Error> {
    let (work, done) = THREAD.with_borrow_mut(|thread| {
        // Work of the caller may be a variable that is left of an earlier cell.
        let first = thread.open.iter().position(|open| open.is_own).unwrap_or(thread.open.len().saturating_sub(1));
        let shown = thread.outermost(first)?;
        let is_it = |open: &&Open| Arc::ptr_eq(&open.work, &shown.work);
        // What is nested may be done, but then its part is not.
        let within = thread.open.iter().find(is_it).map_or(shown.done, Open::whole_parts);
        Some((shown.work, within))
    })?;
    Some(Error::interrupted(&work.what, done as u64, work.total, work.unit))
}

/// The name of work that is being reported, of any thread.
#[cfg_attr(not(any(target_os = "linux", target_os = "macos")), expect(dead_code))]
pub(crate) fn reported() -> Option<String> {
    watch::first()
}

/// Prints a note: one line on stderr, which notebooks show and which stops nothing.
pub(crate) fn say(line: &str) {
    eprintln!("{NOTE}{}", visible(line));
}

/// Work of known length that reports its progress. The outermost work of a thread reports; work nested in it is silent
/// and advances it within its current part.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompts = ["The keys on the cabinet", "The key on the cabinets"];
/// let mut progress = Progress::new("comparing prompts", prompts.len() as u64, "prompts");
/// for prompt in prompts {
///     model.forward(prompt)?;
///     progress.step(1)?;
/// }
/// assert_eq!(format!("{progress:?}"), "Progress(comparing prompts: 2 of 2 prompts)");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[must_use = "work reports until this is dropped"]
pub struct Progress {
    /// `None` if the work has ended.
    id: Option<u64>,
    /// What the library's own work looks for interrupts by.
    working: Option<Working>,
    work: Arc<Work>,
    done: u64,
    /// Makes it `!Send`: it belongs to the thread whose nested work it silences.
    thread: PhantomData<*const ()>,
}

impl Progress {
    /// The unit that is shown as kB, MB and so on.
    pub const BYTES: &str = "bytes";

    /// Work of `total` parts, counted in `unit`: "prompts", "layers", [`Progress::BYTES`]. It ends when all of them are
    /// done. Lines are written at its steps, and between them while a function of this library is running.
    pub fn new(what: impl Into<String>, total: u64, unit: &'static str) -> Self {
        Self::begin(Work { what: visible(&what.into()), unit, total }, false)
    }

    /// As [`Progress::new`], for the library's own work: it ends with a call, so lines may be written at any time until
    /// then.
    pub(crate) fn of(what: impl Into<String>, total: u64, unit: &'static str) -> Self {
        Self::begin(Work { what: visible(&what.into()), unit, total }, true)
    }

    /// The library's own work that cannot be counted, or whose parts report themselves.
    pub(crate) fn opaque(what: impl Into<String>) -> Self {
        Self::of(what, 0, "")
    }

    fn begin(work: Work, is_own: bool) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let work = Arc::new(work);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        THREAD.with_borrow_mut(|thread| {
            let (work, began) = (work.clone(), thread.now());
            thread.begin(Open { id, work, began, done: 0., together: 1., inside: 0., is_own });
        });
        Self { id: Some(id), working: is_own.then(Working::begin), work, done: 0, thread: PhantomData }
    }

    /// Records that `parts` more parts are done.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the notebook was interrupted: `progress.step(1)?` ends the loop.
    pub fn step(&mut self, parts: u64) -> Result<()> {
        let total = self.work.total;
        self.done += parts;
        if total > 0 {
            self.done = self.done.min(total);
        }
        if let Some(id) = self.id {
            THREAD.with_borrow_mut(|thread| thread.step(id, self.done as f64));
        }
        let looked = interrupt::check_interrupt();
        if total > 0 && self.done == total {
            self.end();
        }
        looked
    }

    /// Until the next step, nested work does `parts` parts together, so it advances all of them.
    pub(crate) fn together(&mut self, parts: usize) {
        let Some(id) = self.id else { return };
        THREAD.with_borrow_mut(|thread| {
            if let Some(open) = thread.open.iter_mut().find(|open| open.id == id) {
                open.together = parts as f64;
            }
        });
    }

    fn end(&mut self) {
        let Some(id) = self.id.take() else { return };
        self.working = None;
        // A thread that is exiting reports nothing more.
        let _ = THREAD.try_with(|thread| thread.borrow_mut().end(id));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({}: {} of {} {})", self.work.what, self.done, self.work.total, self.work.unit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::rehearsal::{Event, rehearse};
    use super::*;

    /// The reports of work under a clock that stands still, without lines.
    fn told(work: impl FnOnce() -> Result<()>) -> Vec<(String, Event, Option<f64>)> {
        let (done, moments) = rehearse(|| Duration::ZERO, work);
        done.expect("nothing interrupts it");
        moments.into_iter().map(|moment| (moment.what, moment.event, moment.share)).collect()
    }

    fn shares(work: impl FnOnce() -> Result<()>) -> Vec<f64> {
        let steps = told(work).into_iter().filter(|(_, event, _)| *event == Event::Stepped);
        steps.map(|(_, _, share)| share.expect("the length is known")).collect()
    }

    #[test]
    fn work_inside_work_moves_it_on() {
        let found = shares(|| {
            let mut sweep = Progress::of("patching", 10, "sites");
            for batch in [4, 6] {
                sweep.together(batch);
                let mut run = Progress::of("running the model", 2, "layers");
                run.step(1)?;
                run.step(1)?;
                sweep.step(batch as u64)?;
            }
            Ok(())
        });
        assert_eq!(found, [0.2, 0.4, 0.4, 0.7, 1.0, 1.0]);
    }

    #[test]
    fn parts_of_what_cannot_be_counted_speak_for_themselves() {
        let (done, moments) = rehearse(
            || Duration::ZERO,
            || -> Result<()> {
                let _loading = Progress::opaque("loading");
                let mut read = Progress::of("reading", 4, Progress::BYTES);
                read.step(1)?;
                let _inner = Progress::opaque("checking");
                Ok(())
            },
        );
        done.expect("nothing interrupts it");
        let shown: Vec<_> = moments.iter().map(|moment| (moment.of.as_str(), moment.share)).collect();
        let reading = ("reading", Some(0.25));
        assert_eq!(shown[..4], [("loading", None), ("reading", Some(0.)), reading, reading]);
        assert_eq!(shown.last(), Some(&("loading", None)));
    }

    #[test]
    fn a_part_with_several_runs_does_not_go_back() {
        let found = shares(|| {
            let mut points = Progress::of("integrating", 2, "points");
            for _ in 0..2 {
                for _ in 0..2 {
                    let mut run = Progress::of("running the model", 2, "layers");
                    run.step(1)?;
                    run.step(1)?;
                }
                points.step(1)?;
            }
            Ok(())
        });
        assert!(found.is_sorted(), "{found:?}");
        assert_eq!(found.last(), Some(&1.0));
    }

    #[test]
    fn what_ends_makes_room_for_the_next() {
        let found = told(|| {
            let mut finished = Progress::new("bound in a cell", 1, "steps");
            finished.step(1)?;
            // It is still there, as a variable of a notebook is, but done.
            let next = Progress::opaque("going backward");
            drop(next);
            drop(finished);
            Ok(())
        });
        let began = |is_opaque| Event::Began { is_opaque };
        let events: Vec<_> = found.iter().map(|(what, event, _)| (what.as_str(), *event)).collect();
        let (cell, backward) = ("bound in a cell", "going backward");
        let expected = [(cell, began(false)), (cell, Event::Stepped), (cell, Event::Ended)];
        assert_eq!(events[..3], expected);
        assert_eq!(events[3..], [(backward, began(true)), (backward, Event::Ended)]);
    }

    #[test]
    fn lines_follow_the_clock() {
        let seconds = std::rc::Rc::new(std::cell::Cell::new(0));
        let clock = seconds.clone();
        let (done, moments) = rehearse(
            move || Duration::from_secs(clock.get()),
            || -> Result<()> {
                let mut progress = Progress::of("asking", 20, "prompts");
                for _ in 0..20 {
                    seconds.set(seconds.get() + 1);
                    progress.step(1)?;
                }
                Ok(())
            },
        );
        done.expect("nothing interrupts it");
        let lines: Vec<_> = moments.into_iter().filter_map(|moment| moment.line).collect();
        assert_eq!(lines.len(), 10, "{lines:?}");
        assert_eq!(lines[0], "candle-lens ⏳ asking: 2 of 20 prompts (10 %), 1 prompts/s, 18 s left");
    }

    #[test]
    fn others_speak_only_while_the_library_is_at_work() {
        let inside = || THREAD.with_borrow(|t| t.report.as_ref().map(|(_, r)| r.inside.load(Ordering::Relaxed)));
        let progress = Progress::new("a loop of the user's", 2, "prompts");
        assert_eq!(inside(), Some(0), "it may be bound in a cell and wait for the next");
        let run = Progress::of("running the model", 2, "layers");
        assert_eq!(inside(), Some(1));
        drop(run);
        assert_eq!(inside(), Some(0));
        drop(progress);
        assert_eq!(inside(), None);
    }
}
