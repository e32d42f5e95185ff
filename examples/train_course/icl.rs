//! Translation by example: which language is asked for can be seen only in the examples before.
//!
//! Reference: Todd et al. 2024, "Function Vectors in Large Language Models" (arXiv 2310.15213), in a model small enough to train here.

use candle_lens::course::{LANGUAGES, WORDS, translation_prompt};
use candle_lens::prelude::*;
use candle_lens::{Error, Result};

const SEED: u64 = 0;
const STEPS: usize = 800;
const ROWS: usize = 64;
/// Of each row; the last is a question.
const EXAMPLES: usize = 7;
const RATE: f64 = 3e-3;
const WARM_UP: usize = 50;
/// Tokens of an example: word, arrow, translation, semicolon.
const EXAMPLE: usize = 4;

fn tokens() -> Vec<&'static str> {
    let words = (0..LANGUAGES.len()).flat_map(|language| WORDS.iter().map(move |row| row[language]));
    ["<|endoftext|>", "->", ";"].into_iter().chain(words).collect()
}

fn config(d_vocab: usize) -> HookedTransformerConfig {
    HookedTransformerConfig {
        model_name: "icl".into(),
        n_layers: 2,
        d_model: 48,
        n_heads: 4,
        n_ctx: 32,
        d_vocab,
        ..Default::default()
    }
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

/// The positions of the arrows, and the logits there, `[row * example, d_vocab]`.
fn at_arrows(model: &HookedTransformer, tokens: &Tokens) -> Result<Tensor> {
    let places: Vec<u32> = (0..EXAMPLES).map(|example| (EXAMPLE * example + 2) as u32).collect();
    let places = Tensor::from_vec(places, EXAMPLES, &Device::Cpu)?;
    Ok(model.forward(tokens)?.index_select(&places, 1)?.flatten(0, 1)?)
}

/// The share of right answers after as many examples.
fn accuracies(model: &HookedTransformer, random: &mut Random) -> Result<Vec<f32>> {
    let (tokens, answers) = batch(random, model)?;
    let guesses = at_arrows(model, &tokens)?.argmax(1)?.to_vec1::<u32>()?;
    let right = |example: usize| (0..ROWS).filter(|row| guesses[row * EXAMPLES + example] == answers[row * EXAMPLES + example]).count();
    Ok((0..EXAMPLES).map(|example| right(example) as f32 / ROWS as f32).collect())
}

pub fn train(folder: &str, seed: u64, decay_weight: f64) -> Result<()> {
    let tokens = tokens();
    let model = config(tokens.len());
    let json = tokenizer_json(&tokens)?;
    let (model, vars) = HookedTransformer::trainable(model, seed, &Device::Cpu)?;
    let model = model.with_tokenizer(Tokenizer::from_bytes(json.as_bytes())?);
    let mut random = Random::new(seed);
    let mut adam = AdamW::new(AdamWOptions { beta2: 0.98, weight_decay: decay_weight, ..Default::default() });
    for step in 0..STEPS {
        let (tokens, answers) = batch(&mut random, &model)?;
        let loss = cross_entropy(&at_arrows(&model, &tokens)?, &answers)?.mean_all()?;
        let rate = RATE * ((step + 1) as f64 / WARM_UP as f64).min(1.) * ((STEPS - step) as f64 / (0.5 * STEPS as f64)).clamp(0.02, 1.);
        adam.step_vars(rate, &vars, &loss.backward()?)?;
        if step % 50 == 0 || step + 1 == STEPS {
            println!("{step}: {:.4} {:?}", loss.item()?, accuracies(&model, &mut random)?);
        }
    }
    model.save_transformer_lens(folder)
}

fn tokenizer_json(tokens: &[&str]) -> Result<String> {
    use tokenizers::models::wordlevel::WordLevel;
    use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
    let failed = |error: &dyn std::fmt::Display| Error::tokens(format!("the tokenizer cannot be built: {error}."));
    let vocab = tokens.iter().enumerate().map(|(id, token)| ((*token).to_string(), id as u32)).collect();
    let words = WordLevel::builder().vocab(vocab).unk_token("<|endoftext|>".into()).build().map_err(|error| failed(&error))?;
    let mut tokenizer = tokenizers::Tokenizer::new(words);
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    tokenizer.add_special_tokens([tokenizers::AddedToken::from("<|endoftext|>", true)]).map_err(|error| failed(&error))?;
    tokenizer.to_string(true).map_err(|error| failed(&error))
}
