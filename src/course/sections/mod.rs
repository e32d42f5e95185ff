//! The course's sections, one file each: text, exercises, references and wrong answers.

mod c0_tensors;
mod c3_attention;

use super::notebook::Section;

/// The exercises. Completion on `ex::` is the table of contents.
pub mod ex {
    pub use super::c0_tensors::handles::*;
    pub use super::c3_attention::handles::*;
}

/// All sections, in the order in which they build on each other.
pub fn sections() -> Vec<Section> {
    vec![c0_tensors::section(), c3_attention::section()]
}
