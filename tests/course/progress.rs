//! What is kept of a student's tries, what it opens, and what a teacher may forbid.
//!
//! A kernel is this program started again, with the variables that the launcher sets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use candle_lens::course::{ex, made_for_version, progress};
use candle_lens::prelude::*;
use candle_lens::progress::rehearsal::{Event, rehearse};

use crate::support::scratch;

const PART: &str = "CANDLE_LENS_TEST_COURSE";

/// What a kernel prints and says, with its settings.
fn kernel(part: &str, file: &Path, mode: &str) -> Output {
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "course::progress::in_the_kernel", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env("CANDLE_LENS_COURSE_PROGRESS", file)
        .env("CANDLE_LENS_COURSE", mode)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(run.status.success(), "{}", said(&run));
    run
}

fn said(run: &Output) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
}

fn file(name: &str) -> PathBuf {
    scratch(&format!("course_{name}")).join("progress.jsonl")
}

fn lines(file: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(file).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
#[ignore = "started by the other tests of this file"]
fn in_the_kernel() {
    let Ok(part) = std::env::var(PART) else { return };
    match &*part {
        "lesson" => lesson(),
        "hints" => (0..20).for_each(|_| drop(ex::n_correct().hint())),
        "look" => println!("{}\n{}", progress(), ex::n_correct().solution()),
        "asked" => {
            println!("{}\n{}", right(), wrong());
            println!("{}\n{}", ex::n_correct().hint(), ex::n_correct().solution());
        }
        "opened" => ["0.0.9", env!("CARGO_PKG_VERSION"), "99.0.0"].into_iter().for_each(made_for_version),
        other => panic!("there is no part {other}"),
    }
}

fn wrong() -> candle_lens::course::Verdict {
    ex::n_correct().check(|logits, tokens| -> Result<usize> {
        let guesses = logits.argmax(2)?.to_vec2::<u32>()?;
        Ok((0..tokens.batch()).map(|b| tokens.row(b).iter().zip(&guesses[b]).filter(|(a, b)| a == b).count()).sum())
    })
}

fn right() -> candle_lens::course::Verdict {
    ex::n_correct().check(|logits, tokens| -> Result<usize> {
        let guesses = logits.argmax(2)?.to_vec2::<u32>()?;
        let correct = |b: usize| tokens.row(b)[1..].iter().zip(&guesses[b]).filter(|(a, b)| a == b).count();
        Ok((0..tokens.batch()).map(correct).sum())
    })
}

/// A student who needs four tries.
fn lesson() {
    let show = |text: String| println!("{text}\n");
    show(progress().to_string());
    show(ex::n_correct().check(|_, _| -> Result<usize> { todo!() }).to_string());
    show(wrong().to_string());
    show(ex::n_correct().check(|_, _| -> Result<usize> { Ok(usize::MAX / 2) }).to_string());
    (0..4).for_each(|_| show(ex::n_correct().hint().to_string()));
    show(ex::n_correct().solution().to_string());
    show(ex::n_correct().check(|_, _| Err::<usize, _>("no idea")).to_string());
    show(ex::n_correct().solution().to_string());
    show(right().to_string());
    show(progress().to_string());
}

#[test]
fn tries_hints_and_passes_are_kept_and_counted() {
    let file = file("lesson");
    let text = said(&kernel("lesson", &file, ""));
    assert!(
        text.contains("hint 1 of 3: ") && text.contains("hint 3 of 3: ") && text.contains("3, the last: "),
        "{text}"
    );
    assert!(text.contains("its solution opens after a pass or 3 tries. So far there were 2."), "{text}");
    let opened = text.find("After 3 tries you may read ex::n_correct().solution().").expect("it is said");
    let solution = text.find("fn n_correct(").expect("it is shown");
    assert!(opened < solution && text.matches("you may read").count() == 1, "{text}");

    let lines = lines(&file);
    let kinds: Vec<&str> = lines.iter().map(|line| line["what"].as_str().expect("a word")).collect();
    let hints = ["hint"; 4];
    assert_eq!(kinds, [&["not_written", "wrong", "wrong"][..], &hints, &["error", "solution", "passed"]].concat());
    assert_eq!((&lines[1]["mistake"], &lines[2]["mistake"]), (&0.into(), &serde_json::Value::Null));
    assert!(lines[1]["likely"].as_str().is_some_and(|why| why.contains("its own position")), "{}", lines[1]);
    let passed = lines.last().expect("lines");
    assert_eq!((&passed["exercise"], &passed["hints"]), (&"1.2.a".into(), &4.into()));
    assert!(passed["process"].as_u64().is_some_and(|id| id > 0) && passed["version"] == env!("CARGO_PKG_VERSION"));

    // The next kernel knows it, behind a line that another one left without an end.
    fs::write(&file, fs::read_to_string(&file).expect("there") + "{\"time\": \"20").expect("writable");
    let later = said(&kernel("look", &file, "locked"));
    let row = later.lines().find(|line| line.contains("1.2.a")).expect("a row");
    assert!(row.contains("n_correct") && row.contains('✓'), "{later}");
    let time = passed["time"].as_str().expect("a time");
    assert!(
        row.contains(time) && later.contains("1 of ") && later.contains("Next: 1.2.b attention_pattern, in c3_"),
        "{later}"
    );
    assert!(fs::read_to_string(&file).expect("there").lines().last().expect("a line").contains("\"solution\""));
}

#[test]
fn two_kernels_write_to_one_file() {
    let file = file("two");
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| kernel("hints", &file, ""))));
    });
    let lines = lines(&file);
    let processes: std::collections::BTreeSet<_> = lines.iter().map(|line| line["process"].as_u64()).collect();
    assert_eq!((lines.len(), processes.len()), (40, 2));
}

#[test]
fn a_file_that_cannot_be_written_costs_one_sentence() {
    let folder = scratch("course_unwritable");
    let text = said(&kernel("lesson", &folder, ""));
    assert_eq!(text.matches("candle-lens ⚠ your progress cannot be written to").count(), 1, "{text}");
    assert!(text.contains("candle-lens ✓ 1.2.a n_correct") && text.contains("fn n_correct("), "{text}");
}

#[test]
fn teachers_may_lock_and_examine() {
    let file = file("exam");
    let exam = said(&kernel("asked", &file, "exam"));
    assert!(
        exam.contains("candle-lens ✗ 1.2.a n_correct: not passed.") && exam.contains("candle-lens ✓ 1.2.a"),
        "{exam}"
    );
    assert!(exam.contains("no hints in an exam") && exam.contains("no solutions in an exam"), "{exam}");
    assert!(!exam.contains("Likely") && !exam.contains("wanted"), "{exam}");
    // The teacher's table of mistakes is made of what the student is not shown.
    let noted = lines(&file);
    assert!(
        noted.iter().any(|line| line["likely"].as_str().is_some_and(|why| why.contains("its own position"))),
        "{noted:?}"
    );

    let locked = said(&kernel("look", &super::progress::file("locked"), "locked"));
    assert!(locked.contains("its solution opens after a pass."), "{locked}");

    let mistyped = said(&kernel("asked", &super::progress::file("mistyped"), "exma"));
    let sentence = "CANDLE_LENS_COURSE is \"exma\"; valid are open, locked and exam.";
    assert!(mistyped.matches(sentence).count() == 1 && mistyped.contains("no hints in an exam"), "{mistyped}");
}

#[test]
fn a_notebook_of_another_version_says_so() {
    let text = said(&kernel("opened", &file("opened"), ""));
    let notes: Vec<&str> =
        text.lines().filter(|line| line.starts_with("candle-lens ⚠ this notebook was made")).collect();
    assert_eq!(notes.len(), 2, "{text}");
    assert!(notes[0].contains("older exercises, of version 0.0.9") && notes[0].contains("reset"), "{}", notes[0]);
    assert!(notes[1].contains("newer exercises, of version 99.0.0"), "{}", notes[1]);
}

#[test]
fn a_function_that_does_not_end_is_spoken_for() {
    let (_, moments) = rehearse(|| Duration::ZERO, right);
    let first = moments.first().expect("a check reports");
    assert!(first.event == Event::Began { is_opaque: true } && first.what.starts_with("checking n_correct, which"));
}
