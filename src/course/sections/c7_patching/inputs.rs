//! Small inputs for the exercises of this section: random models, because a sweep is many runs.

use candle_core::{Device, Tensor};

use crate::cache::ActivationCache;
use crate::course::seed::{seed, seeded};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::{HookedTransformer, HookedTransformerConfig};
use crate::tokens::Tokens;

/// A random model smaller than the course's other ones, whose biases and norm weights all count.
fn small(n_layers: usize, n_heads: usize, number: u64) -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        n_layers,
        n_heads,
        d_model: 12,
        d_head: Some(6),
        d_mlp: Some(7),
        d_vocab: 11,
        n_ctx: 8,
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, seed(number), &Device::Cpu)?;
    let mut random = seeded(number);
    for var in &vars {
        var.set(&(var.as_tensor() + (random.normal(var.shape())? * 0.3)?)?)?;
    }
    Ok(model.without_weight_gradients())
}

/// A model, a clean run, a corrupted prompt, a right and a wrong answer.
type Sweep = (HookedTransformer, ActivationCache, Tokens, u32, u32);

pub(in crate::course::sections) fn sweeps() -> Result<Vec<Sweep>> {
    let one = |model: HookedTransformer, clean: &[u32], corrupted: &[u32], right, wrong| -> Result<Sweep> {
        let (_, cache) = model.run_with_cache(Tokens::from_rows(vec![clean.to_vec()])?)?;
        Ok((model, cache, Tokens::from_rows(vec![corrupted.to_vec()])?, right, wrong))
    };
    Ok(vec![
        one(small(2, 3, 71)?, &[0, 4, 7, 2, 9], &[0, 8, 1, 5, 3], 6, 10)?,
        one(small(3, 2, 72)?, &[0, 5, 1, 8], &[0, 2, 7, 4], 3, 9)?,
    ])
}

/// A model, a prompt, a plan, a right and a wrong answer.
type Planned = (HookedTransformer, Tokens, HookPlan, u32, u32);

pub(in crate::course::sections) fn plans() -> Result<Vec<Planned>> {
    let one = |(model, _, prompt, right, wrong): Sweep, edit: Edit| -> Planned {
        (model, prompt, HookPlan::new().edit(("resid_post", 0), edit), right, wrong)
    };
    let edits = [Edit::scale(-0.5), Edit::scale(3.0).pos(-1)];
    Ok(sweeps()?.into_iter().zip(edits).map(|(sweep, edit)| one(sweep, edit)).collect())
}

pub(in crate::course::sections) fn differences() -> Result<Vec<(Tensor, f32, f32)>> {
    let mut random = seeded(73);
    // Some are outside the two runs, on either side. In the second, the metric is lower in the clean run.
    Ok(vec![((random.normal((3, 5))? * 4.)?, 4.2, -1.5), ((random.normal((4, 2))? * 4.)?, -0.7, 2.3)])
}

pub(in crate::course::sections) fn nothing() -> Result<Vec<()>> {
    Ok(vec![()])
}
