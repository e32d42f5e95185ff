//! Files that `torch.save` wrote, of which nothing is run: the pickle, the archive around it, the dictionaries in it.

mod archive;
mod dict;
mod pickle;

pub(super) use archive::tensors;
pub(crate) use dict::{TorchDict, TorchFile};
