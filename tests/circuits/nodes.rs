//! Scores of nodes against the transformer written out edge by edge, and by what they must add up to.

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::circuits::{Aggregation, Circuit, EdgeMethod, Edges, Node, NodeScores, RankBy};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::tokens::Tokens;
use candle_lens::views::View;

use super::by_hand::{self, ALONE, ByHand, EXTRAPOLATED, PAIRS, Written, architectures, live, model, prompts};
use crate::support::fixture::tiny_model;
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED};

/// How far an f32 score may be from the f64 one, relative to the largest score of its kind.
const TOLERANCE: f64 = 2e-4;

/// Nodes score more than edges, so the largest of them is at least this.
const LEAST_NODE: f64 = 1e-2;

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers(PAIRS)?))
}

fn compare(what: &str, scores: &NodeScores, expected: &dyn Fn(&str) -> Result<f64>) -> Result<()> {
    let names = scores.scores().axes()[0].labels.clone();
    let pairs = names.into_iter().map(|name| Ok((f64::from(scores.score(&name)?), expected(&name)?, name)));
    by_hand::compare(what, &pairs.collect::<Result<Vec<_>>>()?, TOLERANCE, LEAST_NODE);
    Ok(())
}

/// The mean metric's slope when more and more of `difference` is added to what a node writes, by four points; the nodes of
/// `instead` write that.
fn slope(by_hand: &ByHand, tokens: &Tokens, instead: &Written, node: &str, difference: &Tensor) -> Result<f64> {
    const STEP: f64 = 1e-3;
    let at = |steps: f64| {
        by_hand.metric(tokens, instead, &|from, _, x| match from == node {
            true => Ok((x + (difference * (steps * STEP))?)?),
            false => Ok(x.clone()),
        })
    };
    Ok((8.0 * (at(1.0)? - at(-1.0)?) - (at(2.0)? - at(-2.0)?)) / (12.0 * STEP))
}

fn written(by_hand: &ByHand, tokens: &Tokens) -> Result<Written> {
    Ok(by_hand.run(tokens, &Written::new(), &live)?.0)
}

fn minus(a: &Written, b: &Written) -> Result<Written> {
    a.iter().map(|(name, a)| Ok((name.clone(), (a - &b[name])?))).collect()
}

fn mix(clean: &Written, corrupted: &Written, share: f64, names: &[String]) -> Result<Written> {
    let one = |name: &String| Ok((name.clone(), ((&clean[name] * share)? + (&corrupted[name] * (1. - share))?)?));
    names.iter().map(one).collect()
}

#[test]
fn exact_scores_are_runs_with_one_node_corrupted() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, by_hand) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let of_corrupted = written(&by_hand, &corrupted)?;
        let whole = by_hand.metric(&clean, &Written::new(), &live)?;
        let edges = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?.edges()?;
        let zero = Experiment::new(&model, &clean, Baseline::Zero, metric(&model)?)?.edges()?;
        let one = |of: &Written, name: &str| {
            let instead = Written::from([(name.to_string(), of[name].clone())]);
            Ok(by_hand.metric(&clean, &instead, &live)? - whole)
        };
        compare(what, &edges.attribute_nodes(EdgeMethod::Exact)?, &|name| one(&of_corrupted, name))?;
        // Few nodes and prompts at once.
        compare(what, &edges.clone().budget(15_000).attribute_nodes(EdgeMethod::Exact)?, &|name| {
            one(&of_corrupted, name)
        })?;
        let zeros = minus(&of_corrupted, &of_corrupted)?;
        compare(what, &zero.attribute_nodes(EdgeMethod::Exact)?, &|name| one(&zeros, name))?;
        // It is the whole model without the node's edges out, too.
        let all = Circuit::of(&model);
        let exact = edges.attribute_nodes(EdgeMethod::Exact)?;
        for node in all.nodes().into_iter().filter(|node| *node != Node::Logits) {
            let out = all.edges().into_iter().filter(|edge| edge.from == node);
            let without = out.into_iter().try_fold(all.clone(), |circuit, edge| circuit.without(edge))?;
            let changed = edges.evaluate(&without)?.metric - edges.clean();
            assert!((changed - exact.score(node)?).abs() < ALONE, "{what}, {node}");
        }
    }
    Ok(())
}

#[test]
fn estimates_are_slopes_along_what_nodes_write() -> Result<()> {
    const STEPS: usize = 3;
    for (what, cfg) in architectures() {
        let (model, by_hand) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let (of_clean, of_corrupted) = (written(&by_hand, &clean)?, written(&by_hand, &corrupted)?);
        let difference = minus(&of_corrupted, &of_clean)?;
        let edges = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?.edges()?;
        let eap = |name: &str| slope(&by_hand, &clean, &Written::new(), name, &difference[name]);
        compare(what, &edges.attribute_nodes(EdgeMethod::Eap)?, &eap)?;
        compare(what, &edges.clone().budget(40_000).attribute_nodes(EdgeMethod::Eap)?, &eap)?;
        let mean = |runs: &[Written], name: &str| -> Result<f64> {
            // A substituted node still adds its part downstream.
            let slopes = runs.iter().map(|instead| slope(&by_hand, &clean, instead, name, &difference[name]));
            Ok(slopes.sum::<Result<f64>>()? / runs.len() as f64)
        };
        // From 1 on: the right end of each step.
        let of = |names: &[String]| -> Result<Vec<Written>> {
            (1..=STEPS).map(|step| mix(&of_clean, &of_corrupted, step as f64 / STEPS as f64, names)).collect()
        };
        let mut runs = of(&["input".to_string()])?;
        let inputs = edges.attribute_nodes(EdgeMethod::EapIgInputs { steps: STEPS })?;
        assert!(inputs.method().contains("right Riemann"), "{}", inputs.method());
        compare(what, &inputs, &|name| mean(&runs, name))?;
        for layer in 0..cfg.n_layers {
            runs.extend(of(&(0..cfg.n_heads).map(|head| format!("a{layer}.h{head}")).collect::<Vec<_>>())?);
            if !cfg.attn_only {
                runs.extend(of(&[format!("m{layer}")])?);
            }
        }
        let activations = edges.attribute_nodes(EdgeMethod::EapIgActivations { steps: STEPS })?;
        compare(what, &activations, &|name| mean(&runs, name))?;
    }
    Ok(())
}

/// The gradient at what a node writes is the sum of the gradients at all inputs that read it.
#[test]
fn a_node_scores_what_its_edges_out_score_together() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let patching = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?.edges()?;
        let zero = Experiment::new(&model, &clean, Baseline::Zero, metric(&model)?)?.edges()?;
        let methods = [EdgeMethod::Eap, EdgeMethod::EapIgActivations { steps: 2 }, EdgeMethod::CleanCorrupted];
        for (edges, method) in [&patching, &zero].into_iter().flat_map(|edges| methods.map(|method| (edges, method))) {
            if method == EdgeMethod::CleanCorrupted && std::ptr::eq(edges, &raw const zero) {
                continue;
            }
            let (of_edges, of_nodes) = (edges.attribute(method)?, edges.attribute_nodes(method)?);
            let neurons = edges.attribute_neurons(method)?;
            let size = of_nodes.scores().values().iter().fold(0f32, |size, score| size.max(score.abs()));
            assert!(f64::from(size) > LEAST_NODE, "{what}, {method:?}");
            for (row, node) in Circuit::of(&model).nodes().into_iter().filter(|node| *node != Node::Logits).enumerate()
            {
                let out = of_edges.all_edges().into_iter().filter(|edge| edge.from == node);
                let sum: f32 = out.map(|edge| of_edges.score(edge)).sum::<Result<_>>()?;
                let score = of_nodes.score(node)?;
                assert!(
                    (score - sum).abs() < REORDERED * size.max(1.),
                    "{what}, {method:?}, {node}: {score} and {sum}"
                );
                let parts: f32 =
                    (0..cfg.d_model).map(|i| neurons.at(&[row as isize, i as isize])).sum::<Result<_>>()?;
                assert!(
                    (score - parts).abs() < REORDERED * size.max(1.),
                    "{what}, {method:?}, {node}: {score} and {parts}"
                );
            }
        }
    }
    Ok(())
}

/// All that corruption changes enters by the input: what is integrated over it is the change of the metric. A right sum is
/// off by a part that halves with twice the steps.
#[test]
fn the_inputs_score_is_the_change_of_the_metric() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let edges = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?.edges()?;
        let input = |steps| edges.attribute_nodes(EdgeMethod::EapIgInputs { steps })?.score(Node::Input);
        let (limit, change) = (2. * input(256)? - input(128)?, edges.corrupted() - edges.clean());
        assert!((limit - change).abs() < EXTRAPOLATED * change.abs(), "{what}: {limit} and {change}");
        let exact = edges.attribute_nodes(EdgeMethod::Exact)?.score("input")?;
        assert!((exact - change).abs() < REORDERED, "{what}: {exact} and {change}");
    }
    Ok(())
}

/// A prompt, and the same with another third token.
fn pair() -> Result<(Tokens, Tokens)> {
    let row = |other: u32| (0..6).map(|i| (i * 5 + if i == 2 { other } else { 0 }) % 29 + 1).collect();
    Ok((Tokens::from_rows(vec![row(0)])?, Tokens::from_rows(vec![row(9)])?))
}

fn experiment() -> Result<(HookedTransformer, Edges)> {
    let model = tiny_model(Processing::default());
    let metric = Metric::logit_diff(&model.answers([(3u32, 20u32)])?);
    let (clean, corrupted) = pair()?;
    let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    Ok((model, edges))
}

#[test]
fn means_over_coordinates_are_sums_divided_and_say_so() -> Result<()> {
    let (model, edges) = experiment()?;
    let mean = edges.clone().aggregation(Aggregation::Mean);
    let width = model.cfg().d_model as f32;
    for method in [EdgeMethod::Eap, EdgeMethod::EapIgInputs { steps: 2 }] {
        let (sums, means) = (edges.attribute(method)?, mean.attribute(method)?);
        for edge in sums.all_edges() {
            let (sum, mean) = (sums.score(edge)?, means.score(edge)?);
            assert!((mean * width - sum).abs() <= LAST_DIGITS * sum.abs(), "{edge}: {sum} and {mean}");
        }
        assert!(means.method().contains("mean over d_model") && !sums.method().contains("mean"), "{}", means.method());
        assert_eq!(sums.topn(20, RankBy::Magnitude)?.edges(), means.topn(20, RankBy::Magnitude)?.edges());
        let (sums, means) = (edges.attribute_nodes(method)?, mean.attribute_nodes(method)?);
        let (sum, of_mean) = (sums.score("m0")?, means.score("m0")?);
        assert!(
            (of_mean * width - sum).abs() <= LAST_DIGITS * sum.abs() && means.method().contains("mean over d_model")
        );
    }
    for method in [EdgeMethod::Exact, EdgeMethod::InformationFlowRoutes] {
        sentence(mean.attribute(method), &["no mean over d_model", "Aggregation::Sum"]);
    }
    sentence(mean.attribute_nodes(EdgeMethod::Exact), &["no mean over d_model"]);
    sentence(mean.attribute_neurons(EdgeMethod::Eap), &["its own score", "Aggregation::Sum"]);
    Ok(())
}

#[test]
fn circuits_of_nodes_hold_all_edges_between_them() -> Result<()> {
    let (model, edges) = experiment()?;
    let scores = edges.attribute_nodes(EdgeMethod::Eap)?;
    let parts: Vec<Node> =
        Circuit::of(&model).nodes().into_iter().filter(|n| *n != Node::Input && *n != Node::Logits).collect();
    for (by, key) in
        [(RankBy::Magnitude, f32::abs as fn(f32) -> f32), (RankBy::Largest, |x| x), (RankBy::Smallest, |x| -x)]
    {
        let mut sorted: Vec<(f32, Node)> =
            parts.iter().map(|&node| Ok((key(scores.score(node)?), node))).collect::<Result<_>>()?;
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        for n in 0..=parts.len() {
            let chosen: Vec<Node> =
                sorted[..n].iter().map(|(_, node)| *node).chain([Node::Input, Node::Logits]).collect();
            let circuit = scores.topn(n, by)?;
            for edge in circuit.all_edges() {
                let inside = chosen.contains(&edge.from) && chosen.contains(&edge.to);
                assert_eq!(circuit.includes(edge)?, inside, "{by:?}, {n}: {edge}");
            }
            if n > 0 {
                assert_eq!(scores.threshold(sorted[n - 1].0, by)?.edges(), circuit.edges(), "{by:?}, {n}");
            }
        }
    }
    let all = scores.topn(parts.len(), RankBy::Magnitude)?;
    assert_eq!(all.count_included_edges(), all.n_edges());
    assert!((edges.evaluate(&all)?.faithfulness - 1.).abs() < REORDERED);
    assert!(all.method().contains("nodes by EAP"), "{}", all.method());
    sentence(scores.topn(parts.len() + 1, RankBy::Magnitude), &["11 nodes", "10 heads and MLPs"]);
    sentence(scores.threshold(f32::NAN, RankBy::Magnitude), &["NaN"]);
    Ok(())
}

#[test]
fn nodes_without_a_number_are_never_among_the_best() -> Result<()> {
    fn logit(logits: &Tensor) -> Result<Tensor> {
        Ok((logits.narrow(1, 3, 1)? - logits.narrow(1, 20, 1)?)?.squeeze(1)?)
    }
    let (model, edges) = experiment()?;
    let exact = |metric: Metric| -> Result<NodeScores> {
        let (clean, corrupted) = pair()?;
        Experiment::new(&model, clean, corrupted, metric)?.edges()?.attribute_nodes(EdgeMethod::Exact)
    };
    let plain = exact(Metric::custom("difference", logit))?;
    // A metric that is NaN exactly where the corrupted MLP moves the difference.
    let hole = f64::from(edges.clean() + plain.score("m0")?);
    let holed = move |logits: &Tensor| -> Result<Tensor> { Ok(((logit(logits)? - hole)?.sqr()? - 1e-8)?.sqrt()?) };
    let scores = exact(Metric::custom("holed", holed))?;
    assert!(scores.score("m0")?.is_nan(), "the metric has no number there");
    let numbers = scores.scores().values().iter().skip(1).filter(|score| !score.is_nan()).count();
    assert!((1..10).contains(&numbers), "{numbers}");
    for by in [RankBy::Magnitude, RankBy::Largest, RankBy::Smallest] {
        for n in 0..=numbers {
            let circuit = scores.topn(n, by)?;
            assert!(!circuit.nodes().contains(&Node::Mlp(0)), "{by:?}, {n}: {:?}", circuit.nodes());
        }
        let (asked, most) = (format!("{} nodes", numbers + 1), format!("at most {numbers}"));
        sentence(scores.topn(numbers + 1, by), &[&asked, "10 heads and MLPs", &most]);
        assert_eq!(scores.threshold(f32::NEG_INFINITY, by)?.edges(), scores.topn(numbers, by)?.edges());
    }
    let shown = scores.render()?;
    let names = scores.scores().axes()[0].labels.clone();
    let first = |line: &str| line.split_whitespace().next().map(str::to_string);
    let listed: Vec<String> = shown.text().lines().filter_map(first).filter(|name| names.contains(name)).collect();
    assert_eq!(listed.len(), 11, "{}", shown.text());
    let with_numbers = listed.iter().map(|name| Ok(!scores.score(name)?.is_nan())).collect::<Result<Vec<_>>>()?;
    assert!(with_numbers.is_sorted_by(|a, b| a >= b), "those without a number stand last: {}", shown.text());

    // A number only for the clean and the corrupted run.
    let (clean, corrupted) = (f64::from(edges.clean()), f64::from(edges.corrupted()));
    let nowhere = move |logits: &Tensor| -> Result<Tensor> {
        let x = logit(logits)?;
        Ok((((&x - clean)? * (&x - corrupted)?)?.sqr()?.neg()?.sqrt()? + x)?)
    };
    let scores = exact(Metric::custom("nowhere", nowhere))?;
    sentence(scores.topn(0, RankBy::Magnitude), &["all heads and MLPs are NaN"]);
    sentence(scores.threshold(0., RankBy::Magnitude), &["all heads and MLPs are NaN"]);
    Ok(())
}

#[test]
fn node_scores_are_read_by_name_and_shown() -> Result<()> {
    let (_, edges) = experiment()?;
    let scores = edges.attribute_nodes(EdgeMethod::Eap)?;
    let by_layer = scores.by_layer();
    assert_eq!((scores.scores().shape(), by_layer.shape()), (vec![11], vec![2, 5]));
    assert_eq!(by_layer.get(&["1", "2"])?, scores.score("a1.h2")?);
    assert_eq!(by_layer.get(&["0", "MLP"])?, scores.score(Node::Mlp(0))?);
    assert_eq!(scores.scores().get(&["input"])?, scores.score(Node::Input)?);
    sentence(scores.score("logits"), &["logits writes nothing"]);
    sentence(scores.score("a2.h0"), &["a2.h0", "layers 0 to 1"]);
    sentence(scores.score("head"), &["does not name a part"]);
    sentence(edges.attribute_nodes(EdgeMethod::InformationFlowRoutes), &["nodes have no such share"]);
    sentence(edges.attribute_neurons(EdgeMethod::Exact), &["whole nodes", "attribute_nodes"]);
    sentence(edges.clone().budget(10).attribute_nodes(EdgeMethod::Eap), &["budget of 10 B"]);
    sentence(edges.clone().budget(10).attribute_nodes(EdgeMethod::Exact), &["budget of 10 B"]);
    let shown = scores.render()?;
    let strongest = scores.scores().values().iter().fold(0f32, |size, score| size.max(score.abs()));
    assert!(strongest > 0. && shown.text().contains("the strongest 11 of 11 nodes"), "{}", shown.text());
    assert!(shown.html().contains("MLP") && shown.text().contains("EAP, logit difference"), "{}", shown.text());
    Ok(())
}
