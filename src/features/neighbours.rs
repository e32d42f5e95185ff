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
