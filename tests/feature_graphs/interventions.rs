//! Graphs against interventions in the real model: what is measured is what runs made by hand do, and how well graphs rank it.

use candle_lens::Result;
use candle_lens::feature_graphs::{ChainedEdge, EdgeVia, EditMode, GraphNode, GraphTargets};
use candle_lens::prelude::*;

use super::chained::{autoencoder, of_all_parts, prompt};
use super::sums::Kind;
use crate::support::fixture;

/// A metric of some units in f32, once by copies of a prompt and once alone.
const ROUNDING: f32 = 2e-4;

/// How many nodes and edges are tried: those with the largest scores.
const MOST: usize = 32;

const IOI: &str = "When John and Mary went to the shops, John gave the bag to";
const CORRUPTED: &str = "When John and Mary went to the shops, Anna gave the bag to";
const GREATER: &str = "The war lasted from the year 1741 to the year 17";

fn dictionaries(set: &DictionarySet) -> Result<Vec<Dictionary>> {
    (0..4).flat_map(|layer| [format!("z{layer}"), format!("mlp{layer}")]).map(|name| set.get(&name)).collect()
}

/// The point of a feature's activations.
fn acts(node: GraphNode) -> (String, isize, isize) {
    match node {
        GraphNode::Feature { layer, pos, feature } => {
            (format!("blocks.{layer}.hook_mlp_out.hook_sae_acts_post"), pos as isize, feature as isize)
        }
        GraphNode::AttnFeature { layer, pos, feature } => {
            (format!("blocks.{layer}.attn.hook_z.hook_sae_acts_post"), pos as isize, feature as isize)
        }
        other => unreachable!("{other} is not a feature"),
    }
}

fn set(plan: HookPlan, node: GraphNode, value: f32) -> Result<HookPlan> {
    let (point, pos, feature) = acts(node);
    let value = Tensor::new(value, &Device::Cpu)?;
    Ok(plan.edit(point.as_str(), Edit::replace(value).pos(pos).feature(feature)))
}

fn read(cache: &ActivationCache, node: GraphNode) -> Result<f32> {
    let (point, pos, feature) = acts(node);
    Ok(cache.get(point.as_str())?.get(0)?.get(pos as usize)?.get(feature as usize)?.to_scalar()?)
}

/// What one unit of a feature writes into the residual stream.
fn direction(model: &HookedTransformer, dictionaries: &[Dictionary], node: GraphNode) -> Result<Tensor> {
    Ok(match node {
        GraphNode::Feature { layer, feature, .. } => {
            dictionaries[2 * layer + 1].for_model(model)?.w_dec().get(feature)?.to_dtype(DType::F32)?
        }
        GraphNode::AttnFeature { layer, feature, .. } => {
            let row = dictionaries[2 * layer].for_model(model)?.w_dec().get(feature)?.to_dtype(DType::F32)?;
            let w_o = model.weight(&format!("blocks.{layer}.attn.W_O"))?.flatten(0, 1)?;
            row.unsqueeze(0)?.matmul(&w_o)?.squeeze(0)?
        }
        other => unreachable!("{other} is not a feature"),
    })
}

/// The logit difference of the only prompt.
fn difference(model: &HookedTransformer, logits: &Tensor) -> Result<f32> {
    let last = logits.get(0)?.get(logits.dim(1)? - 1)?.to_vec1::<f32>()?;
    Ok(last[model.to_single_token(" Mary")? as usize] - last[model.to_single_token(" John")? as usize])
}

fn between(edge: &ChainedEdge) -> bool {
    edge.source.is_feature() && edge.target.is_feature()
}

#[test]
fn edges_are_patched_and_nodes_taken_to_their_baseline_as_by_hand() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = dictionaries(&DictionarySet::open("tiny")?)?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let points: Vec<String> = ["attn.hook_z", "hook_mlp_out"]
        .iter()
        .flat_map(|site| (0..4).map(move |layer| format!("blocks.{layer}.{site}.hook_sae_acts_post")))
        .collect();
    let points: Vec<&str> = points.iter().map(String::as_str).collect();
    let plan = model.splice(&dictionaries, ErrorTerm::Recomputed)?;
    let of = |plan: HookPlan| model.run_with_hooks(IOI, plan.capture(points.clone()));
    for baseline in [None, Some(CORRUPTED)] {
        let from = || baseline.map_or(Baseline::Zero, Baseline::from);
        let graph = model.chained_graph(&dictionaries, IOI, from(), metric.clone())?;
        let test = graph.test_in(&model, &dictionaries, IOI, from(), metric.clone())?;
        let (logits, clean) = of(plan.clone())?;
        let clean_metric = difference(&model, &logits)?;
        let base = baseline.map(|text| model.run_with_hooks(text, plan.clone().capture(points.clone()))).transpose()?;
        let base = |node| base.as_ref().map_or(Ok(0.0), |(_, cache)| read(cache, node));

        let nodes: Vec<GraphNode> = graph.nodes().iter().map(|node| node.node).filter(GraphNode::is_feature).collect();
        let nodes: Vec<GraphNode> = nodes.into_iter().step_by(3).take(20).collect();
        let measured = test.nodes(nodes.clone(), EditMode::Free)?;
        for (number, &node) in nodes.iter().enumerate().step_by(4) {
            let lost = clean_metric - difference(&model, &of(set(plan.clone(), node, base(node)?)?)?.0)?;
            let miss = (lost - measured.truth.values()[[number]]).abs();
            assert!(miss < ROUNDING, "{node}: {lost}, not {}", measured.truth.values()[[number]]);
        }

        for via in [EdgeVia::Mlp, EdgeVia::Ov, EdgeVia::Q, EdgeVia::K, EdgeVia::Direct] {
            let is_of = |edge: &ChainedEdge| {
                edge.via == via && (between(edge) || via == EdgeVia::Direct && edge.source.is_feature())
            };
            let edges: Vec<ChainedEdge> = graph.edges().into_iter().filter(is_of).take(3).collect();
            let measured = test.edges(edges.clone(), EditMode::Free)?;
            for (number, edge) in edges.iter().enumerate() {
                let change = read(&clean, edge.source)? - base(edge.source)?;
                let written = (direction(&model, &dictionaries, edge.source)? * f64::from(-change))?;
                let (_, pos, _) = acts(edge.source);
                let hook = match (via, edge.target) {
                    (EdgeVia::Mlp, GraphNode::Feature { layer, .. }) => format!("mlp_in{layer}"),
                    (EdgeVia::Ov, GraphNode::AttnFeature { layer, .. }) => format!("v_input{layer}"),
                    (EdgeVia::Q, GraphNode::AttnFeature { layer, .. }) => format!("q_input{layer}"),
                    (EdgeVia::K, GraphNode::AttnFeature { layer, .. }) => format!("k_input{layer}"),
                    _ => "resid_post3".into(),
                };
                let (logits, without) = of(plan.clone().edit(hook.as_str(), Edit::add(written).pos(pos)))?;
                let logits = match via {
                    EdgeVia::Direct => logits,
                    _ => of(set(plan.clone(), edge.target, read(&without, edge.target)?)?)?.0,
                };
                let lost = clean_metric - difference(&model, &logits)?;
                let own = measured.truth.values()[[number]];
                assert!((lost - own).abs() < ROUNDING, "{edge}: {lost}, not {own}");
                assert_eq!(measured.estimate.values()[[number]], edge.metric);
            }
        }
    }
    Ok(())
}

/// Spearman's correlations that are reached at least: of nodes of the linear graph, of nodes and edges of the chained one; both free. What
/// is measured with twice as many nodes, and edge by kind of edge, is in docs/dictionaries.md.
struct Floors {
    linear: f64,
    nodes: f64,
    edges: f64,
}

#[test]
fn graphs_rank_what_interventions_do() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let (all, transcoders) = (dictionaries(&set)?, set.transcoders()?);
    for (name, prompt, answers, floors) in [
        ("IOI", IOI, (" Mary", " John"), Floors { linear: 0.3, nodes: 0.6, edges: 0.5 }),
        ("greater-than", GREATER, ("79", "21"), Floors { linear: 0.6, nodes: 0.2, edges: 0.4 }),
    ] {
        let targets = GraphTargets::difference(answers.0, answers.1);
        let graph = model.attribution_graph(&transcoders, prompt, targets.clone())?;
        let ranked = graph.influence().ranked().into_iter().map(|(node, _)| node);
        let nodes: Vec<GraphNode> = ranked.filter(GraphNode::is_feature).take(MOST).collect();
        let own = model.compare_graph(&graph, &transcoders, prompt, targets, &nodes, EditMode::Free)?;
        assert!(own.spearman > floors.linear, "{name}, linear: {}", own.spearman);
        let metric = Metric::logit_diff(&model.answers([answers])?);
        let chained = model.chained_graph(&all, prompt, Baseline::Zero, metric.clone())?;
        let test = chained.test_in(&model, &all, prompt, Baseline::Zero, metric)?;
        let nodes = chained.nodes().into_iter().map(|node| node.node).filter(GraphNode::is_feature).take(MOST);
        let own = test.nodes(nodes, EditMode::Free)?;
        assert!(own.spearman > floors.nodes, "{name}, nodes: {}", own.spearman);
        let edges = chained.edges().into_iter().filter(between).take(MOST);
        let own = test.edges(edges, EditMode::Free)?;
        assert!(own.spearman > floors.edges, "{name}, edges: {}", own.spearman);
    }
    Ok(())
}

#[test]
fn a_graph_is_tested_with_the_baseline_that_it_was_made_with() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = dictionaries(&DictionarySet::open("tiny")?)?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let another = "When John and Mary went to the shops, Paul gave the bag to";
    let baseline = |text: Option<&str>| text.map_or(Baseline::Zero, Baseline::from);
    for made in [None, Some(CORRUPTED)] {
        let graph = model.chained_graph(&dictionaries, IOI, baseline(made), metric.clone())?;
        for tested in [None, Some(CORRUPTED), Some(another)] {
            let test = graph.test_in(&model, &dictionaries, IOI, baseline(tested), metric.clone());
            assert_eq!(test.is_ok(), made == tested, "made from {made:?}, tested from {tested:?}");
        }
    }
    Ok(())
}

/// An edge goes through the skip connections of the MLPs in between, and what a patch takes away would not.
#[test]
fn edges_through_skip_connections_are_not_patched() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let skip = of_all_parts(&model, "mlp.hook_in", Kind::Skip)?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let graph = model.chained_graph(&skip, IOI, Baseline::Zero, metric.clone())?;
    let test = graph.test_in(&model, &skip, IOI, Baseline::Zero, metric)?;
    let edges: Vec<ChainedEdge> = graph.edges().into_iter().filter(between).take(4).collect();
    let refused = test.edges(edges, EditMode::Free).expect_err("they have skip connections");
    assert!(refused.to_string().contains("skip connection"), "{refused}");
    Ok(())
}

/// There the MLP of a layer does not read what its attention writes.
#[test]
fn in_parallel_blocks_nothing_is_subtracted_from_what_an_mlp_never_read() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing(fixture::path("families/gptj").to_string_lossy())?;
    let of_z = autoencoder(&model, 0, Activation::Relu)?;
    let node = |feature| GraphNode::AttnFeature { layer: 0, pos: 3, feature };
    let run = |feature, hook: (&str, isize)| {
        let edits = FeatureEdits::new().subtract_at(node(feature), hook);
        model.run_with_feature_edits(&of_z, &prompt()?, edits, EditMode::Free)
    };
    let refused = run(0, ("mlp_in", 0)).expect_err("the same stream");
    assert!(refused.to_string().contains("read the same residual stream"), "{refused}");
    assert!((0..24).any(|feature| run(feature, ("resid_post", 0)).is_ok()));
    Ok(())
}
