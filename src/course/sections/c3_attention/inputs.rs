//! Small inputs for the exercises of this section.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use candle_core::{Device, Tensor};

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::answer::Answer;
use crate::course::data::NAMES;
use crate::course::models::{induction, once, other, tiny};
use crate::course::seed::{reordered, seed, seeded};
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::{HookedTransformer, HookedTransformerConfig};
use crate::tokens::Tokens;

pub(in crate::course::sections) fn guesses() -> Result<Vec<(Tensor, Tokens)>> {
    let mut random = seeded(12);
    let mut one = |batch: usize, pos: usize, d_vocab: usize| -> Result<(Tensor, Tokens)> {
        let rows = (0..batch).map(|_| (0..pos).map(|_| random.below(d_vocab) as u32).collect()).collect();
        Ok((random.normal((batch, pos, d_vocab))?, Tokens::from_rows(rows)?))
    };
    Ok(vec![one(3, 11, 4)?, one(2, 17, 5)?])
}

pub(in crate::course::sections) fn queries_and_keys() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = seeded(3);
    let mut one = |shape: (usize, usize, usize, usize)| -> Result<(Tensor, Tensor)> {
        Ok((random.normal(shape)?, random.normal(shape)?))
    };
    Ok(vec![one((2, 5, 3, 4))?, one((4, 7, 2, 9))?])
}

fn patterns(model: &HookedTransformer, tokens: Tokens) -> Result<ActivationCache> {
    Ok(model.run_with_hooks(tokens, HookPlan::new().capture("pattern"))?.1)
}

pub(in crate::course::sections) fn caches() -> Result<Vec<(ActivationCache,)>> {
    let (tiny, other, mut random) = (tiny()?, other()?, seeded(4));
    let [john, mary, paul, anna, ..] = reordered(NAMES, 14);
    let first = tiny.to_tokens([
        format!("When {john} and {mary} went to the shops, {john} gave the bag to"),
        format!("When {paul} and {anna} went to the river, {anna} gave the ring to"),
    ])?;
    let rows = (0..4).map(|_| (0..7).map(|_| random.below(other.dims().d_vocab) as u32).collect()).collect();
    Ok(vec![(patterns(&tiny, first)?,), (patterns(&other, Tokens::from_rows(rows)?)?,)])
}

pub(in crate::course::sections) fn repeats() -> Result<Vec<(ActivationCache, usize)>> {
    let (tiny, other, mut random) = (tiny()?, other()?, seeded(5));
    let first = repeated_tokens(&tiny, RepeatOptions { seq_len: 7, batch: 3, seed: seed(1) })?;
    let mut row = || -> Vec<u32> {
        let half: Vec<u32> = (0..10).map(|_| 1 + random.below(other.dims().d_vocab - 1) as u32).collect();
        [&[0], &half[..], &half[..]].concat()
    };
    let second = Tokens::from_rows(vec![row(), row()])?;
    Ok(vec![(patterns(&tiny, first)?, 7), (patterns(&other, second)?, 10)])
}

/// A random model with the words of [`tiny`], whose BOS is the last, and room for long rows: what draws that BOS does so at once.
fn many_words() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    let tiny = tiny()?;
    let cfg = HookedTransformerConfig {
        n_layers: 1,
        d_model: 3,
        n_heads: 1,
        d_vocab: tiny.dims().d_vocab,
        n_ctx: 1 + 2 * LONG,
        attn_only: true,
        ..Default::default()
    };
    once(&MODEL, || {
        let (model, _) = HookedTransformer::trainable(cfg, seed(13), &Device::Cpu)?;
        Ok(model.without_weight_gradients().with_tokenizer(tiny.tokenizer()?))
    })
}

/// A quarter of the words of [`tiny`].
const LONG: usize = 700;

/// Sizes of repeated rows, for models whose BOS differs; two have one seed. The usual seed is one for which the smaller vocabulary gives a
/// BOS where it may; with any seed the last rows are long enough for one.
pub(in crate::course::sections) fn sizes() -> Result<Vec<(HookedTransformer, usize, usize, u64)>> {
    let small = |usual| Ok::<_, crate::Error>((induction()?, 25, 4, seed(usual)));
    Ok(vec![
        (tiny()?, 6, 3, seed(1)),
        small(SEED_WITH_BOS)?,
        small(SEED_WITH_BOS)?,
        small(SEED_WITH_BOS + 1)?,
        (many_words()?, LONG, 20, seed(1)),
    ])
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
    let (bos, d_vocab) = (model.tokenizer()?.bos_id().unwrap_or_default(), model.dims().d_vocab);
    let rows = tokens.to_vec2::<u32>()?;
    for (number, row) in rows.iter().enumerate() {
        let (first, second) = row[1..].split_at(*seq_len);
        let different: BTreeSet<&u32> = first.iter().collect();
        let complaint = if row[0] != bos {
            format!("begins with token {}, and the BOS is {bos}.", row[0])
        } else if first != second {
            "has a second half that is not its first.".into()
        } else if first.contains(&bos) {
            "has the BOS among its random tokens.".into()
        } else if let Some(id) = first.iter().find(|id| **id as usize >= d_vocab) {
            format!("has token {id}, and the model knows those below {d_vocab}.")
        } else if different.len() < *seq_len {
            format!("has only {} different tokens among {seq_len}.", different.len())
        } else if number > 0 && rows[number - 1] == *row {
            "is the same as the one before it.".into()
        } else {
            continue;
        };
        return Ok(Some(format!("row {number} {complaint}")));
    }
    Ok(None)
}

/// One seed gives the same rows twice, and another one others.
pub(in crate::course::sections) fn follows_the_seed(
    inputs: &[(HookedTransformer, usize, usize, u64)],
    answers: &[Answer],
) -> Result<Option<String>> {
    for (later, (_, seq_len, batch, seed)) in inputs.iter().enumerate() {
        for (earlier, (_, _, _, other)) in inputs[..later].iter().enumerate() {
            let [a, b] = [earlier, later].map(|at| &answers[at].parts[0]);
            if a.dims() != b.dims() {
                continue;
            }
            let is_same = a.to_vec2::<u32>()? == b.to_vec2::<u32>()?;
            if is_same != (seed == other) {
                let what = if is_same { "the same rows" } else { "other rows the second time" };
                return Ok(Some(format!(
                    "with {batch} rows of {seq_len} tokens, seed {other} and then seed {seed} gave {what}. Draw all of them from one Random::new(seed)."
                )));
            }
        }
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
