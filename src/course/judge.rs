//! From a function to a verdict: the student's numbers beside the reference's and beside those of known mistakes, on the same inputs.

use super::answer::Answer;
use super::anywhere::ANYWHERE;
use super::exercise::About;
use super::guard::{Run, run};
use super::known::{Asked, Function, Numbered};
use super::locate::{are_same, differs, differs_in_form};
use super::seed::is_usual;
use super::verdict::{Outcome, Verdict};
use crate::error::{Error, Result};
use crate::progress::Progress;

pub(crate) use super::known::{Known, Rule, Together};

/// A function of one exercise with its argument bound to an input.
pub(crate) type Tried<'a, I> = &'a dyn Fn(&I) -> Result<Answer, String>;

/// The same, of an input's number.
type TriedBy<'a> = &'a dyn Fn(usize) -> Result<Answer, String>;

/// The crates whose functions are nobody's answer: the prelude has some of the same name as an exercise.
const LIBRARIES: [&str; 3] = ["candle_lens::", "candle_core::", "candle_nn::"];

/// What is to be said of a function, which Rust calls by `path`.
pub(crate) fn judge<I>(
    about: &About,
    path: &str,
    inputs: Result<Vec<I>>,
    known: &Known<I>,
    tried: Tried<I>,
) -> Verdict {
    match inputs {
        Ok(inputs) => {
            let asked = Asked { inputs, known };
            verdict(about, path, &asked, &|input| tried(&asked.inputs[input]))
        }
        Err(error) => Verdict::new(about, Outcome::Broken(error.to_string())),
    }
}

fn verdict(about: &About, path: &str, asked: &dyn Numbered, tried: TriedBy) -> Verdict {
    if LIBRARIES.iter().any(|library| path.starts_with(library)) {
        return Verdict::new(about, Outcome::NotYours(path.to_string()));
    }
    // Says nothing of the first seconds, so nothing of a function that is as it should be.
    let running = Progress::opaque(format!(
        "checking {}, which is still running (interrupting the kernel ends it, and all variables with it)",
        about.name
    ));
    let outcome = outcome(about, asked, tried);
    drop(running);
    Verdict::new(about, outcome.unwrap_or_else(Outcome::Broken))
}

fn outcome(about: &About, asked: &dyn Numbered, tried: TriedBy) -> Result<Outcome, String> {
    let mut answers = Vec::with_capacity(asked.inputs());
    for input in 0..asked.inputs() {
        match run(&|| tried(input)) {
            Run::Returned(answer) => answers.push(answer),
            Run::NotWritten => return Ok(Outcome::NotWritten),
            Run::Failed(error) => return Ok(Outcome::Failed(error)),
            Run::Panicked(message) => return Ok(Outcome::Panicked(message)),
        }
    }
    let said = |error: crate::Error| error.to_string();
    let is = |function: Function| -> Result<bool, String> {
        for (input, answer) in answers.iter().enumerate() {
            // A wrong answer may not be one for this input.
            let other = asked.answer(function, input);
            if !matches!(other, Ok(other) if are_same(answer, &other, about.tolerance).map_err(said)?) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let what = complaint(about, asked, &answers)?;
    let Some(what) = what else {
        return Ok(Outcome::Passed { note: None });
    };
    for (number, note) in notes(asked) {
        if is(Function::Accepted(number))? {
            return Ok(Outcome::Passed { note: Some(note.to_string()) });
        }
    }
    for (number, mistake) in mistakes(asked) {
        if is(Function::Wrong(number))? {
            return Ok(Outcome::Wrong { what, likely: Some((number, mistake.to_string())) });
        }
    }
    Ok(Outcome::Wrong { what, likely: anywhere(about, asked, &answers)? })
}

/// The mistakes of the wrong answers, with their numbers.
fn mistakes(asked: &dyn Numbered) -> impl Iterator<Item = (usize, &'static str)> {
    (0..).map_while(|number| Some((number, asked.mistake(number)?)))
}

/// The remarks on the accepted answers, with their numbers.
fn notes(asked: &dyn Numbered) -> impl Iterator<Item = (usize, &'static str)> {
    (0..).map_while(|number| Some((number, asked.note(number)?)))
}

/// The mistake, of those that no exercise lists, that all answers have; numbered behind the exercise's own.
fn anywhere(about: &About, asked: &dyn Numbered, answers: &[Answer]) -> Result<Option<(usize, String)>, String> {
    let wanted = references(asked)?;
    for (number, (mistake, recognise)) in ANYWHERE.iter().enumerate() {
        let pairs = answers.iter().zip(&wanted);
        // What cannot be compared is something else.
        let found = pairs.map(|(answer, wanted)| recognise(answer, wanted, about.tolerance).ok().flatten());
        let found = found.collect::<Option<Vec<bool>>>().unwrap_or_default();
        if found.contains(&true) {
            return Ok(Some((mistakes(asked).count() + number, (*mistake).to_string())));
        }
    }
    Ok(None)
}

/// What is wrong with the answers, of the first input where something is: by the exercise's rule, or else beside the reference.
fn complaint(about: &About, asked: &dyn Numbered, answers: &[Answer]) -> Result<Option<String>, String> {
    // Inputs and references are the exercise's own, so what a rule cannot read is the answer.
    let unread =
        |error: Error| Some(format!("it cannot be judged: {}", error.to_string().lines().next().unwrap_or_default()));
    for (input, answer) in answers.iter().enumerate() {
        let what = match asked.ruled(input, answer) {
            Some(ruled) => ruled.unwrap_or_else(unread),
            None => {
                let wanted = asked.answer(Function::Reference, input)?;
                let what = differs(answer, &wanted, about.axes, about.tolerance).unwrap_or_else(unread);
                what.or_else(|| differs_in_form(answer, &wanted))
            }
        };
        if what.is_some() {
            return Ok(what);
        }
    }
    Ok(asked.together(answers).and_then(|together| together.unwrap_or_else(unread)))
}

/// What the reference answers to each input.
pub(crate) fn answered<I>(inputs: Result<Vec<I>>, known: &Known<I>) -> Result<Vec<Answer>> {
    references(&Asked { inputs: inputs?, known }).map_err(Error::argument)
}

fn references(asked: &dyn Numbered) -> Result<Vec<Answer>, String> {
    (0..asked.inputs()).map(|input| asked.answer(Function::Reference, input)).collect()
}

/// Whether all that an exercise knows is judged as what it is.
pub(crate) fn prove<I>(about: &About, inputs: Result<Vec<I>>, known: &Known<I>) -> Result<()> {
    proven(about, &Asked { inputs: inputs?, known })
}

fn proven(about: &About, asked: &dyn Numbered) -> Result<()> {
    let refused = |why: String| Error::argument(format!("exercise {} {}: {why}", about.id, about.name));
    let judged = |function: Function| outcome(about, asked, &|input| asked.answer(function, input)).map_err(&refused);
    let expect = |which: &str, outcome: Outcome, wanted: &dyn Fn(&Outcome) -> bool| match wanted(&outcome) {
        true => Ok(()),
        false => Err(refused(format!("{which} is judged as {outcome:?}."))),
    };
    let is_passed = |outcome: &Outcome| *outcome == Outcome::Passed { note: None };
    expect("the reference", judged(Function::Reference)?, &is_passed)?;
    let unwritten = outcome(about, asked, &|_| todo!()).map_err(&refused)?;
    expect("todo!()", unwritten, &|outcome| *outcome == Outcome::NotWritten)?;
    for (number, note) in notes(asked) {
        let is_noted = |outcome: &Outcome| *outcome == Outcome::Passed { note: Some(note.to_string()) };
        expect("an accepted answer", judged(Function::Accepted(number))?, &is_noted)?;
    }
    for (number, mistake) in mistakes(asked) {
        // On inputs that nobody chose two wrong answers may be the same.
        let is_itself = |outcome: &Outcome| match outcome {
            Outcome::Wrong { likely: Some((found, _)), .. } => *found == number || !is_usual(),
            _ => false,
        };
        expect(&format!("the wrong answer \"{mistake}\""), judged(Function::Wrong(number))?, &is_itself)?;
    }
    Ok(())
}
