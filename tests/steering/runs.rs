//! Runs under directions.

use candle_lens::Result;
use candle_lens::candle::{D, DType, IndexOp, Tensor};
use candle_lens::hooks::{Edit, HookPlan, Selection};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Processing, RunOptions};
use candle_lens::slice::Slice;
use candle_lens::steering::{Steering, SteeringVector};
use candle_lens::tokens::Tokens;

use super::{SIDES, direction, kinds, prompts};
use crate::support::assert_close;
use crate::support::half::{HALF, Pair, kind};
use crate::support::tolerance::{REORDERED, TWO_WAYS, VISIBLE};

/// The logits of real tokens, one after the other.
fn real(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let at = |b: usize| (0..tokens.pos()).filter(move |&pos| tokens.is_real(b, pos)).map(move |pos| (b, pos));
    let rows = (0..tokens.batch()).flat_map(at).map(|(b, pos)| Ok(logits.i((b, pos))?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&rows, 0)?)
}

fn under(model: &HookedTransformer, tokens: &Tokens, plan: &HookPlan) -> Result<Tensor> {
    real(&model.run_with_hooks(tokens, plan)?.0, tokens)
}

fn steered(model: &HookedTransformer, tokens: &Tokens, steering: &Steering) -> Result<Tensor> {
    under(model, tokens, &steering.plan(model, tokens)?)
}

/// The run in two halves, with the stream between them changed number by number.
fn by_hand(
    model: &HookedTransformer,
    tokens: &Tokens,
    layer: usize,
    change: impl Fn(usize, usize, &[f32]) -> Vec<f32>,
) -> Result<Tensor> {
    let next = layer as isize + 1;
    let first = RunOptions { stop_at_layer: Some(next), ..Default::default() };
    let stream = model.run(tokens, HookPlan::new(), &first)?.resid()?.to_vec3::<f32>()?;
    let changed = stream
        .iter()
        .enumerate()
        .map(|(b, rows)| rows.iter().enumerate().map(|(pos, row)| change(b, pos, row)).collect::<Vec<_>>());
    let changed = Tensor::new(changed.collect::<Vec<_>>(), &model.device())?;
    if next as usize == model.cfg().n_layers {
        let plan = HookPlan::new().edit(("resid_post", layer), Edit::replace(changed));
        return under(model, tokens, &plan);
    }
    let second = RunOptions { start_at_layer: Some((next, changed)), ..Default::default() };
    real(&model.run(tokens, HookPlan::new(), &second)?.logits()?, tokens)
}

fn norm(x: &[f32]) -> f32 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32
}

#[test]
fn runs_are_those_in_two_halves() -> Result<()> {
    const SCALE: f32 = 0.7;
    for (name, model) in kinds()? {
        for side in SIDES {
            let tokens = prompts(2, side)?;
            let plain = under(&model, &tokens, &HookPlan::new())?;
            for layer in 0..model.cfg().n_layers {
                let vector = direction(&model, layer, 5)?;
                let v = vector.values().to_vec1::<f32>()?;
                let add = |row: &[f32]| row.iter().zip(&v).map(|(x, v)| x + SCALE * v).collect::<Vec<f32>>();
                let kept = |row: &[f32]| {
                    let pushed = add(row);
                    let factor = norm(row) / norm(&pushed);
                    pushed.iter().map(|x| x * factor).collect()
                };
                let along = |row: &[f32]| row.iter().zip(&v).map(|(x, v)| x * v).sum::<f32>() / norm(&v).powi(2);
                let last = tokens.last_positions();
                let at =
                    |b: usize, pos: usize, row: &[f32], to: Vec<f32>| if pos == last[b] { to } else { row.to_vec() };
                let everywhere = vector.steer(SCALE);
                let what = format!("{name}, {side:?}, layer {layer}");
                for (steering, expected) in [
                    (everywhere.clone(), by_hand(&model, &tokens, layer, |_, _, row| add(row))?),
                    (everywhere.clone().keeping_norm(), by_hand(&model, &tokens, layer, |_, _, row| kept(row))?),
                    (
                        everywhere.clone().last(),
                        by_hand(&model, &tokens, layer, |b, pos, row| at(b, pos, row, add(row)))?,
                    ),
                    (
                        everywhere.clone().from_last().keeping_norm(),
                        by_hand(&model, &tokens, layer, |b, pos, row| at(b, pos, row, kept(row)))?,
                    ),
                    (
                        everywhere.at(Selection::new().batch(1).pos([2, 3])),
                        by_hand(&model, &tokens, layer, |b, pos, row| {
                            if b == 1 && [2, 3].contains(&pos) { add(row) } else { row.to_vec() }
                        })?,
                    ),
                    (
                        vector.ablate(),
                        by_hand(&model, &tokens, layer, |_, _, row| {
                            row.iter().zip(&v).map(|(x, v)| x - along(row) * v).collect()
                        })?,
                    ),
                ] {
                    let got = steered(&model, &tokens, &steering)?;
                    assert_close(&got, &expected, TWO_WAYS, &format!("{what}: {steering:?}"));
                    let change = (&got - &plain)?.abs()?.max_all()?.to_scalar::<f32>()?;
                    assert!(change > VISIBLE, "{what}: {steering:?} changes nothing");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_nothing_changes_nothing() -> Result<()> {
    for (name, model) in kinds()? {
        for side in SIDES {
            let tokens = prompts(3, side)?;
            let plain = under(&model, &tokens, &HookPlan::new())?;
            let vectors = (0..model.cfg().n_layers).map(|layer| direction(&model, layer, 7));
            let vectors = vectors.collect::<Result<Vec<_>>>()?;
            let none = Steering::add(vectors.clone(), 0);
            for steering in [none.clone(), none.clone().keeping_norm(), none.from_last()] {
                assert_close(&steered(&model, &tokens, &steering)?, &plain, 0., &format!("{name}: {steering:?}"));
            }
            let (of, by) = (vectors[0].point(), (vectors[0].values() * 3.)?);
            let both = HookPlan::new().edit(of, Edit::add(by.clone())).edit(of, Edit::add(by.neg()?));
            assert_close(&under(&model, &tokens, &both)?, &plain, TWO_WAYS, &format!("{name}, there and back"));
        }
    }
    Ok(())
}

#[test]
fn several_layers_are_as_many_edits() -> Result<()> {
    for (name, model) in kinds()? {
        let (tokens, layers) = (prompts(2, None)?, model.cfg().n_layers);
        let vector = direction(&model, 0, 9)?;
        let half = (vector.values() * 0.5)?;
        let by_hand = |wanted: Vec<usize>| {
            wanted
                .into_iter()
                .fold(HookPlan::new(), |plan, layer| plan.edit(("resid_post", layer), Edit::add(half.clone())))
        };
        for (layers, wanted) in [(Slice::from(..), (0..layers).collect::<Vec<_>>()), ((-1).into(), vec![layers - 1])] {
            let steering = vector.steer(0.5).layers(&model, layers)?;
            let expected = under(&model, &tokens, &by_hand(wanted))?;
            assert_close(&steered(&model, &tokens, &steering)?, &expected, REORDERED, &name);
        }
        let two = vector.steer(0.5).and(&vector.at_layer(&model, -1)?);
        let expected = under(&model, &tokens, &by_hand(vec![0, layers - 1]))?;
        assert_close(&steered(&model, &tokens, &two)?, &expected, REORDERED, &name);
    }
    Ok(())
}

/// What is removed is gone, and removing it again changes nothing more.
#[test]
fn a_removed_direction_is_gone() -> Result<()> {
    for (name, model) in kinds()? {
        let tokens = prompts(2, None)?;
        let vector = direction(&model, 0, 9)?;
        let plan = vector.ablate().plan(&model, &tokens)?.capture(("resid_post", 0));
        let (_, cache) = model.run_with_hooks(&tokens, &plan)?;
        let x = cache.get(("resid_post", 0))?;
        let left = x.broadcast_mul(&vector.unit()?.values())?.sum(D::Minus1)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(left < REORDERED, "{name}: {left}");
        let twice = vector.ablate().and(&vector);
        assert_close(
            &steered(&model, &tokens, &twice)?,
            &steered(&model, &tokens, &vector.ablate())?,
            REORDERED,
            &name,
        );
    }
    Ok(())
}

/// Directions in half precision are as far from f32 as the runs themselves.
#[test]
fn half_precision_keeps_norms() -> Result<()> {
    let cfg = HookedTransformerConfig { n_layers: 1, ..kind("gpt2") };
    for (dtype, tolerance) in HALF {
        let Pair { half, full } = Pair::new("steered", &cfg, dtype, Some(Processing::NONE))?;
        let tokens = prompts(2, None)?;
        let of = |model: &HookedTransformer| -> Result<(Tensor, Tensor)> {
            let vector = SteeringVector::new(model, ("resid_post", 0), &super::random(model, 3)?)?;
            let stream = |plan: HookPlan| -> Result<Tensor> {
                let (_, cache) = model.run_with_hooks(&tokens, plan.capture(("resid_post", 0)))?;
                Ok(cache.get(("resid_post", 0))?.to_dtype(DType::F32)?)
            };
            let kept = stream(vector.steer(2).keeping_norm().plan(model, &tokens)?)?;
            let ablated = stream(vector.ablate().plan(model, &tokens)?)?;
            Ok((kept, ablated))
        };
        let ((kept, ablated), (kept_full, ablated_full)) = (of(&half)?, of(&full)?);
        for (got, expected) in [(kept, kept_full), (ablated, ablated_full)] {
            let length = |x: &Tensor| -> Result<f64> { Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt()) };
            let miss = length(&(&got - &expected)?)? / length(&expected)?;
            assert!(miss < 2. * tolerance, "{dtype:?}: {miss}");
        }
    }
    Ok(())
}
