//! The hooked transformer: config, layers, forward pass, weights, and how they are loaded and processed.

mod attention;
mod block;
mod circuits;
mod config;
mod config_file;
mod device;
mod embed;
mod families;
mod files;
mod forward;
mod frozen;
mod head_inputs;
mod hub;
mod init;
mod kv_cache;
mod level;
mod load;
mod loss;
mod mlp;
mod norm;
pub mod ops;
mod options;
mod pickle;
mod pretrained;
mod process;
mod provenance;
mod refactor;
mod rotary;
mod save;
mod stored;
mod suffix;
mod tensor_file;
mod tensor_names;
mod tiny;
mod torch;
mod torch_dict;
mod transformer;
mod tree;
mod weights;

pub use circuits::{Biases, Composition};
pub use config::{
    Activation, AttentionDir, AttentionType, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType,
    RotaryScaling,
};
pub use device::best_device;
pub use forward::{Loss, Run, RunOptions};
pub use frozen::Frozen;
pub use hub::Hub;
pub use kv_cache::KvCache;
pub(crate) use norm::FinalNorm;
pub use options::{CheckpointOptions, LoadOptions};
pub use process::Processing;
pub use provenance::ModelProvenance;
pub use rotary::LongRope;
pub(crate) use suffix::Suffix;
pub(crate) use torch_dict::{TorchDict, TorchFile};
pub use transformer::HookedTransformer;
