//! Scores of edges by position and by span: summed up they are those of whole edges, and each is a slope, or a change, along
//! that edge of the transformer written out edge by edge.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::circuits::{Circuit, EdgeMethod, Edges, PositionScores, Spans};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::metrics::Metric;
use candle_lens::model::{Frozen, HookedTransformer, Processing, RELP};
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::views::View;

use super::by_hand::{ByHand, LEAST_SCORE, PAIRS, Written, architectures, compare, live, model, prompts};
use super::evaluation::{FAMILIES, of_family};
use crate::support::fixture::tiny_model;
use crate::support::scratch;
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, REORDERED};

/// How far an f32 score may be from the f64 one, relative to the largest score of its kind.
const TOLERANCE: f64 = 2e-4;

const METHODS: [EdgeMethod; 4] = [
    EdgeMethod::Eap,
    EdgeMethod::EapIgInputs { steps: 2 },
    EdgeMethod::EapIgActivations { steps: 2 },
    EdgeMethod::CleanCorrupted,
];

fn experiment(model: &HookedTransformer) -> Result<Edges> {
    let (clean, corrupted) = prompts();
    Experiment::new(model, clean, corrupted, Metric::logit_diff(&model.answers(PAIRS)?))
        .and_then(|experiment| experiment.edges())
}

/// All scores of two circuits are alike, within a share of the largest.
fn assert_same(what: &str, a: &Circuit, b: &Circuit) -> Result<()> {
    let size = b.all_edges().into_iter().map(|edge| b.score(edge)).try_fold(0f32, |s, x| x.map(|x| s.max(x.abs())))?;
    assert!(size > CLEAR, "{what}: nothing is compared");
    for edge in b.all_edges() {
        let (a, b) = (a.score(edge)?, b.score(edge)?);
        assert!((a - b).abs() <= REORDERED * size.max(1.0), "{what}, {edge}: {a} and {b} (of {size})");
    }
    Ok(())
}

#[test]
fn summed_over_positions_they_are_scores_of_whole_edges() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let edges = experiment(&model)?;
        for method in METHODS {
            let whole = edges.attribute(method)?;
            assert_same(&format!("{what}, {method:?}"), &edges.attribute_by_position(method)?.total(), &whole)?;
        }
        let zero = Experiment::new(&model, prompts().0, Baseline::Zero, Metric::logit_diff(&model.answers(PAIRS)?))?
            .edges()?;
        let whole = zero.attribute(EdgeMethod::Eap)?;
        assert_same(what, &zero.attribute_by_position(EdgeMethod::Eap)?.total(), &whole)?;
        // One prompt at a time.
        assert_same(
            what,
            &edges.clone().budget(60_000).attribute_by_position(EdgeMethod::Eap)?.total(),
            &edges.attribute(EdgeMethod::Eap)?,
        )?;
    }
    Ok(())
}

/// Rotary positions, shared keys, norms of queries and keys, windows, parallel blocks, processed and raw weights.
#[test]
fn the_same_in_real_families() -> Result<()> {
    for family in FAMILIES.into_iter().chain(["tiny_gpt2"]) {
        let (_, edges) = of_family(family)?;
        let whole = edges.attribute(EdgeMethod::Eap)?;
        assert_same(family, &edges.attribute_by_position(EdgeMethod::Eap)?.total(), &whole)?;
    }
    Ok(())
}

/// Under backward rules scores follow them, and are sums over positions all the same.
#[test]
fn backward_rules_are_followed() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let experiment = Experiment::new(&model, clean, corrupted, Metric::logit_diff(&model.answers(PAIRS)?))?;
        for rules in [vec![Frozen::AttentionPatterns], RELP.to_vec()] {
            let edges = experiment.with_frozen(rules)?.edges()?;
            let by_position = edges.attribute_by_position(EdgeMethod::Eap)?;
            assert_same(what, &by_position.total(), &edges.attribute(EdgeMethod::Eap)?)?;
            // No gradient goes through a held pattern to keys.
            assert_eq!(by_position.edge("input->a1.h1<k>")?.values().iter().fold(0f32, |a, b| a.max(b.abs())), 0.0);
        }
    }
    Ok(())
}

/// What the metric is when more and more of the corrupted value goes along one edge from one position to another: what a head
/// then writes there takes the place of what it writes.
fn metric_at(
    by_hand: &ByHand,
    clean: &Tokens,
    of_clean: &Written,
    (edge, from, to): ((&str, &str), usize, usize),
    added: &Tensor,
) -> Result<f64> {
    let pos = clean.pos();
    let only = |place: usize| {
        Tensor::from_vec((0..pos).map(|p| f64::from(u8::from(p == place))).collect(), (1, pos, 1), &Device::Cpu)
    };
    let added = added.broadcast_mul(&only(from)?)?;
    let carry = |f: &str, t: &str, x: &Tensor| Ok(if (f, t) == edge { (x + &added)? } else { x.clone() });
    if !(edge.1.ends_with("<k>") || edge.1.ends_with("<v>")) {
        return by_hand.metric(clean, &Written::new(), &carry);
    }
    let head = &edge.1[..edge.1.len() - 3];
    let (moved, _) = by_hand.run(clean, &Written::new(), &carry)?;
    let there = (&of_clean[head] + (&moved[head] - &of_clean[head])?.broadcast_mul(&only(to)?)?)?;
    by_hand.metric(clean, &Written::from([(head.to_string(), there)]), &live)
}

/// The score of an edge from a position to a position.
type Score<'a> = dyn Fn((&str, &str), usize, usize) -> Result<f64> + 'a;

/// Compares the scores of every fifth edge, from each position to each, with those of `one`.
fn compare_scores(what: &str, scores: &PositionScores, one: &Score<'_>) -> Result<()> {
    let mut all = Vec::new();
    for edge in scores.total().all_edges().into_iter().step_by(5) {
        let name = edge.to_string();
        let (from, to) = name.split_once("->").expect("an edge");
        let crosses = to.ends_with("<k>") || to.ends_with("<v>");
        for (s, t) in (0..5).flat_map(|s| (0..5).map(move |t| (s, t))) {
            let expected = if s == t || crosses && s < t { one((from, to), s, t)? } else { 0.0 };
            all.push((f64::from(scores.score(edge, s, t)?), expected, format!("{name}, {s} to {t}")));
        }
    }
    compare(what, &all, TOLERANCE, LEAST_SCORE);
    Ok(())
}

#[test]
fn each_is_the_slope_along_its_edge() -> Result<()> {
    const STEP: f64 = 1e-3;
    for (what, cfg) in architectures() {
        let (model, by_hand) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let of = |tokens: &Tokens| Ok::<_, candle_lens::Error>(by_hand.run(tokens, &Written::new(), &live)?.0);
        let (of_clean, of_corrupted) = (of(&clean)?, of(&corrupted)?);
        let slope = |edge: (&str, &str), s: usize, t: usize| {
            let difference = (&of_corrupted[edge.0] - &of_clean[edge.0])?;
            let at =
                |steps: f64| metric_at(&by_hand, &clean, &of_clean, (edge, s, t), &(&difference * (steps * STEP))?);
            Ok((8.0 * (at(1.0)? - at(-1.0)?) - (at(2.0)? - at(-2.0)?)) / (12.0 * STEP))
        };
        compare_scores(what, &experiment(&model)?.attribute_by_position(EdgeMethod::Eap)?, &slope)?;
    }
    Ok(())
}

#[test]
fn exact_ones_are_changes_along_their_edge() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, by_hand) = model(&cfg)?;
        let (clean, corrupted) = prompts();
        let of = |tokens: &Tokens| Ok::<_, candle_lens::Error>(by_hand.run(tokens, &Written::new(), &live)?.0);
        let (of_clean, of_corrupted) = (of(&clean)?, of(&corrupted)?);
        let whole = by_hand.metric(&clean, &Written::new(), &live)?;
        let change = |edge: (&str, &str), s: usize, t: usize| {
            let difference = (&of_corrupted[edge.0] - &of_clean[edge.0])?;
            Ok(metric_at(&by_hand, &clean, &of_clean, (edge, s, t), &difference)? - whole)
        };
        let edges = experiment(&model)?;
        compare_scores(what, &edges.attribute_by_position(EdgeMethod::Exact)?, &change)?;
        // Few edges of one prompt at a time.
        compare_scores(what, &edges.budget(60_000).attribute_by_position(EdgeMethod::Exact)?, &change)?;
    }
    Ok(())
}

/// Scores by span are sums over the positions of each span, and padding changes nothing.
#[test]
fn spans_of_prompts_of_different_lengths() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (long, short) = (vec![3, 9, 4, 11, 6], vec![5, 8, 2]);
    let (other_long, other_short) = (vec![3, 10, 4, 1, 6], vec![5, 1, 2]);
    let scores = |clean: Tokens, corrupted: Tokens, pairs: &[(u32, u32)]| -> Result<Edges> {
        let metric = Metric::logit_diff(&model.answers(pairs.iter().copied())?);
        Experiment::new(&model, clean, corrupted, metric)?.edges()
    };
    let alone = |clean: &Vec<u32>, corrupted: &Vec<u32>, pair| {
        scores(Tokens::from_rows(vec![clean.clone()])?, Tokens::from_rows(vec![corrupted.clone()])?, &[pair])?
            .attribute_by_position(EdgeMethod::Eap)
    };
    let each = [alone(&long, &other_long, (1, 2))?, alone(&short, &other_short, (4, 3))?];
    // The subject of the long prompt has two positions, that of the short one has one; the last position is in no span.
    let spans = Spans::new(["subject", "verb"]).prompt([0..2, 2..4]).prompt([0..1, 1..2]);
    let of = [[0, 0, 1, 1, 2].as_slice(), &[0, 1, 2]];
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let batch = |rows: [&Vec<u32>; 2]| Tokens::padded(rows.map(Clone::clone).to_vec(), 0, side);
        let edges = scores(batch([&long, &short])?, batch([&other_long, &other_short])?, &[(1, 2), (4, 3)])?;
        let by_span = edges.attribute_by_span(EdgeMethod::Eap, &spans)?;
        assert_eq!(by_span.spans(), ["subject", "verb", "other"]);
        let mut largest = 0f32;
        for edge in by_span.total().all_edges() {
            let got = by_span.edge(edge)?;
            let mut expected = vec![0f32; 9];
            for (scores, of) in each.iter().zip(of) {
                for (s, t) in (0..of.len()).flat_map(|s| (0..of.len()).map(move |t| (s, t))) {
                    expected[of[s] * 3 + of[t]] += scores.score(edge, s, t)? / 2.0;
                }
            }
            for (got, expected) in got.values().iter().zip(expected) {
                assert!((got - expected).abs() < REORDERED, "{side}, {edge}: {got} and {expected}");
                largest = largest.max(expected.abs());
            }
        }
        assert!(largest > CLEAR, "{side}: nothing is compared");
        assert_same("by span", &by_span.total(), &edges.attribute(EdgeMethod::Eap)?)?;
        assert_same(
            "by column",
            &edges.attribute_by_position(EdgeMethod::Eap)?.total(),
            &edges.attribute(EdgeMethod::Eap)?,
        )?;
    }
    Ok(())
}

#[test]
fn sums_tables_and_files() -> Result<()> {
    let (model, _) = model(&architectures()[3].1)?;
    let edges = experiment(&model)?;
    let spans = Spans::new(["first", "rest"]).prompt([0..2, 2..5]);
    let scores = edges.attribute_by_span(EdgeMethod::Eap, &spans)?;
    let (nodes, heads, total) = (scores.by_node(), scores.through_heads(), scores.total());
    assert_eq!((nodes.shape(), heads.shape()), (vec![1 + 2 * 5, 2], vec![8, 2, 2]));
    let sum = |of: &dyn Fn(&str) -> bool| -> Result<f32> {
        total.all_edges().into_iter().filter(|edge| of(&edge.to_string())).map(|edge| total.score(edge)).sum()
    };
    let of_node = nodes.get(&["m0", "first"])? + nodes.get(&["m0", "rest"])?;
    assert!((of_node - sum(&|edge| edge.starts_with("m0->"))?).abs() < REORDERED);
    let of_head: f32 = heads.values().iter().skip(4 * 5).take(4).sum();
    assert!((of_head - sum(&|edge| edge.ends_with("->a1.h1<k>") || edge.ends_with("->a1.h1<v>"))?).abs() < REORDERED);
    let strongest = scores.strongest(3);
    assert!(strongest.windows(2).all(|pair| pair[0].score.abs() >= pair[1].score.abs()));
    let text = scores.render()?.text().to_string();
    assert!(text.contains(&strongest[0].edge.to_string()) && text.contains("the strongest 20 of"), "{text}");
    assert!(spans.to_string().contains("0..2"), "{spans}");

    let path = scratch("position_scores").join("scores.safetensors");
    scores.save(&path)?;
    assert_eq!(PositionScores::load(&path)?, scores);
    sentence(PositionScores::load(path.with_extension("json")), &["scores.json"]);
    Ok(())
}

#[test]
fn what_is_refused() -> Result<()> {
    let (model, _) = model(&architectures()[0].1)?;
    let edges = experiment(&model)?;
    let by = |spans: Spans| edges.attribute_by_span(EdgeMethod::Eap, &spans);
    let only = |from: usize, to: usize| std::iter::once(from..to);
    sentence(by(Spans::new::<&str>([])), &["no spans"]);
    sentence(by(Spans::new(["a", "a"]).prompt([0..1, 1..2])), &["\"a\"", "own"]);
    sentence(by(Spans::new(["other"]).prompt(only(0, 1))), &["\"other\""]);
    sentence(by(Spans::new(["a"])), &["in 0 prompts, but there are 3"]);
    sentence(by(Spans::new(["a"]).prompt(only(0, 1)).prompt(only(0, 1))), &["in 2 prompts, but there are 3"]);
    sentence(by(Spans::new(["a", "b"]).prompt(only(0, 1))), &["2 spans", "1 places are given in prompt 0"]);
    sentence(by(Spans::new(["a", "b"]).prompt([0..2, 1..3])), &["position 1 of prompt 0", "\"a\" and \"b\""]);
    sentence(by(Spans::new(["a"]).prompt(only(4, 6))), &["6"]);
    sentence(edges.attribute_by_position(EdgeMethod::InformationFlowRoutes), &["not from where to where", "Exact"]);
    sentence(edges.attribute_by_position(EdgeMethod::EapIgInputs { steps: 0 }), &["0 steps"]);
    sentence(
        edges.clone().budget(1000).attribute_by_position(EdgeMethod::Eap),
        &["by 5 positions", "attribute_by_span"],
    );
    let scores = edges.attribute_by_position(EdgeMethod::Eap)?;
    sentence(scores.score("m0->m1", 0, 5), &["5"]);
    sentence(scores.edge("m1->m0"), &["m1->m0"]);
    Ok(())
}
