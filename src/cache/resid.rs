//! Decompositions of the residual stream: what it was after each block, and what each component wrote.
//!
//! The residual stream that enters block `l` is the sum of the embeddings and of every output before it,
//! `x_l = embed + pos_embed + sum_{i<l} (attn_out_i + mlp_out_i)` (Elhage et al. 2021), so the logit of a token splits
//! into one part for each component once the final norm's scale is held fixed: direct logit attribution.
//!
//! Labels and semantics are TransformerLens'.

use candle_core::Tensor;

use super::query::{Accumulated, Components, Heads, Point, Stack};
use super::stack::ResidualStack;
use super::store::ActivationCache;
use crate::dims::ReadBy;
use crate::error::{Error, Result};
use crate::head::Head;
use crate::hooks::{HookPoint, Site};
use crate::interrupt::check_interrupt;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::wide::widened;

impl ActivationCache {
    /// The residual stream that enters each block, up to the query's end, and the residual stream at the end of the model.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `0_pre`, `0_mid`, `1_pre`, .., `final_post`.
    ///
    /// # Errors
    /// Activations that are not cached, a layer or position that does not exist, a middle of attention-only blocks.
    pub fn accumulated_resid(&self, query: Stack<Accumulated>) -> Result<ResidualStack> {
        let reader = query.read_by.resolve(&self.dims)?;
        let _work = Progress::opaque("stacking the residual stream");
        let mut parts = Vec::new();
        for l in 0..=reader.layer {
            if l == self.dims.n_layers {
                let last = l
                    .checked_sub(1)
                    .ok_or_else(|| Error::argument("a model without blocks has no residual stream after one."))?;
                parts.push((HookPoint::Block(last, Site::ResidPost), "final_post".to_string()));
                continue;
            }
            parts.push((HookPoint::Block(l, Site::ResidPre), format!("{l}_pre")));
            if (query.kind.with_mid && l < reader.layer) || (reader.is_mlp && l == reader.layer) {
                parts.push((HookPoint::Block(l, Site::ResidMid).check(&self.dims)?, format!("{l}_mid")));
            }
        }
        let stack = self.stack_of(parts, query.pos)?;
        match query.normed {
            false => Ok(stack),
            true if reader.layer == self.dims.n_layers => self.through_final_norm(&stack),
            true => self.through_norm(&stack, reader),
        }
    }

    /// What the embeddings and each attention and MLP wrote; by default they sum to the residual stream. What a plan
    /// put into the residual stream itself (an edit of `resid_pre`, say) was written by none of them.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `embed`, `pos_embed`, `0_attn_out`, `0_mlp_out`, ..
    ///
    /// # Errors
    /// As [`ActivationCache::accumulated_resid`]; a query that leaves no component.
    pub fn decompose_resid(&self, query: Stack<Components>) -> Result<ResidualStack> {
        let reader = query.read_by.resolve(&self.dims)?;
        let _work = Progress::opaque("decomposing the residual stream");
        let Components { attention, mlps, embeddings } = query.kind;
        let mlps = mlps && !self.dims.attn_only;
        let mut parts = Vec::new();
        if embeddings {
            parts.push((HookPoint::Embed, "embed".to_string()));
            if self.dims.adds_positions() {
                parts.push((HookPoint::PosEmbed, "pos_embed".to_string()));
            }
        }
        for l in 0..reader.layer {
            if attention {
                parts.push((HookPoint::Block(l, Site::AttnOut), format!("{l}_attn_out")));
            }
            if mlps {
                parts.push((HookPoint::Block(l, Site::MlpOut), format!("{l}_mlp_out")));
            }
        }
        if reader.is_mlp && attention {
            parts.push((HookPoint::Block(reader.layer, Site::AttnOut), format!("{}_attn_out", reader.layer)));
        }
        let stack = self.stack_of(parts, query.pos)?;
        if query.normed { self.through_norm(&stack, reader) } else { Ok(stack) }
    }

    /// One activation as a stack of one component.
    pub(super) fn stack_point(&self, query: Stack<Point>) -> Result<ResidualStack> {
        let point = query.kind.query.resolve(&self.dims)?;
        if point.axes() != HookPoint::Embed.axes() {
            return Err(Error::argument(format!(
                "{point} has axes {:?}, but a stack is made of residual-stream vectors [batch, pos, d_model].",
                point.axes()
            )));
        }
        let stack = self.stack_of(vec![(point, point.to_string())], query.pos)?;
        if query.normed { self.through_norm(&stack, ReadBy::End.resolve(&self.dims)?) } else { Ok(stack) }
    }

    /// What each head wrote, `z W_O` without `b_O`; made from z where `hook_result` is not cached.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `L0H0`, `L0H1`, .., and `remainder`.
    ///
    /// # Errors
    /// As [`ActivationCache::accumulated_resid`]; a model that did not make the cache; layer 0 without remainder, which has no
    /// heads; an edited `hook_result` that is not cached, for its edits are not in z.
    pub fn stack_head_results(&self, model: &HookedTransformer, query: Stack<Heads>) -> Result<ResidualStack> {
        self.check_model(model)?;
        if self.dims.norms_after {
            return Err(Error::argument(
                "in this model a norm follows attention before anything is added to the residual stream, so heads have \
                 no shares of their own in it: decompose_resid gives what each layer's attention wrote.",
            ));
        }
        let reader = query.read_by.resolve(&self.dims)?;
        let layer = reader.layer;
        let (mut parts, mut labels) = (Vec::new(), Vec::new());
        let _work = Progress::opaque("stacking heads");
        let mut progress = Progress::of("stacking heads", layer as u64, "layers");
        for l in 0..layer {
            let results = self.head_results(model, l, &query.pos)?;
            let head_axis = results.rank() - 2;
            for head in 0..self.dims.n_heads {
                parts.push(results.narrow(head_axis, head, 1)?.squeeze(head_axis)?);
                labels.push(Head::new(l, head).to_string());
            }
            progress.step(1)?;
        }
        if query.kind.with_remainder {
            let stream = self.at_positions(&self.stream_before(layer)?, &query.pos, 2)?;
            let mut rest = widened(&stream)?;
            for part in &parts {
                rest = (rest - widened(part)?)?;
            }
            parts.push(rest.to_dtype(stream.dtype())?);
            labels.push("remainder".into());
        }
        if parts.is_empty() {
            return Err(Error::argument("no heads come before layer 0: give a later layer, or add .with_remainder()."));
        }
        let stack = self.labelled_stack(Tensor::stack(&parts, 0)?, labels, query.pos)?;
        if query.normed { self.through_norm(&stack, reader) } else { Ok(stack) }
    }

    /// Each head's result of one layer, `[(batch), (pos), head, d_model]`.
    fn head_results(&self, model: &HookedTransformer, layer: usize, pos: &Slice) -> Result<Tensor> {
        let result = HookPoint::Block(layer, Site::Result);
        if let Some(results) = self.captured.get(&result) {
            return self.at_positions(results, pos, Self::axis_from_end(result));
        }
        if self.edited.contains(&result) {
            return Err(Error::argument(format!(
                "the run changed {result}, which this cache does not hold, so what its heads wrote cannot be made from \
                 z: capture \"result\" as well and run again."
            )));
        }
        let z = HookPoint::Block(layer, Site::Z);
        let z = self.at_positions(&self.added(z)?, pos, Self::axis_from_end(z))?;
        model.head_results(layer, &z)
    }

    /// The residual stream that enters block `layer`, or leaves the last block.
    pub(super) fn stream_before(&self, layer: usize) -> Result<Tensor> {
        match layer.checked_sub(1) {
            Some(last) => self.added((Site::ResidPost, last)),
            None => self.added((Site::ResidPre, 0)),
        }
    }

    fn stack_of(&self, parts: Vec<(HookPoint, String)>, pos: Slice) -> Result<ResidualStack> {
        let (mut tensors, mut labels) = (Vec::new(), Vec::new());
        for (point, label) in parts {
            check_interrupt()?;
            tensors.push(self.at_positions(&self.added(point)?, &pos, 2)?);
            labels.push(label);
        }
        if tensors.is_empty() {
            return Err(Error::argument(
                "nothing was written before layer 0 but the embeddings: give a later layer, or leave \
                 .without_embeddings() out.",
            ));
        }
        self.labelled_stack(Tensor::stack(&tensors, 0)?, labels, pos)
    }

    pub(super) fn labelled_stack(&self, values: Tensor, labels: Vec<String>, pos: Slice) -> Result<ResidualStack> {
        let positions = self.positions_of(&pos)?;
        Ok(ResidualStack { values, labels, pos, positions, has_batch_dim: self.has_batch_dim, normed: false })
    }

    /// The positions of the run that `pos` selects; for a cache of some positions, all of those.
    pub(super) fn positions_of(&self, pos: &Slice) -> Result<Vec<usize>> {
        let chosen = if *pos == Slice::All { &self.pos } else { pos };
        chosen.indices(self.tokens.pos(), "position")
    }
}
