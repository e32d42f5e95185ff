//! Chained graphs against candle's gradients of the spliced model, and the sums that their edges make, in every architecture.

use std::collections::BTreeMap;

use candle_lens::Result;
use candle_lens::feature_graphs::{ChainedGraph, EdgeVia, GraphNode};
use candle_lens::prelude::*;

use super::sums::{Kind, transcoder};
use crate::support::fixture;

/// Gradients and sums of some hundred products in f32, relative to the largest of their kind.
pub const ROUNDING: f32 = 1e-5;

/// Two tokens that every model has.
pub const PAIR: (u32, u32) = (6, 2);

/// A random autoencoder of a layer's `hook_z`, some of whose features are active.
pub fn autoencoder(model: &HookedTransformer, layer: usize, activation: Activation) -> Result<Dictionary> {
    let (d_in, d_sae) = (model.cfg().n_heads * model.cfg().d_head(), 24);
    let mut random = Random::new(layer as u64 + 31);
    let w_dec = random.normal((d_sae, d_in))?;
    let w_dec = w_dec.broadcast_div(&w_dec.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    let gated = matches!(activation, Activation::Gated { .. });
    let parts = DictionaryParts {
        name: format!("random z {layer}"),
        w_enc: (random.normal((d_in, d_sae))? * (2.0 / (d_in as f64).sqrt()))?,
        b_enc: (random.normal(d_sae)? * 0.1)?,
        w_dec,
        b_dec: (random.normal(d_in)? * 0.1)?,
        b_in: if gated { None } else { Some((random.normal(d_in)? * 0.1)?) },
        w_skip: None,
        scaled_by_decoder_norm: matches!(activation, Activation::TopK { .. }),
        activation,
        input_norm: InputNorm::None,
        expects: Expects::at(format!("blocks.{layer}.attn.hook_z").parse()?),
    };
    Dictionary::new(parts)
}

/// A dictionary of every part of every layer.
pub fn of_all_parts(model: &HookedTransformer, reads: &str, kind: Kind) -> Result<Vec<Dictionary>> {
    let mut all = Vec::new();
    for layer in 0..model.cfg().n_layers {
        all.push(autoencoder(model, layer, Activation::Relu)?);
        if !model.cfg().attn_only {
            all.push(transcoder(model, layer, reads, kind)?);
        }
    }
    Ok(all)
}

/// The model with dictionaries spliced in, in which gradients pass what a graph's edges pass: neither scales of norms nor errors, nor
/// parts of layers and heads without a dictionary.
pub fn spliced(model: &HookedTransformer, dictionaries: &[Dictionary]) -> Result<(HookedTransformer, HookPlan)> {
    let mut plan = model.splice(dictionaries, ErrorTerm::Recomputed)?;
    for layer in 0..model.cfg().n_layers {
        let name = format!("blocks.{layer}.attn.hook_z");
        let point: HookPoint = name.parse()?;
        let head = match dictionaries.iter().find(|dictionary| dictionary.expects().writes() == Some(point)) {
            Some(dictionary) if dictionary.expects().head.is_none() => continue,
            other => other.and_then(|dictionary| dictionary.expects().head),
        };
        let hold = move |x: &Tensor, _: HookPoint| -> candle_lens::candle::Result<Tensor> {
            let held = x.detach();
            match head {
                Some(head) => held.slice_scatter(&x.narrow(2, head, 1)?, 2, head),
                None => Ok(held),
            }
        };
        plan = plan.edit(name, Edit::custom("held", hold));
    }
    Ok((model.with_frozen([Frozen::NormScales, Frozen::Mlps]).without_weight_gradients(), plan))
}

pub fn point_of(node: GraphNode) -> Option<(String, usize, usize)> {
    match node {
        GraphNode::AttnFeature { layer, pos, feature } => Some((format!("blocks.{layer}.attn.hook_z"), pos, feature)),
        GraphNode::Feature { layer, pos, feature } => Some((format!("blocks.{layer}.hook_mlp_out"), pos, feature)),
        _ => None,
    }
}

pub fn at(x: &Tensor, pos: usize, feature: usize) -> Result<f32> {
    Ok(x.i((0, pos, feature))?.to_dtype(DType::F32)?.to_scalar()?)
}

pub fn largest(numbers: impl IntoIterator<Item = f32>) -> f32 {
    numbers.into_iter().fold(0.0, |most, number| most.max(number.abs()))
}

/// Total gradients against candle's, for features and, where they are not left alone, tokens; of a graph of a difference with its
/// corrupted prompt.
pub fn check_totals(
    model: &HookedTransformer,
    dictionaries: &[Dictionary],
    (tokens, tolerance): (&Tokens, f32),
    (graph, corrupted): (&ChainedGraph, Option<&Tokens>),
    what: &str,
) -> Result<()> {
    let (held, mut plan) = spliced(model, dictionaries)?;
    let outputs: Vec<String> =
        dictionaries.iter().filter_map(|own| own.expects().writes()).map(|point| point.to_string()).collect();
    let posts: Vec<String> = outputs.iter().map(|point| format!("{point}.hook_sae_acts_post")).collect();
    plan = plan.watch(&posts).watch("embed");
    let run = held.run(tokens, plan, RunOptions::default())?;
    let last = run.logits()?.i((0, tokens.pos() - 1))?.to_dtype(DType::F32)?;
    let difference = (last.get(PAIR.0 as usize)? - last.get(PAIR.1 as usize)?)?;
    let gradients = run.taps.gradients(&difference)?;
    let all: BTreeMap<&String, Option<Tensor>> =
        outputs.iter().zip(&posts).map(|(point, post)| (point, gradients.get(post.as_str()).ok())).collect();
    let embed = match corrupted {
        Some(corrupted) => {
            let other = model.run_with_hooks(corrupted, HookPlan::new().capture("embed"))?.1.get("embed")?;
            (gradients.activation("embed")? - other)?
        }
        None => gradients.activation("embed")?,
    };
    let by_token = match gradients.get("embed") {
        Ok(gradient) => Some((gradient * embed)?.sum(2)?),
        Err(_) => None,
    };
    let size = largest(graph.nodes().iter().filter(|node| point_of(node.node).is_some()).map(|node| node.gradient));
    let bos = model.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id()).unwrap_or(u32::MAX);
    let mut seen = 0;
    for node in graph.nodes() {
        let wanted = match (point_of(node.node), node.node) {
            (Some((point, pos, feature)), _) => match &all[&point] {
                Some(gradient) => at(gradient, pos, feature)?,
                None => 0.0,
            },
            // A BOS is left alone by dictionaries, and candle's gradient passes what is held there.
            (None, GraphNode::Token { pos }) if tokens.id(0, pos) != bos => match &by_token {
                Some(by_token) => by_token.i((0, pos))?.to_dtype(DType::F32)?.to_scalar()?,
                None => 0.0,
            },
            _ => continue,
        };
        let size = if point_of(node.node).is_some() { size } else { size.max(wanted.abs()) };
        let miss = (node.gradient - wanted).abs() / size.max(1e-3);
        assert!(miss < tolerance, "{what}: {} has {} and candle {wanted}", node.node, node.gradient);
        seen += 1;
    }
    assert!(seen > 12, "{what}: {seen} nodes");
    Ok(())
}

/// The edges out of every source sum to its total gradient, those into a feature along MLPs and values to its pre-activation, along
/// queries to what they sum to along keys, and direct ones to the metric.
pub fn check_sums(
    model: &HookedTransformer,
    dictionaries: &[Dictionary],
    (tokens, tolerance): (&Tokens, f32),
    graph: &ChainedGraph,
    what: &str,
) -> Result<()> {
    let mut out: BTreeMap<GraphNode, f64> = BTreeMap::new();
    let mut into: BTreeMap<(GraphNode, EdgeVia), f64> = BTreeMap::new();
    for edge in graph.edges() {
        *out.entry(edge.source).or_default() += f64::from(edge.metric);
        *into.entry((edge.target, edge.via)).or_default() += f64::from(edge.local);
    }
    let mut plan = model.splice(dictionaries, ErrorTerm::Recomputed)?;
    for dictionary in dictionaries {
        let point = dictionary.expects().writes().expect("a point");
        plan = plan.capture(format!("{point}.hook_sae_acts_pre"));
    }
    let (_, cache) = model.run_with_hooks(tokens, plan)?;
    let size = largest(graph.nodes().iter().map(|node| node.score())).max(1.0);
    let of = |node, via| into.get(&(node, via)).copied().unwrap_or(0.0) as f32;
    for node in graph.nodes() {
        if node.node == (GraphNode::Target { number: 0 }) {
            let direct = of(node.node, EdgeVia::Direct);
            assert!(
                (direct - node.change).abs() < tolerance * size,
                "{what}: {direct} directly, {} in all",
                node.change
            );
            continue;
        }
        let sum = out.get(&node.node).copied().unwrap_or(0.0) as f32;
        let miss = (sum - node.score()).abs() / size;
        assert!(miss < tolerance, "{what}: {} moves the metric by {}, its edges by {sum}", node.node, node.score());
        let Some((point, pos, feature)) = point_of(node.node) else { continue };
        let pre = at(&cache.get(format!("{point}.hook_sae_acts_pre").as_str())?, pos, feature)?;
        if node.gradient == 0.0 {
            // What moves nothing is not explained.
            continue;
        }
        let sum = of(node.node, EdgeVia::Mlp) + of(node.node, EdgeVia::Ov);
        assert!((pre - sum).abs() < tolerance * pre.abs().max(2.0), "{what}: {} is {pre}, its edges {sum}", node.node);
        let (q, k) = (of(node.node, EdgeVia::Q), of(node.node, EdgeVia::K));
        assert!((q - k).abs() < tolerance * q.abs().max(2.0), "{what}: {}: queries {q}, keys {k}", node.node);
    }
    Ok(())
}

pub fn graph(model: &HookedTransformer, dictionaries: &[Dictionary], tokens: &Tokens) -> Result<ChainedGraph> {
    let metric = Metric::logit_diff(&model.answers([PAIR])?);
    model.chained_graph(dictionaries, tokens, Baseline::Zero, metric)
}

pub fn check(
    model: &HookedTransformer,
    dictionaries: &[Dictionary],
    (tokens, tolerance): (&Tokens, f32),
    what: &str,
) -> Result<()> {
    let graph = graph(model, dictionaries, tokens)?;
    check_totals(model, dictionaries, (tokens, tolerance), (&graph, None), what)?;
    check_sums(model, dictionaries, (tokens, tolerance), &graph, what)
}

pub fn prompt() -> Result<Tokens> {
    Tokens::from_rows(vec![vec![5, 3, 9, 1, 4]])
}

#[test]
fn total_gradients_are_candles_and_edges_sum_for_every_kind_of_dictionary() -> Result<()> {
    for processing in [Processing::NONE, Processing::default()] {
        let model = HookedTransformer::from_pretrained_with("tiny", processing)?;
        for (reads, kind) in [
            ("ln2.hook_normalized", Kind::Plain),
            ("mlp.hook_in", Kind::Skip),
            ("hook_mlp_in", Kind::Centred),
            ("hook_resid_mid", Kind::Gated),
            ("mlp.hook_in", Kind::CrossLayer),
        ] {
            let all = of_all_parts(&model, reads, kind)?;
            check(&model, &all, (&prompt()?, ROUNDING), &format!("{reads}, {kind:?}, {processing:?}"))?;
        }
        for (layer, activation) in [
            (1, Activation::TopK { k: 6 }),
            (2, Activation::AbsTopK { k: 6 }),
            (3, Activation::JumpRelu { threshold: Tensor::full(0.2f32, 24, &Device::Cpu)? }),
        ] {
            let mut some = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
            some.retain(|dictionary| dictionary.expects().writes().and_then(|point| point.layer()) != Some(layer));
            some.push(autoencoder(&model, layer, activation.clone())?);
            check(
                &model,
                &some,
                (&prompt()?, ROUNDING),
                &format!("{activation:?} and no transcoder in layer {layer}"),
            )?;
        }
    }
    Ok(())
}

#[test]
fn total_gradients_are_candles_and_edges_sum_in_every_family() -> Result<()> {
    let families = std::fs::read_dir(fixture::path("families")).expect("the families");
    let mut checked = 0;
    for family in families.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()) {
        let model = HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?;
        for kind in [Kind::Plain, Kind::Skip] {
            let all = of_all_parts(&model, "mlp.hook_in", kind)?;
            check(&model, &all, (&prompt()?, ROUNDING), &format!("{}, {kind:?}", family.display()))?;
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked} families");
    Ok(())
}
