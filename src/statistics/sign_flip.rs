//! The sign-flip test: how likely a mean as far from 0 would be if each effect could as well have the other sign.

use super::options::{Alternative, StatisticsOptions};
use crate::error::Result;
use crate::interrupt::check_interrupt;
use crate::progress::Progress;
use crate::random::Random;

/// Up to how many effects all patterns of signs are tried.
pub(super) const EXACT: usize = 12;

/// How near two means count as equal, relative to the one found: sums in another order differ in their last digits.
const TIE: f64 = 100. * f64::EPSILON;

/// How many signs are drawn at once.
const AT_ONCE: usize = 1 << 20;

/// The p-value of each list; NaN of fewer than two numbers.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub(super) fn p_values(cells: &[Vec<f64>], options: &StatisticsOptions) -> Result<Vec<f64>> {
    let mut progress = Progress::of("flipping signs", cells.len() as u64, "numbers");
    let most = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut found: Vec<f64> = cells
        .iter()
        .map(|values| match values.len() {
            0 | 1 => f64::NAN,
            count if count <= EXACT => {
                let patterns = 0..1_u32 << count;
                let hits = patterns.clone().filter(|bits| is_hit(values, |i| bits >> i & 1 == 1, options.alternative));
                hits.count() as f64 / patterns.len() as f64
            }
            _ => 1.,
        })
        .collect();
    let drawn: Vec<usize> = (0..cells.len()).filter(|&i| cells[i].len() > EXACT).collect();
    progress.step((cells.len() - drawn.len()) as u64)?;
    let mut random = Random::new(options.seed);
    let (mut done, mut signs) = (0, Vec::new());
    while done < options.patterns && !drawn.is_empty() {
        let now = (AT_ONCE / most).clamp(1, options.patterns - done);
        signs.clear();
        signs.extend((0..now * most).map(|_| random.uniform() < 0.5));
        for &cell in &drawn {
            let patterns = signs.chunks(most);
            let hits = patterns.filter(|signs| is_hit(&cells[cell], |i| signs[i], options.alternative)).count();
            found[cell] += hits as f64;
            check_interrupt()?;
        }
        done += now;
    }
    for &cell in &drawn {
        found[cell] /= (options.patterns + 1) as f64;
    }
    progress.step(drawn.len() as u64)?;
    Ok(found)
}

/// Whether the sum with these signs flipped is at least as far from 0 as the sum itself.
fn is_hit(values: &[f64], is_flipped: impl Fn(usize) -> bool, alternative: Alternative) -> bool {
    let observed: f64 = values.iter().sum();
    let flipped: f64 = values.iter().enumerate().map(|(i, &value)| if is_flipped(i) { -value } else { value }).sum();
    let tie = TIE * observed.abs();
    match alternative {
        Alternative::TwoSided => flipped.abs() >= observed.abs() - tie,
        Alternative::Greater => flipped >= observed - tie,
        Alternative::Less => flipped <= observed + tie,
    }
}
