//! A teacher's seed gives every exercise inputs that students have not seen, and everything is judged there as it is on theirs.
//!
//! A grader is this program started again, with the variable that the launcher sets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use candle_lens::course::sections;
use candle_lens::prelude::*;

const PART: &str = "CANDLE_LENS_TEST_COURSE_SEEDS";

/// Exercises whose inputs are the same with every seed, and why.
const FIXED: [(&str, &str); 4] = [
    ("1.2.l", "a question about a model that was trained"),
    ("1.3.g2", "a question about a model that was trained"),
    ("1.3.m", "a question about a model that was trained"),
    ("1.4.a", "all strings of up to eight brackets: there are no others of these lengths"),
];

/// What a rule runs to judge a question about a trained model: the rows that the notebook shows.
const OF_A_QUESTION: [&str; 1] =
    ["let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 25, batch: 1, seed: 0 })?;"];

/// What a grader prints with this seed.
fn grader(part: &str, seed: u64) -> String {
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "course::seeds::in_the_grader", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env("CANDLE_LENS_COURSE_SEED", seed.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    said
}

#[test]
#[ignore = "started by the other tests of this file"]
fn in_the_grader() {
    let Ok(part) = std::env::var(PART) else { return };
    for about in sections().iter().flat_map(|section| section.exercises()) {
        match &*part {
            "prove" => {
                let Err(error) = about.prove() else { continue };
                // On a line of its own, also behind what the test harness has begun to print.
                println!("\nunlike {error}");
            }
            _ => println!("\nanswers {} {}", about.id, about.fingerprint().expect("a reference")),
        }
    }
}

/// How many seeds are graded by; `CANDLE_LENS_COURSE_SEEDS` says another number.
const SEEDS: u64 = 3;

/// References pass, and what is wrong is told from what is right, on inputs that nobody chose.
#[test]
fn all_is_judged_as_it_should_be_on_other_inputs_too() {
    let more = std::env::var("CANDLE_LENS_COURSE_SEEDS").map(|count| count.parse().expect("a number of seeds"));
    let graders: Vec<_> = (1..=more.unwrap_or(SEEDS))
        .map(|seed| {
            let said = grader("prove", seed);
            let unlike = said.lines().filter(|line| line.starts_with("unlike "));
            unlike.map(|line| format!("seed {seed}: {line}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(graders.concat().is_empty(), "{}", graders.concat().join("\n"));
}

#[test]
fn every_exercise_has_other_inputs_with_another_seed() -> Result<()> {
    let read = |seed| -> BTreeMap<String, String> {
        let said = grader("answers", seed);
        let words = said.lines().filter_map(|line| line.strip_prefix("answers ")?.split_once(' '));
        words.map(|(id, answers)| (id.to_string(), answers.to_string())).collect()
    };
    let [one, two] = [1, 2].map(read);
    let mut same = Vec::new();
    for about in sections().iter().flat_map(|section| section.exercises()) {
        let usual = about.fingerprint()?.to_string();
        if [&one, &two].iter().any(|other| other[about.id] == usual) || one[about.id] == two[about.id] {
            same.push(about.id);
        }
    }
    assert_eq!(same, FIXED.map(|(id, _)| id), "these have the same inputs with every seed");
    Ok(())
}

/// What an input is drawn with comes from `course::seed`, so that a new one cannot forget it.
#[test]
fn inputs_draw_by_the_seed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/course");
    let mut files = vec![root.join("models.rs")];
    let folders =
        fs::read_dir(root.join("sections")).expect("the sections").map(|entry| entry.expect("readable").path());
    files.extend(folders.map(|folder| folder.join("inputs.rs")).filter(|file| file.exists()));
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for line in text.lines() {
            let literal = |behind: &str| {
                line.split(behind).skip(1).any(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit()))
            };
            let drawn = line.contains("Random::new(") || literal("seed:") || literal("trainable(cfg,");
            // What a student is told to write draws nothing here.
            let is_text = line.trim_start().starts_with('"');
            assert!(
                !drawn || is_text || OF_A_QUESTION.contains(&line.trim()),
                "{}: {line}\nDraw by course::seed.",
                file.display()
            );
        }
    }
}
