//! Runs in half precision against the same weights in f32, at a width at which sums of candle's own are wrong: activations,
//! logits, losses, edits, generation. The tolerances are what `transformers` reaches at the logits.

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::hooks::{Edit, HookPlan, Kind, MeanOver};
use candle_lens::model::{HookedTransformerConfig, Loss, Processing, RunOptions};

use crate::support::fixture::numbers;
use crate::support::half::{HALF, Misses, Pair, WIDE, kind, kinds, miss, miss_of, prompts};

/// The same of a mean over thousands of losses.
const MEAN: f64 = 1e-4;

/// Every activation of every architecture, with weights as they are and processed, and the logits.
#[test]
fn logits_are_as_near_as_those_of_transformers() -> Result<()> {
    let mut misses = Misses::default();
    for (name, cfg) in kinds() {
        for (dtype, tolerance) in HALF {
            for processing in [Some(Processing::NONE), None] {
                let pair = Pair::new(&format!("logits_{name}"), &cfg, dtype, processing)?;
                let what = format!("{name} {dtype:?} {}", if processing.is_some() { "as it is" } else { "processed" });
                let tokens = prompts(2, 24, cfg.d_vocab);
                let (half, of_half) = pair.half.run_with_cache(tokens.clone())?;
                let (full, of_full) = pair.full.run_with_cache(tokens)?;
                assert_eq!(half.dtype(), dtype);
                misses.add(format!("{what}: logits"), miss_of(&half, &full), 1.5 * tolerance);
                for (point, x) in of_half.iter() {
                    let is_scale = point.kind() == Kind::Scale;
                    assert_eq!(x.dtype(), if is_scale { DType::F32 } else { dtype }, "{point}");
                    let miss = miss_of(x, &of_full.get(point)?);
                    misses.add(format!("{what}: {point}"), miss, if is_scale { tolerance } else { 3. * tolerance });
                }
            }
        }
    }
    misses.finish();
    Ok(())
}

/// GPT-2 and Llama have coordinates of thousands at the first position, whose squares f16 cannot hold, and models of the hub
/// an eps of 1e-12, which is 0 in f16.
#[test]
fn a_large_coordinate_and_a_small_eps_overflow_nowhere() -> Result<()> {
    for (dtype, tolerance) in HALF {
        for name in ["gpt2", "llama"] {
            let cfg = HookedTransformerConfig { eps: 1e-12, ..kind(name) };
            let large = |name: &str, weight: Tensor| -> Result<Tensor> {
                if name != "embed.W_E" {
                    return Ok(weight);
                }
                // Token 1 is large at one coordinate, all of token 2 is one number.
                let (d_vocab, d_model) = weight.dims2()?;
                let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
                values[d_model + 7] = 3000.;
                values[2 * d_model..3 * d_model].fill(0.1);
                Ok(Tensor::from_vec(values, (d_vocab, d_model), weight.device())?)
            };
            let pair = Pair::with(&format!("outlier_{name}"), &cfg, (dtype, Some(Processing::NONE)), large)?;
            let tokens = vec![vec![1u32, 2, 42, 7, 2, 33], vec![1, 1, 1, 5, 2, 2]];
            let (half, cache) = pair.half.run_with_cache(tokens.clone())?;
            let full = pair.full.forward(tokens)?;
            let scales = cache.get("blocks.0.ln1.hook_scale")?;
            assert!(numbers(&scales).iter().all(|scale| scale.is_finite()));
            assert!(numbers(&half).iter().all(|logit| logit.is_finite()), "{name} {dtype:?}");
            let miss = miss_of(&half, &full);
            println!("{name} {dtype:?}: {miss:.2e}");
            assert!(miss < 2. * tolerance, "{name} {dtype:?}: {miss}");
        }
    }
    Ok(())
}

/// Losses are f32, over a vocabulary of 32,000 and over 4064 predictions, and are those that the run's own logits have in f64.
#[test]
fn losses_are_those_of_the_logits() -> Result<()> {
    let wide = HookedTransformerConfig { n_layers: 1, d_vocab: 32_000, ..kind("gpt2") };
    for (dtype, tolerance) in HALF {
        let pair = Pair::new("losses", &wide, dtype, Some(Processing::NONE))?;
        let check = |batch: usize, pos: usize| -> Result<()> {
            let tokens = prompts(batch, pos, 32_000);
            let options = RunOptions { loss: Loss::PerToken, ..Default::default() };
            let run = pair.half.run(tokens.clone(), HookPlan::new(), &options)?;
            let (loss, logits) = (run.loss.expect("asked for"), run.logits.expect("asked for"));
            assert_eq!(loss.dtype(), DType::F32);
            let mut expected = Vec::new();
            for (b, row) in tokens.iter().enumerate() {
                for (p, logits) in
                    logits.get(b)?.to_dtype(DType::F64)?.to_vec2::<f64>()?.iter().enumerate().take(pos - 1)
                {
                    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
                    expected.push(sum.ln() - logits[row[p + 1] as usize]);
                }
            }
            let wrong = miss(&numbers(&loss), &expected);
            assert!(wrong < WIDE, "{dtype:?} per token: {wrong}");
            let mean = numbers(&pair.half.loss(tokens.clone())?)[0];
            let exact = expected.iter().sum::<f64>() / expected.len() as f64;
            assert!((mean - exact).abs() < MEAN * exact, "{dtype:?}: {mean} for {exact}");
            let full = numbers(&pair.full.loss(tokens)?)[0];
            println!("{dtype:?} {batch}x{pos}: {mean:.4}, f32 {full:.4}");
            assert!((mean - full).abs() < tolerance * full, "{dtype:?}: {mean} for {full}");
            Ok(())
        };
        check(1, 5)?;
        check(8, 128)?;
    }
    let small = HookedTransformerConfig { d_model: 128, d_mlp: Some(128), ..kind("gpt2") };
    for (dtype, tolerance) in HALF {
        let pair = Pair::new("mean_loss", &small, dtype, Some(Processing::NONE))?;
        let tokens = prompts(32, 128, small.d_vocab);
        let (half, full) = (numbers(&pair.half.loss(tokens.clone())?)[0], numbers(&pair.full.loss(tokens)?)[0]);
        println!("{dtype:?} 32x128: {half:.4}, f32 {full:.4}");
        assert!((half - full).abs() < tolerance * full, "{dtype:?}: {half} for {full}");
    }
    Ok(())
}

#[test]
fn means_are_means() -> Result<()> {
    // Sums over tokens, so the width is nothing to them.
    let cfg = HookedTransformerConfig { d_model: 128, d_mlp: Some(128), ..kind("gpt2") };
    let mut misses = Misses::default();
    for (dtype, tolerance) in HALF {
        let pair = Pair::new("means", &cfg, dtype, Some(Processing::NONE))?;
        let tokens = prompts(32, 128, cfg.d_vocab);
        for over in [MeanOver::Batch, MeanOver::BatchAndPos] {
            // Of ones, so that nothing but the mean is off: candle's own is 0.06 in bf16.
            let ones = Edit::custom("ones", |x, _| x.ones_like());
            let plan = HookPlan::new().edit(("post", 0), ones).edit(("post", 0), Edit::mean(over)).capture(("post", 0));
            let options = RunOptions { stop_at_layer: Some(1), ..Default::default() };
            let mean = pair.half.run(tokens.clone(), &plan, &options)?.captured.into_values().next().expect("captured");
            assert!(numbers(&mean).iter().all(|x| *x == 1.), "{dtype:?} {over:?}");
            let plan = HookPlan::new().edit("post", Edit::mean(over)).capture("post");
            let run = |model: &candle_lens::model::HookedTransformer| {
                model.run(tokens.clone(), &plan, RunOptions { logits: false, ..Default::default() })
            };
            let (half, full) = (run(&pair.half)?, run(&pair.full)?);
            for (point, mean) in &half.captured {
                let miss = miss_of(mean, &full.captured[point]);
                misses.add(format!("{dtype:?} {over:?} {point}"), miss, 3. * tolerance);
            }
        }
    }
    misses.finish();
    Ok(())
}

/// Each token by itself behind a past, as generation runs them: products of one row, whose sums gemm adds up in f16 itself.
#[test]
fn a_token_behind_a_past_is_that_of_the_whole_text() -> Result<()> {
    let mut misses = Misses::default();
    for name in ["gpt2", "llama", "gemma2"] {
        let cfg = HookedTransformerConfig { d_mlp: Some(4096), ..kind(name) };
        for (dtype, tolerance) in HALF {
            let pair = Pair::new(&format!("past_{name}"), &cfg, dtype, Some(Processing::NONE))?;
            let tokens = prompts(1, 100, cfg.d_vocab);
            let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
            let beginning = pair.half.run(vec![tokens[0][..96].to_vec()], HookPlan::new(), &keep)?;
            let (mut past, mut last) = (beginning.kv_cache, Vec::new());
            for token in &tokens[0][96..] {
                let on = RunOptions { past_kv_cache: past, keep_kv_cache: true, ..Default::default() };
                let run = pair.half.run(vec![vec![*token]], HookPlan::new(), &on)?;
                (past, last) = (run.kv_cache, numbers(&run.logits.expect("asked for")));
            }
            let softmax = |logits: &[f64]| -> Vec<f64> {
                let sum: f64 = logits.iter().map(|x| x.exp()).sum();
                logits.iter().map(|x| x.exp() / sum).collect()
            };
            let full = numbers(&pair.full.forward(tokens)?);
            let full = &full[full.len() - cfg.d_vocab..];
            misses.add(format!("{name} {dtype:?} logits"), miss(&last, full), 2. * tolerance);
            // What is drawn from; e to the power of a logit is off by as much as the logit itself, not as a share of it.
            misses.add(
                format!("{name} {dtype:?} probabilities"),
                miss(&softmax(&last), &softmax(full)),
                4. * tolerance,
            );
        }
    }
    misses.finish();
    Ok(())
}

/// The way through each head's result, taken only where a plan changes it, sums over heads by itself.
#[test]
fn heads_add_up_to_what_attention_writes() -> Result<()> {
    let mut misses = Misses::default();
    for name in ["gpt2", "llama"] {
        let cfg = HookedTransformerConfig { n_heads: 64, n_key_value_heads: None, ..kind(name) };
        for (dtype, tolerance) in HALF {
            let pair = Pair::new(&format!("heads_{name}"), &cfg, dtype, Some(Processing::NONE))?;
            let tokens = prompts(2, 9, cfg.d_vocab);
            let plan = HookPlan::new().edit("result", Edit::scale(1.)).capture("attn_out");
            let split = HookPlan::new().edit("q_input", Edit::scale(1.)).capture("attn_out");
            for (way, plan) in [("result", plan), ("q_input", split)] {
                let run = pair.half.run(tokens.clone(), &plan, RunOptions::default())?;
                let full = pair.full.run(tokens.clone(), &plan, RunOptions::default())?;
                for (point, x) in &run.captured {
                    misses.add(
                        format!("{name} {dtype:?} {way} {point}"),
                        miss_of(x, &full.captured[point]),
                        2. * tolerance,
                    );
                }
            }
        }
    }
    misses.finish();
    Ok(())
}
