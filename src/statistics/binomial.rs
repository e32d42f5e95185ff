//! The interval of a success rate (Clopper and Pearson 1934): the rates under which neither this many successes or more nor
//! this many or fewer would be rarer than half of what is left of the level.

/// Halvings of the interval; 53 digits are all that there are.
const HALVINGS: usize = 80;

/// The exact interval of the rate behind `successes` of `count` trials.
pub(super) fn interval(successes: usize, count: usize, level: f64) -> (f64, f64) {
    let tail = (1. - level) / 2.;
    // Fewer successes than these become likelier as the rate falls, more as it rises.
    let low = match successes {
        0 => 0.,
        _ => root(|rate| 1. - at_most(successes - 1, count, rate) < tail),
    };
    let high = match successes == count {
        true => 1.,
        false => root(|rate| at_most(successes, count, rate) > tail),
    };
    (low, high)
}

/// The largest rate that is still `below`.
fn root(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0., 1.);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.;
        if below(middle) { low = middle } else { high = middle }
    }
    (low + high) / 2.
}

/// The probability of at most `successes` of `count` trials, each of which succeeds with the probability `rate`.
///
/// Terms are summed from the largest on, in logarithms, where factorials and powers do not overflow.
fn at_most(successes: usize, count: usize, rate: f64) -> f64 {
    let odds = rate.ln() - (-rate).ln_1p();
    let mut term = count as f64 * (-rate).ln_1p();
    let mut terms = vec![term];
    for i in 0..successes {
        term += ((count - i) as f64 / (i + 1) as f64).ln() + odds;
        terms.push(term);
    }
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return 0.;
    }
    (largest.exp() * terms.iter().map(|term| (term - largest).exp()).sum::<f64>()).min(1.)
}
