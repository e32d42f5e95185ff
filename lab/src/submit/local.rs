//! Shards as processes of this machine.

use super::one;
use super::shards::{Folder, State};
use crate::trouble::Trouble;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Computes these shards, so many at a time, and says how each ended. One that fails does not keep the others from being computed.
///
/// # Errors
/// The first that is not a failure of the work itself: then what has not begun is left.
pub fn compute(folder: &Folder, numbers: &[usize], at_a_time: usize) -> Result<(), Trouble> {
    let (next, trouble): (AtomicUsize, Mutex<Option<Trouble>>) = (AtomicUsize::new(0), Mutex::default());
    let workers = at_a_time.min(numbers.len());
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (cores / workers.max(1)).max(1);
    let is_told = std::env::var_os(one::THREADS).is_some();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while trouble.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                    let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    match one::compute(folder, number, (!is_told).then_some(threads)) {
                        Ok(state) => println!("    shard {number}: {}", ended(&state)),
                        Err(why) => {
                            trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
                        }
                    }
                }
            });
        }
    });
    match trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

/// How a shard ended, in a line.
fn ended(state: &State) -> String {
    match state {
        State::Done(took) => format!("done in {took}"),
        State::Failed(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
        State::Running => "another process computes it".into(),
        State::Stopped | State::Missing => "did not end".into(),
    }
}
