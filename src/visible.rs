//! Foreign text made safe to display: invisible characters are written out, and nothing in it acts as a command.
//!
//! Prompts, labels, titles, file names and servers' answers are written by others. A terminal obeys some characters (ESC),
//! some are invisible or change how their neighbours are displayed, and evcxr, which runs the cells of a notebook, mistakes
//! lines that contain its keywords for its own. So every text form, error, progress line and printed line passes through here.

use std::io::Write;
use std::iter::Peekable;
use std::str::Chars;

/// The beginning of all of evcxr's keywords: marks of rich outputs, of panics and errors, of the end of a cell, and requests
/// for input. Some act in the middle of a line, too. The underscore is escaped, so that no text contains one.
const EVCXR_WORD: &str = "EVCXR_";

/// Makes the invisible characters of a token visible: line breaks, tabs, other controls, spaces other than the ordinary one,
/// marks that change the direction or joining of text, fillers and tags are escaped as in a Rust string, and a token of
/// nothing but spaces is written with `␣` for each. Everything else, spaces beside letters included, is unchanged.
///
/// Three kinds are kept where writing needs them, and escaped elsewhere: one variation selector after a character
/// that has variants (an emoji, an ideograph), a joiner between two emoji, and the ideographic space beside East Asian
/// characters. The keywords by which evcxr marks its lines are broken up.
///
/// ```
/// use candle_lens::views::visible;
/// assert_eq!(visible(" the\n"), " the\\n");
/// assert_eq!(visible("\u{200f}"), "\\u{200f}");
/// assert_eq!(visible("  "), "␣␣");
/// assert_eq!(visible("a\u{a0}b"), "a\\u{a0}b");
/// assert_eq!(visible("❤\u{fe0f} 猫\u{3000}犬"), "❤\u{fe0f} 猫\u{3000}犬");
/// assert_eq!(visible("EVCXR_END_CONTENT"), "EVCXR\\u{5f}END_CONTENT");
/// ```
pub fn visible(token: &str) -> String {
    let seen = written_out(token, |_| false);
    if token.chars().all(char::is_whitespace) { seen.replace(' ', "␣") } else { seen }
}

/// As [`visible`], for text of several lines: line breaks and tabs are kept.
pub(crate) fn visible_lines(text: &str) -> String {
    written_out(text, |c| matches!(c, '\n' | '\t'))
}

/// Prints a line, or several, made visible. Only this and the blocks of views write to standard output.
pub(crate) fn print_line(text: &str) {
    let mut line = visible_lines(text);
    line.push('\n');
    // If standard output is closed, nobody reads it, and printing has no other way to report that.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

fn written_out(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut before = None;
    while let Some(c) = rest.next() {
        if stays(c) || !(c.is_control() || is_invisible(c)) || is_needed(before, c, &mut rest) {
            out.push(c);
            before = Some(c);
        } else {
            out.extend(c.escape_default());
            before = None;
        }
    }
    if out.contains(EVCXR_WORD) { out.replace(EVCXR_WORD, "EVCXR\\u{5f}") } else { out }
}

/// Invisible characters that are not controls: Unicode's default ignorable ones, its spaces other than the ordinary one, line
/// and paragraph separators, annotation marks, and the empty Braille pattern.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether an invisible character does its proper job here, so that its effect is visible.
fn is_needed(before: Option<char>, c: char, rest: &mut Peekable<Chars>) -> bool {
    let after = rest.peek().copied();
    match c {
        // A keycap: a digit, the selector, the frame.
        '\u{fe0f}' if before.is_some_and(|base| base.is_ascii_digit() || matches!(base, '#' | '*')) => {
            after == Some('\u{20e3}')
        }
        '\u{fe0e}' | '\u{fe0f}' => before.is_some_and(is_pictograph),
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => before.is_some_and(is_ideograph),
        '\u{200d}' => before.is_some_and(|c| is_pictograph(c) || c == '\u{fe0f}') && after.is_some_and(is_pictograph),
        // One that was kept is a reason to keep the next.
        '\u{3000}' => before.is_some_and(|c| is_east_asian(c) || c == '\u{3000}') || after.is_some_and(is_east_asian),
        _ => false,
    }
}

/// Symbols that may be emoji, and the skin-tone modifiers.
fn is_pictograph(c: char) -> bool {
    matches!(c,
        '©' | '®' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{27bf}' | '\u{2934}' | '\u{2935}'
        | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Ideographs, kana, Hangul, their punctuation, and wide Latin letters, for which the ideographic space is the space.
fn is_east_asian(c: char) -> bool {
    is_ideograph(c)
        || matches!(c, '\u{3001}'..='\u{303f}' | '\u{3041}'..='\u{30ff}' | '\u{3105}'..='\u{312f}' | '\u{31f0}'..='\u{33ff}'
            | '\u{ac00}'..='\u{d7a3}' | '\u{ff01}'..='\u{ff9f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_without_a_shape_stays() {
        let hidden = "\u{0}\u{7}\u{1b}\u{7f}\u{85}\u{9b}\u{a0}\u{ad}\u{115f}\u{1160}\u{180e}\u{2007}\u{200b}\u{200d}\u{2028}\
             \u{202e}\u{2066}\u{2800}\u{3000}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{e0041}\u{e0100}\u{e01ef}";
        for c in hidden.chars() {
            for text in [format!("{c}"), format!("a{c}b"), format!("7{c}"), format!("{c}{c}"), format!(" {c} ")] {
                let seen = visible(&text);
                assert!(!seen.contains(c) && seen.contains("\\u{"), "{text:?} became {seen:?}");
                assert_eq!(visible(&seen), seen, "visible is idempotent");
            }
        }
        assert_eq!(visible("❤\u{fe0f}\u{fe0f}"), "❤\u{fe0f}\\u{fe0f}", "one selector, not a message hidden in many");
        assert_eq!(visible("🏴\u{e0067}\u{e007f}"), "🏴\\u{e0067}\\u{e007f}");
    }

    #[test]
    fn ordinary_writing_stays() {
        for text in [
            " the 猫 é ñ e\u{301}",
            "東京\u{3000}大阪。\u{3000}「はい」",
            "終\u{3000}\u{3000}\u{3000}THE END",
            "홍길동",
            "葛\u{e0100}城 神\u{fe00}",
            "❤\u{fe0f} ✈\u{fe0e} 1\u{fe0f}\u{20e3} 👍🏽",
            "👩\u{200d}👩\u{200d}👧 🏳\u{fe0f}\u{200d}🌈 👩🏽\u{200d}💻",
            "हिन्दी ไทย العربية",
            "EVCXR evcxr_ EVCXR-END",
        ] {
            assert_eq!(visible(text), text);
            assert_eq!(visible_lines(text), text);
        }
    }

    #[test]
    fn lines_stay_lines_and_nothing_else() {
        assert_eq!(visible_lines("a\r\n\tb\u{b}\u{2028}\u{85}c"), "a\\r\n\tb\\u{b}\\u{2028}\\u{85}c");
        assert_eq!(visible_lines("EVCXR_EVCXR_\nEVCXR_"), "EVCXR\\u{5f}EVCXR\\u{5f}\nEVCXR\\u{5f}");
    }
}
