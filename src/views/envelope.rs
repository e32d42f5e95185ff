//! The envelope in which evcxr expects a cell's rich output, and the only code that writes it.
//!
//! evcxr 0.22 reads the standard output of the process that runs the cells line by line (`BufRead::lines`, which takes
//! `\n` or `\r\n` off). A line that holds `EVCXR_BEGIN_CONTENT <kind>`, wherever in it, begins a block; all lines up to one
//! that *is* `EVCXR_END_CONTENT` are its content, unless one is `EVCXR_PANIC_NOTIFICATION`, which ends it as well. What follows is
//! read as what the cell printed, where a further `EVCXR_BEGIN_CONTENT text/html` makes HTML of whatever comes.
//! So a block contains no `\r`, and no line that is one of these words.

use std::io::Write;

use crate::error::{Error, Result};
use crate::visible::visible_lines;

/// Lines that would end the block before its end.
const ENDS: [&str; 2] = ["EVCXR_END_CONTENT", "EVCXR_PANIC_NOTIFICATION"];

/// One kind of content between evcxr's marks.
pub(super) fn block(mime: &str, content: &str) -> String {
    let content = match mime {
        // To HTML, a carriage return is a line break, and a blank before a line that is one word is nothing.
        "text/html" => content.replace("\r\n", "\n").replace('\r', "\n"),
        _ => visible_lines(content),
    };
    let mut block = format!("EVCXR_BEGIN_CONTENT {mime}\n");
    for line in content.lines() {
        if ENDS.contains(&line) {
            block.push(' ');
        }
        block.push_str(line);
        block.push('\n');
    }
    block + "EVCXR_END_CONTENT\n"
}

/// Writes a whole block at once, so that no other thread's line gets into it.
pub(super) fn write(block: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(block.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::file("standard output", format!("the view could not be written: {error}.")))
}

/// evcxr's rules, for the tests of what it is given.
#[cfg(test)]
#[path = "../../tests/support/evcxr.rs"]
mod evcxr;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::html::{Html, preformatted};
    use crate::views::page::View;

    #[test]
    fn every_hostile_text_stays_in_its_block() {
        for text in evcxr::hostile() {
            let rendered = [Html::escaped(&text).render().expect("a text"), preformatted(&text)];
            for rendered in rendered {
                let both = block("text/html", rendered.html()) + &block("text/plain", rendered.text());
                let cell = evcxr::read(both.as_bytes());
                assert_eq!((&cell.printed, &cell.events, cell.content.len()), (&vec![], &vec![], 2), "{text:?}");
                assert!(cell.of("text/html").all(|html| !html.contains(evcxr::SCRIPT)), "{text:?}");
                let plain: String = cell.of("text/plain").collect();
                assert!(evcxr::WORDS.iter().all(|word| !plain.contains(word)), "{text:?}");
            }
            // Markup that the caller trusts, and text that no view has cleaned.
            for kind in ["text/html", "text/plain"] {
                let cell = evcxr::read(block(kind, &text).as_bytes());
                assert_eq!((&cell.printed, &cell.events, cell.content.len()), (&vec![], &vec![], 1), "{text:?}");
                assert_eq!(cell.content[0].0, kind);
            }
        }
    }

    #[test]
    fn a_block_has_no_end_but_its_own() {
        let hostile = "a\nEVCXR_END_CONTENT\r\r\nEVCXR_PANIC_NOTIFICATION\r\rb\rEVCXR_END_CONTENT\r\n<pre>\n\n</pre>";
        assert_eq!(
            block("text/html", hostile),
            "EVCXR_BEGIN_CONTENT text/html\na\n EVCXR_END_CONTENT\n\n EVCXR_PANIC_NOTIFICATION\n\nb\n EVCXR_END_CONTENT\n\
             <pre>\n\n</pre>\nEVCXR_END_CONTENT\n"
        );
        assert_eq!(
            block("text/plain", "EVCXR_END_CONTENT\r\nb"),
            "EVCXR_BEGIN_CONTENT text/plain\nEVCXR\\u{5f}END_CONTENT\\r\nb\nEVCXR_END_CONTENT\n"
        );
    }
}
