//! Attention of the last position before and after edits.

use candle_core::{DType, Tensor};

use super::changes::{FeatureEditRun, runs};
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};

impl FeatureEditRun {
    /// How much the last position attends to each position in a layer, the mean over heads and prompts, before and after: two rows
    /// for [`bar`](crate::views::bar()).
    ///
    /// # Shapes
    /// `[run, key_pos]`: clean, edited.
    ///
    /// # Errors
    /// A layer whose pattern was not captured; padded prompts, whose positions mean different things.
    pub fn attention(&self, layer: isize) -> Result<Labelled> {
        let title = format!("attention from the last position in layer {layer}, mean over heads");
        self.rows(layer, title, |rows| Ok(rows.mean(0)?))
    }

    /// As [`FeatureEditRun::attention`], of one head.
    ///
    /// # Shapes
    /// `[run, key_pos]`.
    ///
    /// # Errors
    /// As [`FeatureEditRun::attention`]; a head that the model does not have.
    pub fn attention_of_head(&self, layer: isize, head: usize) -> Result<Labelled> {
        let heads = self.caches[0].dims().n_heads;
        if head >= heads {
            return Err(Error::argument(format!("there is no head {head}: a layer has {heads} (0 to {}).", heads - 1)));
        }
        let title = format!("attention from the last position in head {head} of layer {layer}");
        self.rows(layer, title, |rows| Ok(rows.get(head)?))
    }

    /// How much the last position attends to one position in each head of a layer, the mean over prompts, before and after.
    ///
    /// # Shapes
    /// `[run, head]`: clean, edited.
    ///
    /// # Errors
    /// As [`FeatureEditRun::attention`]; a position that the prompts do not have.
    pub fn attention_to(&self, layer: isize, pos: usize) -> Result<Labelled> {
        let [clean, edited] = self.last_rows(layer)?;
        let (heads, positions) = clean.dims2()?;
        if pos >= positions {
            return Err(Error::argument(format!(
                "there is no position {pos}: the prompts have {positions} tokens (positions 0 to {}).",
                positions - 1
            )));
        }
        let both = Tensor::stack(&[clean.narrow(1, pos, 1)?.squeeze(1)?, edited.narrow(1, pos, 1)?.squeeze(1)?], 0)?;
        let title = format!("attention from the last position to {} in layer {layer}", self.labels[pos]);
        Labelled::from_tensor(title, vec![runs(), Axis::numbered("head", heads)], &both)
    }

    fn rows(&self, layer: isize, title: String, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Labelled> {
        let [clean, edited] = self.last_rows(layer)?;
        let both = Tensor::stack(&[of(&clean)?, of(&edited)?], 0)?;
        Labelled::from_tensor(title, vec![runs(), Axis::new("key_pos", self.labels.clone())], &both)
    }

    /// The rows of the last query in both runs, the mean over prompts.
    ///
    /// # Shapes
    /// Twice `[head, key_pos]`.
    fn last_rows(&self, layer: isize) -> Result<[Tensor; 2]> {
        if self.tokens().is_padded() {
            return Err(Error::argument(
                "some prompts are padded, so that positions of different prompts have nothing in common: run prompts of one length, or \
                 read the patterns of before() and after() prompt by prompt.",
            ));
        }
        let of = |run: usize| -> Result<Tensor> {
            if !self.caches[run].contains(("pattern", layer)) {
                self.caches[run].dims().layer(layer)?;
                return Err(Error::argument(format!(
                    "the pattern of layer {layer} was not captured: add .capture(\"pattern\") to the options, and run again."
                )));
            }
            let pattern = self.caches[run].get(("pattern", layer))?.to_dtype(DType::F32)?;
            let last = pattern.dim(2)? - 1;
            Ok(pattern.narrow(2, last, 1)?.squeeze(2)?.mean(0)?)
        };
        Ok([of(0)?, of(1)?])
    }
}
