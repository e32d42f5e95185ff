//! Analyses: one method a file, each with its formula and source.

mod direct;
mod heads;
mod repeated;
mod singular;
mod sink;

pub use direct::{RunOrInput, Unit, direct_logit_attribution, residual_stack_to_logit_diff};
pub(crate) use direct::{check_count, last_positions};
pub use heads::{
    DetectOptions, DetectionPattern, ErrorMeasure, copying_scores, detect_head, eigenvalue_copying_scores,
    induction_scores,
};
pub use repeated::{RepeatOptions, repeated_tokens};
pub use singular::{SingularOf, singular_vectors};
pub use sink::sink_mass;
