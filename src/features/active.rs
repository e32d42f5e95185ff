//! The features that are active in prompts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::slice::absolute;
use crate::visible::visible;

/// What features are ranked by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureRanking {
    /// Their activations.
    #[default]
    Activation,
    /// The gradient of this metric with respect to the activation, times the activation: to first order, what the metric loses if the
    /// feature is set to 0.
    Gradient(String),
    /// What the activation times the decoder row adds to this logit or logit difference directly, with the scale of the final norm
    /// held at its value in the run.
    DirectLogit(String),
}

impl fmt::Display for FeatureRanking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activation => f.write_str("activation"),
            Self::Gradient(metric) => write!(f, "gradient x activation, {}", visible(metric)),
            Self::DirectLogit(target) => write!(f, "direct share, {}", visible(target)),
        }
    }
}

/// A feature that is active at a position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveFeature {
    /// The name of its dictionary.
    pub dictionary: String,
    /// Which prompt.
    pub prompt: usize,
    /// Which position.
    pub position: usize,
    /// The token there.
    pub token: String,
    /// The feature.
    pub feature: usize,
    /// Its activation.
    pub activation: f32,
    /// Its share in what features are ranked by, of either sign; the activation where that is what they are ranked by.
    pub share: f32,
}

impl fmt::Display for ActiveFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, name) = (visible(&self.token), visible(&self.dictionary));
        write!(f, "{name} {} at {} ({token}): {:.3}", self.feature, self.position, self.activation)?;
        if self.share == self.activation { Ok(()) } else { write!(f, ", share {:+.3}", self.share) }
    }
}

/// The features that are active in prompts, ranked by the absolute value of their shares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveFeatures {
    /// What they are ranked by.
    pub ranked_by: FeatureRanking,
    /// The names of the dictionaries.
    pub dictionaries: Vec<String>,
    /// The tokens of each prompt, padding included.
    pub prompts: Vec<Vec<String>>,
    /// Whether the BOS of each prompt was left out; padding always is.
    pub without_bos: bool,
    /// Every feature that is active, at each position: the largest share first.
    pub features: Vec<ActiveFeature>,
}

impl ActiveFeatures {
    /// Puts the largest shares first.
    pub(super) fn ranked(mut self) -> Self {
        // The sort is stable: features of the same share stay in the order of dictionaries, prompts, positions and features.
        self.features.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
        self
    }

    /// The `k` largest.
    pub fn top(&self, k: usize) -> Self {
        Self { features: self.features.iter().take(k).cloned().collect(), ..self.clone() }
    }

    /// Those at a position of every prompt; negative counts from the end.
    ///
    /// # Errors
    /// A position that does not exist.
    pub fn at(&self, position: isize) -> Result<Self> {
        let longest = self.prompts.iter().map(Vec::len).max().unwrap_or(0);
        let position = absolute(position, longest, "position")?;
        Ok(self.only(|active| active.position == position))
    }

    /// Those of a prompt.
    ///
    /// # Errors
    /// A prompt that does not exist.
    pub fn prompt(&self, prompt: usize) -> Result<Self> {
        let prompt = absolute(crate::slice::forward(prompt), self.prompts.len(), "prompt")?;
        Ok(self.only(|active| active.prompt == prompt))
    }

    /// Those of a dictionary, by its name.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not among the dictionaries.
    pub fn of(&self, dictionary: &str) -> Result<Self> {
        if !self.dictionaries.iter().any(|name| name == dictionary) {
            return Err(Error::argument(format!(
                "there is no dictionary \"{}\" among these features: they are of {:?}.",
                visible(dictionary),
                self.dictionaries.iter().map(|name| visible(name)).collect::<Vec<_>>()
            )));
        }
        Ok(self.only(|active| active.dictionary == dictionary))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    fn only(&self, chosen: impl Fn(&ActiveFeature) -> bool) -> Self {
        Self { features: self.features.iter().filter(|active| chosen(active)).cloned().collect(), ..self.clone() }
    }
}

impl fmt::Display for ActiveFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let bos = if self.without_bos { ", BOS left out" } else { "" };
        write!(f, "{} active features, by {}{bos}", self.len(), self.ranked_by)?;
        for active in self.features.iter().take(SHOWN) {
            write!(f, "\n{active}")?;
        }
        if self.len() > SHOWN { write!(f, "\n… {} more", self.len() - SHOWN) } else { Ok(()) }
    }
}
