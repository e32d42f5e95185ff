//! `brackets`: three layers that look in both directions and say whether a string of brackets is balanced. The answer is read at the
//! first position; of two outputs the first is for strings that are not.
//!
//! After the balanced-bracket classifier of ARENA, chapter 1: a smaller one, for shorter strings.

use candle_lens::candle::Device;
use candle_lens::course::bracket_strings;
use candle_lens::model::ops::cross_entropy;
use candle_lens::model::{ActFn, AttentionDir, HookedTransformer, HookedTransformerConfig};
use candle_lens::random::Random;
use candle_lens::tokens::Tokenizer;
use candle_lens::train::{AdamW, AdamWOptions, Schedule};
use candle_lens::{Error, Result};
use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Inner};

const SEED: u64 = 4;
const STEPS: u64 = 4000;
/// Strings of each step.
const STRINGS: usize = 96;
const START: &str = "[START]";
const PAD: &str = "[PAD]";

pub fn train() -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        model_name: "brackets".into(),
        n_layers: 3,
        d_model: 56,
        n_heads: 2,
        d_mlp: Some(56),
        n_ctx: 21,
        d_vocab: 4,
        d_vocab_out: Some(2),
        act_fn: ActFn::Relu,
        attention_dir: AttentionDir::Bidirectional,
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, SEED, &Device::Cpu)?;
    let model = model.with_tokenizer(tokenizer()?);
    let mut random = Random::new(SEED);
    let mut adam = AdamW::new(AdamWOptions { beta2: 0.98, weight_decay: 0.3, ..Default::default() });
    let rate = Schedule::new(2e-3, STEPS).with_warm_up(50).with_decay(STEPS / 2, 0.02);
    for step in 0..STEPS {
        let strings = bracket_strings(STRINGS, &mut random);
        let balanced: Vec<u32> = strings.iter().map(|text| u32::from(is_balanced(text))).collect();
        let logits = model.forward(&strings)?.narrow(1, 0, 1)?.squeeze(1)?;
        let loss = cross_entropy(&logits, &balanced)?.mean_all()?;
        adam.step_vars(rate.at(step), &vars, &loss.backward()?)?;
        if step % 100 == 0 || step + 1 == STEPS {
            println!("step {step}: loss {:.4}", loss.to_scalar::<f32>()?);
        }
    }
    Ok(model)
}

pub fn is_balanced(text: &str) -> bool {
    let mut depth = 0;
    let above = text.chars().all(|bracket| {
        depth += if bracket == '(' { 1 } else { -1 };
        depth >= 0
    });
    above && depth == 0
}

/// One token for each bracket, `[START]` before the first, `[PAD]` behind the last of the shorter strings.
fn tokenizer() -> Result<Tokenizer> {
    let failed = |error: String| Error::tokens(format!("the tokenizer could not be made ({error})."));
    let vocab = [START, PAD, "(", ")"].into_iter().zip(0..).map(|(token, id)| (token.to_string(), id)).collect();
    let model = WordLevel::builder().vocab(vocab).build().map_err(|error| failed(error.to_string()))?;
    let mut inner = Inner::new(model);
    let each = Split::new(SplitPattern::Regex(".".into()), SplitDelimiterBehavior::Isolated, false);
    inner.with_pre_tokenizer(Some(each.map_err(|error| failed(error.to_string()))?));
    inner.with_decoder(Some(Fuse::new()));
    let special = [START, PAD].map(|token| AddedToken::from(token, true));
    inner.add_special_tokens(special).map_err(|error| failed(error.to_string()))?;
    let folder = std::env::temp_dir().join(format!("train-course-{}-tokenizer", std::process::id()));
    let unwritten = |error: std::io::Error| failed(error.to_string());
    std::fs::create_dir_all(&folder).map_err(unwritten)?;
    inner.save(folder.join("tokenizer.json"), false).map_err(|error| failed(error.to_string()))?;
    let config = format!("{{\"bos_token\": {START:?}, \"pad_token\": {PAD:?}}}");
    std::fs::write(folder.join("tokenizer_config.json"), config).map_err(unwritten)?;
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"));
    std::fs::remove_dir_all(&folder).map_err(unwritten)?;
    tokenizer
}
