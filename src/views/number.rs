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

/// One number, or the mean of several with the largest in brackets.
pub(super) fn mean_and_largest(values: &[f64]) -> String {
    match values {
        [] => "-".into(),
        [one] => format!("{one:.3}"),
        _ => {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            format!("{mean:.3} ({:.3})", values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
    }
}

/// The numbers of a column with the same number of decimals, which gives the largest four significant digits. Where that
/// would leave another number fewer than two, because it is much smaller, each is formatted separately.
pub(super) fn column(values: &[f64]) -> Vec<String> {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let largest = finite().fold(0.0_f64, |most, v| most.max(v.abs()));
    if finite().all(|v| v.fract() == 0.0) || !(1e-3..1e6).contains(&largest) {
        return values.iter().map(|&v| number(v)).collect();
    }
    let decimals = decimals(largest, 4);
    if finite().any(|v| is_lost(v, decimals)) {
        return values.iter().map(|&v| number(v)).collect();
    }
    values.iter().map(|&v| if v.is_finite() { format!("{v:.decimals$}") } else { number(v) }).collect()
}

/// Whether this many decimals leave fewer than two significant digits of a number that has more.
fn is_lost(value: f64, decimals: usize) -> bool {
    let step = 10_f64.powi(-(decimals as i32));
    let rounded = (value / step).round() * step;
    // A 32-bit float such as 0.1 is not exactly what it was written as.
    value.abs() < 9.5 * step && (rounded - value).abs() > 1e-6 * value.abs()
}

/// A count with its thousands separated: `1,500,000`.
pub(super) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && i % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The decimals that give a number of this size this many significant digits.
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
    let rough = ((high - low) / wanted.max(1) as f64).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= rough * 0.999).unwrap_or(rough);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    let decimals = (-step.log10().floor()).clamp(0.0, 300.0) as usize;
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
    fn thousands_stand_apart() {
        assert_eq!([7, 999, 1000, 1_500_000].map(grouped), ["7", "999", "1,000", "1,500,000"]);
    }

    #[test]
    fn a_column_lines_up() {
        assert_eq!(column(&[2.849_323, -0.1, 0.0]), ["2.849", "-0.100", "0.000"]);
        assert_eq!(column(&[1.0, 20.0]), ["1", "20"]);
        assert_eq!(column(&[150.25, f64::NAN]), ["150.2", "NaN"]);
        assert_eq!(column(&[1e-7, 2e-9]), ["1.000e-7", "2.000e-9"]);
        assert_eq!(column(&[128.4, 0.5]), ["128.4", "0.5"], "one decimal is all that a half has");
        assert_eq!(column(&[128.4, f64::from(0.1_f32)]), ["128.4", "0.1"]);
        assert_eq!(column(&[9.123, 0.0123]), ["9.123", "0.012"], "two digits are left");
    }

    #[test]
    fn no_number_of_a_column_is_rounded_away() {
        assert_eq!(column(&[0.99, 0.98, 0.004, 2048.0]), ["0.99", "0.98", "0.004", "2048"]);
        assert_eq!(column(&[0.0, 91.23, 0.0123, -0.5]), ["0", "91.23", "0.0123", "-0.5"]);
        assert_eq!(column(&[0.912_34, 4e-5, f64::NAN]), ["0.9123", "4.000e-5", "NaN"]);
        assert_eq!(column(&[2e7, 0.25]), ["20000000", "0.25"]);
        // Whatever the sizes, what is read back is the number to 5 % at worst.
        let sizes = (-12..9).map(|power| 1.2345 * 10_f64.powi(power));
        for value in sizes.clone() {
            for other in sizes.clone() {
                for text in column(&[value, -other]).iter().zip([value, -other]) {
                    let read: f64 = text.0.parse().expect("a number");
                    assert!((read - text.1).abs() <= 0.05 * text.1.abs(), "{value} beside {other}: {}", text.0);
                }
            }
        }
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
