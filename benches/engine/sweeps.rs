//! Sweeps of patched runs, and path patching.

use candle_lens::prelude::*;
use serde_json::json;

use crate::bench::Bench;
use crate::{Pair, numbers};

/// Every 17th entry of the patterns, in the order of layer, head, query and key: in no step with heads or positions.
const ENTRIES_APART: usize = 17;

pub fn all(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    let (layers, heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let count = layers * heads;
    let whole = Pair::new(model, (8, 15), 0);
    let late = Pair::new(model, (8, 15), 10);
    let stream = format!("patch_resid_pre_{layers}x15_b8");
    sweep(bench, model, &stream, &whole, |of| of.get_act_patch_resid_pre())?;
    sweep(bench, model, &format!("{stream}_from_10"), &late, |of| of.get_act_patch_resid_pre())?;
    let out = format!("patch_head_out_all_pos_{count}_b8");
    sweep(bench, model, &out, &whole, |of| of.get_act_patch_attn_head_out_all_pos())?;
    let by_pos = format!("patch_head_out_by_pos_{layers}x15x{heads}_b8");
    sweep(bench, model, &by_pos, &whole, |of| of.get_act_patch_attn_head_out_by_pos())?;
    let paths = format!("path_patch_{count}_heads_to_final_b8");
    sweep(bench, model, &paths, &whole, |of| of.path_patch_head_to_final_resid_post())?;
    entries(bench, model, &whole)
}

/// A row of one sweep.
fn sweep(
    bench: &mut Bench,
    model: &HookedTransformer,
    name: &str,
    pair: &Pair,
    work: impl Fn(&Experiment) -> candle_lens::Result<PatchResult>,
) -> candle_lens::Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let experiment = pair.experiment(model)?;
    bench.row(name, pair.json(), || work(&experiment), |found| Ok(numbers(&found.raw)))
}

/// Single entries of attention patterns that the causal mask leaves, some of all.
fn entries(bench: &mut Bench, model: &HookedTransformer, pair: &Pair) -> candle_lens::Result<()> {
    let (layers, heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let mut chosen: Vec<[usize; 4]> = Vec::new();
    let of_head = |layer, head| (0..15).flat_map(move |to| (0..=to).map(move |from| [layer, head, to, from]));
    let of_layer = |layer| (0..heads).flat_map(move |head| of_head(layer, head));
    chosen.extend((0..layers).flat_map(of_layer).step_by(ENTRIES_APART));
    let sites: candle_lens::Result<Vec<PatchSite>> = chosen
        .iter()
        .map(|&[layer, head, to, from]| Ok(PatchSite::new(model, ("pattern", layer))?.head(head).pos(to).key_pos(from)))
        .collect();
    let (sites, mut inputs) = (sites?, pair.json());
    inputs["entries"] = json!(chosen);
    let name = format!("patch_pattern_{}_entries_b8", sites.len());
    if !bench.wants(&name) {
        return Ok(());
    }
    let experiment = pair.experiment(model)?;
    bench.row(&name, inputs, || experiment.sites(&sites), |found| Ok(numbers(&found.raw)))
}
