//! What stands in for an activation: the point that a dictionary writes, and what is written there.

use candle_core::{DType, Tensor};

use super::batches::Batch;
use crate::dictionaries::{Dictionary, FeatureActs};
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPoint, Site};
use crate::model::Run;
use crate::visible::visible;

/// A point at which dictionaries write, and one of them that is evaluated by what is written there.
pub(super) struct StandIn {
    /// Which dictionary is evaluated.
    pub of: usize,
    pub reads: HookPoint,
    pub writes: HookPoint,
    pub head: Option<usize>,
    /// The layers of a cross-layer transcoder that write there, with the number of the write. Empty for all other dictionaries.
    pub layers: Vec<(usize, usize)>,
}

/// One for each dictionary.
///
/// # Errors
/// A dictionary without a point; two layers of a cross-layer transcoder that read the same layer.
pub(super) fn stand_ins(dictionaries: &[Dictionary]) -> Result<Vec<StandIn>> {
    let ends = dictionaries.iter().map(|dictionary| {
        let expects = dictionary.expects();
        let ends = expects.hook_in.zip(expects.writes());
        ends.ok_or_else(|| {
            let name = dictionary.name();
            Error::argument(format!("the dictionary \"{}\" does not say which point it reads.", visible(&name)))
        })
    });
    let ends: Vec<(HookPoint, HookPoint)> = ends.collect::<Result<_>>()?;
    let written = |of: usize| {
        if !is_cross_layer(&dictionaries[of]) {
            return Vec::new();
        }
        let to = ends[of].1.layer();
        let write = |from: usize| {
            let apart = to.zip(ends[from].1.layer()).and_then(|(to, from)| to.checked_sub(from))?;
            (is_cross_layer(&dictionaries[from]) && apart < dictionaries[from].n_writes()).then_some((from, apart))
        };
        (0..dictionaries.len()).filter_map(write).collect()
    };
    let one = |of: usize| {
        let ((reads, writes), head) = (ends[of], dictionaries[of].expects().head);
        StandIn { of, reads, writes, head, layers: written(of) }
    };
    Ok((0..dictionaries.len()).map(one).collect())
}

/// Whether it is a layer of a cross-layer transcoder.
pub(super) fn is_cross_layer(dictionary: &Dictionary) -> bool {
    dictionary.w_dec().rank() == 3
}

impl StandIn {
    /// What is at a point in the clean run, at the positions that count.
    ///
    /// # Shapes
    /// `[position, width]`, heads side by side.
    fn rows(&self, run: &Run, point: HookPoint, rows: &Tensor) -> Result<Tensor> {
        let x = &run.captured[&point];
        let (batch, pos) = (x.dim(0)?, x.dim(1)?);
        let x = match self.head {
            Some(head) if matches!(point, HookPoint::Block(_, Site::Z)) => x.narrow(2, head, 1)?,
            _ => x.clone(),
        };
        Ok(x.reshape((batch * pos, ()))?.index_select(rows, 0)?.to_dtype(DType::F32)?)
    }

    /// The first block that it reads or writes in, if both are in blocks.
    pub fn first_layer(&self) -> Option<usize> {
        Some(self.reads.layer()?.min(self.writes.layer()?))
    }

    /// What the dictionary reads.
    pub fn x(&self, run: &Run, rows: &Tensor) -> Result<Tensor> {
        self.rows(run, self.reads, rows)
    }

    /// The activation that it is compared with.
    pub fn y(&self, run: &Run, rows: &Tensor) -> Result<Tensor> {
        self.rows(run, self.writes, rows)
    }

    /// What is written in its place. `acts` are the features of all dictionaries.
    pub fn written(&self, dictionaries: &[Dictionary], x: &Tensor, acts: &[FeatureActs]) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for &(from, write) in &self.layers {
            let part = dictionaries[from].decode_write(&acts[from], write)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        match sum {
            Some(sum) => Ok(sum),
            None => dictionaries[self.of].reconstruct(x),
        }
    }

    /// The edit that puts one vector, or zeros, in the place of the activation at the positions that count.
    ///
    /// # Shapes
    /// `vector [1, width]`.
    pub fn ablation(&self, batch: &Batch, vector: Option<&Tensor>) -> Result<Edit> {
        let vector = vector.cloned();
        let positions = batch.tokens.batch() * batch.tokens.pos();
        let untouched = batch.untouched()?;
        let edit = Edit::custom("ablation", move |x: &Tensor, _| {
            let device = x.device();
            let flat = x.to_dtype(DType::F32)?.reshape((positions, ()))?;
            let mut there = flat.broadcast_mul(&untouched.to_device(device)?)?;
            if let Some(vector) = &vector {
                // Of a dictionary of one head, the vector of each head; the edit is of that head only.
                let heads = flat.dim(1)? / vector.dim(1)?;
                let row = vector.to_device(device)?.repeat((1, heads))?;
                let row = row.broadcast_mul(&(1. - untouched.to_device(device)?)?)?;
                there = (there + row)?;
            }
            Ok::<_, Error>(there.reshape(x.shape())?)
        });
        Ok(match self.head {
            Some(head) => edit.head(head),
            None => edit,
        })
    }
}
