//! Why a head attends where it does: its score of one query and one key, split by what writes at their positions.
//!
//! A score is `q . k / scale`. With the scales of norms held, `q` is affine in the residual stream at the query's position and `k` in
//! that at the key's, so that the score is the sum, over the sources at one position and those at the other, of
//! `(R_q W_Q^T a) . (R_k W_K^T b) / scale`, with the biases as sources of their own. R turns a vector to its position, where a model
//! does that. **The table sums to the score.**
//!
//! Sources are what is written at the position itself by the layers before: a feature of another position that attention has moved
//! there is a part of what attention writes (a feature of `hook_z`). A skip connection of a transcoder is not a source: what it reads is.
//!
//! Limits: one score of one prompt. A score says nothing alone, because softmax only sees differences between keys: compare keys. A
//! soft cap (Gemma 2) and what ALiBi takes off for the distance come after the score that is explained.
//!
//! References: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", for the bilinear form; the split by features
//! is what "QK attributions" are in Kamath et al. 2025, "Tracing Attention Computation Through Feature Interactions".

mod attribution;
mod run;
mod side;

pub use attribution::ScoreAttribution;
