//! Work on circuits says how far it is.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::prelude::*;

use crate::progress::{Walk, finish, model, new_walk, prompts};

#[test]
fn circuits() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (clean, corrupted, metric) = prompts(&model)?;
    let (clean, corrupted) = (clean.row(0).to_vec(), corrupted.row(0).to_vec());
    let metric_of_one = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    drop(metric);
    let edges = walk.counted("edges between two prompts", || {
        Experiment::new(&model, vec![clean.clone()], vec![corrupted.clone()], metric_of_one.clone())
            .and_then(|experiment| experiment.edges())
    });
    let over = Baseline::mean_of(MeanOver::BatchAndPos, vec![corrupted.clone(), clean.clone()]);
    walk.counted("edges to be ablated", || {
        Experiment::new(&model, vec![clean.clone()], over.clone(), metric_of_one.clone())
            .and_then(|experiment| experiment.edges())
    });
    let mut scored = None;
    for method in [
        EdgeMethod::Eap,
        EdgeMethod::EapIgInputs { steps: 3 },
        EdgeMethod::EapIgActivations { steps: 2 },
        EdgeMethod::EapGp { steps: 2 },
        EdgeMethod::CleanCorrupted,
        EdgeMethod::InformationFlowRoutes,
        EdgeMethod::Exact,
    ] {
        scored = Some(walk.counted(&format!("attribute, {method:?}"), || edges.attribute(method)));
        if method != EdgeMethod::InformationFlowRoutes {
            walk.counted(&format!("attribute_nodes, {method:?}"), || edges.attribute_nodes(method));
        }
    }
    walk.counted("attribute_neurons", || edges.attribute_neurons(EdgeMethod::Eap));
    let scored = scored.expect("methods");
    let sizes = [10, 20, 40, 60, 80, 100];
    let circuits = walk.counted("topn_each", || scored.topn_each(&sizes, RankBy::Magnitude));
    walk.counted("greedy_each", || scored.greedy_each(&sizes, RankBy::Magnitude));
    walk.counted("evaluate", || edges.evaluate(&circuits[5]));
    walk.counted("curve", || edges.curve(&circuits));
    let nodes: Vec<Node> = circuits[0].nodes().into_iter().take(2).collect();
    walk.counted("random_curves", || edges.random_curves(&circuits, 2, 0));
    walk.counted("attribute_by_position", || edges.attribute_by_position(EdgeMethod::Eap));
    let spans = Spans::new(["first", "second"]).prompt([0..2, 2..4]);
    walk.counted("attribute_by_span, exact", || edges.attribute_by_span(EdgeMethod::Exact, &spans));
    walk.counted("acdc", || edges.acdc(0));
    stability(&mut walk, &model, &clean, &corrupted)?;
    walk.counted("completeness", || edges.completeness(&circuits[0], std::slice::from_ref(&nodes)));
    walk.counted("minimality", || edges.minimality(&circuits[0]));
    feature_circuits(&mut walk, &model)?;
    finish(walk, 31);
    Ok(())
}

fn stability(walk: &mut Walk, model: &HookedTransformer, clean: &[u32], corrupted: &[u32]) -> Result<()> {
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John"); 2])?);
    let two = |row: &[u32]| vec![row.to_vec(); 2];
    let edges = Experiment::new(model, two(clean), two(corrupted), metric)?.edges()?;
    walk.counted("attribute_each", || edges.attribute_each(EdgeMethod::EapIgInputs { steps: 3 }));
    walk.counted("stability", || {
        edges.stability(EdgeMethod::Eap, 5, 0, |scores| scores.greedy_each(&[10, 20], RankBy::Magnitude))
    });
    Ok(())
}

fn feature_circuits(walk: &mut Walk, model: &HookedTransformer) -> Result<()> {
    let (clean, corrupted, metric) = prompts(model)?;
    let dictionary = |layer: usize| -> Result<Dictionary> {
        let w_dec = Random::new(layer as u64).normal((128, 64))?;
        let zeros = |size: usize| Tensor::zeros(size, DType::F32, &Device::Cpu);
        Dictionary::new(DictionaryParts {
            name: format!("random {layer}"),
            w_enc: w_dec.t()?.contiguous()?,
            b_enc: zeros(128)?,
            w_dec,
            b_dec: zeros(64)?,
            b_in: None,
            w_skip: None,
            activation: Activation::Relu,
            input_norm: InputNorm::None,
            scaled_by_decoder_norm: false,
            expects: Expects::at(format!("blocks.{layer}.hook_mlp_out").parse()?),
        })
    };
    let dictionaries = (0..8).map(dictionary).collect::<Result<Vec<_>>>()?;
    let experiment = Experiment::new(model, &clean, &corrupted, metric)?;
    let circuits =
        walk.counted("feature_circuits", || experiment.feature_circuits(&dictionaries, ErrorsOutside::Replaced));
    let nodes: Vec<GraphNode> = (1..9).map(|pos| GraphNode::Error { layer: 3, pos }).collect();
    let circuit = FeatureCircuit::new(nodes.clone());
    walk.counted("evaluate features", || circuits.evaluate(&circuit));
    walk.counted("curve of features", || circuits.curve(&vec![circuit.clone(); 5]));
    walk.counted("completeness of features", || circuits.completeness(&circuit, &vec![nodes.clone(); 3]));
    walk.counted("minimality of features", || circuits.minimality(&circuit));
    Ok(())
}
