//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use super::answer_directions;
use crate::cache::{ActivationCache, Stack};
use crate::course::models::tiny;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::HookedTransformer;
use crate::random::Random;

/// Ids of right and wrong answers.
type Ids = (Vec<u32>, Vec<u32>);

pub(in crate::course::sections) fn logits() -> Result<Vec<(Tensor, Vec<u32>, Vec<u32>)>> {
    let mut random = Random::new(61);
    let one = random.normal((3, 5, 7))?;
    let other = random.normal((2, 4, 9))?;
    Ok(vec![(one, vec![6, 0, 2], vec![1, 5, 4]), (other, vec![3, 8], vec![7, 1])])
}

/// Prompts of one length each, with their answers.
const THREE: [(&str, &str, &str); 3] = [
    ("When John and Mary went to the shops, John gave the bag to", " Mary", " John"),
    ("When Tom and James went to the park, Tom gave the ball to", " James", " Tom"),
    ("After Martin and Amy went to the park, Amy gave a drink to", " Martin", " Amy"),
];
const TWO: [(&str, &str, &str); 2] =
    [("Dan and Sid went home. Sid thanked", " Dan", " Sid"), ("Amy and Tom went home. Tom thanked", " Amy", " Tom")];

fn ids(model: &HookedTransformer, prompts: &[(&str, &str, &str)]) -> Result<Ids> {
    Ok((
        model.token_ids(prompts.iter().map(|prompt| prompt.1))?,
        model.token_ids(prompts.iter().map(|prompt| prompt.2))?,
    ))
}

fn cache(model: &HookedTransformer, prompts: &[(&str, &str, &str)]) -> Result<ActivationCache> {
    let texts: Vec<&str> = prompts.iter().map(|prompt| prompt.0).collect();
    Ok(model.run_with_cache(model.to_tokens(texts)?)?.1)
}

fn run(prompts: &[(&str, &str, &str)]) -> Result<(HookedTransformer, ActivationCache, Tensor)> {
    let model = tiny()?;
    let (right, wrong) = ids(&model, prompts)?;
    let (cache, directions) = (cache(&model, prompts)?, answer_directions(&model, &right, &wrong)?);
    Ok((model, cache, directions))
}

pub(in crate::course::sections) fn answers() -> Result<Vec<(HookedTransformer, Vec<u32>, Vec<u32>)>> {
    let model = tiny()?;
    let ((right, wrong), (right_too, wrong_too)) = (ids(&model, &THREE)?, ids(&model, &TWO)?);
    Ok(vec![(model.clone(), right, wrong), (model, right_too, wrong_too)])
}

pub(in crate::course::sections) fn stacks() -> Result<Vec<(Tensor, ActivationCache, Tensor)>> {
    let (model, cache, directions) = run(&THREE)?;
    let parts = cache.stack(&model, Stack::components().pos(-1))?.tensor();
    let (_, cache_too, directions_too) = run(&TWO)?;
    let streams = cache_too.stack(&model, Stack::accumulated().pos(-1))?.tensor();
    Ok(vec![(parts, cache, directions), (streams, cache_too, directions_too)])
}

pub(in crate::course::sections) fn caches() -> Result<Vec<(ActivationCache, Tensor)>> {
    let ((_, cache, directions), (_, cache_too, directions_too)) = (run(&THREE)?, run(&TWO)?);
    Ok(vec![(cache, directions), (cache_too, directions_too)])
}

pub(in crate::course::sections) fn models_and_caches() -> Result<Vec<(HookedTransformer, ActivationCache, Tensor)>> {
    Ok(vec![run(&THREE)?, run(&TWO)?])
}

pub(in crate::course::sections) fn scores() -> Result<Vec<(Tensor, usize)>> {
    let mut random = Random::new(62);
    Ok(vec![(random.normal((4, 7))?, 5), (random.normal((5, 3))?, 4)])
}

/// A cache, heads, and a position in each prompt.
type Looks = (ActivationCache, Vec<(usize, usize)>, Vec<usize>);

pub(in crate::course::sections) fn looks() -> Result<Vec<Looks>> {
    let patterns = |prompts: &[(&str, &str, &str)]| -> Result<ActivationCache> {
        let texts: Vec<&str> = prompts.iter().map(|prompt| prompt.0).collect();
        Ok(tiny()?.run_with_hooks(texts, HookPlan::new().capture("pattern"))?.1)
    };
    Ok(vec![
        (patterns(&THREE)?, vec![(3, 1), (2, 0), (1, 3), (0, 2)], vec![10, 4, 2]),
        (patterns(&TWO)?, vec![(2, 3), (0, 1)], vec![1, 6]),
    ])
}

pub(in crate::course::sections) fn nothing() -> Result<Vec<()>> {
    Ok(vec![()])
}
