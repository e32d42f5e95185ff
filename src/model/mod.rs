//! The hooked transformer: config, weights, layers, forward pass; `load` makes one from files and writes it back.

mod config;
mod device;
mod forward;
mod frozen;
mod head_inputs;
mod kinds;
mod layers;
mod level;
mod load;
mod loss;
mod matrix;
pub mod ops;
mod parts;
mod qk_ov;
mod spliced;
mod state_dict;
mod suffix;
mod transformer;
mod tree;
mod visit;
mod weights;

pub use config::{
    ActFn, AttentionDir, AttentionType, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType, QkNormType,
};
pub use device::best_device;
pub use forward::{Loss, Run, RunOptions};
pub use frozen::{Frozen, RELP};
pub(crate) use layers::FinalNorm;
pub use layers::{KvCache, LongRope, RotaryScaling};
pub use load::{CheckpointOptions, LoadOptions, ModelProvenance, Processing};
pub use loss::log_probs_of;
pub use qk_ov::{Biases, Composition};
pub(crate) use suffix::Suffix;
pub use transformer::HookedTransformer;
