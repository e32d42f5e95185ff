//! Scores of edges by position or by span: position-aware edge attribution patching (PEAP; Haklay et al. 2025,
//! <https://arxiv.org/abs/2502.04577>).
//!
//! An edge into an MLP, the logits or a head's queries stays within a position: its score at position `s` is that of EAP
//! without the sum over positions, `(ablated_u - clean_u)[s] . d metric / d input of v[s]`. An edge into a head's keys or values goes
//! through the head from the position `s` that is read to the positions `t` that attend to it: the gradient at the input is taken of
//! what the head writes at `t` alone, which for values is `pattern[t, s] * d metric / d z[t]` through `W_V` and the norm, and for
//! keys the same through the pattern. So what edge attribution patching says of an edge is the sum of its scores over all
//! positions, from and to. The exact method changes what the head writes at `t` to what it would be if the edge carried the
//! corrupted value at `s`.
//!
//! No node is added for that: edges end in a head's inputs as everywhere in this room, and no score is lost on the way.
//!
//! # Limits
//! A score is a number for each edge and position, for keys and values for each two: long prompts need spans. Sums of exact
//! scores over positions are not the exact scores of whole edges, because effects of positions interact.

use candle_core::{DType, Tensor, Var};

use super::attribute::EdgeMethod;
use super::edges::Edges;
use super::gradients::{GradientRun, at};
use super::node::{Node, Qkv};
use super::position_scores::PositionScores;
use super::spans::{Reach, SpanLayout, SpanOf, Spans, crosses};
use crate::error::{Error, Result, human_bytes};
use crate::experiment::Quadrature;
use crate::hooks::{Gradients, HookPoint, Site};
use crate::host;
use crate::model::{AttentionDir, Run};
use crate::progress::Progress;
use crate::slice::forward;

/// What nodes write when corrupted minus what they write, in a part of the batch.
struct Written {
    spans: Vec<AtSpan>,
    reach: Reach,
}

/// What every node writes at the positions of a span, `[node, place * d_model]`, and these positions, on the device and here; none
/// where there is none.
type AtSpan = Option<(Tensor, Tensor, Vec<u32>)>;

/// Scores of edges that are still on the device: of which inputs of which node, from which span to which, `[row, column]`.
type Scored = Vec<((Node, Option<Qkv>, (usize, usize)), Tensor)>;

impl Edges {
    /// The score of every edge at each position; of edges into keys and values, from each position to each.
    ///
    /// Positions are those of the batch, so that of padded prompts those in one column count together; give prompts of different
    /// lengths [spans](Edges::attribute_by_span).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let scores = edges.attribute_by_position(EdgeMethod::Eap)?;
    /// // Summed over positions, they are those of edge attribution patching.
    /// let (sum, whole) = (scores.total(), edges.attribute(EdgeMethod::Eap)?);
    /// assert!((sum.score("m0->m1")? - whole.score("m0->m1")?).abs() < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Information flow routes, which do not say from where to where a head reads; more scores than fit in the budget; as
    /// [`Edges::attribute`].
    pub fn attribute_by_position(&self, method: EdgeMethod) -> Result<PositionScores> {
        let labels = self.model.position_labels(&self.tokens);
        self.by_spans(method, &SpanOf::positions(&self.tokens, labels))
    }

    /// The score of every edge at each span; of edges into keys and values, from each span to each. Prompts may have different
    /// lengths: the schema says which positions belong together.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let spans = Spans::new(["names", "second mention", "end"]).prompt([1..4, 9..11, 14..15]);
    /// let scores = edges.attribute_by_span(EdgeMethod::Eap, &spans)?;
    /// assert_eq!(scores.spans(), ["names", "second mention", "end", "other"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A schema that does not fit the prompts; and as [`Edges::attribute_by_position`].
    pub fn attribute_by_span(&self, method: EdgeMethod, spans: &Spans) -> Result<PositionScores> {
        self.by_spans(method, &spans.of(&self.tokens)?)
    }

    fn by_spans(&self, method: EdgeMethod, spans: &SpanOf) -> Result<PositionScores> {
        self.check_aggregation(method)?;
        let layout = SpanLayout::new(self.layout, spans.len());
        self.check_scores(&layout, spans)?;
        let (scores, runs) = match method {
            EdgeMethod::InformationFlowRoutes => {
                return Err(Error::argument(
                    "information flow routes say how much a head reads of each writer, not from where to where: use a \
                     method with gradients, or EdgeMethod::Exact.",
                ));
            }
            EdgeMethod::Exact => (self.exact_by_span(&layout, spans)?, 1),
            _ => {
                let runs = self.gradient_runs(method, Quadrature::RiemannLeft)?;
                (self.span_scores(&runs, &layout, spans)?, runs.len())
            }
        };
        let scale = self.scale(runs);
        let scores = scores.into_iter().map(|score| (score * scale) as f32).collect();
        let names = (spans.axis.to_string(), spans.names.clone());
        Ok(PositionScores::new(layout, names, scores, self.method_name(method), self.levels(method)))
    }

    /// Whether nothing reaches an earlier position.
    pub(super) fn is_causal(&self) -> bool {
        self.model.cfg().attention_dir == AttentionDir::Causal
    }

    /// # Errors
    /// More scores than fit in the budget.
    fn check_scores(&self, layout: &SpanLayout, spans: &SpanOf) -> Result<()> {
        // Each is summed up in f64, and kept in f32.
        let (numbers, room) = (layout.len().saturating_mul(3), self.numbers_in_budget());
        if numbers <= room {
            return Ok(());
        }
        Err(Error::argument(format!(
            "scores of {} edges by {} {}s are {} numbers and take {}, and the budget is {}: give fewer spans \
             (attribute_by_span), or more with Experiment::budget.",
            self.layout.edges().len(),
            spans.len(),
            spans.axis,
            layout.len(),
            human_bytes(4 * numbers as u64),
            human_bytes(4 * room as u64)
        )))
    }

    /// Each score by gradients, summed over prompts and runs.
    fn span_scores(&self, runs: &[GradientRun], layout: &SpanLayout, spans: &SpanOf) -> Result<Vec<f64>> {
        let mut sites = vec![Site::Q, Site::K, Site::V, Site::Z];
        sites.extend((!self.layout.attn_only).then_some(Site::MlpIn));
        let layers = self.layout.n_layers;
        let in_blocks = (0..layers).flat_map(|layer| sites.iter().map(move |&site| HookPoint::Block(layer, site)));
        let points: Vec<HookPoint> = in_blocks.chain([HookPoint::Block(layers - 1, Site::ResidPost)]).collect();
        // What is written with the tensors that it is stacked from, twice, and the heads' inputs for one span.
        let (width, heads) = (self.tokens.pos() * self.layout.d_model, self.layout.n_heads);
        let kept =
            (4 * self.layout.n_forward() + 12 * heads) * width + 8 * heads * self.tokens.pos() * self.tokens.pos();
        let each = self.numbers_of_gradients(&points)? + kept + self.numbers_of_difference();
        let parts = self.parts(self.prompts_at_once(each, self.numbers_of_logits_with_gradients())?);
        let mut scores = vec![0.; layout.len()];
        let steps = parts.len() * runs.len() * (layers + 1);
        let mut progress = Progress::of("taking gradients", steps as u64, "blocks");
        for (from, count) in parts {
            let places = spans.places(from, count);
            let written = Written {
                spans: self.written_at(&self.difference(from, count)?.stacked(&self.model)?, &places)?,
                reach: spans.reach(&places, self.is_causal()),
            };
            for run in runs {
                let (of_run, gradients) = self.gradients(run, &points, (from, count))?;
                let last = at(&gradients, HookPoint::Block(layers - 1, Site::ResidPost))?;
                let mut scored = Scored::new();
                self.score_within(&mut scored, layout, &written, Node::Logits, &last)?;
                self.add_scored(&mut scores, layout, scored)?;
                progress.step(1)?;
                for layer in 0..layers {
                    let mut scored = Scored::new();
                    if !self.layout.attn_only {
                        let read = at(&gradients, HookPoint::Block(layer, Site::MlpIn))?;
                        self.score_within(&mut scored, layout, &written, Node::Mlp(forward(layer)), &read)?;
                    }
                    let is_cut =
                        run.between.as_ref().is_some_and(|between| between.point == HookPoint::Block(layer, Site::Z));
                    if !is_cut {
                        let run = (run, &of_run, &gradients);
                        self.score_heads(&mut scored, layout, &written, layer, run, (from, count))?;
                    }
                    self.add_scored(&mut scores, layout, scored)?;
                    progress.step(1)?;
                }
            }
        }
        Ok(scores)
    }

    /// `written [node, prompts * pos * d_model]` at the positions of each span.
    fn written_at(&self, written: &Tensor, places: &[Vec<u32>]) -> Result<Vec<AtSpan>> {
        let nodes = written.dim(0)?;
        let written = written.reshape((nodes, (), self.layout.d_model))?;
        let of_span = |places: &Vec<u32>| -> Result<AtSpan> {
            if places.is_empty() {
                return Ok(None);
            }
            let there = Tensor::new(&places[..], written.device())?;
            Ok(Some((written.index_select(&there, 1)?.flatten_from(1)?, there, places.clone())))
        };
        places.iter().map(of_span).collect()
    }

    /// The scores of edges into a node that reads within a position, whose input has this gradient, `[prompts, pos, d_model]`.
    fn score_within(
        &self,
        scored: &mut Scored,
        layout: &SpanLayout,
        written: &Written,
        node: Node,
        read: &Tensor,
    ) -> Result<()> {
        let read = read.to_dtype(DType::F32)?.flatten_to(1)?.unsqueeze(0)?;
        for span in 0..layout.spans {
            self.score_span(scored, written, (node, None), &read, (span, span))?;
        }
        Ok(())
    }

    /// The scores of edges into all heads of a layer: for each span, those to what the heads write there.
    fn score_heads(
        &self,
        scored: &mut Scored,
        layout: &SpanLayout,
        written: &Written,
        layer: usize,
        (run, of_run, gradients): (&GradientRun, &Run, &Gradients),
        (from, count): (usize, usize),
    ) -> Result<()> {
        let point = |site| HookPoint::Block(layer, site);
        let of_z = at(gradients, point(Site::Z))?.detach();
        let resid_pre = of_run.captured[&point(Site::ResidPre)].detach();
        let [q, k, v] = [Site::Q, Site::K, Site::V]
            .map(|site| -> Result<Var> { Ok(Var::from_tensor(&gradients.activation(point(site))?.detach())?) });
        let qkv = [q?, k?, v?];
        let suffix = self.model.suffix_of_copies(&run.tokens.rows(from, count), 0, 1)?;
        let z = self.model.mixed(layer, qkv.each_ref().map(|var| var.as_tensor().clone()), &suffix)?;
        let heads = self.layout.n_heads;
        for (to, places) in written.spans.iter().enumerate() {
            let Some((.., places)) = places else { continue };
            let store = (&z * self.only_at(&of_z, places)?)?.sum_all()?.backward()?;
            let of = |var: &Var| match store.get(var.as_tensor()) {
                Some(gradient) => Ok(gradient.clone()),
                None => var.as_tensor().zeros_like(),
            };
            let [q, k, v] = &qkv;
            let read = self.model.head_input_gradients(layer, &resid_pre, &[of(q)?, of(k)?, of(v)?])?;
            let read = read.to_dtype(DType::F32)?;
            for (place, qkv) in Qkv::ALL.into_iter().enumerate() {
                let read = read.narrow(0, place * heads, heads)?;
                let node = (Node::Head(forward(layer), 0), Some(qkv));
                let sources = if crosses(Some(qkv)) { 0..layout.spans } else { to..to + 1 };
                for from in sources.filter(|&from| written.reach.joins(from, to)) {
                    self.score_span(scored, written, node, &read, (from, to))?;
                }
            }
        }
        Ok(())
    }

    /// `x [prompts, pos, ..]` at these positions, and 0 at all others.
    fn only_at(&self, x: &Tensor, places: &[u32]) -> Result<Tensor> {
        let mut mask = vec![0f32; x.dim(0)? * x.dim(1)?];
        places.iter().for_each(|&place| mask[place as usize] = 1.);
        let mut shape = vec![1; x.rank()];
        shape[..2].copy_from_slice(&x.dims()[..2]);
        Ok(x.broadcast_mul(&Tensor::from_vec(mask, shape, x.device())?.to_dtype(x.dtype())?)?)
    }

    /// The scores from span to span of all edges into the columns whose gradients these are, `[column, prompts * pos, d_model]`.
    fn score_span(
        &self,
        scored: &mut Scored,
        written: &Written,
        (node, qkv): (Node, Option<Qkv>),
        read: &Tensor,
        way: (usize, usize),
    ) -> Result<()> {
        let Some((written, places, _)) = &written.spans[way.0] else { return Ok(()) };
        let read = read.index_select(places, 1)?.flatten_from(1)?;
        let product = written.narrow(0, 0, self.layout.prev_index(node))?.matmul(&read.t()?)?;
        scored.push(((node, qkv, way), product));
        Ok(())
    }

    /// Adds scores to those of all edges.
    fn add_scored(&self, scores: &mut [f64], layout: &SpanLayout, scored: Scored) -> Result<()> {
        let (edges, products): (Vec<_>, Vec<_>) = scored.into_iter().unzip();
        let numbers = host::numbers_of_all::<f32>(&products)?;
        for (((node, qkv, way), product), numbers) in edges.into_iter().zip(&products).zip(numbers) {
            let first = self.layout.backward_index(node, qkv).expect("a node that reads");
            let columns = product.dim(1)?.max(1);
            for (at, score) in numbers.into_iter().enumerate() {
                let place = at / columns * self.layout.n_backward() + first + at % columns;
                let index = layout.index(place, qkv, way).expect("an edge that goes there");
                scores[index] += f64::from(score);
            }
        }
        Ok(())
    }
}
