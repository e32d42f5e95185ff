//! Activation patching: what happens when a run gets an activation from another run.
//!
//! Two prompts call for different answers. One of them runs with the other's activation patched in at one site; how far the
//! answer moves says how much of the difference flows through the site (Meng et al. 2022,
//! <https://arxiv.org/abs/2202.05262>; Wang et al. 2022, <https://arxiv.org/abs/2211.00593>). *Denoising* patches clean
//! activations into the corrupted run, *noising* corrupted ones into the clean run (Heimersheim and Nanda 2024,
//! <https://arxiv.org/abs/2404.15255>).
//!
//! A sweep patches many sites, one at a time, and TransformerLens runs the whole model for each. The numbers here are the same,
//! but a site costs only what it changes: its own block and later ones, its own position and later ones (in causal models), in
//! the last block the positions that are read, and the logits that the metric reads. Sites that change nothing cost nothing
//! and are marked.

mod answers;
mod cumulative;
mod engine;
mod grid;
mod heads;
mod keep;
mod named;
mod onwards;
mod path;
mod paths;
mod plans;
mod prompts;
mod result;
mod site;
mod spliced;
mod start;
mod sweep;
mod together;

pub(crate) use engine::Value;
pub(crate) use grid::Grid;
pub use path::{Mlps, Receiver, Sender};
pub(crate) use prompts::SweptPrompts;
pub use result::{PatchResult, Untouched};
pub use site::PatchSite;
