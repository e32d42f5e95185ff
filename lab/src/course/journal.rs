//! A file of progress (the library's src/course/journal.rs writes it), counted by exercise.

use crate::trouble::Trouble;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How much of a file is read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What became of one exercise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Checks of a function that was written.
    pub tries: usize,
    pub hints: usize,
    /// When it was first passed.
    pub passed: Option<String>,
    /// The recognised mistakes, each as often as it was made: its number, counted from 0, and what it is.
    pub mistakes: Vec<(u64, String)>,
}

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub struct Journal {
    pub exercises: BTreeMap<String, Tally>,
    /// The last line of a try: its time, exercise and verdict.
    pub last: Option<(String, String, String)>,
}

impl Journal {
    /// Reads a file; lines that are none of the journal's are left out.
    pub fn read(path: &Path) -> Result<Self, Trouble> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes))
            .map_err(|source| Trouble::file("Reading", path, &source))?;
        Ok(Self::of(&String::from_utf8_lossy(&bytes)))
    }

    pub fn of(text: &str) -> Self {
        let mut journal = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let (Some(exercise), Some(what)) = (line["exercise"].as_str(), line["what"].as_str()) else { continue };
            let tally = journal.exercises.entry(exercise.to_string()).or_default();
            let time = line["time"].as_str().unwrap_or_default();
            match what {
                "hint" => tally.hints += 1,
                "passed" | "wrong" | "error" | "panic" => {
                    tally.tries += 1;
                    let likely = line["likely"].as_str().unwrap_or_default().to_string();
                    tally.mistakes.extend(line["mistake"].as_u64().map(|number| (number, likely)));
                    if what == "passed" {
                        tally.passed.get_or_insert_with(|| time.to_string());
                    }
                    journal.last = Some((time.to_string(), exercise.to_string(), what.to_string()));
                }
                _ => {}
            }
        }
        journal
    }

    /// How many exercises are passed.
    pub fn passed(&self) -> usize {
        self.exercises.values().filter(|tally| tally.passed.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_others_left_out() {
        let text = "{\"time\":\"t1\",\"exercise\":\"1.a\",\"what\":\"not_written\"}\n{\"time\":\"t2\",\"exercise\":\"1.a\",\"what\":\"wrong\",\"mistake\":3,\"likely\":\"no.\"}\n\
             {\"exercise\":\"1.a\",\"what\":\"hint\"}\nhello\n{\"time\":\"t3\",\"exercise\":\"1.a\",\"what\":\"passed\"}\n{\"time\":\"t4\",\"exercise\":\"1.a\",\"what\":\"passed\"}\n{\"ti";
        let journal = Journal::of(text);
        let tally = Tally { tries: 3, hints: 1, passed: Some("t3".into()), mistakes: vec![(3, "no.".into())] };
        assert_eq!(journal.exercises, BTreeMap::from([("1.a".to_string(), tally)]));
        assert_eq!((journal.passed(), journal.last.unwrap().0), (1, "t4".to_string()));
    }

    #[test]
    fn the_words_are_the_library_s() {
        let library =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/course/journal.rs")).unwrap();
        let name = crate::kernel::PROGRESS;
        assert!(library.contains(&format!("const VARIABLE: &str = {name:?};")) && library.contains("snake_case"));
        let kinds = "Passed,\n    NotWritten,\n    Error,\n    Panic,\n    Wrong,\n    Hint,\n    Solution,";
        assert!(library.contains(kinds));
    }
}
