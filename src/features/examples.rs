//! Texts in which a feature is active.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::histogram::FeatureHistogram;
use crate::error::{Error, Result};
use crate::visible::visible;

/// An excerpt of a text, with the activation of one feature at each of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureExample {
    /// Which text it is from, counted from 0.
    pub text: usize,
    /// The position in the text, padding not counted, at which the feature is most active.
    pub position: usize,
    /// The activation there; the largest by absolute value where activations can be negative.
    pub activation: f32,
    /// The position in the text of the first token that is shown.
    pub start: usize,
    /// The tokens that are shown.
    pub pieces: Vec<String>,
    /// The activation at each of them.
    pub activations: Vec<f32>,
}

impl FeatureExample {
    /// The index, among the tokens that are shown, of that at which the feature is most active.
    pub fn peak(&self) -> usize {
        self.position.saturating_sub(self.start)
    }

    /// The text, with the token at which the feature is most active in double angle quotes.
    fn marked(&self) -> String {
        let marked = |(at, piece): (usize, &String)| match at == self.peak() {
            true => format!("«{}»", visible(piece)),
            false => visible(piece),
        };
        self.pieces.iter().enumerate().map(marked).collect()
    }
}

impl fmt::Display for FeatureExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}  {}", self.activation, self.marked())
    }
}

/// The texts in which one feature is active, and its histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureTexts {
    /// The feature.
    pub feature: usize,
    /// The texts in which it is most active, the most active first; each text once.
    pub top: Vec<FeatureExample>,
    /// Texts drawn at random from all in which it is active, the most active first. [`FeatureTexts::quantiles`] divides them.
    pub random: Vec<FeatureExample>,
    /// How often it is active, and how much.
    pub histogram: FeatureHistogram,
}

impl FeatureTexts {
    /// The texts that were drawn at random in at most `n` groups of the same size, from the most to the least active: examples of each
    /// quantile of what activates the feature. The first groups have one more where the number is not
    /// divisible. There are no more groups than texts, and so none for a feature that is never active.
    ///
    /// # Errors
    /// [`Error::Argument`] for no groups.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let example = |activation| FeatureExample { activation, ..Default::default() };
    /// let texts = FeatureTexts { random: [9.0, 5.0, 4.0, 1.0, 0.5].map(example).to_vec(), ..Default::default() };
    /// let sizes: Vec<usize> = texts.quantiles(2)?.iter().map(Vec::len).collect();
    /// assert_eq!(sizes, [3, 2]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn quantiles(&self, n: usize) -> Result<Vec<Vec<FeatureExample>>> {
        if n == 0 {
            return Err(Error::argument("examples cannot be divided into 0 groups: give at least 1."));
        }
        let (size, longer) = (self.random.len() / n, self.random.len() % n);
        let mut rest = &self.random[..];
        let mut group = |at: usize| {
            let (group, after) = rest.split_at(size + usize::from(at < longer));
            rest = after;
            group.to_vec()
        };
        Ok((0..n.min(self.random.len())).map(&mut group).collect())
    }
}

impl fmt::Display for FeatureTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature {}: {}", self.feature, self.histogram.summary())?;
        for example in &self.top {
            write!(f, "\n{example}")?;
        }
        Ok(())
    }
}

/// The texts in which features of one dictionary are active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureExamples {
    /// The name of the dictionary.
    pub dictionary: String,
    /// How many texts were read.
    pub texts: usize,
    /// How many positions were read; padding is never among them.
    pub positions: u64,
    /// Whether the BOS of each text was left out.
    pub without_bos: bool,
    /// One entry for each feature that was asked for, in that order.
    pub features: Vec<FeatureTexts>,
}

impl FeatureExamples {
    /// The texts in which one feature is active.
    ///
    /// # Errors
    /// [`Error::Argument`] for a feature that was not asked for.
    pub fn of(&self, feature: usize) -> Result<FeatureTexts> {
        let found = self.features.iter().find(|texts| texts.feature == feature);
        found.cloned().ok_or_else(|| {
            Error::argument(format!(
                "there are no examples of feature {feature} of \"{}\": texts were read for {} other features, so ask for it \
                 when the texts are read.",
                visible(&self.dictionary),
                self.features.len()
            ))
        })
    }
}

impl fmt::Display for FeatureExamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let bos = if self.without_bos { ", BOS left out" } else { "" };
        let (name, features) = (visible(&self.dictionary), self.features.len());
        write!(f, "{features} features of {name} in {} texts, {} positions{bos}", self.texts, self.positions)?;
        for texts in self.features.iter().take(SHOWN) {
            write!(f, "\n{}: {}", texts.feature, texts.histogram.summary())?;
            if let Some(example) = texts.top.first() {
                write!(f, "\n  {example}")?;
            }
        }
        if features > SHOWN { write!(f, "\n… {} more features", features - SHOWN) } else { Ok(()) }
    }
}
