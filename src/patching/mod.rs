//! Activation patching: what happens when a run gets an activation of another run.
//!
//! Two prompts differ in what should be answered. One runs as it is, and at one site of it the other's activation is put
//! in; how far the answer moves says how much of the difference passes through the site (Meng et al. 2022,
//! <https://arxiv.org/abs/2202.05262>; Wang et al. 2022, <https://arxiv.org/abs/2211.00593>). *Denoising* puts clean
//! activations into the corrupted run, *noising* corrupted ones into the clean run (Heimersheim and Nanda 2024,
//! <https://arxiv.org/abs/2404.15255>).
//!
//! A sweep asks this of many sites, and TransformerLens runs the whole model for each. Here the numbers are the same, but
//! a site costs only what it changes: blocks from its own on, positions from its own on (in causal models), of the last
//! block the position that is read, and of the logits those that the metric reads. Sites that change nothing cost nothing
//! and are marked.

mod answers;
mod cumulative;
mod engine;
mod grid;
mod heads;
mod keep;
mod named;
mod path;
mod plans;
mod result;
mod site;
mod spliced;
mod start;
mod sweep;
mod together;

pub(crate) use grid::{Grid, position_labels};
pub use path::{Mlps, Receiver, Sender};
pub use result::{PatchResult, Untouched};
pub use site::PatchSite;
