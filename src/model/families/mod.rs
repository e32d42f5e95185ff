//! One file per family: config keys to our config, tensor names to our weights. A key that changes the computation
//! and is not understood is refused.

pub(super) mod gpt2;
pub(super) mod transformer_lens;
