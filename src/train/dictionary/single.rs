//! The trainer of an autoencoder or a transcoder.

use std::fmt;

use candle_core::{DType, Tensor};

use super::recipe::Recipe;
use super::trainer::{Core, StepReport, Trained};
use crate::dictionaries::{Dictionary, Expects};
use crate::error::{Error, Result};

/// Trains a sparse autoencoder or a transcoder on activations that its caller brings.
///
/// ```
/// use candle_lens::prelude::*;
/// let x = Random::new(0).normal((256, 8))?;
/// let recipe = Recipe { d_sae: 32, sparsity: Sparsity::BatchTopK { k: 4 }, steps: 30, ..Recipe::default() };
/// let mut trainer = DictionaryTrainer::autoencoder(recipe, &x)?;
/// let first = trainer.step(&x, &x)?;
/// let last = (1..30).map(|_| trainer.step(&x, &x)).last().unwrap()?;
/// assert!(last.unexplained < first.unexplained);
/// let dictionary = trainer.dictionary("mine", Expects::at("resid_post2".parse()?))?;
/// assert_eq!(dictionary.architecture(), Architecture::JumpRelu);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct DictionaryTrainer {
    pub(super) core: Core,
}

impl DictionaryTrainer {
    /// An autoencoder; the first activations tell their scale and their mean.
    ///
    /// # Shapes
    /// `[pos, d]`.
    ///
    /// # Errors
    /// A recipe that cannot work, activations that are all the same or not finite.
    pub fn autoencoder(recipe: Recipe, first: &Tensor) -> Result<Self> {
        let first = std::slice::from_ref(first);
        Ok(Self { core: Core::new(recipe, first, first, Trained::Autoencoder)? })
    }

    /// A transcoder from `first_in` to `first_out`; these first activations tell scales and means.
    ///
    /// # Shapes
    /// `[pos, d_in]` and `[pos, d_out]`.
    ///
    /// # Errors
    /// As [`DictionaryTrainer::autoencoder`].
    pub fn transcoder(recipe: Recipe, first_in: &Tensor, first_out: &Tensor) -> Result<Self> {
        let [first_in, first_out] = [first_in, first_out].map(std::slice::from_ref);
        Ok(Self { core: Core::new(recipe, first_in, first_out, Trained::Transcoder)? })
    }

    /// One step on these activations; an autoencoder gets the same twice.
    ///
    /// # Shapes
    /// `x [pos, d_in]` and `y [pos, d_out]`.
    ///
    /// # Errors
    /// An autoencoder that is given something else to write than it reads, other widths, more steps than the recipe has, a loss that is not finite.
    pub fn step(&mut self, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        if self.core.kind == Trained::Autoencoder && !are_same(x, y)? {
            return Err(Error::argument(
                "an autoencoder was given other activations to write than to read: give the same twice, or train a transcoder \
                 (DictionaryTrainer::transcoder).",
            ));
        }
        self.core.step(std::slice::from_ref(x), std::slice::from_ref(y))
    }

    /// What has been trained so far, as a dictionary.
    ///
    /// # Errors
    /// Weights that are not finite.
    pub fn dictionary(&self, name: impl AsRef<str>, expects: Expects) -> Result<Dictionary> {
        self.core.dictionary(0, name.as_ref(), expects)
    }
}

/// Whether two tensors are one, or hold the same numbers.
fn are_same(x: &Tensor, y: &Tensor) -> Result<bool> {
    if x.id() == y.id() {
        return Ok(true);
    }
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    Ok(x.dims() == y.dims() && numbers(x)? == numbers(y)?)
}

impl fmt::Display for DictionaryTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training of a dictionary: {}", self.core)
    }
}

impl fmt::Debug for DictionaryTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
