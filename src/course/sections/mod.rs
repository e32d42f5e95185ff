//! The course's sections, one file each: text, exercises, references and wrong answers.

mod c0_tensors;
mod c3_attention;
mod c4_ablation;
mod c5_circuit;

use super::notebook::Section;

/// The exercises. Completion on `ex::` is the table of contents.
pub mod ex {
    pub use super::c0_tensors::handles::*;
    pub use super::c3_attention::handles::*;
    pub use super::c4_ablation::handles::*;
    pub use super::c5_circuit::handles::*;
}

/// All sections, in the order in which they build on each other.
pub fn sections() -> Vec<Section> {
    vec![c0_tensors::section(), c3_attention::section(), c4_ablation::section(), c5_circuit::section()]
}
