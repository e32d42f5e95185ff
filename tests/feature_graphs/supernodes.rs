//! Groups of nodes: their graph is the graph itself where every node is its own group, keeps its sums and its influence whatever the
//! groups, and has the shares that circuit-tracer's frontend draws.

use candle_lens::Result;
use candle_lens::feature_graphs::{BiasOf, GraphNode, GraphOptions, GraphTargets, GroupNode};
use candle_lens::prelude::*;

use crate::support::sentence::sentence;

/// Sums of some hundred products in f32, relative to the largest value of the graph.
const ROUNDING: f64 = 2e-5;

/// Sums of shares in f64 of numbers in f32.
const SHARES: f64 = 1e-9;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

/// A graph with all kinds of nodes but those of attention.
fn graph() -> Result<AttributionGraph> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let transcoders = DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
    let options = GraphOptions { most_features: Some(60), ..Default::default() };
    model.attribution_graph_with(transcoders, PROMPT, GraphTargets::tokens([" Mary", " John", " the"]), options)
}

fn targets(graph: &AttributionGraph) -> Vec<GraphNode> {
    (0..graph.targets().len()).map(|number| GraphNode::Target { number }).collect()
}

fn all(graph: &AttributionGraph) -> Vec<GraphNode> {
    graph.sources().into_iter().chain(targets(graph)).collect()
}

/// Whether edges lead into a node.
fn is_explained(graph: &AttributionGraph, node: GraphNode) -> bool {
    graph.edges_into(node).is_ok()
}

#[test]
fn the_graph_of_single_nodes_is_the_graph_itself() -> Result<()> {
    let graph = graph()?;
    let alone = graph.supernodes().pin(all(&graph))?.collapse();
    let mut groups = graph.supernodes();
    for node in all(&graph) {
        groups = groups.group(node.id(), [node])?;
    }
    let grouped = groups.collapse();
    assert_eq!(alone.nodes().len(), all(&graph).len());
    assert_eq!(grouped.nodes().len(), all(&graph).len());
    let influence = graph.influence();
    for target in all(&graph).into_iter().filter(|&node| is_explained(&graph, node)) {
        assert_eq!(alone.value(target)?, graph.value(target)?);
        assert_eq!(grouped.value(target.id())?, graph.value(target)?);
        let edges = graph.edges_into(target)?;
        let sum: f64 = edges.iter().map(|edge| f64::from(edge.weight.abs())).sum();
        for edge in edges {
            let own = alone.edge(edge.source, target)?;
            assert_eq!(own.weight, edge.weight);
            assert!((own.share - f64::from(edge.weight) / sum).abs() < SHARES, "{own}");
            let same = grouped.edge(edge.source.id(), target.id())?;
            assert_eq!((same.weight, same.share, same.influence), (own.weight, own.share, own.influence));
        }
    }
    for source in graph.sources() {
        assert!((alone.influence(source)? - influence.of(source)?).abs() < SHARES);
    }
    assert_eq!(alone.edges().iter().filter(|edge| edge.weight != 0.0).count(), graph.edges().len());
    Ok(())
}

/// Groups that leave some nodes to the rest: two layers, all errors, and two targets with a token.
fn grouped(graph: &AttributionGraph) -> Result<Supernodes> {
    let is = |wanted: fn(&GraphNode) -> bool| graph.sources().into_iter().filter(wanted);
    graph
        .supernodes()
        .group("early", is(|node| matches!(node, GraphNode::Feature { layer: 0 | 1, .. })))?
        .group("errors", is(|node| matches!(node, GraphNode::Error { .. })))?
        .group("names", targets(graph).into_iter().take(2).chain([GraphNode::Token { pos: 2 }]))?
        .pin([GraphNode::Token { pos: 4 }, GraphNode::Bias(BiasOf::Attention), GraphNode::LeftOut])
}

#[test]
fn sums_and_influence_are_kept_by_any_groups() -> Result<()> {
    let graph = graph()?;
    let collapsed = grouped(&graph)?.collapse();
    let influence = graph.influence();
    assert!(collapsed.nodes().contains(&GroupNode::Rest));
    let largest = targets(&graph).into_iter().map(|node| graph.value(node).unwrap_or(0.0).abs()).fold(1.0, f32::max);
    let mut members = 0;
    for node in collapsed.nodes() {
        let own = collapsed.members(node.clone())?;
        members += own.len();
        let total = |into: bool, what: fn(&GroupEdge) -> f64| -> f64 {
            let of = |edge: &&GroupEdge| if into { edge.target == node } else { edge.source == node };
            collapsed.edges().iter().filter(of).map(what).sum()
        };
        let explained: Vec<GraphNode> = own.iter().copied().filter(|&node| is_explained(&graph, node)).collect();
        if explained.is_empty() {
            assert!(collapsed.value(node.clone()).is_err());
        } else {
            let value = explained.iter().map(|&node| graph.value(node)).sum::<Result<f32>>()?;
            let slack = ROUNDING * f64::from(largest) * explained.len() as f64;
            assert!((f64::from(collapsed.value(node.clone())?) - f64::from(value)).abs() < slack, "{node}");
            assert!((total(true, |edge| f64::from(edge.weight)) - f64::from(value)).abs() < slack, "{node}");
        }
        // What flows out is the influence of the sources among the members; what flows in, of those that are explained.
        let of_sources: f64 = own.iter().filter_map(|&node| influence.of(node).ok()).sum();
        assert!((total(false, |edge| edge.influence) - of_sources).abs() < SHARES, "{node}");
        let weights = collapsed.influence(node.clone())? - of_sources;
        let through: f64 = explained.iter().filter_map(|&node| influence.of(node).ok()).sum::<f64>() + weights;
        assert!((total(true, |edge| edge.influence) - through).abs() < SHARES, "{node}");
    }
    assert_eq!(members, all(&graph).len());
    Ok(())
}

/// The loops of `renderSubgraph` in circuit-tracer 0.5's init-cg-subgraph.js, over pairs of nodes.
#[test]
fn shares_are_those_that_circuit_tracer_draws() -> Result<()> {
    let graph = graph()?.without_biases();
    let early: Vec<GraphNode> =
        graph.sources().into_iter().filter(|node| matches!(node, GraphNode::Feature { layer: 0 | 1, .. })).collect();
    let late: Vec<GraphNode> =
        graph.sources().into_iter().filter(|node| matches!(node, GraphNode::Feature { layer: 1..=3, .. })).collect();
    // The second group has edges between its own members.
    let (early, late) = (&early[..12], &late[late.len() - 20..]);
    let target = GraphNode::Target { number: 0 };
    let late: Vec<GraphNode> = late.iter().copied().filter(|node| !early.contains(node)).collect();
    let collapsed = graph.supernodes().group("early", early.to_vec())?.group("late", late.clone())?.collapse();
    let drawn = |sources: &[GraphNode], targets: &[GraphNode]| -> Result<f64> {
        let (mut weighting, mut parts) = (Vec::new(), Vec::new());
        for &target in targets {
            let edges = graph.edges_into(target)?;
            let sum = |edges: &dyn Fn(&GraphEdge) -> bool| -> f64 {
                edges_of(&graph, target)
                    .iter()
                    .filter(|edge| edges(edge))
                    .map(|edge| f64::from(edge.weight.abs()))
                    .sum()
            };
            let outside = sum(&|edge| !targets.contains(&edge.source));
            weighting.push(outside / sum(&|_| true));
            let own = edges.iter().filter(|edge| sources.contains(&edge.source));
            parts.push(own.map(|edge| f64::from(edge.weight) / outside).sum::<f64>());
        }
        let total: f64 = weighting.iter().sum();
        Ok(weighting.iter().zip(&parts).map(|(weighting, part)| part * weighting / total).sum())
    };
    let inside = collapsed.edge("late", "late")?;
    assert!(inside.weight != 0.0, "the group has edges between its members");
    for (edge, theirs) in [
        (collapsed.edge("early", "late")?, drawn(early, &late)?),
        (collapsed.edge("late", target)?, drawn(&late, &[target])?),
        (collapsed.edge("early", target)?, drawn(early, &[target])?),
    ] {
        assert!((edge.share - theirs).abs() < SHARES, "{edge}, and {theirs} there");
        assert!(edge.share != 0.0);
    }
    Ok(())
}

fn edges_of(graph: &AttributionGraph, target: GraphNode) -> Vec<GraphEdge> {
    graph.edges_into(target).unwrap_or_default()
}

#[test]
fn groups_pins_and_labels_are_kept_and_mistakes_are_named() -> Result<()> {
    let graph = graph()?;
    let [a, b, c] = graph.sources()[..3] else { panic!("three nodes") };
    let groups = graph.supernodes().group("S2", [a, b])?.label(a, "the subject again")?.pin([c])?;
    assert_eq!((groups.group_of(b), groups.group_of(c)), (Some("S2".into()), None));
    assert_eq!(groups.pinned(), [a, b, c]);
    assert_eq!(groups.name_of(a), "the subject again");
    assert_eq!(groups.name_of(GraphNode::Target { number: 0 }), " Mary");
    assert_eq!(groups.label(a, "")?.labels().len(), 0);
    let renamed = groups.rename("S2", "subject")?;
    assert_eq!(renamed.groups()[0].nodes, [a, b]);
    assert_eq!(renamed.ungroup("subject")?.pinned(), [a, b, c]);
    assert_eq!(renamed.rename("subject", "S2")?, groups);
    assert_eq!(groups.unpin([c])?.pin([c])?, groups);
    let stranger = GraphNode::Feature { layer: 9, pos: 0, feature: 1 };
    for (wrong, says) in [
        (groups.group("other", []), "no members"),
        (groups.group("other", [stranger]), "feature 9/1 at 0 is not a node"),
        (groups.group("other", [GraphNode::Target { number: 3 }]), "target 3 is not a node"),
        (groups.group("other", [c, a]), "in the group \"S2\""),
        (groups.group("other", [c, c]), "twice"),
        (groups.group("S2", [c]), "already"),
        (groups.group("", [c]), "a group has a name"),
        (groups.rename("S1", "S3"), "there are \"S2\""),
        (groups.group("S1", [c])?.rename("S1", "S2"), "already"),
        (groups.rename("S2", ""), "a group has a name"),
        (groups.ungroup("S1"), "no group \"S1\""),
        (groups.pin([stranger]), "not a node"),
        (groups.unpin([stranger]), "not pinned"),
        (groups.unpin([a]), "whose members are pinned"),
        (groups.label(stranger, "x"), "not a node"),
    ] {
        sentence(wrong, &[says]);
    }
    let collapsed = groups.collapse();
    for wrong in [collapsed.value("S1"), collapsed.value(a), collapsed.edge("S2", stranger).map(|edge| edge.weight)] {
        sentence(wrong, &["before collapse()"]);
    }
    Ok(())
}

#[test]
fn every_node_has_one_id() -> Result<()> {
    let mut nodes = all(&graph()?);
    nodes.push(GraphNode::AttnFeature { layer: 3, pos: 0, feature: 24_575 });
    nodes.push(GraphNode::AttnError { layer: 0, pos: 10 });
    nodes.extend(
        [BiasOf::Attention, BiasOf::Norms, BiasOf::Decoders, BiasOf::Target, BiasOf::FirstPositions]
            .map(GraphNode::Bias),
    );
    for node in &nodes {
        assert_eq!(node.id().parse::<GraphNode>()?, *node, "{}", node.id());
    }
    let mut ids: Vec<String> = nodes.iter().map(GraphNode::id).collect();
    ids.sort();
    ids.dedup();
    nodes.sort();
    nodes.dedup();
    assert_eq!(ids.len(), nodes.len());
    assert_eq!("E_464_5".parse::<GraphNode>()?, GraphNode::Token { pos: 5 });
    for wrong in [
        "",
        "_",
        "1_2",
        "01_2_3",
        "1_2_+3",
        "1_-2_3",
        "b1_2_3",
        "a_1_2",
        "E_",
        "E_-1",
        "T_x",
        "1_2_3_4",
        "1_2_99999999999999999999",
        "bias",
        "Ä_1_2",
    ] {
        sentence(wrong.parse::<GraphNode>(), &["not the id of a node"]);
    }
    Ok(())
}
