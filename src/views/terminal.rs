//! The width of a line of text, and texts truncated and padded to a width, in which an ideograph counts as two.

use console::{Alignment, Term};

/// The default.
const USUAL: usize = 80;

/// The columns of the terminal; the default where text goes elsewhere, as in a notebook.
pub(super) fn width() -> usize {
    Term::stdout().size_checked().map_or(USUAL, |(_, columns)| usize::from(columns).max(40))
}

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> usize {
    console::measure_text_width(text)
}

/// The text in exactly `width` columns: truncated with a mark, or padded on the left for numbers and on the right for words.
pub(super) fn fit(text: &str, width: usize, is_number: bool) -> String {
    let side = if is_number { Alignment::Right } else { Alignment::Left };
    console::pad_str(text, width, side, Some("…")).into_owned()
}

/// The widths that columns of these `widths` get in a line of `width` with two blanks between them: as many columns
/// as fit, the wide ones among those that `may_shrink` cut, but not below a dozen.
pub(super) fn share(widths: &[usize], may_shrink: &[bool], width: usize) -> Vec<usize> {
    const LEAST: usize = 12;
    let mut widths = widths.to_vec();
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    while total(&widths) > width {
        let widest = (0..widths.len()).filter(|&c| may_shrink[c] && widths[c] > LEAST).max_by_key(|&c| widths[c]);
        match widest {
            Some(column) => widths[column] -= 1,
            None if widths.len() > 1 => drop(widths.pop()),
            None => break,
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fill_their_columns() {
        assert_eq!(fit("猫", 4, false), "猫  ");
        assert_eq!(fit("1.5", 5, true), "  1.5");
        assert_eq!(fit("a long text", 6, false), "a lon…");
    }

    #[test]
    fn wide_words_give_way_before_columns_do() {
        assert_eq!(share(&[10, 20], &[true, true], 80), [10, 20]);
        assert_eq!(share(&[10, 200, 5], &[true, true, false], 60), [10, 41, 5]);
        assert_eq!(share(&[100, 100], &[true, true], 42), [20, 20]);
        assert_eq!(share(&[20; 5], &[false; 5], 64), [20; 3], "numbers are not cut");
    }
}
