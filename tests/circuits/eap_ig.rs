//! Scores, selections, circuits and files of the EAP-IG package itself (tests/fixtures/eap_ig.py, which also reads a file of
//! ours with the package's reader).

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::circuits::{Aggregation, Circuit, EdgeMethod, Edges, RankBy};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::metrics::Metric;
use candle_lens::model::Processing;
use candle_lens::tokens::{PaddingSide, Tokens};

use super::by_hand::LEAST_SCORE;
use crate::support::fixture::{Reference, numbers, path, tiny_model};
use crate::support::scratch;
use crate::support::sentence::sentence;
use crate::support::tolerance::{REORDERED, TWO_WAYS};

const STEPS: usize = 4;
/// Relative to the largest number of its kind.
const TOLERANCE: f64 = 1e-4;

/// The package's scores of MLPs, which are of their wrong side, differ from ours by more than this: far above [`TOLERANCE`].
const OTHER: f64 = 1e-2;

struct Theirs {
    reference: Reference,
    patching: Edges,
    zero: Edges,
    prompts: f64,
}

fn theirs() -> Result<Theirs> {
    let reference = Reference::load("eap_ig.safetensors");
    let model = tiny_model(Processing::NONE);
    let lengths = numbers(reference.get("lengths"));
    let tokens = |name: &str| {
        let rows = reference.get(name).to_vec2::<i64>()?;
        let real = rows.iter().zip(&lengths).map(|(row, n)| row[..*n as usize].iter().map(|&id| id as u32).collect());
        Tokens::padded(real.collect(), 0, PaddingSide::Right)
    };
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let patching = Experiment::new(&model, tokens("clean")?, tokens("corrupted")?, metric.clone())?.edges()?;
    let zero = Experiment::new(&model, tokens("clean")?, Baseline::Zero, metric)?.edges()?;
    Ok(Theirs { reference, patching, zero, prompts: lengths.len() as f64 })
}

/// Compares numbers with theirs, which are smaller by a factor.
fn close(what: &str, got: &[f32], theirs: &[f64], times: f64) {
    assert_eq!(got.len(), theirs.len(), "{what}");
    let size = theirs.iter().filter(|x| !x.is_nan()).fold(0.0_f64, |size, x| size.max((x * times).abs()));
    assert!(size > LEAST_SCORE, "{what}: nothing is compared");
    for (i, (&got, theirs)) in got.iter().zip(theirs).enumerate() {
        let (got, theirs) = (f64::from(got), theirs * times);
        // An edge that is missing here is missing there.
        let same = got.is_nan() && theirs.is_nan() || (got - theirs).abs() <= TOLERANCE * size;
        assert!(same, "{what}, {i}: {got}, EAP-IG {theirs} (of {size})");
    }
}

#[test]
fn edges_score_as_in_eap_ig() -> Result<()> {
    let Theirs { reference, patching, zero, prompts } = theirs()?;
    let mean = patching.clone().aggregation(Aggregation::Mean);
    // EAP-IG divides a gradient of the mean by the number of prompts once more, but not exact scores.
    for (name, edges, method, times) in [
        ("eap", &patching, EdgeMethod::Eap, prompts),
        ("eap_mean", &mean, EdgeMethod::Eap, prompts),
        ("eap_zero", &zero, EdgeMethod::Eap, prompts),
        ("ig_inputs", &patching, EdgeMethod::EapIgInputs { steps: STEPS }, prompts),
        ("ig_activations", &patching, EdgeMethod::EapIgActivations { steps: STEPS }, prompts),
        ("clean_corrupted", &patching, EdgeMethod::CleanCorrupted, prompts),
        ("exact", &patching, EdgeMethod::Exact, 1.),
        ("exact_zero", &zero, EdgeMethod::Exact, 1.),
    ] {
        let got = edges.attribute(method)?.scores();
        assert_eq!(got.shape(), reference.get(name).dims());
        close(name, &got.values().iter().copied().collect::<Vec<_>>(), &numbers(reference.get(name)), times);
    }
    Ok(())
}

/// Where no writer comes near what is read at some position, the package divides 0 by 0 and the whole column is NaN; here no
/// writer has a share at that position.
#[test]
fn routes_are_those_of_eap_ig_where_it_has_a_number() -> Result<()> {
    let Theirs { reference, patching, .. } = theirs()?;
    let scores = patching.attribute(EdgeMethod::InformationFlowRoutes)?;
    let (got, theirs) = (scores.scores(), reference.get("routes").to_vec2::<f32>()?);
    let real: BTreeSet<String> = scores.all_edges().iter().map(ToString::to_string).collect();
    let mut numbers = 0;
    for (column, to) in got.axes()[1].labels.iter().enumerate() {
        let rows = got.labels("from")?.into_iter().enumerate();
        let rows = rows.filter(|(_, from)| real.contains(&format!("{from}->{to}")));
        let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
        let ours: Vec<f32> = rows.iter().map(|&row| got.values()[[row, column]]).collect();
        let theirs: Vec<f64> = rows.iter().map(|&row| f64::from(theirs[row][column])).collect();
        let shares: f32 = ours.iter().sum();
        if theirs.iter().all(|share| share.is_nan()) {
            assert!(shares < 0.99, "{to}: all positions have shares, {shares}");
        } else {
            close(to, &ours, &theirs, 1.);
            assert!((shares - 1.).abs() < REORDERED, "{to}: {shares}");
            numbers += 1;
        }
    }
    assert!(numbers >= 12, "only {numbers} columns have numbers");
    Ok(())
}

/// The rows of the input and the heads: of MLPs the package takes the gradient on the wrong side.
#[test]
fn nodes_and_neurons_score_as_in_eap_ig_but_for_mlps() -> Result<()> {
    let Theirs { reference, patching, zero, prompts } = theirs()?;
    let inputs = EdgeMethod::EapIgInputs { steps: STEPS };
    let activations = EdgeMethod::EapIgActivations { steps: STEPS };
    for (name, edges, method) in [
        ("node_eap", &patching, EdgeMethod::Eap),
        ("node_eap_zero", &zero, EdgeMethod::Eap),
        ("node_ig_inputs", &patching, inputs),
        ("node_ig_activations", &patching, activations),
    ] {
        let scores = edges.attribute_nodes(method)?.scores();
        let theirs = numbers(reference.get(name));
        let of = |mlp: bool| {
            let axes = scores.axes();
            let rows = axes[0].labels.iter().enumerate().filter(|(_, node)| node.starts_with('m') == mlp);
            let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
            let ours: Vec<f32> = rows.iter().map(|&row| scores.values()[row]).collect();
            (ours, rows.iter().map(|&row| theirs[row]).collect::<Vec<_>>())
        };
        let (ours, same) = of(false);
        assert_eq!(ours.len(), 9);
        close(name, &ours, &same, prompts);
        // What we say about the package is true: once it is fixed, this test fails.
        let (ours, other) = of(true);
        assert!(ours.iter().zip(&other).any(|(a, b)| (f64::from(*a) - b * prompts).abs() > OTHER), "{name}: {other:?}");
    }
    for (name, method) in [("neuron_eap", EdgeMethod::Eap), ("neuron_ig_inputs", inputs)] {
        let scores = patching.attribute_neurons(method)?;
        let theirs = reference.get(name);
        assert_eq!(scores.shape(), theirs.dims());
        for row in (0..11usize).filter(|row| ![5, 10].contains(row)) {
            let ours: Vec<f32> = (0..24).map(|i| scores.at(&[row as isize, i])).collect::<Result<_>>()?;
            close(&format!("{name} {row}"), &ours, &numbers(&theirs.get(row)?), prompts);
        }
    }
    Ok(())
}

fn matrix(circuit: &Circuit, reference: &Tensor) -> Result<(Vec<bool>, Vec<bool>)> {
    let (scores, theirs) = (circuit.scores(), numbers(reference));
    let (from, to) = (&scores.axes()[0].labels, &scores.axes()[1].labels);
    let names = from.iter().flat_map(|from| to.iter().map(move |to| format!("{from}->{to}")));
    let real: BTreeSet<String> = circuit.all_edges().iter().map(ToString::to_string).collect();
    let edges = names.zip(theirs).filter(|(name, _)| real.contains(name));
    edges.map(|(name, theirs)| Ok((circuit.includes(name)?, theirs == 1.))).collect()
}

#[test]
fn selections_are_those_of_eap_ig() -> Result<()> {
    let Theirs { reference, patching, .. } = theirs()?;
    let scores = patching.attribute(EdgeMethod::EapIgInputs { steps: STEPS })?;
    let (topn, greedy) = (scores.topn(30, RankBy::Magnitude)?, scores.greedy(30, RankBy::Magnitude)?);
    for (name, circuit) in
        [("topn_pruned", topn.prune()), ("topn", topn), ("greedy_pruned", greedy.prune()), ("greedy", greedy)]
    {
        let (ours, theirs) = matrix(&circuit, reference.get(name))?;
        assert_eq!(ours, theirs, "{name}");
        assert!(theirs.contains(&true) && theirs.contains(&false));
    }
    Ok(())
}

#[test]
fn its_files_hold_its_circuit_which_does_the_same_here() -> Result<()> {
    let Theirs { reference, patching, zero, .. } = theirs()?;
    let (json, pt) = (Circuit::from_json(path("eap_ig.json"))?, Circuit::from_pt(path("eap_ig.pt"))?);
    assert_eq!(json, pt);
    assert_eq!((json.n_edges(), json.count_included_edges(), json.nodes().len()), (110, 44, 11));
    let ours = patching.attribute(EdgeMethod::EapIgInputs { steps: STEPS })?;
    assert_eq!(ours.topn(45, RankBy::Magnitude)?.prune().edges(), json.edges());
    for edge in json.all_edges() {
        assert!((json.score(edge)? * 3. - ours.score(edge)?).abs() < TWO_WAYS, "{edge}");
    }
    let values = |name: &str| numbers(reference.get(name));
    for (name, edges) in [("circuit_patching", &patching), ("circuit_zero", &zero)] {
        let got = edges.evaluate(&json)?.per_prompt;
        close(name, &got.values().iter().copied().collect::<Vec<_>>(), &values(name), 1.);
    }
    let mean = |name: &str| (values(name).iter().sum::<f64>() / 3.) as f32;
    assert!((patching.clean() - mean("clean_metric")).abs() < REORDERED);
    assert!((patching.corrupted() - mean("corrupted_metric")).abs() < REORDERED);
    // For eap_ig.py, which reads it with the package's own reader.
    json.to_json(scratch("eap_ig").join("ours.json"))?;
    Ok(())
}

#[test]
fn pt_files_that_are_not_circuits_are_refused() -> Result<()> {
    let refused = |name: &str, parts: &[&str]| sentence(Circuit::from_pt(path(name)), parts);
    refused("checkpoints/whole.pth", &["whole.pth"]);
    refused("checkpoints/legacy.pt", &["legacy.pt", "not a circuit", "it needs cfg"]);
    refused("checkpoints/hostile.pth", &["hostile.pth"]);
    refused("eap_ig.json", &["eap_ig.json", "not a complete PyTorch checkpoint"]);
    refused("none.pt", &["none.pt", "cannot be read"]);
    // Truncated, and with each byte of the sizes changed: an error or a circuit, and no panic.
    let whole = std::fs::read(path("eap_ig.pt")).expect("the fixture is there");
    let file = scratch("eap_ig_cut").join("cut.pt");
    for end in [0, 1, 30, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..end]).expect("the scratch folder can be written");
        sentence(Circuit::from_pt(&file), &["cut.pt"]);
    }
    let mut refusals = 0;
    for place in 0..whole.len().min(1500) {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        std::fs::write(&file, &changed).expect("the scratch folder can be written");
        refusals += usize::from(Circuit::from_pt(&file).is_err());
    }
    assert!(refusals > 300, "{refusals}");
    Ok(())
}
