//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::models::{other, tiny};
use crate::course::seed::seed;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tokens::Tokens;

pub(in crate::course::sections) fn guesses() -> Result<Vec<(Tensor, Tokens)>> {
    let mut random = Random::new(seed(12));
    let mut one = |batch: usize, pos: usize, d_vocab: usize| -> Result<(Tensor, Tokens)> {
        let rows = (0..batch).map(|_| (0..pos).map(|_| random.below(d_vocab) as u32).collect()).collect();
        Ok((random.normal((batch, pos, d_vocab))?, Tokens::from_rows(rows)?))
    };
    Ok(vec![one(3, 11, 4)?, one(2, 17, 5)?])
}

pub(in crate::course::sections) fn queries_and_keys() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = Random::new(seed(3));
    let mut one = |shape: (usize, usize, usize, usize)| -> Result<(Tensor, Tensor)> {
        Ok((random.normal(shape)?, random.normal(shape)?))
    };
    Ok(vec![one((2, 5, 3, 4))?, one((1, 7, 2, 9))?])
}

fn patterns(model: &HookedTransformer, tokens: Tokens) -> Result<ActivationCache> {
    Ok(model.run_with_hooks(tokens, HookPlan::new().capture("pattern"))?.1)
}

pub(in crate::course::sections) fn caches() -> Result<Vec<(ActivationCache,)>> {
    let (tiny, other, mut random) = (tiny()?, other()?, Random::new(seed(4)));
    let first = tiny.to_tokens([
        "When John and Mary went to the shops, John gave the bag to",
        "When Paul and Anna went to the river, Anna gave the ring to",
    ])?;
    let rows = (0..4).map(|_| (0..7).map(|_| random.below(other.dims().d_vocab) as u32).collect()).collect();
    Ok(vec![(patterns(&tiny, first)?,), (patterns(&other, Tokens::from_rows(rows)?)?,)])
}

pub(in crate::course::sections) fn repeats() -> Result<Vec<(ActivationCache, usize)>> {
    let (tiny, other, mut random) = (tiny()?, other()?, Random::new(seed(5)));
    let first = repeated_tokens(&tiny, RepeatOptions { seq_len: 7, batch: 3, seed: seed(1) })?;
    let mut row = || -> Vec<u32> {
        let half: Vec<u32> = (0..10).map(|_| 1 + random.below(other.dims().d_vocab - 1) as u32).collect();
        [&[0], &half[..], &half[..]].concat()
    };
    let second = Tokens::from_rows(vec![row(), row()])?;
    Ok(vec![(patterns(&tiny, first)?, 7), (patterns(&other, second)?, 10)])
}
