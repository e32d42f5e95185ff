//! SmolLM2-135M-Instruct, which is loaded once for all tests of one process.

use std::sync::OnceLock;

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::model::{HookedTransformer, LoadOptions, Processing};
use candle_lens::tokens::{Bos, Tokens};
use serde_json::Value;

use crate::support::fixture::json;
use crate::support::given;

/// The reference was computed in f32, with sums in another order. Logits reach 38.
pub const TOLERANCE: f64 = 1e-3;

pub const IOI: &str = "When John and Mary went to the shops, John gave the bag to";
pub const IOI_CORRUPTED: &str = "When John and Mary went to the shops, Mary gave the bag to";

pub fn load(options: LoadOptions) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(given("CANDLE_LENS_SMOLLM2"), options)
}

/// The model with its weights as they are stored.
pub fn unprocessed() -> &'static HookedTransformer {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    MODEL.get_or_init(|| load(Processing::NONE.into()).expect("the model loads"))
}

/// The model with its weights processed by default.
pub fn processed() -> &'static HookedTransformer {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    MODEL.get_or_init(|| load(LoadOptions::default()).expect("the model loads"))
}

/// What `transformers` computes (tests/fixtures/smollm2.py).
pub fn reference() -> Value {
    json("smollm2.json")
}

/// The tokens of a text, with nothing in front, as in the reference.
pub fn tokens(model: &HookedTransformer, text: &str) -> Result<Tokens> {
    model.to_tokens_with(text, Bos::Omit)
}

/// The numbers of a list in the reference.
pub fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// The ids of a list in the reference.
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
