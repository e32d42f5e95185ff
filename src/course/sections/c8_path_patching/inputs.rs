//! Small inputs for the exercises of this section, the cheapest first.

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::models::{other, tiny};
use crate::error::Result;
use crate::head::Head;
use crate::hooks::HookPlan;
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tokens::Tokens;

const CLEAN: &str = "When John and Mary went to the shops, John gave the bag to";
const CORRUPTED: &str = "When John and Mary went to the shops, Paul gave the bag to";

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

fn random_rows(seed: u64, batch: usize, pos: usize) -> Result<Tokens> {
    let mut random = Random::new(seed);
    Tokens::from_rows((0..batch).map(|_| ids(&mut random, pos)).collect::<Result<_>>()?)
}

pub(super) fn to_final() -> Result<Vec<(HookedTransformer, Tokens, Tokens, Head)>> {
    let tiny = tiny()?;
    let (clean, corrupted) = (tiny.to_tokens(CLEAN)?, tiny.to_tokens(CORRUPTED)?);
    Ok(vec![
        (other()?, random_rows(1, 3, 5)?, random_rows(2, 3, 5)?, Head::new(0, 1)),
        (tiny, clean, corrupted, Head::new(1, 0)),
    ])
}

type ToHeads = (HookedTransformer, Tokens, Tokens, Head, Vec<Head>, String);

pub(super) fn to_heads() -> Result<Vec<ToHeads>> {
    let tiny = tiny()?;
    let (clean, corrupted) = (tiny.to_tokens(CLEAN)?, tiny.to_tokens(CORRUPTED)?);
    let (last, movers) = (other()?.cfg().n_layers - 1, vec![Head::new(2, 6), Head::new(3, 6)]);
    let receivers = vec![Head::new(1, 0), Head::new(last, 1)];
    Ok(vec![
        (other()?, random_rows(3, 2, 6)?, random_rows(4, 2, 6)?, Head::new(0, 1), receivers, "k".into()),
        (tiny, clean, corrupted, Head::new(0, 7), movers, "v".into()),
    ])
}

type Names = (Vec<u32>, (usize, usize), usize, u32, bool);

pub(super) fn donors() -> Result<Vec<Names>> {
    // The subject is 7 and IO 5; first S, then IO, comes first.
    let (subject_first, io_first) = (vec![1, 7, 2, 5, 3, 4, 7, 6], vec![1, 2, 5, 3, 7, 4, 8, 7, 6]);
    let all = [7, 5, 9].into_iter().flat_map(|token| [true, false].map(|keeps| (token, keeps)));
    let prompts = |(token, keeps)| {
        [(subject_first.clone(), (1, 3), 6, token, keeps), (io_first.clone(), (2, 4), 7, token, keeps)]
    };
    Ok(all.flat_map(prompts).collect())
}

type Signals = (HookedTransformer, Tokens, Answers, (usize, usize), usize, Vec<u32>, usize);

pub(super) fn signals() -> Result<Vec<Signals>> {
    let (small, mut random) = (other()?, Random::new(5));
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
    let clean = tiny.to_tokens([CLEAN, "When John and Mary went to the shops, Mary gave the bag to"])?;
    let of_tiny = tiny.answers([(" Mary", " John"), (" John", " Mary")])?;
    let paul_and_anna = tiny.token_ids([" Paul", " Anna"])?;
    let place = |name: &str| -> Result<usize> {
        let id = tiny.to_single_token(name)?;
        Ok(clean.row(0).iter().position(|&other| other == id).unwrap_or(0))
    };
    let names = (place(" John")?, place(" Mary")?);
    let john = tiny.to_single_token(" John")?;
    let s2 = clean.row(0).iter().rposition(|&id| id == john).unwrap_or(0);
    Ok(vec![
        (small, Tokens::from_rows(rows)?, answers, (1, 2), 4, thirds, 1),
        (tiny, clean, of_tiny, names, s2, paul_and_anna, 2),
    ])
}

pub(super) fn names() -> Result<Vec<(HookedTransformer, Vec<u32>, usize)>> {
    let mut random = Random::new(8);
    Ok(vec![(other()?, ids(&mut random, 11)?, 3), (other()?, ids(&mut random, 7)?, 5)])
}

pub(super) fn repeats() -> Result<Vec<(ActivationCache, usize)>> {
    let one = |seq_len, batch, seed| -> Result<(ActivationCache, usize)> {
        let tokens = repeated_tokens(&tiny()?, RepeatOptions { seq_len, batch, seed })?;
        Ok((tiny()?.run_with_hooks(tokens, HookPlan::new().capture("pattern"))?.1, seq_len))
    };
    Ok(vec![one(6, 3, 11)?, one(9, 2, 12)?])
}
