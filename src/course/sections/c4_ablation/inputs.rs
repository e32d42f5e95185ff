//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::course::answer::Answer;
use crate::course::models::{induction, other};
use crate::course::seed::{seed, seeded};
use crate::error::Result;
use crate::head::Head;
use crate::hooks::HookPlan;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

fn ids(random: &mut Random, count: usize, d_vocab: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(d_vocab) as u32).collect()
}

/// An embedding, the results of two layers of heads, an unembedding and tokens.
type Parts = (Tensor, Tensor, Tensor, Tensor, Vec<u32>);

pub(in crate::course::sections) fn two_layers() -> Result<Vec<Parts>> {
    let mut random = seeded(41);
    let mut one = |pos, heads, d_model, d_vocab| -> Result<Parts> {
        let heads = (pos, heads, d_model);
        let [embed, w_u] = [(pos, d_model), (d_model, d_vocab)].map(|shape| random.normal(shape));
        let [l0, l1] = [(); 2].map(|()| random.normal(heads));
        Ok((embed?, l0?, l1?, w_u?, ids(&mut random, pos, d_vocab)))
    };
    Ok(vec![one(6, 3, 4, 11)?, one(8, 2, 7, 13)?])
}

/// Parts, what the norm divides by, an unembedding with its bias, and tokens.
pub(in crate::course::sections) fn with_norm() -> Result<Vec<Parts>> {
    let mut random = seeded(42);
    let mut one = |pos, parts, d_model, d_vocab| -> Result<Parts> {
        let parts = random.normal((pos, parts, d_model))?;
        let scale = (parts.sum(1)?.sqr()?.mean_keepdim(1)? + 0.1)?.sqrt()?;
        let [w_u, b_u] = [random.normal((d_model, d_vocab)), random.normal(d_vocab)];
        Ok((parts, scale, w_u?, b_u?, ids(&mut random, pos, d_vocab)))
    };
    Ok(vec![one(6, 3, 5, 11)?, one(9, 7, 5, 13)?])
}

pub(in crate::course::sections) fn outputs() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(43);
    Ok(vec![(random.normal((2, 5, 3, 4))?, 1), (random.normal((4, 3, 5, 6))?, 2)])
}

pub(in crate::course::sections) fn rows() -> Result<Vec<(HookedTransformer, Tokens, usize)>> {
    let one = |model: HookedTransformer, seq_len, batch| -> Result<_> {
        let tokens = repeated_tokens(&model, RepeatOptions { seq_len, batch, seed: seed(44) })?;
        Ok((model, tokens, seq_len))
    };
    Ok(vec![one(induction()?, 8, 3)?, one(other()?, 6, 2)?])
}

pub(in crate::course::sections) fn nothing() -> Result<Vec<()>> {
    Ok(vec![()])
}

/// Whether a head looks at the token before, by its pattern and not by its name.
pub(in crate::course::sections) fn looks_at_the_token_before(_: &(), answer: &Answer) -> Result<Option<String>> {
    let model = induction()?;
    let dims = model.dims();
    let name = answer.text.trim().to_uppercase();
    let head = match name.parse::<Head>() {
        Ok(head) if head.layer < dims.n_layers && head.head < dims.n_heads => head,
        Ok(_) => {
            return Ok(Some(format!("there is no such head: {} layers have {} each.", dims.n_layers, dims.n_heads)));
        }
        Err(_) => return Ok(Some(format!("{name:?} names no head: layer and head are written as \"L1H2\"."))),
    };
    // The rows that the notebook shows.
    let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 25, batch: 1, seed: 0 })?;
    let pattern = model
        .run_with_hooks(tokens, HookPlan::new().capture(("pattern", head.layer)))?
        .1
        .get(("pattern", head.layer))?;
    let scores = pattern.diagonal(-1)?.mean((0, 2))?.to_vec1::<f32>()?;
    let (score, is_highest) = (scores[head.head], scores.iter().all(|other| *other <= scores[head.head]));
    let kind = match head.layer {
        1 => " This one looks at the token after an earlier occurrence: it is an induction head.",
        _ => "",
    };
    Ok((head.layer != 0 || !is_highest).then(|| {
        let percent = 100.0 * score;
        format!("{head} gives {percent:.0} % of its attention to the token before, and another head more.{kind}")
    }))
}
