//! Wrong answers to the exercises about what the paths carry, and about kinds of heads.

use candle_core::{Device, IndexOp, Tensor};

use super::{copying_scores, donor, early_heads, position_or_token};
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

pub(super) fn s2_alone(ids: &[u32], _: (usize, usize), s2: usize, token: u32, _: bool) -> Result<Vec<u32>> {
    let mut ids = ids.to_vec();
    ids[s2] = token;
    Ok(ids)
}

pub(super) fn s2_kept(ids: &[u32], names: (usize, usize), s2: usize, token: u32, keeps: bool) -> Result<Vec<u32>> {
    let mut donor = donor(ids, names, s2, token, keeps)?;
    donor[s2] = ids[s2];
    Ok(donor)
}

pub(super) fn columns_exchanged(
    ids: &[u32],
    names: (usize, usize),
    s2: usize,
    token: u32,
    keeps: bool,
) -> Result<Vec<u32>> {
    donor(ids, names, s2, token, !keeps)
}

pub(super) fn io_twice(ids: &[u32], names: (usize, usize), s2: usize, token: u32, keeps: bool) -> Result<Vec<u32>> {
    let (s1, io) = if ids[names.0] == ids[s2] { names } else { (names.1, names.0) };
    let mut donor = donor(ids, names, s2, token, keeps)?;
    donor[if keeps { io } else { s1 }] = ids[io];
    Ok(donor)
}

pub(super) fn first_place(ids: &[u32], names: (usize, usize), s2: usize, token: u32, keeps: bool) -> Result<Vec<u32>> {
    let is_first = ids[names.0] == ids[s2];
    donor(ids, names, s2, token, keeps == is_first)
}

type Signals<'a> = (&'a HookedTransformer, &'a Tokens, &'a Answers, (usize, usize), usize, &'a [u32], usize);

/// The six numbers, each made of a donor batch by `of`.
fn table(
    (_, clean, answers, names, s2, thirds, _): Signals<'_>,
    of: impl Fn(&Tokens, usize) -> Result<f32>,
) -> Result<Tensor> {
    let (io, subject) = (answers.correct(), answers.incorrect());
    let mut results = Vec::new();
    for (kind, tokens) in [&subject[..], &io[..], thirds].into_iter().enumerate() {
        for keeps in [true, false] {
            let rows = (0..clean.batch()).map(|row| donor(&clean.row(row), names, s2, tokens[row], keeps));
            results.push(of(&Tokens::from_rows(rows.collect::<Result<_>>()?)?, kind)?);
        }
    }
    Ok(Tensor::from_vec(results, (3, 2), &Device::Cpu)?)
}

/// The logit difference of `into` with the stream of `from` at this position, or at all.
fn put_in(
    (model, _, answers, _, _, _, layer): Signals<'_>,
    from: &Tokens,
    into: &Tokens,
    pos: Option<usize>,
) -> Result<f32> {
    let point = ("resid_pre", layer);
    let stream = model.run_with_hooks(from, HookPlan::new().capture(point))?.1.get(point)?;
    let edit = match pos {
        Some(pos) => Edit::replace(stream.i((.., pos))?).pos(pos),
        None => Edit::replace(stream),
    };
    let (logits, _) = model.run_with_hooks(into, HookPlan::new().edit(point, edit))?;
    Ok(answers.logit_diff(&logits, into)?.mean() as f32)
}

macro_rules! signals {
    ($($name:ident: |$all:ident, $donors:ident, $kind:ident| $result:expr;)+) => {$(
        pub(super) fn $name(
            model: &HookedTransformer,
            clean: &Tokens,
            answers: &Answers,
            names: (usize, usize),
            s2: usize,
            thirds: &[u32],
            layer: usize,
        ) -> Result<Tensor> {
            let $all = (model, clean, answers, names, s2, thirds, layer);
            table($all, |$donors, $kind| $result)
        }
    )+};
}
signals! {
    every_position: |all, donors, _kind| put_in(all, donors, all.1, None);
    at_the_end: |all, donors, _kind| put_in(all, donors, all.1, Some(all.1.pos() - 1));
    signs_turned: |all, donors, kind| Ok(put_in(all, donors, all.1, Some(all.4))? * if kind == 1 { -1. } else { 1. });
    into_the_donors: |all, donors, _kind| put_in(all, all.1, donors, Some(all.4));
}

pub(super) fn other_position_first(
    model: &HookedTransformer,
    clean: &Tokens,
    answers: &Answers,
    names: (usize, usize),
    s2: usize,
    thirds: &[u32],
    layer: usize,
) -> Result<Tensor> {
    let right = position_or_token(model, clean, answers, names, s2, thirds, layer)?;
    Ok(Tensor::cat(&[right.narrow(1, 1, 1)?, right.narrow(1, 0, 1)?], 1)?)
}

pub(super) fn rows_exchanged(
    model: &HookedTransformer,
    clean: &Tokens,
    answers: &Answers,
    names: (usize, usize),
    s2: usize,
    thirds: &[u32],
    layer: usize,
) -> Result<Tensor> {
    let right = position_or_token(model, clean, answers, names, s2, thirds, layer)?;
    Ok(Tensor::cat(&[right.narrow(0, 0, 1)?, right.narrow(0, 2, 1)?, right.narrow(0, 1, 1)?], 0)?)
}

/// What of a name is read.
#[derive(Clone, Copy)]
enum Reads {
    Embedding,
    Mlp,
    Both,
    Stream,
}

/// The places of the logits that count, `[name, k]`.
type Places<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

fn scores(
    model: &HookedTransformer,
    names: &[u32],
    reads: Reads,
    unembedded: impl Fn(&Tokens, &Tensor) -> Result<Tensor>,
    kinds: [Places<'_>; 2],
) -> Result<Tensor> {
    let cfg = model.cfg();
    let rows = Tokens::from_rows(names.iter().map(|&id| vec![id]).collect())?;
    let plan = HookPlan::new().capture(("embed", ("mlp_out", 0), ("resid_post", 0)));
    let (_, cache) = model.run_with_hooks(&rows, plan)?;
    let (embed, mlp) = (cache.get("embed")?, cache.get(("mlp_out", 0))?);
    let read = match reads {
        Reads::Embedding => embed,
        Reads::Mlp => mlp,
        Reads::Both => (embed + mlp)?,
        Reads::Stream => cache.get(("resid_post", 0))?,
    };
    let mut shares = Vec::new();
    for places_of in kinds {
        for (layer, head) in (0..cfg.n_layers).flat_map(|layer| (0..cfg.n_heads).map(move |head| (layer, head))) {
            let (v, o) = (model.W_V()?.i((layer, head))?, model.W_O()?.i((layer, head))?);
            let written = einsum("n p d, d h, h m -> n p m", &[&read, &v, &o])?;
            let places = places_of(&unembedded(&rows, &written)?)?.to_vec2::<u32>()?;
            let hits = places.iter().zip(names).filter(|(places, id)| places.contains(id)).count();
            shares.push(hits as f32 / names.len() as f32);
        }
    }
    Ok(Tensor::from_vec(shares, (2, cfg.n_layers, cfg.n_heads), &Device::Cpu)?)
}

fn by_the_model(model: &HookedTransformer) -> impl Fn(&Tokens, &Tensor) -> Result<Tensor> {
    move |rows, written| {
        let plan = HookPlan::new().edit(("resid_post", -1), Edit::replace(written.clone()));
        Ok(model.run_with_hooks(rows, plan)?.0.squeeze(1)?)
    }
}

fn largest(k: usize) -> impl Fn(&Tensor) -> Result<Tensor> {
    move |logits| Ok(logits.top_k(k)?.1)
}

fn smallest(k: usize) -> impl Fn(&Tensor) -> Result<Tensor> {
    move |logits| Ok(logits.neg()?.top_k(k)?.1)
}

fn reading(model: &HookedTransformer, names: &[u32], k: usize, reads: Reads) -> Result<Tensor> {
    scores(model, names, reads, by_the_model(model), [&largest(k), &smallest(k)])
}

pub(super) fn without_the_mlp(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    reading(model, names, k, Reads::Embedding)
}

pub(super) fn mlp_alone(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    reading(model, names, k, Reads::Mlp)
}

pub(super) fn whole_stream(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    reading(model, names, k, Reads::Stream)
}

pub(super) fn one_more(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    copying_scores(model, names, k + 1)
}

pub(super) fn kinds_exchanged(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    let right = copying_scores(model, names, k)?;
    Ok(Tensor::stack(&[right.get(1)?, right.get(0)?], 0)?)
}

pub(super) fn nearest_to_zero(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    let nearest = |logits: &Tensor| smallest(k)(&logits.abs()?);
    scores(model, names, Reads::Both, by_the_model(model), [&largest(k), &nearest])
}

pub(super) fn bare_unembedding(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    let bare = |_: &Tokens, written: &Tensor| Ok(written.squeeze(1)?.matmul(&model.W_U())?);
    scores(model, names, Reads::Both, bare, [&largest(k), &smallest(k)])
}

/// The scores with the last `queries` queries of each stripe; the stripe is so many positions back.
fn stripes(cache: &ActivationCache, kinds: &[(usize, Option<usize>)]) -> Result<Tensor> {
    let mut all = Vec::new();
    for &(back, queries) in kinds {
        let mut layers = Vec::new();
        for layer in 0..cache.dims().n_layers {
            let stripe = cache.get(("pattern", layer))?.diagonal(-(back as isize))?;
            let length = stripe.dim(2)?;
            let queries = queries.unwrap_or(length);
            layers.push(stripe.narrow(2, length - queries, queries)?.mean((0, 2))?);
        }
        all.push(Tensor::stack(&layers, 0)?);
    }
    Ok(Tensor::stack(&all, 0)?)
}

pub(super) fn induction_too_far(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    // The earlier occurrence of the first token of the second half has the BOS before it.
    stripes(cache, &[(1, None), (seq_len, Some(seq_len)), (seq_len + 1, Some(seq_len))])
}

pub(super) fn itself_counts(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    let right = early_heads(cache, seq_len)?;
    let itself = stripes(cache, &[(0, Some(seq_len))])?;
    Ok(Tensor::cat(&[right.narrow(0, 0, 1)?, (right.narrow(0, 1, 1)? + itself)?, right.narrow(0, 2, 1)?], 0)?)
}

pub(super) fn last_two_exchanged(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    let right = early_heads(cache, seq_len)?;
    Ok(Tensor::stack(&[right.get(0)?, right.get(2)?, right.get(1)?], 0)?)
}

pub(super) fn all_queries(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    let right = early_heads(cache, seq_len)?;
    let pos = 1 + 2 * seq_len;
    let queries = [pos - 1, seq_len, seq_len].map(|queries| queries as f32 / pos as f32);
    Ok(right.broadcast_mul(&Tensor::new(&queries, right.device())?.reshape((3, 1, 1))?)?)
}

pub(super) fn first_prompt(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    let kinds = [(1, 2 * seq_len), (seq_len, seq_len), (seq_len - 1, seq_len)];
    let mut all = Vec::new();
    for (back, queries) in kinds {
        let mut layers = Vec::new();
        for layer in 0..cache.dims().n_layers {
            let stripe = cache.get(("pattern", layer))?.get(0)?.diagonal(-(back as isize))?;
            layers.push(stripe.narrow(1, stripe.dim(1)? - queries, queries)?.mean(1)?);
        }
        all.push(Tensor::stack(&layers, 0)?);
    }
    Ok(Tensor::stack(&all, 0)?)
}

pub(super) fn whole_stripes(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    stripes(cache, &[(1, None), (seq_len, None), (seq_len - 1, None)])
}
