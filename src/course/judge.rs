//! From a function to a verdict: the student's numbers beside the reference's and beside those of known mistakes, on the same inputs.

use super::answer::Answer;
use super::anywhere::ANYWHERE;
use super::exercise::About;
use super::guard::{Run, run};
use super::locate::{are_same, differs, differs_in_form};
use super::seed::is_usual;
use super::verdict::{Outcome, Verdict};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// A function of one exercise with its argument bound to an input.
pub(crate) type Tried<'a, I> = &'a dyn Fn(&I) -> Result<Answer, String>;

/// A function that an exercise knows.
pub(crate) type Answering<I> = fn(&I) -> Result<Answer, String>;

/// What is wrong with an answer to an input; nothing if it is right.
pub(crate) type Rule<I> = fn(&I, &Answer) -> Result<Option<String>>;

/// What is wrong with the answers to all inputs, side by side; nothing if they are right.
pub(crate) type Together<I> = fn(&[I], &[Answer]) -> Result<Option<String>>;

/// The functions that an exercise knows.
pub(crate) struct Known<I> {
    pub reference: Answering<I>,
    /// What decides, where there is more than one right answer.
    pub rule: Option<Rule<I>>,
    /// What else is asked where answers must be seen side by side, as that one seed gives one answer.
    pub together: Option<Together<I>>,
    /// Wrong answers, each with what the mistake is.
    pub wrong: Vec<(&'static str, Answering<I>)>,
    /// Other right answers, each with a remark.
    pub accepted: Vec<(&'static str, Answering<I>)>,
}

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
    if LIBRARIES.iter().any(|library| path.starts_with(library)) {
        return Verdict::new(about, Outcome::NotYours(path.to_string()));
    }
    // Says nothing of the first seconds, so nothing of a function that is as it should be.
    let running = Progress::opaque(format!(
        "checking {}, which is still running (interrupting the kernel ends it, and all variables with it)",
        about.name
    ));
    let outcome = inputs.map_err(|error| error.to_string()).and_then(|inputs| outcome(about, &inputs, known, tried));
    drop(running);
    let outcome = outcome.unwrap_or_else(Outcome::Broken);
    Verdict::new(about, outcome)
}

fn outcome<I>(about: &About, inputs: &[I], known: &Known<I>, tried: Tried<I>) -> Result<Outcome, String> {
    let mut answers = Vec::with_capacity(inputs.len());
    for input in inputs {
        match run(|| tried(input)) {
            Run::Returned(answer) => answers.push(answer),
            Run::NotWritten => return Ok(Outcome::NotWritten),
            Run::Failed(error) => return Ok(Outcome::Failed(error)),
            Run::Panicked(message) => return Ok(Outcome::Panicked(message)),
        }
    }
    let said = |error: crate::Error| error.to_string();
    let is = |function: Answering<I>| -> Result<bool, String> {
        for (input, answer) in inputs.iter().zip(&answers) {
            // A wrong answer may not be one for this input.
            if !matches!(function(input), Ok(other) if are_same(answer, &other, about.tolerance).map_err(said)?) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let what = complaint(about, inputs, known, &answers)?;
    let Some(what) = what else {
        return Ok(Outcome::Passed { note: None });
    };
    for (note, accepted) in &known.accepted {
        if is(*accepted)? {
            return Ok(Outcome::Passed { note: Some((*note).to_string()) });
        }
    }
    let mut likely = None;
    for (number, (mistake, wrong)) in known.wrong.iter().enumerate() {
        if likely.is_none() && is(*wrong)? {
            likely = Some((number, (*mistake).to_string()));
        }
    }
    if likely.is_none() {
        likely = anywhere(about, inputs, known, &answers)?;
    }
    Ok(Outcome::Wrong { what, likely })
}

/// The mistake, of those that no exercise lists, that all answers have; numbered behind the exercise's own.
fn anywhere<I>(
    about: &About,
    inputs: &[I],
    known: &Known<I>,
    answers: &[Answer],
) -> Result<Option<(usize, String)>, String> {
    let wanted = inputs.iter().map(|input| (known.reference)(input)).collect::<Result<Vec<_>, _>>()?;
    for (number, (mistake, recognise)) in ANYWHERE.iter().enumerate() {
        let pairs = answers.iter().zip(&wanted);
        // What cannot be compared is something else.
        let found = pairs.map(|(answer, wanted)| recognise(answer, wanted, about.tolerance).ok().flatten());
        let found = found.collect::<Option<Vec<bool>>>().unwrap_or_default();
        if found.contains(&true) {
            return Ok(Some((known.wrong.len() + number, (*mistake).to_string())));
        }
    }
    Ok(None)
}

/// What is wrong with the answers, of the first input where something is: by the exercise's rule, or else beside the reference.
fn complaint<I>(about: &About, inputs: &[I], known: &Known<I>, answers: &[Answer]) -> Result<Option<String>, String> {
    // Inputs and references are the exercise's own, so what a rule cannot read is the answer.
    let unread =
        |error: Error| Some(format!("it cannot be judged: {}", error.to_string().lines().next().unwrap_or_default()));
    for (input, answer) in inputs.iter().zip(answers) {
        let what = match known.rule {
            Some(rule) => rule(input, answer).unwrap_or_else(unread),
            None => {
                let wanted = (known.reference)(input)?;
                let what = differs(answer, &wanted, about.axes, about.tolerance).unwrap_or_else(unread);
                what.or_else(|| differs_in_form(answer, &wanted))
            }
        };
        if what.is_some() {
            return Ok(what);
        }
    }
    Ok(known.together.and_then(|together| together(inputs, answers).unwrap_or_else(unread)))
}

/// What the reference answers to each input.
pub(crate) fn answered<I>(inputs: Result<Vec<I>>, known: &Known<I>) -> Result<Vec<Answer>> {
    inputs?.iter().map(|input| (known.reference)(input).map_err(Error::argument)).collect()
}

/// Whether all that an exercise knows is judged as what it is.
pub(crate) fn prove<I>(about: &About, inputs: Result<Vec<I>>, known: &Known<I>) -> Result<()> {
    let inputs = inputs?;
    let refused = |why: String| Error::argument(format!("exercise {} {}: {why}", about.id, about.name));
    let judged = |tried: Tried<I>| outcome(about, &inputs, known, tried).map_err(&refused);
    let expect = |which: &str, outcome: Outcome, wanted: &dyn Fn(&Outcome) -> bool| match wanted(&outcome) {
        true => Ok(()),
        false => Err(refused(format!("{which} is judged as {outcome:?}."))),
    };
    expect("the reference", judged(&known.reference)?, &|outcome| *outcome == Outcome::Passed { note: None })?;
    expect("todo!()", judged(&|_| todo!())?, &|outcome| *outcome == Outcome::NotWritten)?;
    for (note, accepted) in &known.accepted {
        let is_noted = |outcome: &Outcome| *outcome == Outcome::Passed { note: Some((*note).to_string()) };
        expect("an accepted answer", judged(accepted)?, &is_noted)?;
    }
    for (number, (mistake, wrong)) in known.wrong.iter().enumerate() {
        // On inputs that nobody chose two wrong answers may be the same.
        let is_itself = |outcome: &Outcome| match outcome {
            Outcome::Wrong { likely: Some((found, _)), .. } => *found == number || !is_usual(),
            _ => false,
        };
        expect(&format!("the wrong answer \"{mistake}\""), judged(wrong)?, &is_itself)?;
    }
    Ok(())
}
