//! C10: how the classifier of brackets knows: an alarm, what it reads, and who counts.

mod answers;
pub mod handles;
mod inputs;
mod texts;

use candle_core::{DType, Device, IndexOp, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(texts::INTRODUCTION),
        Part::Code(texts::LOAD),
        Part::Text(texts::NEEDED),
        Part::Exercise(handles::accuracy_without().task()),
        Part::Text(texts::DEFAULT),
        Part::Text(texts::WHERE),
        Part::Exercise(handles::start_attention().task()),
        Part::Code(texts::PATTERN),
        Part::Text(texts::ALARM),
        Part::Exercise(handles::attention_to_marked().task()),
        Part::Text(texts::WHAT),
        Part::Exercise(handles::pre_head_dir().task()),
        Part::Code(texts::READS),
        Part::Text(texts::BELOW_ZERO),
        Part::Text(texts::EXCHANGE),
        Part::Code(texts::EXCHANGED),
        Part::Text(texts::BOTH_NEEDED),
        Part::Text(texts::WHO),
        Part::Exercise(handles::out_by_neuron().task()),
        Part::Exercise(handles::out_by_neuron_in_dir().task()),
        Part::Text(texts::OPPOSITE),
        Part::Exercise(handles::v_left_right().task()),
        Part::Code(texts::LAYER_0),
        Part::Text(texts::END),
    ];
    Section { file: "c10_brackets", parts }
}

fn accuracy_without(
    model: &HookedTransformer,
    texts: &[String],
    balanced: &[bool],
    layer: usize,
    head: usize,
) -> Result<f32> {
    let plan = HookPlan::new().edit(("z", layer), Edit::zero().head(head));
    let (logits, _) = model.run_with_hooks(texts, plan)?;
    let says = logits.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
    let right = says.iter().zip(balanced).filter(|(says, balanced)| (**says == 1) == **balanced).count();
    Ok(right as f32 / texts.len() as f32)
}

fn start_attention(cache: &ActivationCache, layer: usize, head: usize) -> Result<Tensor> {
    let rows = cache.get(("pattern", layer))?.i((.., head, 0))?;
    let there = cache.tokens().to_tensor(&Device::Cpu)?.ne(1u32)?.to_dtype(DType::F32)?;
    Ok((rows.sum(0)? / there.sum(0)?)?)
}

fn attention_to_marked(cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor) -> Result<Tensor> {
    Ok((cache.get(("pattern", layer))?.i((.., head, 0))? * marked)?.sum(1)?)
}

fn pre_head_dir(model: &HookedTransformer, dir: &Tensor, layer: usize, head: usize) -> Result<Tensor> {
    let (w_v, w_o) = (model.W_V()?.i((layer, head))?, model.W_O()?.i((layer, head))?);
    einsum("a e, e d, d -> a", &[&w_v, &w_o, dir])
}

fn out_by_neuron(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Result<Tensor> {
    let activations = cache.get(("post", layer))?.i((.., 0))?;
    einsum("b n, n d -> b n d", &[&activations, &model.W_out()?.get(layer)?])
}

fn out_by_neuron_in_dir(
    model: &HookedTransformer,
    cache: &ActivationCache,
    layer: usize,
    dir: &Tensor,
) -> Result<Tensor> {
    let weights = model.W_out()?.get(layer)?.matmul(&dir.unsqueeze(1)?)?.squeeze(1)?;
    Ok(cache.get(("post", layer))?.i((.., 0))?.broadcast_mul(&weights)?)
}

fn v_left_right(model: &HookedTransformer, head: usize) -> Result<(Tensor, Tensor)> {
    let (w_e, position) = (model.W_E(), model.W_pos()?.i(1..)?.mean(0)?);
    let (w_v, w_o) = (model.W_V()?.i((0, head))?, model.W_O()?.i((0, head))?);
    let passed_on = |id: usize| -> Result<Tensor> {
        let x = (w_e.get(id)? + &position)?;
        let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let scale = (f64::from(x.sqr()?.mean_all()?.item()?) + model.cfg().eps).sqrt();
        einsum("d, d e, e f -> f", &[&(x / scale)?, &w_v, &w_o])
    };
    Ok((passed_on(2)?, passed_on(3)?))
}
