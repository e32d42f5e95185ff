//! What a circuit alone does: the clean run in which each reader gets, from every node that is not joined to it by an edge
//! of the circuit, what that node writes when corrupted.
//!
//! The input of `v` is `sum over edges in the circuit of live_u + sum over all others of ablated_u`, where `live_u` is what
//! `u` writes in this very run, so that corrupting `u` affects everything downstream of it. With no edge this is the
//! corrupted run, with all edges the clean one.
//!
//! Hooks record `ablated_u - live_u` during the run and add its sum over the missing edges to each input.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};

use super::circuit::Circuit;
use super::edges::Edges;
use super::layout::Layout;
use super::node::{Node, Qkv};
use super::outputs::Outputs;
use crate::error::{Error, Result};
use crate::experiment::copied;
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::slice::forward;
use crate::wide::matmul;

impl Edges {
    /// The metric of each prompt when only this circuit is left.
    pub(super) fn values_of(&self, circuit: &Circuit) -> Result<Vec<f32>> {
        circuit.check(&self.layout)?;
        let missing = Arc::new(Missing::of(circuit, &self.model.device())?);
        let per_prompt =
            2 * self.numbers_of_nodes() + 12 * self.layout.n_heads * self.tokens.pos() * self.layout.d_model;
        let most = self.prompts_at_once(per_prompt, 0)?;
        let mut parts = Vec::new();
        let mut progress = Progress::of("running the circuit", self.tokens.batch() as u64, "prompts");
        for from in (0..self.tokens.batch()).step_by(most) {
            let count = most.min(self.tokens.batch() - from);
            progress.together(count);
            parts.push(self.final_stream(&missing, from, count)?);
            progress.step(count as u64)?;
        }
        self.judge(&self.logits(&Tensor::cat(&parts, 0)?)?)
    }

    /// The residual stream after the last block for `count` prompts from prompt `from` on.
    fn final_stream(&self, missing: &Arc<Missing>, from: usize, count: usize) -> Result<Tensor> {
        let live = Arc::new(Live {
            model: self.model.clone(),
            ablated: self.ablated.rows(from, count)?,
            missing: missing.clone(),
            copies: 1,
            before: None,
            differences: Mutex::default(),
        });
        let options = RunOptions { stop_at_layer: Some(self.layout.n_layers as isize), ..Default::default() };
        let run = self.model.run(self.tokens.rows(from, count), live.plan(0), &options)?;
        live.last(&run.resid.expect("a run that stops returns the stream"))
    }

    /// The residual stream after the last block for all prompts, in a run that begins at block `layer`, before which every edge is
    /// in the circuit: one copy of the prompts for each change of what `before` changes.
    pub(super) fn final_streams(&self, missing: &Arc<Missing>, layer: usize, before: Before) -> Result<Tensor> {
        let copies = before.changes.dim(0)?;
        let live = Arc::new(Live {
            model: self.model.clone(),
            ablated: self.ablated.clone(),
            missing: missing.clone(),
            copies,
            before: Some(before),
            differences: Mutex::default(),
        });
        let resid = copied(&self.run.resid[layer], copies)?;
        if layer == self.layout.n_layers {
            return live.last(&resid);
        }
        let options = RunOptions {
            start_at_layer: Some((layer as isize, resid)),
            stop_at_layer: Some(self.layout.n_layers as isize),
            ..Default::default()
        };
        let run = self.model.run(self.tokens.repeated(copies), live.plan(layer), &options)?;
        live.last(&run.resid.expect("a run that stops returns the stream"))
    }
}

/// What is known before a run begins at a later block than the first, because all edges into earlier nodes are in the circuit.
pub(super) struct Before {
    /// How many of the first nodes wrote what they write in the clean run.
    pub nodes: usize,
    /// What missing edges from those nodes change in each column, `[batch * pos, n_backward, d_model]`.
    pub updates: Tensor,
    /// What is added to one column besides, in each copy, `[copy, batch * pos * d_model]`.
    pub changes: Tensor,
    /// That column.
    pub column: usize,
}

/// Which edges are out of the circuit.
pub(super) struct Missing {
    layout: Layout,
    /// 1 where an edge is missing, `[n_backward, n_forward]`.
    pub(super) mask: Tensor,
    /// Whether some edge into a column is missing.
    columns: Vec<bool>,
    /// Whether some edge of the circuit leaves a row.
    read: Vec<bool>,
}

impl Missing {
    pub(super) fn of(circuit: &Circuit, device: &Device) -> Result<Self> {
        let layout = circuit.layout;
        let (forward, backward) = (layout.n_forward(), layout.n_backward());
        let mut mask = vec![0f32; forward * backward];
        let (mut columns, mut read) = (vec![false; backward], vec![false; forward]);
        for (place, _) in layout.edges() {
            let (row, column) = (place / backward, place % backward);
            if circuit.included[place] {
                read[row] = true;
            } else {
                mask[column * forward + row] = 1.;
                columns[column] = true;
            }
        }
        Ok(Self { layout, mask: Tensor::from_vec(mask, (backward, forward), device)?, columns, read })
    }

    /// Whether every edge is in the circuit.
    fn none(&self) -> bool {
        !self.columns.contains(&true)
    }

    /// The columns of a node's input, those of all heads of its layer together, if what is read there makes a difference: edges
    /// into one of them are missing, and some edge of the circuit leaves the node.
    fn inputs(&self, node: Node, qkv: Option<Qkv>) -> Option<(usize, usize)> {
        let first = self.layout.backward_index(node, qkv)?;
        let count = if qkv.is_some() { self.layout.n_heads } else { 1 };
        let read = self.layout.forward_index(node).is_none_or(|row| self.read[row..row + count].contains(&true));
        (read && self.columns[first..first + count].contains(&true)).then_some((first, count))
    }
}

/// A run in progress: what nodes wrote so far, compared with what they write when corrupted.
struct Live {
    model: HookedTransformer,
    ablated: Outputs,
    missing: Arc<Missing>,
    /// How often all prompts run, one copy of them after the other.
    copies: usize,
    before: Option<Before>,
    differences: Mutex<Differences>,
}

/// `ablated - live` of the nodes that are not known before, position by position, as their writers and readers have it: with nodes
/// first, all of it would be rearranged at each reader, and copied at each writer.
#[derive(Default)]
struct Differences {
    /// `[copies * batch * pos, node, d_model]`, with room for all nodes.
    all: Option<Tensor>,
    /// How many nodes there are so far.
    nodes: usize,
}

impl Differences {
    /// Adds those of the next nodes, in a run of so many.
    fn add(&mut self, difference: &Tensor, nodes: usize) -> Result<()> {
        let (positions, count, d_model) = difference.dims3()?;
        let all = match &self.all {
            Some(all) => all,
            None => {
                let shape = (positions, nodes, d_model);
                self.all.insert(Tensor::zeros(shape, difference.dtype(), difference.device())?)
            }
        };
        all.slice_set(&difference.contiguous()?, 1, self.nodes)?;
        self.nodes += count;
        Ok(())
    }
}

impl Live {
    /// For a run that begins at this block.
    fn plan(self: &Arc<Self>, first: usize) -> HookPlan {
        if self.missing.none() && self.before.is_none() {
            return HookPlan::new();
        }
        let layout = &self.missing.layout;
        let mut plan = HookPlan::new();
        if self.before.is_none() {
            plan = self.noting(plan, HookPoint::Embed);
        }
        for layer in first..layout.n_layers {
            let (head, mlp) = (Node::Head(forward(layer), 0), Node::Mlp(forward(layer)));
            for (qkv, site) in [(Qkv::Q, Site::QInput), (Qkv::K, Site::KInput), (Qkv::V, Site::VInput)] {
                plan = self.corrupting(plan, HookPoint::Block(layer, site), head, Some(qkv));
            }
            plan = self.noting(plan, HookPoint::Block(layer, Site::Z));
            if !layout.attn_only {
                plan = self.corrupting(plan, HookPoint::Block(layer, Site::MlpIn), mlp, None);
                plan = self.noting(plan, HookPoint::Block(layer, Site::MlpOut));
            }
        }
        plan
    }

    /// A plan that records what the nodes at this point write. Points come in the order of the layout's rows.
    fn noting(self: &Arc<Self>, plan: HookPlan, point: HookPoint) -> HookPlan {
        let live = self.clone();
        let note = move |x: &Tensor, point: HookPoint| {
            let difference = live.difference(x, point)?;
            let mut differences = live.differences.lock().unwrap_or_else(PoisonError::into_inner);
            differences.add(&difference, live.missing.layout.n_forward() - live.known())?;
            Ok::<_, Error>(x.clone())
        };
        plan.edit(point, Edit::custom("note", note))
    }

    /// Of the nodes that write at this point, `[copies * batch * pos, node, d_model]`.
    fn difference(&self, x: &Tensor, point: HookPoint) -> Result<Tensor> {
        let minus = |ablated: &Tensor| -> Result<Tensor> { Ok((copied(ablated, self.copies)? - x)?) };
        Ok(match point {
            HookPoint::Block(layer, Site::Z) => {
                self.model.head_results(layer, &minus(&self.ablated.z[layer])?)?.flatten_to(1)?
            }
            HookPoint::Block(layer, _) => minus(&self.ablated.mlp[layer])?.flatten_to(1)?.unsqueeze(1)?,
            _ => minus(&self.ablated.embed)?.flatten_to(1)?.unsqueeze(1)?,
        })
    }

    /// How many of the first nodes wrote what they write in the clean run.
    fn known(&self) -> usize {
        self.before.as_ref().map_or(0, |before| before.nodes)
    }

    /// A plan that corrupts what a node (or each head of its layer) reads, where that makes a difference.
    fn corrupting(self: &Arc<Self>, plan: HookPlan, point: HookPoint, node: Node, qkv: Option<Qkv>) -> HookPlan {
        if self.columns(node, qkv).is_none() {
            return plan;
        }
        let live = self.clone();
        let corrupt = move |x: &Tensor, _: HookPoint| match live.update(node, qkv)? {
            Some(update) => Ok::<_, Error>((x + update.reshape(x.shape())?)?),
            None => Ok(x.clone()),
        };
        plan.edit(point, Edit::custom("corrupt", corrupt))
    }

    /// The residual stream from which the logits are read.
    fn last(&self, resid: &Tensor) -> Result<Tensor> {
        match self.update(Node::Logits, None)? {
            Some(update) => Ok((resid + update.reshape(resid.shape())?)?),
            None => Ok(resid.clone()),
        }
    }

    /// The columns of a node's input, if it is to be changed.
    fn columns(&self, node: Node, qkv: Option<Qkv>) -> Option<(usize, usize)> {
        let first = self.missing.layout.backward_index(node, qkv)?;
        let count = if qkv.is_some() { self.missing.layout.n_heads } else { 1 };
        let is_changed = |before: &Before| (first..first + count).contains(&before.column);
        self.missing.inputs(node, qkv).or(self.before.as_ref().is_some_and(is_changed).then_some((first, count)))
    }

    /// By how much the missing edges change an input, `[copies * batch * pos, column, d_model]`.
    fn update(&self, node: Node, qkv: Option<Qkv>) -> Result<Option<Tensor>> {
        let Some((first, count)) = self.columns(node, qkv) else { return Ok(None) };
        let known = self.known();
        let live = self.missing.layout.prev_index(node).saturating_sub(known);
        let differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        let of_live = match differences.all.as_ref().filter(|_| live > 0) {
            Some(all) => {
                let mask = self.missing.mask.narrow(0, first, count)?.narrow(1, known, live)?;
                Some(summed(&mask, &all.narrow(1, 0, live)?)?)
            }
            None => None,
        };
        match &self.before {
            Some(before) => Ok(Some(before.with(of_live, (first, count), self.copies)?)),
            None => Ok(of_live),
        }
    }
}

/// The sums of differences that each row of the mask says, position by position.
///
/// # Shapes
/// `mask [column, node]`, `differences [position, node, d_model]` give `[position, column, d_model]`.
pub(super) fn summed(mask: &Tensor, differences: &Tensor) -> Result<Tensor> {
    let (columns, nodes) = mask.dims2()?;
    let mask = mask.contiguous()?.to_dtype(differences.dtype())?.unsqueeze(0)?;
    Ok(matmul(&mask.broadcast_as((differences.dim(0)?, columns, nodes))?, differences)?)
}

impl Before {
    /// What is known of `count` columns from `first` on, for all copies, and what live nodes change besides.
    fn with(&self, of_live: Option<Tensor>, (first, count): (usize, usize), copies: usize) -> Result<Tensor> {
        let known = self.updates.narrow(1, first, count)?.unsqueeze(0)?;
        let (_, positions, _, d_model) = known.dims4()?;
        let shape = (copies, positions, count, d_model);
        let update = match of_live {
            Some(live) => live.reshape(shape)?.broadcast_add(&known)?,
            None => known.broadcast_as(shape)?.contiguous()?,
        };
        if let Some(at) = self.column.checked_sub(first).filter(|at| *at < count) {
            let changes = self.changes.reshape((copies, positions, 1, d_model))?;
            // In place: nothing else has this tensor yet.
            update.slice_set(&(update.narrow(2, at, 1)? + changes)?, 2, at)?;
        }
        Ok(update.reshape((copies * positions, count, d_model))?)
    }
}
