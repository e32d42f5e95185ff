//! Products of gradients with what sources write: the edges into a batch of targets.

use candle_core::{D, DType, Tensor};

use super::super::node::BiasOf;
use super::fitted::Stage;
use super::sources::{Columns, Sources, Written};
use crate::error::Result;

/// The gradient of some targets along the residual stream at neighbouring positions.
pub(super) struct Field {
    /// The first of these positions.
    pub from: usize,
    /// `[target, pos, d_model]`.
    pub g: Tensor,
}

impl Field {
    pub(super) fn count(&self) -> Result<usize> {
        Ok(self.g.dim(1)?)
    }

    /// The same positions of what all positions have.
    ///
    /// # Shapes
    /// `x [pos, ..]`.
    pub(super) fn part(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.narrow(0, self.from, self.count()?)?)
    }
}

/// The gradients of some targets at all sources, row after row.
pub(super) struct Rows {
    columns: Columns,
    edges: Vec<f32>,
    /// Biases do not change between two runs, so that edges from them have no place in a graph of a difference.
    has_biases: bool,
}

impl Rows {
    pub(super) fn new(targets: usize, columns: Columns, has_biases: bool) -> Self {
        Self { columns, edges: vec![0.0; targets * columns.all], has_biases }
    }

    /// The numbers of each target.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.edges.chunks(self.columns.all)
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
        match self.has_biases {
            true => self.add(self.columns.biases + of.column(), &numbers.unsqueeze(1)?),
            false => Ok(()),
        }
    }

    /// Adds to one target's own bias.
    pub(super) fn own_bias(&mut self, target: usize, number: f32) {
        if self.has_biases {
            self.edges[target * self.columns.all + self.columns.biases + BiasOf::Target.column()] += number;
        }
    }

    /// Adds the edges from what a part of a layer writes.
    pub(super) fn stage(&mut self, sources: &Sources, stage: Stage, field: &Field) -> Result<()> {
        for written in &sources.written[stage.number()] {
            self.features(sources, written, field)?;
        }
        let Some(rest) = &sources.rest[stage.number()] else { return Ok(()) };
        let by_position = field.g.broadcast_mul(&field.part(&rest.errors)?)?.sum(D::Minus1)?;
        self.add(self.columns.errors + stage.number() * sources.n_pos + field.from, &by_position)?;
        let along = |x: &Tensor| -> Result<Tensor> { Ok(field.g.broadcast_mul(&field.part(x)?)?.sum((1, 2))?) };
        self.add(self.columns.biases + BiasOf::FirstPositions.column(), &along(&rest.first)?.unsqueeze(1)?)?;
        self.bias(BiasOf::Decoders, &along(&rest.decoder_bias)?)?;
        match &rest.own_bias {
            Some(bias) => self.bias(BiasOf::Attention, &field.g.broadcast_mul(bias)?.sum((1, 2))?),
            None => Ok(()),
        }
    }

    /// Position by position, because the features of one share its gradient.
    fn features(&mut self, sources: &Sources, written: &Written, field: &Field) -> Result<()> {
        let first = sources.of_stage(written.of).start;
        for pos in field.from..field.from + field.count()? {
            let range = sources.at(written.of, pos);
            if range.is_empty() {
                continue;
            }
            let rows = written.rows.narrow(0, range.start - first, range.len())?;
            let at = field.g.narrow(1, pos - field.from, 1)?.squeeze(1)?.contiguous()?;
            self.add(range.start, &at.matmul(&rows.t()?)?)?;
        }
        Ok(())
    }

    /// Adds the edges from embeddings, from the gradient at the first residual stream.
    pub(super) fn embeddings(&mut self, sources: &Sources, field: &Field) -> Result<()> {
        let along = |x: &Tensor| -> Result<Tensor> { Ok(field.g.broadcast_mul(&field.part(x)?)?.sum(D::Minus1)?) };
        self.add(self.columns.tokens + field.from, &along(&sources.tokens)?)?;
        match &sources.positions {
            Some(positions) => self.add(self.columns.positions + field.from, &along(positions)?),
            None => Ok(()),
        }
    }

    /// Adds to the columns of positions that queries and keys read, from `from` on. Between two runs they do not change.
    ///
    /// # Shapes
    /// `numbers [target, pos]`.
    pub(super) fn positions(&mut self, from: usize, numbers: &Tensor) -> Result<()> {
        match self.has_biases {
            true => self.add(self.columns.positions + from, numbers),
            false => Ok(()),
        }
    }
}
