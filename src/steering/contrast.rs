//! Directions from two sets of prompts: what their activations differ by.
//!
//! Mean difference (contrastive activation addition, Panickssery et al. 2024, <https://arxiv.org/abs/2312.06681>):
//! `v = mean_i h(positive_i) - mean_i h(negative_i)`. Principal component of differences (representation engineering, Zou et al.
//! 2023, <https://arxiv.org/abs/2310.01405>): the `v` of norm 1 for which `sum_i ((h(positive_i) - h(negative_i)) v)^2` is largest,
//! with the sign that makes the mean of `(h(positive_i) - h(negative_i)) v` positive. Differences are not centred: centring would
//! remove their mean, which is what they share.
//!
//! Limits: a direction has whatever else distinguishes the two sets, as their topics or lengths; pair the prompts so that only
//! what is meant differs.

use nalgebra::{DMatrix, SymmetricEigen};

use super::states::{States, states, tensor};
use super::vector::SteeringVector;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookQueries, HookQuery, check_free};
use crate::metrics::Positions;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::variables::holds;

/// Two sets of prompts whose activations are compared: at the last token by default.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let plural = ["The keys", "The cabinets", "The authors", "The children"];
/// let singular = ["The key", "The cabinet", "The author", "The child"];
/// let contrast = Contrast::new(&model, plural, singular)?;
/// let mean = contrast.mean_difference(("resid_post", 1))?;
/// let principal = contrast.principal_difference(("resid_post", 1))?;
/// assert!(mean.cosine(&principal)? > 0.5);
/// // What a set differs from itself by is nothing.
/// assert_eq!(Contrast::new(&model, plural, plural)?.mean_difference(("resid_post", 1))?.norm(), 0.);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Contrast {
    model: HookedTransformer,
    positive: Tokens,
    negative: Tokens,
    positions: Positions,
}

holds! {
    Contrast { model, positive, negative }
}

/// How a direction is made of the activations of both sets.
type Made = fn(&States, &States) -> Result<(String, Vec<f64>)>;

impl Contrast {
    /// These two sets of prompts; directions point from the negative ones to the positive ones.
    ///
    /// # Errors
    /// As [`HookedTransformer::to_tokens`].
    pub fn new(model: &HookedTransformer, positive: impl Into<Input>, negative: impl Into<Input>) -> Result<Self> {
        let (positive, negative) = (model.to_tokens(positive)?, model.to_tokens(negative)?);
        Ok(Self { model: model.without_weight_gradients(), positive, negative, positions: Positions::Last })
    }

    /// The same at these positions of each prompt; at several, each prompt counts with its mean.
    pub fn at(self, positions: impl Into<Positions>) -> Self {
        Self { positions: positions.into(), ..self }
    }

    /// The mean of the positive prompts minus that of the negative ones.
    ///
    /// # Errors
    /// A point without one vector for each position, positions that the prompts do not have, and as [`HookedTransformer::run`].
    pub fn mean_difference(&self, point: impl Into<HookQuery>) -> Result<SteeringVector> {
        self.one(point.into(), mean_difference)
    }

    /// As [`Contrast::mean_difference`], at each of several points, or in every layer where none is named.
    ///
    /// # Errors
    /// As [`Contrast::mean_difference`].
    pub fn mean_differences(&self, points: impl Into<HookQueries>) -> Result<Vec<SteeringVector>> {
        self.each(points.into(), mean_difference)
    }

    /// The first principal component of the differences between each positive prompt and its negative counterpart, of norm 1.
    ///
    /// # Errors
    /// As [`Contrast::mean_difference`]; sets of different sizes, pairs that do not differ.
    pub fn principal_difference(&self, point: impl Into<HookQuery>) -> Result<SteeringVector> {
        self.one(point.into(), principal)
    }

    /// As [`Contrast::principal_difference`], at each of several points, or in every layer where none is named.
    ///
    /// # Errors
    /// As [`Contrast::principal_difference`].
    pub fn principal_differences(&self, points: impl Into<HookQueries>) -> Result<Vec<SteeringVector>> {
        self.each(points.into(), principal)
    }

    fn one(&self, point: HookQuery, made: Made) -> Result<SteeringVector> {
        let point = point.resolve(&self.model.dims())?;
        Ok(self.of(&[point], made)?.remove(0))
    }

    fn each(&self, points: HookQueries, made: Made) -> Result<Vec<SteeringVector>> {
        self.of(&self.model.points_of_all(&points)?, made)
    }

    fn of(&self, points: &[HookPoint], made: Made) -> Result<Vec<SteeringVector>> {
        points.iter().try_for_each(|&point| SteeringVector::check_point(point, &self.model.dims()).map(drop))?;
        let mut progress = Progress::of("comparing two sets of prompts", 2, "sets");
        let positive = states(&self.model, &self.positive, &self.positions, points)?;
        progress.step(1)?;
        let negative = states(&self.model, &self.negative, &self.positions, points)?;
        progress.step(1)?;
        let of_point = |&point: &HookPoint| {
            let (name, values) = made(&positive[&point], &negative[&point])?;
            Ok(SteeringVector::new(&self.model, point, &tensor(&values)?)?.named(name))
        };
        points.iter().map(of_point).collect()
    }
}

fn mean_difference(positive: &States, negative: &States) -> Result<(String, Vec<f64>)> {
    let values = positive.mean().iter().zip(negative.mean()).map(|(a, b)| a - b).collect();
    Ok((format!("mean difference of {} and {} prompts", positive.len(), negative.len()), values))
}

fn principal(positive: &States, negative: &States) -> Result<(String, Vec<f64>)> {
    let (pairs, others) = (positive.len(), negative.len());
    if pairs != others {
        return Err(Error::argument(format!(
            "there are {pairs} positive prompts and {others} negative ones, but differences need pairs: give each its \
             counterpart, or take the mean difference."
        )));
    }
    let width = positive.of(0).len();
    let smaller = pairs.min(width) as u64;
    check_free((pairs * width) as u64 * 8 + 3 * smaller * smaller * 8, "a principal component", "take fewer prompts")?;
    let differences = DMatrix::from_fn(pairs, width, |i, j| positive.of(i)[j] - negative.of(i)[j]);
    let whole = differences.norm_squared();
    if whole == 0. {
        return Err(Error::argument(
            "no positive prompt differs from its negative counterpart there, so there is no direction: choose prompts or a \
             point that differ.",
        ));
    }
    // Of D^T D and D D^T, which have the same eigenvalues, the smaller one.
    let _working = Progress::opaque("finding a principal component");
    let (value, mut direction) = if pairs <= width {
        let (value, weights) = largest(&differences * differences.transpose());
        (value, differences.tr_mul(&weights))
    } else {
        largest(differences.tr_mul(&differences))
    };
    direction /= direction.norm();
    if (&differences * &direction).sum() < 0. {
        direction = -direction;
    }
    let share = 100. * value / whole;
    let name = format!("principal component of {pairs} differences ({share:.0} % of their squares)");
    Ok((name, direction.as_slice().to_vec()))
}

/// The largest eigenvalue of a symmetric matrix with its eigenvector.
fn largest(square: DMatrix<f64>) -> (f64, nalgebra::DVector<f64>) {
    let eigen = SymmetricEigen::new(square);
    let at = eigen.eigenvalues.imax();
    (eigen.eigenvalues[at], eigen.eigenvectors.column(at).into_owned())
}

impl std::fmt::Display for Contrast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (positive, negative) = (self.positive.batch(), self.negative.batch());
        write!(f, "Contrast of {positive} positive and {negative} negative prompts at {}", self.positions)
    }
}

impl std::fmt::Debug for Contrast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
