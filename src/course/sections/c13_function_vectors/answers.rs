//! Wrong answers, as code.

use candle_core::{D, Device, Tensor};

use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::model::ops::cross_entropy;
use crate::tokens::Tokens;

/// An activation of every prompt and position.
fn kept(model: &HookedTransformer, prompts: &Tokens, name: &'static str, layer: usize) -> Result<Tensor> {
    let (_, cache) = model.run_with_hooks(prompts, HookPlan::new().capture((name, layer)))?;
    cache.get((name, layer))
}

pub(super) fn mean_over_positions(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Result<Tensor> {
    Ok(kept(model, prompts, "resid_post", layer)?.mean((0, 1))?)
}

pub(super) fn at_the_word(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Result<Tensor> {
    Ok(kept(model, prompts, "resid_post", layer)?.narrow(1, prompts.pos() - 2, 1)?.mean((0, 1))?)
}

pub(super) fn before_the_layer(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Result<Tensor> {
    Ok(kept(model, prompts, "resid_pre", layer)?.narrow(1, prompts.pos() - 1, 1)?.mean((0, 1))?)
}

pub(super) fn before_the_mlp(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Result<Tensor> {
    Ok(kept(model, prompts, "resid_mid", layer)?.narrow(1, prompts.pos() - 1, 1)?.mean((0, 1))?)
}

pub(super) fn first_prompt(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Result<Tensor> {
    Ok(kept(model, prompts, "resid_post", layer)?.get(0)?.get(prompts.pos() - 1)?)
}

/// The log-probability of each answer in a run under this plan.
fn log_probs(model: &HookedTransformer, prompts: &Tokens, answers: &[u32], plan: HookPlan) -> Result<Tensor> {
    let (logits, _) = model.run_with_hooks(prompts, plan)?;
    Ok(cross_entropy(&logits.narrow(1, prompts.pos() - 1, 1)?.squeeze(1)?, answers)?.neg()?)
}

fn edited(name: &'static str, layer: usize, edit: Edit) -> HookPlan {
    HookPlan::new().edit((name, layer), edit)
}

/// The arguments of `answers_with_vector`.
type WithVector<'a> = (&'a HookedTransformer, &'a Tokens, &'a [u32], &'a Tensor, usize);

macro_rules! with_vector {
    ($($name:ident: |$vector:ident, $layer:ident, $prompts:ident| $plan:expr;)+) => {$(
        pub(super) fn $name(m: &HookedTransformer, p: &Tokens, a: &[u32], v: &Tensor, l: usize) -> Result<Tensor> {
            let (model, $prompts, answers, $vector, $layer): WithVector = (m, p, a, v, l);
            log_probs(model, $prompts, answers, $plan)
        }
    )+};
}
with_vector! {
    everywhere: |vector, layer, _prompts| edited("resid_post", layer, Edit::add(vector.clone()));
    added_at_the_word: |vector, layer, prompts| edited("resid_post", layer, Edit::add(vector.clone()).pos(prompts.pos() - 2));
    added_before_the_layer: |vector, layer, _prompts| edited("resid_pre", layer, Edit::add(vector.clone()).pos(-1));
    replaced: |vector, layer, _prompts| edited("resid_post", layer, Edit::replace(vector.clone()).pos(-1));
    nothing_added: |_vector, _layer, _prompts| HookPlan::new();
}

pub(super) fn losses(
    model: &HookedTransformer,
    prompts: &Tokens,
    answers: &[u32],
    vector: &Tensor,
    layer: usize,
) -> Result<Tensor> {
    Ok(super::answers_with_vector(model, prompts, answers, vector, layer)?.neg()?)
}

pub(super) fn probabilities(
    model: &HookedTransformer,
    prompts: &Tokens,
    answers: &[u32],
    vector: &Tensor,
    layer: usize,
) -> Result<Tensor> {
    Ok(super::answers_with_vector(model, prompts, answers, vector, layer)?.exp()?)
}

/// Effects of heads, by what is put into them in place of `z [prompt, pos, head, d_head]`, and how a run is judged.
fn effects(
    model: &HookedTransformer,
    tokens: &Tokens,
    read: &Tokens,
    edit: impl Fn(&Tensor, usize) -> Result<Edit>,
    score: impl Fn(HookPlan, &Tokens) -> Result<f32>,
) -> Result<Tensor> {
    let before = score(HookPlan::new(), tokens)?;
    let (layers, heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let mut all = Vec::new();
    for layer in 0..layers {
        let z = kept(model, read, "z", layer)?;
        for head in 0..heads {
            let plan = edited("z", layer, edit(&z.narrow(2, head, 1)?.squeeze(2)?, head)?);
            all.push(score(plan, tokens)? - before);
        }
    }
    Ok(Tensor::from_vec(all, (layers, heads), &Device::Cpu)?)
}

/// The mean of a head at the last position, to be put there.
fn mean_at_last(z: &Tensor, head: usize) -> Result<Edit> {
    Ok(Edit::replace(z.narrow(1, z.dim(1)? - 1, 1)?.mean((0, 1))?).pos(-1).head(head))
}

macro_rules! indirect {
    ($($name:ident: |$model:ident, $clean:ident, $shuffled:ident, $answers:ident| $effects:expr;)+) => {$(
        pub(super) fn $name(
            $model: &HookedTransformer,
            $clean: &Tokens,
            $shuffled: &Tokens,
            $answers: &[u32],
        ) -> Result<Tensor> {
            $effects
        }
    )+};
}
indirect! {
    in_probabilities: |model, clean, shuffled, answers| effects(model, shuffled, clean, mean_at_last, |plan, tokens| {
        Ok(log_probs(model, tokens, answers, plan)?.exp()?.mean_all()?.to_scalar()?)
    });
    each_its_own: |model, clean, shuffled, answers| effects(
        model,
        shuffled,
        clean,
        |z, head| Ok(Edit::replace(z.narrow(1, z.dim(1)? - 1, 1)?.squeeze(1)?).pos(-1).head(head)),
        |plan, tokens| mean_log_prob(model, tokens, answers, plan)
    );
    at_every_position: |model, clean, shuffled, answers| effects(
        model,
        shuffled,
        clean,
        |z, head| Ok(Edit::replace(z.narrow(1, z.dim(1)? - 1, 1)?.mean((0, 1))?).head(head)),
        |plan, tokens| mean_log_prob(model, tokens, answers, plan)
    );
    on_clean_prompts: |model, clean, _shuffled, answers| effects(model, clean, clean, mean_at_last, |plan, tokens| {
        mean_log_prob(model, tokens, answers, plan)
    });
    of_shuffled_prompts: |model, _clean, shuffled, answers| effects(model, shuffled, shuffled, mean_at_last, |plan, tokens| {
        mean_log_prob(model, tokens, answers, plan)
    });
}

fn mean_log_prob(model: &HookedTransformer, tokens: &Tokens, answers: &[u32], plan: HookPlan) -> Result<f32> {
    Ok(log_probs(model, tokens, answers, plan)?.mean_all()?.to_scalar()?)
}

/// Effects with a plan that keeps the edits of the runs before: of all, or of the same layer.
fn growing(
    model: &HookedTransformer,
    clean: &Tokens,
    shuffled: &Tokens,
    answers: &[u32],
    within_a_layer: bool,
) -> Result<Tensor> {
    let before = mean_log_prob(model, shuffled, answers, HookPlan::new())?;
    let (layers, heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let (mut plan, mut all) = (HookPlan::new(), Vec::new());
    for layer in 0..layers {
        let z = kept(model, clean, "z", layer)?;
        if within_a_layer {
            plan = HookPlan::new();
        }
        for head in 0..heads {
            plan = plan.edit(("z", layer), mean_at_last(&z.narrow(2, head, 1)?.squeeze(2)?, head)?);
            all.push(mean_log_prob(model, shuffled, answers, plan.clone())? - before);
        }
    }
    Ok(Tensor::from_vec(all, (layers, heads), &Device::Cpu)?)
}

pub(super) fn plan_grows(
    model: &HookedTransformer,
    clean: &Tokens,
    shuffled: &Tokens,
    answers: &[u32],
) -> Result<Tensor> {
    growing(model, clean, shuffled, answers, false)
}

pub(super) fn plan_grows_by_layer(
    model: &HookedTransformer,
    clean: &Tokens,
    shuffled: &Tokens,
    answers: &[u32],
) -> Result<Tensor> {
    growing(model, clean, shuffled, answers, true)
}

pub(super) fn without_baseline(
    model: &HookedTransformer,
    clean: &Tokens,
    shuffled: &Tokens,
    answers: &[u32],
) -> Result<Tensor> {
    let before = mean_log_prob(model, shuffled, answers, HookPlan::new())?;
    Ok((super::indirect_effects(model, clean, shuffled, answers)? + f64::from(before))?)
}

pub(super) fn mean_of_heads(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Result<Tensor> {
    Ok((super::function_vector(model, prompts, heads)? / heads.len() as f64)?)
}

/// The sum over heads of what each one's `z [prompt, pos, d_head]` becomes.
fn sum(
    model: &HookedTransformer,
    prompts: &Tokens,
    heads: &[(usize, usize)],
    of: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut parts = Vec::new();
    for (layer, head) in heads {
        let z = of(&kept(model, prompts, "z", *layer)?.narrow(2, *head, 1)?.squeeze(2)?)?;
        parts.push(z.unsqueeze(0)?.matmul(&model.W_O()?.get(*layer)?.get(*head)?)?);
    }
    Ok(Tensor::cat(&parts, 0)?.sum(0)?)
}

pub(super) fn over_positions(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Result<Tensor> {
    sum(model, prompts, heads, |z| Ok(z.mean((0, 1))?))
}

pub(super) fn of_the_first(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Result<Tensor> {
    sum(model, prompts, heads, |z| Ok(z.get(0)?.get(z.dim(1)? - 1)?))
}

pub(super) fn with_the_bias(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Result<Tensor> {
    let biases = heads.iter().map(|(layer, _)| Ok(model.b_O()?.get(*layer)?)).collect::<Result<Vec<_>>>()?;
    Ok((super::function_vector(model, prompts, heads)? + Tensor::stack(&biases, 0)?.sum(0)?)?)
}

pub(super) fn whole_layers(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Result<Tensor> {
    let outs = heads.iter().map(|(layer, _)| {
        Ok(kept(model, prompts, "attn_out", *layer)?.narrow(1, prompts.pos() - 1, 1)?.mean((0, 1))?)
    });
    Ok(Tensor::stack(&outs.collect::<Result<Vec<_>>>()?, 0)?.sum(0)?)
}

macro_rules! steered {
    ($($name:ident: |$push:ident, $direction:ident, $layer:ident| $plan:expr;)+) => {$(
        pub(super) fn $name(
            model: &HookedTransformer,
            prompts: &Tokens,
            $direction: &Tensor,
            $layer: usize,
            coefficient: f32,
        ) -> Result<Tensor> {
            let $push = ($direction * f64::from(coefficient))?;
            Ok(model.run_with_hooks(prompts, $plan)?.0)
        }
    )+};
}
steered! {
    last_position_only: |push, direction, layer| edited("resid_post", layer, Edit::add(push).pos(-1));
    into_the_layer: |push, direction, layer| edited("resid_pre", layer, Edit::add(push));
    without_coefficient: |_push, direction, layer| edited("resid_post", layer, Edit::add(direction.clone()));
    away_from_it: |push, direction, layer| edited("resid_post", layer, Edit::add(push.neg()?));
    of_length_one: |push, direction, layer| {
        let length = direction.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        edited("resid_post", layer, Edit::add(push.broadcast_div(&length)?))
    };
}
