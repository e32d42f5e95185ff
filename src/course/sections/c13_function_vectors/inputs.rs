//! Small inputs for the exercises of this section: the model that translates, and another of other sizes on random tokens.

use candle_core::Tensor;

use crate::course::data::{WORDS, translation_prompt};
use crate::course::models::{icl, other};
use crate::course::seed::{reordered, seeded};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tokens::Tokens;

/// Questions for these words behind examples of a language; or of a language that changes, where it is 0.
fn translations(language: usize, examples: usize, questions: &[usize]) -> Result<Tokens> {
    let prompt = |&word: &usize| -> String {
        let others: Vec<usize> = (1..=examples).map(|step| (word + 7 * step) % WORDS.len()).collect();
        if language > 0 {
            return translation_prompt(language, &others, word);
        }
        let mixed = others.iter().enumerate().map(|(at, &other)| {
            let row = WORDS[other];
            format!("{} -> {} ; ", row[0], row[1 + (word + at) % 6])
        });
        mixed.collect::<String>() + &translation_prompt(1, &[], word)
    };
    icl()?.to_tokens(questions.iter().map(prompt).collect::<Vec<_>>())
}

/// The words that are asked for.
fn questions() -> Vec<usize> {
    let mut all = reordered(vec![3, 8, 20, 0, 1, 2, 5, 11, 13, 17, 22], 6);
    all.truncate(3);
    all
}

fn translated(language: usize, words: &[usize]) -> Result<Vec<u32>> {
    words.iter().map(|&word| icl()?.to_single_token(WORDS[word][language])).collect()
}

fn random_tokens(random: &mut Random, batch: usize, pos: usize) -> Result<Tokens> {
    Tokens::from_rows((0..batch).map(|_| (0..pos).map(|_| random.below(31) as u32).collect()).collect())
}

pub(in crate::course::sections) fn prompts() -> Result<Vec<(HookedTransformer, Tokens, usize)>> {
    let random = &mut seeded(1);
    Ok(vec![(icl()?, translations(2, 2, &questions())?, 0), (other()?, random_tokens(random, 4, 6)?, 1)])
}

type WithVector = (HookedTransformer, Tokens, Vec<u32>, Tensor, usize);

pub(in crate::course::sections) fn with_vector() -> Result<Vec<WithVector>> {
    let random = &mut seeded(2);
    let (of_icl, of_other) = (random.normal(48)?, random.normal(20)?);
    Ok(vec![
        (icl()?, translations(3, 0, &questions())?, translated(3, &questions())?, of_icl, 0),
        (other()?, random_tokens(random, 4, 6)?, vec![5, 30, 0, 17], of_other, 1),
    ])
}

type Shuffled = (HookedTransformer, Tokens, Tokens, Vec<u32>);

pub(in crate::course::sections) fn shuffled() -> Result<Vec<Shuffled>> {
    let random = &mut seeded(3);
    let words = questions();
    Ok(vec![
        (icl()?, translations(2, 3, &words)?, translations(0, 3, &words)?, translated(2, &words)?),
        (other()?, random_tokens(random, 2, 5)?, random_tokens(random, 2, 5)?, vec![5, 30]),
    ])
}

type OfHeads = (HookedTransformer, Tokens, Vec<(usize, usize)>);

pub(in crate::course::sections) fn heads() -> Result<Vec<OfHeads>> {
    let random = &mut seeded(4);
    Ok(vec![
        (icl()?, translations(2, 2, &questions())?, vec![(0, 2), (1, 3)]),
        (other()?, random_tokens(random, 4, 6)?, vec![(2, 4), (0, 1), (1, 0)]),
    ])
}

type Steered = (HookedTransformer, Tokens, Tensor, usize, f32);

pub(in crate::course::sections) fn directions() -> Result<Vec<Steered>> {
    let random = &mut seeded(5);
    let (of_icl, of_other) = (random.normal(48)?, random.normal(20)?);
    Ok(vec![
        (icl()?, translations(1, 1, &questions())?, of_icl, 0, 0.7),
        (other()?, random_tokens(random, 2, 6)?, of_other, 1, -1.5),
    ])
}
