//! The full decomposition of the residual stream: heads, neurons, embeddings, biases.

use candle_core::Tensor;

use super::query::{Everything, Stack};
use super::stack::ResidualStack;
use super::store::ActivationCache;
use crate::dims::Reader;
use crate::error::Result;
use crate::hooks::HookPoint;
use crate::labelled::Labelled;
use crate::model::{Biases, HookedTransformer};
use crate::progress::Progress;
use crate::slice::Slice;

impl ActivationCache {
    /// Everything that was written, at the finest resolution: each head, each neuron (or each MLP), the embeddings, and all
    /// biases together. The components sum to the residual stream.
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
        query: Stack<Everything>,
    ) -> Result<ResidualStack> {
        let _work = Progress::opaque("decomposing the residual stream");
        let reader = query.read_by.resolve(&self.dims)?;
        let mut stacks = self.small_parts(model, reader, &query)?;
        if reader.layer > 0 && query.kind.neurons && !self.dims.attn_only {
            let neurons = Stack::neurons().before(reader.layer as isize).pos(query.pos.clone());
            // Behind the heads.
            stacks.insert(1, self.stack_neuron_results(model, neurons)?);
        }
        let labels = stacks.iter().flat_map(|stack| stack.labels.clone()).collect();
        let values: Vec<&Tensor> = stacks.iter().map(|stack| &stack.values).collect();
        let whole = self.labelled_stack(Tensor::cat(&values, 0)?, labels, query.pos)?;
        if query.normed { self.through_norm(&whole, reader) } else { Ok(whole) }
    }

    /// [`ActivationCache::get_full_resid_decomposition`] along directions, without making the neurons' vectors. For a query that is
    /// [`Stack::normed`] up to the end of the model, the directions are those of the unembedding, and the final norm's weights are
    /// applied to them if they are not folded (TransformerLens leaves them out).
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
        query: Stack<Everything>,
    ) -> Result<Labelled> {
        let _work = Progress::opaque("decomposing the residual stream");
        let reader = query.read_by.resolve(&self.dims)?;
        let norm = query.normed.then_some(reader);
        let directions = &match norm {
            Some(norm) => self.behind_norm(directions, norm)?,
            None => directions.clone(),
        };
        let along = |stack: ResidualStack| match norm {
            Some(norm) => self.through_norm(&stack, norm)?.project(directions),
            None => stack.project(directions),
        };
        let mut parts: Vec<Labelled> =
            self.small_parts(model, reader, &query)?.into_iter().map(along).collect::<Result<_>>()?;
        if query.kind.neurons && !self.dims.attn_only {
            let neurons = self.neurons_onto(model, directions, reader.layer, (&Slice::All, &query.pos), norm)?;
            // Behind the heads; before layer 0, without neurons, nothing is inserted.
            neurons.into_iter().for_each(|neurons| parts.insert(1, neurons));
        }
        Labelled::concat("component", &parts)
    }

    /// All components but neurons, in order: heads, MLPs unless they are expanded into neurons, embeddings, biases.
    fn small_parts(
        &self,
        model: &HookedTransformer,
        reader: Reader,
        query: &Stack<Everything>,
    ) -> Result<Vec<ResidualStack>> {
        let layer = reader.layer as isize;
        let point = |point| self.stack_point(Stack::point(point).pos(query.pos.clone()));
        let mut stacks = Vec::new();
        let heads_before = reader.layer + usize::from(reader.is_mlp);
        if heads_before > 0 {
            let heads = Stack::heads().before(heads_before as isize).pos(query.pos.clone());
            stacks.push(self.stack_head_results(model, heads)?);
        }
        if layer > 0 && !query.kind.neurons && !self.dims.attn_only {
            let mlps = Stack::components().without_attention().without_embeddings();
            stacks.push(self.decompose_resid(mlps.before(layer).pos(query.pos.clone()))?);
        }
        stacks.push(point(HookPoint::Embed)?.labelled(["embed"]));
        if self.dims.adds_positions() {
            stacks.push(point(HookPoint::PosEmbed)?.labelled(["pos_embed"]));
        }
        let of = if query.kind.neurons { Biases::All } else { Biases::Attention };
        let bias = model.accumulated_bias(query.read_by, of)?;
        let everywhere = bias.broadcast_as(stacks[stacks.len() - 1].values.shape())?.contiguous()?;
        stacks.push(self.labelled_stack(everywhere, vec!["bias".into()], query.pos.clone())?);
        Ok(stacks)
    }
}
