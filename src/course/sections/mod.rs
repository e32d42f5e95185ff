//! The course's sections, one file each: text, exercises, references and wrong answers.

mod c0_tensors;
mod c12_probes;
mod c16_gradients;
mod c1_transformer;
mod c2_sampling;
mod c3_attention;
mod c4_ablation;
mod c5_circuit;

use super::notebook::Section;

/// The exercises. Completion on `ex::` is the table of contents.
pub mod ex {
    pub use super::c0_tensors::handles::*;
    pub use super::c1_transformer::handles::*;
    pub use super::c2_sampling::decoding::*;
    pub use super::c2_sampling::handles::*;
    pub use super::c3_attention::handles::*;
    pub use super::c4_ablation::handles::*;
    pub use super::c5_circuit::handles::*;
    pub use super::c12_probes::handles::*;
    pub use super::c16_gradients::handles::*;
}

/// All sections, in the order in which they build on each other.
pub fn sections() -> Vec<Section> {
    vec![
        c0_tensors::section(),
        c1_transformer::section(),
        c2_sampling::section(),
        c3_attention::section(),
        c4_ablation::section(),
        c5_circuit::section(),
        c12_probes::section(),
        c16_gradients::section(),
    ]
}
