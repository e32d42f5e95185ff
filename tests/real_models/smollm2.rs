//! SmolLM2-135M-Instruct as `cargo lab fetch smollm2` fetches it, against `transformers`.

use candle_lens::Result;
use candle_lens::analysis::{Unit, direct_logit_attribution};
use candle_lens::candle::{D, DType};
use candle_lens::candle_nn::ops;
use candle_lens::model::{LoadOptions, Processing};

use super::checks::{
    IOI, TOLERANCE, assert_near, check_generated, check_heads, check_prompts, flat, ids, last_logits, numbers,
    processed, smollm2, unprocessed,
};
use crate::support::fixture::json;

/// Of the largest logit of the first prompt, which is 11: `transformers` misses it by 0.46 in bf16.
const HALF: [(DType, f64); 2] = [(DType::F16, 0.05), (DType::BF16, 0.5)];

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn prompts_have_the_tokens_the_logits_and_the_losses_of_transformers() -> Result<()> {
    let reference = json("smollm2.json");
    assert_eq!(reference["prompts"].as_array().map(Vec::len), Some(12));
    check_prompts(unprocessed(), &reference)
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn greedy_generation_is_that_of_transformers() -> Result<()> {
    check_generated(unprocessed(), &json("smollm2.json"))
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn patterns_keys_and_values_are_those_of_transformers() -> Result<()> {
    check_heads(unprocessed(), &json("smollm2.json"))
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn processing_leaves_the_log_probabilities() -> Result<()> {
    assert!(processed().processing().fold_ln && !unprocessed().processing().fold_ln);
    for text in [IOI, "def factorial(n):\n    if n == 0:\n        return 1\n    return n *"] {
        let [a, b] = [processed(), unprocessed()]
            .map(|model| -> Result<_> { flat(&ops::log_softmax(&model.forward(text)?, D::Minus1)?) });
        assert_near(&a?, &b?, TOLERANCE, text);
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn parts_sum_to_the_logit_difference() -> Result<()> {
    let model = processed();
    let answers = model.answers([(" Mary", " John")])?;
    let (logits, cache) = model.run_with_cache(IOI)?;
    let whole = answers.logit_diff(&logits, cache.tokens())?.scalar()?;
    // As in the reference: 10.75788 - 7.63649.
    assert!((f64::from(whole) - 3.12139).abs() < TOLERANCE, "{whole}");
    for unit in [Unit::Component, Unit::Head] {
        let shares = direct_logit_attribution(model, &cache, &answers, unit)?;
        let sum = shares.values().sum() + answers.bias(model)?.scalar()?;
        assert!(f64::from((sum - whole).abs()) < TOLERANCE, "{unit:?}: {sum}, the logits say {whole}");
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn half_precision_is_near() -> Result<()> {
    let reference = json("smollm2.json");
    let prompt = &reference["prompts"][0];
    for (dtype, tolerance) in HALF {
        let model = smollm2(LoadOptions { dtype, processing: Some(Processing::NONE), ..Default::default() })?;
        assert_eq!(model.dtype(), dtype);
        let logits = last_logits(&model, IOI)?;
        let of_best: Vec<f64> = ids(&prompt["top_ids"]).iter().map(|id| logits[*id as usize]).collect();
        assert_near(&of_best, &numbers(&prompt["logits"]), tolerance, &format!("{dtype:?}"));
    }
    Ok(())
}
