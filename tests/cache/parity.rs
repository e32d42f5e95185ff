//! The analyses of a cache against TransformerLens 3.9: numbers and labels (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::cache::{ActivationCache, ResidualStack, Stack, Target};
use candle_lens::candle::Tensor;
use candle_lens::dims::ReadBy;
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

    /// TransformerLens' `layer`, whose -1 is the end, and its `mlp_input`.
    fn read_by(&self) -> ReadBy {
        match (self.0["arguments"]["layer"].as_i64().unwrap_or(-1), self.flag("mlp_input")) {
            (-1, _) => ReadBy::End,
            (layer, false) => ReadBy::Block(layer as isize),
            (layer, true) => ReadBy::Mlp(layer as isize),
        }
    }

    fn pos(&self) -> Slice {
        self.0["arguments"]["pos_slice"].as_i64().map_or(Slice::All, |pos| (pos as isize).into())
    }

    fn stack(&self, model: &HookedTransformer, cache: &ActivationCache) -> Result<ResidualStack> {
        let (read_by, pos) = (self.read_by(), self.pos());
        match self.0["method"].as_str().unwrap() {
            "accumulated_resid" => {
                let mut query = Stack::accumulated().read_by(read_by).pos(pos);
                if self.flag("incl_mid") {
                    query = query.with_mid();
                }
                cache.stack(model, if self.flag("apply_ln") { query.normed() } else { query })
            }
            "decompose_resid" => {
                let mut query = Stack::components().read_by(read_by).pos(pos);
                query = match self.0["arguments"]["mode"].as_str() {
                    Some("attn") => query.without_mlps(),
                    Some("mlp") => query.without_attention(),
                    _ => query,
                };
                if self.0["arguments"]["incl_embeds"] == false {
                    query = query.without_embeddings();
                }
                cache.stack(model, if self.flag("apply_ln") { query.normed() } else { query })
            }
            "stack_head_results" => {
                let mut query = Stack::heads().read_by(read_by).pos(pos);
                if self.flag("incl_remainder") {
                    query = query.with_remainder();
                }
                cache.stack(model, if self.flag("apply_ln") { query.normed() } else { query })
            }
            "apply_ln_to_stack" => cache.apply_ln_to_stack(&cache.stack(model, Stack::components().pos(pos))?, read_by),
            other => panic!("{other} is not a method that makes a stack"),
        }
    }

    /// Directions or attributions, which are not stacks.
    fn tensor(&self, model: &HookedTransformer, cache: &ActivationCache, reference: &Reference) -> Result<Tensor> {
        let ids = |name: &str| match &self.0["arguments"][name] {
            Value::Number(id) => vec![id.as_u64().unwrap() as u32],
            Value::String(list) => reference.tokens(list).row(0).to_vec(),
            _ => Vec::new(),
        };
        if self.0["method"] == "tokens_to_residual_directions" {
            return model.tokens_to_residual_directions(ids("tokens"));
        }
        let parts = cache.decompose_resid(Stack::components().pos(self.pos()))?;
        let (tokens, incorrect) = (ids("tokens"), ids("incorrect_tokens"));
        let attributed = match model.processing().fold_ln {
            true if incorrect.is_empty() => cache.logit_attrs(model, &parts, Target::tokens(tokens))?,
            true => cache.logit_attrs(model, &parts, Target::differences(tokens.into_iter().zip(incorrect)))?,
            // Where the final norm is not folded TransformerLens leaves its weights out; logit_attrs does not, so that its
            // shares sum to the logit (tests/analysis/sums.rs).
            false => {
                let mut directions = model.tokens_to_residual_directions(tokens)?;
                if !incorrect.is_empty() {
                    directions = (directions - model.tokens_to_residual_directions(incorrect)?)?;
                }
                cache.apply_ln_to_stack(&parts, ReadBy::End)?.project(&directions)?
            }
        };
        let (numbers, shape) = (attributed.values().iter().copied().collect::<Vec<_>>(), attributed.shape());
        Ok(Tensor::from_vec(numbers, shape, &model.device())?)
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
        agreement.check(&title, &stack.tensor(), expected);
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
