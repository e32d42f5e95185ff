//! Information flow routes: how much of what a node reads is due to each writer (Ferrando and Voita 2024,
//! <https://arxiv.org/abs/2403.00824>).
//!
//! Of an input `x` at a position, `u`'s proximity is `max(0, |x| - |x - u|)` with the sum of absolute values as length, and
//! its importance is its share in the proximity of all writers. All heads of a layer read the same residual stream in a
//! clean run, so their queries, keys and values have the same scores.

use candle_core::{D, Tensor};

use super::edges::Edges;
use super::node::{Node, Qkv};
use super::stability::Sums;
use crate::error::Result;
use crate::head::Head;
use crate::host;
use crate::progress::Progress;
use crate::slice::forward;

impl Edges {
    /// The importance of each edge, the mean over positions that hold a token, summed over prompts, or of each prompt; matrices of
    /// all rows and columns.
    pub(super) fn routes(&self, each: bool) -> Result<Vec<Vec<f64>>> {
        let mut sums = Sums::of(self.no_scores(), each.then_some(self.tokens.batch()));
        let parts = self.parts_for(each, self.prompts_at_once(4 * self.numbers_of_nodes(), 0)?);
        let readers = parts.len() * self.inputs().len();
        let mut progress = Progress::of("following the flow", readers as u64, "readers");
        for (from, count) in parts {
            let scores = sums.at(from);
            let written = self.run.outputs.rows(from, count)?.stacked(&self.model)?;
            let weights = self.weights(from, count)?;
            let written = written.reshape((self.layout.n_forward(), weights.elem_count(), ()))?;
            let (mut firsts, mut all) = (Vec::new(), Vec::new());
            for (node, qkv, read) in self.inputs() {
                let read = read.narrow(0, from, count)?.flatten_to(1)?.to_dtype(candle_core::DType::F32)?;
                let before = self.layout.prev_index(node);
                all.push(importance(&written.narrow(0, 0, before)?, &read)?.matmul(&weights)?);
                let first = self.layout.backward_index(node, qkv).expect("a node that reads");
                firsts.push((first, if qkv.is_some() { 3 * self.layout.n_heads } else { 1 }));
                progress.step(1)?;
            }
            for ((first, columns), shares) in firsts.into_iter().zip(host::numbers_of_all::<f32>(&all)?) {
                for (row, share) in shares.into_iter().enumerate() {
                    let start = row * self.layout.n_backward() + first;
                    scores[start..start + columns].iter_mut().for_each(|score| *score += f64::from(share));
                }
            }
        }
        Ok(sums.matrices())
    }

    /// What is read in the clean run, once for all readers of the same.
    fn inputs(&self) -> Vec<(Node, Option<Qkv>, &Tensor)> {
        let run = &self.run;
        let of_heads = (0..self.layout.n_layers).map(|l| (Head::new(l, 0).into(), Some(Qkv::Q), &run.resid[l]));
        let of_mlps = run.mlp_in.iter().enumerate().map(|(l, read)| (Node::Mlp(forward(l)), None, read));
        of_heads.chain(of_mlps).chain([(Node::Logits, None, &run.resid[self.layout.n_layers])]).collect()
    }

    /// One over the length of its prompt for each position that holds a token, 0 for padding, `[batch * pos, 1]`.
    fn weights(&self, from: usize, count: usize) -> Result<Tensor> {
        let (tokens, pos) = (&self.tokens, self.tokens.pos());
        let weight = |i: usize| match (from + i / pos, i % pos) {
            (prompt, place) if tokens.is_real(prompt, place) => 1. / tokens.lengths()[prompt] as f32,
            _ => 0.,
        };
        let weights: Vec<f32> = (0..count * pos).map(weight).collect();
        Ok(Tensor::from_vec(weights, (count * pos, 1), &self.model.device())?)
    }
}

/// Each writer's share in what is read; 0 for all where no writer comes near it.
///
/// # Shapes
/// `written [node, position, d_model]`, `read [position, d_model]`; the result is `[node, position]`.
fn importance(written: &Tensor, read: &Tensor) -> Result<Tensor> {
    let length = read.abs()?.sum(D::Minus1)?;
    let apart = written.broadcast_sub(read)?.abs()?.sum(D::Minus1)?;
    let proximity = length.broadcast_sub(&apart)?.relu()?;
    let all = proximity.sum_keepdim(0)?.maximum(f64::from(f32::MIN_POSITIVE))?;
    Ok(proximity.broadcast_div(&all)?)
}
