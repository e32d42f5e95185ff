//! Scores and circuits against TransformerLens' hooks in EAP-IG's definitions (tests/fixtures/circuits.py).

use candle_lens::Result;
use candle_lens::circuits::{Circuit, EdgeMethod, RankBy};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::metrics::Metric;
use candle_lens::model::Processing;
use candle_lens::tokens::Tokens;

use crate::support::fixture::{Agreement, Reference, numbers, path, tiny_model};

fn prompts(other: u32) -> Tokens {
    let row =
        |seed: u32| (0..7).map(|i| (seed * 7 + i * 5 + if i == 2 || i == 4 { other } else { 0 }) % 29 + 1).collect();
    Tokens::from_rows([1, 2, 3].map(row).to_vec()).expect("rows of one length")
}

#[test]
fn scores_and_circuits_are_those_of_transformer_lens() -> Result<()> {
    let reference = Reference::load("circuits.safetensors");
    let model = tiny_model(Processing::default());
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let edges = Experiment::new(&model, prompts(0), prompts(9), metric.clone())?.edges()?;
    let zero = Experiment::new(&model, prompts(0), Baseline::Zero, metric)?.edges()?;
    let mut agreement = Agreement::default();
    for (name, edges, method) in [
        ("eap", &edges, EdgeMethod::Eap),
        ("eap_zero", &zero, EdgeMethod::Eap),
        ("ig_inputs_5", &edges, EdgeMethod::EapIgInputs { steps: 5 }),
        ("ig_activations_2", &edges, EdgeMethod::EapIgActivations { steps: 2 }),
        ("clean_corrupted", &edges, EdgeMethod::CleanCorrupted),
        ("routes", &edges, EdgeMethod::InformationFlowRoutes),
        ("exact", &edges, EdgeMethod::Exact),
    ] {
        let (got, expected) = (edges.attribute(method)?.scores(), numbers(reference.get(name)));
        assert_eq!(got.shape(), reference.get(name).dims());
        let pairs: Vec<(f64, f64)> = got.values().iter().map(|x| f64::from(*x)).zip(expected).collect();
        // An edge that is missing here is missing there.
        assert!(pairs.iter().all(|(got, expected)| got.is_nan() == expected.is_nan()), "{name}");
        agreement.check_numbers(name, pairs.into_iter().filter(|(got, _)| !got.is_nan()));
    }
    let exact = edges.attribute(EdgeMethod::Exact)?;
    let sizes = numbers(reference.get("sizes"));
    for (name, edges) in [("circuits", &edges), ("circuits_zero", &zero)] {
        for (n, expected) in sizes.iter().zip(numbers(reference.get(name))) {
            let got = edges.evaluate(&exact.topn(*n as usize, RankBy::Magnitude)?)?.metric;
            agreement.check_numbers(name, [(f64::from(got), expected)].into_iter());
        }
    }
    agreement.finish("circuits");
    Ok(())
}

#[test]
fn a_file_of_pythons_json_is_read() -> Result<()> {
    let circuit = Circuit::from_json(path("circuit.json"))?;
    assert_eq!((circuit.n_edges(), circuit.count_included_edges()), (110, 30));
    assert!(circuit.score("m0->m1")?.is_nan(), "the bare word NaN is not a score");
    let expected = Reference::load("circuits.safetensors");
    for ((got, expected), included) in circuit.scores().values().iter().zip(numbers(expected.get("exact"))).zip(0..) {
        let same = got.is_nan() || f64::from(*got) == expected;
        assert!(same, "score {included}: {got} and {expected}");
    }
    // It is of this model, and runs in it.
    let model = tiny_model(Processing::default());
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let edges = Experiment::new(&model, prompts(0), prompts(9), metric)?.edges()?;
    assert_eq!(edges.evaluate(&circuit)?.size, 30);
    Ok(())
}
