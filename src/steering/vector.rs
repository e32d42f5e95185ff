//! A direction at a hook point of one model.

use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, HookPoint, HookQuery, Kind};
use crate::model::{HookedTransformer, ModelProvenance};
use crate::storage::{restore, store, take};
use crate::variables::holds;
use crate::visible::visible;

/// What saved vectors are called in their files.
const KIND: &str = "steering vector";

/// A direction at one hook point of one model: what is added to the activation there, or removed from it.
///
/// It remembers the weights that it belongs to and how they were processed, because the same numbers mean something else in
/// another model, or after its weights were processed otherwise.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let mary = model.tokens_to_residual_directions([" Mary"])?.squeeze(0)?;
/// let vector = SteeringVector::new(&model, ("resid_post", 2), &mary)?.named("the unembedding of Mary");
/// assert_eq!(vector.values().dims(), [model.cfg().d_model]);
/// assert!((vector.cosine(&vector.unit()?)? - 1.).abs() < 1e-5);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct SteeringVector {
    name: String,
    point: HookPoint,
    values: Vec<f32>,
    model: ModelProvenance,
    any_model: bool,
}

holds! {
    SteeringVector { name, values } = |vector| format!("[{}]", vector.values.len());
}

/// What a saved vector's file says besides its numbers.
#[derive(Serialize, Deserialize)]
struct About {
    name: String,
    point: String,
    model: ModelProvenance,
}

impl SteeringVector {
    /// A direction of your own at a point.
    ///
    /// # Shapes
    /// `values [width]`: `d_model` in the residual stream and where attention and MLPs write to it, `d_mlp` at neurons.
    ///
    /// # Errors
    /// A name of no point or of several, a point without one vector for each position (a head's, a pattern, a scale), another width,
    /// numbers that are not finite.
    pub fn new(model: &HookedTransformer, point: impl Into<HookQuery>, values: &Tensor) -> Result<Self> {
        let dims = model.dims();
        let point = point.into().resolve(&dims)?;
        let width = Self::check_point(point, &dims)?;
        if values.dims() != [width] {
            return Err(Error::shape(format!("a direction at {point}"), format!("[{width}]"), values.dims()));
        }
        let values = numbers(point, values)?;
        Ok(Self { name: "a direction".into(), point, values, model: model.provenance(), any_model: false })
    }

    /// The same direction under this name, for tables and titles.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same direction, which may be used in any model of its width, whatever its weights and their processing. It applies to this
    /// value and its clones, and is not saved.
    pub fn without_model_check(&self) -> Self {
        Self { any_model: true, ..self.clone() }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is added or removed.
    pub fn point(&self) -> HookPoint {
        self.point
    }

    /// Which weights it belongs to.
    pub fn provenance(&self) -> ModelProvenance {
        self.model.clone()
    }

    /// Its numbers, f32 on the CPU.
    ///
    /// # Shapes
    /// `[width]`.
    pub fn values(&self) -> Tensor {
        Tensor::new(&self.values[..], &Device::Cpu).expect("a list of numbers is a tensor")
    }

    pub(super) fn numbers(&self) -> &[f32] {
        &self.values
    }

    /// Its numbers times a factor.
    pub(super) fn scaled(&self, factor: f64) -> Tensor {
        let values: Vec<f32> = self.values.iter().map(|value| (f64::from(*value) * factor) as f32).collect();
        Tensor::new(values, &Device::Cpu).expect("a list of numbers is a tensor")
    }

    /// Its length.
    pub fn norm(&self) -> f32 {
        self.dot(self).sqrt() as f32
    }

    /// The direction with norm 1.
    ///
    /// # Errors
    /// [`Error::Argument`] for a vector of zeros.
    pub fn unit(&self) -> Result<Self> {
        self.check_direction()?;
        let norm = self.dot(self).sqrt();
        let values = self.values.iter().map(|value| (f64::from(*value) / norm) as f32).collect();
        Ok(Self { values, ..self.clone() })
    }

    /// The same numbers at the same site of another layer; negative layers count from the end.
    ///
    /// # Errors
    /// A layer that the model does not have, a vector at a point outside the blocks.
    pub fn at_layer(&self, model: &HookedTransformer, layer: isize) -> Result<Self> {
        self.check_model(model)?;
        let HookPoint::Block(_, site) = self.point else {
            return Err(Error::argument(format!(
                "{} is outside the blocks, so the direction there has no other layer: make one at a point of a block.",
                self.point
            )));
        };
        let point = HookPoint::Block(model.dims().layer(layer)?, site).check(&model.dims())?;
        Ok(Self { point, ..self.clone() })
    }

    /// The cosine of the angle between two directions.
    ///
    /// # Errors
    /// Directions of different widths, or of zeros.
    pub fn cosine(&self, other: &Self) -> Result<f32> {
        if self.values.len() != other.values.len() {
            return Err(Error::shape(
                format!("a direction to compare with {self}"),
                format!("[{}]", self.values.len()),
                &[other.values.len()],
            ));
        }
        self.check_direction()?;
        other.check_direction()?;
        Ok((self.dot(other) / (self.dot(self) * other.dot(other)).sqrt()) as f32)
    }

    /// Saves the direction with its point and the model's provenance.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let about = About { name: self.name.clone(), point: self.point.to_string(), model: self.model.clone() };
        store(path.as_ref(), KIND, &about, &[("values".to_string(), self.values())].into())
    }

    /// Reads a direction that was saved. It is compared with the model where it is used.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let mary = model.tokens_to_residual_directions([" Mary"])?.squeeze(0)?;
    /// let vector = SteeringVector::new(&model, ("resid_post", 2), &mary)?;
    /// let path = std::env::temp_dir().join("candle-lens-direction.safetensors");
    /// vector.save(&path)?;
    /// assert_eq!(SteeringVector::load(&path)?.provenance(), model.provenance());
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (about, mut tensors): (About, _) = restore(path, KIND)?;
        let values = take(path, &mut tensors, "values")?;
        let point: HookPoint = about.point.parse().map_err(|error: Error| error.in_file(path))?;
        let numbers = numbers(point, &values).map_err(|error| error.in_file(path))?;
        Ok(Self { name: about.name, point, values: numbers, model: about.model, any_model: false })
    }

    /// Checks that the direction belongs to the model.
    ///
    /// # Errors
    /// [`Error::Argument`] for a point that the model lacks, another width, other weights, or weights processed otherwise.
    pub(crate) fn check_model(&self, model: &HookedTransformer) -> Result<()> {
        let there = Self::check_point(self.point.check(&model.dims())?, &model.dims())?;
        if there != self.values.len() {
            return Err(Error::argument(format!(
                "{self} has {} numbers, but {} of this model has {there}: make the direction with this model.",
                self.values.len(),
                self.point
            )));
        }
        let other = self.model.other_weights(&model.provenance());
        if self.any_model || other.is_empty() {
            return Ok(());
        }
        Err(Error::argument(format!(
            "{self} does not belong to this model: {}. Make the direction with this model, or load it as it was then; \
             vector.without_model_check() lets any model of its width take it.",
            other.join("; ")
        )))
    }

    /// # Errors
    /// [`Error::Argument`] for a vector of zeros.
    pub(crate) fn check_direction(&self) -> Result<()> {
        match self.values.iter().all(|value| *value == 0.) {
            true => Err(Error::argument(format!(
                "{self} is 0 everywhere, so it has no direction and would change nothing: what it was made of does not \
                 differ there."
            ))),
            false => Ok(()),
        }
    }

    /// How many numbers a direction at a point has.
    ///
    /// # Errors
    /// A point that does not hold one vector for each position.
    pub(super) fn check_point(point: HookPoint, dims: &Dims) -> Result<usize> {
        match (point.axes(), point.kind()) {
            ([AxisName::Batch, AxisName::Pos, _], Kind::Vector) => Ok(point.shape(dims, 1, 1)[2]),
            (axes, _) => {
                let axes: Vec<_> = axes.iter().map(|axis| axis.as_str()).collect();
                Err(Error::argument(format!(
                    "{point} has the axes [{}], but a direction belongs to a point with one vector for each position: take the \
                     residual stream, attn_out, mlp_out or a neuron site, and an Edit for a head.",
                    axes.join(", ")
                )))
            }
        }
    }

    fn dot(&self, other: &Self) -> f64 {
        self.values.iter().zip(&other.values).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }
}

/// The numbers of a direction.
///
/// # Errors
/// Another number of axes than one, numbers that are not finite.
fn numbers(point: HookPoint, values: &Tensor) -> Result<Vec<f32>> {
    if values.rank() != 1 {
        return Err(Error::shape(format!("a direction at {point}"), "[width]", values.dims()));
    }
    let values = values.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::argument(format!(
            "number {at} of the direction at {point} is {}: a direction needs finite numbers. Look for the activation that it \
             came from (run_with_cache).",
            values[at]
        ))),
        None => Ok(values),
    }
}

impl fmt::Display for SteeringVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} (norm {:.4})", visible(&self.name), self.point, self.norm())
    }
}

impl fmt::Debug for SteeringVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
