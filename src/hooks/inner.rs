//! Points inside what is spliced into a model: their names, axes and sizes.
//!
//! The table knows the model's own points. What a plan splices in brings its own points; each is stored once and kept
//! for the life of the process, so that a [`HookPoint`] stays a small `Copy` value that knows its name and shape.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::axis::AxisName;
use super::point::HookPoint;
use crate::error::{Error, Result};
use crate::visible::visible;

/// More letters than these no name of an inner site has.
const LONGEST_NAME: usize = 100;

/// A site inside a splice: its name, its axes and, where it has an axis of features, how many these are.
///
/// ```
/// use candle_lens::hooks::{AxisName, InnerSite};
/// let acts = InnerSite::features("hook_sae_acts_post", 512);
/// assert_eq!(acts.axes(), [AxisName::Batch, AxisName::Pos, AxisName::Feature]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InnerSite {
    name: String,
    axes: Vec<AxisName>,
    d_sae: usize,
}

impl InnerSite {
    /// A site of these axes, whose sizes are the model's; `name` follows that of the outer point, as in
    /// `hook_sae_recons`.
    pub fn new(name: impl Into<String>, axes: impl IntoIterator<Item = AxisName>) -> Self {
        Self { name: name.into(), axes: axes.into_iter().collect(), d_sae: 0 }
    }

    /// A site of `d_sae` features at each position.
    ///
    /// # Shapes
    /// `[batch, pos, d_sae]`.
    pub fn features(name: impl Into<String>, d_sae: usize) -> Self {
        Self::new(name, [AxisName::Batch, AxisName::Pos, AxisName::Feature]).of_features(d_sae)
    }

    /// The same site with this many features along [`AxisName::Feature`], or numbers along [`AxisName::DIn`].
    pub fn of_features(self, d_sae: usize) -> Self {
        Self { d_sae, ..self }
    }

    /// The name behind that of the outer point.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The axes in order.
    pub fn axes(&self) -> &[AxisName] {
        &self.axes
    }

    /// How many features there are; 0 without such an axis.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// That a run can show such a site.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not a word, axes without prompts and positions, features without a number.
    pub(crate) fn check(&self) -> Result<()> {
        let refused =
            |why: &str| Err(Error::argument(format!("the inner site \"{}\" of a splice {why}.", visible(&self.name))));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = self.name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts || self.name.len() > LONGEST_NAME || !self.name.chars().all(is_word) {
            return refused(
                "has a name that cannot follow a hook point's: use at most 100 letters, digits and underscores, as in \
                 hook_sae_acts_post",
            );
        }
        let twice = (1..self.axes.len()).any(|i| self.axes[..i].contains(&self.axes[i]));
        let valid = |axis: &AxisName| match axis {
            AxisName::Batch | AxisName::Pos | AxisName::Head | AxisName::KeyValueHead | AxisName::DModel => true,
            AxisName::DHead | AxisName::DMlp | AxisName::Feature | AxisName::DIn | AxisName::One => true,
            AxisName::Layer | AxisName::QPos | AxisName::KPos | AxisName::DVocab => false,
        };
        let has = |axis| self.axes.contains(&axis);
        if twice || self.axes.first() != Some(&AxisName::Batch) || !has(AxisName::Pos) || !self.axes.iter().all(valid) {
            return refused(&format!(
                "has the axes {:?}: give Batch first, then Pos and any of Head, KeyValueHead, DModel, DHead, DMlp, \
                 Feature, DIn and One, each once",
                self.axes
            ));
        }
        match (has(AxisName::Feature) || has(AxisName::DIn), self.d_sae) {
            (true, 0) => refused("has an axis of features but does not say how many: add .of_features(d_sae)"),
            (false, 1..) => refused("says how many features it has but has no such axis: add AxisName::Feature"),
            _ => Ok(()),
        }
    }
}

/// A point inside a splice, with the point that the splice is at. Displays as
/// `blocks.2.hook_resid_post.hook_sae_acts_post`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InnerPoint(&'static Parts);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    outer: HookPoint,
    /// Its number among the sites of the splice.
    number: usize,
    site: InnerSite,
}

/// All inner points that this process has named.
static KNOWN: Mutex<BTreeSet<&'static Parts>> = Mutex::new(BTreeSet::new());

impl InnerPoint {
    /// The point of the site with this number in a splice at `outer`.
    ///
    /// # Errors
    /// As [`InnerSite::check`].
    pub(crate) fn new(outer: HookPoint, number: usize, site: InnerSite) -> Result<Self> {
        site.check()?;
        let parts = Parts { outer, number, site };
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = known.get(&parts) {
            return Ok(Self(there));
        }
        let parts: &'static Parts = Box::leak(Box::new(parts));
        known.insert(parts);
        Ok(Self(parts))
    }

    /// The point that the splice is at.
    pub fn outer(self) -> HookPoint {
        self.0.outer
    }

    pub(super) fn outer_ref(&self) -> &HookPoint {
        &self.0.outer
    }

    /// Its number among the inner sites of the splice.
    pub(crate) fn number(self) -> usize {
        self.0.number
    }

    /// The site: name, axes and number of features.
    pub fn site(self) -> &'static InnerSite {
        &self.0.site
    }
}

impl fmt::Display for InnerPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.outer, self.0.site.name)
    }
}

impl fmt::Debug for InnerPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
