//! What an exercise knows of its inputs, whose type is its own; and the same by the inputs' numbers, so that the judge is compiled once and
//! not for each type.

use super::answer::Answer;
use crate::error::Result;

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

/// One of those functions, the wrong and the accepted ones by their places.
#[derive(Clone, Copy)]
pub(super) enum Function {
    Reference,
    Wrong(usize),
    Accepted(usize),
}

/// An exercise with its inputs, which have numbers from 0.
pub(super) trait Numbered {
    /// How many inputs there are.
    fn inputs(&self) -> usize;
    /// What a function answers to an input.
    fn answer(&self, function: Function, input: usize) -> Result<Answer, String>;
    /// What the rule says of an answer, if there is a rule.
    fn ruled(&self, input: usize, answer: &Answer) -> Option<Result<Option<String>>>;
    /// What is said of all answers side by side, if anything is.
    fn together(&self, answers: &[Answer]) -> Option<Result<Option<String>>>;
    /// What the mistake of a wrong answer is.
    fn mistake(&self, number: usize) -> Option<&'static str>;
    /// The remark on an accepted answer.
    fn note(&self, number: usize) -> Option<&'static str>;
}

/// Inputs and what is known of them.
pub(super) struct Asked<'a, I> {
    pub inputs: Vec<I>,
    pub known: &'a Known<I>,
}

impl<I> Numbered for Asked<'_, I> {
    fn inputs(&self) -> usize {
        self.inputs.len()
    }

    fn answer(&self, function: Function, input: usize) -> Result<Answer, String> {
        let function = match function {
            Function::Reference => self.known.reference,
            Function::Wrong(number) => self.known.wrong[number].1,
            Function::Accepted(number) => self.known.accepted[number].1,
        };
        function(&self.inputs[input])
    }

    fn ruled(&self, input: usize, answer: &Answer) -> Option<Result<Option<String>>> {
        self.known.rule.map(|rule| rule(&self.inputs[input], answer))
    }

    fn together(&self, answers: &[Answer]) -> Option<Result<Option<String>>> {
        self.known.together.map(|together| together(&self.inputs, answers))
    }

    fn mistake(&self, number: usize) -> Option<&'static str> {
        self.known.wrong.get(number).map(|wrong| wrong.0)
    }

    fn note(&self, number: usize) -> Option<&'static str> {
        self.known.accepted.get(number).map(|accepted| accepted.0)
    }
}
