//! Progress reports of long work: what is being done, how much of it is done, the rate, and the time left.
//!
//! A notebook gets whole lines on stderr, because evcxr passes on nothing else: the first after two seconds, then one
//! at each tenth of the work and after ten seconds of silence; work of many minutes may be silent for longer, up to a
//! tenth of the elapsed time. A terminal gets a progress bar. Short work reports nothing.
//! `CANDLE_LENS_PROGRESS=off` in the environment, or [`set_progress`], turns all of it off.
//!
//! Nested work is silent but counts: a run of the model inside a sweep advances the sweep with each block. For work
//! that cannot be counted, such as candle's backward pass, a watcher thread reports (`watch`).

mod clock;
#[doc(hidden)]
pub mod rehearsal;
mod report;
mod watch;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rehearsal::{Event, Moment, Rehearsal};
use report::{Report, Shown, Work};

use crate::visible::visible;

/// The beginning of each line, by which checks of a notebook's stderr recognise it.
pub const MARK: &str = "candle-lens ⏳ ";

/// The beginning of a note, which stops nothing; checks of a notebook's stderr recognise it by this.
pub const NOTE: &str = "candle-lens ⚠ ";

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread { open: Vec::new(), report: None, rehearsal: None }) };
}

/// What a thread is doing.
struct Thread {
    /// The outermost work first.
    open: Vec<Open>,
    /// The id of the work that reports, and its report.
    report: Option<(u64, Arc<Report>)>,
    rehearsal: Option<Rehearsal>,
}

/// Work that is still going on.
struct Open {
    id: u64,
    work: Arc<Work>,
    began: Duration,
    done: f64,
    /// How many parts the nested work does together, and how many of them are done.
    together: f64,
    inside: f64,
    /// Whether it is the library's own work.
    is_own: bool,
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
///     progress.step(1);
/// }
/// assert_eq!(format!("{progress:?}"), "Progress(comparing prompts: 2 of 2 prompts)");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[must_use = "work reports until this is dropped"]
pub struct Progress {
    /// `None` if nothing is reported: progress is off, or the work has ended.
    id: Option<u64>,
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
        let id = is_on().then(|| IDS.fetch_add(1, Ordering::Relaxed));
        if let Some(id) = id {
            THREAD.with_borrow_mut(|thread| {
                let (work, began) = (work.clone(), thread.now());
                thread.begin(Open { id, work, began, done: 0., together: 1., inside: 0., is_own });
            });
        }
        Self { id, work, done: 0, thread: PhantomData }
    }

    /// Records that `parts` more parts are done.
    pub fn step(&mut self, parts: u64) {
        let total = self.work.total;
        self.done += parts;
        if total > 0 {
            self.done = self.done.min(total);
        }
        let Some(id) = self.id else { return };
        THREAD.with_borrow_mut(|thread| thread.step(id, self.done as f64));
        if total > 0 && self.done == total {
            self.end();
        }
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

impl Thread {
    fn now(&self) -> Duration {
        self.rehearsal.as_ref().map_or_else(clock::now, |rehearsal| (rehearsal.clock)())
    }

    fn begin(&mut self, open: Open) {
        if self.report.is_none() {
            let report = Arc::new(Report::new(open.work.clone(), open.began));
            if self.rehearsal.is_none() {
                watch::attend(&report);
            }
            self.report = Some((open.id, report));
        }
        let work = open.work.clone();
        self.open.push(open);
        self.count();
        self.speak(&work, Event::Began { is_opaque: work.total == 0 });
    }

    fn step(&mut self, id: u64, done: f64) {
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else { return };
        (open.done, open.together, open.inside) = (done, 1., 0.);
        let work = open.work.clone();
        self.speak(&work, Event::Stepped);
    }

    fn end(&mut self, id: u64) {
        let Some(place) = self.open.iter().position(|open| open.id == id) else { return };
        let work = self.open[place].work.clone();
        self.speak(&work, Event::Ended);
        self.open.remove(place);
        self.count();
        if let Some((_, report)) = self.report.take_if(|(reporting, _)| *reporting == id) {
            watch::leave(&report);
        } else if let Some(shown) = self.shown()
            && let Some((_, report)) = &self.report
        {
            report.set(shown);
        }
    }

    /// Updates the number of the library's own pieces of work that are going on.
    fn count(&self) {
        if let Some((_, report)) = &self.report {
            report.inside.store(self.open.iter().filter(|open| open.is_own).count(), Ordering::Relaxed);
        }
    }

    /// Reports what happened to a piece of work, with the line that is due.
    fn speak(&mut self, work: &Work, event: Event) {
        let Some(shown) = self.shown() else { return };
        let (now, report) = (self.now(), self.report.as_ref().map(|(_, report)| report.clone()));
        let Some(report) = report else { return };
        // The end of work is not worth a line.
        let is_end = event == Event::Ended;
        if self.rehearsal.is_none() && !is_end {
            return report.show(shown, now);
        }
        let Some(rehearsal) = &mut self.rehearsal else { return };
        let share = (shown.work.total > 0).then(|| shown.done / shown.work.total as f64);
        let (of, depth) = (shown.work.what.clone(), self.open.len().saturating_sub(1));
        let line = if is_end { None } else { report.advance(shown, now) };
        rehearsal.moments.push(Moment { at: now, what: work.what.clone(), event, depth, of, share, line });
    }

    /// The outermost countable work and its progress; the outermost work if none is countable.
    fn shown(&mut self) -> Option<Shown> {
        let (reporting, _) = self.report.as_ref()?;
        let first = self.open.iter().position(|open| open.id == *reporting)?;
        let (mut share, mut shown): (f64, Option<Shown>) = (0., None);
        for open in self.open[first..].iter_mut().rev() {
            // Several runs within one part each start from zero, but the part must not go back.
            open.inside = open.inside.max(share * open.together);
            let total = open.work.total as f64;
            let mut done = open.done;
            if total > 0. {
                done = (done + open.inside).min(total);
                share = done / total;
            }
            if total > 0. || shown.as_ref().is_none_or(|inner| inner.work.total == 0) {
                shown = Some(Shown { work: open.work.clone(), began: open.began, done });
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::rehearsal::rehearse;
    use super::*;

    /// The reports of work under a clock that stands still, without lines.
    fn told(work: impl FnOnce()) -> Vec<(String, Event, Option<f64>)> {
        let (_, moments) = rehearse(|| Duration::ZERO, work);
        moments.into_iter().map(|moment| (moment.what, moment.event, moment.share)).collect()
    }

    fn shares(work: impl FnOnce()) -> Vec<f64> {
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
                run.step(1);
                run.step(1);
                sweep.step(batch as u64);
            }
        });
        assert_eq!(found, [0.2, 0.4, 0.4, 0.7, 1.0, 1.0]);
    }

    #[test]
    fn parts_of_what_cannot_be_counted_speak_for_themselves() {
        let (_, moments) = rehearse(
            || Duration::ZERO,
            || {
                let _loading = Progress::opaque("loading");
                let mut read = Progress::of("reading", 4, Progress::BYTES);
                read.step(1);
                let _inner = Progress::opaque("checking");
            },
        );
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
                    run.step(1);
                    run.step(1);
                }
                points.step(1);
            }
        });
        assert!(found.is_sorted(), "{found:?}");
        assert_eq!(found.last(), Some(&1.0));
    }

    #[test]
    fn what_ends_makes_room_for_the_next() {
        let found = told(|| {
            let mut finished = Progress::new("bound in a cell", 1, "steps");
            finished.step(1);
            // It is still there, as a variable of a notebook is, but done.
            let next = Progress::opaque("going backward");
            drop(next);
            drop(finished);
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
        let (_, moments) = rehearse(
            move || Duration::from_secs(clock.get()),
            || {
                let mut progress = Progress::of("asking", 20, "prompts");
                for _ in 0..20 {
                    seconds.set(seconds.get() + 1);
                    progress.step(1);
                }
            },
        );
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
