//! The runs that an experiment is made of, and what is kept of them.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::host;
use crate::metrics::BoundMetrics;
use crate::model::{HookedTransformer, KvCache, RunOptions};
use crate::tokens::Tokens;
use crate::variables::holds;

/// A run without logits, up to the final residual stream, with what every head and MLP wrote.
#[derive(Clone)]
pub(crate) struct NodeRun {
    /// `embed`, and of each block `resid_pre`, `z` and, where there are MLPs, `mlp_in` and `mlp_out`.
    pub captured: BTreeMap<HookPoint, Tensor>,
    /// The residual stream after the last block, `[batch, pos, d_model]`.
    pub last: Tensor,
}

impl NodeRun {
    pub fn new(model: &HookedTransformer, tokens: &Tokens) -> Result<Self> {
        let mut plan = HookPlan::new().capture(HookPoint::Embed).capture("resid_pre").capture("z");
        if !model.cfg().attn_only {
            plan = plan.capture("mlp_in").capture("mlp_out");
        }
        let options = RunOptions { stop_at_layer: Some(model.cfg().n_layers as isize), ..Default::default() };
        let run = model.run(tokens, plan, &options)?;
        Ok(Self { captured: run.captured, last: run.resid.expect("a run that stops returns the stream") })
    }

    /// All logits where the metrics read.
    ///
    /// # Shapes
    /// `[row, d_vocab_out]`, f32.
    pub fn logits(&self, model: &HookedTransformer, metrics: &BoundMetrics) -> Result<Tensor> {
        Ok(model.logits_after(&metrics.read(&self.last)?, None)?.to_dtype(DType::F32)?)
    }
}

/// The run that is patched, with all that later runs of its suffixes need.
#[derive(Clone)]
pub(crate) struct BaseRun {
    kv: KvCache,
    /// The queries of each block as they are compared, `[batch, pos, head, d_head]`.
    queries: Vec<Tensor>,
    /// The residual stream that enters each block, and at the end the last one's, `[batch, pos, d_model]`.
    pub resid: Vec<Tensor>,
    /// The residual stream between attention and MLP of each block, where blocks have one after the other; else with the
    /// attention output added.
    pub mid: Vec<Tensor>,
}

holds! {
    NodeRun { captured, last }
    BaseRun { kv, queries, resid, mid }
}

impl BaseRun {
    pub fn new(model: &HookedTransformer, tokens: &Tokens) -> Result<Self> {
        let plan = HookPlan::new().capture("resid_pre").capture("attn_out").capture("q");
        let options = RunOptions { keep_kv_cache: true, logits: false, ..Default::default() };
        let run = model.run(tokens, plan, &options)?;
        let of = |point: HookPoint| run.captured[&point].clone();
        let layers = 0..model.cfg().n_layers;
        let suffix = model.suffix_of_copies(tokens, 0, 1)?;
        let queries = layers
            .clone()
            .map(|l| model.as_compared(l, Site::Q, &of(HookPoint::Block(l, Site::Q)), &suffix))
            .collect::<Result<_>>()?;
        let mut resid: Vec<Tensor> = layers.clone().map(|l| of(HookPoint::Block(l, Site::ResidPre))).collect();
        let mid = layers
            .map(|l| Ok((of(HookPoint::Block(l, Site::ResidPre)) + of(HookPoint::Block(l, Site::AttnOut)))?))
            .collect::<Result<_>>()?;
        resid.push(run.left.clone());
        let kv = run.kv_cache()?;
        Ok(Self { kv, queries, resid, mid })
    }

    /// The queries of `count` positions from `from` on, for this many copies of the batch.
    pub fn queries(&self, layer: usize, (from, count): (usize, usize), copies: usize) -> Result<Tensor> {
        copied(&self.queries[layer].narrow(1, from, count)?, copies)
    }

    /// Keys and values of one layer at all positions, for this many copies of the batch; at those from `from` on, as many as are
    /// given, these instead.
    pub fn keys_and_values(
        &self,
        layer: usize,
        from: usize,
        [k, v]: [Option<&Tensor>; 2],
        copies: usize,
    ) -> Result<[Tensor; 2]> {
        let (all_k, all_v) = self.kv.before(layer, self.kv.tokens().pos())?.expect("the run kept all positions");
        Ok([replaced(&all_k, from, k, copies)?, replaced(&all_v, from, v, copies)?])
    }

    /// Keys and values of one layer's positions before `from`, for this many copies of the batch.
    pub fn past(&self, layer: usize, from: usize, copies: usize) -> Result<Option<(Tensor, Tensor)>> {
        let past = self.kv.before(layer, from)?;
        past.map(|(k, v)| Ok((copied(&k, copies)?, copied(&v, copies)?))).transpose()
    }
}

/// This many copies of a batch, `[batch, pos, ..]`, in which positions from `from` on are others.
pub(crate) fn replaced(x: &Tensor, from: usize, other: Option<&Tensor>, copies: usize) -> Result<Tensor> {
    let Some(other) = other else { return copied(x, copies) };
    let (behind, pos) = (from + other.dim(1)?, x.dim(1)?);
    let before = (from > 0).then(|| copied(&x.narrow(1, 0, from)?, copies)).transpose()?;
    let after = (behind < pos).then(|| copied(&x.narrow(1, behind, pos - behind)?, copies)).transpose()?;
    let parts: Vec<&Tensor> = before.iter().chain([other]).chain(&after).collect();
    Ok(if parts.len() == 1 { other.clone() } else { Tensor::cat(&parts, 1)? })
}

/// This many copies of a batch, one after the other.
pub(crate) fn copied(x: &Tensor, copies: usize) -> Result<Tensor> {
    if copies == 1 {
        return Ok(x.contiguous()?);
    }
    let shape = [&[copies], x.dims()].concat();
    Ok(x.unsqueeze(0)?.broadcast_as(shape)?.contiguous()?.flatten(0, 1)?)
}

/// The first point of a run at which an activation holds NaN.
pub(super) fn first_nan(model: &HookedTransformer, tokens: &Tokens) -> Result<Option<HookPoint>> {
    let options = RunOptions { logits: false, ..Default::default() };
    let captured = model.run(tokens, HookPlan::new().capture_all(), &options)?.captured;
    for point in HookPoint::all(&model.dims()) {
        let Some(x) = captured.get(&point) else { continue };
        let numbers = host::numbers::<f32>(x)?;
        if numbers.iter().any(|number| number.is_nan()) {
            return Ok(Some(point));
        }
    }
    Ok(None)
}
