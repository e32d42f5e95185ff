//! Graphs against circuit-tracer 0.5.0's, edge by edge (tests/fixtures/feature_graphs.py).

use candle_lens::Result;
use candle_lens::feature_graphs::{GraphNode, GraphTargets};
use candle_lens::prelude::*;

use crate::support::fixture::{Reference, numbers};

/// circuit-tracer's own sums are in f32 too; weights are below 10.
const ROUNDING: f64 = 1e-5;

/// circuit-tracer's share of errors is 1 less a sum of shares in f32.
const SCORES: f64 = 1e-5;

pub fn dictionary(reference: &Reference, name: &str, layer: usize) -> Result<Dictionary> {
    let part = |part: &str| reference.get(&format!("{name}.{layer}.{part}")).to_dtype(DType::F32);
    let d_sae = part("b_enc")?.dim(0)?;
    let w_skip = match name {
        // circuit-tracer adds `x W_skip^T`.
        "skip" => Some(part("skip_in")?.unsqueeze(1)?.matmul(&part("skip_out")?.unsqueeze(0)?)?),
        _ => None,
    };
    let activation = match name {
        "clt" => Activation::Relu,
        _ => Activation::JumpRelu { threshold: Tensor::full(0.05f32, d_sae, &Device::Cpu)? },
    };
    Dictionary::new(DictionaryParts {
        name: format!("{name} {layer}"),
        w_enc: part("W_enc")?.t()?.contiguous()?,
        b_enc: part("b_enc")?,
        w_dec: part("W_dec")?,
        b_dec: part("b_dec")?,
        b_in: None,
        w_skip,
        activation,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::between(
            format!("blocks.{layer}.ln2.hook_normalized").parse()?,
            format!("blocks.{layer}.hook_mlp_out").parse()?,
        ),
    })
}

pub(super) fn graph(reference: &Reference, name: &str) -> Result<AttributionGraph> {
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let dictionaries = (0..4).map(|layer| dictionary(reference, name, layer)).collect::<Result<Vec<_>>>()?;
    let ids: Vec<u32> = numbers(reference.get(&format!("{name}.ids"))).into_iter().map(|id| id as u32).collect();
    let targets: Vec<u32> = numbers(reference.get(&format!("{name}.logits"))).into_iter().map(|id| id as u32).collect();
    let options = GraphOptions { first_position: Some(1), ..Default::default() };
    model.attribution_graph_with(&dictionaries, Tokens::from_rows(vec![ids])?, GraphTargets::tokens(targets), options)
}

/// The node of each row and column of circuit-tracer's matrix.
fn nodes(reference: &Reference, name: &str, positions: usize, targets: usize) -> Vec<GraphNode> {
    let features = numbers(reference.get(&format!("{name}.features")));
    let features = features.chunks(3).map(|at| GraphNode::Feature {
        layer: at[0] as usize,
        pos: at[1] as usize,
        feature: at[2] as usize,
    });
    let errors = (0..4).flat_map(|layer| (0..positions).map(move |pos| GraphNode::Error { layer, pos }));
    let tokens = (0..positions).map(|pos| GraphNode::Token { pos });
    features.chain(errors).chain(tokens).chain((0..targets).map(|number| GraphNode::Target { number })).collect()
}

#[test]
fn edges_influence_scores_and_pruning_are_those_of_circuit_tracer() -> Result<()> {
    let reference = Reference::load("feature_graphs.safetensors");
    for name in ["plain", "skip", "clt"] {
        let graph = graph(&reference, name)?.without_biases();
        let get = |part: &str| numbers(reference.get(&format!("{name}.{part}")));
        let nodes = nodes(&reference, name, get("ids").len(), get("logits").len());
        let sources: Vec<GraphNode> =
            nodes.iter().copied().filter(|node| !matches!(node, GraphNode::Target { .. })).collect();
        assert_eq!(graph.sources(), sources, "{name}");

        let (adjacency, influence) = (get("adjacency"), get("influence"));
        let pruned = graph.prune(0.8, 0.98)?;
        let (kept, edges_kept) = (get("nodes_kept"), get("edges_kept"));
        let ours = graph.influence();
        let mut worst = 0.0f64;
        for (row, &target) in nodes.iter().enumerate() {
            let is_target = matches!(target, GraphNode::Target { .. } | GraphNode::Feature { .. });
            for (column, &source) in sources.iter().enumerate() {
                let theirs = adjacency[row * nodes.len() + column];
                let own = if is_target { f64::from(graph.edge(source, target)?) } else { 0.0 };
                worst = worst.max((own - theirs).abs());
                let kept = is_target && pruned.edge(source, target).is_ok_and(|weight| weight != 0.0);
                // circuit-tracer keeps edges of weight 0 where the threshold of scores is 0.
                assert_eq!(
                    kept,
                    edges_kept[row * nodes.len() + column] != 0.0 && theirs != 0.0,
                    "{source} -> {target}"
                );
            }
            if let Ok(own) = ours.of(target) {
                assert!((own - influence[row]).abs() < ROUNDING, "{name}: influence of {target}");
                assert_eq!(pruned.sources().contains(&target), kept[row] != 0.0, "{name}: {target}");
            }
        }
        assert!(worst < ROUNDING, "{name}: edges differ by {worst}");
        let scores = get("scores");
        assert!((graph.replacement_score() - scores[0]).abs() < SCORES, "{name}");
        assert!((graph.completeness_score() - scores[1]).abs() < SCORES, "{name}");
    }
    Ok(())
}
