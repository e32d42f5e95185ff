//! Analyses: one method a file, each with its formula and source.

mod direct;
mod heads;
mod lens;
mod repeated;
mod singular;

pub use direct::{RunOrInput, Unit, direct_logit_attribution, residual_stack_to_logit_diff};
pub use heads::{
    DetectOptions, DetectionPattern, ErrorMeasure, copying_scores, detect_head, eigenvalue_copying_scores,
    induction_scores,
};
pub use lens::{LensOptions, LogitLens, logit_lens, logit_lens_to_logit_diff};
pub use repeated::{RepeatOptions, repeated_tokens};
pub use singular::{SingularOf, singular_vectors};
