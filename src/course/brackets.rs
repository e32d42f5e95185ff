//! Strings of brackets, balanced and not: what the model `brackets` was trained on.

use crate::random::Random;

/// The longest string, in brackets.
const LONGEST: usize = 20;

/// Strings of 1 to 20 brackets, of which a little more than half (54 %) are balanced. Those that are not are of three kinds, about equally
/// often: brackets drawn one by one, as many of each in a random order, and balanced strings of which one or two were turned round. Two in
/// five of them have as many of each.
///
/// ```
/// use candle_lens::course::bracket_strings;
/// use candle_lens::random::Random;
/// let strings = bracket_strings(1000, &mut Random::new(1));
/// assert!(strings.iter().all(|text| (1..=20).contains(&text.len())));
/// let equal = strings.iter().filter(|text| text.matches('(').count() * 2 == text.len()).count();
/// assert!(equal > 500, "as many that open as close: the balanced ones and some of the others");
/// ```
pub fn bracket_strings(count: usize, random: &mut Random) -> Vec<String> {
    (0..count).map(|_| bracket_string(random)).collect()
}

fn bracket_string(random: &mut Random) -> String {
    loop {
        let pairs = 1 + random.below(LONGEST / 2);
        let balanced = random.chance(0.5);
        let opens = match (balanced, if balanced { 0 } else { random.below(3) }) {
            (true, _) => balanced_walk(pairs, random),
            (false, 0) => (0..2 * pairs - random.below(2)).map(|_| random.chance(0.5)).collect(),
            (false, 1) => shuffled(pairs, random),
            (false, _) => damaged(pairs, random),
        };
        let text: String = opens.into_iter().map(|opens| if opens { '(' } else { ')' }).collect();
        // Some that were to be wrong are not.
        if is_balanced(&text) == balanced {
            return text;
        }
    }
}

/// One of all balanced strings of this length, each with the same probability: a step goes up with the share of the ways home that do
/// (Arnold and Sleep 1980).
fn balanced_walk(pairs: usize, random: &mut Random) -> Vec<bool> {
    let mut depth = 0;
    let mut step = |at: usize| {
        let left = 2 * pairs - at;
        let opens = random.chance((depth + 2) as f64 * (left - depth) as f64 / (2 * (depth + 1) * left) as f64);
        depth = if opens { depth + 1 } else { depth - 1 };
        opens
    };
    (0..2 * pairs).map(&mut step).collect()
}

fn shuffled(pairs: usize, random: &mut Random) -> Vec<bool> {
    let mut opens: Vec<bool> = (0..2 * pairs).map(|at| at < pairs).collect();
    for at in 0..opens.len() {
        let other = at + random.below(opens.len() - at);
        opens.swap(at, other);
    }
    opens
}

fn damaged(pairs: usize, random: &mut Random) -> Vec<bool> {
    let mut opens = balanced_walk(pairs, random);
    for _ in 0..1 + random.below(2) {
        let at = random.below(opens.len());
        opens[at] = !opens[at];
    }
    opens
}

/// Whether every bracket has its partner.
pub(super) fn is_balanced(text: &str) -> bool {
    let mut depth = 0_i32;
    let above = text.chars().all(|bracket| {
        depth += if bracket == '(' { 1 } else { -1 };
        depth >= 0
    });
    above && depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five standard errors of a share of 7,000 draws are 0.02.
    #[test]
    fn balanced_strings_are_equally_probable() {
        const STANDARD_ERRORS: f64 = 0.02;
        let mut random = Random::new(5);
        let mut counts = std::collections::BTreeMap::new();
        (0..7000).for_each(|_| *counts.entry(balanced_walk(3, &mut random)).or_insert(0) += 1);
        assert_eq!(counts.len(), 5, "there are five balanced strings of six brackets");
        for count in counts.into_values() {
            let share = f64::from(count) / 7000.0;
            assert!((share - 0.2).abs() < STANDARD_ERRORS, "{share}");
        }
    }
}
