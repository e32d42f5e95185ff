//! Path patching: what one component does *through* another.
//!
//! A sender's output is taken from the other run, and only the chosen receivers see it: the heads between keep what they
//! wrote, MLPs are recomputed or kept by choice, and what the receivers then read is put into a run that is otherwise
//! untouched (Wang et al. 2022, section 3.1; Goldowsky-Dill et al. 2023, <https://arxiv.org/abs/2304.05969>).
//!
//! Three runs as in ARENA's exercises: both runs' activations; the base run with the sender patched and all other senders
//! frozen, in which the receivers' inputs are read; the base run with these inputs put in.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::engine::Value;
use super::paths::Paths;
use super::result::{PatchResult, Untouched};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Source};
use crate::head::Head;
use crate::hooks::{Edit, HookPlan, HookPoint, Selection, Site};
use crate::labelled::Axis;
use crate::model::{AttentionDir, RunOptions};
use crate::progress::Progress;
use crate::slice::{bound, forward};
use crate::tokens::Tokens;

/// What receives on a path. Negative layers and heads count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The queries of this head: layer and head.
    Q(isize, isize),
    /// The keys of this key/value head, which a group of heads reads under grouped-query attention
    /// ([`Dims::key_value_head`](crate::dims::Dims::key_value_head) says which a head reads).
    K(isize, isize),
    /// The values of this key/value head, as for keys.
    V(isize, isize),
    /// What the MLP of this layer reads.
    Mlp(isize),
    /// The residual stream behind the last block, and so the logits.
    Final,
}

/// What sends on a path. Negative layers and heads count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// What this head writes: layer and head.
    Head(isize, isize),
    /// What the MLP of this layer writes.
    Mlp(isize),
}

/// What happens to MLPs between sender and receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mlps {
    /// They react to what the sender changed, as in ARENA's exercises: the path is through them too.
    #[default]
    Recomputed,
    /// They write what they wrote: only the direct path is left.
    Frozen,
}

impl Receiver {
    /// Its layer, of a resolved one; behind the last for the logits.
    fn layer(self, layers: usize) -> usize {
        match self {
            Self::Q(layer, _) | Self::K(layer, _) | Self::V(layer, _) | Self::Mlp(layer) => layer as usize,
            Self::Final => layers,
        }
    }

    /// The point at which it reads, and the head of it.
    pub(super) fn place(self, layers: usize) -> (HookPoint, Option<isize>) {
        let at = |layer: isize, site| HookPoint::Block(layer as usize, site);
        match self {
            Self::Q(layer, head) => (at(layer, Site::Q), Some(head)),
            Self::K(layer, head) => (at(layer, Site::K), Some(head)),
            Self::V(layer, head) => (at(layer, Site::V), Some(head)),
            Self::Mlp(layer) => (at(layer, Site::MlpIn), None),
            Self::Final => (HookPoint::Block(layers - 1, Site::ResidPost), None),
        }
    }
}

impl Sender {
    /// Its layer, of a resolved one.
    pub(super) fn layer(self) -> usize {
        match self {
            Self::Head(layer, _) | Self::Mlp(layer) => layer as usize,
        }
    }
}

impl Experiment {
    /// The metric with each sender patched along the paths to all these receivers together.
    ///
    /// # Shapes
    /// `[sender]`. Senders that no receiver can hear are marked [`Untouched::NoPath`].
    ///
    /// # Errors
    /// Empty lists; heads, layers or MLPs that the model does not have; ablations, which have no other run.
    pub fn path_patch(&self, senders: &[Sender], receivers: &[Receiver], mlps: Mlps) -> Result<PatchResult> {
        self.refuse_saving("path_patch")?;
        let senders = &self.resolved_senders(senders)?[..];
        let labels = senders.iter().map(|sender| match sender {
            Sender::Head(layer, head) => format!("L{layer}H{head}"),
            Sender::Mlp(layer) => format!("{layer}_mlp_out"),
        });
        self.paths(senders, receivers, mlps, vec![Axis::new("sender", labels)])
    }

    /// Each head's direct effect on the logits: to the final residual stream, with other heads frozen, MLPs recomputed (ARENA's
    /// `get_path_patch_head_to_final_resid_post`).
    ///
    /// # Shapes
    /// `[layer, head]`.
    ///
    /// # Errors
    /// As [`Experiment::path_patch`].
    pub fn path_patch_head_to_final_resid_post(&self) -> Result<PatchResult> {
        self.heads_to(self.model.cfg().n_layers, &[Receiver::Final])
    }

    /// Each earlier head's effect through what these heads read (ARENA's `get_path_patch_head_to_heads`).
    ///
    /// # Shapes
    /// `[layer, head]`, layers below the last receiver's.
    ///
    /// # Errors
    /// As [`Experiment::path_patch`].
    pub fn path_patch_head_to_heads(&self, receivers: &[Receiver]) -> Result<PatchResult> {
        let layers = self.model.cfg().n_layers;
        // Before senders are listed up to the receivers' layer.
        let receivers = &self.resolved_receivers(receivers)?[..];
        let last = receivers.iter().map(|receiver| receiver.layer(layers)).max().unwrap_or(0);
        if last == 0 {
            return Err(Error::argument("no head comes before the receivers: give receivers in layer 1 or later."));
        }
        self.heads_to(last, receivers)
    }

    fn heads_to(&self, layers: usize, receivers: &[Receiver]) -> Result<PatchResult> {
        let heads = self.model.cfg().n_heads;
        let of_layer = |layer| (0..heads).map(move |head| Sender::from(Head::new(layer, head)));
        let senders: Vec<Sender> = (0..layers).flat_map(of_layer).collect();
        let axes = vec![Axis::numbered("layer", layers), Axis::numbered("head", heads)];
        self.paths(&senders, receivers, Mlps::Recomputed, axes)
    }

    fn paths(&self, senders: &[Sender], receivers: &[Receiver], mlps: Mlps, axes: Vec<Axis>) -> Result<PatchResult> {
        let receivers = &self.resolved_receivers(receivers)?[..];
        self.check_paths(senders, receivers)?;
        let Source::Run(donor) = &self.base_source() else {
            return Err(Error::argument(format!(
                "paths are patched between two runs, and a {} has one: give the experiment corrupted prompts.",
                self.source.name()
            )));
        };
        let values = match self.model.splices().is_empty() {
            true => self.together_along(senders, &Paths::new(self, donor, receivers, mlps)?)?,
            false => self.one_by_one(senders, receivers, mlps, donor)?,
        };
        self.result(&[], values, axes, "paths")
    }

    /// The metric with each sender patched, as many at once as fit.
    fn together_along(&self, senders: &[Sender], paths: &Paths) -> Result<Vec<Value>> {
        let mut values = vec![(self.base_values().to_vec(), Some(Untouched::NoPath)); senders.len()];
        let order = paths.order(senders);
        let mut progress = Progress::of("patching paths", order.len() as u64, "senders");
        for places in order.chunks(paths.at_once()?) {
            progress.together(places.len());
            let these: Vec<Sender> = places.iter().map(|&place| senders[place]).collect();
            for (&place, of_prompts) in places.iter().zip(paths.values(&these)?) {
                values[place] = (of_prompts, None);
            }
            progress.step(places.len() as u64)?;
        }
        Ok(values)
    }

    /// The same in whole runs, where something is spliced in.
    fn one_by_one(&self, senders: &[Sender], receivers: &[Receiver], mlps: Mlps, donor: &Tokens) -> Result<Vec<Value>> {
        let mut progress = Progress::of("patching paths", senders.len() as u64, "senders");
        let (other, base) = (self.outputs(donor)?, self.outputs(self.base_tokens())?);
        let each = |&sender: &Sender| {
            let value = self.one_sender(sender, receivers, mlps, (&other, &base))?;
            progress.step(1).map(|()| value)
        };
        senders.iter().map(each).collect()
    }

    /// What heads and MLPs of a run wrote.
    fn outputs(&self, tokens: &Tokens) -> Result<BTreeMap<HookPoint, Tensor>> {
        let mut plan = HookPlan::new().capture("z");
        if !self.model.cfg().attn_only {
            plan = plan.capture("mlp_out");
        }
        Ok(self.model.run(tokens, plan, RunOptions { logits: false, ..Default::default() })?.captured)
    }

    fn one_sender(
        &self,
        sender: Sender,
        receivers: &[Receiver],
        mlps: Mlps,
        (other, base): (&BTreeMap<HookPoint, Tensor>, &BTreeMap<HookPoint, Tensor>),
    ) -> Result<(Vec<f32>, Option<Untouched>)> {
        let layers = self.model.cfg().n_layers;
        let hears = |receiver: &&Receiver| match (sender, **receiver) {
            (Sender::Head(layer, _), Receiver::Mlp(mlp)) if !self.model.cfg().parallel_attn_mlp => layer <= mlp,
            (sender, receiver) => sender.layer() < receiver.layer(layers),
        };
        let receivers: Vec<Receiver> = receivers.iter().filter(hears).copied().collect();
        if receivers.is_empty() {
            return Ok((self.base_values().to_vec(), Some(Untouched::NoPath)));
        }
        let plan = self.frozen_but(sender, mlps, (other, base))?;
        let plan = receivers.iter().fold(plan, |plan, receiver| plan.capture(receiver.place(layers).0));
        // What comes before the sender is the base run's already.
        let from = RunOptions { logits: false, ..self.beginning_at(sender.layer())? };
        let heard = self.model.run(self.base_tokens(), plan, &from)?.captured;
        let mut put_in = HookPlan::new();
        let mut first = layers - 1;
        for receiver in receivers {
            let (point, head) = receiver.place(layers);
            let mut edit = Edit::replace(heard[&point].clone());
            if let Some(head) = head {
                edit = edit.head(head..head + 1);
            }
            first = first.min(receiver.layer(layers));
            put_in = put_in.edit(point, edit);
        }
        let logits = self.model.run(self.base_tokens(), put_in, self.beginning_at(first)?)?.logits()?;
        Ok((self.evaluate(&logits)?, None))
    }

    /// A run of the base prompts that needs nothing before a block but what the base run has; a whole one where a splice reads
    /// other blocks.
    fn beginning_at(&self, layer: usize) -> Result<RunOptions> {
        let start_at_layer = match self.model.splices().are_by_block() {
            true => Some((layer as isize, self.base_run()?.resid[layer].clone())),
            false => None,
        };
        Ok(RunOptions { start_at_layer, ..Default::default() })
    }

    /// The plan of the base run in which only the sender writes what it wrote in the other run.
    fn frozen_but(
        &self,
        sender: Sender,
        mlps: Mlps,
        (other, base): (&BTreeMap<HookPoint, Tensor>, &BTreeMap<HookPoint, Tensor>),
    ) -> Result<HookPlan> {
        let mut plan = HookPlan::new();
        for layer in sender.layer()..self.model.cfg().n_layers {
            let z = HookPoint::Block(layer, Site::Z);
            let frozen = match sender {
                Sender::Head(of, head) if of == forward(layer) => {
                    Selection::new().head(head).choose(z, &other[&z], &base[&z])?
                }
                _ => base[&z].clone(),
            };
            plan = plan.edit(z, Edit::replace(frozen));
            let mlp = HookPoint::Block(layer, Site::MlpOut);
            match (sender, mlps) {
                (Sender::Mlp(of), _) if of == forward(layer) => {
                    plan = plan.edit(mlp, Edit::replace(other[&mlp].clone()))
                }
                (_, Mlps::Frozen) if base.contains_key(&mlp) => {
                    plan = plan.edit(mlp, Edit::replace(base[&mlp].clone()));
                }
                _ => {}
            }
        }
        Ok(plan)
    }

    fn check_paths(&self, senders: &[Sender], receivers: &[Receiver]) -> Result<()> {
        let cfg = self.model.cfg();
        if senders.is_empty() || receivers.is_empty() {
            return Err(Error::argument("a path needs a sender and a receiver: give at least one of each."));
        }
        if cfg.attention_dir == AttentionDir::Bidirectional && self.base_tokens().is_padded() {
            return Err(Error::argument("paths in models that look both ways need prompts of one length."));
        }
        Ok(())
    }

    /// The senders with layers and heads counted from the start, each checked.
    fn resolved_senders(&self, senders: &[Sender]) -> Result<Vec<Sender>> {
        let resolved = senders.iter().map(|sender| match *sender {
            Sender::Head(layer, head) => {
                let (layer, head) = self.head_of(layer, head, self.model.cfg().n_heads, "head")?;
                Ok(Sender::Head(layer, head))
            }
            Sender::Mlp(layer) => Ok(Sender::Mlp(self.mlp_of(layer)?)),
        });
        resolved.collect()
    }

    /// The receivers with layers and heads counted from the start, each checked.
    fn resolved_receivers(&self, receivers: &[Receiver]) -> Result<Vec<Receiver>> {
        let cfg = self.model.cfg();
        let key_value = |layer, head| self.head_of(layer, head, cfg.n_key_value_heads(), "key/value head");
        let resolved = receivers.iter().map(|receiver| {
            Ok(match *receiver {
                Receiver::Q(layer, head) => {
                    let (layer, head) = self.head_of(layer, head, cfg.n_heads, "head")?;
                    Receiver::Q(layer, head)
                }
                Receiver::K(layer, head) => {
                    let (layer, head) = key_value(layer, head)?;
                    Receiver::K(layer, head)
                }
                Receiver::V(layer, head) => {
                    let (layer, head) = key_value(layer, head)?;
                    Receiver::V(layer, head)
                }
                Receiver::Mlp(layer) => Receiver::Mlp(self.mlp_of(layer)?),
                Receiver::Final => Receiver::Final,
            })
        });
        resolved.collect()
    }

    fn head_of(&self, layer: isize, head: isize, count: usize, what: &str) -> Result<(isize, isize)> {
        let layer = self.model.dims().layer(layer)?;
        match bound(head, count).filter(|place| *place < count) {
            Some(head) => Ok((forward(layer), forward(head))),
            None => {
                let shared = if count < self.model.cfg().n_heads {
                    " Heads share them: `model.dims().key_value_head(head)` says which one a head reads."
                } else {
                    ""
                };
                Err(Error::argument(format!(
                    "there is no {what} {head}: each layer has {count} (0 to {}, or -1 for the last).{shared}",
                    count.saturating_sub(1)
                )))
            }
        }
    }

    fn mlp_of(&self, layer: isize) -> Result<isize> {
        match self.model.cfg().attn_only {
            true => Err(Error::argument("the model has attention only, so no MLP sends or receives.")),
            false => self.model.dims().layer(layer).map(forward),
        }
    }
}
