//! Numbers by prompt, one row for each.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::metrics::mean;
use crate::variables::holds;

/// Rows of numbers under several names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    rows: usize,
    columns: BTreeMap<String, Vec<f32>>,
}

holds! {
    Numbers { columns }
}

impl Numbers {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of one row.
    pub(super) fn row_bytes(&self) -> u64 {
        4 * self.columns.values().map(|values| values.len() / self.rows.max(1)).sum::<usize>() as u64
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Other names or counts than those of the rows before.
    pub(super) fn push(&mut self, row: BTreeMap<String, Vec<f32>>) -> Result<()> {
        let fits = |(name, values): (&String, &Vec<f32>)| {
            self.columns.get(name).is_some_and(|column| column.len() == values.len() * self.rows)
        };
        if self.rows > 0 && (row.len() != self.columns.len() || !row.iter().all(fits)) {
            return Err(Error::argument(
                "this prompt has a different number of results than those before it: return the same for each prompt.",
            ));
        }
        self.rows += 1;
        row.into_iter().for_each(|(name, values)| self.columns.entry(name).or_default().extend(values));
        Ok(())
    }

    /// The rows of all parts, each at its place: `places` of one part after the other are a permutation.
    pub(super) fn placed(parts: Vec<Self>, places: &[usize]) -> Result<Self> {
        let rows = places.len();
        let mut columns: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        let mut before = 0;
        for part in parts {
            for (name, values) in &part.columns {
                let width = values.len() / part.rows.max(1);
                let all = columns.entry(name.clone()).or_insert_with(|| vec![0.; width * rows]);
                if all.len() != width * rows {
                    return Err(Error::argument(format!(
                        "the parts have different counts of {name:?}: they are of different work."
                    )));
                }
                for (row, place) in places[before..before + part.rows].iter().enumerate() {
                    all[place * width..(place + 1) * width].copy_from_slice(&values[row * width..(row + 1) * width]);
                }
            }
            before += part.rows;
        }
        Ok(Self { rows, columns })
    }

    /// The numbers of this name with prompts last, `[width, prompt]`; none where there are none.
    pub(super) fn prompts_last(&self, name: &str) -> Vec<f32> {
        let Some(values) = self.columns.get(name) else { return Vec::new() };
        let width = values.len() / self.rows.max(1);
        (0..width).flat_map(|column| (0..self.rows).map(move |row| values[row * width + column])).collect()
    }

    /// The numbers of this name, row by row.
    pub(super) fn by_row(&self, name: &str) -> &[f32] {
        self.columns.get(name).map_or(&[], Vec::as_slice)
    }

    /// The mean over prompts of each number of this name.
    pub(super) fn means(&self, name: &str) -> Vec<f32> {
        let Some(values) = self.columns.get(name) else { return Vec::new() };
        let width = values.len() / self.rows.max(1);
        let mut column = Vec::with_capacity(self.rows);
        let of = |at: usize| {
            column.clear();
            column.extend(values.iter().skip(at).step_by(width));
            mean(&column)
        };
        (0..width).map(of).collect()
    }

    /// As tensors, `[prompt, width]`.
    pub(super) fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensor =
            |values: &Vec<f32>| Tensor::from_slice(values, (self.rows, values.len() / self.rows.max(1)), &Device::Cpu);
        self.columns.iter().map(|(name, values)| Ok((name.clone(), tensor(values)?))).collect()
    }

    /// What [`Numbers::tensors`] made.
    ///
    /// # Errors
    /// Tensors that are not rows of as many prompts.
    pub(super) fn of_tensors(tensors: &BTreeMap<String, Tensor>, rows: usize) -> Result<Self> {
        let read = |(name, tensor): (&String, &Tensor)| match tensor.dims() {
            [count, _] if *count == rows && tensor.dtype() == DType::F32 => {
                Ok((name.clone(), tensor.flatten_all()?.to_vec1::<f32>()?))
            }
            shape => Err(Error::argument(format!(
                "its numbers {name:?} have the shape {shape:?}, but {rows} prompts have one row each: remove it, and compute \
                 this shard again."
            ))),
        };
        Ok(Self { rows, columns: tensors.iter().map(read).collect::<Result<_>>()? })
    }
}
