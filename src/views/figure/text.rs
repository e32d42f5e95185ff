//! Figures in characters, for a terminal and for readers who cannot see the picture.

use ndarray::ArrayView2;

use crate::error::Result;
use crate::views::html::visible;
use crate::views::number::{column, number};
use crate::views::page::View;
use crate::views::table::Table;
use crate::views::terminal::{columns, fit, width};

/// How many rows of a heat map are written.
const ROWS: usize = 40;

/// The sign of a missing number.
const GAP: char = '·';

/// The sign of a number whose interval holds 0.
const GREYED: char = '~';

/// From zero to the end of the scale.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// A heat map: each number with a shade for its magnitude, or only shades where the line is too short for numbers; `greyed`
/// ones with [`GREYED`] instead.
pub(super) fn heat_map(
    (values, greyed): (ArrayView2<f32>, ArrayView2<bool>),
    limit: f64,
    (y_title, y): (&str, &[String]),
    (x_title, x): (&str, &[String]),
) -> Result<String> {
    let shade = |value: f32, greyed: bool| match greyed {
        _ if !value.is_finite() => GAP,
        true => GREYED,
        false => SHADES[(f64::from(value).abs() / limit * 4.0).round().min(4.0) as usize],
    };
    let all: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
    let written = column(&all);
    let labels: Vec<String> = y.iter().take(ROWS).map(|label| visible(label)).collect();
    let unnamed = y_title.is_empty() && x_title.is_empty();
    let corner = if unnamed { String::new() } else { visible(&format!("{y_title} \\ {x_title}")) };
    let side = labels.iter().chain([&corner]).map(|label| columns(label)).max().unwrap_or(0);
    let widest = written.iter().map(String::len).max().unwrap_or(0) + 2;
    let room = width().saturating_sub(side);
    if x.iter().map(|label| columns(label).max(widest) + 2).sum::<usize>() <= room {
        let table = Table::new([&corner].into_iter().chain(x)).max_rows(ROWS);
        let cells = written
            .iter()
            .zip(&values)
            .zip(&greyed)
            .map(|((text, &value), &greyed)| format!("{text:>0$} {1}", widest - 2, shade(value, greyed)));
        let cells: Vec<String> = cells.collect();
        let rows = y.iter().zip(cells.chunks(x.len()));
        let table = rows.fold(table, |table, (label, cells)| {
            table.row([label].into_iter().chain(cells).map(String::as_str).collect::<Vec<_>>())
        });
        return Ok(table.render()?.text().to_owned());
    }
    let side = labels.iter().map(|label| columns(label)).max().unwrap_or(0).min(24);
    let shown = ((width() - side - 2) / 2).min(x.len());
    let names = if unnamed { "columns".into() } else { corner };
    let mut lines = vec![format!("{names}: {} to {}", visible(&x[0]), visible(&x[shown - 1]))];
    for ((label, row), greyed) in labels.iter().zip(values.rows()).zip(greyed.rows()) {
        let cells = row.iter().zip(greyed).take(shown).map(|(&value, &greyed)| {
            let shade = shade(value, greyed);
            let is_negative = value < 0.0 && value.is_finite() && ![' ', GREYED].contains(&shade);
            String::from_iter([if is_negative { '-' } else { shade }, shade])
        });
        lines.push(format!("{}  {}", fit(label, side, false), cells.collect::<String>()).trim_end().to_owned());
    }
    lines.push(scale(values, limit, (y, x)));
    for (hidden, all, what) in [(x.len() - shown, x.len(), "columns"), (y.len().saturating_sub(ROWS), y.len(), "rows")]
    {
        if hidden > 0 {
            lines.push(format!("… {hidden} more {what} ({all} in all)"));
        }
    }
    Ok(lines.join("\n"))
}

/// What shades mean, and the smallest and the largest number.
fn scale(values: ArrayView2<f32>, limit: f64, (y, x): (&[String], &[String])) -> String {
    let by_value = |a: &&(usize, &f32), b: &&(usize, &f32)| a.1.total_cmp(b.1);
    let places: Vec<(usize, &f32)> = values.iter().enumerate().filter(|(_, value)| value.is_finite()).collect();
    let at = |place: Option<&(usize, &f32)>| {
        place.map_or_else(String::new, |&(i, &value)| {
            format!("{} ({}, {})", number(f64::from(value)), visible(&y[i / x.len()]), visible(&x[i % x.len()]))
        })
    };
    let (low, high) = (places.iter().min_by(by_value), places.iter().max_by(by_value));
    let gaps = if places.len() < values.len() { format!(", {GAP}{GAP} is a gap") } else { String::new() };
    let range = if places.is_empty() { String::new() } else { format!("; from {} to {}", at(low), at(high)) };
    format!("██ is {0}, -█ is -{0}{gaps}{range}", number(limit))
}

/// The values as bars of eight heights, at most `most` of them: each represents the mean of the finite numbers of a
/// stretch, and [`GAP`] for a stretch without any.
pub(super) fn sparkline(values: &[f32], most: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let stretch = values.len().div_ceil(most.max(1));
    let mean = |part: &[f32]| {
        let finite = || part.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
        finite().sum::<f64>() / finite().count() as f64
    };
    let means: Vec<f64> = values.chunks(stretch).map(mean).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |mean: f64| if high > low { ((mean - low) / (high - low) * 7.0).round() as usize } else { 3 };
    means.into_iter().map(|mean| if mean.is_nan() { GAP } else { BARS[height(mean)] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_rises_with_its_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 80), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[2.0, 2.0], 80), "▄▄");
        assert_eq!(sparkline(&[f32::NAN, 0.0, f32::NEG_INFINITY, 1.0], 80), "·▁·█");
        assert_eq!(sparkline(&[1.0; 200], 80).chars().count(), 67, "200 values in stretches of 3");
    }
}
