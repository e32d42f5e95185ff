//! The watched points of a run, and how a scalar computed from its results changes with the activations there.
//!
//! A variable of zeros is added to each watched activation, so that one backward pass gives all gradients:
//! `d scalar / d activation`, where the run continues from the activation and everything upstream of it is fixed.
//! Activations of one run feed each other, so gradients at an earlier point contain those at later ones.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Tensor, Var};

use super::point::HookPoint;
use super::query::HookQuery;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::variables::holds;

/// What a run under [`HookPlan::watch`](super::HookPlan::watch) leaves: the watched activations, and a way to their
/// gradients.
#[derive(Clone)]
pub struct Taps {
    pub(super) taps: BTreeMap<HookPoint, (Tensor, Var)>,
    pub(super) dims: Dims,
}

impl Taps {
    /// The watched points, in the order of the forward pass.
    pub fn points(&self) -> Vec<HookPoint> {
        self.taps.keys().copied().collect()
    }

    /// Whether nothing was watched.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// The gradients of a scalar at all watched points, by one backward pass.
    ///
    /// Gradients of trainable weights are computed on the way; run
    /// [`HookedTransformer::without_weight_gradients`](crate::model::HookedTransformer::without_weight_gradients) where
    /// you do not need them.
    ///
    /// # Shapes
    /// `scalar []`, or any shape of one element; each gradient has the shape of its activation.
    ///
    /// # Errors
    /// A run that watched nothing; more than one number; a scalar that does not depend on any watched activation.
    pub fn gradients(&self, scalar: &Tensor) -> Result<Gradients> {
        if self.taps.is_empty() {
            return Err(Error::argument(
                "nothing was watched in this run: name the points in its plan, HookPlan::new().watch(\"resid_pre\").",
            ));
        }
        if scalar.elem_count() != 1 {
            return Err(Error::shape("what gradients are taken of", "[], one number (sum or mean it)", scalar.dims()));
        }
        let _backward = Progress::opaque("going backward through the model");
        let store = match scalar.track_op() && scalar.dtype().is_float() {
            true => Some(scalar.flatten_all()?.squeeze(0)?.backward()?),
            false => None,
        };
        let of = |tap: &Var| store.as_ref().and_then(|store| store.get(tap)).cloned();
        let gradients: BTreeMap<_, _> =
            self.taps.iter().filter_map(|(point, (_, tap))| Some((*point, of(tap)?.detach()))).collect();
        if gradients.is_empty() {
            return Err(Error::argument(
                "the scalar does not depend on any watched point. Compute it from this run's logits, loss or residual \
                 stream with tensor operations (no to_scalar), and watch points that are upstream of it and not cut \
                 off by a frozen part of the model (with_frozen).",
            ));
        }
        let activations = self.taps.iter().map(|(point, (x, _))| (*point, x.clone())).collect();
        Ok(Gradients { activations, gradients, dims: self.dims })
    }
}

/// Activations of a run and the gradients of a scalar with respect to them.
#[derive(Clone)]
pub struct Gradients {
    activations: BTreeMap<HookPoint, Tensor>,
    gradients: BTreeMap<HookPoint, Tensor>,
    dims: Dims,
}

holds! {
    Taps { taps }
    Gradients { activations, gradients }
}

impl Gradients {
    /// The gradient at a watched point.
    ///
    /// # Shapes
    /// The activation's.
    ///
    /// # Errors
    /// A point that was not watched; a point on which the scalar cannot depend, whose gradient is structurally zero.
    pub fn get(&self, point: impl Into<HookQuery>) -> Result<Tensor> {
        let point = self.watched(point.into())?;
        self.gradients.get(&point).cloned().ok_or_else(|| {
            Error::argument(format!(
                "the gradient at {point} is structurally zero: the scalar cannot depend on it, because an edit \
                 overwrites it, the scalar is computed upstream of it, or a frozen part of the model (with_frozen) \
                 lies in between. `zero_by_structure` lists such points."
            ))
        })
    }

    /// The activation at a watched point, after edits.
    ///
    /// # Errors
    /// A point that was not watched.
    pub fn activation(&self, point: impl Into<HookQuery>) -> Result<Tensor> {
        Ok(self.activations[&self.watched(point.into())?].clone())
    }

    /// The watched points, in the order of the forward pass.
    pub fn points(&self) -> Vec<HookPoint> {
        self.activations.keys().copied().collect()
    }

    /// The watched points on which the number does not depend, whatever the activations are.
    pub fn zero_by_structure(&self) -> Vec<HookPoint> {
        self.activations.keys().filter(|point| !self.gradients.contains_key(point)).copied().collect()
    }

    /// Points with activations and gradients, those without a gradient left out.
    pub fn iter(&self) -> impl Iterator<Item = (HookPoint, &Tensor, &Tensor)> {
        self.gradients.iter().map(|(point, gradient)| (*point, &self.activations[point], gradient))
    }

    /// Those at these points alone.
    pub(crate) fn only(&self, points: &[HookPoint]) -> Self {
        let of = |all: &BTreeMap<HookPoint, Tensor>| {
            all.iter().filter(|(point, _)| points.contains(point)).map(|(point, x)| (*point, x.clone())).collect()
        };
        Self { activations: of(&self.activations), gradients: of(&self.gradients), dims: self.dims }
    }

    fn watched(&self, query: HookQuery) -> Result<HookPoint> {
        let watched: Vec<HookPoint> = self.activations.keys().copied().collect();
        let point = query.resolve_among(&self.dims, &watched)?;
        match self.activations.contains_key(&point) {
            true => Ok(point),
            false => Err(Error::argument(format!(
                "{point} was not watched, so it has no gradient here: name it among the points of the run."
            ))),
        }
    }
}

impl fmt::Debug for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Taps({} points)", self.taps.len())
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gradients({} points, {} zero by structure)", self.activations.len(), self.zero_by_structure().len())
    }
}
