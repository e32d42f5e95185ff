//! Still forms of widgets: pictures of attention with a pixel for each pair of positions, and coloured text. Strength is
//! opacity, so that they work on a light and a dark page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ndarray::{Array3, ArrayView1, ArrayView2, Axis as NdAxis};

use crate::error::Result;
use crate::views::figure::{Color, GAP};
use crate::views::html::{escape, visible};
use crate::views::picture::indexed_png;
use crate::views::widget::samples::Sample;
use crate::views::widget::text::said;

/// Steps of opacity on each side of zero: 4 bits for attention.
const LEVELS: usize = 15;

/// The colour of negative values, on light and dark pages.
pub(super) const NEGATIVE: Color = Color(0xd5, 0x5e, 0x00);
/// The colour of positive values.
pub(super) const POSITIVE: Color = Color(0x1f, 0x83, 0xc6);

/// A matrix as the data URL of a PNG image.
fn picture(values: ArrayView2<f32>, limit: f32) -> Result<String> {
    let side = |color: Color, level: usize| [color.0, color.1, color.2, (level * 255 / LEVELS) as u8];
    let negative = (1..=LEVELS).map(|level| side(NEGATIVE, level));
    let gap = [GAP.0, GAP.1, GAP.2, 255];
    let palette: Vec<[u8; 4]> = [[0; 4]]
        .into_iter()
        .chain((1..=LEVELS).map(|level| side(POSITIVE, level)))
        .chain(negative)
        .chain([gap])
        .collect();
    let index = |&value: &f32| {
        if !value.is_finite() {
            return 2 * LEVELS as u8 + 1;
        }
        let level = if limit > 0.0 { (value.abs() / limit * LEVELS as f32).round().min(LEVELS as f32) } else { 0.0 };
        match level as usize {
            0 => 0,
            level if value < 0.0 => (LEVELS + level) as u8,
            level => level as u8,
        }
    };
    let pixels: Vec<u8> = values.iter().map(index).collect();
    let file = indexed_png((values.ncols(), values.nrows()), &palette, &pixels)?;
    Ok(format!("data:image/png;base64,{}", BASE64.encode(file)))
}

/// Pictures in a table with this many columns, each with its name below.
pub(super) fn gallery<'a>(
    pictures: impl Iterator<Item = (&'a str, ArrayView2<'a, f32>)>,
    columns: usize,
    limit: f32,
    pixels: usize,
) -> Result<String> {
    let mut html = String::from("<table style=\"border-collapse:collapse;margin:0\"><tbody><tr>");
    for (i, (name, values)) in pictures.enumerate() {
        if i > 0 && i % columns == 0 {
            html += "</tr><tr>";
        }
        let name = escape(&visible(name));
        html += &format!(
            "<td style=\"padding:4px;text-align:center\"><img alt=\"{name}\" width=\"{pixels}\" height=\"{pixels}\" \
             style=\"image-rendering:pixelated;border:1px solid rgba(128,128,128,.5)\" src=\"{}\"><br>{name}</td>",
            picture(values, limit)?
        );
    }
    Ok(html + "</tr></tbody></table>")
}

/// Pictures in a table with a row for each of these layers, with their numbers of heads. Heads are named below their pictures
/// where there is room, and by the first row where there is not.
pub(super) fn layer_gallery(
    layers: &[(String, usize)],
    names: &[String],
    pictures: &Array3<f32>,
    limit: f32,
) -> Result<String> {
    let most = layers.iter().map(|(_, heads)| *heads).max().unwrap_or(1);
    let pixels = (ROW / most).clamp(16, if names.len() > 24 { 48 } else { 96 });
    let is_named = pixels >= 40;
    let cell =
        |style: &str, content: &str| format!("<td style=\"padding:2px;text-align:center;{style}\">{content}</td>");
    let mut html =
        String::from("<div style=\"overflow-x:auto\"><table style=\"border-collapse:collapse;margin:0\"><tbody>");
    if !is_named {
        let numbers: String = (0..most).map(|head| cell("font-size:10px", &format!("H{head}"))).collect();
        html += &format!("<tr>{}{numbers}</tr>", cell("", ""));
    }
    let mut heads = names.iter().zip(pictures.axis_iter(NdAxis(0)));
    for (layer, count) in layers {
        html += &format!("<tr>{}", cell("font-weight:600;text-align:right", layer));
        for (name, values) in heads.by_ref().take(*count) {
            let name = escape(&visible(name));
            let below = if is_named { format!("<br>{name}") } else { String::new() };
            let image = format!(
                "<img alt=\"{name}\" width=\"{pixels}\" height=\"{pixels}\" style=\"image-rendering:pixelated;\
                 max-width:none;border:1px solid rgba(128,128,128,.5)\" src=\"{}\">{below}",
                picture(values, limit)?
            );
            html += &cell("", &image);
        }
        html += "</tr>";
    }
    Ok(html + "</tbody></table></div>")
}

/// The total width of the pictures of a layer.
const ROW: usize = 680;

/// The maximum of one number of a sample over its positions.
pub(super) fn largest_of(sample: &Sample, which: usize) -> f32 {
    sample.values.slice(ndarray::s![.., 0, which]).iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// A line of text, each token on a background as strong as its value; the value is in a tooltip.
pub(super) fn colored(name: &str, words: &[String], values: ArrayView1<f32>, (low, high): (f64, f64)) -> String {
    let mut html = String::from("<div style=\"line-height:2;margin:4px 0\">");
    if !name.is_empty() {
        html += &format!("<b>{}</b>: ", escape(&visible(name)));
    }
    for (word, &value) in words.iter().zip(values) {
        let part = f64::from(value) / if value < 0.0 { low } else { high };
        html += &match value.is_finite() {
            true => on_ground(word, part, value < 0.0, &said(word, value)),
            false => ground(word, GAP, 0.5, &said(word, value)),
        };
    }
    html + "</div>"
}

/// A token on a background of this share of full strength, with a tooltip.
pub(super) fn on_ground(word: &str, part: f64, negative: bool, note: &str) -> String {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) * 0.7 } else { 0.0 };
    ground(word, if negative { NEGATIVE } else { POSITIVE }, part, note)
}

/// A token on a background of this colour and opacity, with a tooltip.
fn ground(word: &str, Color(red, green, blue): Color, part: f64, note: &str) -> String {
    format!(
        "<span title=\"{}\" style=\"white-space:pre-wrap;unicode-bidi:isolate;\
         background-color:rgba({red},{green},{blue},{part:.2})\">{}</span>",
        escape(&visible(note)),
        escape(&visible(word))
    )
}
