//! Graphs as circuits: how much of what the model does is left when everything outside a set of features and errors is replaced.
//!
//! Dictionaries of attention outputs (`hook_z`) and MLPs are spliced into the model, and each writes, at prompt b and position p,
//!
//! `y = sum over features in the circuit of f d_f + sum over all others of b_f d_f + b_dec + e`,
//!
//! where `f` is the activation in this very run and `b_f` the baseline's: 0, a mean, that of the corrupted run. An error `e` of the
//! circuit is computed on the activations of the run (`y_model(x) - recon(x)`, without the replacements); one outside is what
//! [`ErrorsOutside`] says. With everything in the circuit the run is the clean one.
//!
//! Faithfulness is `(circuit - empty) / (clean - empty)` of the metric's means over prompts, where `empty` is the run with nothing
//! in the circuit: with corrupted prompts, a dictionary for every attention and MLP and errors replaced it is the corrupted run
//! itself, wherever the metric reads tokens that both prompts share. Completeness and minimality are as of circuits of edges.
//!
//! # Limits
//! Embeddings, biases, attention patterns, and attention and MLPs without a dictionary are never replaced: they are computed from what
//! the run has. A node is in a circuit at its position, for one prompt or for all. The BOS is left alone, as in graphs.
//!
//! References: Marks et al. 2024, "Sparse Feature Circuits" (arXiv 2403.19647), section 3; Wang et al. 2022 (arXiv 2211.00593),
//! section 4; the LEAP repository's `get_metric_with_ablation`.

mod count;
mod place;
mod prepare;
mod ranking;
mod results;
mod run;
mod set;

pub use prepare::{ErrorsOutside, FeatureCircuits};
pub use ranking::NodeRanking;
pub use set::FeatureCircuit;
