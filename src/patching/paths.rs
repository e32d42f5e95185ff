//! Path patching of many senders at once.
//!
//! While all senders but one are frozen, what attention writes is known, and no position affects another. So a sender's change
//! goes through MLPs alone, and to the logits only at the positions that the metric reads. Senders that enter at one layer join
//! those before them in one batch; what receivers read of it is put into runs that begin at the first receiver, as one batch again.
//!
//! Senders are in the order in which they write. Who hears a receiver are then the first so many of them, and so are those that
//! run at a layer.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::path::{Mlps, Receiver, Sender};
use crate::error::Result;
use crate::experiment::{Experiment, copied};
use crate::hooks::{Edit, HookPlan, HookPoint, HookRun, Selection, Site};
use crate::model::RunOptions;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::Tokens;

/// What was heard at each receiver, `[sender * batch, pos, ..]`.
type Heard = BTreeMap<HookPoint, Tensor>;

/// Paths to the same receivers, whose layers and heads are counted from the start.
pub(super) struct Paths<'a> {
    experiment: &'a Experiment,
    mlps: Mlps,
    /// What heads and MLPs write in the run that is patched in, and in the one that is patched.
    other: Heard,
    base: Heard,
    /// Where each receiver reads, and the heads of it; none for all of it.
    places: BTreeMap<HookPoint, Vec<isize>>,
    /// The first position that is computed.
    from: usize,
}

impl<'a> Paths<'a> {
    pub(super) fn new(experiment: &'a Experiment, donor: &Tokens, receivers: &[Receiver], mlps: Mlps) -> Result<Self> {
        let layers = experiment.model.cfg().n_layers;
        let (other, base) = (outputs(experiment, donor)?, outputs(experiment, experiment.base_tokens())?);
        let from = experiment.first_that_differs();
        // What is put into the final stream replaces whatever else arrives there.
        let (receivers, from) = match receivers.contains(&Receiver::Final) {
            true => (&[Receiver::Final][..], from.max(experiment.first_read())),
            false => (receivers, from),
        };
        let mut places: BTreeMap<HookPoint, Vec<isize>> = BTreeMap::new();
        for receiver in receivers {
            let (point, head) = receiver.place(layers);
            let heads = places.entry(point).or_default();
            heads.extend(head.filter(|head| !heads.contains(head)));
        }
        Ok(Self { experiment, mlps, other, base, places, from })
    }

    /// The order in which senders write, as their places in the list, without those that no receiver hears.
    pub(super) fn order(&self, senders: &[Sender]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..senders.len()).filter(|&place| self.is_heard(senders[place])).collect();
        order.sort_by_key(|&place| (senders[place].layer(), matches!(senders[place], Sender::Mlp(_))));
        order
    }

    /// How many senders run at once.
    pub(super) fn at_once(&self) -> Result<usize> {
        let tokens = self.experiment.base_tokens();
        let rows = tokens.batch() * (tokens.pos() - self.from);
        // What each receiver reads is kept beside what a block computes.
        Ok((self.experiment.rows_at_once()? / (rows.max(1) * (1 + self.places.len() / 16))).max(1))
    }

    /// The metrics of each prompt with each of these senders patched, which write in this order.
    pub(super) fn values(&self, senders: &[Sender]) -> Result<Vec<Vec<f32>>> {
        let experiment = self.experiment;
        let layers = experiment.model.cfg().n_layers;
        let end = HookPoint::Block(layers - 1, Site::ResidPost);
        let frozen = self.last() + 1 - senders[0].layer();
        let first = self.places.keys().find(|&&point| self.hears(point, senders[0])).and_then(|point| point.layer());
        let after = if self.places.contains_key(&end) { 0 } else { layers - first.unwrap_or(0) };
        let mut progress = Progress::of("patched runs", (frozen + after + 1) as u64, "blocks");
        let mut heard = self.heard(senders, &mut progress)?;
        let left = match heard.remove(&end) {
            Some(left) => left,
            None => self.put_in(&heard, &mut progress)?,
        };
        let values = experiment.values(left, self.from)?;
        progress.step(1)?;
        Ok(values.chunks(experiment.clean_values.len()).map(<[f32]>::to_vec).collect())
    }

    /// The block of the last receiver.
    fn last(&self) -> usize {
        self.places.keys().filter_map(|point| point.layer()).max().unwrap_or(0)
    }

    /// Whether what the sender writes reaches a receiver.
    fn is_heard(&self, sender: Sender) -> bool {
        self.places.keys().any(|&point| self.hears(point, sender))
    }

    fn hears(&self, point: HookPoint, sender: Sender) -> bool {
        let HookPoint::Block(layer, site) = point else { return false };
        match (site, sender) {
            (Site::ResidPost, _) => true,
            (Site::MlpIn, Sender::Head(..)) if !self.experiment.model.cfg().parallel_attn_mlp => {
                sender.layer() <= layer
            }
            _ => sender.layer() < layer,
        }
    }

    /// A site of one layer of what a run wrote, at the positions that are computed.
    fn at(&self, of: &Heard, layer: usize, site: Site) -> Result<Tensor> {
        self.positions(&of[&HookPoint::Block(layer, site)])
    }

    fn positions(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.narrow(1, self.from, x.dim(1)? - self.from)?.contiguous()?)
    }

    /// What enters a block of the run that is patched.
    fn entering(&self, layer: usize) -> Result<Tensor> {
        self.positions(&self.experiment.base_run()?.resid[layer])
    }

    /// What the receivers read, each of the senders that it hears, with all other senders frozen.
    fn heard(&self, senders: &[Sender], progress: &mut Progress) -> Result<Heard> {
        let mut heard = Heard::new();
        let mut stream: Option<Tensor> = None;
        for layer in senders[0].layer()..=self.last() {
            let of_layer = senders.iter().filter(|sender| sender.layer() == layer);
            let (heads, mlps): (Vec<Sender>, Vec<Sender>) = of_layer.partition(|s| matches!(s, Sender::Head(..)));
            if let Some(stream) = &stream {
                self.read_by_heads(layer, stream, &mut heard)?;
            }
            stream = self.next_frozen(layer, stream, &heads, &mut heard)?;
            if !mlps.is_empty() {
                let between = (self.entering(layer)? + self.at(&self.base, layer, Site::AttnOut)?)?;
                let left = (between + self.at(&self.other, layer, Site::MlpOut)?)?;
                stream = joined(stream, &left, mlps.len())?;
            }
            progress.step(1)?;
        }
        let end = HookPoint::Block(self.last(), Site::ResidPost);
        heard.extend(stream.filter(|_| self.places.contains_key(&end)).map(|stream| (end, stream)));
        Ok(heard)
    }

    /// Queries, keys and values that receive in this block.
    fn read_by_heads(&self, layer: usize, stream: &Tensor, heard: &mut Heard) -> Result<()> {
        let (model, tokens) = (&self.experiment.model, self.experiment.base_tokens());
        for site in [Site::Q, Site::K, Site::V] {
            let point = HookPoint::Block(layer, site);
            if self.places.contains_key(&point) {
                let suffix = model.suffix_of_copies(tokens, self.from, stream.dim(0)? / tokens.batch())?;
                heard.insert(point, model.read_by(layer, site, stream, &suffix)?);
            }
        }
        Ok(())
    }

    /// The stream behind a block whose heads are frozen, of the senders before it and of these heads of it.
    fn next_frozen(
        &self,
        layer: usize,
        stream: Option<Tensor>,
        heads: &[Sender],
        heard: &mut Heard,
    ) -> Result<Option<Tensor>> {
        let (model, tokens) = (&self.experiment.model, self.experiment.base_tokens());
        let before = copies_of(stream.as_ref(), tokens)?;
        let copies = before + heads.len();
        let Some(resid) = joined(stream, &self.entering(layer)?, heads.len())? else { return Ok(None) };
        let suffix = model.suffix_of_copies(tokens, self.from, copies)?;
        let by_heads = self.z_of(layer, heads)?.map(|z| model.attention_output(layer, &z, &suffix)).transpose()?;
        let frozen = joined(None, &self.at(&self.base, layer, Site::AttnOut)?, before)?;
        let attn = Tensor::cat(&frozen.into_iter().chain(by_heads).collect::<Vec<_>>(), 0)?;
        let read = HookPoint::Block(layer, Site::MlpIn);
        if self.places.contains_key(&read) {
            let parallel = model.cfg().parallel_attn_mlp;
            let read_there = if parallel { resid.narrow(0, 0, before * tokens.batch())? } else { (&resid + &attn)? };
            heard.insert(read, read_there);
        }
        Ok(Some(match self.mlps {
            Mlps::Frozen if !model.cfg().attn_only => {
                ((resid + attn)? + copied(&self.at(&self.base, layer, Site::MlpOut)?, copies)?)?
            }
            _ => model.block_from(layer, Site::AttnOut, attn, (&resid, &resid), &suffix)?,
        }))
    }

    /// The mixed values of a layer with each of these heads patched, `[head * batch, pos, n_heads, d_head]`.
    fn z_of(&self, layer: usize, heads: &[Sender]) -> Result<Option<Tensor>> {
        let point = HookPoint::Block(layer, Site::Z);
        let (other, base) = (self.at(&self.other, layer, Site::Z)?, self.at(&self.base, layer, Site::Z)?);
        let patched = heads.iter().filter_map(|sender| match sender {
            Sender::Head(_, head) => Some(Selection::new().head(*head).choose(point, &other, &base)),
            Sender::Mlp(_) => None,
        });
        let patched = patched.collect::<Result<Vec<_>>>()?;
        Ok((!patched.is_empty()).then(|| Tensor::cat(&patched, 0)).transpose()?)
    }

    /// The stream after the last block of the runs into which what was heard is put; as [`Experiment::next_layer`] from the first
    /// position that is read.
    fn put_in(&self, heard: &Heard, progress: &mut Progress) -> Result<Tensor> {
        let experiment = self.experiment;
        let batch = experiment.base_tokens().batch();
        let first = heard.keys().filter_map(|point| point.layer()).min().unwrap_or(0);
        let mut stream: Option<Tensor> = None;
        for layer in first..experiment.model.cfg().n_layers {
            let mut run = HookRun::default();
            let here: Vec<HookPoint> = heard.keys().filter(|point| point.layer() == Some(layer)).copied().collect();
            let running = copies_of(stream.as_ref(), experiment.base_tokens())?;
            let audiences = here.iter().map(|point| Ok(heard[point].dim(0)? / batch));
            let copies = audiences.collect::<Result<Vec<_>>>()?.into_iter().fold(running, usize::max);
            let entered = self.entering(layer)?;
            for &point in &here {
                let value = self.of_all(point, &heard[&point], &entered, copies)?;
                let edit = match &self.places[&point][..] {
                    [] => Edit::replace(value),
                    heads => Edit::replace(value).head(Slice::from(heads.to_vec())),
                };
                run = run.editing(point, edit);
            }
            let Some(resid) = joined(stream.take(), &entered, copies - running)? else { continue };
            stream = Some(experiment.next_layer_under(layer, self.from, resid, run)?);
            progress.step(1)?;
        }
        Ok(stream.expect("some receiver heard a sender"))
    }

    /// What is heard at a point, and behind it what runs that begin in this block, and do not hear it, have there.
    fn of_all(&self, point: HookPoint, heard: &Tensor, entered: &Tensor, copies: usize) -> Result<Tensor> {
        let (model, tokens) = (&self.experiment.model, self.experiment.base_tokens());
        let missing = copies - heard.dim(0)? / tokens.batch();
        match point {
            HookPoint::Block(layer, site) if missing > 0 => {
                let suffix = model.suffix_of_copies(tokens, self.from, 1)?;
                let own = model.read_by(layer, site, entered, &suffix)?;
                Ok(Tensor::cat(&[heard, &copied(&own, missing)?], 0)?)
            }
            _ => Ok(heard.clone()),
        }
    }
}

/// How many copies of these prompts a stream is of.
fn copies_of(stream: Option<&Tensor>, tokens: &Tokens) -> Result<usize> {
    Ok(stream.map_or(Ok(0), |stream| stream.dim(0))? / tokens.batch())
}

/// A stream with copies of another behind it; none of none.
fn joined(stream: Option<Tensor>, more: &Tensor, copies: usize) -> Result<Option<Tensor>> {
    Ok(match (stream, copies) {
        (stream, 0) => stream,
        (None, copies) => Some(copied(more, copies)?),
        (Some(stream), copies) => Some(Tensor::cat(&[stream, copied(more, copies)?], 0)?),
    })
}

/// What heads, attention and MLPs of a run wrote.
fn outputs(experiment: &Experiment, tokens: &Tokens) -> Result<Heard> {
    let mut plan = HookPlan::new().capture("z").capture("attn_out");
    if !experiment.model.cfg().attn_only {
        plan = plan.capture("mlp_out");
    }
    Ok(experiment.model.run(tokens, plan, RunOptions { logits: false, ..Default::default() })?.captured)
}
