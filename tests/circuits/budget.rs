//! A budget changes how many prompts and edges are worked on at once, and no number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::Result;
use candle_lens::circuits::{Circuit, EdgeMethod, EdgePatching};
use candle_lens::model::HookedTransformer;
use candle_lens::patching::Metric;

use super::by_hand::{PAIRS, architectures, model, prompts};
use crate::support::sentence::sentence;

const METHODS: [EdgeMethod; 6] = [
    EdgeMethod::Eap,
    EdgeMethod::EapIgInputs { steps: 2 },
    EdgeMethod::EapIgActivations { steps: 2 },
    EdgeMethod::CleanCorrupted,
    EdgeMethod::InformationFlowRoutes,
    EdgeMethod::Exact,
];

/// The bytes that a method takes for one prompt, as its refusal of less tells them.
fn needed(edges: &EdgePatching, method: EdgeMethod) -> u64 {
    let message = edges.clone().budget(10).attribute(method).expect_err("10 bytes are too few").to_string();
    let told = message.split("which takes ").nth(1).expect("the bytes of a prompt").split(':').next().expect("them");
    let (number, unit) = told.split_once(' ').expect("a number and a unit");
    let unit = match unit {
        "B" => 1.,
        "kB" => 1e3,
        unit => panic!("{unit} in {message}"),
    };
    // The number is rounded.
    (number.parse::<f64>().expect("a number") * unit * 1.01) as u64
}

fn assert_close(what: &str, a: &Circuit, b: &Circuit) -> Result<()> {
    let size = a.all_edges().into_iter().map(|edge| a.score(edge)).try_fold(0f32, |s, x| x.map(|x| s.max(x.abs())))?;
    assert!(size > 1e-3, "{what}: nothing is compared");
    for edge in a.all_edges() {
        let (a, b) = (a.score(edge)?, b.score(edge)?);
        assert!((a - b).abs() <= 2e-5 * size, "{what}, {edge}: {a} and {b} (of {size})");
    }
    Ok(())
}

#[test]
fn one_prompt_at_a_time_gives_the_same_scores() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        // Probabilities read all logits, so that those of the prompts that do not run are needed too.
        let metric = Metric::prob_diff(&model, PAIRS.map(|pair| [pair.0]), PAIRS.map(|pair| [pair.1]))?;
        let edges = EdgePatching::new(&model, clean, corrupted, metric)?;
        for method in METHODS {
            let smallest = needed(&edges, method);
            let alone = edges.clone().budget(smallest).attribute(method)?;
            assert_close(&format!("{what}, {method:?}"), &edges.attribute(method)?, &alone)?;
            let less = edges.clone().budget(smallest / 2).attribute(method);
            sentence(less, &["too small for a single prompt", "EdgePatching::budget"]);
        }
    }
    Ok(())
}

/// A metric of one's own is asked once for each run of a part of the prompts, and always for all prompts.
#[test]
fn the_budget_decides_how_often_the_model_runs() -> Result<()> {
    let (model, _): (HookedTransformer, _) = model(&architectures()[0].1)?;
    let (clean, corrupted) = prompts();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let metric = Metric::custom("first logit", move |logits| {
        count.fetch_add(1, Ordering::Relaxed);
        assert_eq!(logits.dims(), [3, 13]);
        Ok(logits.narrow(1, 0, 1)?.squeeze(1)?)
    });
    let edges = EdgePatching::new(&model, clean, corrupted, metric)?;
    let times = |edges: &EdgePatching, method| -> Result<usize> {
        asked.store(0, Ordering::Relaxed);
        edges.attribute(method)?;
        Ok(asked.load(Ordering::Relaxed))
    };
    for (method, runs) in [
        (EdgeMethod::Eap, 1),
        (EdgeMethod::EapIgInputs { steps: 4 }, 4),
        (EdgeMethod::EapIgActivations { steps: 2 }, 10),
        (EdgeMethod::CleanCorrupted, 2),
    ] {
        assert_eq!(times(&edges, method)?, runs, "{method:?}: all prompts at once");
        let smallest = needed(&edges, method);
        assert_eq!(times(&edges.clone().budget(smallest), method)?, 3 * runs, "{method:?}: one prompt at a time");
        assert_eq!(times(&edges.clone().budget(2 * smallest), method)?, 2 * runs, "{method:?}: two prompts at once");
    }
    // Each edge by itself, and each of three prompts by itself: a metric is asked once for each copy.
    let smallest = needed(&edges, EdgeMethod::Exact);
    let all = Circuit::of(&model).n_edges();
    assert_eq!(times(&edges.clone().budget(smallest), EdgeMethod::Exact)?, 3 * all);
    assert_eq!(times(&edges, EdgeMethod::Exact)?, all);
    Ok(())
}
