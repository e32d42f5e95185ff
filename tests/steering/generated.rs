//! Text under directions, against runs of the whole text.

use candle_lens::Result;
use candle_lens::candle::{D, IndexOp};
use candle_lens::generate::GenerateOptions;
use candle_lens::hooks::{Edit, HookPlan, Selection};
use candle_lens::slice::Slice;
use candle_lens::steering::Steering;

use super::{direction, kinds, prompts};
use crate::support::assert_close;
use crate::support::tolerance::TWO_WAYS;
use candle_lens::tokens::PaddingSide;

const NEW: usize = 7;

fn options() -> GenerateOptions {
    GenerateOptions { max_new_tokens: NEW, stop_at_eos: false, ..Default::default() }
}

/// A text is what its own whole run under the plan goes on with, and its projections are those of that run.
#[test]
fn text_and_projections_are_those_of_the_whole_text() -> Result<()> {
    for (name, model) in kinds()? {
        for side in [None, Some(PaddingSide::Left), Some(PaddingSide::Right)] {
            let tokens = prompts(2, side)?;
            let length = tokens.pos();
            let layers = model.cfg().n_layers;
            let (first, second) = (direction(&model, 0, 5)?, direction(&model, layers - 1, 6)?);
            let both = Steering::add([first.clone(), second.clone()], 1.5);
            let position = |slice: Slice| move |edit: Edit| edit.pos(slice.clone());
            let last = length as isize - 1;
            type At = Box<dyn Fn(Edit) -> Edit>;
            let cases: Vec<(Steering, At)> = vec![
                (both.clone(), Box::new(|edit| edit)),
                (both.clone().keeping_norm(), Box::new(|edit: Edit| edit.keeping_norm())),
                (both.clone().last(), Box::new(position(last.into()))),
                (both.clone().from_last(), Box::new(position((last..).into()))),
                (both.clone().generated(), Box::new(position((length as isize..).into()))),
                (both.at(Selection::new().pos([3, 8])), Box::new(position([3, 8].into()))),
            ];
            for (steering, at) in cases {
                let got = steering.generate(&model, &tokens, options())?;
                let text = got.text.tokens()?;
                let plan = [&first, &second].into_iter().try_fold(HookPlan::new(), |plan, vector| -> Result<_> {
                    Ok(plan.edit(vector.point(), at(Edit::add((vector.values() * 1.5)?))).capture(vector.point()))
                })?;
                let (logits, cache) = model.run_with_hooks(&text, &plan)?;
                let best = logits.argmax(2)?.to_vec2::<u32>()?;
                for (new, best) in got.text.new_tokens().iter().zip(&best) {
                    assert_eq!(new[..], best[length - 1..length + NEW - 1], "{name}, {side:?}: {steering:?}");
                }
                for (number, vector) in [&first, &second].into_iter().enumerate() {
                    let x = cache.get(vector.point())?.i((.., length - 1..length + NEW - 1))?;
                    let along = x.broadcast_mul(&vector.unit()?.values())?.sum(D::Minus1)?;
                    let found = got.projections.select("direction", number as isize)?.to_tensor()?;
                    assert_close(&found, &along, TWO_WAYS, &format!("{name}, {side:?}: {steering:?}"));
                }
            }
            // Without a scale it is ordinary text.
            let plain = model.generate(&tokens, options())?;
            assert_eq!(first.steer(0).generate(&model, &tokens, options())?.text.new_tokens(), plain.new_tokens());
        }
    }
    Ok(())
}

/// What is behind the end of a text has no projection.
#[test]
fn a_text_that_has_ended_has_no_projections() -> Result<()> {
    let (_, model) = kinds()?.remove(0);
    let tokens = prompts(2, None)?;
    let vector = direction(&model, 0, 5)?;
    let plain = model.generate(&tokens, options())?.new_tokens();
    // The token at which one text ends and another does not yet.
    let end = plain[0][1];
    let steered = vector.steer(0).generate(&model, &tokens, GenerateOptions { stop_tokens: vec![end], ..options() })?;
    for (row, new) in steered.text.new_tokens().iter().enumerate() {
        for step in 0..steered.projections.shape()[2] {
            let projection = steered.projections.at(&[row as isize, 0, step as isize])?;
            assert_eq!(projection.is_nan(), step >= new.len(), "{row} {step}");
        }
    }
    assert!(steered.text.new_tokens()[0].len() == 2, "the first text ends");
    Ok(())
}
