//! Circuits of features against plans of edits and prompts alone, and by identities.

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::prelude::*;

use super::circuit_by_hand::{ByHand, Parts, some_nodes};

/// Two ways to compute the same metric in f32, through four blocks.
pub const SAME: f32 = 2e-4;

/// What is too large to be rounding.
pub const CLEAR: f32 = 1e-2;

pub const CLEAN: [&str; 3] = [
    "When John and Mary went to the shops, John gave the bag to",
    "When Mary and John went to the shops, Mary gave the bag to",
    "When Tom and Anna went to the shops, Tom gave the bag to",
];
pub const CORRUPTED: [&str; 3] = [
    "When John and Mary went to the shops, Mary gave the bag to",
    "When Mary and John went to the shops, John gave the bag to",
    "When Tom and Anna went to the shops, Anna gave the bag to",
];
pub const ANSWERS: [(&str, &str); 3] = [(" Mary", " John"), (" John", " Mary"), (" Anna", " Tom")];

pub fn all(names: &[&str]) -> Result<Vec<Dictionary>> {
    let set = DictionarySet::open("tiny")?;
    names.iter().map(|name| set.get(name)).collect()
}

pub const EIGHT: [&str; 8] = ["z0", "z1", "z2", "z3", "mlp0", "mlp1", "mlp2", "mlp3"];

pub fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers(ANSWERS)?))
}

#[test]
fn with_nothing_in_it_and_errors_replaced_the_run_is_the_corrupted_one() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let experiment = Experiment::new(&model, CLEAN, CORRUPTED, metric(&model)?)?;
    let circuits = experiment.feature_circuits(all(&EIGHT)?, ErrorsOutside::Replaced)?;
    assert!((circuits.empty() - experiment.corrupted()).abs() < SAME, "{circuits}");
    let full = circuits.evaluate(&FeatureCircuit::full())?;
    assert_eq!((full.size, full.unit), (full.of, CircuitUnit::Nodes));
    assert!((full.faithfulness - 1.0).abs() < SAME);
    let empty = circuits.evaluate(&FeatureCircuit::empty())?;
    assert_eq!((empty.size, empty.of, empty.faithfulness), (0, full.of, 0.0));
    // Held errors keep a part of the answer, and live ones pass what is replaced before them.
    let held = experiment.feature_circuits(all(&EIGHT)?, ErrorsOutside::Held)?;
    assert!((held.empty() - circuits.empty()).abs() > CLEAR, "{held}");
    Ok(())
}

#[test]
fn leaving_nodes_out_is_what_plans_of_edits_do() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = all(&EIGHT)?;
    let (_, cache) = model.run_with_hooks(
        CLEAN[0],
        model.splice(&dictionaries, ErrorTerm::Recomputed)?.capture(("sae_acts_post", 0)).capture("sae_acts_post"),
    )?;
    let strongest = |point: &str, pos: usize| -> Result<usize> {
        Ok(cache.get(format!("{point}.hook_sae_acts_post"))?.get(0)?.get(pos)?.argmax(0)?.to_scalar::<u32>()? as usize)
    };
    let [z, mlp] = ["blocks.0.attn.hook_z", "blocks.1.hook_mlp_out"];
    let nodes = [
        GraphNode::AttnFeature { layer: 0, pos: 10, feature: strongest(z, 10)? },
        GraphNode::Feature { layer: 1, pos: 10, feature: strongest(mlp, 10)? },
        GraphNode::Error { layer: 1, pos: 4 },
    ];
    let experiment =
        Experiment::new(&model, CLEAN[0], Baseline::Zero, Metric::logit_diff(&model.answers(ANSWERS[..1].to_vec())?))?;
    let circuits = experiment.feature_circuits(&dictionaries, ErrorsOutside::Replaced)?;
    let got = circuits.evaluate(&FeatureCircuit::full().without(nodes))?;
    assert_eq!(got.of - got.size, 3);
    let plan = model
        .splice(&dictionaries, ErrorTerm::Recomputed)?
        .edit(format!("{z}.hook_sae_acts_post"), Edit::zero().feature(strongest(z, 10)? as isize).pos(10))
        .edit(format!("{mlp}.hook_sae_acts_post"), Edit::zero().feature(strongest(mlp, 10)? as isize).pos(10))
        .edit(format!("{mlp}.hook_sae_error"), Edit::zero().pos(4));
    let logits = model.run_with_hooks(CLEAN[0], plan)?.0;
    let expected =
        model.answers(ANSWERS[..1].to_vec())?.logit_diff(&logits, &model.to_tokens(CLEAN[0])?)?.mean() as f32;
    assert!((got.metric - expected).abs() < SAME, "{} and {expected}", got.metric);
    assert!((got.metric - circuits.clean()).abs() > CLEAR);
    // Without its error, which is live, nothing but features is left out.
    let live = experiment.feature_circuits(&dictionaries, ErrorsOutside::Live)?;
    let without = |nodes: &[GraphNode]| live.evaluate(&FeatureCircuit::full().without(nodes.iter().copied()));
    assert_eq!(without(&nodes)?.metric, without(&nodes[..2])?.metric);
    assert_eq!(without(&nodes)?.size, without(&nodes[..2])?.size);
    Ok(())
}

#[test]
fn padding_and_batches_change_no_prompt() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = all(&EIGHT)?;
    let clean = [CLEAN[0], "When Mary and John went to the big shops, Mary gave the bag to"];
    let corrupted = [CORRUPTED[0], "When Mary and John went to the big shops, John gave the bag to"];
    let circuit_of = |prompt: usize| -> Result<FeatureCircuit> {
        let hands = ByHand::of(&dictionaries);
        let parts: Parts =
            hands.iter().map(|one| Ok((one.at, one.parts(&model, clean[prompt])?))).collect::<Result<_>>()?;
        Ok(FeatureCircuit::new(some_nodes(&hands, &parts, 2)?))
    };
    let of = [circuit_of(0)?, circuit_of(1)?];
    let ids = |text: &str| -> Result<Vec<u32>> { Ok(model.to_tokens(text)?.row(0)) };
    let answers = model.answers(ANSWERS[..2].to_vec())?;
    for zero in [true, false] {
        let alone = |prompt: usize| -> Result<(CircuitScore, CircuitScore)> {
            let baseline: Baseline = if zero { Baseline::Zero } else { corrupted[prompt].into() };
            let metric = Metric::logit_diff(&model.answers(ANSWERS[prompt..prompt + 1].to_vec())?);
            let experiment = Experiment::new(&model, clean[prompt], baseline, metric)?;
            let circuits = experiment.feature_circuits(&dictionaries, ErrorsOutside::Replaced)?;
            Ok((circuits.evaluate(&of[prompt])?, circuits.evaluate(&of[0])?))
        };
        let expected = [alone(0)?, alone(1)?];
        for side in [PaddingSide::Left, PaddingSide::Right] {
            let batch = |texts: [&str; 2]| Tokens::padded(vec![ids(texts[0])?, ids(texts[1])?], 0, side);
            let baseline: Baseline = if zero { Baseline::Zero } else { batch(corrupted)?.into() };
            let experiment = Experiment::new(&model, batch(clean)?, baseline, Metric::logit_diff(&answers))?;
            for experiment in [experiment.clone(), experiment.budget(4 << 20)] {
                let circuits = experiment.feature_circuits(&dictionaries, ErrorsOutside::Replaced)?;
                let each = circuits.evaluate(&FeatureCircuit::per_prompt(&of)?)?;
                let same = circuits.evaluate(&of[0])?;
                assert_eq!(each.size, expected[0].0.size + expected[1].0.size);
                for (prompt, (own_alone, shared_alone)) in expected.iter().enumerate() {
                    let [own, shared] = [&each, &same].map(|score| score.per_prompt.at(&[prompt as isize]));
                    assert!((own? - own_alone.metric).abs() < SAME, "{side:?}, {zero}, prompt {prompt}");
                    assert!((shared? - shared_alone.metric).abs() < SAME, "{side:?}, {zero}, prompt {prompt}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn curves_controls_completeness_and_minimality_are_made_of_evaluations() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let transcoders = DictionarySet::open("tiny")?.transcoders()?;
    let experiment = Experiment::new(&model, CLEAN, CORRUPTED, metric(&model)?)?;
    let circuits = experiment.feature_circuits(&transcoders, ErrorsOutside::Replaced)?;
    let graph = |prompt: usize| {
        let targets = GraphTargets::difference(ANSWERS[prompt].0, ANSWERS[prompt].1);
        model.attribution_graph(&transcoders, CLEAN[prompt], targets)
    };
    let graphs = [graph(0)?, graph(1)?, graph(2)?];
    let ranking = NodeRanking::per_prompt(graphs.iter().map(AttributionGraph::ranking))?;
    let chosen = ranking.top_each(&[60, 5, 20])?;
    let curve = circuits.curve(&chosen)?;
    assert_eq!((curve.sizes.clone(), curve.unit), (vec![15, 60, 180], CircuitUnit::Nodes));
    assert_eq!(curve.of, circuits.evaluate(&FeatureCircuit::full())?.size);
    assert_eq!(curve.metric[0], circuits.evaluate(&chosen[1])?.metric);
    let score = circuits.evaluate(&chosen[2])?;
    let by_formula = (score.metric - circuits.empty()) / (circuits.clean() - circuits.empty());
    assert_eq!((curve.faithfulness[1], score.faithfulness), (by_formula, by_formula));

    let control = circuits.random_curve(&chosen, 7)?;
    assert_eq!(control.sizes, curve.sizes);
    assert_eq!(control, circuits.random_curve(&chosen, 7)?);
    assert_eq!(circuits.random_curves(&chosen, 1, 7)?.mean(), control.faithfulness);
    assert_ne!(control, circuits.random_curve(&chosen, 8)?);
    let nested = [&chosen[1], &chosen[0]].map(|circuit| circuits.random_like(circuit, 7));
    let [few, more] = nested.map(|circuit| circuit.and_then(|circuit| circuit.nodes_of(1)));
    let (few, more) = (few?, more?);
    assert!(few.len() == 5 && more.len() == 60 && few.iter().all(|node| more.contains(node)));

    let circuit = &chosen[1];
    let set: Vec<GraphNode> = circuit.nodes_of(0)?[..2].to_vec();
    let completeness = circuits.completeness(circuit, &[set.clone(), vec![]])?;
    let part = circuits.evaluate(&circuit.without(set.clone()))?.faithfulness;
    let whole = circuits.evaluate(&FeatureCircuit::full().without(set.clone()))?.faithfulness;
    assert_eq!([0, 1, 2].map(|of| completeness.at(&[0, of]).ok()), [part, whole, part - whole].map(Some));
    assert!((completeness.at(&[1, 1])? - 1.0).abs() < SAME);

    let minimality = circuits.minimality(circuit)?;
    let nodes: BTreeSet<GraphNode> = (0..3).flat_map(|prompt| circuit.nodes_of(prompt).expect("its own")).collect();
    assert_eq!(minimality.shape(), [nodes.len()]);
    let without = circuits.evaluate(&circuit.without([set[0]]))?.faithfulness;
    assert_eq!(minimality.get(&[&set[0].to_string()])?, circuits.evaluate(circuit)?.faithfulness - without);

    // Graphs, pruned or not, are circuits of their features and errors.
    let pruned = graphs[0].prune(0.5, 0.9)?;
    let nodes = FeatureCircuit::from(&pruned).nodes_of(0)?;
    assert!(nodes.len() < graphs[0].features() && nodes.len() >= pruned.features());
    circuits.evaluate(&FeatureCircuit::per_prompt(&graphs)?)?;
    assert!(ranking.without_errors().top(1)?.nodes_of(0)?.iter().all(|node| matches!(node, GraphNode::Feature { .. })));

    // Beside circuits of edges.
    let edges = experiment.edges()?;
    let scores = edges.attribute(EdgeMethod::EapIgInputs { steps: 3 })?;
    let of_edges = edges.curve(&scores.greedy_each(&[50, 200], RankBy::Magnitude)?)?;
    let both = FaithfulnessCurves::new().add("edges", &of_edges).add("features", &curve).add("random", &control);
    let text = both.to_string();
    assert!(text.contains("3 curves") && both.values()?.shape()[0] == 3, "{text}");
    Ok(())
}

#[test]
fn chained_graphs_choose_better_than_chance() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = all(&EIGHT)?;
    let experiment = Experiment::new(&model, CLEAN, CORRUPTED, metric(&model)?)?;
    let circuits = experiment.feature_circuits(&dictionaries, ErrorsOutside::Replaced)?;
    let graph = |prompt: usize| {
        let metric = Metric::logit_diff(&model.answers(ANSWERS[prompt..prompt + 1].to_vec())?);
        model.chained_graph(&dictionaries, CLEAN[prompt], CORRUPTED[prompt], metric)
    };
    let graphs = [graph(0)?, graph(1)?, graph(2)?];
    let ranking = NodeRanking::per_prompt(graphs.iter().map(ChainedGraph::ranking))?;
    let chosen = ranking.top_each(&[20, 80])?;
    let (curve, random) = (circuits.curve(&chosen)?, circuits.random_curve(&chosen, 1)?);
    assert!(curve.faithfulness[1] > 0.6 && random.faithfulness[1] < 0.1, "{curve:?}, {random:?}");
    // The whole graph is everything whose change moves the metric.
    let whole = circuits.evaluate(&FeatureCircuit::per_prompt(&graphs)?)?;
    assert!((whole.metric - circuits.clean()).abs() < CLEAR, "{whole:?}, {circuits}");
    Ok(())
}

#[test]
fn what_a_circuit_cannot_be_is_refused_by_name() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let experiment = Experiment::new(&model, CLEAN, CORRUPTED, metric(&model)?)?;
    let refused = |result: Result<FeatureCircuits>| result.expect_err("it is refused").to_string();
    let resid = refused(experiment.feature_circuits(all(&["resid1"])?, ErrorsOutside::Live));
    assert!(resid.contains("writes neither to a hook_z nor to a hook_mlp_out"), "{resid}");
    let plan = model.splice(all(&["z0"])?, ErrorTerm::Recomputed)?;
    let spliced = Experiment::with_splices(&model, &plan, CLEAN, CORRUPTED, metric(&model)?)?;
    let twice = refused(spliced.feature_circuits(all(&["z1"])?, ErrorsOutside::Live));
    assert!(twice.contains("splices functions in already"), "{twice}");
    let budget = refused(experiment.clone().budget(1000).feature_circuits(all(&["z1"])?, ErrorsOutside::Live));
    assert!(budget.contains("too small for a single prompt"), "{budget}");

    let circuits = experiment.feature_circuits(all(&["z1", "mlp1"])?, ErrorsOutside::Replaced)?;
    let (layer, pos) = (1, 5);
    let of = |node: GraphNode| circuits.evaluate(&FeatureCircuit::new([node])).expect_err("it is refused").to_string();
    for (node, says) in [
        (GraphNode::Token { pos }, "part of every one"),
        (GraphNode::Feature { layer: 2, pos, feature: 3 }, "no dictionary of the MLP of layer 2"),
        (GraphNode::AttnFeature { layer: 0, pos, feature: 3 }, "no dictionary of the attention outputs of layer 0"),
        (GraphNode::Feature { layer, pos, feature: 512 }, "has 512 features (0 to 511)"),
        (GraphNode::AttnError { layer: 4, pos }, "of layer 4"),
        (GraphNode::Feature { layer, pos: 15, feature: 3 }, "every prompt has 15 tokens at most (0 to 14)"),
        (GraphNode::Feature { layer, pos: 0, feature: 3 }, "is a BOS"),
    ] {
        let error = of(node);
        assert!(error.contains(says), "{node}: {error}");
    }
    // What has no dictionary is always live, and a BOS too, so their error nodes, which graphs have, change nothing.
    let idle = FeatureCircuit::new([GraphNode::Error { layer: 2, pos }, GraphNode::Error { layer, pos: 0 }]);
    assert_eq!((circuits.evaluate(&idle)?.faithfulness, circuits.evaluate(&idle)?.size), (0.0, 0));
    assert!(circuits.minimality(&idle).is_err());
    let two = FeatureCircuit::per_prompt([FeatureCircuit::empty(), FeatureCircuit::empty()])?;
    let error = circuits.evaluate(&two).expect_err("there are three prompts").to_string();
    assert!(error.contains("circuits of 2 prompts were given, and the experiment has 3"), "{error}");
    assert!(circuits.curve(&[]).is_err() && circuits.completeness(&FeatureCircuit::full(), &[]).is_err());
    assert!(circuits.minimality(&FeatureCircuit::empty()).is_err());
    assert!(
        FeatureCircuit::per_prompt([FeatureCircuit::full()]).is_err() && FeatureCircuit::per_prompt([two]).is_err()
    );

    let node = GraphNode::Error { layer, pos };
    assert!(NodeRanking::new([(node, f64::NAN)]).is_err() && NodeRanking::new([(GraphNode::LeftOut, 1.0)]).is_err());
    assert!(NodeRanking::new([(node, 1.0), (node, 2.0)]).is_err());
    assert!(NodeRanking::new([(node, 1.0)])?.top(2).is_err() && NodeRanking::per_prompt([]).is_err());
    Ok(())
}
