//! Work that mostly waits for one core, done two at a time: a notebook spends its time in the compiler, which compiles a cell on one.

use crate::trouble::Trouble;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many at a time, where there are as many cores. Each kernel takes half a gigabyte, so it is not more.
const AT_A_TIME: usize = 2;

/// Whether [`by_two`] does more than one at a time.
pub fn are_possible() -> bool {
    workers() > 1
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(AT_A_TIME)
}

/// What comes of each thing, in their order.
///
/// # Errors
/// The first in time; then what has not begun is left.
pub fn by_two<T: Sync, R: Send>(
    things: &[T],
    work: impl Fn(&T) -> Result<R, Trouble> + Sync,
) -> Result<Vec<R>, Trouble> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, R)>> = Mutex::default();
    let trouble: Mutex<Option<Trouble>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(place) else { return };
                    match work(thing) {
                        Ok(result) => done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result)),
                        Err(why) => {
                            failed.store(true, Ordering::Relaxed);
                            trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
                        }
                    }
                }
            });
        }
    });
    match trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(why) => Err(why),
        None => {
            let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
            done.sort_by_key(|(place, _)| *place);
            Ok(done.into_iter().map(|(_, result)| result).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_ends_it() {
        let numbers: Vec<usize> = (0..50).collect();
        assert_eq!(by_two(&numbers, |n| Ok(n * 2)).unwrap(), (0..100).step_by(2).collect::<Vec<_>>());
        let begun = AtomicUsize::new(0);
        let outcome = by_two(&numbers, |n| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *n == 3 { Err(Trouble::new("three", "leave it out")) } else { Ok(()) }
        });
        assert!(outcome.unwrap_err().to_string().starts_with("three"));
        assert!(by_two(&[] as &[usize], |_| Ok(())).unwrap().is_empty());
    }
}
