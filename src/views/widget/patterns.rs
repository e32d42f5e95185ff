//! Where attention comes from: a cache, one of its layers, or any numbers with rows and columns.

use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::source::{Numbers, Source};

/// Attention of one or several heads: `[.., dest, src]` with any axes of heads in front.
///
/// - a tensor, an array or a result of this crate;
/// - `(&cache, layer)`: the heads of one layer, for one prompt; `(&cache, layer, prompt)`: of a batch;
/// - `&cache`: all heads of all layers, for one prompt.
pub trait Patterns {
    /// The numbers, and the ids of the tokens where they are known.
    ///
    /// # Errors
    /// What the cache lacks, and numbers that cannot be read.
    fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)>;
}

impl<S: Source> Patterns for S {
    fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)> {
        Ok((self.numbers()?, None))
    }
}

impl Patterns for &ActivationCache {
    fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)> {
        let layers = self.dims().n_layers;
        let parts = (0..layers).map(|layer| of_layer(self, layer as isize, None)).collect::<Result<Vec<_>>>()?;
        let heads = Axis::new("head", parts.iter().flat_map(|part| part.axes[0].labels.clone()));
        let views: Vec<_> = parts.iter().map(|part| part.values.view()).collect();
        let values = ndarray::concatenate(ndarray::Axis(0), &views)
            .map_err(|error| Error::argument(format!("the layers' patterns do not fit together: {error}.")))?;
        let axes = [vec![heads], parts[0].axes[1..].to_vec()].concat();
        let title = "Attention of all heads".to_owned();
        Ok((Numbers { title, axes, values }, Some(self.tokens().row(0).to_vec())))
    }
}

macro_rules! of_one_layer {
    ($($layer:ty),+) => {$(
        impl Patterns for (&ActivationCache, $layer) {
            fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)> {
                Ok((of_layer(self.0, self.1 as isize, None)?, Some(self.0.tokens().row(0).to_vec())))
            }
        }

        impl Patterns for (&ActivationCache, $layer, usize) {
            fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)> {
                let numbers = of_layer(self.0, self.1 as isize, Some(self.2))?;
                Ok((numbers, Some(self.0.tokens().row(self.2).to_vec())))
            }
        }
    )+};
}
of_one_layer!(i32, isize, usize);

/// The heads of one layer for one prompt, with their names.
fn of_layer(cache: &ActivationCache, layer: isize, prompt: Option<usize>) -> Result<Numbers> {
    let mut pattern = cache.get(("pattern", layer))?;
    let prompts = cache.tokens().batch();
    if prompt.is_none() && prompts != 1 {
        return Err(Error::argument(format!(
            "this cache holds {prompts} prompts and a widget shows one: give `(&cache, layer, prompt)`, or run one prompt."
        )));
    }
    let prompt = prompt.unwrap_or(0);
    if prompt >= prompts {
        return Err(Error::argument(format!("this cache has no prompt {prompt}: it holds {prompts}, counted from 0.")));
    }
    if cache.has_batch_dim() {
        pattern = pattern.get(prompt)?;
    }
    let layers = cache.dims().n_layers as isize;
    let layer = if layer < 0 { layer + layers } else { layer };
    let mut numbers = pattern.numbers()?;
    let heads = numbers.values.shape()[0];
    numbers.axes[0] = Axis::new("head", (0..heads).map(|head| format!("L{layer}H{head}")));
    numbers.title = format!("Attention of layer {layer}");
    Ok(numbers)
}
