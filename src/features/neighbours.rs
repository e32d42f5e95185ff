//! Features whose directions resemble that of a feature.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::visible::visible;

/// A feature with the cosine of its decoder row with that of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The name of its dictionary.
    pub dictionary: String,
    /// The feature.
    pub feature: usize,
    /// The cosine of the two decoder rows.
    pub cosine: f32,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {:+.3}", self.feature, visible(&self.dictionary), self.cosine)
    }
}

/// The features whose decoder rows are nearest to that of one feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbours {
    /// The name of the dictionary.
    pub dictionary: String,
    /// The feature.
    pub feature: usize,
    /// Its neighbours, the one with the largest cosine first; the feature itself is not among them.
    pub nearest: Vec<Neighbour>,
}

impl fmt::Display for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "neighbours of feature {} of {}", self.feature, visible(&self.dictionary))?;
        for neighbour in &self.nearest {
            write!(f, "\n{neighbour}")?;
        }
        Ok(())
    }
}

/// Which directions of two dictionaries are compared, both in the residual stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureDirections {
    /// What both write.
    #[default]
    Decoders,
    /// What both read.
    Encoders,
    /// What the first writes and the second reads.
    DecoderToEncoder,
}

impl fmt::Display for FeatureDirections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decoders => "decoders",
            Self::Encoders => "encoders",
            Self::DecoderToEncoder => "decoders with encoders",
        })
    }
}

/// A feature of one dictionary and the one of another that is nearest to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SharedFeature {
    /// The feature.
    pub feature: usize,
    /// The feature of the other dictionary.
    pub other: usize,
    /// The cosine of their directions.
    pub cosine: f32,
}

impl fmt::Display for SharedFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}: {:+.3}", self.feature, self.other, self.cosine)
    }
}

/// For each feature of one dictionary the nearest one of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SharedFeatures {
    /// The name of the dictionary.
    pub dictionary: String,
    /// The name of the other one.
    pub with: String,
    /// Which directions were compared.
    pub by: FeatureDirections,
    /// One for each feature of the first, in their order.
    pub features: Vec<SharedFeature>,
}

impl SharedFeatures {
    /// The mean of the cosines.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.features.iter().map(|shared| f64::from(shared.cosine)).sum();
        sum / self.features.len().max(1) as f64
    }

    /// The `k` pairs with the largest cosines, the largest first.
    pub fn top(&self, k: usize) -> Vec<SharedFeature> {
        let mut all = self.features.clone();
        all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        all.truncate(k);
        all
    }

    /// How many features have a counterpart with at least this cosine.
    pub fn above(&self, cosine: f32) -> usize {
        self.features.iter().filter(|shared| shared.cosine >= cosine).count()
    }
}

impl fmt::Display for SharedFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let (first, second) = (visible(&self.dictionary), visible(&self.with));
        write!(f, "features of {first} and {second}, {}: mean largest cosine {:.3}", self.by, self.mean())?;
        write!(f, ", {} of {} above 0.9", self.above(0.9), self.features.len())?;
        self.top(SHOWN).iter().try_for_each(|shared| write!(f, "\n{shared}"))
    }
}
