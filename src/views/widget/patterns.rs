//! Where attention comes from: a cache, one of its layers, or any numbers with rows and columns.

use crate::cache::{ActivationCache, Sink};
use crate::error::{Error, Result};
use crate::head::Head;
use crate::labelled::Axis;
use crate::slice::absolute;
use crate::views::source::{Numbers, Source};

/// Attention of one or several heads: `[.., dest, src]` with any axes of heads in front.
///
/// - a tensor, an array or a result of this crate;
/// - `(&cache, layer)`: the heads of one layer, for one prompt; `(&cache, layer, prompt)`: of a batch;
/// - `&cache`: all heads of all layers, for one prompt.
///
/// Of a cache that leaves out attention to the first token ([`ActivationCache::with_sink`]), none to it is shown.
pub trait Patterns {
    /// The numbers, and the ids of the tokens where they are known.
    ///
    /// # Errors
    /// An activation that the cache lacks; numbers that cannot be read.
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
        let parts = (0..layers).map(|layer| Ok(of_layer(self, layer as isize, None)?.0)).collect::<Result<Vec<_>>>()?;
        let heads = Axis::new("head", parts.iter().flat_map(|part| part.axes[0].labels.clone()));
        let views: Vec<_> = parts.iter().map(|part| part.values.view()).collect();
        let values = ndarray::concatenate(ndarray::Axis(0), &views)
            .map_err(|error| Error::argument(format!("the layers' patterns have different shapes: {error}.")))?;
        let axes = [vec![heads], parts[0].axes[1..].to_vec()].concat();
        let title = format!("Attention of all heads{}", left_out(self));
        Ok((Numbers { title, axes, values }, Some(self.tokens().row(0).to_vec())))
    }
}

macro_rules! of_one_layer {
    ($($number:ty),+) => {$(
        impl Patterns for (&ActivationCache, $number) {
            fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)> {
                of_layer(self.0, self.1 as isize, None)
            }
        }

        impl Patterns for (&ActivationCache, $number, $number) {
            fn patterns(&self) -> Result<(Numbers, Option<Vec<u32>>)> {
                of_layer(self.0, self.1 as isize, Some(self.2 as isize))
            }
        }
    )+};
}
of_one_layer!(i32, isize, usize);

/// What a title says of attention that the cache leaves out.
fn left_out(cache: &ActivationCache) -> &'static str {
    match cache.sink() {
        Sink::Counted => "",
        Sink::LeftOut => ", without that to the first token",
    }
}

/// The heads of one layer for one prompt, with their names, and the tokens of the prompt.
fn of_layer(cache: &ActivationCache, layer: isize, prompt: Option<isize>) -> Result<(Numbers, Option<Vec<u32>>)> {
    let mut pattern = cache.attention(layer)?;
    let prompts = cache.tokens().batch();
    if prompt.is_none() && prompts != 1 {
        return Err(Error::argument(format!(
            "this cache has {prompts} prompts, but a widget shows one: give `(&cache, layer, prompt)`, or run one \
             prompt."
        )));
    }
    let prompt = absolute(prompt.unwrap_or(0), prompts, "prompt")?;
    if cache.has_batch_dim() {
        pattern = pattern.get(prompt)?;
    }
    let layer = absolute(layer, cache.dims().n_layers, "layer")?;
    let mut numbers = pattern.numbers()?;
    let heads = numbers.values.shape()[0];
    numbers.axes[0] = Axis::new("head", (0..heads).map(|head| Head::new(layer, head).to_string()));
    numbers.title = format!("Attention of layer {layer}{}", left_out(cache));
    Ok((numbers, Some(cache.tokens().row(prompt).to_vec())))
}
