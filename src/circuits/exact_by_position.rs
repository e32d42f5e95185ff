//! Each edge corrupted alone at one span, or from one span to another, by brute force.
//!
//! What an edge into keys or values carries from span to span is seen in what the head writes: the head is run with the
//! edge corrupted where it begins, and what it then writes where the edge ends takes the place of what it writes.

use candle_core::Tensor;

use super::edges::Edges;
use super::node::{Node, Qkv};
use super::outputs::rows;
use super::spans::{Reach, SpanLayout, SpanOf, crosses};
use crate::error::Result;
use crate::experiment::copied;
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::model::RunOptions;
use crate::progress::Progress;

/// A part of the batch.
struct Part {
    /// The first prompt, and how many there are.
    prompts: (usize, usize),
    reach: Reach,
    /// Of each span, 1 at its positions and 0 at all others, `[prompts, pos, 1]`.
    masks: Vec<Tensor>,
    /// How many edges are corrupted at once.
    most: usize,
}

impl Edges {
    /// How much each edge changes the metric at each span, or from span to span, summed over prompts.
    pub(super) fn exact_by_span(&self, layout: &SpanLayout, spans: &SpanOf) -> Result<Vec<f64>> {
        let mut scores = vec![0.; layout.len()];
        let per_copy = 2 * self.numbers_of_copy();
        let written = 3 * self.numbers_of_nodes() + self.numbers_of_difference();
        let of_logits = self.numbers_of_logits();
        let parts = self.parts(self.prompts_at_once(written + per_copy, of_logits)?);
        let work = parts.len() * spans.len() * self.layout.edges().len();
        let mut progress = Progress::of("corrupting edges", work as u64, "edges");
        for (from, prompts) in parts {
            let whole = self.difference(from, prompts)?.stacked(&self.model)?.to_dtype(self.model.dtype())?;
            let room = self.numbers_in_budget().saturating_sub(written * prompts);
            let most = (room / (per_copy * prompts + of_logits)).max(1);
            let places = spans.places(from, prompts);
            let masks = places.iter().map(|places| self.mask(places, prompts)).collect::<Result<Vec<_>>>()?;
            let part = Part { prompts: (from, prompts), reach: spans.reach(&places, self.is_causal()), masks, most };
            for source in (0..spans.len()).filter(|&source| !places[source].is_empty()) {
                let differences = self.masked(&whole, &part.masks[source])?;
                for (column, reader) in self.layout.targets().into_iter().enumerate() {
                    let changes = self.changes_of_reader(reader, source, &differences, (&part, &mut progress))?;
                    for (row, to, change) in changes {
                        let place = row * self.layout.n_backward() + column;
                        scores[layout.index(place, reader.1, (source, to)).expect("an edge that goes there")] += change;
                    }
                }
            }
        }
        Ok(scores)
    }

    /// How much each edge into a reader changes the metric where it carries a corrupted value at one span: its row, the span that
    /// it goes to, and the change.
    fn changes_of_reader(
        &self,
        (node, qkv): (Node, Option<Qkv>),
        source: usize,
        differences: &Tensor,
        (part, progress): (&Part, &mut Progress),
    ) -> Result<Vec<(usize, usize, f64)>> {
        let before = self.layout.prev_index(node);
        let mut all = Vec::new();
        for first in (0..before).step_by(part.most) {
            let count = part.most.min(before - first);
            progress.together(count);
            let differences = differences.narrow(0, first, count)?;
            let mut add = |to: usize, changes: Vec<f64>| {
                all.extend(changes.into_iter().enumerate().map(|(row, change)| (first + row, to, change)));
            };
            if crosses(qkv) {
                let moved = self.moved(node, qkv, &differences, part.prompts)?;
                for to in (0..part.masks.len()).filter(|&to| part.reach.joins(source, to)) {
                    add(to, self.written_only(node, &moved, &part.masks[to], part.prompts)?);
                }
            } else {
                add(source, self.corrupted_inputs(node, qkv, &differences, part.prompts.0)?);
            }
            progress.step(count as u64)?;
        }
        Ok(all)
    }

    /// 1 at these positions and 0 at all others, `[prompts, pos, 1]`.
    fn mask(&self, places: &[u32], prompts: usize) -> Result<Tensor> {
        let mut mask = vec![0f32; prompts * self.tokens.pos()];
        places.iter().for_each(|&place| mask[place as usize] = 1.);
        let mask = Tensor::from_vec(mask, (prompts, self.tokens.pos(), 1), &self.model.device())?;
        Ok(mask.to_dtype(self.model.dtype())?)
    }

    /// Differences of all nodes at the positions of this mask only, `[node, prompts * pos * d_model]`.
    fn masked(&self, differences: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (prompts, pos, _) = mask.dims3()?;
        let by_position = differences.reshape(((), prompts, pos, self.layout.d_model))?;
        Ok(by_position.broadcast_mul(&mask.unsqueeze(0)?)?.flatten_from(1)?)
    }

    /// By how much a head's z changes at every position when each of these differences is added to one of its inputs,
    /// `[copies * prompts, pos, d_head]`.
    fn moved(
        &self,
        node: Node,
        qkv: Option<Qkv>,
        differences: &Tensor,
        (from, prompts): (usize, usize),
    ) -> Result<Tensor> {
        let (Node::Head(_, head), Some(layer)) = (node, node.layer()) else { unreachable!("only heads have keys") };
        let (copies, pos) = (differences.dim(0)?, self.tokens.pos());
        let added = differences.reshape((copies * prompts, pos, self.layout.d_model))?;
        let site = if qkv == Some(Qkv::K) { Site::KInput } else { Site::VInput };
        let z = HookPoint::Block(layer, Site::Z);
        let plan = HookPlan::new().edit(HookPoint::Block(layer, site), Edit::add(added).head(head)).capture(z);
        let options = RunOptions {
            start_at_layer: Some((layer as isize, copied(&rows(&self.run.resid[layer], from, prompts)?, copies)?)),
            stop_at_layer: Some(layer as isize + 1),
            ..Default::default()
        };
        let run = self.model.run(self.tokens.rows(from, prompts).repeated(copies), plan, &options)?;
        let clean = copied(&rows(&self.run.outputs.z[layer], from, prompts)?, copies)?;
        Ok((&run.captured[&z] - clean)?.narrow(2, head as usize, 1)?.squeeze(2)?)
    }

    /// How much the metric changes when a head's z changes so at the positions of the mask, one number for each copy.
    fn written_only(
        &self,
        node: Node,
        moved: &Tensor,
        mask: &Tensor,
        (from, prompts): (usize, usize),
    ) -> Result<Vec<f64>> {
        let (Node::Head(_, head), Some(layer)) = (node, node.layer()) else { unreachable!("only heads have a z") };
        let copies = moved.dim(0)? / prompts;
        let added = moved.broadcast_mul(&copied(mask, copies)?)?;
        let plan = HookPlan::new().edit(HookPoint::Block(layer, Site::Z), Edit::add(added).head(head));
        let resid = copied(&rows(&self.run.resid[layer], from, prompts)?, copies)?;
        self.changes_from(layer, resid, plan, (from, prompts))
    }
}
