//! Small words for tensors, for code that is written by hand: products named by their axes, masks, diagonals, indices from the end, and a
//! comparison that says where two tensors differ.
//!
//! candle's own methods stay what they are; here is what PyTorch users reach for and candle does not have. Everything but
//! [`assert_close`], [`TensorWords::item`] and [`TensorWords::top_k`] lets gradients through.
//!
//! Limits: [`einsum()`] multiplies from left to right, in the order of its tensors, and does not look for a cheaper order.

mod close;
mod einsum;
mod equation;
mod words;

pub use close::assert_close;
#[cfg(feature = "course")]
pub(crate) use close::{Difference, difference, place};
pub use einsum::einsum;
pub use words::TensorWords;
