//! Other inputs for the same exercise: `CANDLE_LENS_COURSE_SEED`, by which a teacher grades with what students have not seen.
//!
//! Whatever a section draws for its inputs, and the random models that it runs, comes from here; `tests/course/seeds.rs` checks it.

use crate::random::Random;

/// The variable that says it: a whole number.
const VARIABLE: &str = "CANDLE_LENS_COURSE_SEED";

fn given() -> Option<u64> {
    std::env::var(VARIABLE).ok().and_then(|text| text.trim().parse().ok())
}

/// Whether inputs are those that the sections chose.
pub(super) fn is_usual() -> bool {
    given().is_none()
}

/// The seed for an input whose usual one this is.
pub(super) fn seed(usual: u64) -> u64 {
    // Far from the seeds that sections choose, which are small.
    given().map_or(usual, |given| usual.wrapping_add(given.wrapping_mul(1_000_003)))
}

/// Random choices for an input whose usual seed this is.
pub(super) fn seeded(usual: u64) -> Random {
    Random::new(seed(usual))
}

/// What was chosen by hand: in the order given, or in one drawn by the teacher's seed. The number tells one place from another.
pub(super) fn reordered<T>(items: impl Into<Vec<T>>, place: u64) -> Vec<T> {
    let mut items = items.into();
    if !is_usual() {
        let mut random = seeded(place);
        (1..items.len()).rev().for_each(|last| items.swap(last, random.below(last + 1)));
    }
    items
}
