//! A tuned lens by least squares.
//!
//! At each layer `W` and `b` minimise `sum |h + h W + b - h_final|^2` and a penalty that pulls `W` to 0, the logit lens:
//! `W = (C + ridge diag(C))^-1 X^T R` with the centred residual streams `X`, `C = X^T X` and `R` the centred `h_final - h`, in f64.
//! The penalty is in proportion to each coordinate's variance, so that a few large coordinates do not decide it. The bias
//! has none.

use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector};

use super::{MadeFor, TunedLens};
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site, check_free};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::train::{ActivationStore, SkipTokens, StoreOptions, Texts};

/// Options of [`TunedLens::fit`].
#[derive(Clone, Debug, PartialEq)]
pub struct TunedFit {
    /// The most tokens that are read.
    pub tokens: usize,
    /// How strongly the map is pulled to the identity, as a share of the variance of each coordinate. Many tokens need little, few much.
    pub ridge: f64,
    /// Which tokens are left out.
    pub skip: SkipTokens,
}

impl Default for TunedFit {
    fn default() -> Self {
        Self { tokens: 16_384, ridge: 1e-2, skip: SkipTokens::Special }
    }
}

/// How many tokens are summed at once.
const BATCH: usize = 1024;

/// What is known of one layer: sums over tokens, in f64.
struct Sums {
    /// `[d_model, d_model]`, of `x^T x`.
    square: Tensor,
    /// `[d_model, d_model]`, of `x^T r`.
    cross: Tensor,
    /// `[d_model]`, of `x` and of `r`.
    x: Tensor,
    r: Tensor,
}

impl TunedLens {
    /// The lens that is nearest to the last residual stream by least squares. Quick, and a good place to [`TunedLens::train`] from.
    ///
    /// # Errors
    /// No tokens, too few for the width without a penalty, a penalty below 0, and what the texts or a run of the model refuse; more
    /// numbers than fit in memory.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let texts = ["When John and Mary went to the shops, John gave the bag to Mary", "The keys on the cabinet are"];
    /// let tuned = TunedLens::fit(&model, texts, TunedFit { ridge: 0.1, ..Default::default() })?;
    /// assert_eq!(tuned.n_layers(), model.cfg().n_layers);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn fit(model: &HookedTransformer, texts: impl Into<Texts>, options: TunedFit) -> Result<Self> {
        if !(options.ridge.is_finite() && options.ridge >= 0.) {
            return Err(Error::argument(format!(
                "the penalty `ridge` of a tuned lens is {}: give one of at least 0, such as 0.01.",
                options.ridge
            )));
        }
        let Dims { n_layers, d_model, .. } = model.dims();
        let bytes = (n_layers as u64 * 2 + 6).saturating_mul((d_model * d_model * 8) as u64);
        check_free(bytes, "the sums of a tuned lens", "use a smaller model")?;
        let mut store = store(model, texts, BATCH.min(options.tokens.max(1)), options.skip.clone())?;
        let (sums, count) = summed(&mut store, model.dims(), options.tokens)?;
        if count == 0 || (options.ridge == 0. && count <= d_model) {
            return Err(Error::argument(format!(
                "{count} tokens do not decide {} numbers for each coordinate of a tuned lens: give more texts{}.",
                d_model + 1,
                if options.ridge == 0. { ", or a `ridge` above 0" } else { "" }
            )));
        }
        let mut progress = Progress::of("fitting the tuned lens", n_layers as u64, "layers");
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (layer, sums) in sums.iter().enumerate() {
            let (w, b) = sums.solved(layer, count, options.ridge)?;
            weights.push(w);
            biases.push(b);
            progress.step(1)?;
        }
        let origin = format!("least squares over {count} tokens, ridge {}", options.ridge);
        let (weights, biases) = (Tensor::stack(&weights, 0)?, Tensor::stack(&biases, 0)?);
        Self::of(weights, biases, MadeFor::Weights(model.provenance()), origin)
    }
}

/// The residual stream that enters each block, and the last one.
pub(super) fn points(dims: &Dims) -> Vec<HookPoint> {
    let entering = (0..dims.n_layers).map(|layer| HookPoint::Block(layer, Site::ResidPre));
    entering.chain(dims.n_layers.checked_sub(1).map(|last| HookPoint::Block(last, Site::ResidPost))).collect()
}

/// The residual streams of texts.
pub(super) fn store(
    model: &HookedTransformer,
    texts: impl Into<Texts>,
    batch: usize,
    skip: SkipTokens,
) -> Result<ActivationStore> {
    let options = StoreOptions { batch, buffer: 4 * batch, skip, ..Default::default() };
    ActivationStore::new(model, points(&model.dims()), texts, options)
}

/// The sums of each layer over at most `tokens` tokens, and how many there were.
fn summed(store: &mut ActivationStore, dims: Dims, tokens: usize) -> Result<(Vec<Sums>, usize)> {
    let mut sums = (0..dims.n_layers).map(|_| Sums::new(dims.d_model)).collect::<Result<Vec<_>>>()?;
    let mut count = 0;
    let mut progress = Progress::of("reading residual streams", tokens as u64, "tokens");
    while count < tokens {
        let Some(batch) = store.next_batch()? else { break };
        let rows = batch.rows().min(tokens - count);
        let wide = |x: &Tensor| x.narrow(0, 0, rows)?.to_dtype(DType::F64);
        let streams = batch.tensors();
        let Some((last, entering)) = streams.split_last() else { break };
        let last = wide(last)?;
        for (sums, x) in sums.iter_mut().zip(entering) {
            let x = wide(x)?;
            sums.add(&x, &(&last - &x)?)?;
        }
        count += rows;
        progress.step(rows as u64)?;
    }
    Ok((sums, count))
}

impl Sums {
    fn new(d_model: usize) -> Result<Self> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu);
        let (square, cross) = (zeros(&[d_model, d_model])?, zeros(&[d_model, d_model])?);
        Ok(Self { square, cross, x: zeros(&[d_model])?, r: zeros(&[d_model])? })
    }

    fn add(&mut self, x: &Tensor, r: &Tensor) -> Result<()> {
        let across = x.t()?.contiguous()?;
        self.square = (&self.square + across.matmul(x)?)?;
        self.cross = (&self.cross + across.matmul(r)?)?;
        self.x = (&self.x + x.sum(0)?)?;
        self.r = (&self.r + r.sum(0)?)?;
        Ok(())
    }

    /// `W` and `b` in f32.
    fn solved(&self, layer: usize, count: usize, ridge: f64) -> Result<(Tensor, Tensor)> {
        let d = self.x.dim(0)?;
        let matrix = |x: &Tensor| -> Result<DMatrix<f64>> {
            Ok(DMatrix::from_row_slice(d, d, &x.flatten_all()?.to_vec1::<f64>()?))
        };
        let mean = |x: &Tensor| -> Result<DVector<f64>> { Ok(DVector::from_vec(x.to_vec1::<f64>()?) / count as f64) };
        let (x, r) = (mean(&self.x)?, mean(&self.r)?);
        let mut square = matrix(&self.square)? - &x * x.transpose() * count as f64;
        let cross = matrix(&self.cross)? - &x * r.transpose() * count as f64;
        for i in 0..d {
            // A coordinate that never changes has no variance, and its row of W may be 0.
            square[(i, i)] = if square[(i, i)] > 0. { square[(i, i)] * (1. + ridge) } else { 1. };
        }
        let w = square.cholesky().map(|factors| factors.solve(&cross)).filter(|w| w.iter().all(|x| x.is_finite()));
        let w = w.ok_or_else(|| {
            Error::argument(format!(
                "{count} tokens do not decide the map of a tuned lens at layer {layer}: give more texts, or a larger `ridge`."
            ))
        })?;
        let b = r - w.tr_mul(&x);
        let rows: Vec<f32> = w.transpose().iter().map(|x| *x as f32).collect();
        let b: Vec<f32> = b.iter().map(|x| *x as f32).collect();
        Ok((Tensor::from_vec(rows, (d, d), &Device::Cpu)?, Tensor::from_vec(b, d, &Device::Cpu)?))
    }
}
