//! The tuned lens: an affine map for each layer, fitted to predict what the model predicts in the end.
//!
//! At layer `l` it reads `f(h) = h + h W_l + b_l` through the final norm and the unembedding; the row vector `h` is the residual
//! stream that enters block `l`. With `W = 0` and `b = 0` it is the logit lens. It is fitted to the model's own predictions, not to the
//! text: by least squares of `f(h)` against the last residual stream ([`TunedLens::fit`]), or by steps that lower
//! `KL(final | lens)` ([`TunedLens::train`]).
//!
//! Reference: Belrose et al. 2023 (arXiv 2303.08112), whose package `tuned-lens` writes the files that [`TunedLens::load`] reads.
//!
//! Limits: what a lens was fitted to say is not what the model uses at that layer. A map can find information that later layers ignore,
//! and it is right only for texts like those that it was fitted on.

mod files;
mod fit;
mod train;

use std::fmt;

use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

pub use fit::TunedFit;
pub use train::TunedTraining;

use super::lens::Lens;
use super::of_other_weights;
use crate::dims::{Dims, ReadBy};
use crate::error::{Error, Result};
use crate::model::{HookedTransformer, ModelProvenance};
use crate::variables::holds;
use crate::visible::visible;

/// For which model a lens was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum MadeFor {
    /// It was fitted here, to these weights.
    Weights(ModelProvenance),
    /// A file says so: the model of this name, with its own weights.
    Name(String),
}

/// An affine map of the residual stream that enters each block. Cheap to clone.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let texts = Task::Ioi.prompts(tasks::Split::Train, 64, 0)?;
/// let tuned = TunedLens::fit(&model, &texts, TunedFit::default())?;
/// // On prompts that it was not fitted to, it is nearer to the model's own predictions than the logit lens is.
/// let others = Task::Ioi.prompts(tasks::Split::Train, 16, 1)?;
/// let (tuned, plain) = (tuned.mean_kl(&model, &others)?, LogitLens.mean_kl(&model, &others)?);
/// assert!(tuned.at(&[0])? < plain.at(&[0])?, "{tuned} {plain}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct TunedLens {
    /// `[layer, d_model, d_model]` in f32: what the row vector is multiplied by, minus the identity.
    weights: Tensor,
    /// `[layer, d_model]` in f32.
    biases: Tensor,
    made_for: MadeFor,
    /// How it was made, in words.
    origin: String,
}

holds! {
    TunedLens { weights, biases } = |lens| format!("{:?}", lens.weights.dims());
}

impl TunedLens {
    /// The lens that changes nothing, from which training begins: the logit lens.
    ///
    /// # Errors
    /// candle's, if it does not fit in memory.
    pub fn identity(model: &HookedTransformer) -> Result<Self> {
        let Dims { n_layers, d_model, .. } = model.dims();
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let (weights, biases) = (zeros(&[n_layers, d_model, d_model])?, zeros(&[n_layers, d_model])?);
        Ok(Self { weights, biases, made_for: MadeFor::Weights(model.provenance()), origin: "the identity".into() })
    }

    /// The lens of these maps: `h A + b` at each layer.
    ///
    /// # Shapes
    /// `maps [layer, d_model, d_model]`, `biases [layer, d_model]`.
    ///
    /// # Errors
    /// Other shapes, and numbers that are not finite.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let identity = TunedLens::identity(&model)?;
    /// let again = TunedLens::new(&model, &identity.maps()?, &identity.biases())?;
    /// let options = || LensOptions::default();
    /// let (a, b) = (again.read(&model, "The keys", options())?, logit_lens(&model, "The keys", options())?);
    /// assert_eq!(a.entropy.values(), b.entropy.values());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn new(model: &HookedTransformer, maps: &Tensor, biases: &Tensor) -> Result<Self> {
        let Dims { n_layers, d_model, .. } = model.dims();
        let wide = |x: &Tensor| x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32);
        if maps.dims() != [n_layers, d_model, d_model] {
            let expected = format!("[{n_layers}, {d_model}, {d_model}] (layer, d_model, d_model)");
            return Err(Error::shape("the maps of a tuned lens", expected, maps.dims()));
        }
        let identity = Tensor::eye(d_model, DType::F32, &Device::Cpu)?;
        let weights = wide(maps)?.broadcast_sub(&identity)?;
        let made_for = MadeFor::Weights(model.provenance());
        Self::of(weights, wide(biases)?, made_for, "maps that were given".into())
    }

    /// # Errors
    /// Biases of another shape, and numbers that are not finite.
    fn of(weights: Tensor, biases: Tensor, made_for: MadeFor, origin: String) -> Result<Self> {
        let (n_layers, d_model, _) = weights.dims3()?;
        if biases.dims() != [n_layers, d_model] {
            let expected = format!("[{n_layers}, {d_model}] (layer, d_model)");
            return Err(Error::shape("the biases of a tuned lens", expected, biases.dims()));
        }
        for layer in 0..n_layers {
            let numbers = [weights.get(layer)?.flatten_all()?, biases.get(layer)?];
            for numbers in numbers {
                if numbers.to_vec1::<f32>()?.iter().any(|x| !x.is_finite()) {
                    return Err(Error::argument(format!(
                        "layer {layer} of the tuned lens has numbers that are not finite: fit it again, or fetch it again."
                    )));
                }
            }
        }
        Ok(Self { weights, biases, made_for, origin })
    }

    /// What the residual stream is multiplied by at each layer, the identity included.
    ///
    /// # Shapes
    /// `[layer, d_model, d_model]`, for row vectors: `h A`.
    ///
    /// # Errors
    /// candle's.
    pub fn maps(&self) -> Result<Tensor> {
        let identity = Tensor::eye(self.weights.dim(D::Minus1)?, DType::F32, &Device::Cpu)?;
        Ok(self.weights.broadcast_add(&identity)?)
    }

    /// What is added at each layer.
    ///
    /// # Shapes
    /// `[layer, d_model]`.
    pub fn biases(&self) -> Tensor {
        self.biases.clone()
    }

    /// How many layers it has.
    pub fn n_layers(&self) -> usize {
        self.weights.dims()[0]
    }

    /// The layer whose map is for this point.
    fn layer(&self, at: ReadBy) -> Option<usize> {
        match at {
            ReadBy::Block(layer) => usize::try_from(layer).ok().filter(|layer| *layer < self.n_layers()),
            ReadBy::End | ReadBy::Mlp(_) => None,
        }
    }

    /// The map at a layer, of weights that may be trained.
    ///
    /// # Shapes
    /// `x [row, d_model]` in f32; the result is the same.
    fn mapped(x: &Tensor, weights: &Tensor, biases: &Tensor) -> Result<Tensor> {
        Ok((x + x.matmul(weights)?.broadcast_add(biases)?)?)
    }
}

impl Lens for TunedLens {
    fn name(&self) -> String {
        "tuned lens".into()
    }

    fn check_model(&self, model: &HookedTransformer) -> Result<()> {
        let Dims { n_layers, d_model, .. } = model.dims();
        let sizes = (self.n_layers(), self.weights.dim(D::Minus1)?);
        if sizes != (n_layers, d_model) {
            return Err(Error::argument(format!(
                "this tuned lens has {} layers of width {}, but the model {:?} has {n_layers} of width {d_model}: give the model that \
                 it was fitted to.",
                sizes.0,
                sizes.1,
                model.cfg().model_name
            )));
        }
        match &self.made_for {
            MadeFor::Weights(weights) => match of_other_weights(weights, model) {
                other if other.is_empty() => Ok(()),
                other => Err(Error::argument(format!(
                    "this tuned lens was not fitted to this model: {}. Give the model that it was fitted to, or fit one \
                     (TunedLens::fit).",
                    other.join("; ")
                ))),
            },
            MadeFor::Name(name) if !model.is_called(name) => Err(Error::argument(format!(
                "this tuned lens is for {name:?}, but the model is {:?}: load that model, or fit a lens to this one (TunedLens::fit).",
                model.cfg().model_name
            ))),
            // Neither folding nor a centred unembedding change the residual stream or log-probabilities.
            MadeFor::Name(_) if model.processing().center_writing_weights => Err(Error::argument(
                "this tuned lens was fitted to the residual stream of the original weights, but this model's writing weights are \
                 centred, which changes it: load the model with HookedTransformer::from_pretrained_no_processing.",
            )),
            MadeFor::Name(_) => Ok(()),
        }
    }

    fn reads(&self, at: ReadBy) -> bool {
        at == ReadBy::End || self.layer(at).is_some()
    }

    fn carry(&self, x: &Tensor, at: ReadBy) -> Result<Tensor> {
        let Some(layer) = self.layer(at) else { return Ok(x.clone()) };
        let place = |part: &Tensor| -> Result<Tensor> { Ok(part.get(layer)?.to_device(x.device())?) };
        let mapped = Self::mapped(&x.to_dtype(DType::F32)?, &place(&self.weights)?, &place(&self.biases)?)?;
        Ok(mapped.to_dtype(x.dtype())?)
    }
}

impl fmt::Display for TunedLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.made_for {
            MadeFor::Weights(weights) => &weights.model,
            MadeFor::Name(name) => name,
        };
        let (layers, width) = (self.n_layers(), self.weights.dims()[2]);
        write!(f, "tuned lens of {layers} layers of width {width} for {}: {}", visible(name), visible(&self.origin))
    }
}

impl fmt::Debug for TunedLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
