//! Chained graphs of differences, other metrics, a BOS, padding, half precision and dictionaries of one head; and what they refuse.

use candle_lens::Result;
use candle_lens::feature_graphs::{BiasOf, EdgeVia, GraphNode};
use candle_lens::model::{LoadOptions, Processing};
use candle_lens::prelude::*;

use super::chained::{
    PAIR, ROUNDING, autoencoder, check, check_sums, check_totals, graph, largest, of_all_parts, point_of, prompt,
};
use super::sums::{Kind, transcoder};
use crate::support::models::architecture;

const IOI: &str = "When John and Mary went to the shops, John gave the bag to";

/// Patterns, values and z are rounded to three digits in half precision before a graph reads them; in bf16 to two.
const HALF: [(DType, f32); 2] = [(DType::F16, 1e-2), (DType::BF16, 8e-2)];

fn tiny() -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained("tiny")
}

/// Queries and keys read positions there, and between two runs these do not change.
#[test]
fn positions_of_a_shortformer_do_nothing_between_two_prompts() -> Result<()> {
    let model = architecture("shortformer_mlp", Some(Processing::NONE))?;
    let all = of_all_parts(&model, "mlp.hook_in", Kind::Plain)?;
    let (clean, corrupted) = (prompt()?, Tokens::from_rows(vec![vec![5, 3, 7, 1, 8]])?);
    let metric = Metric::logit_diff(&model.answers([PAIR])?);
    let positions = |baseline: Baseline| -> Result<usize> {
        let graph = model.chained_graph(&all, &clean, baseline, metric.clone())?;
        Ok(graph
            .nodes()
            .iter()
            .filter(|node| matches!(node.node, GraphNode::Position { .. }) && node.score() != 0.0)
            .count())
    };
    assert!(positions(Baseline::Zero)? > 0);
    assert_eq!(positions(Baseline::from(&corrupted))?, 0);
    Ok(())
}

#[test]
fn a_difference_has_the_gradients_of_the_clean_run_and_the_changes_of_both() -> Result<()> {
    let model = tiny()?;
    let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
    let clean = prompt()?;
    let corrupted = Tokens::from_rows(vec![vec![5, 3, 70, 1, 81]])?;
    let metric = Metric::logit_diff(&model.answers([PAIR])?);
    let difference = model.chained_graph(&all, &clean, &corrupted, metric.clone())?;
    let plain = graph(&model, &all, &clean)?;
    let acts = |tokens: &Tokens| -> Result<Vec<FeatureActs>> {
        all.iter()
            .map(|own| {
                let point = own.expects().hook_in.expect("a point");
                own.encode(&model.run_with_hooks(tokens, HookPlan::new().capture(point))?.1.get(point)?.get(0)?)
            })
            .collect()
    };
    let (own, other) = (acts(&clean)?, acts(&corrupted)?);
    let of = |acts: &[FeatureActs], node: GraphNode| -> Result<f32> {
        let (point, pos, feature) = point_of(node).expect("a feature");
        let number = all.iter().position(|own| own.expects().writes().is_some_and(|at| at.to_string() == point));
        let found = acts[number.expect("a dictionary")].at([pos as isize])?;
        Ok(found.iter().find(|active| active.feature == feature).map_or(0.0, |active| active.value))
    };
    let size = largest(plain.nodes().iter().map(|node| node.score()));
    let (mut new, mut out) = (0, std::collections::BTreeMap::new());
    for edge in difference.edges() {
        *out.entry(edge.source).or_insert(0.0) += edge.metric;
        assert!(!matches!(edge.source, GraphNode::Bias(bias) if bias != BiasOf::FirstPositions), "{edge}");
        if point_of(edge.target).is_some() {
            assert!(of(&own, edge.target)? > 0.0, "{edge} leads to a feature that is not active");
        }
    }
    for node in difference.nodes() {
        if node.node == (GraphNode::Target { number: 0 }) {
            continue;
        }
        let sum = out.get(&node.node).copied().unwrap_or(0.0);
        assert!((sum - node.score()).abs() < ROUNDING * size, "{}: {} and {sum}", node.node, node.score());
        if point_of(node.node).is_none() {
            continue;
        }
        let change = of(&own, node.node)? - of(&other, node.node)?;
        assert!((node.change - change).abs() < ROUNDING, "{}: {} and {change}", node.node, node.change);
        match plain.nodes().into_iter().find(|own| own.node == node.node) {
            Some(same) => assert!((same.gradient - node.gradient).abs() < ROUNDING * size, "{}", node.node),
            None => new += 1,
        }
    }
    assert!(new > 10, "{new} features of the corrupted run only");
    // candle gives gradients at features that are not active too.
    check_totals(&model, &all, (&clean, ROUNDING), (&difference, Some(&corrupted)), "a difference")
}

#[test]
fn what_a_bos_is_given_is_held() -> Result<()> {
    let model = tiny()?;
    let tokens = model.to_tokens(IOI)?;
    let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Skip)?;
    check(&model, &all, (&tokens, ROUNDING), "with a BOS")?;
    let set = DictionarySet::open("tiny")?;
    let names = ["z0", "z1", "z2", "z3", "mlp0", "mlp1", "mlp2", "mlp3"];
    let all = names.into_iter().map(|name| set.get(name)).collect::<Result<Vec<_>>>()?;
    check(&model, &all, (&tokens, ROUNDING), "the embedded dictionaries")?;
    let found = graph(&model, &all, &tokens)?;
    assert!(found.nodes().iter().all(|node| point_of(node.node).is_none_or(|(_, pos, _)| pos > 0)));
    let first = GraphNode::Bias(BiasOf::FirstPositions);
    assert!(found.edges().iter().any(|edge| edge.source == first && edge.via == EdgeVia::K));
    Ok(())
}

#[test]
fn padding_is_no_part_of_a_chained_graph() -> Result<()> {
    let model = tiny()?;
    let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
    let ids = prompt()?.row(0);
    let bare = graph(&model, &all, &prompt()?)?;
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let filler = vec![7; 3];
        let row = match side {
            PaddingSide::Left => [filler, ids.clone()].concat(),
            PaddingSide::Right => [ids.clone(), filler].concat(),
        };
        let padded = graph(&model, &all, &Tokens::from_padded_rows(vec![row], 7, side, false)?)?;
        let size = largest(bare.nodes().iter().map(|node| node.score()));
        let (mut a, mut b) = (padded.edges(), bare.edges());
        for edges in [&mut a, &mut b] {
            edges.sort_by_key(|edge| (edge.source, edge.target, edge.via));
        }
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert!((a.source, a.target, a.via) == (b.source, b.target, b.via), "{a}, {b}");
            assert!((a.metric - b.metric).abs() < ROUNDING * size, "{side:?}: {a}, {b}");
        }
    }
    Ok(())
}

/// A log probability at two positions has its gradient at both, and the tangent at 0 is a bias of its own.
#[test]
fn metrics_of_other_forms_and_positions_have_the_gradients_of_candle() -> Result<()> {
    let model = tiny()?;
    let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
    let tokens = prompt()?;
    let metric = Metric::log_prob(&model, [PAIR.0])?.at([1, 4]);
    let graph = model.chained_graph(&all, &tokens, Baseline::Zero, metric)?;
    let plan = model.splice(&all, ErrorTerm::Recomputed)?.watch("blocks.2.hook_mlp_out.hook_sae_acts_post");
    let held = model.with_frozen([Frozen::NormScales]).without_weight_gradients();
    let run = held.run(&tokens, plan, RunOptions::default())?;
    let logits = run.logits()?.get(0)?;
    let of = |pos: usize| -> Result<Tensor> {
        let row = logits.get(pos)?;
        Ok((row.get(PAIR.0 as usize)? - row.exp()?.sum_all()?.log()?)?)
    };
    let value = ((of(1)? + of(4)?)? / 2.0)?;
    let gradients = run.taps.gradients(&value)?.get("blocks.2.hook_mlp_out.hook_sae_acts_post")?;
    let mut seen = 0;
    for node in graph.nodes() {
        let GraphNode::Feature { layer: 2, pos, feature } = node.node else { continue };
        let wanted = gradients.i((0, pos, feature))?.to_scalar::<f32>()?;
        assert!((node.gradient - wanted).abs() < ROUNDING, "{}: {}, candle {wanted}", node.node, node.gradient);
        seen += 1;
    }
    assert!(seen > 8, "{seen} features");
    check_sums(&model, &all, (&tokens, ROUNDING), &graph, "log probabilities")
}

#[test]
fn half_precision_sums_in_f32() -> Result<()> {
    for (dtype, tolerance) in HALF {
        let options = LoadOptions { processing: Some(Processing::default()), dtype, ..LoadOptions::default() };
        let model = HookedTransformer::from_pretrained_with("tiny", options)?;
        let all = of_all_parts(&model, "ln2.hook_normalized", Kind::Plain)?;
        let found = graph(&model, &all, &prompt()?)?;
        check_sums(&model, &all, (&prompt()?, tolerance), &found, &format!("{dtype:?}"))?;
    }
    Ok(())
}

#[test]
fn a_dictionary_of_one_head_leaves_the_others_to_the_error() -> Result<()> {
    let model = tiny()?;
    let whole = autoencoder(&model, 1, Activation::Relu)?;
    let (head, width) = (3, model.cfg().d_head());
    let of_head = |x: Tensor, axis: usize| -> Result<Tensor> { Ok(x.narrow(axis, head * width, width)?.contiguous()?) };
    let parts = whole.parts();
    let mut expects = parts.expects.clone();
    expects.head = Some(head);
    let one = Dictionary::new(DictionaryParts {
        w_enc: (of_head(parts.w_enc.clone(), 0)? * 2.0)?,
        w_dec: of_head(parts.w_dec.clone(), 1)?,
        b_dec: of_head(parts.b_dec.clone(), 0)?,
        b_in: Some(of_head(parts.b_dec.clone(), 0)?),
        expects,
        ..parts
    })?;
    let all = [one, autoencoder(&model, 2, Activation::Relu)?, transcoder(&model, 3, "mlp.hook_in", Kind::Plain)?];
    check(&model, &all, (&prompt()?, ROUNDING), "one head")
}

#[test]
fn dictionaries_of_other_points_are_refused_by_name() -> Result<()> {
    let model = tiny()?;
    let set = DictionarySet::open("tiny")?;
    let refused = |dictionaries: &[Dictionary]| -> Result<String> {
        let metric = Metric::logit_diff(&model.answers([PAIR])?);
        let error = model.chained_graph(dictionaries, prompt()?, Baseline::Zero, metric).expect_err("refused");
        Ok(error.to_string())
    };
    let residual = refused(&[set.get("resid1")?])?;
    assert!(residual.contains("\"resid1\" is neither an autoencoder of hook_z nor a transcoder"), "{residual}");
    let twice = refused(&[set.get("z1")?, autoencoder(&model, 1, Activation::Relu)?])?;
    assert!(twice.contains("is of the same point as") && twice.contains("random z 1"), "{twice}");
    assert!(refused(&[])?.contains("no dictionary was given"));
    let normalised = Dictionary::new(DictionaryParts {
        input_norm: InputNorm::LayerNorm,
        ..autoencoder(&model, 1, Activation::Relu)?.parts()
    })?;
    assert!(refused(&[normalised])?.contains("normalises its input"));
    let metric = Metric::rank(&model, [PAIR.0])?;
    let rank = model.chained_graph(&set.get("z1")?, prompt()?, Baseline::Zero, metric).expect_err("no gradient");
    assert!(rank.to_string().contains("no gradient"), "{rank}");
    Ok(())
}
