//! Whiskers for plotly.js.

use ndarray::Array2;
use serde_json::{Value, json};

use crate::views::figure::interval::Intervals;

/// The error bars of one series at these places: how far each interval goes above and below its number.
pub(super) fn error_bars(values: &Array2<f32>, intervals: &Intervals, series: usize, places: &[usize]) -> Value {
    let far = |which: fn((f64, f64), f64) -> f64| -> Vec<Option<f64>> {
        let one = |&place: &usize| {
            let value = f64::from(values[(series, place)]);
            // plotly.js takes distances; an interval beside its number has one side of length 0.
            intervals.at((series, place)).filter(|_| value.is_finite()).map(|ends| which(ends, value).max(0.0) as f32)
        };
        places.iter().map(|place| one(place).map(|far| far.to_string().parse().unwrap_or(f64::from(far)))).collect()
    };
    json!({
        "type": "data", "symmetric": false, "array": far(|(_, high), value| high - value),
        "arrayminus": far(|(low, _), value| value - low), "thickness": 1.5, "width": 4,
    })
}
