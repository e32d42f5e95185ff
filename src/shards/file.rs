//! The file of a shard.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::made::Made;
use super::numbers::Numbers;
use super::result::ShardResult;
use crate::error::{Error, Result};
use crate::shard::{Cut, Shard};
use crate::storage;

const KIND: &str = "shard";

/// How the name of a shard's file ends.
pub(super) const EXTENSION: &str = "safetensors";

/// A shard besides its numbers.
#[derive(Serialize, Deserialize)]
struct Saved {
    cut: Cut,
    made: Made,
    about: Option<About>,
    done: usize,
}

/// The file of a shard in a folder; names sort by number.
pub(super) fn path_in(folder: &Path, shard: Shard) -> PathBuf {
    let of = shard.of().to_string();
    folder.join(format!("shard-{:0width$}-of-{of}.{EXTENSION}", shard.number(), width = of.len()))
}

impl ShardResult {
    /// Saves the results of the prompts so far in one file, with all that [`gather`](super::gather) checks. The file is written
    /// completely or not at all, and numbers are preserved bit for bit.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let part = Shard::new(1, 2)?.texts(["The keys on the cabinet", "Tirana, the capital of", "diamonds, and other"]);
    /// let lengths = part.each_text(&model, |text| Ok(model.to_tokens(text)?.pos() as f32))?;
    /// let path = std::env::temp_dir().join(format!("candle-lens-part-{}.safetensors", std::process::id()));
    /// lengths.save(&path)?;
    /// assert_eq!(ShardResult::load(&path)?, lengths);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (cut, made, about) = (self.cut.clone(), self.made.clone(), self.about.clone());
        let tensors: BTreeMap<String, Tensor> = self.numbers.tensors()?;
        storage::store(path.as_ref(), KIND, &Saved { cut, made, about, done: self.numbers.rows() }, &tensors)
    }

    /// Loads what [`ShardResult::save`] wrote, finished or not.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged, or not of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (Saved { cut, made, about, done }, tensors): (Saved, _) = storage::restore(path, KIND)?;
        let unsound = |error: Error| error.in_file(path);
        let ascending = cut.places.is_sorted_by(|a, b| a < b) && cut.places.last().is_none_or(|last| *last < cut.count);
        if !ascending || done > cut.places.len() || about.is_some() != (done > 0) {
            return Err(Error::file(
                path,
                "says of itself what cannot be of a shard: remove it, and compute this shard again.",
            ));
        }
        let numbers = Numbers::of_tensors(&tensors, done).map_err(unsound)?;
        let result = Self { cut, made, about, numbers };
        result.check_counts().map_err(unsound)?;
        Ok(result)
    }
}
