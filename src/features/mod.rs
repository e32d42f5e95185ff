//! What a dictionary is worth, and what its features mean.
//!
//! Reading a feature: the texts in which it is most active and its histogram ([`FeatureExamples`]), the logits that it adds and
//! the tokens that it reads ([`FeatureLogits`], [`FeatureReads`]), the features that resemble it ([`Neighbours`], [`SharedFeatures`]),
//! and all of this on one page ([`FeatureDashboard`]). Reading a prompt: the features that are active in it, ranked by their
//! activations or by their share in a metric ([`ActiveFeatures`], [`FeatureAttribution`]). Evaluating a dictionary:
//! [`DictionaryScores`].
//!
//! A feature of which there are pictures of texts is not yet understood: its largest activations are a small part of all, so
//! look at the examples drawn at random and at the histogram as well (Bricken et al. 2023, "Towards Monosemanticity").

mod active;
mod dashboard;
mod direct;
mod directions;
mod examples;
mod histogram;
mod lens;
mod neighbours;
mod read_prompts;
mod read_texts;
mod reading;
mod score;
mod similar;
mod token_values;

pub use active::{ActiveFeature, ActiveFeatures, FeatureRanking};
pub use dashboard::FeatureDashboard;
pub use direct::FeatureAttribution;
pub use examples::{FeatureExample, FeatureExamples, FeatureTexts};
pub use histogram::FeatureHistogram;
pub use neighbours::{FeatureDirections, Neighbour, Neighbours, SharedFeature, SharedFeatures};
pub use read_texts::ExampleOptions;
pub use score::{CardCheck, DictionaryScore, DictionaryScores, ScoreOptions, SplicedScore};
pub use token_values::{FeatureLogits, FeatureReads, TokenValue};
