//! The course's sections, one file each: text, exercises, references and wrong answers.

mod c11_modular;
mod c13_function_vectors;
mod c3_attention;

use super::notebook::Section;

/// The exercises. Completion on `ex::` is the table of contents.
pub mod ex {
    pub use super::c11_modular::handles::*;
    pub use super::c13_function_vectors::handles::*;
    pub use super::c3_attention::handles::*;
}

/// All sections, in the order in which they build on each other.
pub fn sections() -> Vec<Section> {
    vec![c3_attention::section(), c11_modular::section(), c13_function_vectors::section()]
}
