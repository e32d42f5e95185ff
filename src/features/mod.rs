//! What a dictionary is worth, and what its features mean.
//!
//! Reading a feature: the texts in which it is most active and its histogram ([`FeatureExamples`]), the logits that it adds and
//! the tokens that it reads ([`FeatureLogits`], [`FeatureReads`]), the features that resemble it ([`Neighbours`], [`SharedFeatures`]),
//! and all of this on one page ([`FeatureDashboard`]). Reading a prompt: the features that are active in it, ranked by their
//! activations or by their share in a metric ([`ActiveFeatures`], [`FeatureAttribution`]). Evaluating a dictionary:
//! [`DictionaryScores`].
//!
//! The top texts alone do not explain a feature: its largest activations are a small part of all, so look at the examples drawn
//! at random and at the histogram as well (Bricken et al. 2023, "Towards Monosemanticity").
//!
//! # Figures of a dictionary
//!
//! Over positions `p` of all texts, with `y` the activation, `yhat` what the dictionary makes of its input, and `f` its features:
//!
//! - unexplained variance `FVU = sum_p |y - yhat|^2 / sum_p |y - mean y|^2`, explained variance `1 - FVU`. This is the share of
//!   the total variance, each position weighted by how far it is from the mean. SAELens took the mean over positions of
//!   `1 - |y - yhat|^2 / |y - mean y|^2` before its pull request 443 (`explained_variance_legacy` since), where a position close to
//!   the mean counts as much as all others: figures of the two formulas cannot be compared;
//! - MSE: the mean of `|y - yhat|^2`, summed over the width, as in SAELens;
//! - cosine: the mean of `y yhat / |y| |yhat|`; norm ratio: the mean of `|yhat| / |y|`;
//! - L0, L1: the mean number of features with `f != 0`, the mean of `sum |f|`;
//! - firing: the share of positions at which a feature is active. Dead is one that never is, dense one that is at more than a tenth;
//! - CE score `(CE_zero - CE_spliced) / (CE_zero - CE_clean)` with the cross-entropy of the next token in the clean run, with the
//!   dictionary spliced in without an error term, and with zeros in place of the activation; the last also with its mean;
//! - KL: the mean over positions of `sum_v p_clean ln(p_clean / p_spliced)`; same top-1: how often both runs hold the same token
//!   for the likeliest.
//!
//! **A BOS is left out** unless [`ScoreOptions`] says otherwise: its position is neither counted nor replaced in any run (it is
//! the first token of a text, as in [`AtBos`](crate::dictionaries::AtBos)). The residual stream there is many times larger than
//! elsewhere, and dictionaries are trained without it; with it, explained variance is mostly that of the BOS. Padding never
//! counts. SAELens with `exclude_special_tokens` leaves out special tokens inside texts as well, and its ablated runs ablate what
//! is left out too, so that its CE of zero ablation, and with it its CE score, is another. With the BOS counted, all figures are
//! the same but the relative reconstruction bias, of which SAELens takes the mean over batches.
//!
//! A transcoder is compared with what the MLP wrote at the point it writes. The layers of a cross-layer transcoder stand for
//! their MLPs together: each layer is compared with the sum of what those before it and itself write there, and only the set is spliced.
//!
//! Sums are kept in f64 and nothing else, a batch of texts at a time. References: SAELens `evals.py` 6.54; Rajamanoharan et al. 2024
//! (arXiv 2404.16014, equation 10: relative reconstruction bias); Gao et al. 2024 (2406.04093).

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
