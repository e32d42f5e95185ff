//! Small inputs for the exercises of this section, the cheapest first.

use candle_core::{DType, Tensor};

use crate::course::data::NAMES;
use crate::course::models::tiny;
use crate::course::seed::{reordered, seed, seeded};
use crate::dictionaries::Dictionary;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

pub(super) type Weights = (Tensor, Tensor, Tensor, Tensor, Tensor);

pub(super) fn autoencoders() -> Result<Vec<Weights>> {
    let mut random = seeded(41);
    let mut one = |batch: usize, d: usize, latents: usize| -> Result<Weights> {
        Ok((
            random.normal((batch, d))?,
            random.normal((d, latents))?,
            random.normal(latents)?,
            random.normal((latents, d))?,
            random.normal(d)?,
        ))
    };
    Ok(vec![one(5, 3, 7)?, one(4, 6, 8)?])
}

pub(super) fn reconstructions() -> Result<Vec<(Tensor, Tensor, Tensor, f64)>> {
    let mut random = seeded(42);
    let mut one = |batch: usize, d: usize, latents: usize, l1: f64| -> Result<_> {
        let acts = random.normal((batch, latents))?.relu()?;
        Ok((random.normal((batch, d))?, acts, random.normal((batch, d))?, l1))
    };
    Ok(vec![one(5, 3, 7, 0.2)?, one(4, 6, 9, 0.7)?])
}

pub(super) type Sae = (Tensor, Tensor, Tensor, Vec<usize>, f64, u64);

pub(super) fn some_dead() -> Result<Vec<Sae>> {
    let mut random = seeded(43);
    let mut one = |d: usize, times: Vec<usize>, scale: f64, seed: u64| -> Result<Sae> {
        let n = times.len();
        Ok((random.normal((d, n))?, random.normal(n)?, random.normal((n, d))?, times, scale, seed))
    };
    Ok(vec![
        one(4, vec![3, 0, 1, 0, 0, 12], 0.2, seed(1))?,
        one(3, vec![2, 1, 4, 9], 0.2, seed(2))?,
        one(6, vec![0, 5, 0], 0.5, seed(3))?,
    ])
}

pub(super) fn for_top_k() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(44);
    // In some rows fewer than k are above 0.
    Ok(vec![((random.normal((6, 5))? - 0.6)?, 3), ((random.normal((4, 9))? - 0.3)?, 2)])
}

pub(super) fn for_thresholds() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = seeded(45);
    let mut one = |batch: usize, latents: usize| -> Result<_> {
        Ok((random.normal((batch, latents))?, (random.normal(latents)? * 1.5)?))
    };
    Ok(vec![one(16, 5)?, one(12, 7)?])
}

fn dictionary(name: &str) -> Result<Dictionary> {
    Dictionary::from_pretrained(format!("tiny/{name}"))
}

pub(super) fn to_logits() -> Result<Vec<(HookedTransformer, Dictionary, usize, usize)>> {
    let latents = reordered([17, 403, 2, 99, 128, 231, 310], 46);
    Ok(vec![(tiny()?, dictionary("resid1")?, latents[0], 5), (tiny()?, dictionary("mlp3")?, latents[1], 8)])
}

pub(super) fn to_ablate() -> Result<Vec<(HookedTransformer, Dictionary, Tokens, usize)>> {
    let (model, resid) = (tiny()?, dictionary("resid1")?);
    let short = model.to_tokens("The capital of France is")?;
    let [john, mary, paul, anna, ..] = reordered(NAMES, 47);
    let going =
        [format!("When {john} and {mary} went to the shops,"), format!("When {paul} and {anna} went to the river,")];
    let long = model.to_tokens(going)?;
    let strongest = |tokens: &Tokens| -> Result<usize> {
        let (_, cache) = model.run_with_hooks(tokens, crate::hooks::HookPlan::new().capture(("resid_post", 1)))?;
        let acts = resid.encode_dense(&cache.get(("resid_post", 1))?)?;
        // Behind the BOS, of those that the BOS has as well: whether it is left alone is to be seen.
        let at_bos = acts.narrow(1, 0, 1)?.sum((0, 1))?.gt(0f32)?.to_dtype(DType::F32)?;
        let total = (acts.narrow(1, 1, tokens.pos() - 1)?.sum((0, 1))? * at_bos)?;
        if total.max_all()?.item()? <= 0. {
            return Err(Error::argument(
                "no latent is active at the BOS and behind it as well: ablating one shows nothing.",
            ));
        }
        Ok(total.argmax(0)?.to_scalar::<u32>()? as usize)
    };
    let latents = (strongest(&short)?, strongest(&long)?);
    Ok(vec![(model.clone(), resid.clone(), short, latents.0), (model, resid, long, latents.1)])
}
