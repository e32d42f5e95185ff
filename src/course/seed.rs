//! Other inputs for the same exercise: `CANDLE_LENS_COURSE_SEED`, by which a teacher grades with what students have not seen.

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
