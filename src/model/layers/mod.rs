//! The parts of a transformer, each with its hook points.

pub(super) mod alibi;
pub(super) mod attention;
pub(super) mod block;
pub(super) mod embed;
pub(super) mod frequencies;
pub(super) mod kv_cache;
pub(super) mod mixing;
pub(super) mod mlp;
pub(super) mod norm;
pub(super) mod rotary;

pub use frequencies::{LongRope, RotaryScaling};
pub use kv_cache::KvCache;
pub(crate) use norm::FinalNorm;
