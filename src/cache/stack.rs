//! Residual-stream vectors of several components at the same positions, and their projections on a direction.

use std::fmt;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::slice::Slice;
use crate::variables::holds;
use crate::visible::visible;
use crate::wide::{sum, widened};

/// Components of the residual stream, `[component, (batch), (pos), d_model]`, with a label for each, and the
/// positions they were taken at, so that a norm can be applied at the same ones.
#[derive(Clone)]
pub struct ResidualStack {
    pub(super) values: Tensor,
    pub(super) labels: Vec<String>,
    pub(super) pos: Slice,
    /// The positions of the run that the values belong to.
    pub(super) positions: Vec<usize>,
    pub(super) has_batch_dim: bool,
    /// Whether the components have been through a norm.
    pub(super) normed: bool,
}

holds! {
    ResidualStack { values, labels, positions } = |stack| format!("{:?} {}", stack.values.dims(), stack.values.dtype().as_str());
}

impl ResidualStack {
    /// The numbers, `[component, (batch), (pos), d_model]`.
    pub fn tensor(&self) -> Tensor {
        self.values.clone()
    }

    /// What each component is.
    pub fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }

    /// The positions of the run that the numbers belong to.
    pub fn positions(&self) -> Vec<usize> {
        self.positions.clone()
    }

    /// The positions as they were selected.
    pub(crate) fn pos(&self) -> &Slice {
        &self.pos
    }

    /// How many components there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The sum of all components, `[(batch), (pos), d_model]`.
    ///
    /// # Errors
    /// candle's.
    pub fn sum(&self) -> Result<Tensor> {
        Ok(sum(&self.values, 0)?)
    }

    /// The projection of each component on a direction: the dot product over `d_model`.
    ///
    /// # Shapes
    /// `directions [d_model]`, or `[batch, d_model]` with one for each prompt; the result is
    /// `[component, (batch), (pos)]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for directions of the wrong width or number.
    pub fn project(&self, directions: &Tensor) -> Result<Labelled> {
        let dims = self.values.dims();
        let batch = if self.has_batch_dim { dims.get(1).copied() } else { None };
        let mut directions = directions_for(directions, dims[dims.len() - 1], batch)?;
        if directions.rank() == 2 && dims.len() == 4 {
            directions = directions.unsqueeze(1)?;
        }
        let along = widened(&self.values)?.broadcast_mul(&widened(&directions)?)?.sum(dims.len() - 1)?;
        let positions = (along.rank() > 1 + usize::from(batch.is_some())).then_some(&self.positions[..]);
        let axes = axes(&self.labels, batch, positions);
        Labelled::from_tensor("projection of the residual stream", axes, &along)
    }

    /// The same components under other names.
    pub(super) fn labelled<const N: usize>(mut self, labels: [&str; N]) -> Self {
        self.labels = labels.map(String::from).to_vec();
        self
    }
}

/// The axes of projections of components.
pub(super) fn axes(labels: &[String], batch: Option<usize>, positions: Option<&[usize]>) -> Vec<Axis> {
    let mut axes = vec![Axis { name: "component".into(), labels: labels.to_vec() }];
    axes.extend(batch.map(|prompts| Axis::numbered("prompt", prompts)));
    axes.extend(positions.map(|positions| Axis::new("position", positions.iter().map(usize::to_string))));
    axes
}

/// Checks directions `[d_model]`, or `[batch, d_model]` with one for each prompt; a single one loses its axis.
pub(super) fn directions_for(directions: &Tensor, d_model: usize, batch: Option<usize>) -> Result<Tensor> {
    match (directions.dims(), batch) {
        ([d], _) if *d == d_model => Ok(directions.clone()),
        ([1, d], _) if *d == d_model => Ok(directions.squeeze(0)?),
        ([b, d], Some(batch)) if *d == d_model && *b == batch => Ok(directions.clone()),
        (got, _) => {
            let expected = match batch {
                Some(batch) => format!("[{d_model}] or [{batch}, {d_model}] (one direction for each prompt)"),
                None => format!("[{d_model}]"),
            };
            Err(Error::shape("the directions to project on", expected, got))
        }
    }
}

impl fmt::Debug for ResidualStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = self.labels.iter().take(4).map(|label| visible(label)).collect::<Vec<_>>().join(", ");
        let more = if self.labels.len() > 4 { ", .." } else { "" };
        write!(f, "ResidualStack({:?}: {some}{more})", self.values.dims())
    }
}
