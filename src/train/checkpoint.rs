//! What an interrupted training goes on from: weights, moments, the state of random choices, the record, the buffer of activations.
//!
//! A checkpoint is one file, written whole: an interrupt leaves the old one or the new one. Training that goes on from it computes the
//! same numbers, bit for bit, as training that was never interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adamw::{AdamW, AdamWOptions, Moments};
use super::log::TrainingLog;
use crate::error::{Error, Result};
use crate::random::{Random, RandomState};
use crate::storage::{restore, store};
use crate::visible::visible;

const KIND: &str = "training checkpoint";

/// The state of a training after a step, part by part under names of the caller's choice.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut weights = vec![1f32, 2.];
/// let mut adam = AdamW::new(AdamWOptions::default());
/// adam.step(0.1, [(&mut weights[..], &[0.5f32, -0.5][..])])?;
///
/// let path = std::env::temp_dir().join("candle_lens_checkpoint.safetensors");
/// let mut checkpoint = Checkpoint::new("two weights", 1);
/// checkpoint.put_values("weights", &weights)?;
/// checkpoint.put_optimiser("adam", &adam)?;
/// checkpoint.save(&path)?;
///
/// let back = Checkpoint::load(&path, "two weights")?;
/// assert_eq!((back.step(), back.values("weights")?), (1, weights));
/// assert_eq!(back.optimiser("adam")?, adam);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    what: String,
    step: u64,
    tensors: BTreeMap<String, Tensor>,
    facts: BTreeMap<String, Value>,
}

/// All of a checkpoint but its tensors, as it is stored.
#[derive(Serialize, Deserialize)]
struct About {
    what: String,
    step: u64,
    facts: BTreeMap<String, Value>,
}

/// The constants of an optimiser by their bits, since JSON rounds.
#[derive(Serialize, Deserialize)]
struct OfAdamW {
    bits: [u64; 4],
    steps: u64,
    parameters: usize,
}

#[derive(Serialize, Deserialize)]
struct OfLog {
    title: String,
    names: Vec<String>,
}

impl Checkpoint {
    /// An empty checkpoint of the training of `what` after so many steps.
    pub fn new(what: impl Into<String>, step: u64) -> Self {
        Self { what: what.into(), step, tensors: BTreeMap::new(), facts: BTreeMap::new() }
    }

    /// After how many steps it was taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Keeps a tensor.
    pub fn put_tensor(&mut self, name: &str, tensor: &Tensor) {
        self.tensors.insert(name.into(), tensor.clone());
    }

    /// A tensor of this name, on the CPU.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what the checkpoint does not have, as all methods that read from it.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.tensors.get(name).cloned().ok_or_else(|| self.lacks(name))
    }

    /// Keeps numbers, such as weights in a slice.
    ///
    /// # Errors
    /// candle's.
    pub fn put_values(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.put_tensor(name, &Tensor::new(values, &Device::Cpu)?);
        Ok(())
    }

    /// The numbers of this name.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        self.typed(name, DType::F32)?.flatten_all()?.to_vec1().map_err(Error::from)
    }

    /// Keeps an optimiser.
    ///
    /// # Errors
    /// candle's.
    pub fn put_optimiser(&mut self, name: &str, optimiser: &AdamW) -> Result<()> {
        let AdamWOptions { beta1, beta2, eps, weight_decay } = optimiser.options;
        let bits = [beta1, beta2, eps, weight_decay].map(f64::to_bits);
        let (steps, parameters) = (optimiser.steps, optimiser.moments.len());
        self.put(name, &OfAdamW { bits, steps, parameters });
        for (number, Moments { m, v }) in optimiser.moments.iter().enumerate() {
            self.put_values(&format!("{name}.m.{number}"), m)?;
            self.put_values(&format!("{name}.v.{number}"), v)?;
        }
        Ok(())
    }

    /// The optimiser of this name, as it was.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn optimiser(&self, name: &str) -> Result<AdamW> {
        let OfAdamW { bits, steps, parameters } = self.get(name)?;
        let [beta1, beta2, eps, weight_decay] = bits.map(f64::from_bits);
        let options = AdamWOptions { beta1, beta2, eps, weight_decay };
        options.check()?;
        let mut moments = Vec::new();
        for number in 0..parameters {
            let (m, v) = (self.values(&format!("{name}.m.{number}"))?, self.values(&format!("{name}.v.{number}"))?);
            if m.len() != v.len() {
                return Err(self.damaged(name, "its two means have different lengths"));
            }
            moments.push(Moments { m, v });
        }
        Ok(AdamW { options, steps, moments })
    }

    /// Keeps a stream of random choices where it is.
    pub fn put_random(&mut self, name: &str, random: &Random) {
        self.put(name, &random.state());
    }

    /// The stream of random choices of this name, from where it was.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn random(&self, name: &str) -> Result<Random> {
        Ok(Random::at(&self.get::<RandomState>(name)?))
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// candle's.
    pub fn put_log(&mut self, name: &str, log: &TrainingLog) -> Result<()> {
        self.put(name, &OfLog { title: log.title(), names: log.names() });
        for (number, series) in log.series.values().enumerate() {
            let (steps, values): (Vec<i64>, Vec<f64>) =
                series.iter().map(|(step, value)| (step.cast_signed(), *value)).unzip();
            self.put_tensor(&format!("{name}.steps.{number}"), &Tensor::new(steps, &Device::Cpu)?);
            self.put_tensor(&format!("{name}.values.{number}"), &Tensor::new(values, &Device::Cpu)?);
        }
        Ok(())
    }

    /// The record of this name.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn log(&self, name: &str) -> Result<TrainingLog> {
        let OfLog { title, names } = self.get(name)?;
        let mut log = TrainingLog::new(title);
        for (number, series) in names.into_iter().enumerate() {
            let steps = self.typed(&format!("{name}.steps.{number}"), DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
            let values = self.typed(&format!("{name}.values.{number}"), DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            let is_ascending = steps.windows(2).all(|pair| pair[0].cast_unsigned() < pair[1].cast_unsigned());
            if steps.len() != values.len() || !is_ascending {
                return Err(self.damaged(name, "its steps and its numbers do not belong together"));
            }
            log.series.insert(series, steps.into_iter().map(i64::cast_unsigned).zip(values).collect());
        }
        Ok(log)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written; the file that was there before is whole then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let about = About { what: self.what.clone(), step: self.step, facts: self.facts.clone() };
        store(path.as_ref(), KIND, &about, &self.tensors)
    }

    /// Reads a file of the training of `what`.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, is damaged, or holds the training of something else.
    pub fn load(path: impl AsRef<Path>, what: &str) -> Result<Self> {
        let path = path.as_ref();
        let (About { what: found, step, facts }, tensors) = restore(path, KIND)?;
        if found != what {
            return Err(Error::file(
                path,
                format!(
                    "is a checkpoint of the training of \"{}\", not of \"{}\": name another file, or begin anew.",
                    visible(&found),
                    visible(what)
                ),
            ));
        }
        Ok(Self { what: found, step, tensors, facts })
    }

    /// Keeps plain data; floats in it may be rounded.
    pub(super) fn put(&mut self, name: &str, value: &impl Serialize) {
        self.facts.insert(name.into(), serde_json::to_value(value).expect("plain data is JSON"));
    }

    pub(super) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.facts.get(name).cloned().ok_or_else(|| self.lacks(name))?;
        serde_json::from_value(value).map_err(|error| self.damaged(name, &format!("it is something else ({error})")))
    }

    pub(super) fn typed(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let tensor = self.tensor(name)?;
        match tensor.dtype() == dtype {
            true => Ok(tensor),
            false => Err(self.damaged(name, &format!("it holds {:?} numbers instead of {dtype:?}", tensor.dtype()))),
        }
    }

    fn lacks(&self, name: &str) -> Error {
        let names = self.tensors.keys().chain(self.facts.keys()).map(|name| visible(name)).collect::<Vec<_>>();
        let has = if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
        Error::argument(format!(
            "the checkpoint of the training of \"{}\" has no \"{}\": it has {has}.",
            visible(&self.what),
            visible(name)
        ))
    }

    pub(super) fn damaged(&self, name: &str, why: &str) -> Error {
        Error::argument(format!(
            "\"{}\" in the checkpoint of the training of \"{}\" cannot be used, because {why}: begin anew, or from another \
             checkpoint.",
            visible(name),
            visible(&self.what)
        ))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.tensors.values().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum();
        let size = crate::error::human_bytes(bytes as u64);
        write!(f, "checkpoint of the training of \"{}\" after {} steps, {size}", visible(&self.what), self.step)
    }
}
