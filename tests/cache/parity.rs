//! The analyses of a cache against TransformerLens 3.9: numbers and labels (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::cache::{
    AccumulatedOptions, ActivationCache, Components, DecomposeOptions, HeadOptions, LnOptions, ResidualStack,
};
use candle_lens::candle::Tensor;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::slice::Slice;
use serde_json::Value;

use crate::support::fixture::{Agreement, Reference, json, tiny_model};

/// One recorded call: a method, its arguments by TransformerLens' names, and the labels that came back.
struct Call<'a>(&'a Value);

impl Call<'_> {
    fn flag(&self, name: &str) -> bool {
        self.0["arguments"][name].as_bool().unwrap_or(false)
    }

    fn layer(&self) -> isize {
        self.0["arguments"]["layer"].as_i64().unwrap_or(-1) as isize
    }

    fn pos(&self) -> Slice {
        self.0["arguments"]["pos_slice"].as_i64().map_or(Slice::All, |pos| (pos as isize).into())
    }

    fn mode(&self) -> Components {
        match self.0["arguments"]["mode"].as_str() {
            Some("attn") => Components::Attn,
            Some("mlp") => Components::Mlp,
            _ => Components::All,
        }
    }

    fn stack(&self, model: &HookedTransformer, cache: &ActivationCache) -> Result<ResidualStack> {
        let (layer, pos, apply_ln, mlp_input) =
            (self.layer(), self.pos(), self.flag("apply_ln"), self.flag("mlp_input"));
        match self.0["method"].as_str().unwrap() {
            "accumulated_resid" => {
                let incl_mid = self.flag("incl_mid");
                cache.accumulated_resid(&AccumulatedOptions { layer, incl_mid, mlp_input, apply_ln, pos })
            }
            "decompose_resid" => {
                let incl_embeds = self.0["arguments"]["incl_embeds"].as_bool().unwrap_or(true);
                let mode = self.mode();
                cache.decompose_resid(&DecomposeOptions { layer, mlp_input, mode, incl_embeds, apply_ln, pos })
            }
            "stack_head_results" => {
                let incl_remainder = self.flag("incl_remainder");
                cache.stack_head_results(model, &HeadOptions { layer, incl_remainder, apply_ln, pos })
            }
            "apply_ln_to_stack" => {
                let parts = cache.decompose_resid(&DecomposeOptions { pos, ..Default::default() })?;
                cache.apply_ln_to_stack(&parts, &LnOptions { layer, mlp_input, recompute: false })
            }
            other => panic!("{other} is no method that makes a stack"),
        }
    }

    /// The directions or attributions that are no stack.
    fn tensor(&self, model: &HookedTransformer, cache: &ActivationCache, reference: &Reference) -> Result<Tensor> {
        let ids = |name: &str| match &self.0["arguments"][name] {
            Value::Number(id) => vec![id.as_u64().unwrap() as u32],
            Value::String(list) => reference.tokens(list).row(0).to_vec(),
            _ => Vec::new(),
        };
        if self.0["method"] == "tokens_to_residual_directions" {
            return model.tokens_to_residual_directions(ids("tokens"));
        }
        let parts = cache.decompose_resid(&DecomposeOptions { pos: self.pos(), ..Default::default() })?;
        let (tokens, incorrect) = (ids("tokens"), ids("incorrect_tokens"));
        let attributed = match model.processing().fold_ln {
            true => cache.logit_attrs(model, &parts, tokens, incorrect)?,
            // Where the final norm is not folded TransformerLens leaves its weights out; logit_attrs does not, so that its
            // shares sum to the logit (tests/analysis/sums.rs).
            false => {
                let mut directions = model.tokens_to_residual_directions(tokens)?;
                if !incorrect.is_empty() {
                    directions = (directions - model.tokens_to_residual_directions(incorrect)?)?;
                }
                cache.apply_ln_to_stack(&parts, &LnOptions::default())?.project(&directions)?
            }
        };
        let (numbers, shape) = (attributed.values.iter().copied().collect::<Vec<_>>(), attributed.shape());
        Ok(Tensor::from_vec(numbers, shape, model.device())?)
    }
}

fn compare(name: &str, processing: Processing) -> Result<()> {
    let model = tiny_model(processing);
    let reference = Reference::load(&format!("tiny_gpt2/cache_{name}.safetensors"));
    let (_, cache) = model.run_with_cache(reference.tokens("tokens"))?;
    let calls = json(&format!("tiny_gpt2/cache_{name}.json"));
    let mut agreement = Agreement::default();
    for call in calls.as_array().unwrap() {
        let expected = reference.get(call["name"].as_str().unwrap());
        let title = format!("{} {}", call["method"], call["arguments"]);
        if matches!(call["method"].as_str(), Some("tokens_to_residual_directions" | "logit_attrs")) {
            let got = Call(call).tensor(&model, &cache, &reference)?;
            agreement.check(&title, &got.squeeze(0).unwrap_or(got), &expected.squeeze(0).unwrap_or(expected.clone()));
            continue;
        }
        let stack = Call(call).stack(&model, &cache)?;
        agreement.check(&title, stack.tensor(), expected);
        if let Some(labels) = call["labels"].as_array() {
            assert_eq!(stack.labels(), labels.iter().map(|l| l.as_str().unwrap()).collect::<Vec<_>>(), "{title}");
        }
    }
    agreement.finish(&format!("cache analyses of the {name} model"));
    Ok(())
}

#[test]
fn analyses_of_the_processed_model_agree() -> Result<()> {
    compare("processed", Processing::default())
}

#[test]
fn analyses_of_the_raw_model_agree() -> Result<()> {
    compare("raw", Processing::NONE)
}
