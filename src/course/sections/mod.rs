//! The course's sections, one folder each: text, exercises, references and wrong answers. Those without exercises are one file.

mod c00_first_look;
mod c00_rust;
mod c0_tensors;
mod c10_brackets;
mod c11_modular;
mod c12_probes;
mod c13_function_vectors;
mod c14_superposition;
mod c15_dictionaries;
mod c16_gradients;
mod c1_transformer;
mod c2_sampling;
mod c3_attention;
mod c4_ablation;
mod c5_circuit;
mod c6_ioi;
mod c7_patching;
mod c8_circuit;
mod c8_path_patching;
mod c9_brackets;
mod pytorch;

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
    pub use super::c6_ioi::handles::*;
    pub use super::c7_patching::handles::*;
    pub use super::c8_circuit::ablation_handles::*;
    pub use super::c8_circuit::circuit_handles::*;
    pub use super::c8_path_patching::kind_handles::*;
    pub use super::c8_path_patching::path_handles::*;
    pub use super::c9_brackets::handles::*;
    pub use super::c10_brackets::handles::*;
    pub use super::c11_modular::handles::*;
    pub use super::c12_probes::handles::*;
    pub use super::c13_function_vectors::handles::*;
    pub use super::c14_superposition::handles::*;
    pub use super::c15_dictionaries::handles::*;
    pub use super::c15_dictionaries::model_handles::*;
    pub use super::c16_gradients::handles::*;
}

/// All sections, in the order in which they build on each other.
pub fn sections() -> Vec<Section> {
    vec![
        c00_first_look::section(),
        c00_rust::section(),
        c0_tensors::section(),
        c1_transformer::section(),
        c2_sampling::section(),
        c3_attention::section(),
        c4_ablation::section(),
        c5_circuit::section(),
        c6_ioi::section(),
        c7_patching::section(),
        c8_path_patching::section(),
        c8_circuit::section(),
        c9_brackets::section(),
        c10_brackets::section(),
        c11_modular::section(),
        c12_probes::section(),
        c13_function_vectors::section(),
        c14_superposition::section(),
        c15_dictionaries::section(),
        c16_gradients::section(),
    ]
}
