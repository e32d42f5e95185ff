//! The residual stream taken apart to the end: heads, neurons, embeddings, biases.

use candle_core::Tensor;

use super::options::{Components, DecomposeOptions, FullOptions, HeadOptions, LnOptions, NeuronOptions};
use super::stack::ResidualStack;
use super::store::ActivationCache;
use crate::error::Result;
use crate::hooks::HookPoint;
use crate::labelled::Labelled;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::Slice;

impl ActivationCache {
    /// Everything that was written before `layer`, as finely as it was written: each head, each neuron (or each MLP),
    /// the embeddings, and all biases together. The components sum to the stream that enters block `layer`.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `L0H0`, .., `L0N0`, .. (or `0_mlp_out`, ..), `embed`,
    /// `pos_embed`, `bias`.
    ///
    /// # Errors
    /// As [`ActivationCache::stack_head_results`] and [`ActivationCache::stack_neuron_results`].
    pub fn get_full_resid_decomposition(
        &self,
        model: &HookedTransformer,
        options: &FullOptions,
    ) -> Result<ResidualStack> {
        let _work = Progress::opaque("taking the stream apart");
        let layer = self.dims.layer_or_final(options.layer)?;
        let mut stacks = self.small_parts(model, layer, options)?;
        if layer > 0 && options.expand_neurons && !self.dims.attn_only {
            let neurons = NeuronOptions { layer: layer as isize, pos: options.pos.clone(), ..Default::default() };
            let after_heads = usize::from(layer > 0 || options.mlp_input);
            stacks.insert(after_heads, self.stack_neuron_results(model, &neurons)?);
        }
        let labels = stacks.iter().flat_map(|stack| stack.labels.clone()).collect();
        let values: Vec<&Tensor> = stacks.iter().map(|stack| &stack.values).collect();
        let whole = self.labelled_stack(Tensor::cat(&values, 0)?, labels, options.pos.clone())?;
        if options.apply_ln { self.apply_ln_to_stack(&whole, &full_ln(layer, options)) } else { Ok(whole) }
    }

    /// [`ActivationCache::get_full_resid_decomposition`] along directions, without making the neurons' vectors. With
    /// `apply_ln` at the end the directions are those of the unembedding, which meet the final norm's weights where these are
    /// not folded (TransformerLens leaves them out).
    ///
    /// # Shapes
    /// `directions [d_model]`, or `[batch, d_model]` with one for each prompt; the result is
    /// `[component, (batch), (pos)]`.
    ///
    /// # Errors
    /// As [`ActivationCache::get_full_resid_decomposition`]; [`crate::Error::Shape`] for directions that do not fit.
    pub fn project_full_resid_decomposition(
        &self,
        model: &HookedTransformer,
        directions: &Tensor,
        options: &FullOptions,
    ) -> Result<Labelled> {
        let _work = Progress::opaque("taking the stream apart");
        let layer = self.dims.layer_or_final(options.layer)?;
        let ln = options.apply_ln.then(|| full_ln(layer, options));
        let directions = &match &ln {
            Some(ln) => self.behind_norm(directions, ln)?,
            None => directions.clone(),
        };
        let along = |stack: ResidualStack| match &ln {
            Some(ln) => self.apply_ln_to_stack(&stack, ln)?.project(directions),
            None => stack.project(directions),
        };
        let mut parts: Vec<Labelled> =
            self.small_parts(model, layer, options)?.into_iter().map(along).collect::<Result<_>>()?;
        if options.expand_neurons && !self.dims.attn_only {
            let chosen = (&Slice::All, &options.pos);
            let neurons = self.neurons_onto(model, directions, layer, chosen, ln.as_ref())?;
            let after_heads = usize::from(layer > 0 || options.mlp_input);
            neurons.into_iter().for_each(|neurons| parts.insert(after_heads, neurons));
        }
        Labelled::concat("component", &parts)
    }

    /// All components but neurons, in their order: heads, MLPs unless they are expanded, embeddings, biases.
    fn small_parts(
        &self,
        model: &HookedTransformer,
        layer: usize,
        options: &FullOptions,
    ) -> Result<Vec<ResidualStack>> {
        self.refuse_mlp_of_the_end(layer, options.mlp_input)?;
        let mut stacks = Vec::new();
        let heads_before = layer + usize::from(options.mlp_input);
        if heads_before > 0 {
            let heads = HeadOptions { layer: heads_before as isize, pos: options.pos.clone(), ..Default::default() };
            stacks.push(self.stack_head_results(model, &heads)?);
        }
        if layer > 0 && !options.expand_neurons && !self.dims.attn_only {
            stacks.push(self.decompose_resid(&DecomposeOptions {
                layer: layer as isize,
                mode: Components::Mlp,
                incl_embeds: false,
                pos: options.pos.clone(),
                ..Default::default()
            })?);
        }
        stacks.push(self.stack(HookPoint::Embed, options.pos.clone())?.labelled(["embed"]));
        if self.dims.adds_positions() {
            stacks.push(self.stack(HookPoint::PosEmbed, options.pos.clone())?.labelled(["pos_embed"]));
        }
        let bias = model.accumulated_bias(layer as isize, options.mlp_input, options.expand_neurons)?;
        let everywhere = bias.broadcast_as(stacks[stacks.len() - 1].values.shape())?.contiguous()?;
        stacks.push(self.labelled_stack(everywhere, vec!["bias".into()], options.pos.clone())?);
        Ok(stacks)
    }
}

fn full_ln(layer: usize, options: &FullOptions) -> LnOptions {
    LnOptions { layer: layer as isize, mlp_input: options.mlp_input, recompute: false }
}
