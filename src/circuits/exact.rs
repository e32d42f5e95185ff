//! Each edge corrupted by itself, by brute force.
//!
//! One edge changes one input, by what its node would write otherwise less what it writes: all before that input stays the
//! clean run's. So runs begin at the reader's block, and edges into one reader run together as one batch.

use candle_core::Tensor;

use super::experiment::EdgePatching;
use super::node::{Node, Qkv};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::model::RunOptions;
use crate::patching::{at_last, copied};
use crate::progress::Progress;

impl EdgePatching {
    /// How much the metric changes by each edge, summed over prompts; a matrix of all rows and columns.
    pub(super) fn exact(&self) -> Result<Vec<f64>> {
        let mut scores = self.no_scores();
        let prompts = self.tokens.batch();
        // The width of a stream for each head's three inputs, and of what a block makes of one.
        let per_prompt = (8 * self.layout.n_heads + 32) * self.tokens.pos() * self.layout.d_model;
        let most = (self.prompts_in_budget(per_prompt)? / prompts).max(1);
        let differences = self.ablated.minus(&self.run.outputs)?.stacked(&self.model)?;
        let differences = differences.to_dtype(self.model.dtype())?;
        let clean: f64 = self.clean_values().iter().map(|&value| f64::from(value)).sum();
        let mut progress = Progress::new("corrupting edges", self.layout.edges().len() as u64, "edges");
        for (column, (node, qkv)) in self.layout.targets().into_iter().enumerate() {
            let before = self.layout.prev_index(node);
            for first in (0..before).step_by(most) {
                let count = most.min(before - first);
                let values = self.corrupted_inputs(node, qkv, &differences.narrow(0, first, count)?)?;
                for (row, values) in values.chunks(prompts).enumerate() {
                    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
                    scores[(first + row) * self.layout.n_backward() + column] = sum - clean;
                }
                progress.step(count as u64);
            }
        }
        Ok(scores)
    }

    /// The metric of each prompt when each of these differences, `[edge, batch * pos * d_model]`, is added to one input; one
    /// edge after the other.
    fn corrupted_inputs(&self, node: Node, qkv: Option<Qkv>, differences: &Tensor) -> Result<Vec<f32>> {
        let copies = differences.dim(0)?;
        let (batch, pos) = (self.tokens.batch(), self.tokens.pos());
        let added = differences.reshape((copies * batch, pos, self.layout.d_model))?;
        let (layer, point) = match (node, qkv) {
            (Node::Head(layer, _), Some(Qkv::Q)) => (layer, HookPoint::Block(layer, Site::QInput)),
            (Node::Head(layer, _), Some(Qkv::K)) => (layer, HookPoint::Block(layer, Site::KInput)),
            (Node::Head(layer, _), _) => (layer, HookPoint::Block(layer, Site::VInput)),
            (Node::Mlp(layer), _) => (layer, HookPoint::Block(layer, Site::MlpIn)),
            _ => {
                let last = copied(&self.run.resid[self.layout.n_layers], copies)?;
                return self.judge_copies(&(last + added)?, copies);
            }
        };
        let edit = match node {
            Node::Head(_, head) => Edit::add(added).head(head),
            _ => Edit::add(added),
        };
        let options = RunOptions {
            start_at_layer: Some((layer as isize, copied(&self.run.resid[layer], copies)?)),
            stop_at_layer: Some(self.layout.n_layers as isize),
            ..Default::default()
        };
        let run = self.model.run(self.tokens.repeated(copies), HookPlan::new().edit(point, edit), &options)?;
        self.judge_copies(&run.resid.expect("a run that stops returns the stream"), copies)
    }

    /// The metric of each row of the final stream, `copies` of the batch one after the other.
    fn judge_copies(&self, resid: &Tensor, copies: usize) -> Result<Vec<f32>> {
        let last = at_last(resid, &self.tokens.repeated(copies))?.to_dtype(self.model.dtype())?;
        let logits = self.model.logits_after(&last, self.metric.columns())?;
        self.metric.evaluate(&logits, self.tokens.batch(), Some(&self.run.logits))
    }
}
