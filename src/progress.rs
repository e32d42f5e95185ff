//! What long work says while it runs: what is done, how far it is, how fast, how long it still takes.
//!
//! A notebook gets whole lines on stderr, because evcxr passes nothing else on: the first after two seconds, then one
//! each tenth of the way and after each ten seconds of silence; work of many minutes may be silent for longer, a tenth
//! of the time that has passed. A terminal gets a bar. Short work says nothing.
//! `CANDLE_LENS_PROGRESS=off` in the environment, or [`set_progress`], turns all of it off.

use std::cell::Cell;
use std::io::IsTerminal;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::human_bytes;
use crate::visible::visible;

/// How each line begins; whoever checks what a notebook wrote on stderr knows it by that.
pub const MARK: &str = "candle-lens ⏳ ";

/// Work that is done by then is not worth a word.
const SILENCE: Duration = Duration::from_secs(2);

/// The longest silence in the first minutes.
const PAUSE: Duration = Duration::from_secs(10);

thread_local! {
    /// Whether some work of this thread reports already: work inside it keeps silent.
    static REPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Turns progress on or off for the whole process; it is on unless the environment says otherwise.
///
/// ```
/// use candle_lens::prelude::*;
/// set_progress(false);
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

/// Says something that is worth knowing and stops nothing: one line on stderr, as a notebook shows it.
pub(crate) fn say(line: &str) {
    eprintln!("{}{}", crate::error::PREFIX, visible(line));
}

/// Work of a known length that reports how far it is. The first one of a thread reports, those inside it are silent.
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
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[must_use = "work reports when `step` is called"]
#[derive(Debug)]
pub struct Progress {
    work: Work,
    started: Instant,
    /// When, and at which tenth of the way, the last line was written.
    last: Option<(Duration, u64)>,
    bar: Option<ProgressBar>,
    reports: bool,
    /// It belongs to the thread whose other work it silences.
    thread: PhantomData<*const ()>,
}

/// What is done, and how far it is.
#[derive(Clone, Debug)]
struct Work {
    what: String,
    unit: &'static str,
    total: u64,
    done: u64,
}

impl Progress {
    /// The unit of which thousands are kB, MB and so on.
    pub const BYTES: &str = "bytes";

    /// Work of `total` parts that are counted in `unit`: "prompts", "layers", [`Progress::BYTES`].
    pub fn new(what: impl Into<String>, total: u64, unit: &'static str) -> Self {
        let reports = switch().load(Ordering::Relaxed) && !REPORTING.replace(true);
        let work = Work { what: visible(&what.into()), unit, total, done: 0 };
        Self { work, started: Instant::now(), last: None, bar: None, reports, thread: PhantomData }
    }

    /// So many more parts are done.
    pub fn step(&mut self, parts: u64) {
        self.work.done = (self.work.done + parts).min(self.work.total);
        if !self.reports {
            return;
        }
        let elapsed = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.set_position(self.work.done);
        } else if self.due(elapsed) {
            if in_terminal() {
                self.bar = Some(bar(&self.work, elapsed));
            } else {
                eprintln!("{}", self.work.line(elapsed));
            }
        }
    }

    /// Whether a line is to be written `elapsed` after the beginning; then it counts as written.
    fn due(&mut self, elapsed: Duration) -> bool {
        let tenth = self.work.done * 10 / self.work.total.max(1);
        let due = match self.last {
            None => elapsed >= SILENCE && self.work.done < self.work.total,
            Some((last, at)) => elapsed >= last + PAUSE.max(elapsed / 10) || tenth > at && elapsed >= last + SILENCE,
        };
        if due {
            self.last = Some((elapsed, tenth));
        }
        due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.reports {
            REPORTING.set(false);
        }
    }
}

/// A terminal of our own, not the pipe through which evcxr reads the process of the cells.
fn in_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("EVCXR_IS_RUNTIME").is_none()
}

fn bar(work: &Work, elapsed: Duration) -> ProgressBar {
    let counts = if work.unit == Progress::BYTES { "{bytes}/{total_bytes}" } else { "{pos}/{len}" };
    let template = format!("{MARK}{{msg}} {{bar:30}} {counts}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(work.total).with_message(work.what.clone()).with_elapsed(elapsed).with_style(style);
    bar.set_position(work.done);
    bar
}

impl Work {
    fn line(&self, elapsed: Duration) -> String {
        let count = |parts: f64| match self.unit {
            Progress::BYTES => human_bytes(parts as u64),
            _ if parts > 0.0 && parts < 10.0 && parts.fract() != 0.0 => format!("{parts:.1}"),
            _ => format!("{parts:.0}"),
        };
        let unit = if self.unit == Progress::BYTES { String::new() } else { format!(" {}", self.unit) };
        let rate = self.done as f64 / elapsed.as_secs_f64().max(1e-3);
        let left = match self.done {
            0 => "no end in sight yet".into(),
            done => format!("{} left", clock((self.total - done) as f64 / rate)),
        };
        format!(
            "{MARK}{}: {} of {}{unit} ({} %), {}{unit}/s, {left}",
            self.what,
            count(self.done as f64),
            count(self.total as f64),
            self.done * 100 / self.total.max(1),
            count(rate),
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

    /// The lines of work of `total` parts that takes `pace` for each.
    fn lines(total: u64, pace: Duration) -> Vec<String> {
        let mut progress = Progress::new("asking", total, "prompts");
        let mut lines = Vec::new();
        for done in 1..=total {
            progress.work.done = done;
            let elapsed = pace * done as u32;
            if progress.due(elapsed) {
                lines.push(progress.work.line(elapsed));
            }
        }
        lines
    }

    #[test]
    fn short_work_is_silent() {
        assert!(lines(100, SECOND / 60).is_empty());
        assert!(lines(1, SECOND * 60).is_empty(), "it is over when it could speak");
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
    fn bytes_are_told_as_such() {
        let work = Work { what: "fetching x".into(), unit: Progress::BYTES, total: 500_000_000, done: 125_000_000 };
        assert_eq!(
            work.line(SECOND * 5),
            "candle-lens ⏳ fetching x: 125.0 MB of 500.0 MB (25 %), 25.0 MB/s, 15 s left"
        );
        let none = Work { done: 0, ..work };
        assert!(none.line(SECOND * 3).ends_with("0 B/s, no end in sight yet"));
        assert_eq!([clock(0.2), clock(125.0), clock(4200.0)], ["1 s", "2 min 5 s", "1 h 10 min"]);
    }

    #[test]
    fn work_inside_work_is_silent() {
        let outer = Progress::new("outer", 2, "parts");
        let inner = Progress::new("inner", 2, "parts");
        assert!(outer.reports && !inner.reports);
        drop(inner);
        assert!(!Progress::new("inner", 2, "parts").reports, "the outer one still reports");
        drop(outer);
        assert!(Progress::new("next", 2, "parts").reports);
    }
}
