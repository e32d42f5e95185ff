//! Products of gradients with what sources write: the edges of a batch of targets.

use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

use super::incoming::Incoming;
use super::node::BiasOf;
use super::sources::{Columns, Sources, Written};
use crate::error::Result;

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

    /// Adds numbers to neighbouring columns.
    ///
    /// # Shapes
    /// `numbers [target, column]`.
    fn add(&mut self, first: usize, numbers: &Tensor) -> Result<()> {
        let numbers = numbers.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        for (row, numbers) in self.edges.chunks_mut(self.columns.all).zip(numbers) {
            for (edge, number) in row[first..].iter_mut().zip(numbers) {
                *edge += number;
            }
        }
        Ok(())
    }

    /// Adds to the column of a bias.
    ///
    /// # Shapes
    /// `numbers [target]`.
    pub(super) fn bias(&mut self, of: BiasOf, numbers: &Tensor) -> Result<()> {
        self.add(self.columns.biases + of.column(), &numbers.unsqueeze(1)?)
    }

    /// Adds to one target's own bias.
    pub(super) fn own_bias(&mut self, target: usize, number: f32) {
        self.edges[target * self.columns.all + self.columns.biases + BiasOf::Target.column()] += number;
    }

    /// The edges from what a layer's MLP writes, from the gradient there.
    ///
    /// # Shapes
    /// `g [target, pos, d_model]`.
    pub(super) fn mlp(&mut self, sources: &Sources, layer: usize, g: &Tensor) -> Result<()> {
        for written in &sources.written[layer] {
            self.features(sources, written, g)?;
        }
        let Some(rest) = &sources.rest[layer] else { return Ok(()) };
        let by_position = g.broadcast_mul(&rest.errors)?.sum(D::Minus1)?;
        self.add(self.columns.errors + layer * sources.n_pos, &by_position)?;
        self.bias(BiasOf::Decoders, &g.broadcast_mul(&rest.decoder_bias)?.sum((1, 2))?)?;
        self.bias(BiasOf::FirstPositions, &g.broadcast_mul(&rest.first)?.sum((1, 2))?)
    }

    /// Position by position, because the features of one share its gradient.
    fn features(&mut self, sources: &Sources, written: &Written, g: &Tensor) -> Result<()> {
        let first = sources.of_layer(written.of).start;
        for pos in sources.first_position..sources.n_pos {
            let range = sources.at(written.of, pos);
            if range.is_empty() {
                continue;
            }
            let rows = written.rows.narrow(0, range.start - first, range.len())?;
            let at = g.narrow(1, pos, 1)?.squeeze(1)?.contiguous()?;
            self.add(range.start, &at.matmul(&rows.t()?)?)?;
        }
        Ok(())
    }

    /// The edges from embeddings, from the gradient at the first residual stream.
    pub(super) fn embeddings(&mut self, sources: &Sources, g: &Tensor) -> Result<()> {
        self.add(self.columns.tokens, &g.broadcast_mul(&sources.tokens)?.sum(D::Minus1)?)?;
        match &sources.positions {
            Some(positions) => self.add(self.columns.positions, &g.broadcast_mul(positions)?.sum(D::Minus1)?),
            None => Ok(()),
        }
    }
}
