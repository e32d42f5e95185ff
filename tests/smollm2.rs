//! A real model in Hugging Face's files: `CANDLE_LENS_SMOLLM2=FOLDER cargo test --test suite smollm2 -- --ignored`, where the
//! folder holds SmolLM2-135M. What is expected of it was computed with `transformers` in f32.

use candle_lens::Result;
use candle_lens::analysis::{Unit, direct_logit_attribution};
use candle_lens::candle::DType;
use candle_lens::generate::GenerateOptions;
use candle_lens::hooks::HookPlan;
use candle_lens::model::{HookedTransformer, LoadOptions, Loss, Processing, RunOptions};
use candle_lens::tokens::Bos;

use crate::support::given;

const PROMPT: &str = "When Mary and John went to the store, John gave a drink to";

/// The likeliest next tokens of [`PROMPT`] with their logits, and the mean loss of its tokens.
const LOGITS: [(&str, f64); 6] = [
    (" Mary", 11.03699),
    (" the", 7.28157),
    (" his", 5.9437),
    (" a", 5.87833),
    (" her", 5.73336),
    (" Elizabeth", 5.6813),
];
const LOSS: f64 = 4.217_871;

/// Another order of the same sums.
const TOLERANCE: f64 = 1e-3;

/// Of the largest logit, which is 11: `transformers` misses it by 0.46 in bf16.
const HALF: [(DType, f64); 2] = [(DType::F16, 0.05), (DType::BF16, 0.5)];

fn smollm2(options: LoadOptions) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(given("CANDLE_LENS_SMOLLM2"), options)
}

/// The logits of [`LOGITS`]' tokens at the prompt's end.
fn logits(model: &HookedTransformer) -> Result<Vec<f64>> {
    let tokens = model.to_tokens_with(PROMPT, Bos::Omit)?;
    let last = tokens.last_positions()[0];
    let logits = model.forward(tokens)?.get(0)?.get(last)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    LOGITS.iter().map(|(token, _)| Ok(f64::from(logits[model.to_single_token(token)? as usize]))).collect()
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: a folder of Hugging Face's with SmolLM2-135M"]
fn smollm2_gives_the_logits_the_loss_and_the_text_of_transformers() -> Result<()> {
    let model = smollm2(Processing::NONE.into())?;
    for ((token, expected), got) in LOGITS.iter().zip(logits(&model)?) {
        assert!((got - expected).abs() < TOLERANCE, "{token}: {got}, expected {expected}");
    }
    let options = RunOptions { loss: Loss::Mean, bos: Bos::Omit, ..Default::default() };
    let loss = model.run(PROMPT, HookPlan::new(), &options)?.loss.expect("it is asked for").to_scalar::<f32>()?;
    assert!((f64::from(loss) - LOSS).abs() < TOLERANCE, "{loss}");
    let options = GenerateOptions { max_new_tokens: 15, bos: Bos::Omit, ..Default::default() };
    let generated = model.generate(PROMPT, &options)?;
    assert_eq!(generated.completions(), [" Mary, and Mary gave a drink to John.\n\nThe answer is"]);
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: a folder of Hugging Face's with SmolLM2-135M"]
fn smollm2s_parts_sum_to_its_logit_difference() -> Result<()> {
    let model = smollm2(LoadOptions::default())?;
    let answers = model.answers([(" Mary", " John")])?;
    let (logits, cache) = model.run_with_cache(&model.to_tokens_with(PROMPT, Bos::Omit)?)?;
    let whole = answers.logit_diff(&logits, cache.tokens())?.scalar()?;
    assert!(whole > 3., "the model knows who is given the drink: {whole}");
    for unit in [Unit::Component, Unit::Head] {
        let shares = direct_logit_attribution(&model, &cache, &answers, unit)?;
        let sum = shares.values().sum() + answers.bias(&model)?.scalar()?;
        assert!(f64::from((sum - whole).abs()) < TOLERANCE, "{unit:?}: {sum}, the logits say {whole}");
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: a folder of Hugging Face's with SmolLM2-135M"]
fn smollm2_in_half_precision_is_near_itself() -> Result<()> {
    for (dtype, tolerance) in HALF {
        let model = smollm2(LoadOptions { dtype, processing: Some(Processing::NONE), ..Default::default() })?;
        assert_eq!(model.dtype(), dtype);
        for ((token, expected), got) in LOGITS.iter().zip(logits(&model)?) {
            assert!((got - expected).abs() < tolerance, "{dtype:?}, {token}: {got}, expected {expected}");
        }
    }
    Ok(())
}
