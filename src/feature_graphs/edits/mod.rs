//! Interventions on features: what a model does when some are ablated, set, scaled, added or removed behind their layer; and how
//! well a graph predicts it.
//!
//! Dictionaries are spliced in with their error terms, so that a run without edits has the model's own logits. With `a` the
//! activation of a feature in this very run and `d` what one unit of it writes into the residual stream, an edit of its value replaces
//! `a` by `m a + c` (ablated: 0; set: c; scaled: m a) where the dictionary decodes it, a direction adds `scale d` at a hook
//! point, and a subtraction removes `a d` at a later one, so that only what comes behind that point misses the feature. Behind the
//! edits the model is free, or held as linear graphs hold it ([`EditMode`]).
//!
//! A linear graph predicts the change of a target by `sum over s of (edge(s, t) / a_s) da_s`: exactly what a held run does. In a free
//! run the features between move too, which the graph follows along all paths, `(I - A)^-1`, with patterns, norms and errors held
//! and no feature turning on or off; a comparison says how much that misses.
//!
//! Limits: dictionaries of `hook_mlp_out` and `hook_z`; features, not errors or tokens, are edited.
//!
//! References: circuit-tracer 0.5 (`feature_intervention`); Marks et al. 2024 (arXiv 2403.19647) for ablations of features;
//! Ameisen et al. 2025 for held runs.

mod acts;
mod attention;
mod chained;
mod changes;
mod compare;
mod direction;
mod list;
mod options;
mod places;
mod predict;
mod run;
mod subtract;

pub use chained::ChainedTest;
pub use changes::FeatureEditRun;
pub use list::FeatureEdits;
pub use options::{EditMode, FeatureEditOptions};
pub use predict::GraphChange;
