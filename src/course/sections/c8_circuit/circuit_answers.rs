//! Wrong answers to the exercises about circuits.

use candle_core::{Device, IndexOp, Tensor};

use super::ablation_answers::without_itself;
use super::{completeness, faithfulness, mean_by_group, minimality};
use crate::error::Result;
use crate::head::Head;
use crate::hooks::{Edit, HookPlan};
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

fn all(model: &HookedTransformer) -> Vec<Head> {
    let cfg = model.cfg();
    (0..cfg.n_layers).flat_map(|layer| (0..cfg.n_heads).map(move |head| Head::new(layer, head))).collect()
}

fn without(heads: &[Head], set: &[Head]) -> Vec<Head> {
    heads.iter().copied().filter(|head| !set.contains(head)).collect()
}

/// The logit difference of each prompt when `ablation` of a head's `z` takes its place outside the circuit.
fn of_prompts(
    model: &HookedTransformer,
    tokens: &Tokens,
    answers: &Answers,
    circuit: &[Head],
    ablation: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Vec<f32>> {
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture("z"))?;
    let mut plan = HookPlan::new();
    for Head { layer, head } in without(&all(model), circuit) {
        let instead = ablation(&cache.get(("z", layer))?)?.i((.., .., head))?;
        plan = plan.edit(("z", layer), Edit::replace(instead).head(head));
    }
    let (logits, _) = model.run_with_hooks(tokens, plan)?;
    Ok(answers.logit_diff(&logits, tokens)?.values().iter().copied().collect())
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

fn share(
    (model, tokens, answers, circuit): (&HookedTransformer, &Tokens, &Answers, &[Head]),
    ablation: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<f32> {
    let left = of_prompts(model, tokens, answers, circuit, ablation)?;
    Ok(mean(&left) / mean(&of_prompts(model, tokens, answers, &all(model), |z| Ok(z.clone()))?))
}

macro_rules! of_circuits {
    ($($name:ident: |$model:ident, $tokens:ident, $groups:ident, $answers:ident, $circuit:ident| $result:expr;)+) => {$(
        pub(super) fn $name(
            $model: &HookedTransformer,
            $tokens: &Tokens,
            $groups: &[usize],
            $answers: &Answers,
            $circuit: &[Head],
        ) -> Result<f32> {
            $result
        }
    )+};
}
of_circuits! {
    circuit_ablated: |model, tokens, groups, answers, circuit| {
        faithfulness(model, tokens, groups, answers, &without(&all(model), circuit))
    };
    zeros: |model, tokens, _groups, answers, circuit| {
        share((model, tokens, answers, circuit), |z| Ok(z.zeros_like()?))
    };
    means_over_all: |model, tokens, groups, answers, circuit| {
        share((model, tokens, answers, circuit), |z| mean_by_group(z, &vec![0; groups.len()]))
    };
    mean_of_ratios: |model, tokens, groups, answers, circuit| {
        let left = of_prompts(model, tokens, answers, circuit, |z| mean_by_group(z, groups))?;
        let whole = of_prompts(model, tokens, answers, &all(model), |z| Ok(z.clone()))?;
        Ok(mean(&left.iter().zip(&whole).map(|(left, whole)| left / whole).collect::<Vec<_>>()))
    };
    not_divided: |model, tokens, groups, answers, circuit| {
        Ok(mean(&of_prompts(model, tokens, answers, circuit, |z| mean_by_group(z, groups))?))
    };
    faithfulness_by_others: |model, tokens, groups, answers, circuit| {
        share((model, tokens, answers, circuit), |z| without_itself(z, groups))
    };
    lost: |model, tokens, groups, answers, circuit| {
        Ok(1. - faithfulness(model, tokens, groups, answers, circuit)?)
    };
}

type Given<'a> = (&'a HookedTransformer, &'a Tokens, &'a [usize], &'a Answers);

fn of((model, tokens, groups, answers): Given<'_>, circuit: &[Head]) -> Result<f32> {
    faithfulness(model, tokens, groups, answers, circuit)
}

fn by_others((model, tokens, groups, answers): Given<'_>, circuit: &[Head]) -> Result<f32> {
    faithfulness_by_others(model, tokens, groups, answers, circuit)
}

macro_rules! without_one {
    ($($name:ident: |$given:ident, $circuit:ident, $head:ident, $set:ident| $result:expr;)+) => {$(
        pub(super) fn $name(
            model: &HookedTransformer,
            tokens: &Tokens,
            groups: &[usize],
            answers: &Answers,
            $circuit: &[Head],
            $head: Head,
            $set: &[Head],
        ) -> Result<f32> {
            let $given = (model, tokens, groups, answers);
            $result
        }
    )+};
}
without_one! {
    set_left_in: |given, circuit, head, _set| Ok(of(given, circuit)? - of(given, &without(circuit, &[head]))?);
    of_the_model: |given, _circuit, head, set| minimality(given.0, given.1, given.2, given.3, &all(given.0), head, set);
    ratio: |given, circuit, head, set| {
        let kept = without(circuit, set);
        Ok(of(given, &without(&kept, &[head]))? / of(given, &kept)?)
    };
    ratio_with_over_without: |given, circuit, head, set| {
        let kept = without(circuit, set);
        Ok(of(given, &kept)? / of(given, &without(&kept, &[head]))?)
    };
    minimality_by_others: |given, circuit, head, set| {
        let kept = without(circuit, set);
        Ok(by_others(given, &kept)? - by_others(given, &without(&kept, &[head]))?)
    };
    sign_turned: |given, circuit, head, set| {
        Ok(-minimality(given.0, given.1, given.2, given.3, circuit, head, set)?)
    };
    head_and_set: |given, circuit, head, set| {
        Ok(of(given, circuit)? - of(given, &without(&without(circuit, set), &[head]))?)
    };
}

/// Two numbers for each set.
fn pairs(sets: &[Vec<Head>], of: impl Fn(&[Head]) -> Result<[f32; 2]>) -> Result<Tensor> {
    let numbers = sets.iter().map(|set| of(set)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::from_vec(numbers.concat(), (sets.len(), 2), &Device::Cpu)?)
}

macro_rules! without_sets {
    ($($name:ident: |$given:ident, $circuit:ident, $set:ident| $result:expr;)+) => {$(
        pub(super) fn $name(
            model: &HookedTransformer,
            tokens: &Tokens,
            groups: &[usize],
            answers: &Answers,
            $circuit: &[Head],
            sets: &[Vec<Head>],
        ) -> Result<Tensor> {
            let $given = (model, tokens, groups, answers);
            pairs(sets, |$set| Ok($result))
        }
    )+};
}
without_sets! {
    model_kept_whole: |given, circuit, set| [of(given, &without(circuit, set))?, 1.];
    circuit_kept_whole: |given, circuit, set| [of(given, circuit)?, of(given, &without(&all(given.0), set))?];
    completeness_by_others: |given, circuit, set| {
        [by_others(given, &without(circuit, set))?, by_others(given, &without(&all(given.0), set))?]
    };
    model_without_circuit: |given, circuit, set| {
        [of(given, &without(circuit, set))?, of(given, &without(&without(&all(given.0), circuit), set))?]
    };
}

pub(super) fn columns_exchanged(
    model: &HookedTransformer,
    tokens: &Tokens,
    groups: &[usize],
    answers: &Answers,
    circuit: &[Head],
    sets: &[Vec<Head>],
) -> Result<Tensor> {
    let right = completeness(model, tokens, groups, answers, circuit, sets)?;
    Ok(Tensor::cat(&[right.narrow(1, 1, 1)?, right.narrow(1, 0, 1)?], 1)?)
}
