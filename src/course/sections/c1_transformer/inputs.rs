//! Small inputs for the exercises of this section. No bias is 0, no norm has weight 1, and eps is large enough to be seen.

use candle_core::Tensor;

use crate::course::models::{other, tiny_as_loaded};
use crate::course::seed::{reordered, seeded};
use crate::course::weights::{AttnWeights, BlockWeights, MlpWeights, UnembedWeights};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tokens::Tokens;

/// Sizes of a block that all differ.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    pos: usize,
    d_model: usize,
    heads: usize,
    d_head: usize,
    d_mlp: usize,
}

const SMALL: Sizes = Sizes { batch: 2, pos: 5, d_model: 7, heads: 3, d_head: 4, d_mlp: 11 };
const LARGER: Sizes = Sizes { batch: 3, pos: 4, d_model: 10, heads: 2, d_head: 6, d_mlp: 13 };

impl Sizes {
    /// A residual stream whose mean is not 0.
    fn stream(self, random: &mut Random) -> Result<Tensor> {
        Ok(((random.normal((self.batch, self.pos, self.d_model))? * 1.5)? + 0.5)?)
    }

    fn attn(self, random: &mut Random) -> Result<AttnWeights> {
        let Self { d_model, heads, d_head, .. } = self;
        Ok(AttnWeights {
            W_Q: small(random, &[heads, d_model, d_head])?,
            b_Q: small(random, &[heads, d_head])?,
            W_K: small(random, &[heads, d_model, d_head])?,
            b_K: small(random, &[heads, d_head])?,
            W_V: small(random, &[heads, d_model, d_head])?,
            b_V: small(random, &[heads, d_head])?,
            W_O: small(random, &[heads, d_head, d_model])?,
            b_O: small(random, &[d_model])?,
        })
    }

    fn mlp(self, random: &mut Random) -> Result<MlpWeights> {
        Ok(MlpWeights {
            W_in: small(random, &[self.d_model, self.d_mlp])?,
            b_in: small(random, &[self.d_mlp])?,
            W_out: small(random, &[self.d_mlp, self.d_model])?,
            b_out: small(random, &[self.d_model])?,
        })
    }

    fn block(self, random: &mut Random) -> Result<BlockWeights> {
        Ok(BlockWeights {
            ln1_w: near_one(random, self.d_model)?,
            ln1_b: small(random, &[self.d_model])?,
            attn: self.attn(random)?,
            ln2_w: near_one(random, self.d_model)?,
            ln2_b: small(random, &[self.d_model])?,
            mlp: self.mlp(random)?,
            eps: 0.1,
        })
    }
}

fn small(random: &mut Random, shape: &[usize]) -> Result<Tensor> {
    Ok((random.normal(shape)? * 0.5)?)
}

fn near_one(random: &mut Random, size: usize) -> Result<Tensor> {
    Ok(((random.normal(size)? * 0.3)? + 1.0)?)
}

fn both<I>(number: u64, one: impl Fn(Sizes, &mut Random) -> Result<I>) -> Result<Vec<I>> {
    let mut random = seeded(number);
    Ok(vec![one(SMALL, &mut random)?, one(LARGER, &mut random)?])
}

pub(super) fn norms() -> Result<Vec<(Tensor, Tensor, Tensor, f64)>> {
    both(11, |sizes, random| {
        let (x, d_model) = (sizes.stream(random)?, sizes.d_model);
        Ok((x, near_one(random, d_model)?, small(random, &[d_model])?, 0.1))
    })
}

/// Ids and a matrix with a row for each; there are more rows than positions.
fn ids_and_rows(number: u64) -> Result<Vec<(Tokens, Tensor)>> {
    both(number, |sizes, random| {
        let known = sizes.d_mlp;
        let rows = (0..sizes.batch).map(|_| (0..sizes.pos).map(|_| random.below(known) as u32).collect()).collect();
        Ok((Tokens::from_rows(rows)?, random.normal((known, sizes.d_model))?))
    })
}

pub(super) fn embeddings() -> Result<Vec<(Tokens, Tensor)>> {
    ids_and_rows(12)
}

pub(super) fn positions() -> Result<Vec<(Tokens, Tensor)>> {
    ids_and_rows(13)
}

pub(super) fn scores() -> Result<Vec<(Tensor,)>> {
    both(14, |sizes, random| Ok((random.normal((sizes.batch, sizes.heads, sizes.pos, sizes.pos))?,)))
}

pub(super) fn attentions() -> Result<Vec<(Tensor, AttnWeights)>> {
    both(15, |sizes, random| Ok((sizes.stream(random)?, sizes.attn(random)?)))
}

/// Neurons see numbers of both signs up to about 6, where the kinds of gelu differ most.
pub(super) fn mlps() -> Result<Vec<(Tensor, MlpWeights)>> {
    both(16, |sizes, random| Ok((sizes.stream(random)?, sizes.mlp(random)?)))
}

pub(super) fn blocks() -> Result<Vec<(Tensor, BlockWeights)>> {
    both(17, |sizes, random| Ok((sizes.stream(random)?, sizes.block(random)?)))
}

pub(super) fn unembeddings() -> Result<Vec<(Tensor, UnembedWeights)>> {
    both(18, |sizes, random| {
        let weights = UnembedWeights {
            ln_final_w: near_one(random, sizes.d_model)?,
            ln_final_b: small(random, &[sizes.d_model])?,
            eps: 0.1,
            W_U: random.normal((sizes.d_model, sizes.d_mlp))?,
            b_U: random.normal(sizes.d_mlp)?,
        };
        Ok((sizes.stream(random)?, weights))
    })
}

pub(super) fn models() -> Result<Vec<(HookedTransformer, Tokens)>> {
    let (tiny, other) = (tiny_as_loaded()?, other()?);
    let first = tiny.to_tokens(["The keys on the cabinet"])?;
    let ids: [u32; 10] = reordered([3, 1, 4, 1, 5, 9, 2, 6, 5, 30], 19);
    let second = Tokens::from_rows(ids.chunks(5).map(<[u32]>::to_vec).collect())?;
    Ok(vec![(other, second), (tiny, first)])
}
