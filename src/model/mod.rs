//! The hooked transformer: config, layers, forward pass, weights, and how they are loaded and processed.

mod attention;
mod block;
mod config;
mod embed;
mod families;
mod forward;
mod hub;
mod init;
mod load;
mod loss;
mod mlp;
mod norm;
pub mod ops;
mod process;
mod refactor;
mod rotary;
mod tiny;
mod transformer;
mod weights;

pub use config::{
    Activation, AttentionDir, AttentionType, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType,
    RotaryScaling,
};
pub use forward::{Loss, Run, RunOptions};
pub(crate) use norm::FinalNorm;
pub use process::Processing;
pub use transformer::HookedTransformer;
