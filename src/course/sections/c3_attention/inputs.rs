//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::models::tiny;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::random::Random;
use crate::tokens::Tokens;

pub(in crate::course::sections) fn guesses() -> Result<Vec<(Tensor, Tokens)>> {
    let mut random = Random::new(12);
    let mut one = |batch: usize, pos: usize, d_vocab: usize| -> Result<(Tensor, Tokens)> {
        let rows = (0..batch).map(|_| (0..pos).map(|_| random.below(d_vocab) as u32).collect()).collect();
        Ok((random.normal((batch, pos, d_vocab))?, Tokens::from_rows(rows)?))
    };
    Ok(vec![one(3, 11, 4)?, one(2, 17, 5)?])
}

pub(in crate::course::sections) fn queries_and_keys() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = Random::new(3);
    let mut one = |shape: (usize, usize, usize, usize)| -> Result<(Tensor, Tensor)> {
        Ok((random.normal(shape)?, random.normal(shape)?))
    };
    Ok(vec![one((2, 5, 3, 4))?, one((1, 7, 2, 9))?])
}

fn patterns(tokens: Tokens) -> Result<ActivationCache> {
    Ok(tiny()?.run_with_hooks(tokens, HookPlan::new().capture("pattern"))?.1)
}

pub(in crate::course::sections) fn caches() -> Result<Vec<(ActivationCache,)>> {
    let model = tiny()?;
    let first = model.to_tokens([
        "When John and Mary went to the shops, John gave the bag to",
        "When Paul and Anna went to the river, Anna gave the ring to",
    ])?;
    Ok(vec![(patterns(first)?,), (patterns(model.to_tokens("The capital of France is")?)?,)])
}

pub(in crate::course::sections) fn repeats() -> Result<Vec<(ActivationCache, usize)>> {
    let one = |seq_len, batch, seed| -> Result<(ActivationCache, usize)> {
        Ok((patterns(repeated_tokens(&tiny()?, RepeatOptions { seq_len, batch, seed })?)?, seq_len))
    };
    Ok(vec![one(7, 3, 1)?, one(10, 2, 2)?])
}
