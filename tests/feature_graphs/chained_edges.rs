//! Single edges of chained graphs against candle's gradients where attention and MLPs read the residual stream, in every family and on
//! random architectures; and against runs in which patterns and scales are held and a source writes more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_lens::Result;
use candle_lens::feature_graphs::{ChainedEdge, ChainedGraph, ChainedNode, EdgeVia, GraphNode};
use candle_lens::prelude::*;

use super::chained::{ROUNDING, check, graph, largest, of_all_parts, point_of, prompt};
use super::sums::Kind;
use crate::model::random_architectures;
use crate::support::damage::{Damage, cases};
use crate::support::fixture;

/// Moved pre-activations are differences of two runs in f32.
const MOVED: f32 = 1e-4;

/// As [`ROUNDING`], where weights are large and no norm keeps the residual stream small.
const LARGE: f32 = 1e-4;

/// What one unit of each source writes to the residual stream, where no norm follows it: features by their decoder's rows, tokens by
/// their embeddings.
struct Writes<'a> {
    model: &'a HookedTransformer,
    dictionaries: BTreeMap<String, &'a Dictionary>,
    embed: Tensor,
}

impl<'a> Writes<'a> {
    fn new(model: &'a HookedTransformer, dictionaries: &'a [Dictionary], tokens: &Tokens) -> Result<Self> {
        let by_point = dictionaries.iter().map(|own| (own.expects().writes().expect("a point").to_string(), own));
        let embed = model.run_with_hooks(tokens, HookPlan::new().capture("embed"))?.1.get("embed")?.get(0)?;
        Ok(Self { model, dictionaries: by_point.collect(), embed })
    }

    fn of(&self, node: GraphNode) -> Result<Option<(usize, Tensor)>> {
        Ok(match node {
            GraphNode::Token { pos } => Some((pos, self.embed.get(pos)?)),
            GraphNode::Feature { pos, feature, .. } => {
                let (point, ..) = point_of(node).expect("a feature");
                Some((pos, self.dictionaries[&point].w_dec().get(feature)?))
            }
            GraphNode::AttnFeature { layer, pos, feature } if !self.model.dims().norms_after => {
                let (point, ..) = point_of(node).expect("a feature");
                let w_o = self.model.W_O()?.get(layer)?.flatten(0, 1)?;
                let row = self.dictionaries[&point].w_dec().get(feature)?;
                Some((pos, row.unsqueeze(0)?.matmul(&w_o)?.squeeze(0)?))
            }
            _ => None,
        })
    }
}

/// The site at which edges of a kind arrive.
fn read_at(via: EdgeVia, layer: usize) -> String {
    let site = match via {
        EdgeVia::Mlp | EdgeVia::Direct => "hook_mlp_in",
        EdgeVia::Ov => "hook_v_input",
        EdgeVia::Q => "hook_q_input",
        EdgeVia::K => "hook_k_input",
    };
    format!("blocks.{layer}.{site}")
}

fn layer_of(node: GraphNode) -> usize {
    match node {
        GraphNode::Feature { layer, .. } | GraphNode::AttnFeature { layer, .. } => layer,
        _ => panic!("{node} is in no layer"),
    }
}

/// Some features with edges, of both kinds, in all layers.
fn targets(graph: &ChainedGraph) -> Vec<GraphNode> {
    let mut by_layer: BTreeMap<(usize, bool), Vec<GraphNode>> = BTreeMap::new();
    for ChainedNode { node, .. } in graph.nodes() {
        if point_of(node).is_some() {
            let is_mlp = matches!(node, GraphNode::Feature { .. });
            by_layer.entry((layer_of(node), is_mlp)).or_default().push(node);
        }
    }
    by_layer.into_values().flat_map(|nodes| nodes.into_iter().step_by(7).take(2)).collect()
}

/// Whether a feature or token writes to what the target reads.
fn is_before(model: &HookedTransformer, source: GraphNode, target: GraphNode) -> bool {
    match (source, target) {
        (GraphNode::Token { .. }, _) => true,
        (GraphNode::AttnFeature { layer, .. }, GraphNode::Feature { layer: own, .. }) => {
            layer < own || (layer == own && !model.cfg().parallel_attn_mlp)
        }
        (GraphNode::Feature { layer, .. } | GraphNode::AttnFeature { layer, .. }, _) => layer < layer_of(target),
        _ => false,
    }
}

/// The edges into some features against the gradients of their pre-activations where these read.
fn check_edges(
    model: &HookedTransformer,
    dictionaries: &[Dictionary],
    (tokens, tolerance): (&Tokens, f32),
    what: &str,
) -> Result<usize> {
    let graph = graph(model, dictionaries, tokens)?;
    let changes: BTreeMap<GraphNode, f32> = graph.nodes().iter().map(|node| (node.node, node.change)).collect();
    let mut into: BTreeMap<GraphNode, BTreeMap<(EdgeVia, GraphNode), f32>> = BTreeMap::new();
    for ChainedEdge { source, target, via, local, .. } in graph.edges() {
        into.entry(target).or_default().insert((via, source), local);
    }
    let writes = Writes::new(model, dictionaries, tokens)?;
    let held = model.with_frozen([Frozen::NormScales]).without_weight_gradients();
    let mut checked = 0;
    for target in targets(&graph) {
        let (point, pos, feature) = point_of(target).expect("a feature");
        let pre = format!("{point}.hook_sae_acts_pre");
        let vias = match target {
            GraphNode::Feature { .. } => vec![EdgeVia::Mlp],
            _ => vec![EdgeVia::Ov, EdgeVia::Q, EdgeVia::K],
        };
        let mut plan = model.splice(dictionaries, ErrorTerm::Recomputed)?.capture(pre.as_str());
        for &via in &vias {
            plan = plan.watch(read_at(via, layer_of(target)));
        }
        let run = held.run(tokens, plan, RunOptions::default())?;
        let pre = run.captured.iter().find(|(point, _)| point.to_string() == pre).expect("captured").1;
        let pre = pre.i((0, pos, feature))?;
        let gradients = run.taps.gradients(&pre)?;
        for via in vias {
            let gradient = match gradients.get(read_at(via, layer_of(target))) {
                Ok(gradient) if gradient.rank() == 4 => gradient.get(0)?.sum(1)?,
                Ok(gradient) => gradient.get(0)?,
                // A single key: nothing else could be attended to.
                Err(_) => Tensor::zeros((tokens.pos(), model.cfg().d_model), DType::F32, &Device::Cpu)?,
            };
            let (mut pairs, none) = (Vec::new(), BTreeMap::new());
            let edges = into.get(&target).unwrap_or(&none);
            for (&source, change) in &changes {
                let found = edges.get(&(via, source)).copied().unwrap_or(0.0);
                let Some((at, row)) = writes.of(source)? else { continue };
                let wanted = match is_before(model, source, target) {
                    true => (gradient.get(at)? * row)?.sum_all()?.to_scalar::<f32>()? * change,
                    false => 0.0,
                };
                pairs.push((source, found, wanted));
            }
            // Edges along queries and keys are differences of pre-activations, which are about 1.
            let size = largest(pairs.iter().map(|(_, _, wanted)| *wanted)).max(0.2);
            for (source, found, wanted) in pairs {
                let miss = (found - wanted).abs() / size;
                assert!(miss < tolerance, "{what}: {source} -> {target} ({via}): {found}, candle {wanted}");
                checked += usize::from(wanted != 0.0);
            }
        }
    }
    Ok(checked)
}

#[test]
fn edges_are_candles_gradients_in_every_family() -> Result<()> {
    let families = std::fs::read_dir(fixture::path("families")).expect("the families");
    let mut checked = 0;
    for family in families.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()) {
        let model = HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?;
        let all = of_all_parts(&model, "mlp.hook_in", Kind::Plain)?;
        checked += check_edges(&model, &all, (&prompt()?, ROUNDING), &family.display().to_string())?;
    }
    assert!(checked > 5000, "{checked} edges");
    Ok(())
}

#[test]
fn edges_are_candles_gradients_on_the_embedded_model() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
    let tokens = Tokens::from_rows(vec![vec![50, 31, 19, 17, 45, 99, 3, 250]])?;
    let checked = check_edges(&model, &all, (&tokens, ROUNDING), "tiny")?;
    assert!(checked > 1000, "{checked} edges");
    Ok(())
}

#[test]
fn edges_and_sums_are_right_on_random_architectures() -> Result<()> {
    let (mut tried, mut checked) = (0, 0);
    for seed in 0..cases(24) as u64 {
        let mut dice = Damage::new(7000 + seed);
        let cfg = random_architectures::config(&mut dice);
        if cfg.check().is_err() {
            continue;
        }
        let what = format!("seed {seed}, {cfg:?}");
        let model = random_architectures::model(cfg, seed)?;
        let all = of_all_parts(&model, "hook_mlp_in", Kind::Plain)?;
        check(&model, &all, (&prompt()?, LARGE), &what)?;
        checked += check_edges(&model, &all, (&prompt()?, LARGE), &what)?;
        tried += 1;
    }
    assert!(tried * 2 > cases(24) && checked > 1000, "{tried} architectures, {checked} edges");
    Ok(())
}

/// A run in which the source writes `more` to what one layer reads, and the layer's patterns and scales keep their values.
fn held(
    clean: &ActivationCache,
    model: &HookedTransformer,
    layer: usize,
    (pos, more): (usize, &Tensor),
) -> Result<ActivationCache> {
    let add = Edit::add(more.clone()).pos(pos as isize);
    let mut plan = HookPlan::new().capture_all().edit(("resid_pre", layer as isize), add);
    for site in ["attn.hook_pattern", "ln1.hook_scale", "ln2.hook_scale"] {
        let name = format!("blocks.{layer}.{site}");
        plan = plan.edit(name.as_str(), Edit::replace(clean.get(name.as_str())?));
    }
    // What attention adds is of attention's own features.
    let name = format!("blocks.{layer}.hook_attn_out");
    plan = plan.edit(name.as_str(), Edit::replace(clean.get(name.as_str())?));
    Ok(model.run_with_hooks(clean.tokens(), plan)?.1)
}

#[test]
fn a_source_that_writes_more_moves_features_by_its_edges_in_a_held_run() -> Result<()> {
    for processing in [Processing::NONE, Processing::default()] {
        let model = HookedTransformer::from_pretrained_with("tiny", processing)?;
        let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
        let tokens = prompt()?;
        let graph = graph(&model, &all, &tokens)?;
        let clean = model.run_with_cache(&tokens)?.1;
        let writes = Writes::new(&model, &all, &tokens)?;
        let pre = |cache: &ActivationCache, node: GraphNode| -> Result<f32> {
            let (point, pos, feature) = point_of(node).expect("a feature");
            let dictionary = writes.dictionaries[&point];
            let x = cache.get(dictionary.expects().hook_in.expect("a point"))?.get(0)?.get(pos)?.flatten_all()?;
            let x = match dictionary.parts().b_in {
                Some(b) => (x - b)?,
                None => x,
            };
            Ok((dictionary.w_enc().t()?.get(feature)? * x)?.sum_all()?.to_scalar::<f32>()?)
        };
        let mut moved = 0;
        let sources = graph.nodes().into_iter().filter(|node| point_of(node.node).is_some()).step_by(23).take(8);
        for source in sources {
            // Three times as much as it writes.
            let (pos, row) = writes.of(source.node)?.expect("a feature");
            let more = (row * f64::from(2.0 * source.change))?;
            let out = graph.edges().into_iter().filter(|edge| edge.source == source.node);
            let out = out.filter(|edge| matches!(edge.via, EdgeVia::Mlp | EdgeVia::Ov));
            let mut runs: BTreeMap<usize, ActivationCache> = BTreeMap::new();
            for edge in out.step_by(5) {
                let layer = layer_of(edge.target);
                if let Entry::Vacant(vacant) = runs.entry(layer) {
                    vacant.insert(held(&clean, &model, layer, (pos, &more))?);
                }
                let seen = pre(&runs[&layer], edge.target)? - pre(&clean, edge.target)?;
                assert!(
                    (seen - 2.0 * edge.local).abs() < MOVED * seen.abs().max(1.0),
                    "{edge}, {}: {seen}",
                    edge.local
                );
                moved += 1;
            }
        }
        assert!(moved > 50, "{moved} edges");
    }
    Ok(())
}
