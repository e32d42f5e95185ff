//! Small inputs for the exercises of this section.

use candle_core::{Device, Tensor};

use crate::cache::ActivationCache;
use crate::course::brackets::{bracket_strings, is_balanced};
use crate::course::models::{brackets, classifier};
use crate::course::seed::seeded;
use crate::error::Result;
use crate::model::HookedTransformer;

fn strings(count: usize, number: u64) -> Vec<String> {
    bracket_strings(count, &mut seeded(number))
}

/// A model, strings and whether each is balanced, and a head.
type StringsAndHead = (HookedTransformer, Vec<String>, Vec<bool>, usize, usize);

pub(in crate::course::sections) fn strings_and_heads() -> Result<Vec<StringsAndHead>> {
    let one = |model, texts: Vec<String>, layer, head| {
        let balanced = texts.iter().map(|text| is_balanced(text)).collect();
        (model, texts, balanced, layer, head)
    };
    // The last tells the ablation of another head from none.
    Ok(vec![
        one(brackets()?, strings(61, 11), 0, 1),
        one(classifier()?, strings(150, 12), 1, 2),
        one(brackets()?, strings(61, 11), 1, 0),
    ])
}

/// Both models with caches of strings of unequal lengths.
fn caches() -> Result<[(HookedTransformer, ActivationCache); 2]> {
    let of = |model: HookedTransformer, texts| -> Result<_> {
        let cache = model.run_with_cache(texts)?.1;
        Ok((model, cache))
    };
    Ok([of(brackets()?, strings(7, 13))?, of(classifier()?, strings(5, 14))?])
}

pub(in crate::course::sections) fn caches_and_heads() -> Result<Vec<(ActivationCache, usize, usize)>> {
    let [(_, first), (_, second)] = caches()?;
    Ok(vec![(first, 2, 1), (second, 1, 2)])
}

/// Marks at random, some in every string.
pub(in crate::course::sections) fn caches_heads_and_marks() -> Result<Vec<(ActivationCache, usize, usize, Tensor)>> {
    let mut random = seeded(17);
    let mut with_marks = |(cache, layer, head): (ActivationCache, usize, usize)| -> Result<_> {
        let (batch, pos) = (cache.tokens().batch(), cache.tokens().pos());
        let marks = (0..batch * pos).map(|at| f32::from(u8::from(at % pos == 1 || random.chance(0.4)))).collect();
        Ok((cache, layer, head, Tensor::from_vec::<_, f32>(marks, (batch, pos), &Device::Cpu)?))
    };
    caches_and_heads()?.into_iter().map(&mut with_marks).collect()
}

pub(in crate::course::sections) fn directions_and_heads() -> Result<Vec<(HookedTransformer, Tensor, usize, usize)>> {
    let mut random = seeded(15);
    let mut one = |model: HookedTransformer, layer, head| -> Result<_> {
        let direction = random.normal(model.dims().d_model)?;
        Ok((model, direction, layer, head))
    };
    Ok(vec![one(brackets()?, 2, 0)?, one(classifier()?, 1, 2)?])
}

pub(in crate::course::sections) fn models_caches_and_layers() -> Result<Vec<(HookedTransformer, ActivationCache, usize)>>
{
    Ok(caches()?.into_iter().zip([2, 1]).map(|((model, cache), layer)| (model, cache, layer)).collect())
}

pub(in crate::course::sections) fn models_caches_layers_and_directions()
-> Result<Vec<(HookedTransformer, ActivationCache, usize, Tensor)>> {
    let mut random = seeded(16);
    let with_direction = |(model, cache, layer): (HookedTransformer, ActivationCache, usize)| -> Result<_> {
        let direction = random.normal(model.dims().d_model)?;
        Ok((model, cache, layer, direction))
    };
    models_caches_and_layers()?.into_iter().map(with_direction).collect()
}

pub(in crate::course::sections) fn models_and_heads() -> Result<Vec<(HookedTransformer, usize)>> {
    Ok(vec![(brackets()?, 1), (classifier()?, 2)])
}
