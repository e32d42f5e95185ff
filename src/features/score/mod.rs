//! How well dictionaries stand in for the activations that they read or predict: how much of the variance they explain, with
//! how many features, and what the model still does when it runs on what they write.
//!
//! Over positions `p` of all texts, with `y` the activation, `yhat` what the dictionary makes of its input, and `f` its features:
//!
//! - unexplained variance `FVU = sum_p |y - yhat|^2 / sum_p |y - mean y|^2`, explained variance `1 - FVU`. This is the share of
//!   the total variance, each position weighted by how far it is from the mean. SAELens took the mean over positions of
//!   `1 - |y - yhat|^2 / |y - mean y|^2` before version 6 (`explained_variance_legacy` since, pull request 443), where a position close to
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

mod batches;
mod card;
mod evaluate;
mod result;
mod runs;
mod stand_in;
mod sums;

pub(super) use batches::{Batch, batches, left_alone};
pub use card::CardCheck;
pub use evaluate::ScoreOptions;
pub use result::{DictionaryScore, DictionaryScores, SplicedScore};
