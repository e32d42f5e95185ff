//! A class of two, graded: the test of the grader, on real kernels.

use super::Grading;
use super::grade::grade;
use super::sandbox::Sandbox;
use crate::places::Places;
use crate::steps;
use crate::trouble::Trouble;
use std::fs;

/// What must come of `tests/kernel/submissions`: for each student the verdicts of the section's first exercises.
const ADA: [&str; 4] = ["passed", "wrong", "passed", "missing"];
const BOB: [&str; 4] = ["timeout", "not_written", "does_not_compile", "passed"];

/// Whether the class gets the marks that it must get.
///
/// # Errors
/// A kernel that does not start, or a file that cannot be written.
pub fn trial(places: &Places) -> Result<bool, Trouble> {
    let into = places.lab.join("graded");
    steps::make_folder(&into)?;
    let memory = 8192;
    let folder = places.root.join("tests/kernel/submissions");
    let marks = grade(places, &Grading { folder, seed: 3, timeout: 10, memory }, &into)?;
    let verdicts = |who: &str| -> Vec<&str> {
        marks.iter().filter(|mark| mark.student == who).map(|mark| mark.verdict.as_str()).collect()
    };
    let (ada, bob) = (verdicts("ada"), verdicts("bob"));
    let recognised =
        marks.iter().any(|mark| mark.student == "ada" && mark.mistake == Some(0) && mark.said.contains("not scaled"));
    let mut expected = ADA;
    if !Sandbox::new(memory).cut {
        // That function is right only where it finds no network.
        expected[2] = "wrong";
    }
    let written = fs::read_to_string(into.join("grades.csv")).unwrap_or_default();
    // What was said may have lines of its own.
    let rows =
        written.lines().filter(|line| ["student,", "ada,", "bob,"].iter().any(|who| line.starts_with(who))).count();
    let right = ada.starts_with(&expected) && bob.starts_with(&BOB) && recognised && rows == marks.len() + 1;
    if !right {
        println!("    expected {expected:?} and {BOB:?}, got {ada:?} and {bob:?}, mistake recognised: {recognised}");
    }
    Ok(right)
}
