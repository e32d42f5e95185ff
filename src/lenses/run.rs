//! The residual stream of a run through a lens.

use candle_core::Tensor;

use super::lens::Lens;
use super::options::{LensOptions, LensTarget};
use super::reading::LensReading;
use super::rows::Rows;
use crate::analysis::RunOrInput;
use crate::cache::{ActivationCache, Stack};
use crate::dims::{Dims, ReadBy};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::labelled::Axis;
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::Tokens;

pub(super) fn read(
    lens: &dyn Lens,
    model: &HookedTransformer,
    run: RunOrInput,
    options: &LensOptions,
) -> Result<LensReading> {
    let chosen = options.check(model)?;
    lens.check_model(model)?;
    let dims = model.dims();
    // Where attention and MLP read the same residual stream there is nothing between them.
    let incl_mid = options.incl_mid && !dims.attn_only && !dims.parallel_attn_mlp;
    let points = points(lens, &dims, incl_mid)?;
    let cache = cached(model, run, incl_mid)?;
    let _work = Progress::opaque(format!("applying the {}", lens.name()));
    let Streams { vectors, labels, places, positions } = streams(&cache, &points, &options.pos, incl_mid)?;
    let tokens = cache.tokens();
    let rows = Rows {
        end: Some(vectors.get(places.len() - 1)?),
        vectors,
        places,
        targets: targets(model, &tokens, &positions, &options.target)?,
        real: real(&tokens, &positions),
        norm: cache.final_norm().clone(),
    };
    let axes = vec![
        Axis::new("component", labels),
        Axis::numbered("prompt", tokens.batch()),
        Axis::new("position", positions.iter().map(usize::to_string)),
    ];
    let numbers = rows.read(lens, model, options.k, &chosen)?;
    let reading = LensReading::new(model, lens.name(), axes, &chosen, numbers)?;
    Ok(LensReading { inputs: inputs(model, &tokens, &positions), ..reading })
}

/// The residual stream of a run: of a cache that was given, or of a run that keeps nothing else.
///
/// # Errors
/// A cache of another model or without its batch axis; and as [`HookedTransformer::run`].
pub(super) fn cached(model: &HookedTransformer, run: RunOrInput, incl_mid: bool) -> Result<ActivationCache> {
    let cache = match run {
        RunOrInput::Run(cache) => *cache,
        RunOrInput::Input(input) => {
            let last = model.dims().n_layers.saturating_sub(1);
            let plan = HookPlan::new().capture_where(move |point| match point {
                HookPoint::Block(_, Site::ResidPre) => true,
                HookPoint::Block(_, Site::ResidMid) => incl_mid,
                HookPoint::Block(layer, Site::ResidPost) => layer == last,
                _ => false,
            });
            let run = model.run(input, &plan, RunOptions { logits: false, ..Default::default() })?;
            model.cache_of(run, &plan)?
        }
    };
    check_batch(&cache)?;
    cache.check_model(model)?;
    Ok(cache)
}

/// # Errors
/// A cache without a batch axis.
pub(super) fn check_batch(cache: &ActivationCache) -> Result<()> {
    match cache.has_batch_dim() {
        true => Ok(()),
        false => Err(Error::argument("a lens needs a cache with a batch axis: leave remove_batch_dim out.")),
    }
}

/// The points of the accumulated residual stream in its order, each with whether the lens reads it.
///
/// # Errors
/// A residual stream between attention and MLP that the lens does not read.
pub(super) fn points(lens: &dyn Lens, dims: &Dims, incl_mid: bool) -> Result<Vec<(ReadBy, bool)>> {
    let mut points = Vec::new();
    for layer in 0..dims.n_layers as isize {
        points.push(ReadBy::Block(layer));
        if incl_mid {
            points.push(ReadBy::Mlp(layer));
        }
    }
    points.push(ReadBy::End);
    let read: Vec<_> = points.into_iter().map(|at| (at, at == ReadBy::End || lens.reads(at))).collect();
    let is_mid = |at: &ReadBy| matches!(at, ReadBy::Mlp(_));
    if incl_mid && !read.iter().any(|(at, reads)| is_mid(at) && *reads) {
        return Err(Error::argument(format!(
            "the {} has no map for the residual stream between attention and MLP: leave incl_mid out.",
            lens.name()
        )));
    }
    Ok(read)
}

/// The residual stream at the points that are read.
pub(super) struct Streams {
    /// `[component, row, d_model]`, prompts outside positions.
    pub vectors: Tensor,
    pub labels: Vec<String>,
    pub places: Vec<ReadBy>,
    /// The positions of the run.
    pub positions: Vec<usize>,
}

pub(super) fn streams(
    cache: &ActivationCache,
    points: &[(ReadBy, bool)],
    pos: &Slice,
    incl_mid: bool,
) -> Result<Streams> {
    let query = if incl_mid { Stack::accumulated().with_mid() } else { Stack::accumulated() };
    let stack = cache.accumulated_resid(query.pos(pos.clone()))?;
    let all = stack.tensor().detach();
    let d_model = all.dim(all.rank() - 1)?;
    let mut vectors = all.reshape((stack.len(), (), d_model))?;
    let (mut labels, mut places, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (label, (at, reads))) in stack.labels().into_iter().zip(points).enumerate() {
        if *reads {
            labels.push(label);
            places.push(*at);
            chosen.push(number as u32);
        }
    }
    if chosen.len() < stack.len() {
        let count = chosen.len();
        vectors = vectors.index_select(&Tensor::from_vec(chosen, count, vectors.device())?, 0)?;
    }
    Ok(Streams { vectors, labels, places, positions: stack.positions() })
}

/// The token that is read at each row, prompts outside.
pub(super) fn targets(
    model: &HookedTransformer,
    tokens: &Tokens,
    positions: &[usize],
    target: &LensTarget,
) -> Result<Option<Vec<Option<u32>>>> {
    let rows = (0..tokens.batch()).flat_map(|prompt| positions.iter().map(move |&position| (prompt, position)));
    let follows = |(prompt, position): (usize, usize)| {
        let next = position + 1;
        (next < tokens.pos() && tokens.is_real(prompt, position) && tokens.is_real(prompt, next))
            .then(|| tokens.id(prompt, next))
    };
    Ok(match target {
        LensTarget::None => None,
        LensTarget::NextToken if model.cfg().d_vocab_out() < model.cfg().d_vocab => {
            return Err(Error::argument(format!(
                "{:?} has {} logits and reads {} tokens, so it predicts no next token: name the target.",
                model.cfg().model_name,
                model.cfg().d_vocab_out(),
                model.cfg().d_vocab
            )));
        }
        LensTarget::NextToken => Some(rows.map(follows).collect()),
        LensTarget::Tokens(_) => {
            let ids = target.ids(model, tokens.batch(), "prompts")?.unwrap_or_default();
            Some(rows.map(|(prompt, _)| ids.get(prompt).copied()).collect())
        }
    })
}

/// Whether each row is at a token, prompts outside.
pub(super) fn real(tokens: &Tokens, positions: &[usize]) -> Vec<bool> {
    let rows = (0..tokens.batch()).flat_map(|prompt| positions.iter().map(move |&position| (prompt, position)));
    rows.map(|(prompt, position)| tokens.is_real(prompt, position)).collect()
}

/// The text of each position of each prompt.
pub(super) fn inputs(model: &HookedTransformer, tokens: &Tokens, positions: &[usize]) -> Vec<Vec<String>> {
    let of = |prompt| positions.iter().map(|&position| model.piece(tokens.id(prompt, position))).collect();
    (0..tokens.batch()).map(of).collect()
}
