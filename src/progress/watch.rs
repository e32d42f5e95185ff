//! The watch: one thread of the process that looks at all long work a few times in a second, so that a line comes in time
//! also where a single step is long, such as candle's backward pass, which cannot be counted from outside.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use super::report::Report;
use super::{clock, is_on};

/// How long the watch rests between two looks.
const REST: Duration = Duration::from_millis(250);

/// What is being worked on.
struct Watched {
    reports: Vec<Arc<Report>>,
    /// Nothing was: the watch waits to be called.
    sleeps: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { reports: Vec::new(), sleeps: false });
static CALL: Condvar = Condvar::new();

fn watched() -> MutexGuard<'static, Watched> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The work is looked at from now on.
pub(super) fn attend(report: &Arc<Report>) {
    static STARTED: Once = Once::new();
    // Without the thread, work still speaks at its steps.
    STARTED.call_once(|| drop(thread::Builder::new().name("candle-lens progress".into()).spawn(watch)));
    let mut watched = watched();
    watched.reports.push(report.clone());
    if watched.sleeps {
        // Short work, one run after the other, thus calls no more than once in each rest.
        watched.sleeps = false;
        CALL.notify_one();
    }
}

/// The work is over: no line of it is written once this has returned.
pub(super) fn leave(report: &Arc<Report>) {
    watched().reports.retain(|other| !Arc::ptr_eq(other, report));
    report.end();
}

fn watch() {
    loop {
        let mut watched = watched();
        while watched.reports.is_empty() {
            watched.sleeps = true;
            watched = CALL.wait(watched).unwrap_or_else(PoisonError::into_inner);
        }
        let reports = watched.reports.clone();
        // Nobody waits for this lock while a line is being written.
        drop(watched);
        if is_on() {
            reports.iter().for_each(|report| report.look(clock::now()));
        }
        thread::sleep(REST);
    }
}
