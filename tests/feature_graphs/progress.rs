//! Interventions on features say how far they are (tests/progress.rs).

use candle_lens::Result;
use candle_lens::feature_graphs::{ChainedEdge, EditMode, GraphNode, GraphTargets};
use candle_lens::prelude::*;

use super::sums::{Kind, transcoder};
use crate::progress::{finish, new_walk};

const PROMPT: &str = "When John and Mary went, John gave it to";

#[test]
fn interventions() -> Result<()> {
    let (mut walk, model) = (new_walk(), HookedTransformer::from_pretrained("tiny")?);
    let set = DictionarySet::open("tiny")?;
    let dictionaries = [set.get("z0")?, set.get("mlp0")?, set.get("z1")?, set.get("mlp1")?];
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let graph = model.chained_graph(&dictionaries, PROMPT, Baseline::Zero, metric.clone())?;
    let test = walk.watched("test_in", || graph.test_in(&model, &dictionaries, PROMPT, Baseline::Zero, metric.clone()));
    let features = graph.nodes().into_iter().map(|node| node.node).filter(GraphNode::is_feature);
    let features: Vec<GraphNode> = features.take(40).collect();
    walk.watched("ChainedTest::nodes", || test.nodes(features.clone(), EditMode::Free));
    let between = |edge: &ChainedEdge| edge.source.is_feature() && edge.target.is_feature();
    let edges: Vec<ChainedEdge> = graph.edges().into_iter().filter(between).take(20).collect();
    walk.watched("ChainedTest::edges", || test.edges(edges.clone(), EditMode::Free));
    let ranking = NodeRanking::per_prompt([graph.ranking()])?;
    walk.watched("top_each", || ranking.top_each(&[20, 10, 5]));

    let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "mlp.hook_in", Kind::Plain));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    let targets = || GraphTargets::difference(" Mary", " John");
    let graph = model.attribution_graph(&dictionaries, PROMPT, targets())?;
    let features: Vec<GraphNode> = graph.sources().into_iter().filter(GraphNode::is_feature).take(20).collect();
    walk.watched("compare_graph", || {
        model.compare_graph(&graph, &dictionaries, PROMPT, targets(), &features, EditMode::Held)
    });
    finish(walk, 5);
    Ok(())
}
