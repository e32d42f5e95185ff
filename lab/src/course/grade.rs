//! `cargo lab course grade`: each submission runs again in a kernel of its own, and its functions are checked with inputs that the
//! student has not seen.
//!
//! The submission's own check cells, and what their outputs say, count for nothing: the launcher checks each function itself, behind the
//! cell that defines it. A function that never returns, or that ends the kernel's process, costs that exercise and no other: the
//! rest runs in a new kernel without it.

use super::journal::Journal;
use super::marks::{self, Mark};
use super::sandbox::Sandbox;
use super::{Grading, files, kernel, plain, student};
use crate::kernel::PROGRESS;
use crate::notebook::{Cell, Notebook};
use crate::pairs;
use crate::places::Places;
use crate::session::{Jupyter, Reply, Session};
use crate::steps::{self, words};
use crate::trouble::Trouble;
use crate::{setup, verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How far below the folder notebooks are looked for: STUDENT/SECTION/NOTEBOOK.ipynb.
const DEPTH: usize = 4;

/// How many kernels a submission may lose.
const KERNELS: usize = 10;

/// What each kernel runs first.
const BEGIN: &str = "use candle_lens::prelude::*;\nuse candle_lens::course::*;";

/// An exercise of the course.
#[derive(Clone, Debug)]
struct Exercise {
    file: String,
    id: String,
    function: String,
}

/// Grades all notebooks of a folder, and writes `grades.csv` and `grades.json` into `into`.
pub fn grade(places: &Places, grading: &Grading, into: &Path) -> Result<Vec<Mark>, Trouble> {
    let is_notebook = |path: &Path| path.extension().is_some_and(|ending| ending == "ipynb");
    let submissions = files(&grading.folder, DEPTH, &is_notebook)?;
    if submissions.is_empty() {
        return Err(Trouble::new(
            format!("{} holds no notebook.", grading.folder.display()),
            "Give a folder that has a folder, or a notebook, for each student.",
        ));
    }
    let jupyter = setup::everything(places)?;
    let sandbox = Sandbox::new(grading.memory);
    println!("{}", sandbox.describe());
    let exercises = exercises(&kernel::notebooks(&jupyter, &places.root)?);
    let scratch = places.lab.join("grading");
    steps::remove_folder(&scratch)?;
    let grader =
        Grader { jupyter: &jupyter, grading, sandbox, exercises: &exercises, scratch, count: AtomicUsize::new(0) };
    let marks = pairs::by_two(&submissions, |path| grader.notebook(path))?.concat();
    steps::write(&into.join("grades.csv"), &marks::csv(&marks))?;
    steps::write(&into.join("grades.json"), &format!("{:#}\n", marks::json(&marks, grading.seed)))?;
    steps::remove_folder(&grader.scratch)?;
    println!("\n{}\nwrote grades.csv and grades.json", marks::summary(&marks));
    Ok(marks)
}

/// The exercises of the notebooks for students.
fn exercises(notebooks: &[(String, Notebook)]) -> Vec<Exercise> {
    let mut all = Vec::new();
    for (file, notebook) in notebooks {
        for (id, source) in notebook.exercise_sources() {
            let function = source.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
            all.extend(function.map(|name| Exercise { file: file.clone(), id, function: name.into() }));
        }
    }
    all
}

/// What all submissions share.
struct Grader<'a> {
    jupyter: &'a Jupyter,
    grading: &'a Grading,
    sandbox: Sandbox,
    exercises: &'a [Exercise],
    scratch: PathBuf,
    count: AtomicUsize,
}

/// How far a submission came.
#[derive(Default)]
struct Run {
    /// The verdict, what was said, and the seconds, by function.
    checked: BTreeMap<String, (String, String, f64)>,
    /// Functions that need no second check, each with the cell that defines it.
    done: BTreeSet<(String, usize)>,
    /// Cells that are left out, because a kernel was lost in them.
    lost: BTreeSet<usize>,
}

impl Grader<'_> {
    fn notebook(&self, path: &Path) -> Result<Vec<Mark>, Trouble> {
        let start = Instant::now();
        let who = student(&self.grading.folder, path);
        let name = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
        let notebook = match Notebook::read(path) {
            Ok(notebook) => notebook,
            Err(trouble) => {
                println!("{who}: {}", plain(&trouble.to_string()));
                return Ok(Vec::new());
            }
        };
        let cells = notebook.code_cells();
        let expected = self.expected(&notebook, &cells);
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.scratch.join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        steps::make_folder(&folder)?;
        let mut run = Run::default();
        for _ in 0..KERNELS {
            if self.kernel(&folder, &cells, &expected, &mut run)? {
                break;
            }
        }
        let journal = Journal::read(&folder.join("progress.jsonl")).unwrap_or_default();
        let mark = |exercise: &Exercise| {
            let none = || ("missing".to_string(), String::new(), 0.0);
            let (verdict, said, seconds) = run.checked.get(&exercise.function).cloned().unwrap_or_else(none);
            let tally = journal.exercises.get(&exercise.id).cloned().unwrap_or_default();
            let mistake = if verdict == "wrong" { tally.mistakes.last().map(|(number, _)| *number) } else { None };
            let (student, notebook) = (who.clone(), name.clone());
            let (exercise, function) = (exercise.id.clone(), exercise.function.clone());
            Mark { student, notebook, exercise, function, verdict, mistake, said, seconds }
        };
        let marks: Vec<Mark> = expected.into_iter().map(mark).collect();
        let passed = marks.iter().filter(|mark| mark.passed()).count();
        println!("{who}, {name}: {passed} of {} passed, in {}", marks.len(), words(start.elapsed()));
        Ok(marks)
    }

    /// The exercises of the sections that a notebook has an exercise of.
    fn expected(&self, notebook: &Notebook, cells: &[Cell]) -> Vec<&Exercise> {
        let ids = notebook.exercises();
        let is_here = |exercise: &&Exercise| {
            ids.contains(&exercise.id) || cells.iter().any(|cell| defines(&cell.source, &exercise.function))
        };
        let sections: BTreeSet<&String> =
            self.exercises.iter().filter(is_here).map(|exercise| &exercise.file).collect();
        self.exercises.iter().filter(|exercise| sections.contains(&exercise.file)).collect()
    }

    /// Runs what is left of a submission in a new kernel; whether that kernel came to the end.
    fn kernel(&self, folder: &Path, cells: &[Cell], expected: &[&Exercise], run: &mut Run) -> Result<bool, Trouble> {
        let mut session = self.jupyter.start_as(folder, |driver| {
            let mut driver = self.sandbox.confine(driver);
            driver
                .env(PROGRESS, folder.join("progress.jsonl"))
                .env("CANDLE_LENS_COURSE_SEED", self.grading.seed.to_string())
                .env("CANDLE_LENS_COURSE", "open");
            driver
        })?;
        let ended = self.cells(&mut session, cells, expected, run);
        session.end();
        ended
    }

    fn cells(
        &self,
        session: &mut Session,
        cells: &[Cell],
        expected: &[&Exercise],
        run: &mut Run,
    ) -> Result<bool, Trouble> {
        let execute = |session: &mut Session, code: &str| session.execute(code, self.grading.timeout, |_| ());
        execute(session, BEGIN)?;
        for (place, cell) in cells.iter().enumerate() {
            let defined: Vec<_> =
                expected.iter().filter(|exercise| defines(&cell.source, &exercise.function)).collect();
            let is_check = defined.is_empty() && cell.source.contains(".check(");
            if is_check || run.lost.contains(&place) {
                continue;
            }
            let reply = execute(session, &without_dependency(&cell.source))?;
            let lost = is_lost(&reply);
            let failed = verdict::complaint(&reply).filter(|_| lost || reply.status == "error");
            if let Some(why) = &failed {
                let verdict = if lost { lost_as(&reply) } else { "does_not_compile" };
                for exercise in &defined {
                    run.checked
                        .insert(exercise.function.clone(), (verdict.into(), why.clone(), reply.took.as_secs_f64()));
                }
            }
            if lost {
                run.lost.insert(place);
                return Ok(false);
            }
            for exercise in defined.iter().filter(|_| failed.is_none()) {
                let name = &exercise.function;
                if !run.done.insert((name.clone(), place)) {
                    continue;
                }
                let reply = execute(session, &format!("candle_lens::course::ex::{name}().check({name})"))?;
                run.checked.insert(name.clone(), judged(&reply, exercise));
                if is_lost(&reply) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Whether code defines a function.
fn defines(source: &str, function: &str) -> bool {
    source.contains(&format!("fn {function}(")) || source.contains(&format!("fn {function}<"))
}

/// The library is loaded already, and its path is another one here.
fn without_dependency(source: &str) -> String {
    let kept: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with(":dep candle-lens")).collect();
    kept.join("\n")
}

/// Whether there is no kernel to go on with, or none with the cells so far.
fn is_lost(reply: &Reply) -> bool {
    ["dead", "timeout"].contains(&reply.status.as_str()) || is_crash(reply)
}

/// The process of the cells died, which evcxr reports and then starts another one.
fn is_crash(reply: &Reply) -> bool {
    reply.outputs.iter().any(|output| {
        let said =
            format!("{}{}", output["evalue"].as_str().unwrap_or_default(), output["text"].as_str().unwrap_or_default());
        said.contains("terminated with status") || said.contains("Subprocess terminated")
    })
}

fn lost_as(reply: &Reply) -> &'static str {
    if reply.status == "timeout" { "timeout" } else { "died" }
}

/// The verdict of a check, what it said and how long it took.
fn judged(reply: &Reply, exercise: &Exercise) -> (String, String, f64) {
    let seconds = reply.took.as_secs_f64();
    let shown = reply.outputs.iter().filter_map(|output| output["data"]["text/plain"].as_str());
    let begin = |mark: char| format!("candle-lens {mark} {} {}", exercise.id, exercise.function);
    let said = shown.map(str::trim).find(|text| text.starts_with(&begin('✓')) || text.starts_with(&begin('✗')));
    let Some(said) = said else {
        let why = verdict::complaint(reply).unwrap_or_else(|| "the check said nothing".into());
        let verdict = if is_lost(reply) { lost_as(reply) } else { "does_not_compile" };
        return (verdict.into(), why, seconds);
    };
    let rest = said.strip_prefix(&begin('✗')).unwrap_or_default();
    let verdict = match rest {
        _ if said.starts_with(&begin('✓')) => "passed",
        rest if rest.starts_with(": not written yet") => "not_written",
        rest if rest.starts_with(": it returned an error") => "error",
        rest if rest.starts_with(": it panicked") => "panic",
        _ => "wrong",
    };
    (verdict.into(), said.to_string(), seconds)
}
