//! Interchange interventions: a run whose activation is, within a subspace, that of another prompt.
//!
//! `h' = h_base + s (h_source - h_base) B B^T`, with `B [width, rank]` orthonormal. If the model then answers what a causal model of the task
//! predicts for the base with one variable taken from the source, the subspace carries that variable there (Geiger et al. 2021, arXiv
//! 2106.02997). `B` is given ([`Subspace`]), or found from pairs of prompts ([`AlignBy`]): the differences of means, a probe, or the basis with
//! which the interchange answers best, learnt by distributed alignment search (DAS; Geiger et al. 2024, 2303.02536).
//!
//! | what | in it |
//! |---|---|
//! | [`Subspace`] | an orthonormal basis: random, means, a probe, neurons, directions |
//! | [`Interchange`] | pairs of a base and a source with the counterfactual answer; accuracies of a subspace |
//! | [`InterchangeStudy`] | a subspace found on some pairs, its accuracy on others, and three controls |
//!
//! The controls: a random subspace in which each base is moved *as far*; *arbitrary labels*, the same search for labels that are a hash of the
//! source; an *untrained* model, the same search in a copy with new random weights. DAS fits arbitrary labels and finds effects in random
//! models (Arora et al. 2024, 2402.12560), so an accuracy says something as far as it is above those of its controls.
//!
//! Limits: that an interchange has an effect does not show that the model reads this subspace and no other; a direction that is not used can
//! wake a path that was asleep (Makelov et al. 2023, 2311.17030). The variable and the pairs are the user's: where two variables always change
//! together, a subspace of either is found for both.

mod align;
mod das;
mod options;
mod orthonormal;
mod pairs;
mod place;
mod score;
mod study;
mod subspace;
mod sweep;

pub use options::{AlignBy, DasOptions, InterchangeOptions};
pub use pairs::Interchange;
pub use score::InterchangeScore;
pub use study::{FittedAndHeldOut, InterchangeStudy};
pub use subspace::Subspace;
pub use sweep::InterchangeSweep;
