//! The watcher: one thread per process that checks all long work a few times per second, so that lines are written on
//! time even during a long single step, such as candle's backward pass, which cannot be counted from outside.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use super::report::Report;
use super::{clock, is_on};

/// How long the watcher sleeps between two checks.
const REST: Duration = Duration::from_millis(250);

/// The work that is going on.
struct Watched {
    reports: Vec<Arc<Report>>,
    /// There was none: the watcher waits to be woken.
    sleeps: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { reports: Vec::new(), sleeps: false });
static CALL: Condvar = Condvar::new();

fn watched() -> MutexGuard<'static, Watched> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts watching the work.
pub(super) fn attend(report: &Arc<Report>) {
    static STARTED: Once = Once::new();
    // If the thread cannot be started, work still reports at its steps.
    STARTED.call_once(|| drop(thread::Builder::new().name("candle-lens progress".into()).spawn(watch)));
    let mut watched = watched();
    watched.reports.push(report.clone());
    if watched.sleeps {
        // A series of short runs thus wakes the watcher at most once per rest.
        watched.sleeps = false;
        CALL.notify_one();
    }
}

/// Stops watching the work, which is over: no line of it is written after this has returned.
pub(super) fn leave(report: &Arc<Report>) {
    watched().reports.retain(|other| !Arc::ptr_eq(other, report));
    report.end();
}

/// The name of the work that has been reporting for the longest.
pub(super) fn first() -> Option<String> {
    let report = watched().reports.first().cloned()?;
    Some(report.what())
}

fn watch() {
    loop {
        let mut watched = watched();
        while watched.reports.is_empty() {
            watched.sleeps = true;
            watched = CALL.wait(watched).unwrap_or_else(PoisonError::into_inner);
        }
        let reports = watched.reports.clone();
        // The lock is released before lines are written, so that nobody waits for it.
        drop(watched);
        if is_on() {
            reports.iter().for_each(|report| report.look(clock::now()));
        }
        thread::sleep(REST);
    }
}
