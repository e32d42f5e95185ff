//! The logit of a target, or a logit difference, through a lens: the columns of the target alone.

use candle_core::{D, Tensor};

use super::lens::Lens;
use super::run::{Streams, cached, points, streams};
use crate::analysis::{RunOrInput, check_count, last_positions};
use crate::cache::{ActivationCache, Target};
use crate::dims::{Dims, ReadBy};
use crate::error::{Error, Result};
use crate::interrupt::check_interrupt;
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::model::ops::soft_cap;
use crate::progress::Progress;
use crate::tokens::TokenRef;
use crate::wide::widened;

pub(super) fn logits(lens: &dyn Lens, model: &HookedTransformer, run: RunOrInput, target: Target) -> Result<Labelled> {
    if matches!(target, Target::Directions(_)) {
        return Err(Error::argument(
            "a lens reads logits with their biases, so its target is a token or a pair of tokens, not directions.",
        ));
    }
    lens.check_model(model)?;
    let incl_mid = has_mid(lens, &model.dims());
    let points = points(lens, &model.dims(), incl_mid)?;
    let cache = cached(model, run, incl_mid)?;
    check_count(&cache, &target)?;
    let _work = Progress::opaque("attributing the logits");
    let streams = streams(&cache, &points, &last_positions(&cache), incl_mid)?;
    check_interrupt()?;
    let normed = at_last(lens, &cache, &streams)?;
    let axes = vec![Axis::new("component", streams.labels), Axis::numbered("prompt", cache.tokens().batch())];
    let of = |tokens| -> Result<Labelled> {
        let title = format!("logit by the {}", lens.name());
        Labelled::from_tensor(title, axes.clone(), &of_tokens(model, &normed, tokens)?)
    };
    match target {
        Target::Difference(pairs) => {
            let (correct, incorrect) = pairs.into_iter().unzip();
            let mut apart = of(correct)?.titled(format!("logit difference by the {}", lens.name()));
            *apart.values_mut() -= &of(incorrect)?.values();
            Ok(apart)
        }
        Target::Token(tokens) => of(tokens),
        Target::Directions(_) => unreachable!("refused above"),
    }
}

/// Whether the lens reads the residual stream between attention and MLP, in a model that has one.
fn has_mid(lens: &dyn Lens, dims: &Dims) -> bool {
    !(dims.attn_only || dims.parallel_attn_mlp)
        && (0..dims.n_layers as isize).any(|layer| lens.reads(ReadBy::Mlp(layer)))
}

/// The residual streams at each prompt's last token, through the lens and the final norm: `[component, prompt, d_model]`.
fn at_last(lens: &dyn Lens, cache: &ActivationCache, streams: &Streams) -> Result<Tensor> {
    let (tokens, positions) = (cache.tokens(), streams.positions.len());
    let last: Vec<u32> = match positions {
        1 => (0..tokens.batch() as u32).collect(),
        _ => tokens.last_positions().iter().enumerate().map(|(prompt, at)| (prompt * positions + at) as u32).collect(),
    };
    let last = Tensor::from_vec(last, tokens.batch(), streams.vectors.device())?;
    let normed = streams.places.iter().enumerate().map(|(component, &at)| {
        let x = streams.vectors.get(component)?.index_select(&last, 0)?;
        cache.final_norm().apply(&lens.carry(&x, at)?)
    });
    Ok(Tensor::stack(&normed.collect::<Result<Vec<_>>>()?, 0)?)
}

/// The logits of one token for all prompts, or of one for each: `[component, prompt]`.
fn of_tokens(model: &HookedTransformer, normed: &Tensor, tokens: Vec<TokenRef>) -> Result<Tensor> {
    let ids = model.token_ids(tokens)?;
    let chosen = Tensor::new(&ids[..], &model.device())?;
    let directions = widened(&model.tokens_to_residual_directions(ids)?)?;
    let along = widened(&normed.to_device(&model.device())?)?.broadcast_mul(&directions)?.sum(D::Minus1)?;
    let logits = along.broadcast_add(&widened(&model.b_U().index_select(&chosen, 0)?)?)?;
    soft_cap(logits, model.cfg().output_logits_soft_cap, false)
}
