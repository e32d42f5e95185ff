//! Copies from the device, each of which waits for it: none go past `host`, and no more are made where more is asked for.
//!
//! They are counted where numbers are taken out of tensors, which is the same on every device; no GPU is needed.

use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::candle::{Device, Tensor};
use candle_lens::host::copies;
use candle_lens::prelude::*;
use candle_lens::{Error, Result};

use crate::support::models::untrained;

/// What runs again and again in a sweep.
const ROOMS: &[&str] = &["hooks", "model", "metrics", "experiment", "patching", "gradients", "circuits"];

/// Where numbers may be taken out of tensors otherwise.
const OTHERS: &[(&str, &str)] = &[
    ("model/load/", "weights are read once"),
    ("model/ops/", "operations of the CPU"),
    ("model/layers/norm.rs", "a number of a file"),
    ("patching/keep.rs", "numbers of a file"),
    ("circuits/position_scores.rs", "numbers of a file"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a readable folder").path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

/// The lines of a file's code, without comments and tests, that take numbers out of tensors.
fn taken(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let names = ["to_vec0", "to_vec1", "to_vec2", "to_vec3", "to_scalar"];
    let is_call = |line: &str, name: &str| [".", "::"].iter().any(|before| line.contains(&format!("{before}{name}")));
    let is_taken = |line: &&str| !line.trim_start().starts_with("//") && names.iter().any(|name| is_call(line, name));
    code.lines().filter(is_taken).collect()
}

#[test]
fn numbers_leave_the_device_through_one_door() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut wrong, mut met) = (Vec::new(), vec![false; OTHERS.len()]);
    for room in ROOMS {
        let mut files = Vec::new();
        sources(&root.join(room), &mut files);
        for file in files {
            let inside = file.strip_prefix(&root).expect("a file below src/").to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&file).expect("a source file is UTF-8");
            let lines = taken(&text);
            if lines.is_empty() {
                continue;
            }
            match OTHERS.iter().position(|(other, _)| inside.starts_with(other)) {
                Some(place) => met[place] = true,
                None => wrong.extend(lines.iter().map(|line| format!("{inside}: {}", line.trim()))),
            }
        }
    }
    assert!(wrong.is_empty(), "take numbers with crate::host, outside of loops:\n{}", wrong.join("\n"));
    let idle: Vec<_> = OTHERS.iter().zip(met).filter(|(_, met)| !met).collect();
    assert!(idle.is_empty(), "these take no numbers any more: {idle:?}");
}

#[test]
fn what_takes_numbers_is_found() {
    let text = "let a = x.to_vec1::<f32>()?;\nlet b = y.to_scalar()?;\n// x.to_vec2()\nlet c = list.to_vec();\n\
                let d = w.map(Tensor::to_vec1);\n#[cfg(test)]\nx.to_vec1::<f32>()";
    assert_eq!(taken(text).len(), 3);
}

/// A model of so many small blocks with the words of `tiny`.
fn model(layers: usize) -> Result<HookedTransformer> {
    let tiny = HookedTransformer::from_pretrained("tiny")?;
    let cfg = HookedTransformerConfig {
        n_layers: layers,
        d_model: 16,
        n_heads: 2,
        d_head: None,
        d_mlp: Some(32),
        model_name: "small".into(),
        ..(*tiny.cfg()).clone()
    };
    untrained(cfg, &tiny)
}

const CLEAN: &str = "When John and Mary went to the shops, John gave the bag to";

fn experiment(model: &HookedTransformer) -> Result<Experiment> {
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    Experiment::new(model, CLEAN, CLEAN.replace(", John", ", Mary"), metric)
}

/// How many copies this makes.
fn counted<T>(work: impl FnOnce() -> Result<T>) -> Result<u64> {
    let before = copies();
    work()?;
    Ok(copies() - before)
}

/// In models of 2 and of 7 blocks: as many copies, and at most so many.
fn alike(what: &str, most: u64, work: impl Fn(&Experiment) -> Result<()>) -> Result<()> {
    let of = |layers| -> Result<u64> {
        let experiment = experiment(&model(layers)?)?;
        counted(|| work(&experiment))
    };
    let (few, many) = (of(2)?, of(7)?);
    assert_eq!(few, many, "{what}: {few} copies in 2 blocks, {many} in 7");
    assert!((1..=most).contains(&many), "{what}: {many} copies, and {most} are expected");
    Ok(())
}

#[test]
fn sweeps_copy_no_more_for_more_sites() -> Result<()> {
    let by_head = [AxisName::Layer, AxisName::Head];
    alike("heads", 2, |experiment| experiment.sweep("z", &by_head).map(drop))?;
    alike("positions", 2, |experiment| experiment.sweep("resid_pre", &[AxisName::Layer, AxisName::Pos]).map(drop))?;
    let model = model(2)?;
    let answers = model.answers([(" Mary", " John")])?;
    let metrics = [Metric::logit_diff(&answers), Metric::kl(), Metric::mean_loss()];
    let several = Experiment::new(&model, CLEAN, CLEAN.replace(", John", ", Mary"), metrics)?;
    assert!(counted(|| several.sweep("z", &by_head))? <= 2);
    Ok(())
}

#[test]
fn gradients_copy_no_more_for_more_points() -> Result<()> {
    let points = ["resid_pre", "z", "mlp_out"];
    alike("attribution", 3, |experiment| experiment.attribution(points).map(drop))?;
    let qk_fix = || AttributionOptions { qk_fix: true, ..Default::default() };
    alike("attribution with the fix", 3, |experiment| experiment.attribution_with(["q", "k"], qk_fix()).map(drop))?;
    alike("integrated gradients", 2, |experiment| experiment.integrated_gradients(points, 4).map(drop))?;
    alike("their sum", 3, |experiment| {
        experiment.integrated_gradients(["z"], 2)?.sweep("z", &[AxisName::Layer, AxisName::Head]).map(drop)
    })
}

#[test]
fn circuits_copy_no_more_for_more_edges() -> Result<()> {
    for (method, most) in
        [(EdgeMethod::Eap, 1), (EdgeMethod::EapIgInputs { steps: 4 }, 1), (EdgeMethod::InformationFlowRoutes, 1)]
    {
        let edges = |experiment: &Experiment| experiment.edges()?.attribute(method).map(drop);
        let made = counted(|| experiment(&model(2)?)?.edges().map(drop))?;
        alike(&format!("{method:?}"), most + made, edges)?;
    }
    Ok(())
}

#[test]
fn a_copy_is_counted() -> Result<()> {
    assert_eq!(counted(|| Ok::<_, Error>(Tensor::new(1f32, &Device::Cpu)?))?, 0);
    let model = model(2)?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    assert_eq!(counted(|| model.run_with_grads(CLEAN, &metric, ["z"]))?, 1);
    Ok(())
}
