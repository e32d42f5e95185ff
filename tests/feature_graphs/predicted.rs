//! What linear graphs predict of edits: against held runs, a matrix, and runs in which features are live and nothing else is.

use candle_lens::Result;
use candle_lens::feature_graphs::{EditMode, FeatureEditOptions, FeatureEdits, GraphNode, GraphTargets};
use candle_lens::prelude::*;

use super::sums::{Kind, transcoder};

/// Sums of some hundred edges in f32; values are below 30.
const ROUNDING: f32 = 1e-4;

/// Of a change by a thousandth, relative to the largest: features turn on or off nowhere, but f32 has seven digits.
const SMALL_CHANGE: f32 = 2e-2;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

fn targets() -> GraphTargets {
    GraphTargets::difference(" Mary", " John")
}

fn features(graph: &AttributionGraph) -> Vec<GraphNode> {
    graph.sources().into_iter().filter(|node| matches!(node, GraphNode::Feature { .. })).collect()
}

/// Some edits of a graph's features, of all kinds.
fn edits(graph: &AttributionGraph) -> FeatureEdits {
    let features = features(graph);
    let (count, at) = (features.len(), |share: f64| features[(features.len() as f64 * share) as usize]);
    assert!(count > 40, "{count} features");
    FeatureEdits::new().ablate(at(0.1)).scale(at(0.3), 2.5).set(at(0.35), 0.7).scale(at(0.1), 3.0).ablate(at(0.6))
}

#[test]
fn a_held_run_moves_every_target_by_its_edges() -> Result<()> {
    for (processing, kind) in [
        (Processing::NONE, Kind::Plain),
        (Processing::default(), Kind::Skip),
        (Processing::NONE, Kind::Gated),
        (Processing::default(), Kind::CrossLayer),
        (Processing::default(), Kind::Centred),
    ] {
        let model = HookedTransformer::from_pretrained_with("tiny", processing)?;
        let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "mlp.hook_in", kind));
        let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
        let graph = model.attribution_graph(&dictionaries, PROMPT, targets())?;
        let edits = edits(&graph);
        let predicted = graph.predict(&edits, EditMode::Held)?;
        let options = FeatureEditOptions::new(EditMode::Held).capture(("sae_acts_pre", "unembed_in"));
        let run = model.run_with_feature_edits(&dictionaries, PROMPT, &edits, options)?;
        let mut moved = 0;
        for node in features(&graph) {
            let GraphNode::Feature { layer, pos, feature } = node else { continue };
            let of = |cache: ActivationCache| -> Result<f32> {
                let pre = cache.get(("sae_acts_pre", layer as isize))?;
                Ok(pre.get(0)?.get(pos)?.get(feature)?.to_scalar()?)
            };
            let seen = of(run.after())? - of(run.before())?;
            assert!((seen - predicted.of(node)?).abs() < ROUNDING, "{kind:?}, {node}: {seen}");
            moved += usize::from(seen.abs() > ROUNDING);
        }
        assert!(moved > 20, "{kind:?}: {moved} features move");
        let direction = Target::from((" Mary", " John")).directions(&model)?;
        let change = (run.after().get("unembed_in")? - run.before().get("unembed_in")?)?.get(0)?;
        let seen = (change.get(change.dim(0)? - 1)? * direction.flatten_all()?)?.sum_all()?.to_scalar::<f32>()?;
        let own = predicted.of(GraphNode::Target { number: 0 })?;
        assert!((seen - own).abs() < ROUNDING, "{kind:?}: {seen}, not {own}");
        assert!(own.abs() > ROUNDING);
        assert_eq!(predicted.targets()?.values()[[0]], own);
    }
    Ok(())
}

#[test]
fn effects_on_all_paths_are_the_inverse_of_the_matrix() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "mlp.hook_in", Kind::CrossLayer));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    let graph = model.attribution_graph(&dictionaries, "When John and Mary went", targets())?;
    let features = features(&graph);
    let edited = features[features.len() / 3];
    let ablated = features[features.len() / 2];
    // x = A x + b to its fixed point, edited nodes pinned.
    let own = |node: GraphNode| -> Result<f64> { Ok(f64::from(graph.activation(node)?)) };
    let mut x = vec![0f64; features.len()];
    for _ in 0..6 {
        let mut next = Vec::new();
        for &target in &features {
            let mut sum = 0.0;
            for (&source, moved) in features.iter().zip(&x) {
                sum += f64::from(graph.edge(source, target)?) / own(source)? * moved;
            }
            next.push(match target {
                node if node == edited => 2.0 * (own(node)? + sum) - own(node)?,
                node if node == ablated => -own(node)?,
                _ => sum,
            });
        }
        x = next;
    }
    let target = GraphNode::Target { number: 0 };
    let mut total = 0.0;
    for (&source, moved) in features.iter().zip(&x) {
        total += f64::from(graph.edge(source, target)?) / own(source)? * moved;
    }
    let edits = FeatureEdits::new().scale(edited, 2.0).ablate(ablated);
    let predicted = graph.predict(&edits, EditMode::FrozenErrors)?.of(target)?;
    assert!((f64::from(predicted) - total).abs() < f64::from(ROUNDING), "{predicted}, not {total}");
    let held = graph.predict(&edits, EditMode::Held)?.of(target)?;
    assert!((held - predicted).abs() > ROUNDING, "there are paths through other features");
    Ok(())
}

#[test]
fn a_small_change_is_predicted_where_features_are_live() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "mlp.hook_in", Kind::Skip));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    let graph = model.attribution_graph(&dictionaries, PROMPT, targets())?;
    let mut plan = model.splice(&dictionaries, ErrorTerm::frozen(PROMPT))?.capture("unembed_in");
    let clean = model.run_with_hooks(PROMPT, HookPlan::new().capture_all().capture("unembed_in"))?.1;
    for layer in 0..4 {
        for site in ["attn.hook_pattern", "ln1.hook_scale", "ln2.hook_scale"] {
            let name = format!("blocks.{layer}.{site}");
            plan = plan.edit(name.as_str(), Edit::replace(clean.get(name.as_str())?));
        }
    }
    let plan = plan.edit("ln_final.hook_scale", Edit::replace(clean.get("ln_final.hook_scale")?));
    let direction = Target::from((" Mary", " John")).directions(&model)?.flatten_all()?;
    let last = clean.tokens().pos() - 1;
    let (mut worst, mut largest, mut through) = (0f32, 0f32, 0f32);
    for node in features(&graph).into_iter().step_by(11) {
        let GraphNode::Feature { layer, pos, feature } = node else { continue };
        let factor = 1.001f32;
        let scaled = Edit::scale(f64::from(factor)).feature(feature as isize).pos(pos as isize);
        let run = model.run_with_hooks(PROMPT, plan.clone().edit(("sae_acts_post", layer as isize), scaled))?.1;
        let change = (run.get("unembed_in")? - clean.get("unembed_in")?)?.get(0)?.get(last)?;
        let seen = (change * &direction)?.sum_all()?.to_scalar::<f32>()?;
        let edits = FeatureEdits::new().scale(node, factor);
        let target = GraphNode::Target { number: 0 };
        let predicted = graph.predict(&edits, EditMode::FrozenErrors)?.of(target)?;
        worst = worst.max((seen - predicted).abs());
        largest = largest.max(seen.abs());
        through = through.max((predicted - graph.predict(&edits, EditMode::Held)?.of(target)?).abs());
    }
    assert!(worst < SMALL_CHANGE * largest, "off by {worst} of {largest}");
    assert!(through > SMALL_CHANGE * largest, "paths through other features matter: {through} of {largest}");
    Ok(())
}

#[test]
fn comparisons_are_of_runs_and_refuse_other_graphs() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let transcoders = DictionarySet::open("tiny")?.transcoders()?;
    let graph = model.attribution_graph(&transcoders, PROMPT, targets())?;
    let nodes: Vec<GraphNode> = features(&graph).into_iter().step_by(9).take(20).collect();
    let held = model.compare_graph(&graph, &transcoders, PROMPT, targets(), &nodes, EditMode::Held)?;
    assert!(held.mean_miss < f64::from(ROUNDING), "{}", held.mean_miss);
    let free = model.compare_graph(&graph, &transcoders, PROMPT, targets(), &nodes, EditMode::Free)?;
    assert!(free.mean_miss > f64::from(ROUNDING), "a free run is not linear");
    let group = graph.supernodes().group("some", nodes[2..5].iter().copied())?.groups();
    let whole = FeatureEdits::from(&group[0]);
    assert_eq!((whole.nodes().len(), whole.to_string().as_str()), (3, "ablate some (3 edits)"));
    assert_eq!(
        graph.predict(&whole, EditMode::Held)?.targets()?.values()[[0]],
        graph.predict(&nodes[2..5], EditMode::Held)?.targets()?.values()[[0]]
    );
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    for (number, &node) in nodes.iter().enumerate().step_by(7) {
        let options = FeatureEditOptions::new(EditMode::Free).metric(&metric);
        let run = model.run_with_feature_edits(&transcoders, PROMPT, node, options)?.metric()?.values();
        let seen = run[[1, 0]] - run[[0, 0]];
        assert!((free.truth.values()[[number, 0]] - seen).abs() < ROUNDING, "{node}: {seen}");
        assert_eq!(free.estimate.values()[[number, 0]], graph.predict(node, EditMode::Free)?.targets()?.values()[[0]]);
    }
    let other = "When Mary and John went to the shops, John gave the bag to";
    let refused = |prompt: &str, targets: GraphTargets| {
        let result = model.compare_graph(&graph, &transcoders, prompt, targets, &nodes, EditMode::Free);
        result.expect_err("another graph").to_string()
    };
    assert!(refused(other, targets()).contains("tokens"));
    assert!(refused(PROMPT, GraphTargets::difference(" John", " Mary")).contains("targets"));
    let two = model.compare_graph(&graph, &transcoders, [PROMPT, other], targets(), &nodes, EditMode::Free);
    assert!(two.expect_err("two prompts").to_string().contains("one prompt"));
    let silent = GraphNode::Feature { layer: 0, pos: 0, feature: 0 };
    assert!(graph.predict(silent, EditMode::Free).is_err());
    assert!(graph.predict(FeatureEdits::new().only_in(1, nodes[0].into()), EditMode::Free).is_err());
    assert!(graph.predict(FeatureEdits::new().subtract_at(nodes[0], "resid_pre2"), EditMode::Free).is_err());
    Ok(())
}
