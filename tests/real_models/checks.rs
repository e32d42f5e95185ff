//! Models that others trained, each loaded once for all tests of a process, and what `transformers` computes with the same
//! files (tests/fixtures/real_models.py).

use std::sync::OnceLock;

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::generate::GenerateOptions;
use candle_lens::model::{HookedTransformer, LoadOptions, Processing};
use serde_json::Value;

use crate::support::given;

/// The references were computed in f32, with sums in another order. Logits reach 38.
pub const TOLERANCE: f64 = 1e-3;

/// Of probabilities; the references are rounded to five digits.
pub const PATTERN: f64 = 1e-4;

pub const IOI: &str = "When John and Mary went to the shops, John gave the bag to";
pub const IOI_CORRUPTED: &str = "When John and Mary went to the shops, Mary gave the bag to";

/// SmolLM2-135M-Instruct.
pub fn smollm2(options: LoadOptions) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(given("CANDLE_LENS_SMOLLM2"), options)
}

/// SmolLM2 with its weights as they are stored.
pub fn unprocessed() -> &'static HookedTransformer {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    MODEL.get_or_init(|| smollm2(Processing::NONE.into()).expect("the model loads"))
}

/// SmolLM2 with its weights processed by default.
pub fn processed() -> &'static HookedTransformer {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    MODEL.get_or_init(|| smollm2(LoadOptions::default()).expect("the model loads"))
}

/// The numbers of a list in a reference.
pub fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// The ids of a list in a reference.
pub fn ids(list: &Value) -> Vec<u32> {
    list.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The numbers of a tensor of any shape.
pub fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[track_caller]
pub fn assert_near(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: how many");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < tolerance, "{what}: number {i} is {got}, expected {expected}");
    }
}

/// The logits of a prompt's last token.
pub fn last_logits(model: &HookedTransformer, text: &str) -> Result<Vec<f64>> {
    let tokens = model.to_tokens(text)?;
    flat(&model.forward(&tokens)?.get(0)?.get(tokens.pos() - 1)?)
}

fn log_sum_exp(logits: &[f64]) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
}

/// The ids of the largest logits, the largest first.
fn top(logits: &[f64], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    order.truncate(count);
    order
}

/// Tokens, logits, the most probable tokens and the loss of each prompt of a reference.
pub fn check_prompts(model: &HookedTransformer, reference: &Value) -> Result<()> {
    for prompt in reference["prompts"].as_array().expect("prompts") {
        let text = prompt["text"].as_str().expect("a text");
        assert_eq!(model.to_tokens(text)?.row(0), ids(&prompt["ids"]), "{text:?}");
        let logits = last_logits(model, text)?;
        let best = ids(&prompt["top_ids"]);
        assert_eq!(top(&logits, best.len()), best, "{text:?}");
        let of_best: Vec<f64> = best.iter().map(|id| logits[*id as usize]).collect();
        assert_near(&of_best, &numbers(&prompt["logits"]), TOLERANCE, text);
        for (id, expected) in best.iter().zip(prompt["top"].as_array().expect("tokens")) {
            assert_eq!(model.to_string([*id])?, expected.as_str().expect("a token"), "{text:?}");
        }
        // All logits, in two numbers.
        let mean = logits.iter().sum::<f64>() / logits.len() as f64;
        let expected = ["log_sum_exp", "mean"].map(|name| prompt[name].as_f64().expect("a number"));
        assert_near(&[log_sum_exp(&logits), mean], &expected, TOLERANCE, text);
        if let Some(expected) = prompt["loss"].as_f64() {
            assert_near(&flat(&model.loss(text)?)?, &[expected], TOLERANCE, text);
        }
    }
    Ok(())
}

/// What follows the prompts of a reference if the most probable token is chosen each time.
pub fn check_generated(model: &HookedTransformer, reference: &Value) -> Result<()> {
    for expected in reference["generated"].as_array().expect("texts") {
        let prompt = &reference["prompts"][expected["prompt"].as_u64().expect("an index") as usize];
        let options = GenerateOptions { max_new_tokens: 20, stop_at_eos: false, ..Default::default() };
        let generated = model.generate(prompt["text"].as_str().expect("a text"), &options)?;
        assert_eq!(generated.new_tokens(), [ids(&expected["ids"])]);
        assert_eq!(generated.completions(), [expected["text"].as_str().expect("a text")]);
    }
    Ok(())
}

/// What the heads of a reference attend to, and their keys and values.
pub fn check_heads(model: &HookedTransformer, reference: &Value) -> Result<()> {
    let (cfg, heads) = (model.cfg(), &reference["heads"]);
    let (_, cache) = model.run_with_cache(IOI)?;
    let last = cache.tokens().pos() - 1;
    for (layer, of_layer) in heads["patterns"].as_object().expect("layers") {
        let pattern = cache.get(("pattern", layer.parse::<isize>().expect("a layer")))?;
        let of_layer = of_layer.as_array().expect("heads");
        assert_eq!(of_layer.len(), cfg.n_heads);
        for (head, expected) in of_layer.iter().enumerate() {
            let got = flat(&pattern.get(0)?.get(head)?.get(last)?)?;
            assert_near(&got, &numbers(expected), PATTERN, &format!("pattern of L{layer}H{head}"));
        }
    }
    let layer = heads["layer"].as_u64().expect("a layer") as isize;
    for (point, expected) in [("rot_k", "keys"), ("v", "values")] {
        let kept = cache.get((point, layer))?.get(0)?.get(last)?;
        let of_layer = heads[expected].as_array().expect("heads");
        assert_eq!((kept.dims(), of_layer.len()), (&[cfg.n_key_value_heads(), cfg.d_head()][..], kept.dim(0)?));
        for (head, expected) in of_layer.iter().enumerate() {
            assert_near(&flat(&kept.get(head)?)?, &numbers(expected), TOLERANCE, &format!("{point} of head {head}"));
        }
    }
    Ok(())
}
