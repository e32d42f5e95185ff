//! What a circuit alone does, against the transformer written out edge by edge, and by identities on real families.

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::circuits::{Circuit, EdgeMethod, Edges, Node, RankBy};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::MeanOver;
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::random::Random;
use candle_lens::tokens::{PaddingSide, Tokens};

use super::by_hand::{ALONE, PAIRS, Written, architectures, live, model, prompts};
use crate::support::fixture::{Reference, path, tiny_model};
use crate::support::tolerance::{CLEAR, LAST_DIGITS, REORDERED, VISIBLE};

/// How far the metric of a circuit in f32 may be from that of the transformer by hand in f64.
const TOLERANCE: f64 = 1e-4;

/// [`ALONE`] as a share of what clean and corrupted run differ by, which is little in some families.
const NO_FAITH: f32 = 2e-3;

/// A gradient by closed forms and by autograd.
const OF_GRADIENTS: f32 = 1e-4;

fn experiment(model: &HookedTransformer) -> Result<Edges> {
    let (clean, corrupted) = prompts();
    Experiment::new(model, clean, corrupted, Metric::logit_diff(&model.answers(PAIRS)?))
        .and_then(|experiment| experiment.edges())
}

/// A circuit that contains each edge with this probability.
fn some_edges(circuit: &Circuit, tenths: usize, random: &mut Random) -> Result<Circuit> {
    circuit.all_edges().into_iter().try_fold(circuit.empty(), |circuit, edge| {
        if random.below(10) < tenths { circuit.with(edge) } else { Ok(circuit) }
    })
}

#[test]
fn circuits_carry_live_values_inside_and_corrupted_ones_outside() -> Result<()> {
    let mut random = Random::new(3);
    for (what, cfg) in architectures() {
        let (model, by_hand) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let (of_corrupted, _) = by_hand.run(&corrupted, &Written::new(), &live)?;
        let zeros: Written =
            of_corrupted.iter().map(|(name, x)| Ok((name.clone(), x.zeros_like()?))).collect::<Result<_>>()?;
        let zero =
            Experiment::new(&model, &clean, Baseline::Zero, Metric::logit_diff(&model.answers(PAIRS)?))?.edges()?;
        for (edges, outside) in [(experiment(&model)?, of_corrupted), (zero, zeros)] {
            for tenths in [0, 2, 5, 8, 9, 10] {
                let circuit = some_edges(&Circuit::of(&model), tenths, &mut random)?;
                let carry = |from: &str, to: &str, x: &Tensor| {
                    Ok(if circuit.includes(format!("{from}->{to}"))? { x.clone() } else { outside[from].clone() })
                };
                let (_, expected) = by_hand.run(&clean, &Written::new(), &carry)?;
                // All prompts at once, and one by one.
                for edges in [edges.clone(), edges.clone().budget(40_000)] {
                    let got = edges.evaluate(&circuit)?;
                    assert_eq!(got.size, circuit.count_included_edges());
                    for (got, expected) in got.per_prompt.values().iter().zip(&expected) {
                        let error = (f64::from(*got) - expected).abs();
                        assert!(error < TOLERANCE, "{what}, {tenths} tenths: {got} and {expected}");
                    }
                }
            }
        }
    }
    Ok(())
}

fn load(family: &str) -> Result<HookedTransformer> {
    let folder = path(&format!("families/{family}"));
    HookedTransformer::from_pretrained(folder.to_str().expect("the path is UTF-8"))
}

/// Real layouts of weights: rotary positions, shared keys, norms of queries and keys, windows, biases, norms with weights.
pub const FAMILIES: [&str; 9] =
    ["gpt_neo", "gpt_neox", "gptj", "gemma", "llama", "mistral", "phi", "qwen2_window", "qwen3"];

pub fn of_family(family: &str) -> Result<(HookedTransformer, Edges)> {
    let model = match family {
        "tiny_gpt2" => tiny_model(Processing::NONE),
        family => load(family)?,
    };
    let clean = match family {
        "tiny_gpt2" => Tokens::from_rows(vec![vec![1, 5, 2, 10, 3], vec![7, 7, 4, 9, 2]])?,
        family => Reference::load(&format!("families/{family}/reference.safetensors")).tokens("tokens"),
    };
    let other =
        |row: usize| clean.row(row).into_iter().enumerate().map(|(i, id)| if i % 3 == 1 { id / 2 + 1 } else { id });
    let corrupted = Tokens::from_rows((0..clean.batch()).map(|row| other(row).collect()).collect())?;
    let pairs = (0..clean.batch() as u32).map(|b| (b + 3, b + 9));
    let edges = Experiment::new(&model, clean, corrupted, Metric::logit_diff(&model.answers(pairs)?))?.edges()?;
    Ok((model, edges))
}

#[test]
fn the_full_circuit_is_the_clean_run_and_the_empty_one_the_corrupted() -> Result<()> {
    for family in FAMILIES.into_iter().chain(["tiny_gpt2"]) {
        let (model, edges) = of_family(family)?;
        let circuit = Circuit::of(&model);
        let (full, empty) = (edges.evaluate(&circuit)?, edges.evaluate(&circuit.empty())?);
        assert!((full.metric - edges.clean()).abs() < LAST_DIGITS, "{family}: {} and {}", full.metric, edges.clean());
        assert!(
            (empty.metric - edges.corrupted()).abs() < ALONE,
            "{family}: {} and {}",
            empty.metric,
            edges.corrupted()
        );
        assert!(
            (full.faithfulness - 1.).abs() < REORDERED && empty.faithfulness.abs() < NO_FAITH,
            "{family}: {empty:?}"
        );
        // The clean metric is that of a plain run.
        let tokens = match family {
            "tiny_gpt2" => continue,
            family => Reference::load(&format!("families/{family}/reference.safetensors")).tokens("tokens"),
        };
        let logits = model.forward(&tokens)?.to_dtype(DType::F32)?;
        let pairs = (0..tokens.batch() as u32).map(|b| (b + 3, b + 9));
        let plain = model.answers(pairs)?.logit_diff(&logits, &tokens)?.mean();
        assert!((plain - f64::from(edges.clean())).abs() < f64::from(REORDERED), "{family}");
    }
    Ok(())
}

#[test]
fn an_exact_score_is_the_whole_model_without_that_edge() -> Result<()> {
    let mut random = Random::new(1);
    for family in FAMILIES.into_iter().chain(["tiny_gpt2"]) {
        let (model, edges) = of_family(family)?;
        let exact = edges.attribute(EdgeMethod::Exact)?;
        let all = exact.all_edges();
        let mut largest = 0_f32;
        for _ in 0..25 {
            let edge = all[random.below(all.len())];
            let without = edges.evaluate(&Circuit::of(&model).without(edge)?)?.metric - edges.clean();
            let score = exact.score(edge)?;
            assert!((score - without).abs() < ALONE, "{family}, {edge}: {score} and {without}");
            largest = largest.max(score.abs());
        }
        assert!(largest > CLEAR, "{family}: no edge of these does anything ({largest})");
    }
    Ok(())
}

/// EAP by closed forms against taps at each head's own input, which split the stream and go through every norm by autograd.
#[test]
fn eap_agrees_with_gradients_at_each_heads_own_input() -> Result<()> {
    for family in FAMILIES.into_iter().chain(["tiny_gpt2"]) {
        let (model, edges) = of_family(family)?;
        let (clean, corrupted) = match family {
            "tiny_gpt2" => continue,
            family => {
                let clean = Reference::load(&format!("families/{family}/reference.safetensors")).tokens("tokens");
                let other = |row: usize| {
                    clean
                        .row(row)
                        .into_iter()
                        .enumerate()
                        .map(|(i, id)| if i % 3 == 1 { id / 2 + 1 } else { id })
                        .collect()
                };
                let corrupted = Tokens::from_rows((0..clean.batch()).map(other).collect())?;
                (clean, corrupted)
            }
        };
        let scores = edges.attribute(EdgeMethod::Eap)?;
        let metric = Metric::logit_diff(&model.answers((0..clean.batch() as u32).map(|b| (b + 3, b + 9)))?);
        let (_, gradients) = model.run_with_grads(&clean, &metric, ["q_input", "k_input", "v_input"])?;
        let (_, of_clean) = model.run_with_cache(&clean)?;
        let (_, of_corrupted) = model.run_with_cache(&corrupted)?;
        let difference = (of_corrupted.get("embed")? - of_clean.get("embed")?)?;
        let mut compared = 0;
        for layer in 0..model.cfg().n_layers {
            for (name, heads) in [
                ("q", model.cfg().n_heads),
                ("k", model.cfg().n_key_value_heads()),
                ("v", model.cfg().n_key_value_heads()),
            ] {
                let gradient = gradients.get((format!("{name}_input").as_str(), layer))?;
                for head in 0..heads {
                    let own = gradient.narrow(2, head, 1)?.squeeze(2)?;
                    let expected = (own * &difference)?.sum_all()?.to_scalar::<f32>()? / clean.batch() as f32;
                    // Heads that share keys or values share the sum of their scores.
                    let share = model.cfg().n_heads / heads;
                    let sharing = head * share..(head + 1) * share;
                    let got: f32 =
                        sharing.map(|h| scores.score(format!("input->a{layer}.h{h}<{name}>"))).sum::<Result<_>>()?;
                    assert!(
                        (got - expected).abs() < ALONE + OF_GRADIENTS * expected.abs(),
                        "{family} {layer} {name} {head}: {got} {expected}"
                    );
                    compared += usize::from(expected.abs() > VISIBLE);
                }
            }
        }
        assert!(compared > 4, "{family}: {compared}");
    }
    Ok(())
}

#[test]
fn padding_changes_nothing() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (long, short) = (vec![3, 9, 4, 11, 6], vec![5, 8, 2]);
    let (other_long, other_short) = (vec![3, 10, 4, 1, 6], vec![5, 1, 2]);
    let scores = |clean: Tokens, corrupted: Tokens, pairs: &[(u32, u32)]| -> Result<(Circuit, Circuit, f32)> {
        let metric = Metric::logit_diff(&model.answers(pairs.iter().copied())?);
        let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
        let half = edges.attribute(EdgeMethod::Eap)?.topn(60, RankBy::Magnitude)?;
        let routes = edges.attribute(EdgeMethod::InformationFlowRoutes)?;
        Ok((
            edges.attribute(EdgeMethod::EapIgInputs { steps: 2 })?,
            routes,
            edges.evaluate(&half.full().without("input->m0")?)?.metric,
        ))
    };
    let alone = |clean: &Vec<u32>, corrupted: &Vec<u32>, pair| {
        scores(Tokens::from_rows(vec![clean.clone()])?, Tokens::from_rows(vec![corrupted.clone()])?, &[pair])
    };
    let one = alone(&long, &other_long, (1, 2))?;
    let two = alone(&short, &other_short, (4, 3))?;
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let batch = |rows: [&Vec<u32>; 2]| Tokens::padded(rows.map(Clone::clone).to_vec(), 0, side);
        let both = scores(batch([&long, &short])?, batch([&other_long, &other_short])?, &[(1, 2), (4, 3)])?;
        assert!((both.2 - (one.2 + two.2) / 2.).abs() < REORDERED, "{side}");
        for edge in both.0.all_edges() {
            let mean = (one.0.score(edge)? + two.0.score(edge)?) / 2.;
            assert!((both.0.score(edge)? - mean).abs() < REORDERED, "{side}, {edge}");
            let mean = (one.1.score(edge)? + two.1.score(edge)?) / 2.;
            assert!((both.1.score(edge)? - mean).abs() < REORDERED, "{side}, routes, {edge}");
        }
    }
    Ok(())
}

#[test]
fn curves_completeness_and_minimality_are_made_of_evaluations() -> Result<()> {
    let (model, edges) = of_family("tiny_gpt2")?;
    let scores = edges.attribute(EdgeMethod::Exact)?;
    let circuits = scores.topn_each(&[100, 10, 40], RankBy::Magnitude)?;
    let curve = edges.curve(&circuits)?;
    assert_eq!(curve.sizes, [10, 40, 100]);
    assert_eq!(curve.faithfulness[2], edges.evaluate(&circuits[0])?.faithfulness);
    assert_eq!(curve.metric[0], edges.evaluate(&circuits[1])?.metric);

    let circuit = circuits[0].prune();
    let set = vec![Node::Head(0, 1), Node::Mlp(0)];
    let completeness = edges.completeness(&circuit, &[set.clone(), vec![]])?;
    let part = edges.evaluate(&circuit.without_nodes(&set)?)?.faithfulness;
    let all = edges.evaluate(&Circuit::of(&model).without_nodes(&set)?)?.faithfulness;
    assert_eq!(completeness.get(&["a0.h1, m0", "circuit"])?, part);
    assert_eq!(completeness.get(&["a0.h1, m0", "model"])?, all);
    assert_eq!(completeness.get(&["a0.h1, m0", "difference"])?, part - all);
    assert!((completeness.at(&[1, 1])? - 1.).abs() < REORDERED, "nothing left out of the model is the model");
    let from_end = edges.completeness(&circuit, &[vec![Node::Head(-2, 1), Node::Mlp(-2)], vec![]])?;
    assert_eq!(from_end, completeness, "labels count from 0");

    let minimality = edges.minimality(&circuit)?;
    let nodes = circuit.nodes().len() - 2;
    assert_eq!(minimality.shape(), [nodes]);
    let lost =
        edges.evaluate(&circuit)?.faithfulness - edges.evaluate(&circuit.without_nodes(&[Node::Mlp(1)])?)?.faithfulness;
    assert_eq!(minimality.get(&["m1"])?, lost);
    Ok(())
}

#[test]
fn means_are_taken_over_texts_as_over_tokens() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let texts = ["The keys on the cabinet", "The capital of the land"];
    let tokens = model.to_tokens(texts)?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let corrupted = |ablation: Baseline| -> Result<f32> {
        Ok(Experiment::new(&model, "When John and Mary went", ablation, metric.clone())?.edges()?.corrupted())
    };
    assert_eq!(
        corrupted(Baseline::mean_of(MeanOver::BatchAndPos, texts))?,
        corrupted(Baseline::mean_of(MeanOver::BatchAndPos, &tokens))?
    );
    let of_one_length = "When Mary and John went";
    let positional = corrupted(Baseline::mean_of(MeanOver::Batch, of_one_length))?;
    assert_eq!(positional, corrupted(Baseline::mean_of(MeanOver::Batch, model.to_tokens(of_one_length)?))?);
    assert!((positional - corrupted(Baseline::mean_of(MeanOver::BatchAndPos, of_one_length))?).abs() > VISIBLE);
    Ok(())
}
