//! How numbers are written in tables, tick labels and texts.

/// A number with four significant digits: `128`, `2.849`, `0.0123`, `1.2e-7`. Whole numbers below
/// ten billion stay whole.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == 0.0 {
        return if value == 0.0 { "0".into() } else { value.to_string() };
    }
    if value.fract() == 0.0 && size < 1e10 {
        return format!("{value:.0}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    trim_zeros(&format!("{value:.*}", decimals(size, 4)))
}

/// Numbers that stand below each other, with the same number of decimals: as many as give the largest four
/// significant digits.
pub(super) fn column(values: &[f64]) -> Vec<String> {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let largest = finite().fold(0.0_f64, |most, v| most.max(v.abs()));
    if finite().all(|v| v.fract() == 0.0) || !(1e-3..1e6).contains(&largest) {
        return values.iter().map(|&v| number(v)).collect();
    }
    let decimals = decimals(largest, 4);
    values.iter().map(|&v| if v.is_finite() { format!("{v:.decimals$}") } else { number(v) }).collect()
}

/// How many decimals give a number of this size so many significant digits.
fn decimals(size: f64, digits: i32) -> usize {
    (digits - 1 - size.log10().floor() as i32).max(0) as usize
}

/// `2.500` is `2.5`.
fn trim_zeros(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text.into() }
}

/// Round steps (1, 2 or 5 times a power of ten) that divide `low..=high` into about `wanted` parts: the multiples
/// of the step within the range, and the decimals they need.
pub(super) fn round_steps(low: f64, high: f64, wanted: usize) -> (Vec<f64>, usize) {
    let rough = (high - low) / wanted.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= rough * 0.999).unwrap_or(rough);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    ((first..=last).map(|i| i as f64 * step).collect(), decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_sensible() {
        let cases = [
            (0.0, "0"),
            (128.0, "128"),
            (-3.0, "-3"),
            (2.849_323_9, "2.849"),
            (2.5, "2.5"),
            (-0.012_345, "-0.01235"),
            (1e-5, "1.000e-5"),
            (12_345.678, "12346"),
            (7.5e10, "7.500e10"),
            (124_439_808.0, "124439808"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_column_lines_up() {
        assert_eq!(column(&[2.849_323, -0.1, 0.0]), ["2.849", "-0.100", "0.000"]);
        assert_eq!(column(&[1.0, 20.0]), ["1", "20"]);
        assert_eq!(column(&[150.25, f64::NAN]), ["150.2", "NaN"]);
        assert_eq!(column(&[1e-7, 2e-9]), ["1.000e-7", "2.000e-9"]);
    }

    #[test]
    fn steps_are_round_and_within() {
        assert_eq!(round_steps(-0.2, 2.9, 5), (vec![0.0, 1.0, 2.0], 0));
        assert_eq!(round_steps(0.0, 1.0, 5).0.len(), 6);
        let (steps, decimals) = round_steps(-0.013, 0.021, 6);
        assert_eq!(steps, [-0.01, 0.0, 0.01, 0.02]);
        assert_eq!(decimals, 2);
    }
}
