//! Gradients of the metric at every input of the circuit, and scores of edges from them.
//!
//! The score of `u -> v` is `(ablated_u - clean_u) . d metric / d input of v`, summed over positions: to first order, how the
//! metric changes when the edge is corrupted (Syed et al. 2023). It is linear in the gradient, so those of several runs are
//! summed first and multiplied once.
//!
//! As many prompts run at once as fit in the budget. The logits of the others are then those of the clean run, because a
//! metric takes all prompts.

use candle_core::{DType, Tensor};

use super::edges::Edges;
use super::node::{Node, Qkv};
use super::outputs::rows;
use super::stability::Sums;
use crate::error::Result;
use crate::hooks::{Edit, Gradients, HookPlan, HookPoint, Site};
use crate::host;
use crate::model::{Run, RunOptions};
use crate::progress::Progress;
use crate::slice::forward;
use crate::tokens::Tokens;

/// A run whose gradients count.
pub(super) struct GradientRun<'a> {
    pub tokens: &'a Tokens,
    /// What is written at one point in place of what the run would write.
    pub between: Option<Between>,
}

/// `share` of the path from what is written ablated to what is written clean.
pub(super) struct Between {
    pub point: HookPoint,
    pub clean: Tensor,
    pub ablated: Tensor,
    pub share: f64,
}

impl Between {
    /// For `count` prompts from prompt `from` on.
    fn written(&self, from: usize, count: usize) -> Result<Tensor> {
        let (clean, ablated) = (rows(&self.clean, from, count)?, rows(&self.ablated, from, count)?);
        Ok(((clean * self.share)? + (ablated * (1. - self.share))?)?)
    }
}

impl Edges {
    /// One run of `count` prompts from prompt `from` on, and its backward pass, with the gradients of the sum of the metrics
    /// at these points.
    pub(super) fn gradients(
        &self,
        run: &GradientRun,
        points: &[HookPoint],
        (from, count): (usize, usize),
    ) -> Result<(Run, Gradients)> {
        let tokens = run.tokens.rows(from, count);
        let mut plan = points.iter().fold(HookPlan::new(), |plan, &point| plan.watch(point)).capture("resid_pre");
        if let Some(between) = &run.between {
            plan = plan.edit(between.point, Edit::replace(between.written(from, count)?));
        }
        let options = RunOptions { stop_at_layer: Some(self.layout.n_layers as isize), ..Default::default() };
        let mut progress = Progress::of("taking gradients", 2, "passes");
        let run = self.model.run(&tokens, plan, &options)?;
        progress.step(1)?;
        let resid = run.resid.as_ref().expect("a run that stops returns the stream");
        let logits = self.metric.logits_after(&self.model, &self.metric.read_of(resid, (from, count))?)?;
        let logits = self.among_clean(&logits, from, count)?;
        let values = self.metric.values(&logits, Some(&self.run.logits))?;
        self.metric.check_gradient(&values)?;
        let gradients = run.taps.gradients(&values.sum_all()?)?;
        Ok((run, gradients))
    }

    /// How many numbers a prompt takes in a run that watches these points, with its backward pass.
    pub(super) fn numbers_of_gradients(&self, points: &[HookPoint]) -> Result<usize> {
        let plan = points.iter().fold(HookPlan::new(), |plan, &point| plan.watch(point)).capture("resid_pre");
        let need = plan.memory(&self.model.dims(), 1, self.tokens.pos(), self.model.dtype())?;
        // Only the logits that the metric reads are computed, and their gradient takes as much again.
        Ok((need.kept() + need.working) as usize / self.model.dtype().size_in_bytes() + 2 * self.columns())
    }

    /// Each edge's score, summed over runs and prompts, or of each prompt; matrices of all rows and columns.
    pub(super) fn edge_scores(&self, runs: &[GradientRun], apart: bool) -> Result<Vec<Vec<f64>>> {
        let layers = self.layout.n_layers;
        let mut sites = vec![Site::Q, Site::K, Site::V];
        sites.extend((!self.layout.attn_only).then_some(Site::MlpIn));
        let in_blocks = (0..layers).flat_map(|layer| sites.iter().map(move |&site| HookPoint::Block(layer, site)));
        let points: Vec<HookPoint> = in_blocks.chain([HookPoint::Block(layers - 1, Site::ResidPost)]).collect();
        // What is read, what is written with the tensors that it is stacked from, and the heads' inputs on the way.
        let width = self.tokens.pos() * self.layout.d_model;
        let kept = (self.layout.n_backward() + 2 * self.layout.n_forward() + 12 * self.layout.n_heads) * width;
        let each = self.numbers_of_gradients(&points)? + kept + self.numbers_of_difference();
        let parts = self.parts_for(apart, self.prompts_at_once(each, self.numbers_of_logits_with_gradients())?);
        let mut sums = Sums::of(self.no_scores(), apart.then_some(self.tokens.batch()));
        // Of each part, the runs and the product with what is written.
        let mut progress = Progress::of("taking gradients", (parts.len() * (runs.len() + 1)) as u64, "steps");
        for (from, count) in parts {
            let mut read: Vec<Option<Tensor>> = vec![None; 2 * layers + 1];
            for run in runs {
                self.add_inputs(&mut read, &self.gradients(run, &points, (from, count))?)?;
                progress.step(1)?;
            }
            let written = self.difference(from, count)?.stacked(&self.model)?;
            let of_layer = |layer| [Node::Head(layer, 0), Node::Mlp(layer)];
            let readers = (0..layers).map(forward).flat_map(of_layer).chain([Node::Logits]);
            let (mut firsts, mut products) = (Vec::new(), Vec::new());
            for (node, read) in readers.zip(read) {
                let qkv = matches!(node, Node::Head(..)).then_some(Qkv::Q);
                let Some((read, first)) = read.zip(self.layout.backward_index(node, qkv)) else { continue };
                products.push(written.narrow(0, 0, self.layout.prev_index(node))?.matmul(&read.t()?)?);
                firsts.push(first);
            }
            self.add_products(sums.at(from), &firsts, &products)?;
            progress.step(1)?;
        }
        Ok(sums.matrices())
    }

    /// Adds a run's gradients at what is read, f32: of each layer the inputs of all queries, keys and values, and the MLP's,
    /// and at the end the residual stream after the last block; `[column, batch * pos * d_model]` each.
    fn add_inputs(&self, read: &mut [Option<Tensor>], (run, gradients): &(Run, Gradients)) -> Result<()> {
        let mut add = |place: usize, gradient: Tensor| -> Result<()> {
            let gradient = gradient.to_dtype(DType::F32)?;
            read[place] = Some(match read[place].take() {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            });
            Ok(())
        };
        let layers = self.layout.n_layers;
        for layer in 0..layers {
            let at = |site| at(gradients, HookPoint::Block(layer, site));
            let resid_pre = run.captured[&HookPoint::Block(layer, Site::ResidPre)].detach();
            let qkv = [at(Site::Q)?, at(Site::K)?, at(Site::V)?];
            add(2 * layer, self.model.head_input_gradients(layer, &resid_pre, &qkv)?.flatten_from(1)?)?;
            if !self.layout.attn_only {
                add(2 * layer + 1, at(Site::MlpIn)?.flatten_all()?.unsqueeze(0)?)?;
            }
        }
        add(2 * layers, at(gradients, HookPoint::Block(layers - 1, Site::ResidPost))?.flatten_all()?.unsqueeze(0)?)
    }

    /// Adds parts of a matrix of all rows and columns, each `[row, column]` of the first rows and of the columns from that in
    /// `firsts` on.
    fn add_products(&self, scores: &mut [f64], firsts: &[usize], products: &[Tensor]) -> Result<()> {
        for ((first, product), numbers) in firsts.iter().zip(products).zip(host::numbers_of_all::<f32>(products)?) {
            for (row, of_row) in numbers.chunks(product.dim(1)?.max(1)).enumerate() {
                let start = row * self.layout.n_backward() + first;
                scores[start..].iter_mut().zip(of_row).for_each(|(score, &part)| *score += f64::from(part));
            }
        }
        Ok(())
    }
}

/// The gradient at a watched point; zeros where an edit has cut it off, which then changes nothing.
pub(super) fn at(gradients: &Gradients, point: HookPoint) -> Result<Tensor> {
    match gradients.zero_by_structure().contains(&point) {
        true => Ok(gradients.activation(point)?.zeros_like()?),
        false => gradients.get(point),
    }
}
