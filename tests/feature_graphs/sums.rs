//! The edges into every node sum to its value, in every architecture, for every kind of transcoder; and what is removed from a
//! held run is what the edges say.

use candle_lens::Result;
use candle_lens::feature_graphs::{BiasOf, GraphNode, GraphOptions, GraphTargets};
use candle_lens::prelude::*;

use crate::support::fixture;
use crate::support::models::architecture;

/// Sums of some thousand products in f32, relative to the largest value of the graph.
const ROUNDING: f32 = 2e-5;

/// A random transcoder of a layer, some of whose features are active.
pub fn transcoder(model: &HookedTransformer, layer: usize, reads: &str, kind: Kind) -> Result<Dictionary> {
    let (d_model, d_sae) = (model.cfg().d_model, 24);
    let mut random = Random::new(layer as u64 + 7);
    let n_writes = model.cfg().n_layers - layer;
    let w_dec = match kind {
        Kind::CrossLayer => random.normal((d_sae, n_writes, d_model))?,
        _ => random.normal((d_sae, d_model))?,
    };
    let scale = 0.5 / (d_model as f64).sqrt();
    let parts = DictionaryParts {
        name: format!("random {layer}"),
        w_enc: (random.normal((d_model, d_sae))? * (2.0 * scale))?,
        b_enc: (random.normal(d_sae)? * 0.1)?,
        w_dec: (w_dec * scale)?,
        b_dec: (random.normal(d_model)? * scale)?,
        b_in: match kind {
            Kind::Centred => Some((random.normal(d_model)? * 0.1)?),
            _ => None,
        },
        w_skip: match kind {
            Kind::Skip => Some((random.normal((d_model, d_model))? * (scale * 0.5))?),
            _ => None,
        },
        activation: match kind {
            Kind::Plain | Kind::Skip | Kind::CrossLayer => Activation::Relu,
            Kind::Centred => Activation::TopK { k: 5 },
            Kind::Gated => Activation::Gated {
                b_gate: (random.normal(d_sae)? * 0.1)?,
                b_mag: (random.normal(d_sae)? * 0.1)?,
                r_mag: (random.normal(d_sae)? * 0.1)?,
            },
        },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: matches!(kind, Kind::Centred),
        expects: Expects::between(
            format!("blocks.{layer}.{reads}").parse()?,
            format!("blocks.{layer}.hook_mlp_out").parse()?,
        ),
    };
    Dictionary::new(parts)
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Plain,
    Skip,
    Centred,
    Gated,
    CrossLayer,
}

/// The largest absolute value of a node.
fn size(graph: &AttributionGraph) -> Result<f32> {
    let mut largest = 1.0f32;
    for number in 0..graph.targets().len() {
        largest = largest.max(graph.value(GraphNode::Target { number })?.abs());
    }
    Ok(largest)
}

fn check(model: &HookedTransformer, reads: &str, kind: Kind, what: &str) -> Result<()> {
    let dictionaries = (0..model.cfg().n_layers).map(|layer| transcoder(model, layer, reads, kind));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    for first_position in [0, 1] {
        let options = GraphOptions { first_position: Some(first_position), batch_size: 7, ..Default::default() };
        let prompt = Tokens::from_rows(vec![vec![5, 3, 9, 1, 4]])?;
        let targets = GraphTargets::Top { most: 3, probability: 1.0 };
        let graph = model.attribution_graph_with(&dictionaries, prompt, targets, options)?;
        assert!(graph.features() > 4, "{what}: {} features", graph.features());
        let miss = graph.residual() / size(&graph)?;
        assert!(miss < ROUNDING, "{what}, from position {first_position}: the edges miss {miss}");
    }
    Ok(())
}

#[test]
fn edges_sum_to_values_for_every_kind_of_transcoder() -> Result<()> {
    for processing in [Processing::NONE, Processing::default()] {
        let model = HookedTransformer::from_pretrained_with("tiny", processing)?;
        for reads in ["ln2.hook_normalized", "mlp.hook_in", "hook_mlp_in", "hook_resid_mid"] {
            for kind in [Kind::Plain, Kind::Skip, Kind::Centred, Kind::Gated, Kind::CrossLayer] {
                check(&model, reads, kind, &format!("{reads}, {kind:?}, {processing:?}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn edges_sum_to_values_in_every_family() -> Result<()> {
    let families = std::fs::read_dir(fixture::path("families")).expect("the families");
    let mut checked = 0;
    for family in families.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()) {
        let model = HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?;
        for kind in [Kind::Plain, Kind::Skip] {
            check(&model, "mlp.hook_in", kind, &format!("{}, {kind:?}", family.display()))?;
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked} families");
    // Its positions never enter the stream.
    let shortformer = architecture("shortformer_mlp", Some(Processing::NONE))?;
    check(&shortformer, "mlp.hook_in", Kind::Plain, "a shortformer")
}

#[test]
fn influence_is_conserved_and_pruning_at_one_keeps_all_that_has_any() -> Result<()> {
    const SHARES: f64 = 1e-5;
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "ln2.hook_normalized", Kind::Plain));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let graph = model.attribution_graph(&dictionaries, prompt, GraphTargets::difference(" Mary", " John"))?;
    assert!((graph.influence().of_leaves() - 1.0).abs() < SHARES, "{}", graph.influence().of_leaves());
    let all = graph.prune(1.0, 1.0)?;
    let influence = graph.influence();
    for node in graph.sources() {
        let has_any = influence.of(node)? > 0.0 || matches!(node, GraphNode::Token { .. });
        assert!(!has_any || all.sources().contains(&node), "{node} has influence");
    }
    assert_eq!(
        all.edges(),
        graph.edges().into_iter().filter(|edge| all.edge(edge.source, edge.target).is_ok()).collect::<Vec<_>>()
    );
    let few = graph.prune(0.8, 0.98)?;
    assert!(few.features() < all.features());
    // What the graph has no room for is one source, and the sums stay.
    let options = GraphOptions { most_features: Some(20), ..Default::default() };
    let small =
        model.attribution_graph_with(&dictionaries, prompt, GraphTargets::difference(" Mary", " John"), options)?;
    assert_eq!(small.features(), 20);
    assert!(small.residual() / size(&small)? < ROUNDING, "{}", small.residual());
    assert!((small.influence().of_leaves() - 1.0).abs() < SHARES);
    let bias = small.edge(GraphNode::Bias(BiasOf::Target), GraphNode::Target { number: 0 })?;
    let b_u = model.b_U().to_vec1::<f32>()?;
    let of = |text: &str| -> Result<f32> { Ok(b_u[model.to_single_token(text)? as usize]) };
    assert_eq!(bias, of(" Mary")? - of(" John")?);
    Ok(())
}

#[test]
fn padding_is_no_part_of_a_prompt() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "ln2.hook_normalized", Kind::Plain));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    let ids = model.to_tokens("The capital of France is")?.row(0);
    let graph = |tokens: Tokens| model.attribution_graph(&dictionaries, tokens, GraphTargets::top());
    let bare = graph(Tokens::from_rows(vec![ids.clone()])?)?;
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let filler = vec![7; 3];
        let row = match side {
            PaddingSide::Left => [filler, ids.clone()].concat(),
            PaddingSide::Right => [ids.clone(), filler].concat(),
        };
        assert_eq!(graph(Tokens::from_padded_rows(vec![row], 7, side, false)?)?, bare, "{side:?}");
    }
    Ok(())
}
