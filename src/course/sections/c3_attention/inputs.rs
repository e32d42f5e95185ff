//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::answer::Answer;
use crate::course::models::{induction, other, tiny};
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

/// Sizes of repeated rows, for models whose BOS differs. The seed is one for which the smaller vocabulary gives a BOS where it may.
pub(in crate::course::sections) fn sizes() -> Result<Vec<(HookedTransformer, usize, usize, u64)>> {
    Ok(vec![(tiny()?, 6, 3, 1), (induction()?, 25, 4, SEED_WITH_BOS)])
}

const SEED_WITH_BOS: u64 = 2;

/// What is wrong with repeated rows, whatever their random tokens are.
pub(in crate::course::sections) fn repeats_as_it_should(
    (model, seq_len, batch, _): &(HookedTransformer, usize, usize, u64),
    answer: &Answer,
) -> Result<Option<String>> {
    let [tokens] = &answer.parts[..] else { return Ok(Some("tokens are wanted, and one table of them.".into())) };
    let wanted = [*batch, 1 + 2 * seq_len];
    if tokens.dims() != wanted {
        let given = tokens.dims();
        return Ok(Some(format!("its shape is {given:?}, and {wanted:?} is wanted: [batch, 1 + 2 * seq_len].")));
    }
    let bos = model.tokenizer()?.bos_id().unwrap_or_default();
    let rows = tokens.to_vec2::<u32>()?;
    for (number, row) in rows.iter().enumerate() {
        let (first, second) = row[1..].split_at(*seq_len);
        let mut different = first.to_vec();
        different.sort_unstable();
        different.dedup();
        let complaint = if row[0] != bos {
            format!("begins with token {}, and the BOS is {bos}.", row[0])
        } else if first != second {
            "has a second half that is not its first.".into()
        } else if first.contains(&bos) {
            "has the BOS among its random tokens.".into()
        } else if different.len() <= seq_len / 2 {
            "has hardly any different tokens: draw each.".into()
        } else if number > 0 && rows[number - 1] == *row {
            "is the same as the one before it.".into()
        } else {
            continue;
        };
        return Ok(Some(format!("row {number} {complaint}")));
    }
    Ok(None)
}

/// Models with repeated rows for them, and the length of a half.
pub(in crate::course::sections) fn rows() -> Result<Vec<(HookedTransformer, Tokens, usize)>> {
    let one = |model: HookedTransformer, seq_len, batch| -> Result<_> {
        let tokens = repeated_tokens(&model, RepeatOptions { seq_len, batch, seed: seed(3) })?;
        Ok((model, tokens, seq_len))
    };
    Ok(vec![one(induction()?, 9, 3)?, one(tiny()?, 6, 2)?])
}
