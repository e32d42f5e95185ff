//! Small inputs for the exercises of this section.

use std::iter::once;

use candle_core::Tensor;

use super::answer_directions;
use crate::cache::{ActivationCache, Stack};
use crate::course::data::NAMES;
use crate::course::models::{other, tiny};
use crate::course::seed::{reordered, seeded};
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::{HookedTransformer, Processing};
use crate::tokens::Tokens;

/// Right and wrong answers to logits or by a model.
type Answered<T> = (T, Vec<u32>, Vec<u32>);

pub(in crate::course::sections) fn logits() -> Result<Vec<Answered<Tensor>>> {
    let mut random = seeded(61);
    let one = random.normal((3, 5, 7))?;
    let two = random.normal((2, 4, 9))?;
    Ok(vec![(one, vec![6, 0, 2], vec![1, 5, 4]), (two, vec![3, 8], vec![7, 1])])
}

/// A model with prompts of one length and their answers.
struct Asked {
    model: HookedTransformer,
    tokens: Tokens,
    right: Vec<u32>,
    wrong: Vec<u32>,
}

impl Asked {
    fn run(&self) -> Result<(ActivationCache, Tensor)> {
        let (_, cache) = self.model.run_with_cache(&self.tokens)?;
        Ok((cache, answer_directions(&self.model, &self.right, &self.wrong)?))
    }

    fn patterns(&self) -> Result<ActivationCache> {
        Ok(self.model.run_with_hooks(&self.tokens, HookPlan::new().capture("pattern"))?.1)
    }
}

/// The embedded model on three prompts, and another on two.
fn asked() -> Result<[Asked; 2]> {
    let names: Vec<String> = reordered(NAMES, 64).iter().map(|name| format!(" {name}")).collect();
    let [john, mary, _, _, tom, james, martin, amy] = &names[..] else { unreachable!("NAMES has eight") };
    let prompts = [
        (format!("When{john} and{mary} went to the shops,{john} gave the bag to"), mary, john),
        (format!("When{tom} and{james} went to the park,{tom} gave the ball to"), james, tom),
        (format!("After{martin} and{amy} went to the park,{amy} gave a drink to"), martin, amy),
    ];
    let model = tiny()?;
    let embedded = Asked {
        tokens: model.to_tokens(prompts.each_ref().map(|prompt| prompt.0.as_str()))?,
        right: model.token_ids(prompts.each_ref().map(|prompt| prompt.1.as_str()))?,
        wrong: model.token_ids(prompts.each_ref().map(|prompt| prompt.2.as_str()))?,
        model,
    };
    let (model, mut random) = (other()?, seeded(63));
    // As models are loaded: norms folded, and what is written to the stream centred.
    let processing = Processing::default_for(&model.cfg());
    let model = model.process(processing)?;
    let mut row = || once(0).chain((0..8).map(|_| random.below(31) as u32)).collect();
    let tokens = Tokens::from_rows(vec![row(), row()])?;
    Ok([embedded, Asked { model, tokens, right: vec![3, 12], wrong: vec![7, 30] }])
}

pub(in crate::course::sections) fn answers() -> Result<Vec<Answered<HookedTransformer>>> {
    Ok(asked()?.into_iter().map(|asked| (asked.model, asked.right, asked.wrong)).collect())
}

pub(in crate::course::sections) fn stacks() -> Result<Vec<(Tensor, ActivationCache, Tensor)>> {
    let [one, two] = asked()?;
    let ((cache, directions), (cache_too, directions_too)) = (one.run()?, two.run()?);
    let parts = cache.stack(&one.model, Stack::components().pos(-1))?.tensor();
    let streams = cache_too.stack(&two.model, Stack::accumulated().pos(-1))?.tensor();
    Ok(vec![(parts, cache, directions), (streams, cache_too, directions_too)])
}

pub(in crate::course::sections) fn caches() -> Result<Vec<(ActivationCache, Tensor)>> {
    asked()?.iter().map(Asked::run).collect()
}

pub(in crate::course::sections) fn models_and_caches() -> Result<Vec<(HookedTransformer, ActivationCache, Tensor)>> {
    let with_model = |asked: Asked| {
        let (cache, directions) = asked.run()?;
        Ok((asked.model, cache, directions))
    };
    asked()?.into_iter().map(with_model).collect()
}

pub(in crate::course::sections) fn scores() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(62);
    Ok(vec![(random.normal((4, 7))?, 5), (random.normal((5, 3))?, 4)])
}

/// A cache, heads, and a position in each prompt.
type Looks = (ActivationCache, Vec<(usize, usize)>, Vec<usize>);

pub(in crate::course::sections) fn looks() -> Result<Vec<Looks>> {
    let [one, two] = asked()?;
    Ok(vec![
        (one.patterns()?, vec![(3, 1), (2, 0), (1, 3), (0, 2)], vec![10, 4, 2]),
        (two.patterns()?, vec![(2, 1), (0, 2)], vec![1, 6]),
    ])
}

pub(in crate::course::sections) fn nothing() -> Result<Vec<()>> {
    Ok(vec![()])
}
