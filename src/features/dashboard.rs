//! All that there is to see of one feature.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::examples::{FeatureExample, FeatureTexts};
use super::neighbours::Neighbours;
use super::token_values::{FeatureLogits, FeatureReads};
use crate::visible::visible;

/// All that there is to see of one feature: the texts in which it is active, its histogram, what it writes and reads, the features
/// that resemble it, and where it is active in the current prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureDashboard {
    /// The name of the dictionary.
    pub dictionary: String,
    /// What kind of dictionary it is, such as `jumprelu`.
    pub architecture: String,
    /// The feature.
    pub feature: usize,
    /// How many features the dictionary has.
    pub d_sae: usize,
    /// The point that the dictionary reads.
    pub reads_at: String,
    /// The point that it writes.
    pub writes_at: String,
    /// The texts in which it is active, and its histogram.
    pub texts: FeatureTexts,
    /// How many texts were read.
    pub n_texts: usize,
    /// Whether the BOS of each text was left out.
    pub without_bos: bool,
    /// The logits that it adds.
    pub logits: FeatureLogits,
    /// The tokens whose embeddings it reads; none where it reads something that is not the residual stream.
    pub reads: Option<FeatureReads>,
    /// The features that resemble it.
    pub neighbours: Neighbours,
    /// Each current prompt, whole, with the activation at each token; a BOS that is left out has none.
    pub prompts: Vec<FeatureExample>,
    /// The share of each head in the feature's decoder row, `|W_dec[f, h]|` over the sum of all heads; empty where the dictionary
    /// does not write `hook_z`.
    pub heads: Vec<f32>,
    /// Where neuronpedia.org has the feature, as a text to copy.
    pub neuronpedia: Option<String>,
}

impl fmt::Display for FeatureDashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = visible(&self.dictionary);
        write!(f, "feature {} of {name} ({}, {} features)", self.feature, self.architecture, self.d_sae)?;
        write!(f, "\nreads {}, writes {}", visible(&self.reads_at), visible(&self.writes_at))?;
        write!(f, "\n\n{} texts: {}", self.n_texts, self.texts)?;
        for prompt in &self.prompts {
            write!(f, "\n\nthis prompt: {prompt}")?;
        }
        write!(f, "\n\n{}", self.logits)?;
        if let Some(reads) = &self.reads {
            write!(f, "\n\n{reads}")?;
        }
        if !self.heads.is_empty() {
            let heads = self.heads.iter().enumerate().map(|(head, share)| format!("H{head} {:.0} %", 100.0 * share));
            write!(f, "\n\nheads: {}", heads.collect::<Vec<_>>().join(", "))?;
        }
        write!(f, "\n\n{}", self.neighbours)?;
        match &self.neuronpedia {
            Some(address) => write!(f, "\n\nneuronpedia: {}", visible(address)),
            None => Ok(()),
        }
    }
}
