//! `cargo lab run`: notebooks executed without a browser, on the kernel that a reader would use.

use crate::args::RunOptions;
use crate::carried;
use crate::models::{self, Model};
use crate::notebook::{Cell, Notebook};
use crate::pairs;
use crate::places::Places;
use crate::process;
use crate::session::{Jupyter, Reply, Said, Session};
use crate::steps::{self, words};
use crate::trouble::Trouble;
use crate::{setup, verdict};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Executes the notebooks of a command line; the exit code says whether all passed.
pub fn run_command(places: &Places, options: &RunOptions) -> Result<ExitCode, Trouble> {
    let notebooks = match options.notebooks.as_slice() {
        [] => in_folder(&places.root.join("notebooks"))?,
        named => named.to_vec(),
    };
    // A mistyped path is reported before anything is set up.
    for path in &notebooks {
        Notebook::read(path)?;
    }
    let jupyter = setup::everything(places)?;
    let Outcome { passed, failed, left_out } = run_all(places, &jupyter, &notebooks, options)?;
    let skipped = if left_out.is_empty() { String::new() } else { format!(", {} left out", left_out.len()) };
    println!("\n{passed} passed, {failed} failed{skipped}");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The notebooks in a folder, by name.
///
/// # Errors
/// The folder cannot be read or holds none.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let entries = std::fs::read_dir(folder).map_err(|source| Trouble::file("Reading", folder, &source))?;
    let mut notebooks: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    notebooks.retain(|path| path.extension().is_some_and(|extension| extension == "ipynb"));
    notebooks.sort();
    if notebooks.is_empty() {
        return Err(Trouble::new(
            format!("{} holds no notebook.", folder.display()),
            "Restore it with git, or name the notebooks: `cargo lab run PATH..`.",
        ));
    }
    Ok(notebooks)
}

/// What became of several notebooks.
#[derive(Default)]
pub struct Outcome {
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// Those that were not executed, each with the reason.
    pub left_out: Vec<String>,
}

/// The model that a notebook names in its metadata (`"candle_lens": {"needs": "smollm2"}`), if there is one to fetch.
pub fn needed_model(notebook: &Notebook) -> Option<&'static Model> {
    models::called(notebook.note("needs").as_str()?).ok()
}

/// Where the lines about a notebook go.
enum Report {
    /// To the terminal at once.
    Live,
    /// Kept, for one piece when the notebook has ended: others run meanwhile.
    Kept(String),
}

impl Report {
    fn say(&mut self, line: &str) {
        match self {
            Self::Live => println!("{line}"),
            Self::Kept(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Self::Kept(text) = self {
            // One call, so that nothing of another notebook comes between.
            print!("{text}");
        }
    }
}

/// What became of one notebook.
enum Ran {
    Passed,
    Failed,
    LeftOut(String),
}

/// Executes notebooks, two at a time where there are two cores, but for those that need a model which was not fetched. Those that are
/// to be refreshed share a folder of scripts, so they are executed one after the other.
pub fn run_all(
    places: &Places,
    jupyter: &Jupyter,
    notebooks: &[PathBuf],
    options: &RunOptions,
) -> Result<Outcome, Trouble> {
    let alone = notebooks.len() == 1 || options.in_place || !pairs::are_possible();
    let ran = if alone {
        notebooks.iter().map(|path| run_one(places, jupyter, path, options, Report::Live)).collect()
    } else {
        let kept = |path: &PathBuf| run_one(places, jupyter, path, options, Report::Kept(String::new()));
        pairs::by_two(notebooks, kept)
    };
    let mut outcome = Outcome::default();
    for one in ran? {
        match one {
            Ran::Passed => outcome.passed += 1,
            Ran::Failed => outcome.failed += 1,
            Ran::LeftOut(why) => outcome.left_out.push(why),
        }
    }
    Ok(outcome)
}

fn run_one(
    places: &Places,
    jupyter: &Jupyter,
    path: &Path,
    options: &RunOptions,
    mut report: Report,
) -> Result<Ran, Trouble> {
    let brief = places.brief(&std::path::absolute(path).unwrap_or_else(|_| path.into()));
    report.say(&format!("\n{brief}"));
    let start = Instant::now();
    let mut notebook = Notebook::read(path)?;
    if let Some(model) = needed_model(&notebook)
        && let Err(trouble) = models::describe(&places.cache, model)
    {
        report.say(&format!("    left out: {trouble}"));
        return Ok(Ran::LeftOut(format!("{brief}: needs `cargo lab fetch {}`", model.name)));
    }
    let failure = execute(jupyter, path, &mut notebook, options.timeout, &mut report)?;
    for line in save(places, jupyter, path, &mut notebook, options, failure.is_none())? {
        report.say(&format!("    {line}"));
    }
    match failure {
        None => {
            report.say(&format!("    passed in {}", words(start.elapsed())));
            Ok(Ran::Passed)
        }
        Some(message) => {
            report.say(&format!("    FAILED in {message}"));
            Ok(Ran::Failed)
        }
    }
}

/// Executes a notebook with one line of its code replaced, and says whether it passed. Nothing is written: what it shows is
/// not the notebook that readers get.
///
/// # Errors
/// The notebook does not have that line exactly once.
pub fn passes_with(jupyter: &Jupyter, path: &Path, line: &str, replacement: &str) -> Result<bool, Trouble> {
    let mut notebook = Notebook::read(path)?;
    notebook.replace_line(path, line, replacement)?;
    let start = Instant::now();
    let failure = execute(jupyter, path, &mut notebook, RunOptions::default().timeout, &mut Report::Live)?;
    match &failure {
        None => println!("    passed in {}", words(start.elapsed())),
        Some(message) => println!("    FAILED in {message}"),
    }
    Ok(failure.is_none())
}

/// Executes the cells up to the first that fails, and says which one that was.
fn execute(
    jupyter: &Jupyter,
    path: &Path,
    notebook: &mut Notebook,
    timeout: u64,
    report: &mut Report,
) -> Result<Option<String>, Trouble> {
    notebook.clear();
    let folder = std::path::absolute(path).map_err(|source| Trouble::file("Finding", path, &source))?;
    let mut session = jupyter.start(folder.parent().unwrap_or(&folder), None)?;
    report.say(&format!("    kernel ready after {}", words(session.start)));
    let failure = execute_cells(&mut session, notebook, timeout, report);
    session.end();
    failure
}

fn execute_cells(
    session: &mut Session,
    notebook: &mut Notebook,
    timeout: u64,
    report: &mut Report,
) -> Result<Option<String>, Trouble> {
    for (place, cell) in notebook.code_cells().iter().enumerate() {
        let number = place + 1;
        let reply = session.execute(&cell.source, timeout, |said| {
            let Said::Stderr(text) = said else { return };
            let lines = text.lines().filter(|line| line.starts_with(verdict::PROGRESS));
            lines.for_each(|line| report.say(&format!("      {line}")));
        })?;
        report.say(&format!("    [{number:>2}] {:>10}  {}", words(reply.took), cell.title()));
        notebook.keep(cell.index, &reply);
        if let Some(message) = judge(cell, &reply) {
            return Ok(Some(format!("code cell {number} (`{}`): {message}", cell.title())));
        }
    }
    Ok(None)
}

/// What is wrong with a cell, given whether it was meant to fail.
fn judge(cell: &Cell, reply: &Reply) -> Option<String> {
    let complaint = verdict::complaint(reply);
    match (cell.must_fail, complaint) {
        (true, None) => Some("it is tagged raises-error but ran without one".into()),
        // After these two there is no kernel to go on with.
        (true, Some(_)) if reply.status != "dead" && reply.status != "timeout" => {
            verdict::missing(reply, &cell.expects)
        }
        (_, complaint) => complaint.or_else(|| verdict::missing(reply, &cell.expects)),
    }
}

/// Where the executed form of a notebook is kept.
pub fn executed(places: &Places, notebook: &Path) -> PathBuf {
    let own = notebook.strip_prefix(&places.root).ok();
    places.lab.join("executed").join(own.or(notebook.file_name().map(Path::new)).unwrap_or(notebook))
}

/// Writes the executed notebook and its HTML under `.lab/executed/`, whole; and, on request, the notebook itself, with
/// plotly.js in a file beside it that all notebooks of the folder share. Says what was written.
fn save(
    places: &Places,
    jupyter: &Jupyter,
    path: &Path,
    notebook: &mut Notebook,
    options: &RunOptions,
    passed: bool,
) -> Result<Vec<String>, Trouble> {
    let whole = path.canonicalize().map_err(|source| Trouble::file("Finding", path, &source))?;
    let executed = options.to.clone().unwrap_or_else(|| executed(places, &whole));
    notebook.write(&executed)?;
    let mut written = places.brief(&executed);
    if options.html {
        process::run(
            &mut jupyter.export(&executed),
            "Read nbconvert's message above; `cargo lab clean` and a new start fix a damaged environment.",
        )?;
        written += " and .html";
    }
    let mut said = vec![format!("wrote {written}")];
    if options.in_place && passed {
        let scripts = path.with_file_name(carried::FOLDER);
        for file in notebook.take_out_scripts() {
            steps::write(&scripts.join(&file.name), &file.content)?;
        }
        notebook.write(path)?;
        said.push(format!("refreshed {}", places.brief(&whole)));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn judged(must_fail: bool, status: &str, stderr: &str) -> Option<String> {
        let outputs = vec![json!({ "output_type": "stream", "name": "stderr", "text": stderr })];
        let reply = Reply { status: status.into(), execution_count: Value::Null, outputs, took: Duration::ZERO };
        judge(&Cell { index: 0, source: "x".into(), must_fail, expects: Vec::new() }, &reply)
    }

    #[test]
    fn a_cell_that_must_fail_has_to_fail_and_leave_the_kernel_alive() {
        assert_eq!(judged(false, "ok", ""), None);
        assert!(judged(false, "ok", "boom\n").unwrap().contains("boom"));
        assert_eq!(judged(true, "ok", "boom\n"), None);
        assert!(judged(true, "ok", "").unwrap().contains("raises-error"));
        assert!(judged(true, "dead", "").unwrap().contains("died"));
    }
}
