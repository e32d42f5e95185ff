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
use super::outputs::{Outputs, by_head};
use crate::error::{Error, Result};
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
            progress.step(count as u64);
        }
        self.judge(&self.logits(&Tensor::cat(&parts, 0)?)?)
    }

    /// The residual stream after the last block for `count` prompts from prompt `from` on.
    fn final_stream(&self, missing: &Arc<Missing>, from: usize, count: usize) -> Result<Tensor> {
        let live = Arc::new(Live {
            model: self.model.clone(),
            ablated: self.ablated.rows(from, count)?,
            missing: missing.clone(),
            differences: Mutex::default(),
        });
        let options = RunOptions { stop_at_layer: Some(self.layout.n_layers as isize), ..Default::default() };
        let run = self.model.run(self.tokens.rows(from, count), live.plan(&self.layout), &options)?;
        let resid = run.resid.expect("a run that stops returns the stream");
        match live.update(Node::Logits, None)? {
            Some(update) => Ok((&resid + update.reshape(resid.shape())?)?),
            None => Ok(resid),
        }
    }
}

/// Which edges are out of the circuit.
struct Missing {
    layout: Layout,
    /// 1 where an edge is missing, `[n_backward, n_forward]`.
    mask: Tensor,
    /// Whether some edge into a column is missing.
    columns: Vec<bool>,
    /// Whether some edge of the circuit leaves a row.
    read: Vec<bool>,
}

impl Missing {
    fn of(circuit: &Circuit, device: &Device) -> Result<Self> {
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
    /// `ablated - live` of the nodes so far, `[node, batch * pos * d_model]`.
    differences: Mutex<Option<Tensor>>,
}

impl Live {
    fn plan(self: &Arc<Self>, layout: &Layout) -> HookPlan {
        if self.missing.none() {
            return HookPlan::new();
        }
        let mut plan = self.noting(HookPlan::new(), HookPoint::Embed);
        for layer in 0..layout.n_layers {
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
            *differences = Some(match differences.take() {
                Some(before) => Tensor::cat(&[before, difference], 0)?,
                None => difference,
            });
            Ok::<_, Error>(x.clone())
        };
        plan.edit(point, Edit::custom("note", note))
    }

    fn difference(&self, x: &Tensor, point: HookPoint) -> Result<Tensor> {
        let flat = |ablated: &Tensor| -> Result<Tensor> { Ok((ablated - x)?.reshape((1, x.elem_count()))?) };
        match point {
            HookPoint::Block(layer, Site::Z) => {
                by_head(&self.model.head_results(layer, &(&self.ablated.z[layer] - x)?)?)
            }
            HookPoint::Block(layer, _) => flat(&self.ablated.mlp[layer]),
            _ => flat(&self.ablated.embed),
        }
    }

    /// A plan that corrupts what a node (or each head of its layer) reads, where that makes a difference.
    fn corrupting(self: &Arc<Self>, plan: HookPlan, point: HookPoint, node: Node, qkv: Option<Qkv>) -> HookPlan {
        if self.missing.inputs(node, qkv).is_none() {
            return plan;
        }
        let live = self.clone();
        let corrupt = move |x: &Tensor, _: HookPoint| match (live.update(node, qkv)?, qkv) {
            (None, _) => Ok::<_, Error>(x.clone()),
            (Some(update), None) => Ok((x + update.reshape(x.shape())?)?),
            (Some(update), Some(_)) => {
                let (batch, pos, heads, d_model) = x.dims4()?;
                Ok((x + update.reshape((heads, batch, pos, d_model))?.permute((1, 2, 0, 3))?)?)
            }
        };
        plan.edit(point, Edit::custom("corrupt", corrupt))
    }

    /// By how much the missing edges change an input, `[column, batch * pos * d_model]`.
    fn update(&self, node: Node, qkv: Option<Qkv>) -> Result<Option<Tensor>> {
        let Some((first, count)) = self.missing.inputs(node, qkv) else { return Ok(None) };
        let differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(differences) = differences.as_ref() else { return Ok(None) };
        let before = self.missing.layout.prev_index(node);
        let mask = self.missing.mask.narrow(0, first, count)?.narrow(1, 0, before)?.contiguous()?;
        Ok(Some(matmul(&mask.to_dtype(differences.dtype())?, &differences.narrow(0, 0, before)?)?))
    }
}
