//! What a head makes of its queries, keys and values: scores, pattern, and the values mixed by it.
//!
//! Where nothing asks for scores or pattern they are never whole in memory. Where something does, the values are the same to the
//! last digit, so that two runs can be compared number by number whatever else is asked of one of them; only a run that
//! changes scores or pattern makes the rest from what they have become.

use candle_core::{DType, Tensor};

use super::block::BlockContext;
use super::kv_cache::LayerKv;
use crate::error::Result;
use crate::hooks::{HookRun, Site};
use crate::model::ops::{Attended, Comparison, Kept, attend, soft_cap, softmax, with_value};
use crate::model::weights::BlockWeights;
use crate::wide::{matmul, widened};

/// Values mixed by the pattern, `[batch, pos, n_heads, d_head]`, of queries, keys and values as they are at their hook points.
pub(in crate::model) fn mixed(
    [q, k, v]: [Tensor; 3],
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
    past: Option<&mut LayerKv>,
) -> Result<Tensor> {
    let layer = ctx.layer;
    let (q, k) = ctx.compared(q, k, &weights.attn, run)?;
    let (k, v) = match past {
        Some(past) => past.extend(k, v)?,
        None => (k, v),
    };

    let z = match ctx.mixed_at_once([&q, &k, &v], run)? {
        Some(Attended { z, scores: None, pattern: None }) => z,
        values => {
            let [of_scores, of_pattern, of_z] =
                values.map(|of| [of.scores, of.pattern, Some(of.z)]).unwrap_or_default();
            let scores = run.at_site(layer, Site::AttnScores, with_value(ctx.scores(&q, &k)?, of_scores)?)?;
            let pattern = with_value(softmax(&scores)?, of_pattern)?;
            let pattern = if ctx.frozen.patterns { pattern.detach() } else { pattern };
            let pattern = run.at_site(layer, Site::Pattern, pattern)?;
            with_value(mixed_by(&pattern, &v, ctx)?, of_z)?
        }
    };
    run.at_site(layer, Site::Z, z)
}

/// Values mixed by the pattern of queries and keys as they are compared.
///
/// # Shapes
/// `q [batch, pos, n_heads, d_head]`, `k` and `v [batch, k_pos, n_key_value_heads, d_head]` give `[batch, pos, n_heads, d_head]`.
pub(in crate::model) fn attended([q, k, v]: [&Tensor; 3], ctx: &BlockContext) -> Result<Tensor> {
    match ctx.mixed_at_once([q, k, v], &mut HookRun::default())? {
        Some(Attended { z, .. }) => Ok(z),
        None => mixed_by(&softmax(&ctx.scores(q, k)?)?, v, ctx),
    }
}

/// Values mixed by a pattern.
///
/// # Shapes
/// `pattern [batch, head, pos, k_pos]`, `v [batch, k_pos, n_key_value_heads, d_head]` give `[batch, pos, n_heads, d_head]`.
pub(in crate::model) fn mixed_by(pattern: &Tensor, v: &Tensor, ctx: &BlockContext) -> Result<Tensor> {
    Ok(ctx.with_shared(pattern, &heads_first(v)?)?.transpose(1, 2)?.contiguous()?)
}

/// `[batch, pos, head, d_head]` as `[batch, head, pos, d_head]`.
fn heads_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(1, 2)?.contiguous()?)
}

impl BlockContext<'_> {
    /// Mixed values by one operation, where the plan changes neither scores nor pattern and the run can do so. Inner
    /// activations that are only kept are shown here; those through which gradients are to flow are returned, as the values
    /// of the operations that make them one by one: a run has the same digits whatever is asked about it.
    fn mixed_at_once(&self, [q, k, v]: [&Tensor; 3], run: &mut HookRun) -> Result<Option<Attended>> {
        let inner = [Site::AttnScores, Site::Pattern];
        if self.cfg.attn_scores_soft_cap.is_some() || run.changes_any(self.layer, &inner) {
            return Ok(None);
        }
        let how = Comparison {
            scale: self.cfg.attn_scale(self.layer),
            lowered: self.alibi.cloned(),
            masked: self.masked.cloned(),
        };
        let [scores, pattern] = inner.map(|site| run.wants(self.layer, site));
        let is_tracked = [q, k, v].into_iter().any(Tensor::track_op);
        if run.goes_through_any(self.layer, &inner) || is_tracked && (scores || pattern) {
            let kept = Kept { scores: true, pattern: true };
            return Ok(attend([&q.detach(), &k.detach(), &v.detach()], &how, kept)?);
        }
        // A pattern is a constant where what it is made of is.
        let kept = Kept { scores, pattern };
        let made = match self.frozen.patterns {
            true => attend([&q.detach(), &k.detach(), v], &how, kept)?,
            false => attend([q, k, v], &how, kept)?,
        };
        let Some(Attended { z, scores, pattern }) = made else { return Ok(None) };
        for (site, kept) in inner.into_iter().zip([scores, pattern]) {
            kept.map(|kept| run.at_site(self.layer, site, kept)).transpose()?;
        }
        Ok(Some(Attended { z, scores: None, pattern: None }))
    }

    /// Scaled and masked scores.
    ///
    /// # Shapes
    /// `q [batch, pos, n_heads, d_head]`, `k [batch, pos, n_key_value_heads, d_head]` give `[batch, head, q_pos, k_pos]`.
    pub(super) fn scores(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        // Scaling q instead of the scores touches d_head numbers a query, not pos.
        let q = (heads_first(q)? / self.cfg.attn_scale(self.layer))?;
        let scores = self.with_shared(&q, &heads_first(k)?.transpose(2, 3)?.contiguous()?)?;
        self.mask(&self.lowered(soft_cap(scores, self.cfg.attn_scores_soft_cap, self.frozen.ratios)?)?)
    }

    /// Each head's matrix times that of its keys or values. Heads that share one lie next to each other, so that their
    /// rows make one matrix, and nothing is copied for each of them.
    ///
    /// # Shapes
    /// `x [batch, head, row, n]`, `shared [batch, n_key_value_heads, n, m]` give `[batch, head, row, m]`.
    fn with_shared(&self, x: &Tensor, shared: &Tensor) -> Result<Tensor> {
        let (batch, heads, rows, n) = x.dims4()?;
        let groups = shared.dim(1)?;
        let of_groups = x.reshape((batch, groups, heads / groups * rows, n))?.contiguous()?;
        Ok(matmul(&of_groups, shared)?.reshape((batch, heads, rows, ()))?)
    }

    /// Scores less what the distance between query and key takes off them, in a model with ALiBi.
    fn lowered(&self, scores: Tensor) -> Result<Tensor> {
        match self.alibi {
            Some(alibi) => {
                let wide = widened(&scores)?;
                Ok(wide.broadcast_add(&alibi.to_dtype(wide.dtype())?)?.to_dtype(scores.dtype())?)
            }
            None => Ok(scores),
        }
    }

    /// Scores with `-inf` at masked keys.
    fn mask(&self, scores: &Tensor) -> Result<Tensor> {
        let Some(masked) = self.masked else { return Ok(scores.clone()) };
        let never = Tensor::new(f32::NEG_INFINITY, scores.device())?.to_dtype(scores.dtype())?;
        let masked = masked.to_dtype(DType::U8)?.broadcast_as(scores.shape())?;
        Ok(masked.where_cond(&never.broadcast_as(scores.shape())?, scores)?)
    }
}
