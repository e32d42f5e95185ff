//! The residual stream taken apart: what it was after each block, and what each component wrote.
//!
//! The stream that enters block `l` is the sum of the embeddings and of every output before it,
//! `x_l = embed + pos_embed + sum_{i<l} (attn_out_i + mlp_out_i)` (Elhage et al. 2021), so the logit of a token splits
//! into one part for each component once the final norm's scale is held fixed: direct logit attribution.
//!
//! Labels and semantics are TransformerLens'.

use candle_core::Tensor;

use super::options::{AccumulatedOptions, Components, DecomposeOptions, HeadOptions, LnOptions};
use super::stack::ResidualStack;
use super::store::ActivationCache;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookQuery, Site};
use crate::labelled::Labelled;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::TokenRef;
use crate::wide::widened;

impl ActivationCache {
    /// One activation `[.., d_model]` as a stack of one component, for example the final residual stream.
    ///
    /// # Errors
    /// As [`ActivationCache::get`]; [`Error::Argument`] for a point that is not part of the residual stream.
    pub fn stack(&self, point: impl Into<HookQuery>, pos: impl Into<Slice>) -> Result<ResidualStack> {
        let point = point.into().resolve(&self.dims)?;
        if point.axes() != HookPoint::Embed.axes() {
            return Err(Error::argument(format!(
                "{point} has axes {:?}, but a stack is made of residual-stream vectors [batch, pos, d_model].",
                point.axes()
            )));
        }
        self.stack_of(vec![(point, point.to_string())], pos.into())
    }

    /// The stream that enters each block, up to `layer`, and the stream at the end.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `0_pre`, `0_mid`, `1_pre`, .., `final_post`.
    ///
    /// # Errors
    /// Activations that are not cached, a layer or position that does not exist, a middle of attention-only blocks.
    pub fn accumulated_resid(&self, options: &AccumulatedOptions) -> Result<ResidualStack> {
        let layer = self.dims.layer_or_final(options.layer)?;
        self.refuse_mlp_of_the_end(layer, options.mlp_input)?;
        let _work = Progress::opaque("stacking the stream");
        let mut parts = Vec::new();
        for l in 0..=layer {
            if l == self.dims.n_layers {
                let last = l
                    .checked_sub(1)
                    .ok_or_else(|| Error::argument("a model without blocks has no residual stream after one."))?;
                parts.push((HookPoint::Block(last, Site::ResidPost), "final_post".to_string()));
                continue;
            }
            parts.push((HookPoint::Block(l, Site::ResidPre), format!("{l}_pre")));
            if (options.incl_mid && l < layer) || (options.mlp_input && l == layer) {
                parts.push((HookPoint::Block(l, Site::ResidMid).check(&self.dims)?, format!("{l}_mid")));
            }
        }
        let stack = self.stack_of(parts, options.pos.clone())?;
        if !options.apply_ln {
            return Ok(stack);
        }
        let recompute = layer == self.dims.n_layers;
        self.apply_ln_to_stack(&stack, &LnOptions { layer: layer as isize, mlp_input: options.mlp_input, recompute })
    }

    /// What the embeddings and each attention and MLP wrote before `layer`; they sum to the stream that enters it. What a plan
    /// put into the stream itself (an edit of `resid_pre`, say) was written by none of them.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `embed`, `pos_embed`, `0_attn_out`, `0_mlp_out`, ..
    ///
    /// # Errors
    /// As [`ActivationCache::accumulated_resid`]; options that leave no component.
    pub fn decompose_resid(&self, options: &DecomposeOptions) -> Result<ResidualStack> {
        let layer = self.dims.layer_or_final(options.layer)?;
        self.refuse_mlp_of_the_end(layer, options.mlp_input)?;
        let _work = Progress::opaque("taking the stream apart");
        let with_attn = options.mode != Components::Mlp;
        let with_mlp = options.mode != Components::Attn && !self.dims.attn_only;
        let mut parts = Vec::new();
        if options.incl_embeds {
            parts.push((HookPoint::Embed, "embed".to_string()));
            if self.dims.adds_positions() {
                parts.push((HookPoint::PosEmbed, "pos_embed".to_string()));
            }
        }
        for l in 0..layer {
            if with_attn {
                parts.push((HookPoint::Block(l, Site::AttnOut), format!("{l}_attn_out")));
            }
            if with_mlp {
                parts.push((HookPoint::Block(l, Site::MlpOut), format!("{l}_mlp_out")));
            }
        }
        if options.mlp_input && with_attn {
            parts.push((HookPoint::Block(layer, Site::AttnOut), format!("{layer}_attn_out")));
        }
        let stack = self.stack_of(parts, options.pos.clone())?;
        let ln = LnOptions { layer: layer as isize, mlp_input: options.mlp_input, recompute: false };
        if options.apply_ln { self.apply_ln_to_stack(&stack, &ln) } else { Ok(stack) }
    }

    /// What each head before `layer` wrote, `z W_O` without `b_O`; made from z where `hook_result` is not cached.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `L0H0`, `L0H1`, .., and `remainder`.
    ///
    /// # Errors
    /// As [`ActivationCache::accumulated_resid`]; a model that did not make the cache; layer 0 without remainder, which has no
    /// heads; an edited `hook_result` that is not cached, for its edits are not in z.
    pub fn stack_head_results(&self, model: &HookedTransformer, options: &HeadOptions) -> Result<ResidualStack> {
        self.check_model(model)?;
        if self.dims.norms_after {
            return Err(Error::argument(
                "in this model a norm follows attention before anything is added to the residual stream, so heads have \
                 no shares of their own in it: decompose_resid gives what each layer's attention wrote.",
            ));
        }
        let layer = self.dims.layer_or_final(options.layer)?;
        let (mut parts, mut labels) = (Vec::new(), Vec::new());
        let _work = Progress::opaque("stacking heads");
        let mut progress = Progress::of("stacking heads", layer as u64, "layers");
        for l in 0..layer {
            let results = self.head_results(model, l, &options.pos)?;
            let head_axis = results.rank() - 2;
            for head in 0..self.dims.n_heads {
                parts.push(results.narrow(head_axis, head, 1)?.squeeze(head_axis)?);
                labels.push(format!("L{l}H{head}"));
            }
            progress.step(1);
        }
        if options.incl_remainder {
            let stream = self.at_positions(&self.stream_before(layer)?, &options.pos, 2)?;
            let mut rest = widened(&stream)?;
            for part in &parts {
                rest = (rest - widened(part)?)?;
            }
            parts.push(rest.to_dtype(stream.dtype())?);
            labels.push("remainder".into());
        }
        if parts.is_empty() {
            return Err(Error::argument("no heads come before layer 0: give a later layer, or ask for the remainder."));
        }
        let stack = self.labelled_stack(Tensor::stack(&parts, 0)?, labels, options.pos.clone())?;
        let ln = LnOptions { layer: layer as isize, mlp_input: false, recompute: false };
        if options.apply_ln { self.apply_ln_to_stack(&stack, &ln) } else { Ok(stack) }
    }

    /// Each head's result of one layer, `[(batch), (pos), head, d_model]`.
    fn head_results(&self, model: &HookedTransformer, layer: usize, pos: &Slice) -> Result<Tensor> {
        let result = HookPoint::Block(layer, Site::Result);
        if let Some(results) = self.captured.get(&result) {
            return self.at_positions(results, pos, Self::axis_from_end(result));
        }
        if self.edited.contains(&result) {
            return Err(Error::argument(format!(
                "the run changed {result}, which this cache does not hold, so what its heads wrote cannot be made from z: \
                 capture \"result\" too and run again."
            )));
        }
        let z = HookPoint::Block(layer, Site::Z);
        let z = self.at_positions(&self.get(z)?, pos, Self::axis_from_end(z))?;
        model.head_results(layer, &z)
    }

    /// Centres each component, if the model's norms do, and divides it by the norm's scale of the whole stream at the
    /// same positions. The norm's own weights are not applied, as in TransformerLens: where they are not folded, they belong
    /// into the directions that the result is projected on, which `logit_attrs` and all other attributions see to. With
    /// `recompute` each component goes through the whole final norm by itself, as in the logit lens. Without norms the
    /// stack comes back unchanged.
    ///
    /// # Shapes
    /// Those of the stack.
    ///
    /// # Errors
    /// A stack that has been through a norm, or is of other prompts or positions than the cache; a scale that is not cached,
    /// a layer that does not exist, `recompute` before the end.
    pub fn apply_ln_to_stack(&self, stack: &ResidualStack, options: &LnOptions) -> Result<ResidualStack> {
        let layer = self.dims.layer_or_final(options.layer)?;
        self.refuse_mlp_of_the_end(layer, options.mlp_input)?;
        if !self.dims.has_norm {
            return Ok(stack.clone());
        }
        self.check_stack(stack)?;
        let values = if options.recompute {
            if layer != self.dims.n_layers {
                return Err(Error::argument(format!(
                    "the norm can be recomputed for each slice at the end only, not at layer {layer}: leave recompute off."
                )));
            }
            self.final_norm.apply(&stack.values)?
        } else {
            let Some(scale) = self.cached_scale(options, &stack.pos)? else { return Ok(stack.clone()) };
            let last = stack.values.rank() - 1;
            let values = widened(&stack.values)?;
            let centred = match self.final_norm.centres() {
                true => values.broadcast_sub(&values.mean_keepdim(last)?)?,
                false => values,
            };
            centred.broadcast_div(&widened(&scale)?)?.to_dtype(stack.values.dtype())?
        };
        Ok(ResidualStack { values, normed: true, ..stack.clone() })
    }

    /// That the norm of this cache's run can be applied to a stack.
    fn check_stack(&self, stack: &ResidualStack) -> Result<()> {
        if stack.normed {
            return Err(Error::argument(
                "this stack has been through a norm already (apply_ln), and what a norm gives is not put through it once \
                 more: take the stack without apply_ln.",
            ));
        }
        if stack.has_batch_dim != self.has_batch_dim {
            let has = |batch: bool| if batch { "a batch axis" } else { "no batch axis" };
            return Err(Error::argument(format!(
                "the stack has {}, but the cache has {}: take the stack from this cache.",
                has(stack.has_batch_dim),
                has(self.has_batch_dim)
            )));
        }
        let dims = stack.values.dims();
        let (own, prompts) = (self.positions_of(&stack.pos)?, self.tokens.batch());
        let stacked = if stack.has_batch_dim { dims.get(1).copied().unwrap_or(0) } else { 1 };
        let width = dims.last().copied().unwrap_or(0);
        if (stacked, &stack.positions, width) == (prompts, &own, self.dims.d_model) {
            return Ok(());
        }
        Err(Error::argument(format!(
            "the stack is of {stacked} prompts at positions {:?} with d_model = {width}, but the cache has {prompts} prompts at \
             positions {own:?} with d_model = {}: give the cache that the stack was taken from.",
            stack.positions, self.dims.d_model
        )))
    }

    /// What each component adds to the logit of `tokens` (minus that of `incorrect`), through the final norm with its cached
    /// scale and its weights. `b_U`, and the norm's bias where it is not folded, belong to no component and are not included.
    /// Of a model that squeezes its logits (Gemma 2) it is the logit before that, and the title says so.
    ///
    /// # Shapes
    /// One token for each prompt, or one for all; the result is `[component, (batch), (pos)]`.
    ///
    /// # Errors
    /// Texts that are not one token, lists of unequal lengths, a model that did not make the cache, and as
    /// [`ActivationCache::apply_ln_to_stack`].
    pub fn logit_attrs<T: Into<TokenRef>, W: Into<TokenRef>>(
        &self,
        model: &HookedTransformer,
        stack: &ResidualStack,
        tokens: impl IntoIterator<Item = T>,
        incorrect: impl IntoIterator<Item = W>,
    ) -> Result<Labelled> {
        self.check_model(model)?;
        let tokens = model.tokens_to_residual_directions(tokens)?;
        let incorrect: Vec<W> = incorrect.into_iter().collect();
        let directions = if incorrect.is_empty() {
            tokens
        } else {
            let count = incorrect.len();
            if count != tokens.dim(0)? {
                return Err(Error::argument(format!(
                    "{} tokens were given with {count} incorrect ones: give one incorrect token for each, or none.",
                    tokens.dim(0)?
                )));
            }
            (tokens - model.tokens_to_residual_directions(incorrect)?)?
        };
        let directions = if directions.dim(0)? == 1 { directions.squeeze(0)? } else { directions };
        Ok(self.onto_unembedding(stack, &directions)?.titled(self.logit_title("logit attribution")))
    }

    /// The scale that the norm of this place had in the run, `[(batch), (pos), 1]`; none in a model without norms.
    pub(super) fn cached_scale(&self, options: &LnOptions, pos: &Slice) -> Result<Option<Tensor>> {
        if !self.dims.has_norm {
            return Ok(None);
        }
        let layer = self.dims.layer_or_final(options.layer)?;
        let point = match (layer == self.dims.n_layers, options.mlp_input) {
            (true, _) => HookPoint::LnFinalScale,
            (false, false) => HookPoint::Block(layer, Site::Ln1Scale),
            (false, true) => HookPoint::Block(layer, Site::Ln2Scale).check(&self.dims)?,
        };
        Ok(Some(self.at_positions(&self.get(point)?, pos, 2)?))
    }

    /// The stream that enters block `layer`, or leaves the last.
    pub(super) fn stream_before(&self, layer: usize) -> Result<Tensor> {
        match layer.checked_sub(1) {
            Some(last) => self.get((Site::ResidPost, last)),
            None => self.get((Site::ResidPre, 0)),
        }
    }

    fn stack_of(&self, parts: Vec<(HookPoint, String)>, pos: Slice) -> Result<ResidualStack> {
        let (mut tensors, mut labels) = (Vec::new(), Vec::new());
        for (point, label) in parts {
            tensors.push(self.at_positions(&self.get(point)?, &pos, 2)?);
            labels.push(label);
        }
        if tensors.is_empty() {
            return Err(Error::argument(
                "nothing was written before layer 0 but the embeddings: give a later layer, or incl_embeds: true.",
            ));
        }
        self.labelled_stack(Tensor::stack(&tensors, 0)?, labels, pos)
    }

    pub(super) fn labelled_stack(&self, values: Tensor, labels: Vec<String>, pos: Slice) -> Result<ResidualStack> {
        let positions = self.positions_of(&pos)?;
        Ok(ResidualStack { values, labels, pos, positions, has_batch_dim: self.has_batch_dim, normed: false })
    }

    /// The run's own positions that `pos` selects; a cache of some positions only gives all of them.
    pub(super) fn positions_of(&self, pos: &Slice) -> Result<Vec<usize>> {
        let chosen = if *pos == Slice::All { &self.pos } else { pos };
        chosen.indices(self.tokens.pos(), "position")
    }

    pub(super) fn refuse_mlp_of_the_end(&self, layer: usize, mlp_input: bool) -> Result<()> {
        if mlp_input && self.dims.parallel_attn_mlp {
            return Err(Error::argument(
                "mlp_input asks for the stream between attention and MLP, but in this model both read the same stream: \
                 leave mlp_input off.",
            ));
        }
        if mlp_input && layer == self.dims.n_layers {
            return Err(Error::argument(
                "mlp_input asks for the input of a block's MLP, but the layer is the end of the model: give a block.",
            ));
        }
        Ok(())
    }
}
