//! Answers of this section that are wrong.

use candle_core::{Device, IndexOp, Tensor};

use super::{logit_diff_with, patch_blocks, patch_heads_every, recovered as recovered_share};
use crate::cache::ActivationCache;
use crate::course::answer::Answer;
use crate::course::choice::{Choice, choose};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

type Model = HookedTransformer;
type Cache = ActivationCache;

pub(super) fn without_plan(model: &Model, prompt: &Tokens, _plan: &HookPlan, right: u32, wrong: u32) -> Result<f32> {
    logit_diff_with(model, prompt, &HookPlan::new(), right, wrong)
}

pub(super) fn other_way_round(model: &Model, prompt: &Tokens, plan: &HookPlan, right: u32, wrong: u32) -> Result<f32> {
    logit_diff_with(model, prompt, plan, wrong, right)
}

pub(super) fn first_position(model: &Model, prompt: &Tokens, plan: &HookPlan, right: u32, wrong: u32) -> Result<f32> {
    let first = model.run_with_hooks(prompt, plan)?.0.at(&[0, 0])?;
    Ok(first.at(&[right as isize])?.item()? - first.at(&[wrong as isize])?.item()?)
}

pub(super) fn probabilities(model: &Model, prompt: &Tokens, plan: &HookPlan, right: u32, wrong: u32) -> Result<f32> {
    let last = softmax(&model.run_with_hooks(prompt, plan)?.0)?.at(&[0, -1])?;
    Ok(last.at(&[right as isize])?.item()? - last.at(&[wrong as isize])?.item()?)
}

pub(super) fn right_alone(model: &Model, prompt: &Tokens, plan: &HookPlan, right: u32, _wrong: u32) -> Result<f32> {
    model.run_with_hooks(prompt, plan)?.0.at(&[0, -1, right as isize])?.item()
}

pub(super) fn reversed(patched: &Tensor, clean: f32, corrupted: f32) -> Result<Tensor> {
    recovered_share(patched, corrupted, clean)
}

pub(super) fn without_sign(patched: &Tensor, clean: f32, corrupted: f32) -> Result<Tensor> {
    Ok(recovered_share(patched, clean, corrupted)?.abs()?)
}

pub(super) fn share_of_clean(patched: &Tensor, clean: f32, corrupted: f32) -> Result<Tensor> {
    Ok(((patched - corrupted as f64)? / clean as f64)?)
}

pub(super) fn not_divided(patched: &Tensor, _clean: f32, corrupted: f32) -> Result<Tensor> {
    Ok((patched - corrupted as f64)?)
}

pub(super) fn from_clean(patched: &Tensor, clean: f32, corrupted: f32) -> Result<Tensor> {
    Ok(((patched - clean as f64)? / (clean - corrupted) as f64)?)
}

pub(super) fn clamped(patched: &Tensor, clean: f32, corrupted: f32) -> Result<Tensor> {
    Ok(recovered_share(patched, clean, corrupted)?.clamp(0f32, 1f32)?)
}

/// What a sweep is made of: the logit difference after one edit of the corrupted run.
struct Runs<'a> {
    model: &'a Model,
    corrupted: &'a Tokens,
    answers: (u32, u32),
}

impl Runs<'_> {
    fn with(&self, point: &str, layer: usize, edit: Edit) -> Result<f32> {
        let plan = HookPlan::new().edit((point, layer), edit);
        logit_diff_with(self.model, self.corrupted, &plan, self.answers.0, self.answers.1)
    }

    /// `[layer, site]`, an edit for each.
    fn sweep(&self, point: &str, sites: usize, edit: impl Fn(usize, usize) -> Result<Edit>) -> Result<Tensor> {
        let n_layers = self.model.cfg().n_layers;
        let all = (0..n_layers).flat_map(|layer| (0..sites).map(move |site| (layer, site)));
        let results =
            all.map(|(layer, site)| self.with(point, layer, edit(layer, site)?)).collect::<Result<Vec<f32>>>()?;
        Ok(Tensor::from_vec(results, (n_layers, sites), &Device::Cpu)?)
    }

    /// The other run's activation at each position.
    fn by_pos(&self, point: &str, from: &Cache) -> Result<Tensor> {
        self.sweep(point, self.corrupted.pos(), |layer, pos| at_pos(from, point, layer, pos))
    }
}

/// The other run's activation at one position.
fn at_pos(from: &Cache, point: &str, layer: usize, pos: usize) -> Result<Edit> {
    Ok(Edit::replace(from.get((point, layer))?.i((.., pos))?).pos(pos as isize))
}

/// The other run's activation of one head.
fn of_head(from: &Cache, point: &str, layer: usize, head: usize) -> Result<Edit> {
    let axis = if point == "pattern" { 1 } else { 2 };
    Ok(Edit::replace(from.get((point, layer))?.narrow(axis, head, 1)?.squeeze(axis)?).head(head as isize))
}

fn runs<'a>(model: &'a Model, corrupted: &'a Tokens, right: u32, wrong: u32) -> Runs<'a> {
    Runs { model, corrupted, answers: (right, wrong) }
}

pub(super) fn noising(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    let (_, from) = model.run_with_cache(corrupted)?;
    runs(model, &clean.tokens(), right, wrong).by_pos("resid_pre", &from)
}

pub(super) fn own_cache(model: &Model, _clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    let (_, from) = model.run_with_cache(corrupted)?;
    runs(model, corrupted, right, wrong).by_pos("resid_pre", &from)
}

pub(super) fn all_positions(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let whole = |layer: usize, _| Ok(Edit::replace(clean.get(("resid_pre", layer))?));
    runs(model, corrupted, right, wrong).sweep("resid_pre", corrupted.pos(), whole)
}

pub(super) fn next_position(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let count = corrupted.pos();
    runs(model, corrupted, right, wrong).sweep("resid_pre", count, |layer, pos| {
        let pos = (pos + 1) % count;
        Ok(Edit::replace(clean.get(("resid_pre", layer))?.i((.., pos))?).pos(pos as isize))
    })
}

pub(super) fn after_the_block(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    runs(model, corrupted, right, wrong).by_pos("resid_post", clean)
}

fn three(points: [&str; 3], model: &Model, clean: &Cache, corrupted: &Tokens, answers: (u32, u32)) -> Result<Tensor> {
    let runs = Runs { model, corrupted, answers };
    let parts = points.iter().map(|point| runs.by_pos(point, clean)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&parts, 0)?)
}

pub(super) fn stream_for_attention(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    three(["resid_pre", "resid_mid", "mlp_out"], model, clean, corrupted, (right, wrong))
}

pub(super) fn mlps_first(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    three(["resid_pre", "mlp_out", "attn_out"], model, clean, corrupted, (right, wrong))
}

pub(super) fn streams_alone(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    three(["resid_pre", "resid_mid", "resid_post"], model, clean, corrupted, (right, wrong))
}

pub(super) fn layers_first(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    let numbers = patch_blocks(model, clean, corrupted, right, wrong)?;
    let dims = numbers.dims3()?;
    Ok(numbers.transpose(0, 1)?.contiguous()?.reshape(dims)?)
}

/// The other run's activation at each head, in one point.
fn by_head(model: &Model, clean: &Cache, corrupted: &Tokens, answers: (u32, u32), point: &str) -> Result<Tensor> {
    Runs { model, corrupted, answers }
        .sweep(point, model.cfg().n_heads, |layer, head| of_head(clean, point, layer, head))
}

pub(super) fn whole_layer(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    let whole = |layer: usize, _| Ok(Edit::replace(clean.get(("z", layer))?));
    runs(model, corrupted, right, wrong).sweep("z", model.cfg().n_heads, whole)
}

pub(super) fn head_as_position(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    runs(model, corrupted, right, wrong).sweep("z", model.cfg().n_heads, |layer, head| {
        Ok(Edit::replace(clean.get(("z", layer))?.i((.., head))?).pos(head as isize))
    })
}

pub(super) fn values_alone(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    by_head(model, clean, corrupted, (right, wrong), "v")
}

pub(super) fn last_position(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let last = corrupted.pos() - 1;
    runs(model, corrupted, right, wrong).sweep("z", model.cfg().n_heads, |layer, head| {
        let value = clean.get(("z", layer))?.i((.., last, head))?;
        Ok(Edit::replace(value).pos(last as isize).head(head as isize))
    })
}

/// Rows of the right answer in this order.
fn rows(order: &[u32], model: &Model, clean: &Cache, corrupted: &Tokens, answers: (u32, u32)) -> Result<Tensor> {
    let all = patch_heads_every(model, clean, corrupted, answers.0, answers.1)?;
    Ok(all.index_select(&Tensor::new(order, all.device())?, 0)?)
}

pub(super) fn values_for_z(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    rows(&[3, 1, 2, 3, 4], model, clean, corrupted, (right, wrong))
}

pub(super) fn output_last(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    rows(&[1, 2, 3, 0, 4], model, clean, corrupted, (right, wrong))
}

pub(super) fn keys_first(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
    rows(&[0, 2, 1, 3, 4], model, clean, corrupted, (right, wrong))
}

pub(super) fn pattern_turned(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let turned = runs(model, corrupted, right, wrong).sweep("pattern", model.cfg().n_heads, |layer, head| {
        Ok(Edit::replace(clean.get(("pattern", layer))?.i((.., head))?.transpose(1, 2)?.contiguous()?)
            .head(head as isize))
    })?;
    let others = rows(&[0, 1, 2, 3], model, clean, corrupted, (right, wrong))?;
    Ok(Tensor::cat(&[others, turned.unsqueeze(0)?], 0)?)
}

pub(super) fn without_pattern(
    model: &Model,
    clean: &Cache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    rows(&[0, 1, 2, 3], model, clean, corrupted, (right, wrong))
}

/// When a plan that grows is made anew.
#[derive(Clone, Copy, PartialEq)]
enum Anew {
    Never,
    ForEachPoint,
    ForEachLayer,
}

/// The sites of these points, `[point, layer, site]`, with a plan that keeps the edits of the runs before.
fn growing(
    runs: Runs,
    points: &[&str],
    anew: Anew,
    sites: usize,
    edit: impl Fn(&str, usize, usize) -> Result<Edit>,
) -> Result<Tensor> {
    let n_layers = runs.model.cfg().n_layers;
    let (mut plan, mut results) = (HookPlan::new(), Vec::new());
    for &point in points {
        for layer in 0..n_layers {
            if anew == Anew::ForEachLayer || (anew == Anew::ForEachPoint && layer == 0) {
                plan = HookPlan::new();
            }
            for site in 0..sites {
                plan = plan.edit((point, layer), edit(point, layer, site)?);
                results.push(logit_diff_with(runs.model, runs.corrupted, &plan, runs.answers.0, runs.answers.1)?);
            }
        }
    }
    let numbers = Tensor::from_vec(results, (points.len(), n_layers, sites), &Device::Cpu)?;
    Ok(if points.len() == 1 { numbers.squeeze(0)? } else { numbers })
}

macro_rules! growing {
    ($($name:ident: $points:expr, $anew:ident, $by:ident;)+) => {$(
        pub(super) fn $name(model: &Model, clean: &Cache, corrupted: &Tokens, right: u32, wrong: u32) -> Result<Tensor> {
            let (n_heads, n_pos) = (model.cfg().n_heads, corrupted.pos());
            let edit = |point: &str, layer: usize, site: usize| $by(clean, point, layer, site);
            let sites = if $points.contains(&"z") { n_heads } else { n_pos };
            growing(runs(model, corrupted, right, wrong), &$points, Anew::$anew, sites, edit)
        }
    )+};
}
const BLOCKS: [&str; 3] = ["resid_pre", "attn_out", "mlp_out"];
const HEADS: [&str; 5] = ["z", "q", "k", "v", "pattern"];
growing! {
    stream_grows: ["resid_pre"], Never, at_pos;
    stream_grows_by_layer: ["resid_pre"], ForEachLayer, at_pos;
    blocks_grow: BLOCKS, Never, at_pos;
    blocks_grow_by_point: BLOCKS, ForEachPoint, at_pos;
    blocks_grow_by_layer: BLOCKS, ForEachLayer, at_pos;
    heads_grow: ["z"], Never, of_head;
    heads_grow_by_layer: ["z"], ForEachLayer, of_head;
    all_grow: HEADS, Never, of_head;
    all_grow_by_point: HEADS, ForEachPoint, of_head;
    all_grow_by_layer: HEADS, ForEachLayer, of_head;
}

/// The parts of a head, and what they may be called.
const CARRIERS: [Choice; 4] = [
    ("queries", &["queries", "query", "q"]),
    ("keys", &["keys", "key", "k"]),
    ("values", &["values", "value", "v"]),
    ("pattern", &["pattern", "patterns"]),
];

/// What is to be said of another part of a head.
pub(super) fn is_what_carries_it(_: &(), answer: &Answer) -> Result<Option<String>> {
    let advice = "Alone it does not bring the answer back: compare the five parts of patch_heads_every.";
    Ok(choose(&answer.text, &CARRIERS, &super::what_carries_it()?, advice))
}

pub(super) fn queries() -> Result<String> {
    Ok("queries".to_string())
}

pub(super) fn keys() -> Result<String> {
    Ok("keys".to_string())
}

pub(super) fn pattern() -> Result<String> {
    Ok("pattern".to_string())
}
