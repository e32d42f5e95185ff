//! What a teacher allows: `CANDLE_LENS_COURSE` in the kernel's environment.
//!
//! It is a matter of honour: the course's source is public.

use std::sync::Once;

use crate::progress::say;

/// The variable that says it.
const VARIABLE: &str = "CANDLE_LENS_COURSE";

/// How much a student is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Hints at any time, a solution after a pass or some tries.
    Open,
    /// Hints at any time, a solution after a pass.
    Locked,
    /// Neither, and a check says only whether it was passed.
    Exam,
}

/// The mode that holds now; a word that means none is taken for the strictest, and said to be so, once.
pub(super) fn mode() -> Mode {
    static SAID: Once = Once::new();
    let set = std::env::var_os(VARIABLE).unwrap_or_default();
    match set.to_string_lossy().as_ref() {
        "" | "open" => Mode::Open,
        "locked" => Mode::Locked,
        "exam" => Mode::Exam,
        unknown => {
            SAID.call_once(|| {
                say(&format!("{VARIABLE} is {unknown:?}; valid are open, locked and exam. It is taken for exam."));
            });
            Mode::Exam
        }
    }
}
