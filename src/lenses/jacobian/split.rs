//! An activation as a sum of a few tokens' vectors.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector};

use super::JacobianLens;
use super::pursuit::{NOTHING, non_negative, projected, vector};
use crate::error::{Error, Result};
use crate::lenses::Lens;
use crate::model::HookedTransformer;
use crate::progress::Progress;

/// How many columns of the unembedding are multiplied at once.
const COLUMNS: usize = 4096;

/// Which tokens' vectors a residual stream is a sum of. Made by [`JacobianLens::decompose`].
#[derive(Clone)]
pub struct LensDecomposition {
    /// The layer.
    pub layer: usize,
    /// The tokens with a coefficient, in the order in which they were chosen.
    pub tokens: Vec<u32>,
    /// Their texts, or their ids if the model has no tokenizer.
    pub texts: Vec<String>,
    /// How often each vector is in the sum; all are positive.
    pub coefficients: Vec<f32>,
    /// The lengths of the vectors, by which coefficients are comparable.
    pub lengths: Vec<f32>,
    /// The sum, `[d_model]`, f32.
    pub reconstruction: Tensor,
    /// The activation projected on what all chosen vectors span, also those whose coefficient became 0, `[d_model]`, f32: the part
    /// in "J-space".
    pub projection: Tensor,
    /// The share of the activation's squared length that the projection has, from 0 to 1.
    pub share: f32,
}

impl JacobianLens {
    /// A residual stream vector as a sum of at most `k` tokens' vectors with positive coefficients (the paper takes 25), found by
    /// non-negative matching pursuit. What is left is in no few tokens' direction.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// let (_, cache) = model.run_with_cache(prompt)?;
    /// let split = lens.decompose(&model, &cache.get(("resid_post", -2))?.i((0, 5))?, -2, 5)?;
    /// println!("{split}");
    /// assert!(split.tokens.len() <= 5 && split.share <= 1.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `resid [d_model]`.
    ///
    /// # Errors
    /// As [`JacobianLens::vectors`]; another shape, numbers that are not finite, all zero, `k` of 0 or more than `d_model`.
    pub fn decompose(
        &self,
        model: &HookedTransformer,
        resid: &Tensor,
        layer: isize,
        k: usize,
    ) -> Result<LensDecomposition> {
        self.check_model(model)?;
        let layer = self.layer(layer)?;
        if resid.dims() != [self.d_model] {
            return Err(Error::shape("the residual stream to decompose", format!("[{}]", self.d_model), resid.dims()));
        }
        if k == 0 || k > self.d_model {
            return Err(Error::argument(format!(
                "k is {k}: give 1 to {}, the width of the residual stream.",
                self.d_model
            )));
        }
        let target = vector(&resid.to_device(&Device::Cpu)?)?;
        if !target.norm().is_normal() {
            return Err(Error::argument(
                "the residual stream to decompose is zero, or has numbers that are not finite: give another position.",
            ));
        }
        let mut vocabulary = Vocabulary::new(self, model, layer, k)?;
        let mut chosen: Vec<u32> = Vec::new();
        let mut columns: Vec<DVector<f64>> = Vec::new();
        let (mut coefficients, mut rest) = (DVector::zeros(0), target.clone());
        while chosen.len() < k {
            let Some(id) = vocabulary.nearest(&rest, &chosen, NOTHING * target.norm())? else { break };
            chosen.push(id);
            columns.push(vocabulary.unit(id)?);
            let units = DMatrix::from_columns(&columns);
            coefficients = non_negative(&units, &target)?;
            rest = &target - &units * &coefficients;
        }
        let projection = match columns.is_empty() {
            true => DVector::zeros(self.d_model),
            false => projected(&DMatrix::from_columns(&columns), &target)?,
        };
        let active: Vec<usize> = (0..chosen.len()).filter(|place| coefficients[*place] > 0.).collect();
        let tokens: Vec<u32> = active.iter().map(|place| chosen[*place]).collect();
        let lengths: Vec<f64> = tokens.iter().map(|id| vocabulary.lengths[*id as usize]).collect();
        let f32s = |x: &DVector<f64>| Tensor::from_iter(x.iter().map(|value| *value as f32), &Device::Cpu);
        Ok(LensDecomposition {
            layer,
            texts: tokens.iter().map(|id| model.piece(*id)).collect(),
            coefficients: active.iter().zip(&lengths).map(|(place, by)| (coefficients[*place] / by) as f32).collect(),
            tokens,
            lengths: lengths.into_iter().map(|length| length as f32).collect(),
            reconstruction: f32s(&(&target - &rest))?,
            share: (projection.norm_squared() / target.norm_squared()) as f32,
            projection: f32s(&projection)?,
        })
    }
}

/// The vectors of all tokens, by the matrices that they are products of.
struct Vocabulary {
    /// `[d_model, d_model]`, f32.
    matrix: Tensor,
    /// `[d_model, d_vocab_out]`.
    w_u: Tensor,
    /// `|v|` of each token.
    lengths: Vec<f64>,
    progress: Progress,
}

impl Vocabulary {
    fn new(lens: &JacobianLens, model: &HookedTransformer, layer: usize, k: usize) -> Result<Self> {
        let w_u = model.W_U();
        let matrix = lens.matrix(layer as isize)?.to_device(w_u.device())?;
        let slices = w_u.dim(1)?.div_ceil(COLUMNS);
        let progress = Progress::of("decomposing an activation", ((k + 1) * slices) as u64, "parts of the vocabulary");
        let mut vocabulary = Self { matrix, w_u, lengths: Vec::new(), progress };
        let turned = vocabulary.matrix.t()?.contiguous()?;
        vocabulary.lengths =
            vocabulary.each(|columns| turned.matmul(columns)?.to_dtype(DType::F64)?.sqr()?.sum(0)?.sqrt())?;
        Ok(vocabulary)
    }

    /// A number for each token from columns of the unembedding, some at a time.
    fn each(&mut self, number: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Vec<f64>> {
        let (mut all, count) = (Vec::new(), self.w_u.dim(1)?);
        for from in (0..count).step_by(COLUMNS) {
            let columns = self.w_u.narrow(1, from, COLUMNS.min(count - from))?.to_dtype(DType::F32)?.contiguous()?;
            all.extend(number(&columns)?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
            self.progress.step(1)?;
        }
        Ok(all)
    }

    /// The token that is not chosen whose vector is nearest to `rest` in direction, if its product with it is more than `least`.
    fn nearest(&mut self, rest: &DVector<f64>, chosen: &[u32], least: f64) -> Result<Option<u32>> {
        let rest = Tensor::from_iter(rest.iter().map(|value| *value as f32), self.w_u.device())?.unsqueeze(1)?;
        let moved = self.matrix.matmul(&rest)?.t()?.contiguous()?;
        let products = self.each(|columns| moved.matmul(columns)?.squeeze(0))?;
        let mut best: Option<(u32, f64)> = None;
        for (id, (product, length)) in (0u32..).zip(products.iter().zip(&self.lengths)) {
            // A token whose vector is zero has no direction.
            let along = if *length > 0. { product / length } else { f64::NEG_INFINITY };
            if along > best.map_or(least, |(_, most)| most) && !chosen.contains(&id) {
                best = Some((id, along));
            }
        }
        Ok(best.map(|(id, _)| id))
    }

    /// A token's vector, of length 1.
    fn unit(&self, id: u32) -> Result<DVector<f64>> {
        let column = self.w_u.narrow(1, id as usize, 1)?.to_dtype(DType::F32)?.contiguous()?;
        let vector = vector(&self.matrix.t()?.matmul(&column)?)?;
        let length = vector.norm();
        Ok(vector / length)
    }
}

impl fmt::Debug for LensDecomposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
