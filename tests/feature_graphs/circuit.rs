//! Circuits of features against the same computation written out by hand, prompt by prompt, and against plans of edits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::hooks::HookQuery;
use candle_lens::prelude::*;

/// Two ways to compute the same metric in f32, through four blocks.
const SAME: f32 = 2e-4;

/// What is too large to be rounding.
const CLEAR: f32 = 1e-2;

const CLEAN: [&str; 3] = [
    "When John and Mary went to the shops, John gave the bag to",
    "When Mary and John went to the shops, Mary gave the bag to",
    "When Tom and Anna went to the shops, Tom gave the bag to",
];
const CORRUPTED: [&str; 3] = [
    "When John and Mary went to the shops, Mary gave the bag to",
    "When Mary and John went to the shops, John gave the bag to",
    "When Tom and Anna went to the shops, Anna gave the bag to",
];
const ANSWERS: [(&str, &str); 3] = [(" Mary", " John"), (" John", " Mary"), (" Anna", " Tom")];
const ERRORS: [ErrorsOutside; 3] = [ErrorsOutside::Live, ErrorsOutside::Held, ErrorsOutside::Replaced];

fn all(names: &[&str]) -> Result<Vec<Dictionary>> {
    let set = DictionarySet::open("tiny")?;
    names.iter().map(|name| set.get(name)).collect()
}

const EIGHT: [&str; 8] = ["z0", "z1", "z2", "z3", "mlp0", "mlp1", "mlp2", "mlp3"];

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers(ANSWERS)?))
}

/// A layer, and whether it is its attention.
type Where = (usize, bool);

/// What a dictionary makes of a run of one prompt: features `[pos, d_sae]` and error `[pos, d]`.
type Parts = BTreeMap<Where, (Tensor, Tensor)>;

/// One dictionary by hand.
struct ByHand {
    at: Where,
    dictionary: Dictionary,
}

impl ByHand {
    fn of(dictionaries: &[Dictionary]) -> Vec<Self> {
        let at = |dictionary: &Dictionary| {
            let point = dictionary.expects().writes().expect("a point").to_string();
            let layer = point.split('.').nth(1).expect("a layer").parse().expect("a number");
            (layer, point.contains("attn"))
        };
        dictionaries.iter().map(|dictionary| Self { at: at(dictionary), dictionary: dictionary.clone() }).collect()
    }

    fn reads(&self) -> HookQuery {
        if self.at.1 { ("z", self.at.0 as i32).into() } else { ("normalized", self.at.0 as i32, "ln2").into() }
    }

    fn writes(&self) -> HookQuery {
        if self.at.1 { ("z", self.at.0 as i32).into() } else { ("mlp_out", self.at.0 as i32).into() }
    }

    /// Features of `x [pos, ..]`, none at the BOS.
    fn features(&self, x: &Tensor) -> Result<Tensor> {
        let features = self.dictionary.encode(&x.flatten_from(1)?)?.dense()?;
        Ok(Tensor::cat(&[features.narrow(0, 0, 1)?.zeros_like()?, features.narrow(0, 1, x.dim(0)? - 1)?], 0)?)
    }

    fn decode(&self, features: &Tensor) -> Result<Tensor> {
        let parts = self.dictionary.parts();
        Ok(features.matmul(&parts.w_dec)?.broadcast_add(&parts.b_dec)?)
    }

    /// Features and error of a prompt's plain run.
    fn parts(&self, model: &HookedTransformer, prompt: &str) -> Result<(Tensor, Tensor)> {
        let (_, cache) = model.run_with_cache(prompt)?;
        let features = self.features(&cache.get(self.reads())?.squeeze(0)?)?;
        let error = (cache.get(self.writes())?.squeeze(0)?.flatten_from(1)? - self.decode(&features)?)?;
        Ok((features, error))
    }

    fn feature(&self, pos: usize, feature: usize) -> GraphNode {
        let layer = self.at.0;
        match self.at.1 {
            true => GraphNode::AttnFeature { layer, pos, feature },
            false => GraphNode::Feature { layer, pos, feature },
        }
    }

    fn error(&self, pos: usize) -> GraphNode {
        let layer = self.at.0;
        if self.at.1 { GraphNode::AttnError { layer, pos } } else { GraphNode::Error { layer, pos } }
    }

    /// What it writes: what is in the circuit of this run, the rest of the baseline.
    fn written(
        &self,
        (x, y): (&Tensor, &Tensor),
        circuit: &BTreeSet<GraphNode>,
        (instead, errors): (&(Tensor, Tensor), Option<&Tensor>),
    ) -> Result<Tensor> {
        let (positions, d_sae) = (x.dim(0)?, self.dictionary.d_sae());
        let live = self.features(x)?;
        let error = (y.flatten_from(1)? - self.decode(&live)?)?.to_vec2::<f32>()?;
        let (live, mut chosen) = (live.to_vec2::<f32>()?, instead.0.to_vec2::<f32>()?);
        for (pos, row) in chosen.iter_mut().enumerate() {
            for (feature, value) in row.iter_mut().enumerate() {
                if circuit.contains(&self.feature(pos, feature)) {
                    *value = live[pos][feature];
                }
            }
        }
        let mut chosen_error = error.clone();
        if let Some(errors) = errors {
            let errors = errors.to_vec2::<f32>()?;
            for pos in (0..positions).filter(|&pos| !circuit.contains(&self.error(pos))) {
                chosen_error[pos].clone_from(&errors[pos]);
            }
        }
        let chosen = Tensor::from_vec(chosen.concat(), (positions, d_sae), x.device())?;
        let width = chosen_error[0].len();
        let error = Tensor::from_vec(chosen_error.concat(), (positions, width), x.device())?;
        let written = (self.decode(&chosen)? + error)?.reshape(y.shape())?;
        Ok(Tensor::cat(&[y.narrow(0, 0, 1)?, written.narrow(0, 1, positions - 1)?], 0)?)
    }
}

/// The logit difference of one prompt with every dictionary's output computed by hand in hooks.
fn by_hand(
    model: &HookedTransformer,
    dictionaries: &Arc<Vec<ByHand>>,
    prompt: usize,
    circuit: &BTreeSet<GraphNode>,
    (instead, clean, errors): (&Parts, &Parts, ErrorsOutside),
) -> Result<f32> {
    let mut plan = HookPlan::new();
    let seen: Arc<Mutex<BTreeMap<Where, Tensor>>> = Arc::default();
    for number in 0..dictionaries.len() {
        let at = dictionaries[number].at;
        let (all, circuit, keep) = (dictionaries.clone(), circuit.clone(), seen.clone());
        if !at.1 {
            let keep = seen.clone();
            let read = Edit::custom("keep", move |x, _| {
                keep.lock().expect("one thread").insert(at, x.clone());
                Ok::<_, candle_lens::Error>(x.clone())
            });
            plan = plan.edit(dictionaries[number].reads(), read);
        }
        let parts = instead[&at].clone();
        let errors = match errors {
            ErrorsOutside::Live => None,
            ErrorsOutside::Held => Some(clean[&at].1.clone()),
            ErrorsOutside::Replaced => Some(instead[&at].1.clone()),
        };
        let write = Edit::custom("by hand", move |y, _| {
            let y = y.squeeze(0)?;
            let x = if at.1 { y.clone() } else { keep.lock().expect("one thread")[&at].squeeze(0)? };
            Ok::<_, candle_lens::Error>(
                all[number].written((&x, &y), &circuit, (&parts, errors.as_ref()))?.unsqueeze(0)?,
            )
        });
        plan = plan.edit(dictionaries[number].writes(), write);
    }
    let logits = model.run_with_hooks(CLEAN[prompt], plan)?.0.squeeze(0)?;
    let last = logits.get(logits.dim(0)? - 1)?.to_vec1::<f32>()?;
    let of = |text: &str| -> Result<f32> { Ok(last[model.to_single_token(text)? as usize]) };
    Ok(of(ANSWERS[prompt].0)? - of(ANSWERS[prompt].1)?)
}

/// The mean of parts of several prompts, by position, or over all positions but the BOS.
fn mean_parts(of: &[Parts], by_position: bool) -> Result<Parts> {
    let mean = |each: Vec<Tensor>| -> Result<Tensor> {
        let all = Tensor::stack(&each, 0)?.mean(0)?;
        match by_position {
            true => Ok(all),
            false => Ok(all.narrow(0, 1, all.dim(0)? - 1)?.mean_keepdim(0)?.broadcast_as(all.shape())?.contiguous()?),
        }
    };
    of[0]
        .keys()
        .map(|at| {
            let features = mean(of.iter().map(|parts| parts[at].0.clone()).collect())?;
            Ok((*at, (features, mean(of.iter().map(|parts| parts[at].1.clone()).collect())?)))
        })
        .collect()
}

/// Some features that are active in a prompt and a few that are not, and some errors.
fn some_nodes(dictionaries: &[ByHand], clean: &Parts, thirds: usize) -> Result<BTreeSet<GraphNode>> {
    let mut nodes = BTreeSet::new();
    for one in dictionaries {
        for (pos, row) in clean[&one.at].0.to_vec2::<f32>()?.iter().enumerate().skip(1) {
            let is_in = |feature: usize, value: f32| match value > 0.0 {
                true => (feature + pos) % 3 < thirds,
                false => (feature + pos) % 29 == 0,
            };
            let features = row.iter().enumerate().filter(|(feature, value)| is_in(*feature, **value));
            nodes.extend(features.map(|(feature, _)| one.feature(pos, feature)));
            if (one.at.0 + pos) % 2 == 0 {
                nodes.insert(one.error(pos));
            }
        }
    }
    Ok(nodes)
}

#[test]
fn circuits_are_what_hooks_by_hand_make_of_each_prompt() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = all(&EIGHT)?;
    let hands = Arc::new(ByHand::of(&dictionaries));
    let parts = |prompts: &[&str]| -> Result<Vec<Parts>> {
        let of = |prompt: &&str| hands.iter().map(|one| Ok((one.at, one.parts(&model, prompt)?))).collect();
        prompts.iter().map(of).collect()
    };
    let (clean, corrupted) = (parts(&CLEAN)?, parts(&CORRUPTED)?);
    let zero: Parts = clean[0]
        .iter()
        .map(|(at, (features, error))| Ok((*at, (features.zeros_like()?, error.zeros_like()?))))
        .collect::<Result<_>>()?;
    let baselines: Vec<(Baseline, Vec<Parts>)> = vec![
        (Baseline::Zero, vec![zero; 3]),
        (CORRUPTED.into(), corrupted),
        (Baseline::mean(MeanOver::Batch), vec![mean_parts(&clean, true)?; 3]),
        (Baseline::mean(MeanOver::BatchAndPos), vec![mean_parts(&clean, false)?; 3]),
    ];
    let sets: Vec<BTreeSet<GraphNode>> =
        clean.iter().enumerate().map(|(at, parts)| some_nodes(&hands, parts, 1 + at % 2)).collect::<Result<_>>()?;
    let circuit = FeatureCircuit::per_prompt(sets.iter().map(|set| FeatureCircuit::new(set.iter().copied())))?;
    for (number, (baseline, instead)) in baselines.into_iter().enumerate() {
        let experiment = Experiment::new(&model, CLEAN, baseline.clone(), metric(&model)?)?;
        let mut seen = Vec::new();
        for errors in ERRORS {
            let what = format!("{baseline:?}, {errors}");
            let circuits = experiment.feature_circuits(&dictionaries, errors)?;
            let got = circuits.evaluate(&circuit)?;
            // One prompt of each is enough but for the batch: three of one kind.
            let prompts = if number == 1 { 0..3 } else { number % 3..number % 3 + 1 };
            for prompt in prompts {
                let expected =
                    by_hand(&model, &hands, prompt, &sets[prompt], (&instead[prompt], &clean[prompt], errors))?;
                let found = got.per_prompt.at(&[prompt as isize])?;
                assert!((found - expected).abs() < SAME, "{what}, prompt {prompt}: {found} and {expected}");
            }
            seen.push(got.metric);
            assert!((circuits.evaluate(&FeatureCircuit::full())?.metric - experiment.clean()).abs() < SAME, "{what}");
        }
        assert!((seen[0] - seen[1]).abs() > CLEAR && (seen[1] - seen[2]).abs() > CLEAR, "errors matter: {seen:?}");
    }
    Ok(())
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
        GraphNode::AttnFeature { layer: 0, pos: 11, feature: strongest(z, 11)? },
        GraphNode::Feature { layer: 1, pos: 11, feature: strongest(mlp, 11)? },
        GraphNode::Error { layer: 1, pos: 4 },
    ];
    let experiment =
        Experiment::new(&model, CLEAN[0], Baseline::Zero, Metric::logit_diff(&model.answers(ANSWERS[..1].to_vec())?))?;
    let circuits = experiment.feature_circuits(&dictionaries, ErrorsOutside::Replaced)?;
    let got = circuits.evaluate(&FeatureCircuit::full().without(nodes))?;
    assert_eq!(got.of - got.size, 3);
    let plan = model
        .splice(&dictionaries, ErrorTerm::Recomputed)?
        .edit(format!("{z}.hook_sae_acts_post"), Edit::zero().feature(strongest(z, 11)? as isize).pos(11))
        .edit(format!("{mlp}.hook_sae_acts_post"), Edit::zero().feature(strongest(mlp, 11)? as isize).pos(11))
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
                for prompt in 0..2 {
                    let [own, shared] = [&each, &same].map(|score| score.per_prompt.at(&[prompt as isize]));
                    let (own_alone, shared_alone) = (&expected[prompt].0, &expected[prompt].1);
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
        (GraphNode::Feature { layer, pos: 16, feature: 3 }, "every prompt has 16 tokens at most (0 to 15)"),
        (GraphNode::Error { layer, pos: 0 }, "is a BOS"),
    ] {
        let error = of(node);
        assert!(error.contains(says), "{node}: {error}");
    }
    // What has no dictionary is always live, so its error node changes nothing, as in graphs of some layers.
    assert_eq!(circuits.evaluate(&FeatureCircuit::new([GraphNode::Error { layer: 2, pos }]))?.faithfulness, 0.0);
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
