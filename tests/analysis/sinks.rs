//! Attention to the first token: one setting of a cache, and its mass by head against a loop.

use candle_lens::Result;
use candle_lens::analysis::{DetectOptions, DetectionPattern, detect_head, sink_mass};
use candle_lens::cache::{ActivationCache, Sink};
use candle_lens::candle::DType;
use candle_lens::hooks::HookPlan;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::views::{View, attention_explorer, attention_heads};

use crate::support::fixture::{path, tiny_model};
use crate::support::sentence::sentence;
use crate::support::tolerance::REORDERED;

fn models() -> Result<Vec<HookedTransformer>> {
    let family = |name: &str| {
        let folder = path(&format!("families/{name}"));
        HookedTransformer::from_pretrained_with(folder.to_str().expect("the path is UTF-8"), Processing::NONE)
    };
    Ok(vec![tiny_model(Processing::NONE), tiny_model(Processing::default()), family("llama")?, family("gpt_neox")?])
}

fn prompts(side: PaddingSide) -> Result<Tokens> {
    Tokens::padded(vec![vec![3, 9, 17, 11, 3, 20], vec![8, 8, 9], vec![4, 5, 6, 7]], 0, side)
}

#[test]
fn the_mass_is_that_of_the_loop() -> Result<()> {
    for model in models()? {
        for side in [PaddingSide::Left, PaddingSide::Right] {
            let tokens = prompts(side)?;
            let (_, cache) = model.run_with_cache(&tokens)?;
            let mass = sink_mass(&cache)?;
            assert_eq!(mass, sink_mass(&cache.clone().with_sink(Sink::LeftOut))?, "the setting is of views and scores");
            for layer in 0..model.cfg().n_layers {
                let pattern = cache.get(("pattern", layer as isize))?.to_dtype(DType::F32)?;
                for head in 0..model.cfg().n_heads {
                    for prompt in 0..3 {
                        let (first, length) = (tokens.first_positions()[prompt], tokens.lengths()[prompt]);
                        let rows = pattern.get(prompt)?.get(head)?.to_vec2::<f32>()?;
                        let sum: f32 = (first + 1..first + length).map(|query| rows[query][first]).sum();
                        let (got, expected) = (mass.values()[[layer, head, prompt]], sum / (length - 1) as f32);
                        assert!((got - expected).abs() < REORDERED, "{side:?}: {got}, expected {expected}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// What is left of each row is what does not go to the first token; activations stay.
#[test]
fn the_setting_is_shared() -> Result<()> {
    for model in models()? {
        for side in [PaddingSide::Left, PaddingSide::Right] {
            let tokens = prompts(side)?;
            let (_, cache) = model.run_with_cache(&tokens)?;
            let left = cache.clone().with_sink(Sink::LeftOut);
            assert_eq!((cache.sink(), left.sink()), (Sink::Counted, Sink::LeftOut));
            for layer in 0..model.cfg().n_layers as isize {
                let whole = cache.get(("pattern", layer))?.to_dtype(DType::F32)?;
                let same = (left.get(("pattern", layer))?.to_dtype(DType::F32)? - &whole)?.abs()?.max_all()?;
                assert_eq!(same.to_scalar::<f32>()?, 0.0, "activations stay as they were");
                let rest = left.attention(layer)?.to_dtype(DType::F32)?;
                for (prompt, first) in tokens.first_positions().into_iter().enumerate() {
                    for head in 0..model.cfg().n_heads {
                        let rows = |x: &candle_lens::candle::Tensor| x.get(prompt)?.get(head)?.to_vec2::<f32>();
                        for (whole, rest) in rows(&whole)?.iter().zip(rows(&rest)?) {
                            for (key, (whole, rest)) in whole.iter().zip(&rest).enumerate() {
                                assert_eq!(*rest, if key == first { 0.0 } else { *whole });
                            }
                        }
                    }
                }
            }
            // All attention to the first token is left out, so none goes there.
            let firsts = detect_head(&left, &DetectionPattern::FirstToken, DetectOptions::default())?;
            assert!(firsts.values().iter().all(|&score| score == 0.0));
        }
    }
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
    let left = cache.clone().with_sink(Sink::LeftOut);
    for drawn in [attention_explorer(&model, &left), attention_heads(&model, (&left, 1))] {
        assert!(drawn.render()?.html().contains("without that to the first token"));
    }
    assert!(!attention_explorer(&model, &cache).render()?.html().contains("without that"));
    let (text, whole) = (attention_explorer(&model, &left).to_string(), attention_explorer(&model, &cache).to_string());
    assert_ne!(text, whole, "scores are of what is left");
    Ok(())
}

fn cache_of(model: &HookedTransformer) -> Result<ActivationCache> {
    Ok(model.run_with_cache(vec![vec![3_u32, 9, 17]])?.1)
}

#[test]
fn mistakes_are_refused_in_a_sentence() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(vec![vec![3_u32, 9, 17], vec![5, 6, 7]])?;
    let (_, short) = model.run_with_cache(vec![vec![3_u32]])?;
    sentence(sink_mass(&short), &["prompt 0", "two tokens"]);
    sentence(sink_mass(&short.remove_batch_dim()?), &["batch axis"]);
    let (_, part) = model.run_with_hooks(vec![vec![3_u32, 9, 17]], HookPlan::new().capture("pattern").pos(-1))?;
    sentence(sink_mass(&part), &["capture all positions"]);
    let detected = detect_head(&part, &DetectionPattern::PreviousToken, DetectOptions::default());
    sentence(detected, &["capture all positions"]);
    let (whole, last) = (cache_of(&model)?.with_sink(Sink::LeftOut), part.with_sink(Sink::LeftOut));
    let of_last = whole.attention(1)?.narrow(2, 2, 1)?.squeeze(2)?;
    assert_eq!((of_last - last.attention(1)?)?.abs()?.max_all()?.to_scalar::<f32>()?, 0.0);
    let (_, none) = model.run_with_hooks(vec![vec![3_u32, 9, 17]], HookPlan::new().capture("z"))?;
    assert!(sink_mass(&none).is_err() && none.with_sink(Sink::LeftOut).attention(0).is_err());
    assert!(cache.attention(9).is_err());
    Ok(())
}
