//! Dictionaries as functions take them: read already, or those of a set, of which each is read when its turn comes.

use super::dictionary::Dictionary;
use super::expects::Expects;
use super::set::DictionarySet;
use crate::error::Result;

/// One or several dictionaries, built by `into()` from a dictionary, or an array, slice or vector of them, or from a
/// [`DictionarySet`]. Those of a set are read one by one: an [attribution graph](crate::feature_graphs) has one of them in memory at a
/// time.
///
/// ```
/// use candle_lens::prelude::*;
/// let set = DictionarySet::open("tiny")?.transcoders()?;
/// let dictionaries = Dictionaries::from(&set);
/// assert_eq!(dictionaries.names(), set.names());
/// assert_eq!(dictionaries.to_vec()?[2].name(), set.get("mlp2")?.name());
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dictionaries(Vec<Given>);

/// A dictionary, or where it is.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    Read(Dictionary),
    InSet {
        set: DictionarySet,
        /// Its name there.
        name: String,
    },
}

impl Given {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Read(dictionary) => dictionary.name(),
            Self::InSet { name, .. } => name.clone(),
        }
    }

    /// What it expects of the model, of one that was not read as far as its set knows.
    pub(crate) fn expects(&self) -> Result<Expects> {
        match self {
            Self::Read(dictionary) => Ok(dictionary.expects()),
            Self::InSet { set, name } => set.expects(name),
        }
    }

    /// # Errors
    /// A file that is damaged or cannot be fetched.
    pub(crate) fn read(&self) -> Result<Dictionary> {
        match self {
            Self::Read(dictionary) => Ok(dictionary.clone()),
            Self::InSet { set, name } => set.get(name),
        }
    }
}

impl Dictionaries {
    /// Their names, in the order given.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(Given::name).collect()
    }

    /// The dictionaries, in the order given. Those of a set are read, all of them.
    ///
    /// # Errors
    /// A file that is damaged or cannot be fetched.
    pub fn to_vec(&self) -> Result<Vec<Dictionary>> {
        self.0.iter().map(Given::read).collect()
    }

    /// Without those of sets that read at this layer or behind it, as far as their set knows: they need not be opened.
    pub(crate) fn before(&self, layer: usize) -> Result<Self> {
        let is_before = |given: &Given| -> Result<bool> {
            let reads = given.expects()?.hook_in.and_then(|point| point.layer());
            Ok(matches!(given, Given::Read(_)) || reads.is_none_or(|reads| reads < layer))
        };
        let mut kept = Vec::new();
        for given in &self.0 {
            if is_before(given)? {
                kept.push(given.clone());
            }
        }
        Ok(Self(kept))
    }

    pub(crate) fn given(&self) -> &[Given] {
        &self.0
    }
}

impl From<&Dictionary> for Dictionaries {
    fn from(dictionary: &Dictionary) -> Self {
        Self(vec![Given::Read(dictionary.clone())])
    }
}

impl From<Dictionary> for Dictionaries {
    fn from(dictionary: Dictionary) -> Self {
        Self(vec![Given::Read(dictionary)])
    }
}

impl From<Vec<Dictionary>> for Dictionaries {
    fn from(dictionaries: Vec<Dictionary>) -> Self {
        Self(dictionaries.into_iter().map(Given::Read).collect())
    }
}

impl From<&Vec<Dictionary>> for Dictionaries {
    fn from(dictionaries: &Vec<Dictionary>) -> Self {
        Self::from(dictionaries.as_slice())
    }
}

impl From<&[Dictionary]> for Dictionaries {
    fn from(dictionaries: &[Dictionary]) -> Self {
        Self::from(dictionaries.to_vec())
    }
}

impl<const N: usize> From<[Dictionary; N]> for Dictionaries {
    fn from(dictionaries: [Dictionary; N]) -> Self {
        Self::from(Vec::from(dictionaries))
    }
}

impl<const N: usize> From<&[Dictionary; N]> for Dictionaries {
    fn from(dictionaries: &[Dictionary; N]) -> Self {
        Self::from(dictionaries.as_slice())
    }
}

impl<const N: usize> From<[&Dictionary; N]> for Dictionaries {
    fn from(dictionaries: [&Dictionary; N]) -> Self {
        Self(dictionaries.into_iter().cloned().map(Given::Read).collect())
    }
}

impl From<&DictionarySet> for Dictionaries {
    fn from(set: &DictionarySet) -> Self {
        Self(set.names().into_iter().map(|name| Given::InSet { set: set.clone(), name }).collect())
    }
}

impl From<DictionarySet> for Dictionaries {
    fn from(set: DictionarySet) -> Self {
        Self::from(&set)
    }
}
