//! The parts of which the views of features are made: texts with activations, bars beside names, histograms.
//!
//! All of it is HTML with its styles inline, as tables are, and nothing needs a script: strength is the opacity of a colour, so
//! that it works on a light and a dark page, and a number is a tooltip wherever it is not written out.

use crate::features::{FeatureExample, FeatureHistogram, TokenValue};
use crate::views::figure::Color;
use crate::views::html::{escape, visible};
use crate::views::number::{column, grouped, number};
use crate::views::widget::still::{NEGATIVE, POSITIVE, on_ground};
use crate::views::widget::text::said;

/// The most characters of a name beside a bar.
const LONGEST_NAME: usize = 60;

/// The most bars of a histogram; neighbouring bins of a longer one are added up.
const MOST_BARS: usize = 60;

/// The most characters of a token in a text.
const LONGEST_TOKEN: usize = 200;

/// A text as it is shown: what cannot be seen is written out, and of a long one the beginning.
pub(super) fn short(text: &str, longest: usize) -> String {
    let seen = visible(text);
    match seen.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &seen[..at]),
        None => seen,
    }
}

/// A part of a view with its heading and a line of what its numbers are.
pub(super) fn section(heading: &str, about: &str, content: &str) -> String {
    let about = match about {
        "" => String::new(),
        about => format!(" <span style=\"opacity:.75\">{}</span>", escape(about)),
    };
    format!(
        "<div style=\"margin:0 0 14px\"><div style=\"margin:0 0 4px;padding:0 0 2px;\
         border-bottom:1px solid rgba(128,128,128,.4)\"><b>{}</b>{about}</div>{content}</div>",
        escape(heading)
    )
}

/// Parts beside each other where there is room, otherwise below each other; each with its share of the width and the width below
/// which it does not go.
pub(super) fn beside(parts: &[(f32, usize, String)]) -> String {
    let part = |(share, least, content): &(f32, usize, String)| match content.is_empty() {
        true => String::new(),
        false => format!("<div style=\"flex:{share} 1 {least}px;min-width:0\">{content}</div>"),
    };
    let parts: String = parts.iter().map(part).collect();
    format!("<div style=\"display:flex;flex-wrap:wrap;gap:0 28px;align-items:flex-start\">{parts}</div>")
}

/// What the reader may open, without a script.
pub(super) fn folded(summary: &str, content: &str) -> String {
    format!("<details><summary style=\"cursor:pointer;margin:4px 0\">{}</summary>{content}</details>", escape(summary))
}

/// A name with its number, on a bar.
pub(super) struct Bar {
    pub name: String,
    pub value: f32,
    /// The number as it is written.
    pub said: String,
}

/// Numbers of a column: with two decimals, unless those would hide one or say too much.
pub(super) fn short_column(values: &[f64]) -> Vec<String> {
    let most = values.iter().filter(|value| value.is_finite()).fold(0.0_f64, |most, value| most.max(value.abs()));
    match (0.1..1000.0).contains(&most) {
        true => values.iter().map(|value| format!("{value:.2}")).collect(),
        false => column(values),
    }
}

/// A number with three significant digits.
pub(super) fn short_number(value: f64) -> String {
    number(format!("{value:.2e}").parse().unwrap_or(value))
}

/// The bars of tokens.
pub(super) fn tokens(list: &[TokenValue]) -> Vec<Bar> {
    let numbers = short_column(&list.iter().map(|token| f64::from(token.value)).collect::<Vec<_>>());
    let bar = |(token, said): (&TokenValue, String)| Bar { name: token.text.clone(), value: token.value, said };
    list.iter().zip(numbers).map(bar).collect()
}

/// Names and numbers one below the other, each on a bar as long as its part of `most`.
pub(super) fn bars(bars: &[Bar], most: f32) -> String {
    let row = |bar: &Bar| {
        let Color(red, green, blue) = if bar.value < 0.0 { NEGATIVE } else { POSITIVE };
        let part = bar.value.abs() / most;
        let part = if part.is_finite() { 100.0 * part.clamp(0.0, 1.0) } else { 0.0 };
        format!(
            "<div style=\"display:flex;justify-content:space-between;gap:8px;margin:0 0 1px;padding:0 4px;\
             background:linear-gradient(90deg,rgba({red},{green},{blue},.35) {part:.1}%,transparent 0)\">\
             <span style=\"white-space:pre;overflow:hidden;text-overflow:ellipsis;unicode-bidi:isolate\">{}</span>\
             <span style=\"white-space:nowrap\">{}</span></div>",
            escape(&short(&bar.name, LONGEST_NAME)),
            bar.said
        )
    };
    let rows: String = bars.iter().map(row).collect();
    format!("<div style=\"font-variant-numeric:tabular-nums\">{rows}</div>")
}

/// The largest magnitude of the finite numbers.
pub(super) fn largest(values: impl IntoIterator<Item = f32>) -> f32 {
    values.into_iter().filter(|value| value.is_finite()).fold(0.0, |most, value| most.max(value.abs()))
}

/// A part of a text, its tokens on grounds as strong as their parts of `most`, that with the largest activation underlined; before
/// it the largest activation, written as `largest`, with its place as a tooltip.
pub(super) fn example(example: &FeatureExample, most: f32, largest: &str) -> String {
    let mut words = String::new();
    if example.start > 0 {
        words += "<span style=\"opacity:.75\">…</span>";
    }
    for (at, piece) in example.pieces.iter().enumerate() {
        let piece = short(piece, LONGEST_TOKEN);
        let value = example.activations.get(at).copied().unwrap_or(0.0);
        if value == 0.0 {
            words += &escape(&piece);
            continue;
        }
        let token = on_ground(&piece, f64::from(value.abs() / most), value < 0.0, &said(&piece, value));
        let is_peak = at == example.peak();
        words += &if is_peak {
            format!(
                "<b style=\"display:inline-block;max-width:100%;line-height:1.2;border-bottom:2px solid\">{token}</b>"
            )
        } else {
            token
        };
    }
    format!(
        "<div style=\"display:flex;gap:8px;margin:0 0 5px\"><span title=\"{}\" style=\"flex:0 0 3em;text-align:right;\
         font-variant-numeric:tabular-nums;opacity:.75;line-height:1.7\">{}</span><span style=\"flex:1;min-width:0;\
         white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7\">{words}</span></div>",
        format_args!("text {}, position {}", example.text, example.position),
        largest,
    )
}

/// The examples that fit in what is left of `bytes`, which becomes smaller, and how many of them do.
pub(super) fn examples(list: &[FeatureExample], most: f32, bytes: &mut usize) -> (String, usize) {
    let (mut html, mut shown) = (String::new(), 0);
    let numbers = short_column(&list.iter().map(|each| f64::from(each.activation)).collect::<Vec<_>>());
    for (each, number) in list.iter().zip(&numbers) {
        let row = example(each, most, number);
        if row.len() > *bytes {
            break;
        }
        *bytes -= row.len();
        html += &row;
        shown += 1;
    }
    (html, shown)
}

/// The bars of a histogram, each as high as its count, with its bounds and count as a tooltip; below them the bounds of all.
pub(super) fn histogram(histogram: &FeatureHistogram) -> String {
    let bins = histogram.bins();
    let (Some(first), Some(last)) = (bins.first(), bins.last()) else {
        return format!("<div>never active at {} positions</div>", grouped(histogram.positions as usize));
    };
    let together = bins.len().div_ceil(MOST_BARS);
    let columns: Vec<(f32, f32, u64)> = bins
        .chunks(together)
        .map(|some| (some[0].0, some[some.len() - 1].1, some.iter().map(|bin| bin.2).fold(0, u64::saturating_add)))
        .collect();
    let most = columns.iter().map(|column| column.2).max().unwrap_or(1).max(1);
    let Color(red, green, blue) = POSITIVE;
    let bar = |&(from, to, count): &(f32, f32, u64)| {
        let height = if count == 0 { 0.0 } else { (100.0 * count as f64 / most as f64).max(2.0) };
        let said =
            format!("{} to {}: {} positions", number(f64::from(from)), number(f64::from(to)), grouped(count as usize));
        format!(
            "<div title=\"{}\" style=\"flex:1 1 0;height:100%;display:flex;align-items:flex-end\">\
             <div style=\"width:100%;height:{height:.0}%;background-color:rgba({red},{green},{blue},.8)\"></div></div>",
            escape(&said)
        )
    };
    let bars: String = columns.iter().map(bar).collect();
    let middle = bins[bins.len() / 2].0;
    let ticks: Vec<String> = [first.0, middle, last.1]
        .iter()
        .map(|&edge| format!("<span>{}</span>", short_number(f64::from(edge))))
        .collect();
    format!(
        "<div style=\"display:flex;gap:1px;height:72px;border-bottom:1px solid rgba(128,128,128,.6)\">{bars}</div>\
         <div style=\"display:flex;justify-content:space-between;opacity:.75;font-variant-numeric:tabular-nums\">{}</div>",
        ticks.concat()
    )
}
