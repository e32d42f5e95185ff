//! Other inputs for the same exercise: `CANDLE_LENS_COURSE_SEED`, by which a teacher grades with what students have not seen.
//!
//! Whatever a section draws for its inputs, and the random models that it runs, comes from here; `tests/course/seeds.rs` checks it.

use crate::error::{Error, Result};
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
pub(super) fn reordered<L: AsMut<[T]>, T>(mut items: L, place: u64) -> L {
    if !is_usual() {
        seeded(place).shuffle(items.as_mut());
    }
    items
}

/// How many draws are tried before [`first_drawn`] gives up.
const DRAWS: u64 = 200;

/// The first input that `draw` accepts, for inputs that only sometimes tell right from wrong: it gets the number to draw with, the usual
/// one and then those after it.
///
/// # Errors
/// Those of `draw`; an argument error if it accepts none.
pub(super) fn first_drawn<T>(usual: u64, mut draw: impl FnMut(u64) -> Result<Option<T>>) -> Result<T> {
    for number in usual..usual + DRAWS {
        if let Some(input) = draw(number)? {
            return Ok(input);
        }
    }
    let given = given().map_or("no seed".to_string(), |seed| format!("{VARIABLE}={seed}"));
    Err(Error::argument(format!(
        "with {given} none of {DRAWS} draws is an input that tells right from wrong. Choose another seed."
    )))
}

/// As [`first_drawn`], lists of inputs of which at least one `tells`: shares of a few examples may be the same by chance.
pub(super) fn first_telling<I>(
    usual: u64,
    mut draw: impl FnMut(u64) -> Result<Vec<I>>,
    tells: impl Fn(&I) -> Result<bool>,
) -> Result<Vec<I>> {
    first_drawn(usual, |number| {
        let inputs = draw(number)?;
        let told = inputs.iter().map(&tells).collect::<Result<Vec<bool>>>()?;
        Ok(told.contains(&true).then_some(inputs))
    })
}
