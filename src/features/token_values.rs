//! A number for each token of the vocabulary, of which the largest and the smallest are kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::visible::visible;

/// A token with its number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenValue {
    /// The id.
    pub token: u32,
    /// Its text, or its id if the model has no tokenizer.
    pub text: String,
    /// The number.
    pub value: f32,
}

impl fmt::Display for TokenValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:+.3}", visible(&self.text), self.value)
    }
}

/// The logits that a feature adds by itself, for each unit of its activation: the logit lens of its decoder row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureLogits {
    /// The name of the dictionary.
    pub dictionary: String,
    /// The feature.
    pub feature: usize,
    /// The tokens whose logits it raises most, the largest first.
    pub top: Vec<TokenValue>,
    /// The tokens whose logits it lowers most, the smallest first.
    pub bottom: Vec<TokenValue>,
    /// The mean over the vocabulary, which changes no prediction.
    pub mean: f64,
    /// The standard deviation over the vocabulary.
    pub std: f64,
    /// The third standardised moment over the vocabulary: positive where few tokens are raised much.
    pub skew: f64,
    /// The fourth standardised moment over the vocabulary, 3 for a normal distribution: large where the feature writes for few
    /// tokens.
    pub kurtosis: f64,
}

/// What a feature reads of each token's embedding: its pre-activation if the residual stream held nothing else, without biases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureReads {
    /// The name of the dictionary.
    pub dictionary: String,
    /// The feature.
    pub feature: usize,
    /// The tokens that activate it most, the largest first.
    pub top: Vec<TokenValue>,
    /// The tokens that activate it least, the smallest first.
    pub bottom: Vec<TokenValue>,
}

fn list(f: &mut fmt::Formatter<'_>, name: &str, tokens: &[TokenValue]) -> fmt::Result {
    let tokens: Vec<String> = tokens.iter().map(TokenValue::to_string).collect();
    write!(f, "\n{name}: {}", tokens.join(", "))
}

impl fmt::Display for FeatureLogits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logits that feature {} of {} adds", self.feature, visible(&self.dictionary))?;
        write!(f, " (std {:.3}, skew {:.2}, kurtosis {:.1})", self.std, self.skew, self.kurtosis)?;
        list(f, "raises", &self.top)?;
        list(f, "lowers", &self.bottom)
    }
}

impl fmt::Display for FeatureReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what feature {} of {} reads of embeddings", self.feature, visible(&self.dictionary))?;
        list(f, "most", &self.top)?;
        list(f, "least", &self.bottom)
    }
}
