//! What an experiment on edges refuses, in full sentences.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::circuits::{Circuit, EdgeMethod, Node};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::MeanOver;
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tokens::{PaddingSide, Tokens};

use super::by_hand::{PAIRS, architectures, model, prompts};
use crate::support::sentence::sentence;
use crate::support::tolerance::VISIBLE;

fn tokens(rows: &[&[u32]]) -> Tokens {
    Tokens::padded(rows.iter().map(|row| row.to_vec()).collect(), 0, PaddingSide::Right).expect("rows")
}

#[test]
fn prompts_metrics_and_models_that_do_not_fit() -> Result<()> {
    let (model, _) = model(&architectures()[0].1)?;
    let (clean, corrupted) = prompts();
    let metric = || Ok::<_, candle_lens::Error>(Metric::logit_diff(&model.answers(PAIRS)?));
    let new = |clean: &Tokens, corrupted: &Tokens, metric: Metric| {
        Experiment::new(&model, clean, corrupted, metric).and_then(|experiment| experiment.edges())
    };
    sentence(new(&clean, &tokens(&[&[1, 2, 3, 4, 5]]), metric()?), &["3 clean prompts and 1 corrupted"]);
    let shorter = tokens(&[&[1, 5, 2, 10, 3], &[7, 7, 0], &[12, 3, 3, 8, 2]]);
    sentence(new(&clean, &shorter, metric()?), &["prompt 1 has 5 tokens clean and 3 corrupted"]);
    sentence(new(&clean, &clean, metric()?), &["no difference"]);
    sentence(new(&clean, &corrupted, Metric::logit_diff(&model.answers([(1u32, 2u32)])?)), &["answers for 1 prompts"]);

    let rank = new(&clean, &corrupted, Metric::rank(&model, [1u32, 3, 10])?)?;
    for method in [EdgeMethod::Eap, EdgeMethod::EapIgInputs { steps: 2 }, EdgeMethod::CleanCorrupted] {
        sentence(rank.attribute(method), &["rank", "no gradient"]);
        // Reported first: before the budget is checked, and so before any run.
        sentence(rank.clone().budget(10).attribute(method), &["rank", "no gradient"]);
        sentence(rank.clone().budget(10).attribute_nodes(method), &["rank", "no gradient"]);
    }
    // Without gradients the rank works like any metric.
    assert!(rank.attribute(EdgeMethod::Exact)?.scores().top(1)[0].value.is_finite());
    let numbers = Metric::custom("by hand", |logits| {
        let rows = logits.to_vec2::<f32>()?;
        Tensor::from_vec(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), rows.len(), &Device::Cpu)
    });
    sentence(new(&clean, &corrupted, numbers)?.attribute(EdgeMethod::Eap), &["by hand", "no gradient"]);

    let edges = new(&clean, &corrupted, metric()?)?;
    sentence(edges.attribute(EdgeMethod::EapIgInputs { steps: 0 }), &["0 steps"]);
    sentence(edges.attribute(EdgeMethod::EapIgActivations { steps: 0 }), &["0 steps"]);
    for steps in [10_001, usize::MAX] {
        for method in [EdgeMethod::EapIgInputs { steps }, EdgeMethod::EapIgActivations { steps }] {
            sentence(edges.attribute(method), &[&steps.to_string(), "give 1 to 10000"]);
            sentence(edges.attribute_nodes(method), &["give 1 to 10000"]);
        }
    }
    // As many as that are allowed: the next check finds something.
    sentence(edges.clone().budget(10).attribute(EdgeMethod::EapIgInputs { steps: 10_000 }), &["budget of 10 B"]);
    sentence(edges.clone().budget(10).attribute(EdgeMethod::Eap), &["budget of 10 B", "Experiment::budget"]);
    sentence(edges.clone().budget(10).evaluate(&Circuit::of(&model).empty()), &["budget of 10 B"]);
    sentence(edges.curve(&[]), &["no circuits", "topn_each"]);
    sentence(edges.completeness(&Circuit::of(&model), &[]), &["no sets"]);
    sentence(edges.completeness(&Circuit::of(&model), &[vec![Node::Head(9, 0)]]), &["a9.h0"]);
    for (what, cfg) in architectures().into_iter().skip(1).take(3) {
        let other = Circuit::of(&HookedTransformer::trainable(cfg, 0, &Device::Cpu)?.0);
        sentence(edges.evaluate(&other), &["is of a model with", "Circuit::of"]);
        sentence(edges.curve(std::slice::from_ref(&other)), &["is of a model with"]);
        sentence(edges.minimality(&other), &["is of a model with"]);
        sentence(other.overlap(&Circuit::of(&model)), &["is of a model with"]);
        assert!(!what.is_empty());
    }
    Ok(())
}

#[test]
fn models_without_edges_and_ablations_without_data() -> Result<()> {
    let (_, cfg) = architectures().swap_remove(0);
    let (clean, corrupted) = prompts();
    for before in [true, false] {
        let through_norms = HookedTransformerConfig {
            use_normalization_before_and_after: before,
            use_normalization_after_only: !before,
            normalization_type: candle_lens::model::NormalizationType::RMS,
            ..cfg.clone()
        };
        let through_norms = HookedTransformer::trainable(through_norms, 0, &Device::Cpu)?.0;
        let metric = Metric::logit_diff(&through_norms.answers(PAIRS)?);
        sentence(
            Experiment::new(&through_norms, &clean, &corrupted, metric).and_then(|experiment| experiment.edges()),
            &["norm together", "no edges"],
        );
    }

    let (model, _) = model(&cfg)?;
    let metric = || Ok::<_, candle_lens::Error>(Metric::logit_diff(&model.answers(PAIRS)?));
    let ablated = |ablation: Baseline| {
        Experiment::new(&model, &clean, ablation, metric()?).and_then(|experiment| experiment.edges())
    };
    let positional = |rows: &[&[u32]]| ablated(Baseline::mean_of(MeanOver::Batch, tokens(rows)));
    sentence(positional(&[&[1, 2, 3]]), &["have 3 positions", "MeanOver::BatchAndPos"]);
    sentence(positional(&[&[1, 2, 3, 4, 5], &[1, 2]]), &["with padding"]);
    sentence(ablated(Baseline::mean_of(MeanOver::BatchAndPos, tokens(&[&[1, 99]]))), &["99"]);
    // A mean that is a prompt's own activation would leave its edges as they are.
    let own = clean.row(1).to_vec();
    sentence(positional(&[&own]), &["over prompt 1 alone", "MeanOver::BatchAndPos"]);
    sentence(positional(&[&own, &own]), &["over prompt 1 alone"]);
    positional(&[&own, &clean.row(0)])?;
    ablated(Baseline::mean_of(MeanOver::BatchAndPos, tokens(&[&own])))?;
    for method in [EdgeMethod::EapIgInputs { steps: 2 }, EdgeMethod::CleanCorrupted] {
        sentence(ablated(Baseline::Zero)?.attribute(method), &["needs corrupted prompts", "as its baseline"]);
    }
    let divergence = Experiment::new(&model, &clean, &corrupted, Metric::kl())?.edges()?;
    for method in [EdgeMethod::Eap, EdgeMethod::CleanCorrupted] {
        sentence(divergence.attribute(method), &["its minimum there", "EapIgInputs"]);
    }
    // One step whose right end is the clean run is no better.
    let (inputs, activations) =
        (|steps| EdgeMethod::EapIgInputs { steps }, |steps| EdgeMethod::EapIgActivations { steps });
    sentence(divergence.attribute(activations(1)), &["its minimum there", "more than 1 step"]);
    sentence(divergence.attribute_nodes(activations(1)), &["its minimum there", "more than 1 step"]);
    sentence(divergence.attribute_nodes(inputs(1)), &["its minimum there", "more than 1 step"]);
    sentence(divergence.attribute_nodes(inputs(0)), &["0 steps"]);
    for circuit in [divergence.attribute(inputs(1))?, divergence.attribute(activations(2))?] {
        assert!(circuit.scores().top(1)[0].value.abs() > VISIBLE, "{circuit:?}");
    }
    assert!(divergence.attribute_nodes(inputs(2))?.score("input")?.abs() > VISIBLE);
    Ok(())
}
