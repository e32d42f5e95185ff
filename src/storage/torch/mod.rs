//! Files that `torch.save` wrote: the pickle, the archive around it, and the dictionaries in it. Nothing in them is
//! run.

mod archive;
mod dict;
mod pickle;

pub(super) use archive::tensors;
pub(crate) use dict::{TorchDict, TorchFile};
