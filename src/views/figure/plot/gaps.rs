//! The cells of a heat map that have no number, which plotly.js leaves out, and those whose interval holds 0, each drawn as a
//! separate map.

use ndarray::Array2;
use serde_json::{Value, json};

use crate::views::figure::interval::GREYED;
use crate::views::figure::notes::GAP;

/// The numbers row by row.
pub(super) fn rows(values: &Array2<f32>) -> Vec<Vec<f32>> {
    values.rows().into_iter().map(|row| row.to_vec()).collect()
}

/// A map of the cells without a number, which the map of the numbers leaves out: on its own background a page would show
/// them like zeros.
pub(super) fn gap_map(values: &Array2<f32>, of: &Value) -> Value {
    let hover = of["hovertemplate"].as_str().unwrap_or_default().replace("%{z:.4~g}", "%{text}");
    let color = GAP.to_hex();
    json!({
        "type": "heatmap", "x": of["x"], "y": of["y"], "z": gap_rows(values), "text": gap_names(values),
        "colorscale": [[0, color], [1, color]], "zmin": 0, "zmax": 1, "showscale": false, "hovertemplate": hover,
        "xgap": of["xgap"], "ygap": of["ygap"],
    })
}

/// A map of the cells whose interval holds 0, in grey over the map of the numbers.
pub(super) fn grey_map(values: &Array2<f32>, greyed: &Array2<bool>, of: &Value) -> Value {
    let hover = of["hovertemplate"].as_str().unwrap_or_default().replace("%{z:.4~g}", "%{text:.4~g}");
    let color = GREYED.to_hex();
    json!({
        "type": "heatmap", "x": of["x"], "y": of["y"], "z": flag_rows(greyed), "text": short_rows(values),
        "customdata": of["customdata"], "colorscale": [[0, color], [1, color]], "zmin": 0, "zmax": 1,
        "showscale": false, "hovertemplate": hover, "xgap": of["xgap"], "ygap": of["ygap"],
    })
}

/// 1 where a flag is set, and nothing elsewhere.
pub(super) fn flag_rows(flags: &Array2<bool>) -> Vec<Vec<Option<u8>>> {
    flags.rows().into_iter().map(|row| row.iter().map(|&flag| flag.then_some(1)).collect()).collect()
}

/// Words row by row.
pub(super) fn word_rows(words: &Array2<String>) -> Value {
    words.rows().into_iter().map(|row| row.to_vec()).collect()
}

/// 1 where there is a gap, and nothing elsewhere.
pub(super) fn gap_rows(values: &Array2<f32>) -> Vec<Vec<Option<u8>>> {
    let row = |row: ndarray::ArrayView1<f32>| row.iter().map(|value| (!value.is_finite()).then_some(1)).collect();
    values.rows().into_iter().map(row).collect()
}

/// The text of each gap.
pub(super) fn gap_names(values: &Array2<f32>) -> Vec<Vec<Option<String>>> {
    let name = |value: &f32| (!value.is_finite()).then(|| value.to_string());
    values.rows().into_iter().map(|row| row.iter().map(name).collect()).collect()
}

/// The numbers row by row with the digits of 32-bit floats, which a conversion to 64 bits would double.
pub(super) fn short_rows(values: &Array2<f32>) -> Vec<Vec<Option<f64>>> {
    let short = |value: &f32| value.is_finite().then(|| value.to_string().parse().unwrap_or(f64::from(*value)));
    values.rows().into_iter().map(|row| row.iter().map(short).collect()).collect()
}
