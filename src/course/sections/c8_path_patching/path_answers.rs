//! Wrong answers to the exercises about paths.

use candle_core::{IndexOp, Tensor};

use crate::error::Result;
use crate::head::Head;
use crate::hooks::{Edit, HookPlan, HookQuery};
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

/// How these answers differ from the right one.
#[derive(Clone, Copy)]
struct Frozen {
    heads: bool,
    mlps: bool,
}

const RIGHT: Frozen = Frozen { heads: true, mlps: false };

fn cached(model: &HookedTransformer, tokens: &Tokens) -> Result<crate::cache::ActivationCache> {
    Ok(model.run_with_hooks(tokens, HookPlan::new().capture(("z", "mlp_out")))?.1)
}

/// The plan of the frozen run of `base`, in which the sender writes what it writes for `other`.
fn frozen(
    model: &HookedTransformer,
    (base, other): (&Tokens, &Tokens),
    sender: Head,
    frozen: Frozen,
) -> Result<HookPlan> {
    let (base, other) = (cached(model, base)?, cached(model, other)?);
    let mut plan = HookPlan::new();
    for layer in 0..model.cfg().n_layers {
        for (name, is_frozen) in [("z", frozen.heads), ("mlp_out", frozen.mlps)] {
            if is_frozen {
                plan = plan.edit((name, layer), Edit::replace(base.get((name, layer))?));
            }
        }
    }
    let sent = other.get(("z", sender.layer))?.i((.., .., sender.head))?;
    Ok(plan.edit(("z", sender.layer), Edit::replace(sent).head(sender.head)))
}

fn logits(model: &HookedTransformer, tokens: &Tokens, plan: HookPlan) -> Result<Tensor> {
    Ok(model.run_with_hooks(tokens, plan)?.0)
}

pub(super) fn nothing_frozen(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
) -> Result<Tensor> {
    logits(m, clean, frozen(m, (clean, corrupted), sender, Frozen { heads: false, mlps: false })?)
}

pub(super) fn sender_frozen(m: &HookedTransformer, clean: &Tokens, _: &Tokens, sender: Head) -> Result<Tensor> {
    logits(m, clean, frozen(m, (clean, clean), sender, RIGHT)?)
}

pub(super) fn mlps_frozen(m: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, sender: Head) -> Result<Tensor> {
    logits(m, clean, frozen(m, (clean, corrupted), sender, Frozen { heads: true, mlps: true })?)
}

pub(super) fn exchanged(m: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, sender: Head) -> Result<Tensor> {
    logits(m, corrupted, frozen(m, (corrupted, clean), sender, RIGHT)?)
}

pub(super) fn whole_layer(m: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, sender: Head) -> Result<Tensor> {
    let sent = Edit::replace(cached(m, corrupted)?.get(("z", sender.layer))?);
    logits(m, clean, frozen(m, (clean, corrupted), sender, RIGHT)?.edit(("z", sender.layer), sent))
}

pub(super) fn frozen_corrupted(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
) -> Result<Tensor> {
    logits(m, clean, frozen(m, (corrupted, corrupted), sender, RIGHT)?)
}

type ToHeads<'a> = (&'a HookedTransformer, &'a Tokens, &'a Tokens, Head);

/// Puts what receivers read in the frozen run at these points, of one head each or of all, into a run of `into`.
fn heard(
    (model, clean, corrupted, sender): ToHeads<'_>,
    how: Frozen,
    points: &[(HookQuery, Option<usize>)],
    into: &Tokens,
) -> Result<Tensor> {
    let names: Vec<HookQuery> = points.iter().map(|(point, _)| point.clone()).collect();
    let (_, heard) = model.run_with_hooks(clean, frozen(model, (clean, corrupted), sender, how)?.capture(names))?;
    let mut plan = HookPlan::new();
    for (point, head) in points {
        let read = heard.get(point.clone())?;
        plan = match head {
            Some(head) => plan.edit(point.clone(), Edit::replace(read.i((.., .., *head))?).head(*head)),
            None => plan.edit(point.clone(), Edit::replace(read)),
        };
    }
    logits(model, into, plan)
}

fn of_each(receivers: &[Head], input: &str) -> Vec<(HookQuery, Option<usize>)> {
    receivers.iter().map(|head| ((input, head.layer).into(), Some(head.head))).collect()
}

pub(super) fn logits_of_the_frozen_run(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    _: &[Head],
    _: &str,
) -> Result<Tensor> {
    logits(m, clean, frozen(m, (clean, corrupted), sender, RIGHT)?)
}

pub(super) fn whole_layers_receive(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    input: &str,
) -> Result<Tensor> {
    let layers: Vec<_> = receivers.iter().map(|head| ((input, head.layer).into(), None)).collect();
    heard((m, clean, corrupted, sender), RIGHT, &layers, clean)
}

pub(super) fn stream_put_in(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    _: &str,
) -> Result<Tensor> {
    let streams: Vec<_> = receivers.iter().map(|head| (("resid_pre", head.layer).into(), None)).collect();
    heard((m, clean, corrupted, sender), RIGHT, &streams, clean)
}

pub(super) fn all_inputs(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    _: &str,
) -> Result<Tensor> {
    let points: Vec<_> = ["q", "k", "v"].iter().flat_map(|input| of_each(receivers, input)).collect();
    heard((m, clean, corrupted, sender), RIGHT, &points, clean)
}

pub(super) fn heads_between_react(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    input: &str,
) -> Result<Tensor> {
    let free = Frozen { heads: false, mlps: false };
    heard((m, clean, corrupted, sender), free, &of_each(receivers, input), clean)
}

pub(super) fn third_run_corrupted(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    input: &str,
) -> Result<Tensor> {
    heard((m, clean, corrupted, sender), RIGHT, &of_each(receivers, input), corrupted)
}

pub(super) fn mlps_frozen_between(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    input: &str,
) -> Result<Tensor> {
    let all = Frozen { heads: true, mlps: true };
    heard((m, clean, corrupted, sender), all, &of_each(receivers, input), clean)
}

pub(super) fn last_receiver(
    m: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    input: &str,
) -> Result<Tensor> {
    let last = &receivers[receivers.len() - 1..];
    heard((m, clean, corrupted, sender), RIGHT, &of_each(last, input), clean)
}
