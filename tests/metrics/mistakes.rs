//! What metrics refuse, what they say about themselves, and equal answers.

use candle_lens::candle::{Device, Tensor};
use candle_lens::experiment::Experiment;
use candle_lens::hooks::AxisName;
use candle_lens::metrics::{Direction, Metric, Positions};
use candle_lens::model::{AttentionDir, HookedTransformer, HookedTransformerConfig, Processing};
use candle_lens::patching::Untouched;
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::{Error, Result};

use crate::support::fixture::tiny_model;
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, REORDERED, TWO_WAYS};

/// The rounding of a difference of two sums of probabilities, each below a hundredth.
const OF_PROBABILITIES: f32 = 1e-7;

fn rows() -> Result<Tokens> {
    Tokens::padded(vec![vec![1, 5, 2, 10], vec![7, 3]], 0, PaddingSide::Right)
}

#[test]
fn positions_are_those_of_tokens() -> Result<()> {
    let model = tiny_model(Processing::default());
    let metric = Metric::logit(&model, [3u32, 4])?;
    let at = |positions: Positions| metric.clone().at(positions).measure(&model, &rows()?);
    sentence(at(3.into()), &["prompt 1 has only padding at position 3", "positions of its tokens"]);
    sentence(at(4.into()), &["position", "4"]);
    sentence(at(Positions::each([1])), &["positions for 1 prompts", "there are 2"]);
    sentence(at(Positions::each([1, 2])), &["prompt 1 has only padding"]);
    sentence(at((2..2).into()), &["empty"]);
    let loss = Metric::mean_loss();
    sentence(
        loss.clone().at(Positions::Last).measure(&model, &rows()?),
        &["prompt 0 has no next token", "at least two tokens"],
    );
    sentence(loss.measure(&model, vec![vec![3u32]]), &["prompt 0 has no next token"]);
    assert!(at((-3).into()).is_ok(), "as in edits, -3 counts from the end of the axis: position 1");
    Ok(())
}

#[test]
fn answers_are_of_prompts_or_of_the_positions_that_are_read() -> Result<()> {
    let model = tiny_model(Processing::default());
    let tokens = rows()?;
    let logits = model.forward(&tokens)?;
    // A token for each of the 4 + 2 positions.
    let each = Metric::logit(&model, [9u32, 8, 7, 6, 5, 4])?.at_all();
    let at = |b: usize, p: usize, t: usize| -> Result<f32> { Ok(logits.get(b)?.get(p)?.get(t)?.to_scalar()?) };
    let expected =
        [(at(0, 0, 9)? + at(0, 1, 8)? + at(0, 2, 7)? + at(0, 3, 6)?) / 4., (at(1, 0, 5)? + at(1, 1, 4)?) / 2.];
    for (got, expected) in each.measure(&model, &tokens)?.values().iter().zip(expected) {
        assert!((got - expected).abs() < REORDERED, "{got} and {expected}");
    }
    let three = Metric::logit(&model, [9u32, 8, 7])?;
    sentence(three.clone().measure(&model, &tokens), &["answers for 3 prompts", "there are 2"]);
    sentence(three.at_all().measure(&model, &tokens), &["there are 2", "each of the 6 positions"]);
    Ok(())
}

#[test]
fn one_pair_of_equal_answers_has_no_difference() -> Result<()> {
    let model = tiny_model(Processing::default());
    let prompts = || Tokens::from_rows(vec![vec![1, 5, 2], vec![7, 3, 4]]);
    let answers = model.answers([(4u32, 4u32), (5, 6)])?;
    let logits = model.forward(&prompts()?)?;
    let expected = logits.get(1)?.get(2)?.to_vec1::<f32>()?;
    let expected = expected[5] - expected[6];
    for found in [Metric::logit_diff(&answers).measure(&model, &prompts()?)?, answers.logit_diff(&logits, &prompts()?)?]
    {
        assert_eq!(found.values()[[0]], 0.);
        assert!((found.values()[[1]] - expected).abs() < REORDERED);
    }
    let probabilities = Metric::prob_diff(&model, [vec![4u32, 9], vec![5]], [vec![9u32, 4], vec![6]])?;
    let found = probabilities.measure(&model, &prompts()?)?;
    assert!(found.values()[[0]].abs() < OF_PROBABILITIES && found.values()[[1]].abs() > OF_PROBABILITIES, "{found:?}");
    sentence(model.answers([(4u32, 4u32), (5, 5)]), &["each of the 2 pairs", "at least one pair"]);
    sentence(Metric::prob_diff(&model, [[4u32, 9]], [[9u32, 4]]), &["each of the 1 pairs"]);
    Ok(())
}

#[test]
fn a_custom_metric_does_what_a_ready_made_one_does() -> Result<()> {
    let model = tiny_model(Processing::default());
    let difference = |logits: &Tensor| logits.narrow(1, 0, 1)?.squeeze(1)? - logits.narrow(1, 1, 1)?.squeeze(1)?;
    let custom = Metric::custom("own", difference);
    assert_eq!((custom.name(), custom.direction(), custom.positions()), ("own", None, &Positions::Last));
    let custom = custom.more_is_better().columns(&model, [9u32, 4])?.at(Positions::First);
    assert_eq!((custom.name(), custom.direction()), ("own at the first token", Some(Direction::More)));
    let ready = Metric::logit_diff(&model.answers([(9u32, 4u32), (9, 4)])?).at(Positions::First);
    let prompts = Tokens::from_rows(vec![vec![1, 5, 2], vec![7, 3, 4]])?;
    let (custom, ready) = (custom.measure(&model, &prompts)?, ready.measure(&model, &prompts)?);
    assert_eq!(custom.values(), ready.values());
    sentence(Metric::kl().columns(&model, [3u32]), &["determines itself", "custom"]);
    let beyond = Metric::custom("own", difference).columns(&model, [3u32, 10_000]);
    sentence(beyond, &["10000"]);
    // An error of the closure ends the run.
    let failing = Metric::custom("failing", |_| Err::<Tensor, _>(Error::argument("no such luck.")));
    sentence(failing.measure(&model, &prompts), &["no such luck"]);
    // One number for each row, or one for each prompt; nothing else.
    let rows = Metric::custom("rows", |logits| logits.max(1)).at_all();
    let joint = Metric::custom("joint", |logits| logits.max(1)?.reshape((2, 3))?.mean(1)).at_all();
    let (rows, joint) = (rows.measure(&model, &prompts)?, joint.measure(&model, &prompts)?);
    rows.values().iter().zip(&joint.values()).for_each(|(a, b)| assert!((a - b).abs() < REORDERED, "{a} and {b}"));
    let odd = Metric::custom("odd", |_| Tensor::zeros(4, candle_core::DType::F32, &Device::Cpu)).at_all();
    sentence(odd.measure(&model, &prompts), &["\"odd", "[6], one number for each row", "[2]"]);
    Ok(())
}

/// A classifier that reads its answer at the first position has other logits than tokens.
#[test]
fn a_classifier_is_read_at_its_first_position() -> Result<()> {
    let cfg = HookedTransformerConfig {
        n_layers: 2,
        d_model: 8,
        n_heads: 2,
        d_vocab: 10,
        d_vocab_out: Some(2),
        n_ctx: 6,
        attention_dir: AttentionDir::Bidirectional,
        initializer_range: Some(0.4),
        ..Default::default()
    };
    let (model, _) = HookedTransformer::trainable(cfg, 3, &Device::Cpu)?;
    let (open, other) = (vec![vec![1u32, 2, 3], vec![1, 5, 4]], vec![vec![1u32, 2, 9], vec![1, 7, 4]]);
    let metric = Metric::logit_diff(&model.answers([(1u32, 0u32), (0, 1)])?).at(Positions::First);
    let logits = model.forward(open.clone())?.to_vec3::<f32>()?;
    let expected = [logits[0][0][1] - logits[0][0][0], logits[1][0][0] - logits[1][0][1]];
    for (got, expected) in metric.measure(&model, open.clone())?.values().iter().zip(expected) {
        assert!((got - expected).abs() < REORDERED, "{got} and {expected}");
    }
    // What differs at later positions reaches the first one by attention, and by nothing else in the last block.
    let result =
        Experiment::new(&model, open.clone(), other, metric)?.sweep("resid_post", &[AxisName::Layer, AxisName::Pos])?;
    assert!(result.normalised.at(&[0, 1])?.abs() > CLEAR, "{result:?}");
    assert!((result.normalised.at(&[1, 0])? - 1.).abs() < TWO_WAYS, "{result:?}");
    assert_eq!([1, 2].map(|pos| result.untouched[[1, pos]]), [Some(Untouched::NoPath); 2]);
    sentence(Metric::mean_loss().measure(&model, open), &["token id", "has no logit", "0 to 1"]);
    Ok(())
}

#[test]
fn metrics_without_a_slope_or_a_clean_run_say_so() -> Result<()> {
    let model = tiny_model(Processing::default());
    let prompts = Tokens::from_rows(vec![vec![1, 5, 2], vec![7, 3, 4]])?;
    for metric in [Metric::accuracy(&model, [3u32, 4])?, Metric::mean_accuracy(), Metric::rank(&model, [3u32, 4])?] {
        sentence(model.run_with_grads(&prompts, &metric, ["z"]), &["changes in steps", "no gradient"]);
    }
    let distance = Metric::custom_from_clean("distance", |logits, clean| (logits - clean)?.sqr()?.sum(1));
    sentence(distance.measure(&model, &prompts), &["distance", "clean run"]);
    let others = Tokens::from_rows(vec![vec![2, 5, 2], vec![7, 8, 4]])?;
    let patching = Experiment::new(&model, &prompts, &others, distance)?;
    assert!(patching.clean() == 0. && patching.corrupted() > 0.);
    Ok(())
}
