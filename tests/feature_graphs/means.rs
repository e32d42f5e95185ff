//! Chained graphs of several prompts, their limits, and the files of circuit-finder's form.

use std::collections::BTreeMap;

use candle_lens::Result;
use candle_lens::feature_graphs::{
    ChainOptions, ChainedEdge, ChainedGraph, EdgeVia, EdgesLeftOut, ErrorNodes, GraphNode,
};
use candle_lens::prelude::*;

use crate::support::sentence::sentence;

/// Sums of some thousand products in f32, relative to the largest score of a graph.
const ROUNDING: f32 = 1e-5;

const METRIC: GraphNode = GraphNode::Target { number: 0 };

const CLEAN: [&str; 2] = [
    "When John and Mary went to the shops, John gave the bag to",
    "When Tom and Anna went to the park, Tom gave the book to",
];

const CORRUPTED: [&str; 2] = [
    "When John and Mary went to the shops, Mary gave the bag to",
    "When Tom and Anna went to the park, Anna gave the book to",
];

const ANSWERS: [(&str, &str); 2] = [(" Mary", " John"), (" Anna", " Tom")];

/// The embedded dictionaries of the last two layers, and of the first attention.
pub fn dictionaries() -> Result<Vec<Dictionary>> {
    let set = DictionarySet::open("tiny")?;
    ["z0", "z2", "mlp2", "z3", "mlp3"].into_iter().map(|name| set.get(name)).collect()
}

fn metric(model: &HookedTransformer, prompts: std::ops::Range<usize>) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers(ANSWERS[prompts].iter().copied())?))
}

pub fn graph_with(
    model: &HookedTransformer,
    prompts: std::ops::Range<usize>,
    contrast: bool,
    options: ChainOptions,
) -> Result<ChainedGraph> {
    let baseline: Baseline = if contrast { CORRUPTED[prompts.clone()].to_vec().into() } else { Baseline::Zero };
    let metric = metric(model, prompts.clone())?;
    model.chained_graph_with(dictionaries()?, CLEAN[prompts].to_vec(), baseline, metric, options)
}

type Key = (GraphNode, GraphNode, EdgeVia);

fn key(edge: &ChainedEdge) -> Key {
    (edge.source, edge.target, edge.via)
}

fn by_key(edges: Vec<ChainedEdge>) -> BTreeMap<Key, ChainedEdge> {
    edges.into_iter().map(|edge| (key(&edge), edge)).collect()
}

fn size(graph: &ChainedGraph) -> f32 {
    graph.nodes().iter().map(|node| node.score().abs()).fold(1.0, f32::max)
}

/// The mean over prompts, edge by edge and node by node, from graphs of one prompt each.
#[test]
fn a_graph_of_several_prompts_is_the_mean_of_their_graphs() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    for contrast in [false, true] {
        let all = graph_with(&model, 0..2, contrast, ChainOptions::default())?;
        assert_eq!(all.prompts(), 2);
        let miss = all.residual() / size(&all);
        assert!(miss < ROUNDING, "contrast {contrast}: the edges out of a node miss its score by {miss}");
        let mut edges: BTreeMap<Key, (f64, f64)> = BTreeMap::new();
        let mut nodes: BTreeMap<GraphNode, (f64, f64, f64, usize)> = BTreeMap::new();
        let (mut clean, mut corrupted) = (0.0, 0.0);
        for prompt in 0..2 {
            let one = graph_with(&model, prompt..prompt + 1, contrast, ChainOptions::default())?;
            for edge in one.edges() {
                let sum = edges.entry(key(&edge)).or_default();
                *sum = (sum.0 + f64::from(edge.local) / 2.0, sum.1 + f64::from(edge.metric) / 2.0);
            }
            for node in one.nodes() {
                let sum = nodes.entry(node.node).or_default();
                *sum = (
                    sum.0 + f64::from(node.change) / 2.0,
                    sum.1 + f64::from(node.score()) / 2.0,
                    sum.2 + f64::from(node.gradient),
                    sum.3 + 1,
                );
            }
            clean += one.clean() / 2.0;
            corrupted += one.corrupted().unwrap_or(0.0) / 2.0;
        }
        assert!((all.clean() - clean).abs() < ROUNDING * clean.abs());
        assert_eq!(all.corrupted().is_some(), contrast);
        assert!((all.corrupted().unwrap_or(0.0) - corrupted).abs() < ROUNDING * clean.abs());
        let size = size(&all);
        let found = by_key(all.edges());
        assert!(found.len() > 2_000, "{} edges", found.len());
        for (key, (local, metric)) in &edges {
            let own = found.get(key).map_or((0.0, 0.0), |edge| (edge.local, edge.metric));
            assert!((f64::from(own.1) - metric).abs() < f64::from(ROUNDING * size), "{key:?}: {own:?}, {metric}");
            if found.contains_key(key) {
                assert!((f64::from(own.0) - local).abs() < f64::from(ROUNDING * size), "{key:?}: {own:?}, {local}");
            }
        }
        assert!(found.keys().all(|key| edges.contains_key(key)));
        let mut shared = 0;
        for node in all.nodes() {
            // A node without influence on the metric of a prompt is not in its graph, but its change counts.
            let Some((change, score, gradient, count)) = nodes.get(&node.node) else { continue };
            assert!((f64::from(node.score()) - score).abs() < f64::from(ROUNDING * size), "{node}: {score}");
            if *count == node.prompts {
                assert!((f64::from(node.change) - change).abs() < f64::from(ROUNDING * size), "{node}: {change}");
                let gradient = gradient / *count as f64;
                assert!((f64::from(node.gradient) - gradient).abs() < f64::from(ROUNDING * size), "{node}: {gradient}");
            }
            shared += usize::from(*count > 1);
        }
        assert!(shared > 50, "{shared} nodes are of several prompts");
    }
    Ok(())
}

/// That a part of a graph is one: all of it leads to the metric, and what is left out is what is missing.
fn check_part(graph: &ChainedGraph, whole: &ChainedGraph, what: &str) -> Result<()> {
    let rounding = ROUNDING * size(whole);
    assert!(graph.residual() < rounding, "{what}: {}", graph.residual());
    let kept = graph.edges();
    assert!(!kept.is_empty() && kept.len() < whole.edges().len(), "{what}: {}", kept.len());
    for edge in kept {
        assert!(edge.target == METRIC || graph.node(edge.target).is_ok(), "{what}: {edge}");
        assert!(graph.node(edge.source).is_ok(), "{what}: {edge}");
    }
    for node in graph.nodes().iter().filter(|node| node.node != METRIC) {
        let out = graph.edges_out_of(node.node)?;
        let sum: f32 = out.iter().map(|edge| edge.metric).sum();
        assert!(!out.is_empty() && (sum + node.left_out() - node.score()).abs() < rounding, "{what}: {node}");
    }
    Ok(())
}

/// A threshold in the search leaves what one on the whole graph leaves, and what either leaves out is summed to the same.
#[test]
fn thresholds_keep_what_is_above_them_and_sum_the_rest() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let whole = graph_with(&model, 0..2, true, ChainOptions::default())?;
    assert_eq!((whole.left_out().edges, whole.left_out().nodes), (0, 0), "{}", whole.left_out());
    for threshold in [0.05, 0.005] {
        let searched = graph_with(&model, 0..2, true, ChainOptions { threshold, ..ChainOptions::default() })?;
        let limited = whole.threshold(threshold)?;
        check_part(&searched, &whole, "searched")?;
        check_part(&limited, &whole, "limited")?;
        assert_eq!(searched.edges(), limited.edges());
        let (a, b): (EdgesLeftOut, EdgesLeftOut) = (searched.left_out(), limited.left_out());
        assert_eq!((a.edges, a.nodes), (b.edges, b.nodes));
        for (a, b) in [(a.metric, b.metric), (a.magnitude, b.magnitude), (a.score, b.score)] {
            assert!((a - b).abs() < ROUNDING * b.abs().max(size(&whole)), "{a}, {b}");
        }
        // All edges above the threshold into nodes of the graph, and no others.
        let kept = by_key(limited.edges());
        for edge in whole.edges() {
            let leads = edge.target == METRIC || limited.node(edge.target).is_ok();
            assert_eq!(kept.contains_key(&key(&edge)), leads && edge.metric.abs() > threshold, "{edge}");
        }
    }
    Ok(())
}

/// Some edges of a graph, or nodes, grown from the metric by looking at all edges again each time.
fn grown(whole: &ChainedGraph, most: usize, rank: impl Fn(&ChainedEdge) -> f32, whole_nodes: bool) -> Vec<Key> {
    let (edges, mut nodes, mut kept) = (whole.edges(), vec![METRIC], Vec::new());
    while if whole_nodes { nodes.len() <= most } else { kept.len() < most } {
        let open = edges.iter().filter(|edge| {
            let is_new = if whole_nodes { !nodes.contains(&edge.source) } else { !kept.contains(&key(edge)) };
            is_new && nodes.contains(&edge.target)
        });
        let best = open.max_by(|a, b| rank(a).total_cmp(&rank(b))).expect("an edge");
        kept.push(key(best));
        nodes.push(best.source);
    }
    if whole_nodes {
        let between = edges.iter().filter(|edge| nodes.contains(&edge.source) && nodes.contains(&edge.target));
        return between.map(key).collect();
    }
    kept
}

#[test]
fn budgets_keep_the_strongest_that_lead_to_the_metric() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    // Few enough to be looked at again and again.
    let whole = graph_with(&model, 0..1, true, ChainOptions { threshold: 0.01, ..ChainOptions::default() })?;
    let scores: BTreeMap<GraphNode, f32> = whole.nodes().iter().map(|node| (node.node, node.score().abs())).collect();
    let sorted = |mut keys: Vec<Key>| {
        keys.sort();
        keys
    };
    for most in [1, 10, 60] {
        let few = whole.most_edges(most)?;
        check_part(&few, &whole, "edges")?;
        let wanted = grown(&whole, most, |edge| edge.metric.abs(), false);
        assert_eq!(sorted(few.edges().iter().map(key).collect()), sorted(wanted), "{most} edges");

        let few = whole.most_nodes(most)?;
        check_part(&few, &whole, "nodes")?;
        assert_eq!(few.nodes().len(), most + 1);
        let wanted = grown(&whole, most, |edge| scores[&edge.source], true);
        assert_eq!(sorted(few.edges().iter().map(key).collect()), sorted(wanted), "{most} nodes");
    }
    // One after the other, what is left out adds up.
    let twice = whole.threshold(0.02)?.most_edges(20)?;
    check_part(&twice, &whole, "twice")?;
    assert_eq!(twice.edges(), whole.most_edges(20)?.edges());
    Ok(())
}

#[test]
fn errors_are_in_the_graph_or_apart() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let is_error = |node: GraphNode| matches!(node, GraphNode::Error { .. } | GraphNode::AttnError { .. });
    let options = |errors, most_edges| ChainOptions { threshold: 0.01, errors, most_edges, ..ChainOptions::default() };
    let inside = graph_with(&model, 0..1, true, options(ErrorNodes::InGraph, None))?;
    let apart = graph_with(&model, 0..1, true, options(ErrorNodes::Apart, None))?;
    assert!(inside.nodes().iter().any(|node| is_error(node.node)), "{inside}");
    let without: Vec<ChainedEdge> = inside.edges().into_iter().filter(|edge| !is_error(edge.source)).collect();
    assert_eq!(apart.edges(), without);
    assert_eq!(apart.edge_counts().total(), without.len());
    assert!(apart.nodes().iter().all(|node| !is_error(node.node)));
    assert_eq!(apart.error_edges(), inside.error_edges());
    assert_eq!(apart.error_nodes(), inside.error_nodes());
    assert_eq!(inside.errors_apart().edges(), apart.edges());
    // Apart, they need no room.
    let few = graph_with(&model, 0..1, true, options(ErrorNodes::Apart, Some(30)))?;
    assert_eq!((few.edges().len(), few.edges()), (30, apart.most_edges(30)?.edges()));
    assert!(few.error_edges().len() > 10, "{}", few.error_edges().len());
    assert!(few.error_edges().iter().all(|edge| edge.target == METRIC || few.node(edge.target).is_ok()));
    let both = graph_with(&model, 0..1, true, options(ErrorNodes::InGraph, Some(30)))?;
    assert!(both.edges().len() == 30 && both.edges().iter().any(|edge| is_error(edge.source)));
    Ok(())
}

#[test]
fn features_that_fall_may_be_left_out() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let options = ChainOptions { negative_changes: false, ..ChainOptions::default() };
    let whole = graph_with(&model, 0..1, true, ChainOptions::default())?;
    let rising = graph_with(&model, 0..1, true, options)?;
    check_part(&rising, &whole, "rising")?;
    let falls = |node: GraphNode| -> Result<bool> {
        let is_feature = matches!(node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. });
        Ok(is_feature && whole.node(node)?.change < 0.0)
    };
    let kept = by_key(rising.edges());
    for edge in whole.edges() {
        let leads = edge.target == METRIC || rising.node(edge.target).is_ok();
        assert_eq!(kept.contains_key(&key(&edge)), leads && !falls(edge.source)?, "{edge}");
    }
    Ok(())
}

/// Without queries and keys, gradients are those of the spliced model with attention patterns held.
#[test]
fn patterns_may_be_held() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let options = ChainOptions { queries_and_keys: false, ..ChainOptions::default() };
    let held = graph_with(&model, 0..1, false, options)?;
    assert_eq!((held.edge_counts().q, held.edge_counts().k), (0, 0));
    assert!(held.residual() < ROUNDING * size(&held), "{}", held.residual());
    let live = graph_with(&model, 0..1, false, ChainOptions::default())?;
    assert!(live.edge_counts().q > 100 && live.edge_counts().k > 100, "{live}");

    let frozen =
        model.with_frozen([Frozen::NormScales, Frozen::Mlps, Frozen::AttentionPatterns]).without_weight_gradients();
    let mut plan = frozen.splice(&dictionaries()?, ErrorTerm::Recomputed)?.watch(("sae_acts_post", 0));
    // Attention of the second layer has no dictionary, so that it is an error as a whole.
    plan = plan.edit(("z", 1), Edit::custom("held", |x: &Tensor, _| candle_lens::candle::Result::Ok(x.detach())));
    let run = frozen.run(&model.to_tokens(CLEAN[0])?, plan, RunOptions::default())?;
    let last = run.logits()?.i((0, 14))?;
    let token = |text: &str| -> Result<usize> { Ok(model.to_single_token(text)? as usize) };
    let difference = (last.get(token(" Mary")?)? - last.get(token(" John")?)?)?;
    let gradients = run.taps.gradients(&difference)?;
    let of_z0 = gradients.get("blocks.0.attn.hook_z.hook_sae_acts_post")?;
    let mut seen = 0;
    let size = held.nodes().iter().map(|node| node.gradient.abs()).fold(0.0, f32::max);
    for node in held.nodes() {
        let GraphNode::AttnFeature { layer: 0, pos, feature } = node.node else { continue };
        let wanted = of_z0.i((0, pos, feature))?.to_scalar::<f32>()?;
        assert!((node.gradient - wanted).abs() < ROUNDING * size, "{node}: {} and {wanted}", node.gradient);
        seen += 1;
    }
    assert!(seen > 50, "{seen} features");
    Ok(())
}

#[test]
fn places_sum_the_scores_of_their_nodes() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let graph = graph_with(&model, 0..1, false, ChainOptions { threshold: 0.001, ..ChainOptions::default() })?;
    let places = graph.by_place()?;
    assert_eq!(places.labels("position")?.len(), 15);
    assert_eq!(places.labels("position")?[14], "14: to");
    let parts = places.labels("part")?;
    assert!(parts.contains(&"z3".to_string()) && parts.contains(&"mlp3 errors".to_string()), "{parts:?}");
    let (row, sum) = (parts.iter().position(|part| part == "z3").expect("z3"), |nodes: Vec<ChainedNode>| -> f32 {
        nodes.iter().map(ChainedNode::score).sum()
    });
    let of_z3 = graph.at(3, -1)?.into_iter().filter(|node| matches!(node.node, GraphNode::AttnFeature { .. }));
    let wanted = sum(of_z3.collect());
    assert!((places.at(&[row as isize, -1])? - wanted).abs() < ROUNDING * size(&graph), "{wanted}");
    let all =
        graph.nodes().into_iter().filter(|node| !matches!(node.node, GraphNode::Bias(_) | GraphNode::Target { .. }));
    let wanted = sum(all.collect());
    let total: f32 = places.values().iter().sum();
    assert!((total - wanted).abs() < ROUNDING * size(&graph) * 100.0, "{total} and {wanted}");
    let last = graph.features_at(-1)?;
    assert!(last.windows(2).all(|pair| pair[0].score().abs() >= pair[1].score().abs()));
    assert_eq!(last, graph.features_at(14)?);
    let kinds = graph.by_kind()?;
    let direct: f32 = graph.edges_into(METRIC)?.iter().map(|edge| edge.metric.abs()).sum();
    assert!((kinds.at(&[4])? - direct).abs() < ROUNDING * direct * 10.0, "{kinds}");
    sentence(graph.at(4, 0), &["layer", "4"]);
    sentence(graph.features_at(15), &["position", "15"]);
    sentence(graph.node(GraphNode::Feature { layer: 3, pos: 2, feature: 511 }), &["3/511 at 2", "nodes() lists"]);
    Ok(())
}

#[test]
fn padding_is_no_part_of_prompts() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let options = || ChainOptions { threshold: 0.05, ..ChainOptions::default() };
    let bare = graph_with(&model, 0..2, true, options())?;
    let padded = |prompts: &[&str]| -> Result<Tokens> {
        let rows = prompts.iter().map(|prompt| Ok([vec![7; 3], model.to_tokens(*prompt)?.row(0)].concat()));
        Tokens::from_padded_rows(rows.collect::<Result<Vec<_>>>()?, 7, PaddingSide::Left, false)
    };
    let (clean, corrupted) = (padded(&CLEAN[..2])?, padded(&CORRUPTED[..2])?);
    let graph = model.chained_graph_with(dictionaries()?, clean, corrupted, metric(&model, 0..2)?, options())?;
    assert_eq!(graph.tokens(), bare.tokens());
    let size = size(&bare);
    let (own, wanted) = (by_key(graph.edges()), by_key(bare.edges()));
    assert_eq!(own.len(), wanted.len());
    for (key, edge) in wanted {
        assert!((own[&key].metric - edge.metric).abs() < ROUNDING * size, "{edge}");
    }
    Ok(())
}

#[test]
fn what_has_no_meaning_is_refused() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let two = [CLEAN[0], "When John and Mary went to the shops, John gave it to"];
    let metric = || -> Result<Metric> { Ok(Metric::logit_diff(&model.answers([(" Mary", " John"); 2])?)) };
    sentence(
        model.chained_graph(dictionaries()?, two, Baseline::Zero, metric()?),
        &["prompt 0 has 15 tokens", "prompt 1 has 14"],
    );
    let same = [CLEAN[0]; 2];
    sentence(model.chained_graph(dictionaries()?, same, two, metric()?), &["corrupted prompt 1 has 14 tokens", "15"]);
    sentence(model.chained_graph(dictionaries()?, same, CORRUPTED[0], metric()?), &["2 clean and 1 corrupted"]);
    for baseline in [Baseline::mean(MeanOver::BatchAndPos), Baseline::MeanByGroup(vec![0, 0]), Baseline::Resample(1)] {
        sentence(model.chained_graph(dictionaries()?, same, baseline, metric()?), &["Baseline::Zero or prompts"]);
    }
    let with = |options| model.chained_graph_with(dictionaries()?, same, Baseline::Zero, metric()?, options);
    for threshold in [-0.1, f32::NAN, f32::INFINITY] {
        sentence(with(ChainOptions { threshold, ..ChainOptions::default() }), &["threshold", &threshold.to_string()]);
    }
    sentence(with(ChainOptions { most_edges: Some(0), ..ChainOptions::default() }), &["0 edges"]);
    sentence(with(ChainOptions { most_nodes: Some(0), ..ChainOptions::default() }), &["0 nodes"]);
    sentence(with(ChainOptions { first_position: Some(15), ..ChainOptions::default() }), &["position 15"]);
    Ok(())
}
