//! `icl`: translation by example. Which language is asked for can be seen only in the examples before the question.
//!
//! Reference: Todd et al. 2024, "Function Vectors in Large Language Models" (arXiv 2310.15213), in a model small enough to train here.

use candle_lens::course::{LANGUAGES, WORDS, translation_prompt};
use candle_lens::prelude::*;

use crate::words::{END_OF_TEXT, tokenizer};

const SEED: u64 = 0;
const STEPS: usize = 800;
const ROWS: usize = 64;
/// Of each row; the last is a question.
const EXAMPLES: usize = 7;
/// Tokens of an example: word, arrow, translation, semicolon.
const LENGTH: usize = 4;
const RATE: f64 = 3e-3;
const WARM_UP: f64 = 50.;

pub fn train() -> Result<HookedTransformer> {
    let words = (0..LANGUAGES.len()).flat_map(|language| WORDS.iter().map(move |row| row[language]));
    let tokenizer = tokenizer([END_OF_TEXT, "->", ";"].into_iter().chain(words))?;
    let cfg = HookedTransformerConfig {
        model_name: "icl".into(),
        n_layers: 2,
        d_model: 48,
        n_heads: 4,
        n_ctx: 32,
        d_vocab: tokenizer.vocab_size(),
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, SEED, &Device::Cpu)?;
    let model = model.with_tokenizer(tokenizer);
    let mut random = Random::new(SEED);
    let mut adam = AdamW::new(AdamWOptions { beta2: 0.98, weight_decay: 0.1, ..Default::default() });
    for step in 0..STEPS {
        let (tokens, answers) = batch(&mut random, &model)?;
        let loss = cross_entropy(&at_arrows(&model, &tokens)?, &answers)?.mean_all()?;
        if step % 50 == 0 {
            println!("step {step}: loss {:.4}", loss.item()?);
        }
        let warm_up = ((step + 1) as f64 / WARM_UP).min(1.);
        let decay = ((STEPS - step) as f64 / (0.5 * STEPS as f64)).clamp(0.02, 1.);
        adam.step_vars(RATE * warm_up * decay, &vars, &loss.backward()?)?;
    }
    Ok(model)
}

/// Rows of examples of one language each, and what follows each arrow.
fn batch(random: &mut Random, model: &HookedTransformer) -> Result<(Tokens, Vec<u32>)> {
    let (mut prompts, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..ROWS {
        let language = 1 + random.below(LANGUAGES.len() - 1);
        let mut words: Vec<usize> = (0..WORDS.len()).collect();
        for at in 0..EXAMPLES {
            words.swap(at, at + random.below(WORDS.len() - at));
            answers.push(model.to_single_token(WORDS[words[at]][language])?);
        }
        prompts.push(translation_prompt(language, &words[..EXAMPLES - 1], words[EXAMPLES - 1]));
    }
    Ok((model.to_tokens(prompts)?, answers))
}

/// The logits at the arrows, `[row * example, d_vocab]`.
fn at_arrows(model: &HookedTransformer, tokens: &Tokens) -> Result<Tensor> {
    let places: Vec<u32> = (0..EXAMPLES).map(|example| (LENGTH * example + 2) as u32).collect();
    let places = Tensor::from_vec(places, EXAMPLES, &Device::Cpu)?;
    Ok(model.forward(tokens)?.index_select(&places, 1)?.flatten(0, 1)?)
}
