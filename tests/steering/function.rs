//! Indirect effects and function vectors, against runs by hand.

use candle_lens::Result;
use candle_lens::candle::{IndexOp, Tensor};
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::HookedTransformer;
use candle_lens::steering::IndirectEffects;
use candle_lens::tokens::Tokens;

use super::{SIDES, kinds, prompts};
use crate::support::assert_close;
use crate::support::sentence::sentence;
use crate::support::tolerance::{REORDERED, TWO_WAYS};

/// The mean of a point over the last tokens of prompts.
fn mean_at_last(model: &HookedTransformer, tokens: &Tokens, point: (&'static str, usize)) -> Result<Tensor> {
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture(point))?;
    let x = cache.get(point)?;
    let last = tokens.last_positions().into_iter().enumerate();
    let rows = last.map(|(b, pos)| Ok(x.i((b, pos))?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&rows, 0)?.mean(0)?)
}

#[test]
fn effects_are_those_of_one_run_for_each_head() -> Result<()> {
    let answers = [4u32, 5, 6];
    for (name, model) in kinds()? {
        for side in SIDES {
            let (clean, shuffled) = (prompts(1, side)?, prompts(9, side)?);
            let found = IndirectEffects::new(&model, &clean, &shuffled, Metric::prob(&model, answers)?)?;
            let metric = |plan: HookPlan| -> Result<f32> {
                let probabilities = candle_lens::candle_nn::ops::softmax(&model.run_with_hooks(&shuffled, plan)?.0, 2)?;
                let last = shuffled.last_positions().into_iter().zip(answers).enumerate();
                let of = last
                    .map(|(b, (pos, answer))| Ok(probabilities.i((b, pos, answer as usize))?.to_scalar::<f32>()?));
                Ok(of.collect::<Result<Vec<_>>>()?.iter().sum::<f32>() / 3.)
            };
            let before = metric(HookPlan::new())?;
            assert!((found.shuffled - before).abs() < REORDERED);
            for layer in 0..model.cfg().n_layers {
                let z = mean_at_last(&model, &clean, ("z", layer))?;
                for head in 0..model.cfg().n_heads {
                    let edit = |plan: HookPlan, (b, pos): (usize, usize)| -> Result<HookPlan> {
                        Ok(plan.edit(("z", layer), Edit::replace(z.get(head)?).batch(b).pos(pos).head(head)))
                    };
                    let last = shuffled.last_positions().into_iter().enumerate();
                    let expected = metric(last.into_iter().try_fold(HookPlan::new(), edit)?)? - before;
                    let got = found.effects.at(&[layer as isize, head as isize])?;
                    assert!((got - expected).abs() < TWO_WAYS, "{name}, {side:?} L{layer}H{head}: {got}, {expected}");
                }
            }
            if model.dims().norms_after {
                sentence(found.function_vector(1, ("resid_post", 0)), &["norms its attention output"]);
                continue;
            }
            let best = found.effects.top_heads(2)?;
            let results =
                best.iter().map(|(head, _)| Ok(mean_at_last(&model, &clean, ("result", head.layer))?.get(head.head)?));
            let expected = Tensor::stack(&results.collect::<Result<Vec<_>>>()?, 0)?.sum(0)?;
            let vector = found.function_vector(2, ("resid_post", -1))?;
            assert_close(&vector.values(), &expected, TWO_WAYS, &name);
            let same = found.function_vector_of(best.into_iter().map(|(head, _)| head), ("resid_post", -1))?;
            assert_close(&same.values(), &vector.values(), 0., &name);
        }
    }
    Ok(())
}
