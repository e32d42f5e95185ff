//! Gradients of the metric at every input of the circuit, and scores of edges from them.
//!
//! The score of `u -> v` is `(ablated_u - clean_u) . d metric / d input of v`, summed over positions: to first order, how the
//! metric changes when the edge is corrupted (Syed et al. 2023).

use candle_core::{DType, Tensor};

use super::experiment::EdgePatching;
use super::node::{Node, Qkv};
use crate::error::Result;
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::model::RunOptions;
use crate::patching::at_last;
use crate::tokens::Tokens;

/// A run's gradients at what is read, of the sum of the metrics of all prompts.
pub(super) struct Inputs {
    /// The stream that enters each block, and what the queries, keys and values of it change.
    attention: Vec<(Tensor, [Tensor; 3])>,
    /// At what each MLP reads; empty without MLPs.
    mlp: Vec<Tensor>,
    /// At the stream behind the last block.
    logits: Tensor,
}

impl EdgePatching {
    /// One run under `plan` and its backward pass.
    pub(super) fn gradients(&self, tokens: &Tokens, mut plan: HookPlan) -> Result<Inputs> {
        let layers = self.layout.n_layers;
        let mut sites = vec![Site::Q, Site::K, Site::V];
        sites.extend((!self.layout.attn_only).then_some(Site::MlpIn));
        let points = (0..layers).flat_map(|layer| sites.iter().map(move |&site| HookPoint::Block(layer, site)));
        for point in points.chain([HookPoint::Block(layers - 1, Site::ResidPost)]) {
            plan = plan.watch(point);
        }
        plan = plan.capture("resid_pre");
        let options = RunOptions { stop_at_layer: Some(layers as isize), ..Default::default() };
        let run = self.model.run(tokens, plan, &options)?;
        let resid = run.resid.as_ref().expect("a run that stops returns the stream");
        let last = at_last(resid, tokens)?.to_dtype(self.model.dtype())?;
        let logits = self.model.logits_after(&last, self.metric.columns())?;
        let values = self.metric.values(&logits, tokens.batch(), Some(&self.run.logits))?;
        self.metric.check_gradient(&values)?;
        let gradients = run.taps.gradients(&values.sum_all()?)?;
        let none = gradients.zero_by_structure();
        let at = |layer: usize, site: Site| {
            let point = HookPoint::Block(layer, site);
            // What an edit has cut off changes nothing.
            if none.contains(&point) { Ok(gradients.activation(point)?.zeros_like()?) } else { gradients.get(point) }
        };
        let attention = |layer: usize| -> Result<(Tensor, [Tensor; 3])> {
            let resid_pre = run.captured[&HookPoint::Block(layer, Site::ResidPre)].detach();
            Ok((resid_pre, [at(layer, Site::Q)?, at(layer, Site::K)?, at(layer, Site::V)?]))
        };
        let mlps = if self.layout.attn_only { 0 } else { layers };
        Ok(Inputs {
            attention: (0..layers).map(attention).collect::<Result<_>>()?,
            mlp: (0..mlps).map(|layer| at(layer, Site::MlpIn)).collect::<Result<_>>()?,
            logits: at(layers - 1, Site::ResidPost)?,
        })
    }

    /// Adds each edge's score, summed over prompts, to a matrix of all rows and columns.
    pub(super) fn add_scores(&self, scores: &mut [f64], inputs: &Inputs) -> Result<()> {
        let differences = self.ablated.minus(&self.run.outputs)?;
        let of_heads = 12 * self.layout.n_heads * self.tokens.pos() * self.layout.d_model;
        let most = self.prompts_at_once(2 * self.numbers_of_nodes() + of_heads)?;
        for from in (0..self.tokens.batch()).step_by(most) {
            let count = most.min(self.tokens.batch() - from);
            let rows = |x: &Tensor| -> Result<Tensor> { Ok(x.narrow(0, from, count)?.contiguous()?) };
            let stacked = differences.rows(from, count)?.stacked(&self.model)?;
            let mut add = |node: Node, qkv: Option<Qkv>, gradients: Tensor| {
                let written = stacked.narrow(0, 0, self.layout.prev_index(node))?;
                let first = self.layout.backward_index(node, qkv).expect("a node that reads");
                self.add_product(scores, first, &written, &gradients)
            };
            for (layer, (resid_pre, [q, k, v])) in inputs.attention.iter().enumerate() {
                let qkv = [rows(q)?, rows(k)?, rows(v)?];
                let read = self.model.head_input_gradients(layer, &rows(resid_pre)?, &qkv)?;
                let read = read.flatten_from(1)?;
                add(Node::Head(layer, 0), Some(Qkv::Q), read)?;
            }
            for (layer, gradient) in inputs.mlp.iter().enumerate() {
                add(Node::Mlp(layer), None, rows(gradient)?.flatten_all()?.unsqueeze(0)?)?;
            }
            add(Node::Logits, None, rows(&inputs.logits)?.flatten_all()?.unsqueeze(0)?)?;
        }
        Ok(())
    }

    /// Adds `written [row, n]` times `gradients [column, n]` transposed, whose first column stands at `first`.
    fn add_product(&self, scores: &mut [f64], first: usize, written: &Tensor, gradients: &Tensor) -> Result<()> {
        let product = written.matmul(&gradients.to_dtype(DType::F32)?.t()?)?.to_vec2::<f32>()?;
        for (row, of_row) in product.into_iter().enumerate() {
            let start = row * self.layout.n_backward() + first;
            scores[start..].iter_mut().zip(of_row).for_each(|(score, part)| *score += f64::from(part));
        }
        Ok(())
    }
}
