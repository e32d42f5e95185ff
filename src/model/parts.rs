//! Parts of a block by themselves, for runs that need no more of it.

use candle_core::Tensor;

use super::ops::softmax;
use super::suffix::Suffix;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookRun, Site, Stage};
use crate::model::layers::attention::{as_compared, project, read_by};
use crate::model::layers::block::{norm_after, rest_of_block};
use crate::model::layers::mixing::{attended, mixed_by};
use crate::model::layers::mlp::write;

impl HookedTransformer {
    /// What attention of block `layer` adds to the stream, from its mixed values.
    ///
    /// # Shapes
    /// `z [row, pos, n_heads, d_head]` gives `[row, pos, d_model]`.
    pub(crate) fn attention_output(&self, layer: usize, z: &Tensor, suffix: &Suffix) -> Result<Tensor> {
        let (weights, ctx) = (&self.weights.blocks[layer], suffix.context(self, layer));
        let (run, after) = (&mut HookRun::default(), (Site::Ln1PostScale, Site::Ln1PostNormalized));
        norm_after(project(z, weights, &ctx, run)?, weights.ln1_post.as_ref(), &ctx, run, after)
    }

    /// What is at `site`, one of [`Site::Q`], [`Site::K`] and [`Site::V`], when this stream enters block `layer`.
    ///
    /// # Shapes
    /// `resid [row, pos, d_model]` gives `[row, pos, head, d_head]`.
    pub(crate) fn read_by(&self, layer: usize, site: Site, resid: &Tensor, suffix: &Suffix) -> Result<Tensor> {
        read_by(site, resid, &self.weights.blocks[layer], &suffix.context(self, layer))
    }

    /// Queries ([`Site::Q`]) or keys of block `layer` as they are compared, from those at their hook point: after their norm and
    /// their rotation.
    ///
    /// # Shapes
    /// `[row, pos, head, d_head]`, result the same.
    pub(crate) fn as_compared(&self, layer: usize, site: Site, x: &Tensor, suffix: &Suffix) -> Result<Tensor> {
        as_compared(site, x, &self.weights.blocks[layer], &suffix.context(self, layer))
    }

    /// Values mixed by the pattern of queries and keys as they are compared.
    ///
    /// # Shapes
    /// `q [row, pos, n_heads, d_head]`, `k` and `v [row, k_pos, n_key_value_heads, d_head]` give `[row, pos, n_heads, d_head]`.
    pub(crate) fn attended(&self, layer: usize, qkv: [&Tensor; 3], suffix: &Suffix) -> Result<Tensor> {
        attended(qkv, &suffix.context(self, layer))
    }

    /// Values mixed by a pattern, or by the scores that it is made of.
    ///
    /// # Shapes
    /// `x [row, head, pos, k_pos]`, `v [row, k_pos, n_key_value_heads, d_head]` give `[row, pos, n_heads, d_head]`.
    pub(crate) fn mixed_by(&self, layer: usize, site: Site, x: &Tensor, v: &Tensor, suffix: &Suffix) -> Result<Tensor> {
        let ctx = suffix.context(self, layer);
        match site {
            Site::AttnScores => mixed_by(&softmax(x)?, v, &ctx),
            _ => mixed_by(x, v, &ctx),
        }
    }

    /// The residual stream that leaves block `layer`, from that which enters it and that between attention and MLP, under hooks that
    /// act behind attention only.
    pub(crate) fn rest_of_block(
        &self,
        layer: usize,
        (resid_pre, resid_mid): (&Tensor, &Tensor),
        suffix: &Suffix,
        run: &mut HookRun,
    ) -> Result<Tensor> {
        let attn_out = (resid_mid - resid_pre)?;
        rest_of_block(resid_pre.clone(), attn_out, &self.weights.blocks[layer], &suffix.context(self, layer), run)
    }

    /// The residual stream that leaves block `layer` when `x` is at a site of it from which a run can go on
    /// ([`SiteRow::resumes`](crate::hooks::SiteRow)); `resid_pre` entered the block and `resid_mid` was between
    /// attention and MLP.
    ///
    /// # Errors
    /// [`Error::Argument`] for another site.
    pub(crate) fn block_from(
        &self,
        layer: usize,
        site: Site,
        x: Tensor,
        (resid_pre, resid_mid): (&Tensor, &Tensor),
        suffix: &Suffix,
    ) -> Result<Tensor> {
        let (weights, ctx) = (&self.weights.blocks[layer], suffix.context(self, layer));
        let run = &mut HookRun::default();
        let ln2_post = (Site::Ln2PostScale, Site::Ln2PostNormalized);
        let row = site.row();
        let refused = || {
            let point = HookPoint::Block(layer, site);
            Error::argument(format!("a block cannot go on from {point}: the rest of it reads more than what is there."))
        };
        if !row.resumes {
            return Err(refused());
        }
        let attn_out = match row.stage {
            Stage::Mixed => self.attention_output(layer, &x, suffix)?,
            Stage::AttentionOutput => x,
            Stage::Between => (x - resid_pre)?,
            Stage::Neurons => {
                let mlp = weights.mlp.as_ref().ok_or_else(|| Error::argument("the block has no MLP."))?;
                let written = norm_after(write(&x, mlp)?, weights.ln2_post.as_ref(), &ctx, run, ln2_post)?;
                return Ok((resid_mid + written)?);
            }
            Stage::MlpOutput => return Ok((resid_mid + x)?),
            Stage::Leaving => return Ok(x),
            Stage::Embedding
            | Stage::Entering
            | Stage::AttentionInput
            | Stage::Query
            | Stage::KeyValue
            | Stage::Pattern
            | Stage::MlpInput
            | Stage::Final => return Err(refused()),
        };
        rest_of_block(resid_pre.clone(), attn_out, weights, &ctx, run)
    }
}
