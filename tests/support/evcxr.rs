//! How evcxr 0.22 reads the standard output of the process that runs the cells, for tests of what is written there.
//!
//! The rules are those of its `EvalContext::run_and_capture_output` and `ChildProcess::recv_line`: lines by
//! `BufRead::lines`; key words that must be the whole line, begin it, or stand anywhere in it.

use std::io::BufRead;

/// Every key word that evcxr and its companions look for in a line.
pub const WORDS: [&str; 8] = [
    "EVCXR_BEGIN_CONTENT",
    "EVCXR_END_CONTENT",
    "EVCXR_PANIC_NOTIFICATION",
    "EVCXR_EXECUTION_COMPLETE",
    "EVCXR_ERROR_OCCURRED",
    "EVCXR_VARIABLE_CHANGED_TYPE:",
    "EVCXR_INPUT_REQUEST:",
    "EVCXR_INPUT_REQUEST_PASSWORD:",
];

/// What evcxr makes of one cell's output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CellOutput {
    /// Each content with its kind; evcxr keeps the last of each kind.
    pub content: Vec<(String, String)>,
    /// What goes on as printed.
    pub printed: Vec<String>,
    /// Everything that happened besides: panics, questions to the user, lost variables, a cell that ended early or never.
    pub events: Vec<String>,
}

impl CellOutput {
    /// All contents of a kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.content.iter().filter(move |(of, _)| of == kind).map(|(_, content)| content.as_str())
    }
}

pub fn read(output: &[u8]) -> CellOutput {
    let mut cell = CellOutput::default();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        let line = line.expect("evcxr ends at what is not UTF-8");
        let begin = "EVCXR_BEGIN_CONTENT ";
        // Its pattern is `EVCXR_BEGIN_CONTENT ([^ ]+)`, not tied to the line's beginning.
        let kind = line
            .match_indices(begin)
            .find_map(|(at, _)| line[at + begin.len()..].split(' ').next().filter(|kind| !kind.is_empty()));
        if ["EVCXR_EXECUTION_COMPLETE", "EVCXR_PANIC_NOTIFICATION", "EVCXR_ERROR_OCCURRED"].contains(&line.as_str())
            || line.starts_with("EVCXR_INPUT_REQUEST")
            || line.starts_with("EVCXR_VARIABLE_CHANGED_TYPE:")
        {
            cell.events.push(line);
        } else if let Some(kind) = kind {
            let mut content = String::new();
            loop {
                let Some(line) = lines.next() else {
                    cell.events.push("waits for an end that never comes".into());
                    break;
                };
                let line = line.expect("evcxr ends at what is not UTF-8");
                if line == "EVCXR_END_CONTENT" {
                    break;
                }
                if line == "EVCXR_PANIC_NOTIFICATION" {
                    cell.events.push(line);
                    break;
                }
                if !content.is_empty() {
                    content.push('\n');
                }
                content.push_str(&line);
            }
            cell.content.push((kind.to_string(), content));
        } else {
            cell.printed.push(line);
        }
    }
    cell
}

/// Texts that try to end their block and begin another: each key word behind and before each control character, runs of
/// carriage returns, and Unicode's line ends, at every place where a line may be.
pub fn hostile() -> Vec<String> {
    let mut between: Vec<String> =
        (0..0xa0).filter_map(char::from_u32).filter(|c| c.is_control()).map(String::from).collect();
    between.extend(
        ["\r\r", "\r\r\r", "\r\r\r\r", "\n\r", "\r\n\r", "\u{2028}", "\u{2029}", "\u{b}\r", " ", ""].map(String::from),
    );
    let mut texts = Vec::new();
    for word in WORDS {
        for c in &between {
            texts.push(format!("x\n{word}{c}\nEVCXR_BEGIN_CONTENT text/html\n{SCRIPT}\nEVCXR_END_CONTENT{c}\nx"));
            texts.push(format!("{c}{word} text/html{c}\n{SCRIPT}{c}"));
            texts.push(format!("{word}{c}{word} x{c}"));
        }
    }
    texts
}

/// Markup that must never be markup.
pub const SCRIPT: &str = "<script>window.OWNED=1</script>";
