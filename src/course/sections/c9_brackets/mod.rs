//! C9: a classifier of brackets, and what its answer is made of.

mod answers;
pub mod handles;
mod inputs;
mod texts;

use candle_core::{DType, Device, IndexOp, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tensors::einsum;
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(texts::INTRODUCTION),
        Part::Code(texts::LOAD),
        Part::Text(texts::ALGORITHMS),
        Part::Exercise(handles::is_balanced().task()),
        Part::Exercise(handles::elevations().task()),
        Part::Text(texts::TWO_FAILURES),
        Part::Exercise(handles::failures().task()),
        Part::Text(texts::ACCURACY),
        Part::Exercise(handles::accuracy().task()),
        Part::Code(texts::ALL_RIGHT),
        Part::Text(texts::DIRECTION),
        Part::Exercise(handles::post_final_ln_dir().task()),
        Part::Exercise(handles::out_by_components().task()),
        Part::Text(texts::NORM),
        Part::Exercise(handles::through_final_norm().task()),
        Part::Exercise(handles::in_direction().task()),
        Part::Code(texts::PARTS),
        Part::Text(texts::END),
    ];
    Section { file: "c9_brackets", parts }
}

fn is_balanced(text: &str) -> Result<bool> {
    let mut depth = 0_i32;
    for bracket in text.chars() {
        depth += if bracket == '(' { 1 } else { -1 };
        if depth < 0 {
            return Ok(false);
        }
    }
    Ok(depth == 0)
}

fn elevations(tokens: &Tokens) -> Result<Tensor> {
    let ids = tokens.to_tensor(&Device::Cpu)?;
    let steps = (ids.eq(3u32)?.to_dtype(DType::F32)? - ids.eq(2u32)?.to_dtype(DType::F32)?)?;
    let before = (steps.cumsum(1)? - &steps)?;
    Ok(steps.sum_keepdim(1)?.broadcast_sub(&before)?)
}

fn failures(tokens: &Tokens) -> Result<(Tensor, Tensor)> {
    let elevations = elevations(tokens)?;
    let total = elevations.i((.., 0))?.ne(0f32)?;
    let negative = elevations.min(1)?.lt(0f32)?;
    Ok((total.to_dtype(DType::F32)?, negative.to_dtype(DType::F32)?))
}

fn accuracy(model: &HookedTransformer, texts: &[String]) -> Result<f32> {
    let says = model.forward(texts)?.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
    let mut right = 0;
    for (text, says) in texts.iter().zip(says) {
        right += usize::from(is_balanced(text)? == (says == 1));
    }
    Ok(right as f32 / texts.len() as f32)
}

fn post_final_ln_dir(model: &HookedTransformer) -> Result<Tensor> {
    let w_u = model.W_U();
    Ok((w_u.i((.., 0))? - w_u.i((.., 1))?)?)
}

fn out_by_components(model: &HookedTransformer, cache: &ActivationCache) -> Result<Tensor> {
    let cfg = model.cfg();
    let mut parts = vec![(cache.get("embed")? + cache.get("pos_embed")?)?];
    for layer in 0..cfg.n_layers {
        let w_o = model.W_O()?.get(layer)?;
        let heads = einsum("b p h e, h e d -> h b p d", &[&cache.get(("z", layer))?, &w_o])?;
        for head in 0..cfg.n_heads {
            parts.push(heads.get(head)?);
        }
        parts.push(cache.get(("mlp_out", layer))?);
    }
    Ok(Tensor::stack(&parts, 0)?)
}

fn through_final_norm(components: &Tensor, cache: &ActivationCache) -> Result<Tensor> {
    let at_start = components.i((.., .., 0))?;
    let centred = at_start.broadcast_sub(&at_start.mean_keepdim(2)?)?;
    Ok(centred.broadcast_div(&cache.get("ln_final.hook_scale")?.i((.., 0))?)?)
}

fn in_direction(components: &Tensor, dir: &Tensor, balanced: &[bool]) -> Result<Tensor> {
    let shares = einsum("c b d, d -> c b", &[components, dir])?;
    let rows: Vec<u32> = (0..balanced.len()).filter(|&row| balanced[row]).map(|row| row as u32).collect();
    let of_balanced = shares.index_select(&Tensor::new(rows, shares.device())?, 1)?;
    Ok(shares.broadcast_sub(&of_balanced.mean_keepdim(1)?)?)
}
