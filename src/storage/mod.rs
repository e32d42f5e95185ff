//! Tensor files and where they come from: safetensors, PyTorch checkpoints, NumPy arrays, GGUF, the Hugging Face hub, and
//! the files embedded in this binary. This module knows nothing about models: it provides named tensors with a shape and a
//! dtype, whose numbers are read on demand.

mod embedded;
pub(crate) mod gguf;
mod hub;
mod npy_header;
mod npz;
mod place;
mod safetensors;
mod saved;
mod stored;
mod tensors;
mod torch;

pub(crate) use embedded::{Embedded, TINY};
pub(crate) use gguf::GgufMetadata;
pub use hub::Hub;
pub(crate) use hub::{MAIN, Repo, Wanted, hub_name, some_of};
pub(crate) use place::{Place, checkpoint, is_gguf};
pub(crate) use safetensors::part;
pub(crate) use saved::{restore, store, take};
pub(crate) use stored::{Named, Outcome, Stored};
pub use tensors::Tensors;
pub(crate) use torch::{TorchDict, TorchFile};
