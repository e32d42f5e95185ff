//! Fits and scores as scikit-learn's, and sparse probes as TransformerLens 4.3's (tests/fixtures/probes.py).

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::prelude::{Probe, ProbeMethod, ProbeScore, ProbeSplit, ProbeStudy};

use crate::support::fixture::{Reference, numbers};

/// scikit-learn's own solvers agree within 1e-5.
const AS_SCIKIT_LEARN: f64 = 1e-4;

fn labels(of: &Tensor) -> Vec<bool> {
    numbers(of).into_iter().map(|label| label > 0.5).collect()
}

#[track_caller]
fn alike(got: impl IntoIterator<Item = f64>, expected: &Tensor, what: &str) {
    let (got, expected): (Vec<f64>, _) = (got.into_iter().collect(), numbers(expected));
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let close = (got - expected).abs() < AS_SCIKIT_LEARN * expected.abs().max(1.);
        assert!(close, "{what}, number {at}: {got}, expected {expected}");
    }
}

fn all(probe: &Probe) -> Result<Vec<f64>> {
    Ok(numbers(&probe.weights()?).into_iter().chain([probe.bias()]).collect())
}

fn measures(score: &ProbeScore) -> Vec<f64> {
    let all = [score.accuracy, score.f1, score.roc_auc, score.average_precision];
    all.map(|measure| measure.expect("both labels are there")).into()
}

#[test]
fn fits_and_scores_are_those_of_scikit_learn() -> Result<()> {
    let reference = Reference::load("probes.safetensors");
    for (name, rows) in [("tall", 90), ("wide", 30)] {
        let get = |what: &str| reference.get(&format!("{name}.{what}"));
        let (x, labels) = (get("x"), labels(get("labels")));
        let (fitted, held_out) = (x.narrow(0, 0, rows)?, x.narrow(0, rows, 40)?);
        for strength in ["0.01", "1", "30"] {
            let probe = Probe::logistic(&fitted, &labels[..rows], strength.parse().expect("a number"))?;
            alike(all(&probe)?, get(&format!("logistic.{strength}")), &format!("{name} at {strength}"));
            let score = probe.score_labels(&held_out, &labels[rows..])?;
            let scores = measures(&score).into_iter().chain([score.loss]);
            alike(scores, get(&format!("scores.{strength}")), &format!("scores of {name} at {strength}"));
        }
        alike(all(&Probe::mean_difference(&fitted, &labels[..rows])?)?, get("means"), "difference of means");
        let targets = get("numbers").to_dtype(DType::F32)?.to_vec1::<f32>()?;
        for strength in ["0", "2"].into_iter().filter(|strength| name == "tall" || *strength != "0") {
            let probe = Probe::ridge(&fitted, &targets[..rows], strength.parse().expect("a number"))?;
            alike(all(&probe)?, get(&format!("ridge.{strength}")), &format!("ridge of {name} at {strength}"));
            let explained = probe.score_numbers(&held_out, &targets[rows..])?.explained;
            alike(explained, get(&format!("explained.{strength}")), "explained variance");
        }
    }
    Ok(())
}

/// Equal logits share a rank and a threshold, in any order of the examples.
#[test]
fn ties_count_as_in_scikit_learn() -> Result<()> {
    let reference = Reference::load("probes.safetensors");
    let (logits, labels) = (numbers(reference.get("ties.logits")), labels(reference.get("ties.labels")));
    // Of the examples -1 and 1 the difference of means is a probe of weight 2 and bias 0.
    let probe = Probe::mean_difference(&Tensor::new(&[[-1f64], [1.]], &Device::Cpu)?, [false, true])?;
    let expected = numbers(reference.get("ties.scores"));
    for by in [1, 7, 11] {
        let order: Vec<usize> = (0..60).map(|at| at * by % 60).collect();
        let x = Tensor::from_vec(order.iter().map(|&at| logits[at]).collect::<Vec<_>>(), (60, 1), &Device::Cpu)?;
        let score = probe.score_labels(&x, order.iter().map(|&at| labels[at]).collect::<Vec<_>>())?;
        for (got, expected) in measures(&score).into_iter().zip(&expected) {
            assert!((got - expected).abs() < AS_SCIKIT_LEARN, "{score}: expected {expected}");
        }
    }
    Ok(())
}

#[test]
fn sparse_probes_are_those_of_transformer_lens() -> Result<()> {
    let reference = Reference::load("probes.safetensors");
    let (x, labels) = (reference.get("sparse.x"), labels(reference.get("sparse.labels")));
    for k in [1, 4, 24] {
        let get = |what: &str| reference.get(&format!("sparse.{k}.{what}"));
        let indices = |what: &str| numbers(get(what)).into_iter().map(|at| at as usize).collect::<Vec<_>>();
        let split = ProbeSplit { train: indices("train"), test: indices("test") };
        // Their penalty is on the mean of the losses, ours on their sum.
        let method = ProbeMethod::Sparse { k, strength: 0.02 * split.train.len() as f64 };
        let study = ProbeStudy::new(x, &labels, &split, method)?;
        let coordinates = study.probe.coordinates().expect("it is sparse");
        assert_eq!(coordinates, indices("coordinates"));
        let weights = numbers(&study.probe.weights()?);
        let fit = coordinates.iter().map(|&at| weights[at]).chain([study.probe.bias()]);
        alike(fit, get("fit"), &format!("{k}-sparse"));
        assert_eq!(weights.iter().filter(|weight| **weight != 0.).count(), k);
        alike(measures(&study.test), get("scores"), &format!("scores of {k}-sparse"));
    }
    Ok(())
}
