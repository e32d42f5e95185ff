//! Rows that are saved while a graph is made, so that an interrupted one can continue.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::graph::Row;
use super::incoming::Incoming;
use super::node::GraphNode;
use super::options::GraphOptions;
use super::pull::Pull;
use super::targets::Targets;
use crate::error::{Error, Result};
use crate::storage;

const KIND: &str = "attribution graph";

/// How often the rows of one graph are saved.
const SAVES: usize = 10;

/// The file of one graph.
pub(super) struct Kept<'a> {
    path: &'a Path,
    /// A checksum of all numbers that edges are computed from.
    question: String,
    /// How many rows are saved at once.
    together: usize,
    /// How many have been.
    saved: usize,
}

impl<'a> Kept<'a> {
    pub(super) fn new(path: &'a Path, pull: &Pull, targets: &Targets, options: &GraphOptions) -> Result<Self> {
        let rows = options.most_features.unwrap_or(usize::MAX).min(pull.sources.features.len());
        let mut crc = flate2::Crc::new();
        crc.update(format!("{rows} {} {:?}", options.batch_size, targets.weights).as_bytes());
        for active in &pull.sources.features {
            crc.update(format!("{active:?}").as_bytes());
        }
        for numbers in pull.numbers().into_iter().chain(&targets.directions) {
            let numbers = numbers.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            crc.update(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
        }
        Ok(Self { path, question: format!("{rows} rows, {:08x}", crc.sum()), together: rows.div_ceil(SAVES), saved: 0 })
    }

    /// The rows that the file has, each with the number of its feature.
    ///
    /// # Errors
    /// A file of another graph, or one that is damaged.
    pub(super) fn rows(&mut self, count: usize, columns: usize) -> Result<Vec<(usize, Incoming)>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let (question, mut tensors): (String, _) = storage::restore(self.path, KIND)?;
        if question != self.question {
            return Err(Error::file(
                self.path,
                "holds another graph (of another model, prompt, dictionaries, targets or options, or of the same ones with other rounding): \
                 give each graph its own file, or remove this one.",
            ));
        }
        let mut take = |name: &str, dtype: DType| -> Result<Tensor> {
            let tensor = storage::take(self.path, &mut tensors, name)?;
            match tensor.rank() == 1 && tensor.dtype() == dtype {
                true => Ok(tensor),
                false => Err(self.damaged(&format!("{name} is not a list of {dtype:?} numbers"))),
            }
        };
        let numbers = take("features", DType::U32)?.to_vec1::<u32>()?;
        let counts = take("counts", DType::U32)?.to_vec1::<u32>()?;
        let sources = take("sources", DType::U32)?.to_vec1::<u32>()?;
        let weights = take("weights", DType::F32)?.to_vec1::<f32>()?;
        let edges: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if numbers.len() != counts.len() || sources.len() != weights.len() || edges != sources.len() as u64 {
            return Err(self.damaged("its lists are not equally long"));
        }
        let mut is_there = vec![false; count];
        if !numbers
            .iter()
            .all(|&number| is_there.get_mut(number as usize).is_some_and(|there| !std::mem::replace(there, true)))
        {
            return Err(self.damaged("it has features that are not of the graph, or one twice"));
        }
        let mut rows = Vec::with_capacity(numbers.len());
        let (mut sources, mut weights) = (&sources[..], &weights[..]);
        for (feature, count) in numbers.into_iter().zip(counts) {
            let (own, later) = sources.split_at(count as usize);
            let (own_weights, later_weights) = weights.split_at(count as usize);
            (sources, weights) = (later, later_weights);
            let edges = Incoming::of_parts(own, own_weights, columns);
            let edges = edges.ok_or_else(|| self.damaged("the sources of a row are not in order"))?;
            rows.push((feature as usize, edges));
        }
        self.saved = rows.len();
        Ok(rows)
    }

    fn damaged(&self, what: &str) -> Error {
        Error::file(self.path, format!("{what}: remove it, and make the graph again."))
    }

    /// How many rows are computed before they are saved.
    pub(super) fn together(&self) -> usize {
        self.together
    }

    /// Saves the rows of features if enough are new, or all are there. The file is always a whole one, the previous or this.
    pub(super) fn save(&mut self, rows: &[Row], sources: &[GraphNode], all: usize) -> Result<()> {
        let (mut features, mut counts, mut columns, mut weights) = (vec![], vec![], vec![], Vec::<f32>::new());
        let number = |row: &Row| sources.binary_search(&row.node).ok();
        let rows: Vec<(usize, &Row)> = rows.iter().filter_map(|row| Some((number(row)?, row))).collect();
        let is_due = rows.len() >= self.saved + self.together || rows.len() == all;
        if !is_due || rows.len() == self.saved {
            return Ok(());
        }
        for (feature, row) in &rows {
            features.push(*feature as u32);
            counts.push(row.edges.columns().len() as u32);
            columns.extend_from_slice(row.edges.columns());
            weights.extend_from_slice(row.edges.weights());
        }
        let mut tensors = BTreeMap::from([("weights".to_string(), Tensor::new(weights, &Device::Cpu)?)]);
        for (name, list) in [("features", features), ("counts", counts), ("sources", columns)] {
            tensors.insert(name.to_string(), Tensor::new(list, &Device::Cpu)?);
        }
        storage::store(self.path, KIND, &self.question, &tensors)?;
        self.saved = rows.len();
        Ok(())
    }
}
