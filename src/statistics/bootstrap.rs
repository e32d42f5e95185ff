//! Percentile bootstrap intervals.

use std::collections::BTreeMap;

use super::options::StatisticsOptions;
use crate::error::Result;
use crate::progress::Progress;
use crate::random::Random;

/// How many draws' means are kept at once, 32 MB of them.
const AT_ONCE: usize = 1 << 22;

/// The interval of each list, with the same draws for lists of one length; NaN of fewer than two numbers.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub(super) fn intervals(cells: &[Vec<f64>], options: &StatisticsOptions) -> Result<Vec<(f64, f64)>> {
    let most = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut progress = Progress::of("drawing prompts", cells.len() as u64, "numbers");
    let mut all = Vec::with_capacity(cells.len());
    for chunk in cells.chunks((AT_ONCE / options.draws).max(1)) {
        progress.together(chunk.len());
        let mut drawn: Vec<Vec<f64>> = chunk.iter().map(|_| Vec::with_capacity(options.draws)).collect();
        let mut random = Random::new(options.seed);
        let (mut places, mut sample) = (BTreeMap::new(), Vec::with_capacity(most));
        for _ in 0..options.draws {
            let uniform: Vec<f64> = (0..most).map(|_| random.uniform()).collect();
            places.clear();
            for (values, drawn) in chunk.iter().zip(&mut drawn) {
                let count = values.len();
                let at = |uniform: &f64| (uniform * count as f64) as usize;
                let places: &Vec<usize> =
                    places.entry(count).or_insert_with(|| uniform[..count].iter().map(at).collect());
                sample.clear();
                sample.extend(places.iter().map(|&place| values[place]));
                drawn.push(options.center.of(&mut sample));
            }
        }
        let tail = (1. - options.level) / 2.;
        let ends = |(values, mut drawn): (&Vec<f64>, Vec<f64>)| match values.len() {
            0 | 1 => (f64::NAN, f64::NAN),
            _ => {
                drawn.sort_unstable_by(f64::total_cmp);
                (quantile(&drawn, tail), quantile(&drawn, 1. - tail))
            }
        };
        all.extend(chunk.iter().zip(drawn).map(ends));
        progress.step(chunk.len() as u64)?;
    }
    Ok(all)
}

/// A quantile of sorted numbers, interpolated linearly between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&sorted, share)), [1.0, 3.0, 8.0]);
        assert_eq!(quantile(&[5.0], 0.975), 5.0);
    }
}
