//! Small inputs for the exercises of this section.

use std::sync::OnceLock;

use candle_core::{Device, Tensor};

use super::top_1_acc;
use crate::analysis::{RepeatOptions, repeated_tokens};
use crate::cache::ActivationCache;
use crate::course::models::{induction, once, other};
use crate::course::seed::{first_telling, seed, seeded};
use crate::error::Result;
use crate::factored_matrix::FactoredMatrix;
use crate::hooks::HookPlan;
use crate::model::{HookedTransformer, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::tokens::Tokens;

/// A random model as `induction` is, of other sizes.
fn another_induction() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    once(&MODEL, || {
        let cfg = HookedTransformerConfig {
            n_layers: 2,
            d_model: 15,
            n_heads: 3,
            d_head: Some(7),
            d_vocab: 23,
            n_ctx: 20,
            attn_only: true,
            normalization_type: NormalizationType::None,
            positional_embedding_type: PositionalEmbeddingType::Shortformer,
            initializer_range: Some(0.5),
            ..Default::default()
        };
        Ok(HookedTransformer::trainable(cfg, seed(51), &Device::Cpu)?.0.without_weight_gradients())
    })
}

pub(in crate::course::sections) fn heads() -> Result<Vec<(HookedTransformer, usize, usize)>> {
    Ok(vec![(another_induction()?, 1, 0), (other()?, 2, 1)])
}

pub(in crate::course::sections) fn layers() -> Result<Vec<(HookedTransformer, usize)>> {
    Ok(vec![(another_induction()?, 1), (other()?, 2)])
}

pub(in crate::course::sections) fn circuits() -> Result<Vec<(FactoredMatrix,)>> {
    let draw = |number| {
        let mut random = seeded(number);
        let mut one = |tokens: usize, rank: usize| -> Result<(FactoredMatrix,)> {
            let a = random.normal((tokens, rank))?;
            // About half of the rows have their own column as the highest.
            let b = (&a + (random.normal((tokens, rank))? * 0.7)?)?;
            Ok((FactoredMatrix::new(&a, &b.t()?)?,))
        };
        Ok(vec![one(20, 5)?, one(31, 4)?])
    };
    // The share of rows may be that of columns.
    first_telling(52, draw, |(circuit,)| Ok(top_1_acc(circuit)? != top_1_acc(&circuit.T()?)?))
}

pub(in crate::course::sections) fn caches() -> Result<Vec<(ActivationCache,)>> {
    let one = |model: HookedTransformer, seq_len, batch| -> Result<(ActivationCache,)> {
        let tokens = repeated_tokens(&model, RepeatOptions { seq_len, batch, seed: seed(53) })?;
        let plan = HookPlan::new().capture("embed").capture("pos_embed").capture("result");
        Ok((model.run_with_hooks(tokens, plan)?.1,))
    };
    Ok(vec![one(induction()?, 4, 2)?, one(another_induction()?, 6, 1)?])
}

pub(in crate::course::sections) fn parts() -> Result<Vec<(Tensor, Tensor, Tensor)>> {
    let mut random = seeded(54);
    let mut one = |parts: usize, pos: usize, d_model: usize, d_head: usize| -> Result<_> {
        Ok((
            random.normal((parts, pos, d_model))?,
            random.normal((d_model, d_head))?,
            random.normal((d_model, d_head))?,
        ))
    };
    Ok(vec![one(3, 5, 6, 2)?, one(4, 2, 5, 7)?])
}

pub(in crate::course::sections) fn pairs() -> Result<Vec<(HookedTransformer, usize, usize)>> {
    Ok(vec![(another_induction()?, 2, 1), (other()?, 1, 3)])
}

pub(in crate::course::sections) fn matrices() -> Result<Vec<(FactoredMatrix, FactoredMatrix)>> {
    let mut random = seeded(55);
    let mut one = |d_model: usize, ranks: [usize; 2]| -> Result<_> {
        let [left, right] =
            ranks.map(|rank| FactoredMatrix::new(&random.normal((d_model, rank))?, &random.normal((rank, d_model))?));
        Ok((left?, right?))
    };
    Ok(vec![one(6, [2, 3])?, one(9, [4, 1])?])
}

pub(in crate::course::sections) fn rows() -> Result<Vec<(HookedTransformer, Tokens, usize, usize)>> {
    let one = |model: HookedTransformer, seq_len, batch, head| -> Result<_> {
        let tokens = repeated_tokens(&model, RepeatOptions { seq_len, batch, seed: seed(56) })?;
        Ok((model, tokens, seq_len, head))
    };
    Ok(vec![one(induction()?, 9, 3, 2)?, one(another_induction()?, 7, 2, 1)?])
}
