//! Linear probes: whether a label or a number can be read off an activation, and along which direction.
//!
//! | what | in it |
//! |---|---|
//! | [`Probe`] | one fit: difference of means, logistic, k-sparse, ridge; its direction, its scores on other examples |
//! | [`ProbeSplit`] | which examples are fitted and which are held out: stratified, or whole groups |
//! | [`ProbeStudy`] | a probe with its scores on held-out examples, and both controls |
//! | [`ProbeSweep`] | a study at each of several points and positions ([`probe_sweep`](crate::model::HookedTransformer::probe_sweep)) |
//!
//! The two controls are always computed. *Shuffled labels*: the same fit to training labels in another order says what the method reads off
//! these examples where there is nothing to read. *Random coordinates*: for a sparse probe as many coordinates drawn at random, for the others,
//! which use all of them, one random direction; they say what any place would have done.
//!
//! References: Alain and Bengio 2016 (arXiv 1610.01644), Hewitt and Liang 2019 (1909.03368), Belinkov 2022 (2102.12452), Gurnee et al. 2023
//! (2305.01610), Marks and Tegmark 2023 (2310.06824).
//!
//! Limits: that something can be read off an activation does not show that the model reads it: ablate, steer or interchange along the
//! direction. Inputs are not standardised, so a penalty weighs on small axes more than on large ones. Two kinds of labels, not more.

mod examples;
mod fit;
mod method;
mod newton;
mod probe;
mod score;
mod split;
mod study;
mod sweep;
mod target;

pub(crate) use fit::largest_mean_differences;
pub use method::ProbeMethod;
pub use probe::Probe;
pub use score::ProbeScore;
pub use split::ProbeSplit;
pub use study::{ProbeOptions, ProbeStudy};
pub use sweep::ProbeSweep;
pub use target::ProbeTarget;
