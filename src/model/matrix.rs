//! A matrix that activations are multiplied with.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Tensor};

use super::ops::{Panels, linear, linear_by_panels};
use crate::error::Result;
use crate::variables::{Held, Holds};

/// The widest stream of which the matrices are kept in more than one order, which is SmolLM2-360M's. Wider models would not fit
/// twice on the machines that they fit on once.
const WIDEST_STREAM: usize = 960;

/// The fewest columns that are worth a panel.
const FEWEST_COLUMNS: usize = 32;

/// Weights `[n, m]`, which read as a tensor. In f32 on the CPU their first product also keeps them in the order in which
/// products read them ([`Panels`]), unless they can be trained, since they then change.
#[derive(Clone)]
pub(crate) struct Matrix {
    numbers: Tensor,
    /// Made by the first product; inside is `None` where the processor cannot use them. Clones share it. `None` of
    /// numbers that may change.
    panels: Option<Arc<Made>>,
}

type Made = OnceLock<Option<Arc<Panels>>>;

impl From<Tensor> for Matrix {
    fn from(numbers: Tensor) -> Self {
        Self { numbers, panels: Some(Arc::default()) }
    }
}

impl Deref for Matrix {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.numbers
    }
}

impl AsRef<Tensor> for Matrix {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

impl DerefMut for Matrix {
    fn deref_mut(&mut self) -> &mut Tensor {
        // Whatever comes of it, the panels are no longer these.
        *self = Self::from(self.numbers.clone());
        &mut self.numbers
    }
}

impl Holds for Matrix {
    fn holds(&self, held: &mut Held) {
        held.add(&self.numbers);
        if let Some(Some(panels)) = self.panels.as_ref().and_then(|made| made.get()) {
            held.add_shared(Arc::as_ptr(panels).addr(), panels.bytes(), |_| ());
        }
    }
}

impl Matrix {
    /// `x W + b` over the last axis.
    ///
    /// # Shapes
    /// `x [.., n]`, `b [m]` give `[.., m]`.
    pub(in crate::model) fn apply(&self, x: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
        match self.panels() {
            Some(panels) if x.dtype() == DType::F32 && !b.is_some_and(Tensor::track_op) => {
                linear_by_panels(x, (self, panels), b)
            }
            _ => linear(x, self, b),
        }
    }

    /// These numbers may change where they lie: they are those of a variable.
    pub(in crate::model) fn may_change(&mut self) {
        self.panels = None;
    }

    fn panels(&self) -> Option<&Arc<Panels>> {
        let (rows, columns) = self.numbers.dims2().ok()?;
        let fits = rows.min(columns) <= WIDEST_STREAM && columns >= FEWEST_COLUMNS;
        let is_f32 = self.numbers.dtype() == DType::F32 && self.numbers.device().is_cpu();
        if !fits || !is_f32 || self.numbers.track_op() || self.numbers.is_variable() {
            return None;
        }
        let make = || Panels::of(&self.numbers).ok().flatten().map(Arc::new);
        self.panels.as_ref()?.get_or_init(make).as_ref()
    }
}
