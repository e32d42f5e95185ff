//! What each neuron wrote into the residual stream, as vectors or projected on directions.
//!
//! A neuron adds `post[n] W_out[n]`. As vectors these need much memory: all neurons of GPT-2 at one position of 8 prompts
//! take 900 MB. Projected on directions they are one number each, `post[n] (W_out[n] . d)`, and the norm's centring goes into the
//! direction, `(x - mean(x)) . d = x . (d - mean(d))`, so the vectors are never made.

use candle_core::Tensor;

use super::query::{Neurons, Stack};
use super::stack::{ResidualStack, axes, directions_for};
use super::store::ActivationCache;
use crate::dims::Reader;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site, check_free};
use crate::labelled::Labelled;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::wide::widened;

impl ActivationCache {
    /// The outputs of neurons of one layer, `post[n] W_out[n]`.
    ///
    /// # Shapes
    /// `[(batch), (pos), neuron, d_model]`.
    ///
    /// # Errors
    /// A layer, neuron or position that does not exist; `mlp.hook_post` not cached; a model of other sizes, without
    /// MLPs, or with norms after them; more numbers than fit in memory.
    pub fn get_neuron_results(
        &self,
        model: &HookedTransformer,
        layer: isize,
        neurons: impl Into<Slice>,
        pos: impl Into<Slice>,
    ) -> Result<Tensor> {
        self.check_neurons(model)?;
        let layer = self.dims.layer(layer)?;
        let (neurons, pos) = (neurons.into(), pos.into());
        let post = self.neuron_activations(layer, &neurons, &pos)?;
        self.check_room(post.elem_count())?;
        let (w_out, _) = self.w_out(model, layer, &neurons)?;
        Ok(post.unsqueeze(post.rank())?.broadcast_mul(&w_out)?)
    }

    /// What each neuron wrote, one component each, without `b_out`.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; labels `L0N0`, `L0N1`, .., and `remainder`.
    ///
    /// # Errors
    /// As [`ActivationCache::get_neuron_results`]; layer 0 without remainder, which has no neurons.
    pub fn stack_neuron_results(&self, model: &HookedTransformer, query: Stack<Neurons>) -> Result<ResidualStack> {
        self.check_neurons(model)?;
        let reader = query.read_by.resolve(&self.dims)?;
        let layer = reader.layer;
        let chosen = query.kind.neurons.indices(self.dims.d_mlp, "neuron")?;
        let batch_and_pos = self.at_positions(&self.get(HookPoint::Embed)?, &query.pos, 2)?.elem_count();
        self.check_room(layer * chosen.len() * (batch_and_pos / self.dims.d_model))?;
        let mut parts = Vec::new();
        let _work = Progress::opaque("stacking neurons");
        let mut progress = Progress::of("stacking neurons", layer as u64, "layers");
        for l in 0..layer {
            let results = self.get_neuron_results(model, l as isize, query.kind.neurons.clone(), query.pos.clone())?;
            parts.push(neurons_first(&results, 2)?);
            progress.step(1)?;
        }
        let mut labels = neuron_labels(layer, &chosen);
        if query.kind.with_remainder {
            let stream = self.at_positions(&self.stream_before(layer)?, &query.pos, 2)?;
            let mut rest = widened(&stream)?;
            for part in &parts {
                rest = (rest - widened(part)?.sum(0)?)?;
            }
            parts.push(rest.unsqueeze(0)?.to_dtype(stream.dtype())?);
            labels.push("remainder".into());
        }
        if parts.is_empty() {
            return Err(no_neurons());
        }
        let stack = self.labelled_stack(Tensor::cat(&parts, 0)?, labels, query.pos)?;
        if query.normed { self.through_norm(&stack, reader) } else { Ok(stack) }
    }

    /// What each neuron wrote along directions of the residual stream: the numbers that
    /// [`ActivationCache::stack_neuron_results`] and [`ResidualStack::project`] give, from a fraction of the memory. For a query that is
    /// [`Stack::normed`] up to the end of the model, the directions are those of the unembedding, and the final norm's weights are
    /// applied to them if they are not folded (TransformerLens leaves them out).
    ///
    /// # Shapes
    /// `directions [d_model]`, or `[batch, d_model]` with one for each prompt; the result is
    /// `[component, (batch), (pos)]`.
    ///
    /// # Errors
    /// As [`ActivationCache::stack_neuron_results`]; [`Error::Shape`] for directions that do not fit.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let answers = model.answers([(" Mary", " John")])?;
    /// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
    /// let query = Stack::neurons().pos(-1).normed();
    /// let shares = cache.project_neuron_results(&model, &answers.directions(&model)?, query)?;
    /// println!("{}", shares.top(1)[0]);
    /// assert_eq!(shares.shape(), [model.cfg().n_layers * cache.dims().d_mlp, 1]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn project_neuron_results(
        &self,
        model: &HookedTransformer,
        directions: &Tensor,
        query: Stack<Neurons>,
    ) -> Result<Labelled> {
        let reader = query.read_by.resolve(&self.dims)?;
        let layer = reader.layer;
        let norm = query.normed.then_some(reader);
        let directions = &match norm {
            Some(norm) => self.behind_norm(directions, norm)?,
            None => directions.clone(),
        };
        let neurons = self.neurons_onto(model, directions, layer, (&query.kind.neurons, &query.pos), norm)?;
        if !query.kind.with_remainder {
            return neurons.ok_or_else(no_neurons);
        }
        let stream = self.at_positions(&self.stream_before(layer)?, &query.pos, 2)?.unsqueeze(0)?;
        let mut rest = self.labelled_stack(stream, vec!["remainder".into()], query.pos.clone())?;
        if let Some(norm) = norm {
            rest = self.through_norm(&rest, norm)?;
        }
        let mut rest = rest.project(directions)?;
        let Some(neurons) = neurons else { return Ok(rest) };
        *rest.values_mut() -= &neurons.sum_over("component")?.values().insert_axis(ndarray::Axis(0));
        Labelled::concat("component", &[neurons, rest])
    }

    /// The neurons before `layer` projected on directions, through the norm that `norm` reads; `None` where there are no neurons.
    pub(super) fn neurons_onto(
        &self,
        model: &HookedTransformer,
        directions: &Tensor,
        layer: usize,
        (neurons, pos): (&Slice, &Slice),
        norm: Option<Reader>,
    ) -> Result<Option<Labelled>> {
        self.check_neurons(model)?;
        let batch = self.has_batch_dim.then_some(self.tokens.batch());
        let mut directions = widened(&directions_for(directions, self.dims.d_model, batch)?)?;
        let scale = norm.map(|norm| self.cached_scale(norm, pos)).transpose()?.flatten();
        if scale.is_some() && self.final_norm.centres() {
            directions = directions.broadcast_sub(&directions.mean_keepdim(directions.rank() - 1)?)?;
        }
        let chosen = neurons.indices(self.dims.d_mlp, "neuron")?;
        let (mut parts, mut positions) = (Vec::new(), None);
        let _work = Progress::opaque("projecting neurons");
        let mut progress = Progress::of("projecting neurons", layer as u64, "layers");
        for l in 0..layer {
            let post = self.neuron_activations(l, neurons, pos)?;
            let (_, w_out_t) = self.w_out(model, l, neurons)?;
            let w_out_t = widened(&w_out_t)?;
            let mut along = match directions.rank() {
                1 => directions.unsqueeze(0)?.matmul(&w_out_t)?.squeeze(0)?,
                _ => directions.matmul(&w_out_t)?,
            };
            if along.rank() == 2 && post.rank() == 3 {
                along = along.unsqueeze(1)?;
            }
            let mut part = widened(&post)?.broadcast_mul(&along)?;
            if let Some(scale) = &scale {
                part = part.broadcast_div(&widened(scale)?)?;
            }
            positions = (post.rank() > 1 + usize::from(batch.is_some())).then_some(());
            parts.push(neurons_first(&part, 1)?);
            progress.step(1)?;
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let positions = positions.map(|()| self.positions_of(pos)).transpose()?;
        let axes = axes(&neuron_labels(layer, &chosen), batch, positions.as_deref());
        let title = "projection of the residual stream";
        Ok(Some(Labelled::from_tensor(title, axes, &Tensor::cat(&parts, 0)?)?))
    }

    /// `[(batch), (pos), neuron]` after the activation function.
    fn neuron_activations(&self, layer: usize, neurons: &Slice, pos: &Slice) -> Result<Tensor> {
        let post = self.at_positions(&self.added(HookPoint::Block(layer, Site::MlpPost))?, pos, 2)?;
        let last = post.rank() - 1;
        selected(&post, last, neurons)
    }

    /// `W_out` of these neurons, `[neuron, d_model]`, and its transpose.
    fn w_out(&self, model: &HookedTransformer, layer: usize, neurons: &Slice) -> Result<(Tensor, Tensor)> {
        let w_out = selected(&model.w_out_of(layer)?, 0, neurons)?;
        let transposed = w_out.t()?.contiguous()?;
        Ok((w_out, transposed))
    }

    fn check_neurons(&self, model: &HookedTransformer) -> Result<()> {
        self.check_model(model)?;
        if self.dims.attn_only {
            return Err(Error::argument("the model has attention only: it has no neurons."));
        }
        if self.dims.norms_after {
            return Err(Error::argument(
                "in this model a norm follows the MLP before anything is added to the residual stream, so neurons have \
                 no shares of their own in it: decompose_resid gives what each layer's MLP wrote.",
            ));
        }
        Ok(())
    }

    fn check_room(&self, vectors: usize) -> Result<()> {
        let bytes = (vectors * self.dims.d_model * 4) as u64;
        let what = format!("the output vectors of {vectors} neurons");
        check_free(bytes, &what, "select fewer positions or neurons, or project them on a direction (project_..)")
    }
}

/// Moves the neuron axis, counted from the end, to the front.
fn neurons_first(x: &Tensor, from_end: usize) -> Result<Tensor> {
    let at = x.rank() - from_end;
    let order: Vec<usize> = [at].into_iter().chain((0..x.rank()).filter(|&axis| axis != at)).collect();
    Ok(x.permute(order)?.contiguous()?)
}

/// The chosen entries of an axis, which is kept.
fn selected(x: &Tensor, axis: usize, chosen: &Slice) -> Result<Tensor> {
    if *chosen == Slice::All {
        return Ok(x.clone());
    }
    let indices: Vec<u32> = chosen.indices(x.dim(axis)?, "neuron")?.into_iter().map(|i| i as u32).collect();
    let count = indices.len();
    Ok(x.contiguous()?.index_select(&Tensor::from_vec(indices, count, x.device())?, axis)?)
}

fn neuron_labels(layers: usize, neurons: &[usize]) -> Vec<String> {
    (0..layers).flat_map(|layer| neurons.iter().map(move |neuron| format!("L{layer}N{neuron}"))).collect()
}

fn no_neurons() -> Error {
    Error::argument("no neurons come before layer 0: give a later layer, or add .with_remainder().")
}
