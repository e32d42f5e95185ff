//! Products of gradients with what sources write: the edges of a batch of targets.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::incoming::Incoming;
use super::node::BiasOf;
use super::sources::{Columns, Sources};
use crate::error::Result;

/// What sources write at one place of the run, position by position: those at one position share its gradient.
pub(super) struct Place(Vec<Writers>);

/// What sources write at one position.
struct Writers {
    /// `[source, d_model]`, none where nothing is written.
    rows: Option<Tensor>,
    columns: Vec<u32>,
}

/// The sources of a place while they are collected.
struct Collected {
    rows: Vec<Vec<Tensor>>,
    columns: Vec<Vec<u32>>,
}

impl Collected {
    fn new(positions: usize) -> Self {
        Self { rows: vec![Vec::new(); positions], columns: vec![Vec::new(); positions] }
    }

    /// Adds what each position writes, to a column for each position or to one for all.
    ///
    /// # Shapes
    /// `rows [pos, d_model]`.
    fn each(&mut self, rows: &Tensor, column: impl Fn(usize) -> usize) -> Result<()> {
        for pos in 0..self.rows.len() {
            self.rows[pos].push(rows.narrow(0, pos, 1)?);
            self.columns[pos].push(column(pos) as u32);
        }
        Ok(())
    }

    fn done(self) -> Result<Place> {
        let stack = |(rows, columns): (Vec<Tensor>, Vec<u32>)| -> Result<Writers> {
            let rows = if rows.is_empty() { None } else { Some(Tensor::cat(&rows, 0)?.contiguous()?) };
            Ok(Writers { rows, columns })
        };
        self.rows.into_iter().zip(self.columns).map(stack).collect::<Result<_>>().map(Place)
    }
}

impl Place {
    /// What a layer's MLP writes.
    pub(super) fn mlp(sources: &Sources, layer: usize) -> Result<Self> {
        let (columns, mut all) = (sources.columns(), Collected::new(sources.n_pos));
        for written in &sources.written[layer] {
            let first = sources.of_layer(written.of).start;
            for pos in sources.first_position..sources.n_pos {
                let range = sources.at(written.of, pos);
                if !range.is_empty() {
                    all.rows[pos].push(written.rows.narrow(0, range.start - first, range.len())?);
                    all.columns[pos].extend(range.map(|column| column as u32));
                }
            }
        }
        if let Some(rest) = &sources.rest[layer] {
            all.each(&rest.errors, |pos| columns.errors + layer * sources.n_pos + pos)?;
            all.each(&rest.decoder_bias, |_| columns.bias(BiasOf::Decoders))?;
            if sources.first_position > 0 {
                all.each(&rest.first, |_| columns.bias(BiasOf::FirstPositions))?;
            }
        }
        let shift = sources.read[layer].as_ref().and_then(|read| read.skip.as_ref()?.shift.as_ref());
        if let Some(shift) = shift {
            let shift = shift.unsqueeze(0)?.broadcast_as((sources.n_pos, shift.dim(0)?))?.contiguous()?;
            all.each(&shift, |_| columns.bias(BiasOf::Norms))?;
        }
        all.done()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter().filter_map(|writers| writers.rows.as_ref())
    }

    /// What attention writes without reading anything.
    pub(super) fn attention(sources: &Sources, biases: &Tensor, shifts: Option<&Tensor>) -> Result<Self> {
        let (columns, mut all) = (sources.columns(), Collected::new(sources.n_pos));
        all.each(biases, |_| columns.bias(BiasOf::Attention))?;
        if let Some(shifts) = shifts {
            all.each(shifts, |_| columns.bias(BiasOf::Norms))?;
        }
        all.done()
    }

    /// The embeddings.
    pub(super) fn embeddings(sources: &Sources) -> Result<Self> {
        let (columns, mut all) = (sources.columns(), Collected::new(sources.n_pos));
        all.each(&sources.tokens, |pos| columns.tokens + pos)?;
        if let Some(positions) = &sources.positions {
            all.each(positions, |pos| columns.positions + pos)?;
        }
        all.done()
    }
}

/// The edges of some targets, row after row.
pub(super) struct Rows {
    columns: Columns,
    edges: Vec<f32>,
}

impl Rows {
    pub(super) fn new(targets: usize, columns: Columns) -> Self {
        Self { columns, edges: vec![0.0; targets * columns.all] }
    }

    /// Of each target.
    pub(super) fn split(self) -> Vec<Incoming> {
        self.edges.par_chunks(self.columns.all).map(Incoming::of_dense).collect()
    }

    /// Adds to a target's column of a bias.
    pub(super) fn bias(&mut self, target: usize, of: BiasOf, number: f32) {
        self.edges[target * self.columns.all + self.columns.bias(of)] += number;
    }

    /// Adds to the column of a bias.
    ///
    /// # Shapes
    /// `numbers [target]`.
    pub(super) fn biases(&mut self, of: BiasOf, numbers: &Tensor) -> Result<()> {
        let numbers = numbers.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        numbers.into_iter().enumerate().for_each(|(target, number)| self.bias(target, of, number));
        Ok(())
    }

    /// Adds the edges from what is written at a place, from the gradient there.
    ///
    /// # Shapes
    /// `g [pos, target, d_model]`, of the first positions.
    pub(super) fn add(&mut self, place: &Place, g: &Tensor) -> Result<()> {
        for (pos, writers) in place.0.iter().take(g.dim(0)?).enumerate() {
            let Some(rows) = &writers.rows else { continue };
            let numbers = g.get(pos)?.matmul(&rows.t()?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            for (row, numbers) in self.edges.chunks_mut(self.columns.all).zip(numbers) {
                for (&column, number) in writers.columns.iter().zip(numbers) {
                    row[column as usize] += number;
                }
            }
        }
        Ok(())
    }
}
