//! Interventions along the vectors of tokens, as edits of the residual stream behind a block.
//!
//! Ablation: `h - Q Q^T h`, with `Q` an orthonormal basis of what the tokens' vectors span. Swap: `h + s V (c' - c)`, with
//! `V = [v_a, v_b]`, `c = V^+ h` by the pseudo-inverse and `c'` the two exchanged, in the run itself or as a clean run had them.
//! Source: Gurnee et al. 2026, Methods.

use candle_core::{DType, Device, Tensor};

use super::JacobianLens;
use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::factored_matrix::{from_matrix, product_svd, to_matrix};
use crate::hooks::{Edit, HookPoint, Site};
use crate::model::HookedTransformer;
use crate::steering::SteeringVector;
use crate::tokens::TokenRef;
use crate::wide::widened;

/// Singular values below this share of the largest are rounding: the vectors are f32.
const RANK: f64 = 1e-5;

/// From this cosine on two vectors are too much alike for coordinates along them.
const PARALLEL: f64 = 0.999;

impl JacobianLens {
    /// The vector of a token at a layer as a direction to steer along: with [`SteeringVector::steer`] at any positions, in runs and in
    /// generated text. The paper adds it as it is; TransformerLens its unit, scaled by the median length of the residual stream there.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// let plan = lens.direction(&model, " Tom", -2)?.unit()?.steer(20).last().plan(&model, prompt)?;
    /// let tom = model.to_single_token(" Tom")? as usize;
    /// let last = |logits: Tensor| logits.i((0, logits.dim(1)? - 1, tom))?.to_scalar::<f32>();
    /// assert!(last(model.run_with_hooks(prompt, &plan)?.0)? > last(model.forward(prompt)?)?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`JacobianLens::vectors`].
    pub fn direction(
        &self,
        model: &HookedTransformer,
        token: impl Into<TokenRef>,
        layer: isize,
    ) -> Result<SteeringVector> {
        let ids = model.token_ids([token])?;
        let name = format!("{} of the Jacobian lens", pieces(model, &ids));
        let vector = self.vectors(model, ids, layer)?.squeeze(0)?;
        Ok(SteeringVector::new(model, (Site::ResidPost, self.layer(layer)?), &vector)?.named(name))
    }

    /// An edit that removes what the residual stream at a layer has along the vectors of these tokens, together. For
    /// `("resid_post", layer)`; where, say its `pos` and `batch`.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// let plan = HookPlan::new().edit(("resid_post", -2), lens.ablate(&model, [" Mary", " John"], -2)?.pos(-1));
    /// let plan = plan.capture(("resid_post", -2));
    /// let (_, cache) = model.run_with_hooks(prompt, &plan)?;
    /// let all = cache.get(("resid_post", -2))?.i(0)?;
    /// let left = all.narrow(0, all.dim(0)? - 1, 1)?;
    /// let along = left.matmul(&lens.vectors(&model, [" Mary"], -2)?.t()?)?;
    /// assert!(along.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`JacobianLens::vectors`]; vectors that are zero or not finite. At another point the run fails.
    pub fn ablate<T: Into<TokenRef>>(
        &self,
        model: &HookedTransformer,
        tokens: impl IntoIterator<Item = T>,
        layer: isize,
    ) -> Result<Edit> {
        let ids = model.token_ids(tokens)?;
        let names = pieces(model, &ids);
        let vectors = self.vectors(model, ids, layer)?;
        let basis = span(&vectors, &check_vectors(&vectors, &names)?)?;
        let (layer, across) = (self.layer(layer)?, basis.t()?.contiguous()?);
        Ok(along(format!("ablate {names} of the Jacobian lens"), layer, move |rows, _| {
            let removed = rows.matmul(&on(&basis, rows)?)?.matmul(&on(&across, rows)?)?;
            Ok((rows - removed)?)
        }))
    }

    /// An edit that exchanges how much of two tokens' vectors the residual stream at a layer has, and leaves the rest of it as it is.
    /// With `strength` 1 they are exchanged, with 2 that twice over (as in the paper), with 0 nothing changes. For
    /// `("resid_post", layer)`. Swapping twice at one layer with strength 1 undoes it; across layers, see [`JacobianLens::clamp`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// let plan = HookPlan::new().edit(("resid_post", -2), lens.swap(&model, " Mary", " John", -2, 1)?);
    /// println!("{plan}");
    /// let (swapped, _) = model.run_with_hooks(prompt, &plan)?;
    /// assert_eq!(swapped.dims(), model.forward(prompt)?.dims());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`JacobianLens::ablate`]; the same token twice, vectors that are nearly parallel, a strength that is not finite.
    pub fn swap(
        &self,
        model: &HookedTransformer,
        a: impl Into<TokenRef>,
        b: impl Into<TokenRef>,
        layer: isize,
        strength: impl Into<f64>,
    ) -> Result<Edit> {
        let (pair, strength) = (self.pair(model, [a.into(), b.into()], layer)?, strength.into());
        check_finite(strength)?;
        let name = format!("swap {} of the Jacobian lens, strength {strength}", pair.names);
        Ok(along(name, pair.layer, move |rows, _| pair.moved(rows, strength, exchanged)))
    }

    /// As [`JacobianLens::swap`], but to what a clean run had at the layer, exchanged: the same however often and at however many
    /// layers it is done. `strength` is the share of the way there.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-3..-1).into(), ..Default::default() })?;
    /// let (_, clean) = model.run_with_cache(prompt)?;
    /// let mut plan = HookPlan::new();
    /// for layer in [-3, -2] {
    ///     plan = plan.edit(("resid_post", layer), lens.clamp(&model, &clean, " Mary", " John", layer, 1)?);
    /// }
    /// let (clamped, _) = model.run_with_hooks(prompt, &plan)?;
    /// assert_eq!(clamped.dims(), model.forward(prompt)?.dims());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`JacobianLens::swap`]; a cache of another model, without the layer's `resid_post`, or of some positions only. The run
    /// fails for prompts of another shape; that they are the cache's own is for the caller to see to.
    pub fn clamp(
        &self,
        model: &HookedTransformer,
        clean: &ActivationCache,
        a: impl Into<TokenRef>,
        b: impl Into<TokenRef>,
        layer: isize,
        strength: impl Into<f64>,
    ) -> Result<Edit> {
        let (pair, strength) = (self.pair(model, [a.into(), b.into()], layer)?, strength.into());
        check_finite(strength)?;
        clean.check_model(model)?;
        let there = widened(&clean.get((Site::ResidPost, pair.layer))?)?;
        let shape = [clean.tokens().batch(), clean.tokens().pos(), self.d_model];
        if there.elem_count() != shape.iter().product::<usize>() {
            return Err(Error::shape("the clean residual stream to clamp to", format!("{shape:?}"), there.dims()));
        }
        let rows = there.reshape(((), self.d_model))?.to_device(&model.device())?;
        let target = exchanged(&rows.matmul(&on(&pair.inverse, &rows)?)?)?;
        let name = format!("clamp {} of the Jacobian lens, strength {strength}", pair.names);
        Ok(along(name, pair.layer, move |rows, dims| {
            if dims != shape {
                let what = "the residual stream of a run that is clamped to a clean one";
                return Err(Error::shape(what, format!("{shape:?} as in the clean run"), dims));
            }
            pair.moved(rows, strength, |_| on(&target, rows))
        }))
    }

    /// The vectors of two tokens with their pseudo-inverse.
    fn pair(&self, model: &HookedTransformer, tokens: [TokenRef; 2], layer: isize) -> Result<Pair> {
        let ids = model.token_ids(tokens)?;
        if ids[0] == ids[1] {
            return Err(Error::argument(format!(
                "{:?} was given twice, and swapping a token with itself changes nothing: give two tokens.",
                model.piece(ids[0])
            )));
        }
        let names = pieces(model, &ids);
        let vectors = self.vectors(model, ids.iter().copied(), layer)?;
        check_vectors(&vectors, &names)?;
        let rows = vectors.to_dtype(DType::F64)?.to_device(&Device::Cpu)?;
        let products = rows.matmul(&rows.t()?)?.to_vec2::<f64>()?;
        let (aa, ab, bb) = (products[0][0], products[0][1], products[1][1]);
        let cosine = ab / (aa * bb).sqrt();
        if cosine.is_nan() || cosine.abs() >= PARALLEL {
            return Err(Error::argument(format!(
                "the vectors of {names} at layer {layer} are nearly parallel (cosine {cosine:.4}), so how much of each the residual \
                 stream has cannot be known: give tokens that are less alike, or another layer."
            )));
        }
        // V^+ = V^T (V V^T)^-1, for rows of coordinates.
        let determinant = aa * bb - ab * ab;
        let inverse = [bb, -ab, -ab, aa].map(|entry| entry / determinant);
        let inverse = rows.t()?.matmul(&Tensor::from_slice(&inverse, (2, 2), &Device::Cpu)?)?;
        Ok(Pair { layer: self.layer(layer)?, names, inverse: inverse.to_dtype(DType::F32)?, vectors })
    }
}

/// Two tokens' vectors, `[2, d_model]`, and their pseudo-inverse, `[d_model, 2]`, for rows of coordinates.
struct Pair {
    layer: usize,
    names: String,
    vectors: Tensor,
    inverse: Tensor,
}

impl Pair {
    /// Rows moved so that their coordinates are, for strength 1, those of the goal.
    fn moved(&self, rows: &Tensor, strength: f64, goal: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let now = rows.matmul(&on(&self.inverse, rows)?)?;
        let change = ((goal(&now)? - now)? * strength)?;
        Ok((rows + change.matmul(&on(&self.vectors, rows)?)?)?)
    }
}

/// An edit of the residual stream behind a block, from its rows `[row, d_model]`, f32 or wider, to others, given its shape.
fn along(
    name: String,
    layer: usize,
    change: impl Fn(&Tensor, &[usize]) -> Result<Tensor> + Send + Sync + 'static,
) -> Edit {
    let own = HookPoint::Block(layer, Site::ResidPost);
    Edit::custom(name.clone(), move |x, point| {
        if point != own {
            return Err(Error::argument(format!(
                "the edit \"{name}\" is of {own}, and was given to {point}: make it with that layer, for resid_post."
            )));
        }
        let rows = widened(x)?.reshape(((), x.dim(x.rank() - 1)?))?;
        Ok(change(&rows, x.dims())?.reshape(x.dims())?)
    })
}

/// A matrix where the rows are, in their dtype.
fn on(matrix: &Tensor, rows: &Tensor) -> Result<Tensor> {
    Ok(matrix.to_device(rows.device())?.to_dtype(rows.dtype())?.contiguous()?)
}

/// Two coordinates in the other order, `[row, 2]`.
fn exchanged(coordinates: &Tensor) -> Result<Tensor> {
    Ok(Tensor::cat(&[coordinates.narrow(1, 1, 1)?, coordinates.narrow(1, 0, 1)?], 1)?)
}

/// The texts of tokens, in words for names and messages.
fn pieces(model: &HookedTransformer, ids: &[u32]) -> String {
    ids.iter().map(|id| format!("{:?}", model.piece(*id))).collect::<Vec<_>>().join(", ")
}

fn check_finite(strength: f64) -> Result<()> {
    match strength.is_finite() {
        true => Ok(()),
        false => {
            Err(Error::argument(format!("the strength is {strength}: give a finite number, 1 for the whole way.")))
        }
    }
}

/// # Errors
/// [`Error::Argument`] for a vector without a direction.
fn check_vectors(vectors: &Tensor, names: &str) -> Result<Vec<f64>> {
    let norms = vectors.to_dtype(DType::F64)?.sqr()?.sum(1)?.sqrt()?.to_vec1::<f64>()?;
    match norms.iter().all(|norm| norm.is_finite() && *norm > 0.) {
        true => Ok(norms),
        false => Err(Error::argument(format!(
            "a vector of the tokens {names} is zero or not finite, so it has no direction: leave that token out."
        ))),
    }
}

/// An orthonormal basis of what rows span, in columns, `[d_model, rank]`.
fn span(vectors: &Tensor, norms: &[f64]) -> Result<Tensor> {
    let norms = Tensor::new(norms, &Device::Cpu)?.unsqueeze(1)?;
    let units = vectors.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.broadcast_div(&norms)?;
    let count = units.dim(0)?;
    let (u, s, _) = product_svd(to_matrix(&units.t()?)?, to_matrix(&Tensor::eye(count, DType::F64, &Device::Cpu)?)?)?;
    let rank = s.iter().filter(|value| **value > RANK * s[0]).count();
    from_matrix(&u.columns(0, rank).into_owned(), vectors)
}
