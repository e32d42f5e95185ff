//! Sweeps that save what they have done, so that an interrupted one can continue.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::engine::Value;
use super::site::PatchSite;
use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::storage;

const KIND: &str = "sweep";

impl Experiment {
    /// # Errors
    /// [`Error::Argument`] where a file to save to was given, which holds one sweep and nothing else.
    pub(crate) fn refuse_saving(&self, what: &str) -> Result<()> {
        match self.keep {
            Some(_) => Err(Error::argument(format!(
                "{what} is not one sweep, and save_to keeps one: leave it out here, or run the sweeps one by one, each \
                 with its own file."
            ))),
            None => Ok(()),
        }
    }
}

/// The file of one sweep.
pub(super) struct Kept<'a> {
    path: &'a Path,
    /// What distinguishes this sweep from others.
    question: String,
    /// How many numbers each site has: one for each metric and prompt.
    numbers: usize,
}

impl<'a> Kept<'a> {
    pub(super) fn new(path: &'a Path, experiment: &Experiment, sites: &[PatchSite]) -> Self {
        let tokens = experiment.base_tokens();
        let mut asked = format!("{:?} {experiment:?}", experiment.model.provenance());
        asked += &experiment.model.splices_in_words();
        for value in experiment.clean_values.iter().chain(&experiment.corrupted_values) {
            asked += &format!(" {:x}", value.to_bits());
        }
        for row in 0..tokens.batch() {
            asked += &format!(" {:?}", tokens.row(row));
        }
        asked += &experiment.base_source().to_string();
        sites.iter().for_each(|site| asked += &format!(" {site};"));
        let mut crc = flate2::Crc::new();
        crc.update(asked.as_bytes());
        let question = format!("{} sites, {:08x}", sites.len(), crc.sum());
        Self { path, question, numbers: experiment.clean_values.len() }
    }

    /// Fills in the numbers that the file has.
    ///
    /// # Errors
    /// A file of another sweep, or one that is damaged.
    pub(super) fn fill(&self, values: &mut [Option<Value>]) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        let (question, mut tensors): (String, _) = storage::restore(self.path, KIND)?;
        if question != self.question {
            return Err(Error::file(
                self.path,
                "holds another sweep (of another model, other prompts, another metric or other sites): give each sweep \
                 its own file, or remove this one.",
            ));
        }
        let sites = storage::take(self.path, &mut tensors, "sites")?;
        let rows = storage::take(self.path, &mut tensors, "values")?;
        let fits = sites.rank() == 1 && rows.dims() == [sites.elem_count(), self.numbers];
        if !fits || (sites.dtype(), rows.dtype()) != (DType::U32, DType::F32) {
            return Err(Error::file(
                self.path,
                format!(
                    "its values have the shape {:?}, but a row of {} belongs to each of its {} sites: remove it, and \
                     run the sweep again.",
                    rows.dims(),
                    self.numbers,
                    sites.elem_count()
                ),
            ));
        }
        let (sites, rows) = (sites.to_vec1::<u32>()?, rows.to_vec2::<f32>()?);
        for (site, row) in sites.into_iter().zip(rows) {
            if let Some(value) = values.get_mut(site as usize) {
                *value = Some((row, None));
            }
        }
        Ok(())
    }

    /// Writes what has been computed so far; the file is always a whole one, the previous or this.
    pub(super) fn save(&self, values: &[Option<Value>]) -> Result<()> {
        let done = values.iter().enumerate().filter_map(|(site, value)| match value {
            Some((values, None)) => Some((site as u32, values.clone())),
            _ => None,
        });
        let (sites, rows): (Vec<u32>, Vec<Vec<f32>>) = done.unzip();
        if sites.is_empty() {
            return Ok(());
        }
        let tensors = BTreeMap::from([
            ("sites".to_string(), Tensor::new(sites, &Device::Cpu)?),
            ("values".to_string(), Tensor::new(rows, &Device::Cpu)?),
        ]);
        storage::store(self.path, KIND, &self.question, &tensors)
    }
}
