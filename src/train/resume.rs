//! A store of activations in a checkpoint: its buffer, what it has read of the texts, and where its random choices are.

use std::collections::VecDeque;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::store::ActivationStore;
use crate::error::{Error, Result};
use crate::random::{Random, RandomState};
use crate::visible::visible;

#[derive(Serialize, Deserialize)]
struct OfStore {
    /// Model, points and options, which decide what comes next.
    about: String,
    texts: u64,
    rows_given: u64,
    has_ended: bool,
    random: RandomState,
    /// The lengths of the rows of ids that were read and not run.
    waiting: Vec<usize>,
}

impl ActivationStore {
    /// Keeps the store's state in a checkpoint under this name: what is in its buffer, and where it is in its texts.
    ///
    /// # Errors
    /// candle's.
    pub fn put_in(&self, checkpoint: &mut Checkpoint, name: &str) -> Result<()> {
        let waiting = self.waiting.iter().map(Vec::len).collect();
        let (texts, rows_given, has_ended) = (self.texts.given(), self.rows_given, self.has_ended);
        let random = self.random.state();
        checkpoint.put(name, &OfStore { about: self.about(), texts, rows_given, has_ended, random, waiting });
        let ids: Vec<u32> = self.waiting.iter().flatten().copied().collect();
        checkpoint.put_tensor(&format!("{name}.waiting"), &Tensor::new(ids, &Device::Cpu)?);
        for (number, rows) in self.buffer.rows().into_iter().enumerate() {
            checkpoint.put_values(&format!("{name}.rows.{number}"), &rows)?;
        }
        Ok(())
    }

    /// Goes on from where the store was that a checkpoint holds under this name. This one is new, made of the same model with the same points and
    /// options from the same texts, of which those that were read are read again and thrown away.
    ///
    /// # Errors
    /// [`Error::Argument`] for a store that has given batches, one of another model or with other points or options, and fewer texts.
    pub fn resume(&mut self, checkpoint: &Checkpoint, name: &str) -> Result<()> {
        let OfStore { about, texts, rows_given, has_ended, random, waiting } = checkpoint.get(name)?;
        if about != self.about() {
            return Err(Error::argument(format!(
                "the checkpoint holds a store of another model, or with other points or options: it was {}, and this is {}.",
                visible(&about),
                visible(&self.about())
            )));
        }
        let ids = checkpoint.typed(&format!("{name}.waiting"), DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        let total = waiting.iter().try_fold(0_usize, |sum, length| sum.checked_add(*length));
        if total != Some(ids.len()) || waiting.contains(&0) {
            return Err(checkpoint.damaged(name, "its waiting rows have other lengths than they should"));
        }
        let rows = (0..self.points().len()).map(|number| checkpoint.values(&format!("{name}.rows.{number}")));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        if self.buffer.count(&rows).is_none() {
            return Err(checkpoint.damaged(name, "the rows of its points are not of the same positions"));
        }
        // Last, since it takes texts: whatever is refused above leaves the store as it was.
        self.texts.skip(texts)?;
        self.buffer.fill_with(&rows);
        let mut ids = ids.into_iter();
        self.waiting = waiting.into_iter().map(|length| ids.by_ref().take(length).collect()).collect::<VecDeque<_>>();
        (self.random, self.rows_given, self.has_ended) = (Random::at(&random), rows_given, has_ended);
        Ok(())
    }

    fn about(&self) -> String {
        let points: Vec<String> = self.points().iter().map(ToString::to_string).collect();
        let model = self.model.provenance();
        let crc32 = model.crc32.unwrap_or_else(|| "unknown".into());
        let processing = if model.processing.is_empty() { "none".into() } else { model.processing.join(", ") };
        format!(
            "{} of {} (CRC-32 of its weights: {crc32}; processing: {processing}; {}) with {:?}",
            points.join(", "),
            model.model,
            model.dtype,
            self.options
        )
    }
}
