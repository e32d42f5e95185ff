//! A budget changes how many prompts and edges are worked on at once, and no number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::Result;
use candle_lens::circuits::{Circuit, EdgeMethod, Edges};
use candle_lens::experiment::Experiment;
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tokens::Tokens;

use super::by_hand::{ALONE, PAIRS, architectures, model, prompts};
use crate::support::allocations::held_at_most;
use crate::support::sentence::sentence;
use crate::support::tolerance::CLEAR;

/// A ratio of two sizes that are reported with one decimal.
const ONE_DECIMAL: f64 = 0.15;

const METHODS: [EdgeMethod; 6] = [
    EdgeMethod::Eap,
    EdgeMethod::EapIgInputs { steps: 2 },
    EdgeMethod::EapIgActivations { steps: 2 },
    EdgeMethod::CleanCorrupted,
    EdgeMethod::InformationFlowRoutes,
    EdgeMethod::Exact,
];

/// The bytes that a method takes for one prompt, as its refusal of less tells them.
fn needed(edges: &Edges, method: EdgeMethod) -> u64 {
    let message = edges.clone().budget(10).attribute(method).expect_err("10 bytes are too few").to_string();
    let told = message.split("which takes ").nth(1).expect("the bytes of a prompt").split(':').next().expect("them");
    // The number is rounded.
    (bytes(told) * 1.01) as u64
}

/// The bytes that the text begins with.
fn bytes(text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let unit = match words[1] {
        "B" => 1.,
        "kB" => 1e3,
        "MB" => 1e6,
        unit => panic!("{unit} in {text}"),
    };
    words[0].parse::<f64>().expect("a number") * unit
}

fn assert_close(what: &str, a: &Circuit, b: &Circuit) -> Result<()> {
    let size = a.all_edges().into_iter().map(|edge| a.score(edge)).try_fold(0f32, |s, x| x.map(|x| s.max(x.abs())))?;
    assert!(size > CLEAR, "{what}: nothing is compared");
    for edge in a.all_edges() {
        let (a, b) = (a.score(edge)?, b.score(edge)?);
        assert!((a - b).abs() <= ALONE * size, "{what}, {edge}: {a} and {b} (of {size})");
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
        let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
        for method in METHODS {
            let smallest = needed(&edges, method);
            let alone = edges.clone().budget(smallest).attribute(method)?;
            assert_close(&format!("{what}, {method:?}"), &edges.attribute(method)?, &alone)?;
            let less = edges.clone().budget(smallest / 2).attribute(method);
            sentence(less, &["too small for a single prompt", "Experiment::budget"]);
        }
    }
    Ok(())
}

/// A custom metric is evaluated once for each run of a part of the prompts, and always for all prompts.
#[test]
fn the_budget_decides_how_often_the_model_runs() -> Result<()> {
    let (model, _): (HookedTransformer, _) = model(&architectures()[0].1)?;
    let (clean, corrupted) = prompts();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let metric = Metric::custom("first logit", move |logits| {
        count.fetch_add(1, Ordering::Relaxed);
        assert_eq!(logits.dims(), [3, 13]);
        logits.narrow(1, 0, 1)?.squeeze(1)
    });
    let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    let times = |edges: &Edges, method| -> Result<usize> {
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
    // Each edge by itself, and each of three prompts by itself: a metric is evaluated once for each copy.
    let smallest = needed(&edges, EdgeMethod::Exact);
    let all = Circuit::of(&model).n_edges();
    assert_eq!(times(&edges.clone().budget(smallest), EdgeMethod::Exact)?, 3 * all);
    assert_eq!(times(&edges, EdgeMethod::Exact)?, all);
    Ok(())
}

/// `count` prompts, and each with another second token.
fn many(count: u32) -> (Tokens, Tokens) {
    let rows = |other: u32| {
        (0..count).map(move |i| (0..5).map(|k| (i * 7 + k * 3 + u32::from(k == 1) * other) % 13).collect())
    };
    let tokens = |other| Tokens::from_rows(rows(other).collect::<Vec<Vec<u32>>>()).expect("one length");
    (tokens(0), tokens(5))
}

/// The most bytes held at once, with one prompt at a time.
fn held(edges: &Edges, method: EdgeMethod, nodes: bool) -> Result<usize> {
    let edges = edges.clone().budget(needed(edges, method));
    let (result, most) = held_at_most(|| match nodes {
        true => edges.attribute_nodes(method).map(|_| ()),
        false => edges.attribute(method).map(|_| ()),
    });
    result.map(|()| most)
}

#[test]
fn what_is_held_does_not_grow_with_the_batch() -> Result<()> {
    let cfg = HookedTransformerConfig { d_model: 32, ..architectures()[0].1.clone() };
    let (model, _) = model(&cfg)?;
    let of = |count: u32| {
        let (clean, corrupted) = many(count);
        // A metric of two columns: logits of all prompts are small.
        let metric = Metric::logit_diff(&model.answers(vec![(1u32, 2u32); count as usize])?);
        Experiment::new(&model, clean, corrupted, metric).and_then(|experiment| experiment.edges())
    };
    let (few, more) = (of(4)?, of(64)?);
    // The differences of what the nodes of 60 prompts write: 5 streams of 5 positions.
    let differences = 60 * 5 * 5 * 32 * 4;
    for (method, nodes) in
        [(EdgeMethod::Eap, false), (EdgeMethod::Exact, false), (EdgeMethod::Eap, true), (EdgeMethod::Exact, true)]
    {
        let (few, more) = (held(&few, method, nodes)?, held(&more, method, nodes)?);
        let grown = more.saturating_sub(few);
        assert!(grown < differences / 3, "{method:?}, nodes {nodes}: {few} bytes, {more} for 60 prompts more");
    }
    Ok(())
}

#[test]
fn the_logits_of_all_prompts_count() -> Result<()> {
    let cfg = HookedTransformerConfig { d_model: 16, n_heads: 8, d_vocab: 4999, ..architectures()[0].1.clone() };
    let (model, _) = model(&cfg)?;
    let of = |count: u32, divergence: bool| {
        let (clean, corrupted) = many(count);
        let answers = |id: u32| vec![[id]; count as usize];
        let metric = if divergence { Metric::kl() } else { Metric::prob_diff(&model, answers(1), answers(2))? };
        Experiment::new(&model, clean, corrupted, metric).and_then(|experiment| experiment.edges())
    };
    for (divergence, method) in [
        (false, EdgeMethod::Eap),
        (false, EdgeMethod::Exact),
        (true, EdgeMethod::EapIgInputs { steps: 2 }),
        (true, EdgeMethod::Exact),
    ] {
        let (few, more) = (of(2, divergence)?, of(6, divergence)?);
        let told = |edges: &Edges| {
            let message = sentence(edges.clone().budget(10).attribute(method), &["of it for the logits of all"]);
            bytes(message.split('(').nth(1).expect("that of the logits"))
        };
        assert!((told(&more) / told(&few) - 3.).abs() < ONE_DECIMAL, "{} and {}", told(&more), told(&few));
        assert!(told(&few) >= f64::from(2 * 4999 * 4), "{}", told(&few));
        // One prompt or some, and edges one by one or some: the logits of all prompts are made again and again.
        let smallest = needed(&more, method);
        for (budget, nodes) in [(smallest, false), (2 * smallest, false), (2 * smallest, true)] {
            let edges = more.clone().budget(budget);
            let (result, most) = held_at_most(|| match nodes {
                true => edges.attribute_nodes(method).map(|_| ()),
                false => edges.attribute(method).map(|_| ()),
            });
            result?;
            assert!(most as u64 <= budget, "KL {divergence}, {method:?}, nodes {nodes}: {most} of {budget}");
        }
    }
    Ok(())
}
