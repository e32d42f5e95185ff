//! The step `unit`: `cargo test`, and then the tests that `#[ignore]` keeps back until what they need is there.
//!
//! The reason that such a test gives says what it needs. A variable named in it (`CANDLE_LENS_..`) must be set; "started
//! by .." marks the part of another test that runs in its own process: leaving it out leaves nothing out.

use crate::check::{Count, did_not_start, in_checkout};
use crate::places::Places;
use crate::trouble::Trouble;
use crate::{browser, models, python};
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PREFIX: &str = "CANDLE_LENS_";

/// What the browser tests need; it is set up here where there is a browser.
const BROWSER_PYTHON: &str = "CANDLE_LENS_BROWSER_PYTHON";

/// What the tests of a real model need; it is fetched here where PyPI can be reached.
const SMOLLM2: &str = "CANDLE_LENS_SMOLLM2";

/// A line by which a test that runs says what part of it does not.
const LEFT_OUT: &str = "left out: ";

/// A test that was kept back, and why.
#[derive(Clone, Debug, PartialEq)]
struct Ignored {
    name: String,
    reason: String,
}

/// Runs `cargo test`, then the ignored tests for which everything is there.
pub fn cargo_test(places: &Places) -> Result<Count, Trouble> {
    let mut ignored = Vec::new();
    let mut test = in_checkout(places, &["test", "--workspace", "--no-fail-fast"]);
    if std::io::stdout().is_terminal() {
        test.arg("--color=always");
    }
    let mut count = counted(&mut test, &mut ignored)?;
    let Provided { set, failed } = provided(places)?;
    let (ready, waiting) = divide(ignored, |variable| {
        std::env::var_os(variable).is_some() || set.iter().any(|(name, _)| *name == variable)
    });
    count.left_out.extend(waiting.iter().map(|test| left_out(test, &failed)));
    if !ready.is_empty() {
        let mut test = in_checkout(places, &["test", "--test", "suite", "--", "--ignored", "--exact", "--show-output"]);
        test.args(ready.iter().map(|test| &test.name)).envs(set);
        let more = counted(&mut test, &mut Vec::new())?;
        count.passed += more.passed;
        // A test that was named and did not run has not passed.
        count.failed += more.failed.max(ready.len() - more.passed.min(ready.len()));
        count.left_out.extend(more.left_out);
    }
    Ok(count)
}

/// Variables that the user did not set and this launcher can.
#[derive(Default)]
struct Provided {
    set: Vec<(&'static str, PathBuf)>,
    /// Those that it could not set here, and why.
    failed: Vec<(&'static str, String)>,
}

fn provided(places: &Places) -> Result<Provided, Trouble> {
    let mut provided = Provided::default();
    if std::env::var_os(BROWSER_PYTHON).is_none() && browser::chromium().is_some() {
        provided.set.push((BROWSER_PYTHON, python::environment(places, &python::BROWSER)?));
    }
    if std::env::var_os(SMOLLM2).is_none() {
        let name = models::SMOLLM2.name;
        match models::fetch_if_connected(places, &models::SMOLLM2)? {
            Some(file) => provided.set.push((SMOLLM2, file)),
            None => provided.failed.push((SMOLLM2, format!("`cargo lab fetch {name}` found no network"))),
        }
    }
    Ok(provided)
}

/// A test that did not run, with what it needs and why that is not there.
fn left_out(test: &Ignored, failed: &[(&str, String)]) -> String {
    let needed = variables(&test.reason);
    let why = failed.iter().filter(|(variable, _)| needed.contains(variable)).map(|(_, why)| format!(" ({why})"));
    format!("{}: {}{}", test.name, test.reason, why.collect::<String>())
}

/// The tests for which every variable that they name is set, and the others.
fn divide(ignored: Vec<Ignored>, is_set: impl Fn(&str) -> bool) -> (Vec<Ignored>, Vec<Ignored>) {
    let own = ignored.into_iter().filter(|test| !test.reason.starts_with("started by "));
    own.partition(|test| {
        let needed = variables(&test.reason);
        !needed.is_empty() && needed.into_iter().all(&is_set)
    })
}

/// The variables that a reason names.
fn variables(reason: &str) -> Vec<&str> {
    let words = reason.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with(PREFIX)).collect()
}

/// Runs a command of libtest, shows what it prints, counts its tests and notes the ignored ones.
fn counted(test: &mut Command, ignored: &mut Vec<Ignored>) -> Result<Count, Trouble> {
    let mut child = test.stdout(Stdio::piped()).spawn().map_err(|source| did_not_start(test, &source))?;
    let mut count = Count::default();
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok)
    {
        println!("{line}");
        if let Some(result) = test_result(&line) {
            count.passed += result.passed;
            count.failed += result.failed;
        }
        ignored.extend(ignored_test(&line));
        count.left_out.extend(line.strip_prefix(LEFT_OUT).map(String::from));
    }
    let status = child.wait().map_err(|source| did_not_start(test, &source))?;
    // A test that does not compile, or a test process that dies, has no line of its own.
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// Reads `test result: ok. 12 passed; 0 failed; ..`.
fn test_result(line: &str) -> Option<Count> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        numbers.split("; ").find_map(|part| part.strip_suffix(word)).and_then(|text| text.trim().parse::<usize>().ok())
    };
    Some(Count { passed: number("passed")?, failed: number("failed")?, left_out: Vec::new() })
}

/// Reads `test NAME ... ignored, REASON`.
fn ignored_test(line: &str) -> Option<Ignored> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = outcome.strip_prefix(", ").unwrap_or("its #[ignore] gives no reason");
    Some(Ignored { name: name.into(), reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(test_result(line), Some(Count { passed: 12, failed: 3, left_out: Vec::new() }));
        assert_eq!(test_result("test a::test result: ok ... ok"), None);
        assert_eq!(test_result("running 3 tests"), None);
    }

    #[test]
    fn an_ignored_test_is_read_with_its_reason() {
        let line = "test gpt2::loss ... ignored, needs CANDLE_LENS_GPT2: its folder, or \"gpt2\"";
        let test = ignored_test(line).unwrap();
        assert_eq!(
            (&test.name[..], &test.reason[..]),
            ("gpt2::loss", "needs CANDLE_LENS_GPT2: its folder, or \"gpt2\"")
        );
        assert_eq!(ignored_test("test a::b ... ignored").unwrap().reason, "its #[ignore] gives no reason");
        assert_eq!(ignored_test("test a::b ... ok"), None);
    }

    #[test]
    fn a_test_that_did_not_run_says_why() {
        let test = |reason: &str| Ignored { name: "a::b".into(), reason: reason.into() };
        let failed = [(SMOLLM2, "no network".to_string())];
        let needs = "needs CANDLE_LENS_SMOLLM2: a file";
        assert_eq!(left_out(&test(needs), &failed), format!("a::b: {needs} (no network)"));
        assert_eq!(left_out(&test("needs CANDLE_LENS_GPT2"), &failed), "a::b: needs CANDLE_LENS_GPT2");
    }

    #[test]
    fn a_test_runs_when_every_variable_it_names_is_set() {
        let test = |reason: &str| Ignored { name: reason.into(), reason: reason.into() };
        let both = test("needs CANDLE_LENS_ONE, and CANDLE_LENS_TWO: a folder");
        let all = vec![
            test("needs CANDLE_LENS_ONE: a folder"),
            both.clone(),
            test("needs another machine"),
            test("started by the test below"),
        ];
        let (ready, waiting) = divide(all.clone(), |variable| variable == "CANDLE_LENS_ONE");
        assert_eq!((ready, waiting), (vec![all[0].clone()], vec![both, all[2].clone()]));
        let (ready, waiting) = divide(all.clone(), |_| true);
        assert_eq!((ready, waiting), (all[..2].to_vec(), vec![all[2].clone()]));
    }
}
