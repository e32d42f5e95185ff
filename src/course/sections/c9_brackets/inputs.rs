//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use crate::cache::ActivationCache;
use crate::course::answer::Answer;
use crate::course::brackets::bracket_strings;
use crate::course::models::{brackets, classifier};
use crate::course::seed::{first_telling, seeded};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

use super::answers::at_the_last_position;
use super::{accuracy, is_balanced};

/// All strings of up to eight brackets, the empty one last.
pub(in crate::course::sections) fn all_short_strings() -> Result<Vec<(String,)>> {
    let strings = (1..=8).flat_map(|length| (0..1_u32 << length).map(move |bits| (length, bits)));
    let text = |(length, bits): (u32, u32)| (0..length).map(|at| if bits >> at & 1 == 1 { '(' } else { ')' }).collect();
    Ok(strings.map(text).chain([String::new()]).map(|string| (string,)).collect())
}

/// Which string is judged wrongly, which "got true, wanted false" would not say.
pub(in crate::course::sections) fn names_the_string(input: &(String,), answer: &Answer) -> Result<Option<String>> {
    let wanted = is_balanced(&input.0)?.to_string();
    Ok((answer.text != wanted).then(|| format!("of {:?} it says {}, which is not so.", input.0, answer.text)))
}

pub(in crate::course::sections) fn token_batches() -> Result<Vec<(Tokens,)>> {
    let model = brackets()?;
    // Each kind of failure, and padding.
    let first = model.to_tokens(["()", "(()())", ")(", "(()", "())(()", ")((()))("])?;
    let second = model.to_tokens(bracket_strings(9, &mut seeded(3)))?;
    Ok(vec![(first,), (second,)])
}

/// The embedded model, and one of another shape.
fn both() -> Result<[HookedTransformer; 2]> {
    Ok([brackets()?, classifier()?])
}

pub(in crate::course::sections) fn models() -> Result<Vec<(HookedTransformer,)>> {
    Ok(both()?.into_iter().map(|model| (model,)).collect())
}

pub(in crate::course::sections) fn models_and_strings() -> Result<Vec<(HookedTransformer, Vec<String>)>> {
    let [model, other] = both()?;
    let draw = |number| {
        let (first, second) = (bracket_strings(61, &mut seeded(number)), bracket_strings(40, &mut seeded(5)));
        Ok(vec![(model.clone(), first), (other.clone(), second)])
    };
    first_telling(11, draw, |(model, texts)| Ok(accuracy(model, texts)? != at_the_last_position(model, texts)?))
}

pub(in crate::course::sections) fn models_and_caches() -> Result<Vec<(HookedTransformer, ActivationCache)>> {
    let of = |model: HookedTransformer, count, seed| -> Result<_> {
        let cache = model.run_with_cache(bracket_strings(count, &mut seeded(seed)))?.1;
        Ok((model, cache))
    };
    let [model, other] = both()?;
    Ok(vec![of(model, 5, 6)?, of(other, 3, 7)?])
}

/// Components that need not be those of the run: random ones, with a mean over d_model.
pub(in crate::course::sections) fn components_and_caches() -> Result<Vec<(Tensor, ActivationCache)>> {
    let mut random = seeded(8);
    let with_components = |(_, cache): (HookedTransformer, ActivationCache)| -> Result<_> {
        let shape = (4, cache.tokens().batch(), cache.tokens().pos(), cache.dims().d_model);
        Ok(((random.normal(shape)? + 0.5)?, cache))
    };
    models_and_caches()?.into_iter().map(with_components).collect()
}

pub(in crate::course::sections) fn components() -> Result<Vec<(Tensor, Tensor, Vec<bool>)>> {
    let mut random = seeded(9);
    let mut one = |shape: (usize, usize, usize), balanced: Vec<bool>| -> Result<_> {
        Ok((random.normal(shape)?, random.normal(shape.2)?, balanced))
    };
    Ok(vec![one((7, 5, 4), vec![true, false, true, false, false])?, one((3, 4, 6), vec![false, true, true, true])?])
}
