//! Small inputs for the exercises of this section, the cheapest first.

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::data::NAMES;
use crate::course::models::{other, tiny};
use crate::course::seed::{reordered, seed, seeded};
use crate::error::Result;
use crate::head::Head;
use crate::hooks::HookPlan;
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tokens::Tokens;

/// John, Mary, Paul and Anna, or others, with a space before each.
fn people() -> Vec<String> {
    reordered(NAMES, 6).into_iter().take(4).map(|name| format!(" {name}")).collect()
}

/// The first two go to the shops, and this one of the people gives the bag.
fn prompt(gives: usize) -> String {
    let people = people();
    format!("When{} and{} went to the shops,{} gave the bag to", people[0], people[1], people[gives])
}

/// The clean prompt and the corrupted one.
fn pair(model: &HookedTransformer) -> Result<(Tokens, Tokens)> {
    Ok((model.to_tokens(prompt(0))?, model.to_tokens(prompt(2))?))
}

/// Different ids below the vocabulary of the small model.
fn ids(random: &mut Random, count: usize) -> Result<Vec<u32>> {
    let vocabulary = other()?.cfg().d_vocab;
    let mut all: Vec<u32> = Vec::new();
    while all.len() < count {
        let id = random.below(vocabulary) as u32;
        if !all.contains(&id) {
            all.push(id);
        }
    }
    Ok(all)
}

fn random_rows(number: u64, batch: usize, pos: usize) -> Result<Tokens> {
    let mut random = seeded(number);
    Tokens::from_rows((0..batch).map(|_| ids(&mut random, pos)).collect::<Result<_>>()?)
}

pub(super) fn to_final() -> Result<Vec<(HookedTransformer, Tokens, Tokens, Head)>> {
    let tiny = tiny()?;
    let (clean, corrupted) = pair(&tiny)?;
    Ok(vec![
        (other()?, random_rows(1, 3, 5)?, random_rows(2, 3, 5)?, Head::new(0, 1)),
        (tiny, clean, corrupted, Head::new(1, 0)),
    ])
}

type ToHeads = (HookedTransformer, Tokens, Tokens, Head, Vec<Head>, String);

pub(super) fn to_heads() -> Result<Vec<ToHeads>> {
    let tiny = tiny()?;
    let (clean, corrupted) = pair(&tiny)?;
    let (last, movers) = (other()?.cfg().n_layers - 1, vec![Head::new(2, 6), Head::new(3, 6)]);
    let receivers = vec![Head::new(1, 0), Head::new(last, 1)];
    Ok(vec![
        (other()?, random_rows(3, 2, 6)?, random_rows(4, 2, 6)?, Head::new(0, 1), receivers, "k".into()),
        (tiny, clean, corrupted, Head::new(0, 7), movers, "v".into()),
    ])
}

type Names = (Vec<u32>, (usize, usize), usize, u32, bool);

pub(super) fn donors() -> Result<Vec<Names>> {
    // In one the subject comes first, in the other IO.
    let [s, io, other, a, b, c, d, e, f] = reordered([7, 5, 9, 1, 2, 3, 4, 6, 8], 7);
    let (subject_first, io_first) = (vec![a, s, b, io, c, d, s, e], vec![a, b, io, c, s, d, f, s, e]);
    let all = [s, io, other].into_iter().flat_map(|token| [true, false].map(|keeps| (token, keeps)));
    let prompts = |(token, keeps)| {
        [(subject_first.clone(), (1, 3), 6, token, keeps), (io_first.clone(), (2, 4), 7, token, keeps)]
    };
    Ok(all.flat_map(prompts).collect())
}

type Signals = (HookedTransformer, Tokens, Answers, (usize, usize), usize, Vec<u32>, usize);

pub(super) fn signals() -> Result<Vec<Signals>> {
    let (small, mut random) = (other()?, seeded(5));
    let (mut rows, mut pairs, mut thirds) = (Vec::new(), Vec::new(), Vec::new());
    for is_first in [true, false, true] {
        let mut row = ids(&mut random, 8)?;
        let (subject, io) = if is_first { (row[1], row[2]) } else { (row[2], row[1]) };
        thirds.extend(row.pop());
        row[4] = subject;
        rows.push(row);
        pairs.push((io, subject));
    }
    let answers = small.answers(pairs)?;
    let tiny = tiny()?;
    let people = people();
    let [john, mary, paul, anna] = [0, 1, 2, 3].map(|at| people[at].as_str());
    let clean = tiny.to_tokens([prompt(0), prompt(1)])?;
    let of_tiny = tiny.answers([(mary, john), (john, mary)])?;
    let paul_and_anna = tiny.token_ids([paul, anna])?;
    let place = |name: &str| -> Result<usize> {
        let id = tiny.to_single_token(name)?;
        Ok(clean.row(0).iter().position(|&other| other == id).unwrap_or(0))
    };
    let names = (place(john)?, place(mary)?);
    let john = tiny.to_single_token(john)?;
    let s2 = clean.row(0).iter().rposition(|&id| id == john).unwrap_or(0);
    Ok(vec![
        (small, Tokens::from_rows(rows)?, answers, (1, 2), 4, thirds, 1),
        (tiny, clean, of_tiny, names, s2, paul_and_anna, 2),
    ])
}

pub(super) fn names() -> Result<Vec<(HookedTransformer, Vec<u32>, usize)>> {
    let mut random = seeded(8);
    Ok(vec![(other()?, ids(&mut random, 11)?, 3), (other()?, ids(&mut random, 7)?, 5)])
}

pub(super) fn repeats() -> Result<Vec<(ActivationCache, usize)>> {
    let one = |seq_len, batch, number| -> Result<(ActivationCache, usize)> {
        let tokens = repeated_tokens(&tiny()?, RepeatOptions { seq_len, batch, seed: seed(number) })?;
        Ok((tiny()?.run_with_hooks(tokens, HookPlan::new().capture("pattern"))?.1, seq_len))
    };
    Ok(vec![one(6, 3, 11)?, one(9, 2, 12)?])
}
