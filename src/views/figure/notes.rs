//! Notes above a figure: numbers that it cannot show, and what was left out for lack of room.

use crate::error::human_bytes;
use crate::views::figure::Color;
use crate::views::html::{escape, visible};
use crate::views::number::grouped;
use crate::views::picture::{Anchor, Canvas, Turn, text_width};

/// The background of cells without a number, on light and dark pages.
pub(in crate::views) const GAP: Color = Color(0x9a, 0x9a, 0x9a);

/// How many of the positions without a number are named.
const NAMED: usize = 3;

/// Letter size of notes in a picture, and the height of their lines.
const SIZE: f32 = 12.0;
const LINE: usize = 16;

/// A sentence above a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::views) struct Note {
    /// The background that the sentence explains, if it does.
    pub legend: Option<Color>,
    pub text: String,
}

impl Note {
    /// The note on numbers that are not finite, if there are any; `place` names the n-th.
    pub fn of_gaps<'a>(
        values: impl Iterator<Item = &'a f32> + Clone,
        is_legend: bool,
        place: impl Fn(usize) -> Option<String>,
    ) -> Option<Self> {
        let odd: Vec<(usize, f32)> =
            values.clone().enumerate().filter(|(_, v)| !v.is_finite()).map(|(i, v)| (i, *v)).collect();
        if odd.is_empty() {
            return None;
        }
        let is_there = |kind: fn(f32) -> bool| odd.iter().any(|&(_, value)| kind(value));
        let kinds = [
            ("NaN", is_there(f32::is_nan)),
            ("-inf", is_there(|value| value == f32::NEG_INFINITY)),
            ("inf", is_there(|value| value == f32::INFINITY)),
        ];
        let kinds: Vec<&str> = kinds.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
        let mut names: Vec<String> = odd.iter().take(NAMED).filter_map(|&(i, _)| place(i)).collect();
        if !names.is_empty() && odd.len() > names.len() {
            names.push("…".into());
        }
        let at = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        let text =
            format!("gap: {} ({} of {} values{at})", kinds.join(" or "), grouped(odd.len()), grouped(values.count()));
        Some(Self { legend: is_legend.then_some(GAP), text })
    }

    /// The note that `drawn` is all there is room for of `all`.
    pub fn of_size(drawn: &str, all: &str, max_bytes: usize) -> Self {
        let text = format!(
            "Reduced to {drawn}: {all} would take more than {}. `max_bytes` allows more, for instance in a separate \
             file (`save_html`).",
            human_bytes(max_bytes as u64)
        );
        Self { legend: None, text }
    }
}

/// The notes as markup above a figure.
pub(super) fn markup(notes: &[Note]) -> String {
    let note = |note: &Note| {
        let ground = note.legend.map_or_else(String::new, |color| {
            format!(
                "<span style=\"display:inline-block;width:11px;height:11px;margin-right:6px;background:{}\"></span>",
                color.to_hex()
            )
        });
        format!(
            "<div style=\"font-size:12px;font-style:italic;margin:2px 0\">{ground}{}</div>\n",
            escape(&visible(&note.text))
        )
    };
    notes.iter().map(note).collect()
}

/// The notes as lines for a terminal.
pub(super) fn lines(notes: &[Note]) -> String {
    notes.iter().map(|note| visible(&note.text) + "\n").collect()
}

/// The notes as lines of a picture of this width, each with the background that comes before it.
fn wrapped(notes: &[Note], width: usize) -> Vec<(Option<Color>, String)> {
    let room = (width as f32 - 48.0).max(60.0);
    let mut lines = Vec::new();
    for note in notes {
        let mut line = String::new();
        let mut is_first = true;
        for word in visible(&note.text).split(' ') {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if text_width(&longer, SIZE) > room && !line.is_empty() {
                lines.push((note.legend.filter(|_| is_first), std::mem::replace(&mut line, word.to_owned())));
                is_first = false;
            } else {
                line = longer;
            }
        }
        lines.push((note.legend.filter(|_| is_first), line));
    }
    lines
}

/// The height of the notes in a picture of this width.
pub(in crate::views) fn height(notes: &[Note], width: usize) -> usize {
    let lines = wrapped(notes, width).len();
    if lines == 0 { 0 } else { lines * LINE + 6 }
}

/// Paints the notes below `top`.
pub(in crate::views) fn paint(notes: &[Note], width: usize, top: f32, canvas: &mut Canvas) {
    for (i, (legend, line)) in wrapped(notes, width).into_iter().enumerate() {
        let middle = top + (i * LINE) as f32 + LINE as f32 / 2.0;
        let mut left = 12.0;
        if let Some(color) = legend {
            canvas.rectangle((left, middle - 5.5), (left + 11.0, middle + 5.5), color);
            left += 17.0;
        }
        canvas.text(&line, (left, middle), SIZE, Anchor::Start, Turn::Level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_and_the_first_are_named() {
        let values = [1.0, f32::NAN, f32::NEG_INFINITY, f32::NAN, f32::NAN];
        let named = |i: usize| Some(format!("p{i}"));
        let said = |values: &[f32]| Note::of_gaps(values.iter(), false, named).map(|note| note.text);
        assert_eq!(said(&values).as_deref(), Some("gap: NaN or -inf (4 of 5 values: p1, p2, p3, …)"));
        assert_eq!(said(&values[..2]).as_deref(), Some("gap: NaN (1 of 2 values: p1)"));
        assert_eq!(said(&values[..1]), None);
        let unnamed = Note::of_gaps([f32::INFINITY].iter(), true, |_| None).expect("a gap");
        assert_eq!((unnamed.legend, &*unnamed.text), (Some(GAP), "gap: inf (1 of 1 values)"));
    }

    #[test]
    fn long_notes_are_broken_into_lines_that_fit() {
        let note = Note::of_size("this", "all of the million points", 5_000_000);
        let lines = wrapped(std::slice::from_ref(&note), 300);
        assert!(lines.len() > 2 && lines.iter().all(|(_, line)| text_width(line, SIZE) <= 252.0), "{lines:?}");
        assert_eq!(lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join(" "), note.text);
        assert_eq!(height(&[], 300), 0);
    }
}
