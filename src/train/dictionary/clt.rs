//! The trainer of a cross-layer transcoder.

use std::fmt;

use candle_core::Tensor;

use super::recipe::Recipe;
use super::trainer::{Core, StepReport, Trained};
use crate::dictionaries::{Dictionary, Expects};
use crate::error::{Error, Result};

/// Trains a cross-layer transcoder (Ameisen et al. 2025): features of each layer write this layer's output and all later ones, and
/// what is written to an output by all of them together is to be that output. Each layer chooses its own features.
///
/// ```
/// use candle_lens::prelude::*;
/// let x = [Random::new(0).normal((256, 8))?, Random::new(1).normal((256, 8))?];
/// let y = [(&x[0] * 2.0)?, (&x[0] + &x[1])?];
/// let recipe = Recipe { d_sae: 16, sparsity: Sparsity::BatchTopK { k: 8 }, steps: 30, ..Recipe::default() };
/// let mut trainer = CrossLayerTrainer::new(recipe, &x, &y)?;
/// let first = trainer.step(&x, &y)?;
/// let last = (1..30).map(|_| trainer.step(&x, &y)).last().unwrap()?;
/// assert!(last.unexplained < first.unexplained);
/// let expects = [0, 1].map(|l| format!("blocks.{l}.ln2.hook_normalized").parse().map(Expects::at));
/// let layers = trainer.dictionaries("mine", expects.into_iter().collect::<Result<Vec<_>>>()?)?;
/// assert_eq!((layers[0].n_writes(), layers[1].n_writes()), (2, 1));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct CrossLayerTrainer {
    pub(super) core: Core,
}

impl CrossLayerTrainer {
    /// These first activations, of each layer, tell scales and means.
    ///
    /// # Shapes
    /// `[pos, d_in]` and `[pos, d_out]`, as many of each as there are layers.
    ///
    /// # Errors
    /// A recipe that cannot work, no layers, activations that are all the same or not finite.
    pub fn new(recipe: Recipe, first_in: &[Tensor], first_out: &[Tensor]) -> Result<Self> {
        if first_in.is_empty() || first_in.len() != first_out.len() {
            return Err(Error::argument(format!(
                "activations of {} layers to read and of {} to write were given: a cross-layer transcoder needs both of each of its \
                 layers, of which there is at least one.",
                first_in.len(),
                first_out.len()
            )));
        }
        Ok(Self { core: Core::new(recipe, first_in, first_out, Trained::CrossLayer)? })
    }

    /// One step on the activations of all layers at the same positions.
    ///
    /// # Shapes
    /// As in [`CrossLayerTrainer::new`].
    ///
    /// # Errors
    /// As [`DictionaryTrainer::step`](super::DictionaryTrainer::step).
    pub fn step(&mut self, x: &[Tensor], y: &[Tensor]) -> Result<StepReport> {
        self.core.step(x, y)
    }

    /// Each layer as it is so far; its name is that of the whole with the number of the layer.
    ///
    /// # Errors
    /// Another number of `expects` than of layers, weights that are not finite.
    pub fn dictionaries(&self, name: impl AsRef<str>, expects: Vec<Expects>) -> Result<Vec<Dictionary>> {
        if expects.len() != self.core.sizes.layers {
            return Err(Error::argument(format!(
                "{} descriptions of layers were given for {} layers: give one each.",
                expects.len(),
                self.core.sizes.layers
            )));
        }
        let one = |(layer, expects)| self.core.dictionary(layer, &format!("{}{layer}", name.as_ref()), expects);
        expects.into_iter().enumerate().map(one).collect()
    }
}

impl fmt::Display for CrossLayerTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training of a cross-layer transcoder of {} layers: {}", self.core.sizes.layers, self.core)
    }
}

impl fmt::Debug for CrossLayerTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
