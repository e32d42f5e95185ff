//! What `icl` claims: that examples tell it the language, and that one vector can take their place.

use candle_lens::course::{LANGUAGES, WORDS, translation_prompt};
use candle_lens::prelude::*;

use super::Claim;

pub fn measure(model: &HookedTransformer) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for examples in [0, 1, 6] {
        let right = mean(|language| accuracy(model, language, examples, HookPlan::new()))?;
        claims.push((format!("translations that are right after {examples} examples"), right));
    }
    for layer in 0..model.cfg().n_layers {
        let right = mean(|language| {
            let point = ("resid_post", layer);
            let (_, cache) = model.run_with_hooks(prompts(model, language, 6)?, HookPlan::new().capture(point))?;
            let vector = cache.get(point)?.narrow(1, cache.tokens().pos() - 1, 1)?.mean((0, 1))?;
            accuracy(model, language, 0, HookPlan::new().edit(point, Edit::add(vector).pos(-1)))
        })?;
        claims.push((format!("without examples, with their mean stream after layer {layer}"), right));
    }
    Ok(claims)
}

fn mean(of: impl Fn(usize) -> Result<f64>) -> Result<f64> {
    Ok((1..LANGUAGES.len()).map(of).sum::<Result<f64>>()? / (LANGUAGES.len() - 1) as f64)
}

/// Each word as a question behind the words that follow it in the list.
fn prompts(model: &HookedTransformer, language: usize, examples: usize) -> Result<Tokens> {
    let prompt = |word: usize| {
        let examples: Vec<usize> = (1..=examples).map(|next| (word + 5 * next) % WORDS.len()).collect();
        translation_prompt(language, &examples, word)
    };
    model.to_tokens((0..WORDS.len()).map(prompt).collect::<Vec<_>>())
}

fn accuracy(model: &HookedTransformer, language: usize, examples: usize, plan: HookPlan) -> Result<f64> {
    let tokens = prompts(model, language, examples)?;
    let last = tokens.pos() - 1;
    let logits = model.run(tokens, plan, RunOptions::default())?.logits()?.narrow(1, last, 1)?.squeeze(1)?;
    let guesses = logits.argmax(1)?.to_vec1::<u32>()?;
    let mut right = 0;
    for (guess, row) in guesses.iter().zip(&WORDS) {
        right += usize::from(*guess == model.to_single_token(row[language])?);
    }
    Ok(right as f64 / WORDS.len() as f64)
}
