//! How cost grows with sites, prompts, tokens and steps of integrated gradients.

use std::fs;
use std::path::Path;

use candle_lens::prelude::*;
use ndarray::Array2;
use serde_json::Value;

use crate::bench::Bench;
use crate::gradients::edges;
use crate::{Pair, numbers};

/// How many tokens the prompt has whose sites are counted.
const LENGTH: usize = 120;

/// How many sizes each has.
const SIZES: usize = 8;

/// What grows, and how: each number about twice the one before it.
const GROWTHS: [(&str, [usize; SIZES]); 4] = [
    ("sites", [12, 24, 48, 96, 180, 360, 720, 1440]),
    ("prompts", [1, 2, 4, 8, 16, 32, 64, 128]),
    ("tokens", [8, 16, 32, 64, 128, 256, 512, 1024]),
    ("steps", [1, 2, 4, 8, 16, 32, 64, 128]),
];

/// Rows of the random model; another grows in the same way.
pub fn all(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    if model.cfg().n_layers != 12 {
        return Ok(());
    }
    for (what, sizes) in GROWTHS {
        for size in sizes {
            let name = row(what, size);
            match what {
                "sites" => sites(bench, model, &name, size)?,
                "prompts" => mlps(bench, model, &name, (size, 15))?,
                "tokens" => mlps(bench, model, &name, (1, size))?,
                _ => edges(bench, model, &Pair::of_edges(model), &name, EdgeMethod::EapIgInputs { steps: size })?,
            }
        }
    }
    Ok(())
}

fn row(what: &str, size: usize) -> String {
    format!("growth_{what}_{size}")
}

/// Draws how often the time doubled by how often the work did, from the rows' results: proportional growth is a straight line through the
/// last point, and what costs the same however much there is to do lies above it.
pub fn plot(folder: &Path, file: &Path) -> candle_lens::Result<()> {
    let mut curves: Vec<f64> = (0..SIZES).map(|doublings| doublings as f64).collect();
    for (what, sizes) in GROWTHS {
        let times: candle_lens::Result<Vec<f64>> =
            sizes.iter().map(|&size| median(&folder.join(format!("{}.ours.json", row(what, size))))).collect();
        let times = times?;
        curves.extend(times.iter().map(|time| (time / times[SIZES - 1]).log2() + (SIZES - 1) as f64));
    }
    let names = GROWTHS.map(|(what, sizes)| format!("{what}, {} to {}", sizes[0], sizes[SIZES - 1]));
    let names = [vec!["proportional".to_string()], names.to_vec()].concat();
    let curves = Array2::from_shape_vec((1 + GROWTHS.len(), SIZES), curves).expect("rows of one length");
    let figure = line(curves).names(names).x_label("Doublings of the work").y_label("Doublings of the time");
    figure.title("How time grows").width(640).height(420).save_png(file)
}

fn median(file: &Path) -> candle_lens::Result<f64> {
    let unreadable = |why: String| candle_lens::Error::file(file, why);
    let text = fs::read_to_string(file).map_err(|error| unreadable(format!("cannot be read ({error}).")))?;
    let found: Value = serde_json::from_str(&text).map_err(|error| unreadable(format!("is not JSON ({error}).")))?;
    let mut seconds: Vec<f64> = found["seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().ok_or_else(|| unreadable("has no seconds.".into()))
}

/// The residual stream that enters each block, at positions in equal distances: as many sites as layers times positions.
fn sites(bench: &mut Bench, model: &HookedTransformer, name: &str, count: usize) -> candle_lens::Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let layers = model.cfg().n_layers;
    let positions = count / layers;
    // In the middle of its share of the prompt, so that the mean position is always the same.
    let place = |number: usize| (2 * number + 1) * LENGTH / (2 * positions);
    let site = |layer: usize, number: usize| Ok(PatchSite::new(model, ("resid_pre", layer))?.pos(place(number)));
    let all = (0..layers).flat_map(|layer| (0..positions).map(move |number| (layer, number)));
    let sites: candle_lens::Result<Vec<PatchSite>> = all.map(|(layer, number)| site(layer, number)).collect();
    let (sites, experiment) = (sites?, Pair::new(model, (1, LENGTH), 0).experiment(model)?);
    bench.row(name, Value::Null, || experiment.sites(&sites), |found| Ok(numbers(&found.raw)))
}

/// The output of each MLP at all positions, of prompts of some length.
fn mlps(bench: &mut Bench, model: &HookedTransformer, name: &str, shape: (usize, usize)) -> candle_lens::Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let experiment = Pair::new(model, shape, 0).experiment(model)?;
    let work = || experiment.sweep("mlp_out", &[AxisName::Layer]);
    bench.row(name, Value::Null, work, |found| Ok(numbers(&found.raw)))
}
