//! `cargo lab test`: every test there is, notebooks included.

use crate::args::RunOptions;
use crate::notebook::Notebook;
use crate::places::Places;
use crate::process::{cargo, command, line};
use crate::run;
use crate::setup;
use crate::steps::words;
use crate::trouble::Trouble;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// How many tests of a step passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    passed: usize,
    failed: usize,
}

/// The steps that have run.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    mend: Vec<String>,
    total: Count,
}

/// Runs every step, also after a failed one, and sums up.
pub fn run_all(places: &Places) -> Result<ExitCode, Trouble> {
    let mut report = Report::default();
    report.step("formatting", "`cargo fmt --all` mends it.", || {
        let check = ["fmt", "--all", "--check"];
        succeeds(&mut in_checkout(places, &check))
    });
    report.step("clippy", "Read the warnings above.", || {
        let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        succeeds(&mut in_checkout(places, &lint))
    });
    report.step("rustdoc", "Read the warnings above.", || {
        let document = ["doc", "--workspace", "--no-deps"];
        succeeds(in_checkout(places, &document).env("RUSTDOCFLAGS", "-D warnings"))
    });
    report.step("cargo test", "Read the failures above; `cargo test NAME` repeats one.", || {
        cargo_test(in_checkout(places, &["test", "--workspace", "--no-fail-fast"]))
    });
    let fails = "Read the failing cell above; `cargo lab run NOTEBOOK` repeats one, `cargo lab` opens it.";
    report.step("notebooks", fails, || notebooks(places, "notebooks", true));
    report.step("kernel tests", fails, || notebooks(places, "tests/kernel", false));
    report.step("notebooks that must fail", "`cargo lab run` did not report what it must; see above.", || {
        failing_notebooks(places)
    });
    Ok(report.finish())
}

impl Report {
    fn step(&mut self, name: &str, mend: &str, work: impl FnOnce() -> Result<Count, Trouble>) {
        println!("\n==> {name}");
        let start = Instant::now();
        let count = work().unwrap_or_else(|trouble| {
            println!("{trouble}");
            Count { passed: 0, failed: 1 }
        });
        let took = words(start.elapsed());
        let Count { passed, failed } = count;
        println!("    {name}: {passed} passed, {failed} failed in {took}");
        self.lines.push(format!("{name:<26} {passed:>5} passed {failed:>4} failed   {took}"));
        if failed > 0 {
            self.mend.push(format!("{name} failed. {mend}"));
        }
        self.total.passed += passed;
        self.total.failed += failed;
    }

    fn finish(&self) -> ExitCode {
        println!("\n{}", self.lines.join("\n"));
        for mend in &self.mend {
            println!("{mend}");
        }
        println!("\n{} passed, {} failed", self.total.passed, self.total.failed);
        if self.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn in_checkout(places: &Places, args: &[&str]) -> Command {
    let mut cargo = cargo();
    cargo.args(args).current_dir(&places.checkout);
    cargo
}

/// A command that is one test by itself.
fn succeeds(command: &mut Command) -> Result<Count, Trouble> {
    let status = command.status().map_err(|source| did_not_start(command, &source))?;
    Ok(if status.success() { Count { passed: 1, failed: 0 } } else { Count { passed: 0, failed: 1 } })
}

fn did_not_start(command: &Command, source: &std::io::Error) -> Trouble {
    Trouble::new(format!("{} did not start: {source}.", line(command)), "Install Rust from https://rustup.rs.")
}

/// Runs `cargo test`, shows what it prints and counts the tests.
fn cargo_test(mut test: Command) -> Result<Count, Trouble> {
    if std::io::stdout().is_terminal() {
        test.arg("--color=always");
    }
    let mut child = test.stdout(Stdio::piped()).spawn().map_err(|source| did_not_start(&test, &source))?;
    let mut count = Count::default();
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok)
    {
        println!("{line}");
        if let Some(result) = test_result(&line) {
            count.passed += result.passed;
            count.failed += result.failed;
        }
    }
    let status = child.wait().map_err(|source| did_not_start(&test, &source))?;
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
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

/// Executes a folder's notebooks; each is one test.
fn notebooks(places: &Places, folder: &str, html: bool) -> Result<Count, Trouble> {
    let jupyter = setup::everything(places)?;
    let notebooks = run::in_folder(&places.checkout.join(folder))?;
    let options = RunOptions { html, ..RunOptions::default() };
    let failed = run::run_all(places, &jupyter, &notebooks, &options)?;
    Ok(Count { passed: notebooks.len() - failed, failed })
}

/// Starts `cargo lab run` on each notebook that must fail: it has to end with an error that names the cell and the cause
/// which the notebook's metadata announce.
fn failing_notebooks(places: &Places) -> Result<Count, Trouble> {
    let mut count = Count::default();
    for path in run::in_folder(&places.checkout.join("tests/kernel/failures"))? {
        let notebook = Notebook::read(&path)?;
        let expected = (notebook.note("fails_in").as_u64(), notebook.note("because").as_str());
        let (Some(cell), Some(cause)) = expected else {
            return Err(Trouble::new(
                format!("{} does not announce its failure.", path.display()),
                "Give its metadata \"candle_lens\": {\"fails_in\": CODE CELL, \"because\": MESSAGE}.",
            ));
        };
        let (told, text) = run_apart(&path)?;
        let reported = text
            .lines()
            .any(|line| line.trim_start().starts_with(&format!("FAILED in code cell {cell} ")) && line.contains(cause));
        if told && reported {
            count.passed += 1;
            println!("    {}: fails in code cell {cell}, as it must", places.brief(&path));
        } else {
            count.failed += 1;
            println!(
                "    {}: expected a failure in code cell {cell} with {cause:?}, got:\n{text}",
                places.brief(&path)
            );
        }
    }
    Ok(count)
}

/// Runs one notebook in a launcher of its own: whether that launcher ended with an error, and what it printed.
fn run_apart(path: &Path) -> Result<(bool, String), Trouble> {
    let launcher = std::env::current_exe().map_err(|source| Trouble::file("Starting", path, &source))?;
    let mut run = command(launcher);
    run.args(["run", "--no-html", "--timeout", "120"]).arg(path);
    let output = run.output().map_err(|source| did_not_start(&run, &source))?;
    Ok((!output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(test_result(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(test_result("test a::test result: ok ... ok"), None);
        assert_eq!(test_result("running 3 tests"), None);
    }

    #[test]
    fn a_step_that_cannot_run_has_failed() {
        let mut report = Report::default();
        report.step("one", "mend", || Ok(Count { passed: 2, failed: 0 }));
        report.step("two", "mend it so", || Err(Trouble::new("no disk", "buy one")));
        assert_eq!(report.total, Count { passed: 2, failed: 1 });
        assert_eq!(report.mend, ["two failed. mend it so"]);
    }
}
