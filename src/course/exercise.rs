//! What an exercise is, and the handle through which a notebook reaches it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use candle_core::{DType, Tensor};

use super::answer::Answer;
use super::locate::TOLERANCE;
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::factored_matrix::FactoredMatrix;
use crate::head::Head;
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

/// All of an exercise that is text.
#[derive(Debug)]
pub struct About {
    /// Its number in the course, such as `1.2.b`.
    pub id: &'static str,
    /// The function to write, and the handle's name.
    pub name: &'static str,
    /// What is to be done, and what it is good for.
    pub task: &'static str,
    /// The axes of each part of the answer.
    pub axes: &'static [&'static [&'static str]],
    /// What to look at, then the steps, then almost the code.
    pub hints: &'static [&'static str],
    /// How far a number may be from the reference's, relative to `1 + |wanted|`.
    pub(super) tolerance: f64,
    /// The file that has the reference.
    pub(super) source: &'static str,
    pub(super) proof: fn() -> Result<()>,
    pub(super) answered: fn() -> Result<Vec<Answer>>,
}

impl About {
    /// Judges what the exercise knows: the reference must pass, every wrong answer must be recognised as itself, every accepted one must
    /// pass with its remark, and `todo!()` must count as not written.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) naming the first that is judged otherwise.
    pub fn prove(&self) -> Result<()> {
        (self.proof)()
    }

    /// A number that stands for what the reference answers to the exercise's inputs: another one for other inputs, as `CANDLE_LENS_COURSE_SEED`
    /// gives them. It compares runs of one build, and nothing else.
    ///
    /// # Errors
    /// Those of the inputs and of the reference.
    ///
    /// ```
    /// use candle_lens::course::ex;
    /// assert_ne!(ex::outer().task().fingerprint()?, ex::top_k().task().fingerprint()?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn fingerprint(&self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        for answer in (self.answered)()? {
            answer.text.hash(&mut hasher);
            for part in &answer.parts {
                part.dims().hash(&mut hasher);
                let numbers = part.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                numbers.iter().for_each(|number| number.to_bits().hash(&mut hasher));
            }
        }
        Ok(hasher.finish())
    }

    /// The reference, as it is in the course's source.
    pub fn solution(&self) -> &'static str {
        let begin = self.source.find(&format!("\nfn {}(", self.name)).map_or(0, |at| at + 1);
        let rest = &self.source[begin..];
        rest.find("\n}\n").map_or(rest, |end| &rest[..end + 2])
    }

    /// The function with nothing in it.
    pub fn stub(&self) -> String {
        let head = self.solution().split(" {\n").next().unwrap_or_default();
        format!("{head} {{\n    todo!()\n}}")
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\n\n{}\n\n{}", self.id, self.name, self.task, self.stub())
    }
}

/// How an argument is handed to a function: by reference, or a number as it is.
pub(super) trait Lend<'a, T> {
    fn lend(&'a self) -> T;
}

/// Kinds of arguments: those handed over by reference, then those handed over as they are. A section calls it for types of its own.
macro_rules! lent {
    ($($by_reference:ty),*; $($by_value:ty),*) => {
        $(impl<'a> $crate::course::exercise::Lend<'a, &'a $by_reference> for $by_reference {
            fn lend(&'a self) -> &'a $by_reference {
                self
            }
        })*
        $(impl<'a> $crate::course::exercise::Lend<'a, $by_value> for $by_value {
            fn lend(&'a self) -> $by_value {
                *self
            }
        })*
    };
}
lent!(Tensor, Tokens, ActivationCache, HookedTransformer, FactoredMatrix, Answers; Head, usize, isize, u32, u64, f32, f64, bool, (usize, usize));
pub(super) use lent;

impl<'a> Lend<'a, &'a str> for String {
    fn lend(&'a self) -> &'a str {
        self
    }
}

impl<'a, T> Lend<'a, &'a [T]> for Vec<T> {
    fn lend(&'a self) -> &'a [T] {
        self
    }
}

/// The tolerance that an exercise states, or the usual one.
pub(super) const fn tolerance(stated: &[f64]) -> f64 {
    match stated {
        [own] => *own,
        _ => TOLERANCE,
    }
}

/// A handle: a type with `task`, `check`, `hint` and `solution`.
///
/// `check` has a plain `Fn` bound, because then the compiler's message about a function of another signature is short.
///
/// Three clauses may be left out. `tolerance` is for numbers that the usual one would let pass. With a `rule`, an answer is right when the
/// rule has nothing to say against it, whatever the reference's numbers are: for random answers, for those that are one of many, and for
/// questions whose answer must not be printed. A rule `together` sees the answers to all inputs side by side: whether the same seed gives
/// the same answer twice.
macro_rules! exercise {
    (
        $(#[$doc:meta])*
        $handle:ident, $id:literal, $name:ident($($argument:ident: $kind:ty),*) -> $output:ty;
        task: $task:expr;
        axes: $axes:expr;
        inputs: $inputs:path => $input:ty;
        $(tolerance: $tolerance:expr;)?
        $(rule: $rule:path;)?
        $(together: $together:path;)?
        hints: $hints:expr;
        wrong: [$($mistake:expr => $wrong:path),* $(,)?];
        accepted: [$($note:expr => $accepted:path),* $(,)?];
    ) => {
        $(#[$doc])*
        pub fn $name() -> $handle {
            $handle
        }

        /// The handle of an exercise.
        #[derive(Clone, Copy, Debug)]
        pub struct $handle;

        impl $handle {
            const ABOUT: About = About {
                id: $id,
                name: stringify!($name),
                task: $task,
                axes: $axes,
                hints: $hints,
                tolerance: $crate::course::exercise::tolerance(&[$($tolerance)?]),
                source: super::SOURCE,
                proof: || prove(&Self::ABOUT, $inputs(), &Self::known()),
                answered: || $crate::course::judge::answered($inputs(), &Self::known()),
            };

            /// All of it that is text; it shows itself.
            pub fn task(self) -> &'static About {
                &Self::ABOUT
            }

            /// The next hint: what to look at, then the steps, then almost the code. Hints are counted.
            pub fn hint(self) -> $crate::course::Help {
                $crate::course::Help::hint(&Self::ABOUT)
            }

            /// The reference, after a pass or three tries.
            pub fn solution(self) -> $crate::course::Help {
                $crate::course::Help::solution(&Self::ABOUT)
            }

            /// Runs a function beside the reference.
            pub fn check<E: std::fmt::Display>(self, function: impl Fn($($kind),*) -> std::result::Result<$output, E>) -> Verdict {
                let path = std::any::type_name_of_val(&function);
                judge(&Self::ABOUT, path, $inputs(), &Self::known(), &|input| Self::call(&function, input))
            }

            fn call<E: std::fmt::Display>(
                function: impl Fn($($kind),*) -> std::result::Result<$output, E>,
                ($($argument,)*): &$input,
            ) -> std::result::Result<Answer, String> {
                let output = function($(Lend::lend($argument)),*).map_err(|error| error.to_string())?;
                output.into_answer().map_err(|error| error.to_string())
            }

            fn known() -> Known<$input> {
                Known {
                    reference: |input| Self::call(super::$name, input),
                    rule: {
                        let rules: &[Rule<$input>] = &[$($rule)?];
                        rules.first().copied()
                    },
                    together: {
                        let rules: &[$crate::course::judge::Together<$input>] = &[$($together)?];
                        rules.first().copied()
                    },
                    wrong: vec![$(($mistake, |input| Self::call($wrong, input))),*],
                    accepted: vec![$(($note, |input| Self::call($accepted, input))),*],
                }
            }
        }
    };
}
pub(super) use exercise;
