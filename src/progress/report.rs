//! The report of a thread's outermost work: when a line is due, and what it says.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{MARK, Progress, THREAD};
use crate::error::human_bytes;
use crate::visible::visible;

/// Work that ends before this is not reported.
pub(super) const SILENCE: Duration = Duration::from_secs(2);

/// How long work whose parts are all done may go on unreported.
const LATE: Duration = Duration::from_secs(1);

/// The longest silence during the first minutes.
const PAUSE: Duration = Duration::from_secs(10);

/// The report of a thread's outermost work. The line that is due is written by the thread itself at a step, or by the
/// watcher in between; after the end of the work, by neither.
#[derive(Debug)]
pub(super) struct Report {
    began: Duration,
    /// The number of the library's own pieces of work inside it: the watcher only reports while there are any.
    pub(super) inside: AtomicUsize,
    said: Mutex<Said>,
}

/// Work of a known length; 0 means unknown.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub what: String,
    pub unit: &'static str,
    pub total: u64,
}

/// The work that is reported: the outermost countable one, or else the outermost.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub work: Arc<Work>,
    pub began: Duration,
    /// The number of parts that are done, including the finished fraction of the current one.
    pub done: f64,
}

#[derive(Debug)]
struct Said {
    shown: Shown,
    /// When, and at which tenth of the way, the last line was written.
    last: Option<(Duration, u64)>,
    bar: Option<ProgressBar>,
    /// What the lines add: [`Progress::saying`].
    words: Option<String>,
    /// When it was first seen that all parts were done.
    whole_since: Option<Duration>,
    is_over: bool,
}

impl Progress {
    /// What lines add from now on, such as the loss of a training. Only the outermost work of a thread has lines.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::time::Duration;
    ///
    /// use candle_lens::prelude::*;
    /// use candle_lens::progress::rehearsal::rehearse;
    /// let seconds = std::rc::Rc::new(Cell::new(0));
    /// let clock = seconds.clone();
    /// let (_, moments) = rehearse(move || Duration::from_secs(clock.get()), || {
    ///     let mut progress = Progress::new("training", 100, "steps");
    ///     for step in 1..=10 {
    ///         seconds.set(step);
    ///         progress.saying(format!("loss {:.3}", 1. / step as f64));
    ///         progress.step(1)?;
    ///     }
    ///     Ok::<(), candle_lens::Error>(())
    /// });
    /// let first = moments.into_iter().find_map(|moment| moment.line).expect("after two seconds");
    /// assert!(first.ends_with("2 of 100 steps (2 %), 1 steps/s, 1 min 38 s left; loss 0.500"), "{first}");
    /// ```
    pub fn saying(&mut self, words: impl Display) {
        let Some(id) = self.id else { return };
        let report = THREAD.with_borrow(|thread| {
            let own = thread.report.as_ref().filter(|(reporting, _)| *reporting == id);
            own.map(|(_, report)| report.clone())
        });
        if let Some(report) = report {
            // Made before anything is held: what is displayed may report work of its own.
            let words = visible(&words.to_string());
            report.said().words = Some(words);
        }
    }
}

impl Report {
    pub(super) fn new(work: Arc<Work>, began: Duration) -> Self {
        let said = Said {
            shown: Shown { work, began, done: 0. },
            last: None,
            bar: None,
            words: None,
            whole_since: None,
            is_over: false,
        };
        Self { began, inside: AtomicUsize::new(0), said: Mutex::new(said) }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the progress and returns the line that is due.
    pub(super) fn advance(&self, shown: Shown, now: Duration) -> Option<String> {
        let mut said = self.said();
        said.now(shown);
        self.due(&mut said, now)
    }

    /// The name of what is reported.
    pub(super) fn what(&self) -> String {
        self.said().shown.work.what.clone()
    }

    /// Updates the progress without reporting it.
    pub(super) fn set(&self, shown: Shown) {
        self.said().now(shown);
    }

    /// As [`Report::advance`], but writes the line.
    pub(super) fn show(&self, shown: Shown, now: Duration) {
        let mut said = self.said();
        said.now(shown);
        self.speak(&mut said, now);
    }

    /// Writes the line that is due on behalf of a thread that is busy inside the library.
    pub(super) fn look(&self, now: Duration) {
        let mut said = self.said();
        if !said.is_over && self.inside.load(Ordering::Relaxed) > 0 {
            self.speak(&mut said, now);
        }
    }

    fn speak(&self, said: &mut Said, now: Duration) {
        if let Some(bar) = &said.bar {
            bar.set_position(said.shown.done as u64);
            if let Some(words) = &said.words {
                bar.set_message(format!("{} ({words})", said.shown.work.what));
            }
            bar.tick();
        } else if let Some(line) = self.due(said, now) {
            if in_terminal() {
                said.bar = Some(bar(&said.shown, now));
            } else {
                // One write, so that nothing comes between a line and its end. A failure cannot be reported anywhere.
                let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
            }
        }
    }

    /// Ends the report: nothing is written from now on.
    pub(super) fn end(&self) {
        let mut said = self.said();
        said.is_over = true;
        if let Some(bar) = said.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The line that is due, if any; it then counts as written.
    fn due(&self, said: &mut Said, now: Duration) -> Option<String> {
        let elapsed = now.saturating_sub(self.began);
        let Shown { work, began, done } = &said.shown;
        let total = work.total;
        let tenth = if total == 0 { 0 } else { (done * 10. / total as f64) as u64 };
        let is_whole = total > 0 && *done >= total as f64;
        // Work of which all is done ends at once, or there is more to it than it counts.
        let whole_since = is_whole.then(|| said.whole_since.unwrap_or(elapsed));
        let is_late = whole_since.is_none_or(|since| elapsed >= since + LATE);
        let due = match said.last {
            None => elapsed >= SILENCE && is_late,
            Some((last, at)) => elapsed >= last + PAUSE.max(elapsed / 10) || tenth > at && elapsed >= last + SILENCE,
        };
        let line = due.then(|| {
            let mut line = work.line(*done, now.saturating_sub(*began));
            if let Some(words) = &said.words {
                line += &format!("; {words}");
            }
            said.last = Some((elapsed, tenth));
            line
        });
        said.whole_since = whole_since;
        line
    }
}

impl Said {
    fn now(&mut self, shown: Shown) {
        if !Arc::ptr_eq(&self.shown.work, &shown.work) {
            // Other work is reported now, with its own bar; its tenths count from its first line on.
            self.last = self.last.map(|(last, _)| (last, u64::MAX));
            self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
        }
        self.shown = shown;
    }
}

fn bar(Shown { work, began, done }: &Shown, now: Duration) -> ProgressBar {
    let Work { what, unit, total } = &**work;
    let shown = match (*unit == Progress::BYTES, *total) {
        (true, 0) => "{spinner} {bytes}",
        (false, 0) => "{spinner} {elapsed}",
        (true, _) => "{bar:30} {bytes}/{total_bytes}, {eta} left",
        (false, _) => "{bar:30} {pos}/{len}, {eta} left",
    };
    let style = ProgressStyle::with_template(&format!("{MARK}{{msg}} {shown}"));
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let elapsed = now.saturating_sub(*began);
    let bar = ProgressBar::new(*total).with_message(what.clone()).with_elapsed(elapsed).with_style(style);
    bar.set_position(*done as u64);
    bar
}

/// Whether stderr is a terminal and this is not a process of evcxr, which reads stderr through a pipe.
fn in_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("EVCXR_IS_RUNTIME").is_none()
}

impl Work {
    pub(super) fn line(&self, done: f64, elapsed: Duration) -> String {
        let bytes = self.unit == Progress::BYTES;
        let unit = if bytes { String::new() } else { format!(" {}", self.unit) };
        let rate = done / elapsed.as_secs_f64().max(1e-3);
        let per_second = match rate {
            _ if bytes => human_bytes(rate as u64),
            _ if rate > 0.0 && rate < 10.0 && rate.fract() != 0.0 => format!("{rate:.1}"),
            _ => format!("{rate:.0}"),
        };
        let count = |parts: u64| if bytes { human_bytes(parts) } else { parts.to_string() };
        let (what, whole) = (&self.what, done as u64);
        if self.total == 0 {
            let so_far = match bytes && whole > 0 {
                true => format!("{} so far, {per_second}/s", count(whole)),
                false => format!("{} so far", clock(elapsed.as_secs_f64())),
            };
            return format!("{MARK}{what}: {so_far}, time left unknown");
        }
        let left = match done > 0.0 {
            true => format!("{} left", clock((self.total as f64 - done) / rate)),
            false => "time left unknown".into(),
        };
        let percent = (done * 100. / self.total as f64) as u64;
        format!(
            "{MARK}{what}: {} of {}{unit} ({percent} %), {per_second}{unit}/s, {left}",
            count(whole),
            count(self.total)
        )
    }
}

/// Seconds in words: `8 s`, `2 min 5 s`, `1 h 10 min`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn prompts(total: u64) -> (Report, Arc<Work>) {
        let work = Arc::new(Work { what: "asking".into(), unit: "prompts", total });
        (Report::new(work.clone(), Duration::ZERO), work)
    }

    /// The lines of work of `total` parts that takes `pace` for each.
    fn lines(total: u64, pace: Duration) -> Vec<String> {
        let (report, work) = prompts(total);
        let shown = |done: u64| Shown { work: work.clone(), began: Duration::ZERO, done: done as f64 };
        (1..=total).filter_map(|done| report.advance(shown(done), pace * done as u32)).collect()
    }

    #[test]
    fn short_work_is_silent() {
        assert!(lines(100, SECOND / 60).is_empty());
        assert!(lines(1, SECOND * 60).is_empty(), "it is over when it could speak");
    }

    #[test]
    fn work_that_goes_on_after_its_last_part_speaks_a_second_later() {
        let (report, work) = prompts(3);
        let whole = || Shown { work: work.clone(), began: Duration::ZERO, done: 3. };
        let seconds = [1, 2, 3, 4].map(|second| report.advance(whole(), SECOND * second).is_some());
        assert_eq!(seconds, [false, true, false, false], "all was done after one second");
        let (late, work) = prompts(3);
        let whole = || Shown { work: work.clone(), began: Duration::ZERO, done: 3. };
        assert_eq!([60, 61].map(|second| late.advance(whole(), SECOND * second).is_some()), [false, true]);
    }

    #[test]
    fn long_work_says_how_far_it_is() {
        let lines = lines(400, SECOND / 10);
        assert_eq!(lines[0], "candle-lens ⏳ asking: 20 of 400 prompts (5 %), 10 prompts/s, 38 s left");
        assert_eq!(lines[1], "candle-lens ⏳ asking: 40 of 400 prompts (10 %), 10 prompts/s, 36 s left");
        assert_eq!(lines.len(), 11, "the first, and one each tenth");
    }

    #[test]
    fn an_hour_is_not_hundreds_of_lines() {
        let lines = lines(3600, SECOND);
        assert!((30..60).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|line| line.starts_with(MARK) && !line.contains('\n')));
        assert!(lines[0].ends_with("2 of 3600 prompts (0 %), 1 prompts/s, 59 min 58 s left"), "{}", lines[0]);
    }

    #[test]
    fn a_part_that_is_not_done_counts_as_far_as_it_is() {
        let work = Work { what: "patching".into(), unit: "sites", total: 270 };
        assert_eq!(
            work.line(32.4, SECOND * 12),
            "candle-lens ⏳ patching: 32 of 270 sites (12 %), 2.7 sites/s, 1 min 28 s left"
        );
    }

    #[test]
    fn bytes_and_unknown_lengths_are_told_as_such() {
        let work = Work { what: "fetching x".into(), unit: Progress::BYTES, total: 500_000_000 };
        assert_eq!(
            work.line(125_000_000., SECOND * 5),
            "candle-lens ⏳ fetching x: 125.0 MB of 500.0 MB (25 %), 25.0 MB/s, 15 s left"
        );
        assert!(work.line(0., SECOND * 3).ends_with("0 B/s, time left unknown"));
        let endless = Work { total: 0, ..work };
        assert_eq!(
            endless.line(125_000_000., SECOND * 5),
            "candle-lens ⏳ fetching x: 125.0 MB so far, 25.0 MB/s, time left unknown"
        );
        let opaque = Work { what: "going backward".into(), unit: "", total: 0 };
        assert_eq!(opaque.line(0., SECOND * 65), "candle-lens ⏳ going backward: 1 min 5 s so far, time left unknown");
        assert_eq!([clock(0.2), clock(125.0), clock(4200.0)], ["1 s", "2 min 5 s", "1 h 10 min"]);
    }

    /// The seconds among these at which a line was due.
    fn looks(report: &Report, seconds: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let due = |second: &u32| report.due(&mut report.said(), SECOND * *second).is_some();
        seconds.into_iter().filter(due).collect()
    }

    #[test]
    fn work_that_does_not_step_is_spoken_for() {
        assert_eq!(looks(&prompts(3).0, 0..40), [2, 12, 22, 32]);
        let backward = Work { what: "going backward".into(), unit: "", total: 0 };
        let opaque = Report::new(Arc::new(backward), SECOND * 5);
        assert_eq!(looks(&opaque, 0..30), [7, 17, 27], "two seconds after it began");
    }
}
