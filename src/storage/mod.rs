//! Files of tensors and where they come from: safetensors, PyTorch's checkpoints, NumPy's arrays, the Hugging Face hub, the files in this
//! binary. This room knows no model: it gives out named tensors with a shape and a dtype, whose numbers are read when they
//! are wanted.

mod hub;
mod npy_header;
mod npz;
mod place;
mod safetensors;
mod saved;
mod stored;
mod tensors;
pub(crate) mod tiny;
mod torch;

pub use hub::Hub;
pub(crate) use hub::{MAIN, Repo};
pub(crate) use place::{Place, open};
pub(crate) use safetensors::part;
pub(crate) use saved::{restore, store, take};
pub(crate) use stored::{Named, Outcome, Stored};
pub use tensors::Tensors;
pub(crate) use torch::{TorchDict, TorchFile};
