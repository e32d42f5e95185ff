//! Trainers in files: an interrupted training goes on where it was, to the same numbers.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::clt::CrossLayerTrainer;
use super::recipe::Recipe;
use super::single::DictionaryTrainer;
use super::trainer::{Core, Trained, adam, check_memory};
use super::weights::{Layer, Sizes, Weights};
use crate::error::{Error, Result};
use crate::storage;
use crate::train::adamw::Moments;

/// What is written before the numbers.
const KIND: &str = "dictionary training";

/// What is not a number that training changes.
#[derive(Serialize, Deserialize)]
struct About {
    recipe: Recipe,
    /// The recipe's floats by their bits, since JSON rounds.
    bits: [u64; 4],
    sizes: Sizes,
    trained: Trained,
    step: usize,
}

impl DictionaryTrainer {
    /// Saves all that training needs to go on: weights, the optimiser's moments, which features have been silent, the step.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let x = Random::new(0).normal((64, 8))?;
    /// let recipe = Recipe { d_sae: 32, sparsity: Sparsity::TopK { k: 4 }, steps: 20, ..Recipe::default() };
    /// let mut trainer = DictionaryTrainer::autoencoder(recipe, &x)?;
    /// trainer.step(&x, &x)?;
    /// let path = std::env::temp_dir().join("candle-lens-example-training");
    /// trainer.save(&path)?;
    /// let mut again = DictionaryTrainer::open(&path)?;
    /// assert_eq!(again.step(&x, &x)?, trainer.step(&x, &x)?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.core.save(path.as_ref())
    }

    /// The trainer that [`DictionaryTrainer::save`] saved.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is damaged or of something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let core = Core::open(path)?;
        match core.kind {
            Trained::Autoencoder | Trained::Transcoder => Ok(Self { core }),
            Trained::CrossLayer => {
                Err(Error::file(path, "is of a cross-layer transcoder: open it with CrossLayerTrainer::open."))
            }
        }
    }
}

impl CrossLayerTrainer {
    /// As [`DictionaryTrainer::save`].
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.core.save(path.as_ref())
    }

    /// The trainer that [`CrossLayerTrainer::save`] saved.
    ///
    /// # Errors
    /// As [`DictionaryTrainer::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let core = Core::open(path)?;
        let what = match core.kind {
            Trained::CrossLayer => return Ok(Self { core }),
            Trained::Autoencoder => "an autoencoder",
            Trained::Transcoder => "a transcoder of one layer",
        };
        Err(Error::file(path, format!("is of {what}: open it with DictionaryTrainer::open.")))
    }
}

impl Core {
    fn save(&self, path: &Path) -> Result<()> {
        let (recipe, bits) = (self.recipe, self.recipe.floats().map(f64::to_bits));
        let about = About { recipe, bits, sizes: self.sizes, trained: self.kind, step: self.step };
        let mut tensors = BTreeMap::new();
        for (name, numbers) in self.numbers() {
            if !numbers.is_empty() {
                tensors.insert(name, Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?);
            }
        }
        for (layer, silent) in self.silent.iter().enumerate() {
            tensors.insert(format!("silent{layer}"), Tensor::from_slice(silent, silent.len(), &Device::Cpu)?);
        }
        storage::store(path, KIND, &about, &tensors)
    }

    /// Every list of f32, by name.
    fn numbers(&self) -> Vec<(String, &Vec<f32>)> {
        let named = |what: &'static str| move |(i, part)| (format!("{what}{i}"), part);
        let mut all: Vec<_> = self.weights.parts().into_iter().enumerate().map(named("weights")).collect();
        all.extend(self.adam.moments.iter().map(|moments| &moments.m).enumerate().map(named("mean")));
        all.extend(self.adam.moments.iter().map(|moments| &moments.v).enumerate().map(named("square")));
        let lists =
            [&self.variance, &self.scale_in, &self.scale_out, &self.cuts, &self.thresholds].into_iter().enumerate();
        all.extend(lists.map(named("list")));
        all
    }

    fn open(path: &Path) -> Result<Self> {
        let (about, tensors): (About, _) = storage::restore(path, KIND)?;
        let About { recipe, bits, sizes, trained, step } = about;
        let recipe = recipe.with_floats(bits.map(f64::from_bits));
        recipe.check().map_err(|error| error.in_file(path))?;
        let Sizes { layers, d_in, d_out, d_sae } = sizes;
        let is_possible = layers > 0 && d_in > 0 && d_out > 0 && d_sae == recipe.d_sae && step <= recipe.steps;
        if !is_possible || (trained != Trained::CrossLayer && layers != 1) || (trained.has_b_in() && d_in != d_out) {
            return Err(Error::file(
                path,
                format!("is of a training that cannot be: {recipe}, step {step}, {sizes:?}."),
            ));
        }
        check_memory(sizes, 0).map_err(|error| error.in_file(path))?;
        let mut file = Numbers { path, tensors };
        let lists: [Vec<f32>; 5] = std::array::from_fn(|_| vec![0.0; layers]);
        let [variance, scale_in, scale_out, cuts, thresholds] = lists;
        let thresholds_of = if recipe.first_threshold().is_some() { d_sae } else { 0 };
        // Sizes are compared with the file before there is room for the numbers.
        let lengths: Vec<Option<usize>> = (0..layers)
            .flat_map(|layer| {
                let written = (layers - layer).checked_mul(d_out).and_then(|width| width.checked_mul(d_sae));
                [d_in.checked_mul(d_sae), Some(d_sae), written, Some(thresholds_of)]
            })
            .chain((0..layers).map(|_| Some(d_out)))
            .collect();
        let mut take = |what: &str| -> Result<Vec<Vec<f32>>> {
            lengths.iter().enumerate().map(|(i, length)| file.take(&format!("{what}{i}"), *length)).collect()
        };
        let mut parts = take("weights")?.into_iter();
        let mut adam = adam();
        adam.steps = step as u64;
        if step > 0 {
            let (means, squares) = (take("mean")?, take("square")?);
            adam.moments = means.into_iter().zip(squares).map(|(m, v)| Moments { m, v }).collect();
        }
        let mut next = || parts.next().expect("as many as there are lengths");
        let of_layer = |_| Layer { w_enc: next(), b_enc: next(), w_dec: next(), log_threshold: next() };
        let weights_of_layers = (0..layers).map(of_layer).collect();
        let weights = Weights { layers: weights_of_layers, b_dec: parts.collect() };
        let mut core = Self {
            recipe,
            sizes,
            kind: trained,
            variance,
            scale_in,
            scale_out,
            weights,
            adam,
            step,
            silent: (0..layers).map(|layer| file.silent(layer, d_sae)).collect::<Result<_>>()?,
            cuts,
            thresholds,
        };
        let into = [&mut core.variance, &mut core.scale_in, &mut core.scale_out, &mut core.cuts, &mut core.thresholds];
        for (i, list) in into.into_iter().enumerate() {
            *list = file.take(&format!("list{i}"), Some(layers))?;
        }
        Ok(core)
    }
}

/// The tensors of a file that are still to be taken.
struct Numbers<'a> {
    path: &'a Path,
    tensors: BTreeMap<String, Tensor>,
}

impl Numbers<'_> {
    /// # Errors
    /// [`Error::File`] for another length, and numbers that are not finite.
    fn take(&mut self, name: &str, length: Option<usize>) -> Result<Vec<f32>> {
        if length == Some(0) {
            return Ok(Vec::new());
        }
        let numbers = storage::take(self.path, &mut self.tensors, name)?.to_vec1::<f32>();
        match numbers {
            Ok(numbers) if Some(numbers.len()) == length && numbers.iter().all(|x| x.is_finite()) => Ok(numbers),
            _ => Err(self.wrong(name)),
        }
    }

    fn silent(&mut self, layer: usize, d_sae: usize) -> Result<Vec<u32>> {
        let name = format!("silent{layer}");
        match storage::take(self.path, &mut self.tensors, &name)?.to_vec1::<u32>() {
            Ok(silent) if silent.len() == d_sae => Ok(silent),
            _ => Err(self.wrong(&name)),
        }
    }

    fn wrong(&self, name: &str) -> Error {
        Error::file(
            self.path,
            format!("its {name} does not belong to the training that it says it is of: save it again."),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::train::dictionary::recipe::Sparsity;

    /// Numbers of all sizes, many of which JSON gives back with another last bit.
    #[test]
    fn a_recipe_comes_back_bit_for_bit() -> Result<()> {
        let path = std::env::temp_dir().join(format!("candle-lens-recipe-{}", std::process::id()));
        let mut random = Random::new(3);
        let x = random.normal((8, 4))?;
        for _ in 0..40 {
            let [learning_rate, l0_coefficient, bandwidth, initial_threshold] =
                [(); 4].map(|()| 10f64.powf(-6.0 * random.uniform()) * random.uniform().max(0.1));
            let sparsity = Sparsity::JumpRelu { l0_coefficient, bandwidth, initial_threshold };
            let recipe = Recipe { d_sae: 4, steps: 10, sparsity, learning_rate, ..Recipe::default() };
            DictionaryTrainer::autoencoder(recipe, &x)?.save(&path)?;
            let back = DictionaryTrainer::open(&path)?.core.recipe;
            assert_eq!(back.floats().map(f64::to_bits), recipe.floats().map(f64::to_bits), "{recipe:?}");
            assert_eq!(back, recipe);
        }
        std::fs::remove_file(&path).expect("the file is there");
        Ok(())
    }
}
