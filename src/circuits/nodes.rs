//! Scores of whole nodes: how much the metric changes when everything that a node writes is corrupted.
//!
//! A node writes only to the residual stream, so the gradient at what it writes is the sum of the gradients at all inputs
//! that read it. Its estimated score `(ablated_u - clean_u) . d metric / d output of u` is therefore the sum of the scores of its
//! edges out by the same runs: those of EAP, of EAP-IG-activations and of clean-corrupted.
//!
//! When integrating over inputs, EAP-IG's repository takes the right end of each step for nodes and the left end for edges;
//! so does this. Its own node scores of MLPs take the gradient at what the MLP reads, which is a different one; here it is at what the
//! MLP writes. Its exact scores end in an error.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use super::attribute::EdgeMethod;
use super::edges::Edges;
use super::gradients::{GradientRun, at};
use super::layout::Layout;
use super::node::Node;
use super::outputs::{Outputs, rows};
use crate::error::{Error, Result};
use crate::experiment::{Quadrature, copied};
use crate::hooks::{Edit, HookPlan, HookPoint, Selection, Site};
use crate::host;
use crate::labelled::{Axis, Labelled};
use crate::progress::Progress;
use crate::visible::visible;

/// The scores of the input, the heads and the MLPs as wholes.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = "When John and Mary went to the shops, John gave the bag to";
/// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
/// let nodes = edges.attribute_nodes(EdgeMethod::Exact)?;
/// assert!(nodes.scores().bottom(1)[0].value < -0.5, "some node helps");
/// let circuit = nodes.topn(10, RankBy::Magnitude)?;
/// assert!(edges.evaluate(&circuit)?.faithfulness > 0.5);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct NodeScores {
    pub(super) layout: Layout,
    /// In the order of the layout's rows.
    pub(super) scores: Vec<f32>,
    pub(super) method: String,
    /// The metric of the clean run and of the empty circuit, where scores are changes of it.
    pub(super) levels: Option<(f32, f32)>,
}

impl NodeScores {
    /// How the scores were computed: the method with its rule and steps, the metric and the intervention.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The score of a node, given as a [`Node`] or by its name.
    ///
    /// # Errors
    /// A name that is not a node of the model; the logits, which write nothing.
    pub fn score(&self, node: impl ToString) -> Result<f32> {
        let node: Node = node.to_string().parse()?;
        match self.layout.forward_index(self.layout.resolve(node)?) {
            Some(row) => Ok(self.scores[row]),
            None => Err(Error::argument(format!(
                "{node} writes nothing, so it has no score: look at the scores of its edges."
            ))),
        }
    }

    /// All scores, in the order in which the nodes are computed.
    ///
    /// # Shapes
    /// `[node]`: the input, then of each layer the heads and the MLP.
    pub fn scores(&self) -> Labelled {
        let axis = Axis::new("node", self.layout.sources().iter().map(Node::to_string));
        let title = format!("scores of nodes, {}", self.method);
        Labelled::new(title, vec![axis], self.scores.clone()).expect("the layout gives axes and numbers alike")
    }

    /// The scores of heads and MLPs by layer; the input has none.
    ///
    /// # Shapes
    /// `[layer, part]`: the heads by number, then the MLP, where there are any.
    pub fn by_layer(&self) -> Labelled {
        let heads = (0..self.layout.n_heads).map(|head| head.to_string());
        let parts = heads.chain((!self.layout.attn_only).then(|| "MLP".to_string()));
        let axes = vec![Axis::numbered("layer", self.layout.n_layers), Axis::new("part", parts)];
        let title = format!("scores of heads and MLPs, {}", self.method);
        Labelled::new(title, axes, self.scores[1..].to_vec()).expect("the layout gives axes and numbers alike")
    }

    /// The edges between these nodes, the input and the logits.
    pub(super) fn between(&self, nodes: &BTreeSet<Node>) -> super::circuit::Circuit {
        let inside = |node: Node| matches!(node, Node::Input | Node::Logits) || nodes.contains(&node);
        let mut circuit = super::circuit::Circuit::of_layout(self.layout);
        circuit.method = format!("no scores of edges; {} nodes by {}", nodes.len(), self.method);
        circuit.keeping(|_, edge| inside(edge.from) && inside(edge.to))
    }
}

impl Edges {
    /// The score of every node: how much the metric, its mean over prompts, changes when everything that the node writes is
    /// corrupted, exactly or as a method estimates it; negative where the node helps.
    ///
    /// # Errors
    /// As [`Edges::attribute`]; information flow routes, which score edges only.
    pub fn attribute_nodes(&self, method: EdgeMethod) -> Result<NodeScores> {
        let (scores, runs) = if method == EdgeMethod::Exact {
            self.check_aggregation(method)?;
            (self.exact_nodes()?, 1)
        } else {
            let runs = self.node_runs(method)?;
            let sum = |of_node: &[f64]| of_node.iter().sum::<f64>();
            (self.output_scores(&runs)?.chunks(self.layout.d_model).map(sum).collect(), runs.len())
        };
        let scale = self.scale(runs);
        let scores = scores.into_iter().map(|score: f64| (score * scale) as f32).collect();
        let name = self.name_of(method, Quadrature::RiemannRight);
        Ok(NodeScores { layout: self.layout, scores, method: name, levels: self.levels(method) })
    }

    /// The score of every coordinate of what each node writes to the residual stream, which EAP-IG's repository calls neurons:
    /// a node's score is their sum. They are not the neurons inside an MLP; see
    /// [`IntegratedGradients::neurons`](crate::gradients::IntegratedGradients::neurons) for those.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// assert_eq!(edges.attribute_neurons(EdgeMethod::Eap)?.shape()[1], model.cfg().d_model);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[node, d_model]`.
    ///
    /// # Errors
    /// As [`Edges::attribute_nodes`]; the exact method, which takes nodes as wholes; a mean over coordinates.
    pub fn attribute_neurons(&self, method: EdgeMethod) -> Result<Labelled> {
        if method == EdgeMethod::Exact {
            return Err(Error::argument(
                "exact scores are of whole nodes: use attribute_nodes, or EdgeMethod::Eap, EapIgInputs or \
                 EapIgActivations.",
            ));
        }
        self.check_aggregation_of_parts()?;
        let runs = self.node_runs(method)?;
        let scale = self.scale(runs.len());
        let scores = self.output_scores(&runs)?.into_iter().map(|score| (score * scale) as f32).collect();
        let nodes = Axis::new("node", self.layout.sources().iter().map(Node::to_string));
        let axes = vec![nodes, Axis::numbered("d_model", self.layout.d_model)];
        Labelled::new(format!("scores of neurons, {}", self.name_of(method, Quadrature::RiemannRight)), axes, scores)
    }

    fn node_runs(&self, method: EdgeMethod) -> Result<Vec<GradientRun<'_>>> {
        if method == EdgeMethod::InformationFlowRoutes {
            return Err(Error::argument(
                "information flow routes score edges by their share in what is read, and nodes have no such share: use \
                 another method.",
            ));
        }
        self.gradient_runs(method, Quadrature::RiemannRight)
    }

    /// The score of each coordinate of what each node writes, summed over prompts and runs, `[node, d_model]`.
    fn output_scores(&self, runs: &[GradientRun]) -> Result<Vec<f64>> {
        let layers = self.layout.n_layers;
        let sites = [Some(Site::AttnOut), (!self.layout.attn_only).then_some(Site::MlpOut)];
        let of_layer = |layer: usize| sites.into_iter().flatten().map(move |site| HookPoint::Block(layer, site));
        let points: Vec<HookPoint> = [HookPoint::Embed].into_iter().chain((0..layers).flat_map(of_layer)).collect();
        // The gradients at what is written, and what the heads of one layer write on the way.
        let kept = (points.len() + 4 * self.layout.n_heads) * self.tokens.pos() * self.layout.d_model;
        let each = self.numbers_of_gradients(&points)? + kept + self.numbers_of_difference();
        let parts = self.parts(self.prompts_at_once(each, self.numbers_of_logits_with_gradients())?);
        let mut scores = vec![0.; self.layout.n_forward() * self.layout.d_model];
        // Of each part, the runs and the product with what is written.
        let mut progress = Progress::of("taking gradients", (parts.len() * (runs.len() + 1)) as u64, "steps");
        for (from, count) in parts {
            let mut sums: Vec<Option<Tensor>> = vec![None; points.len()];
            for run in runs {
                let (_, gradients) = self.gradients(run, &points, (from, count))?;
                for (sum, &point) in sums.iter_mut().zip(&points) {
                    let gradient = at(&gradients, point)?.to_dtype(DType::F32)?;
                    *sum = Some(match sum.take() {
                        Some(sum) => (sum + gradient)?,
                        None => gradient,
                    });
                }
                progress.step(1)?;
            }
            let differences = self.difference(from, count)?;
            let products = points.iter().zip(sums.into_iter().flatten());
            let products = products.map(|(&point, gradient)| self.products(&differences, point, &gradient));
            let parts = host::numbers_of_all::<f32>(&products.collect::<Result<Vec<_>>>()?)?;
            scores.iter_mut().zip(parts.into_iter().flatten()).for_each(|(score, part)| *score += f64::from(part));
            progress.step(1)?;
        }
        Ok(scores)
    }

    /// The difference of each node that writes at this point times the gradient there, summed over prompts and positions,
    /// `[node, d_model]`.
    fn products(&self, differences: &Outputs, point: HookPoint, gradient: &Tensor) -> Result<Tensor> {
        let written = match point {
            HookPoint::Block(layer, Site::AttnOut) => self.model.results_by_head(layer, &differences.z[layer])?,
            HookPoint::Block(layer, _) => differences.mlp[layer].flatten_to(1)?.unsqueeze(0)?,
            _ => differences.embed.flatten_to(1)?.unsqueeze(0)?,
        };
        let product = written.to_dtype(DType::F32)?.broadcast_mul(&gradient.flatten_to(1)?.unsqueeze(0)?)?;
        Ok(product.sum(1)?)
    }

    /// How much each node changes the metric, summed over prompts. Everything upstream of a node is as in the clean run, so runs
    /// begin at its block, or after it.
    fn exact_nodes(&self) -> Result<Vec<f64>> {
        let per_copy = self.numbers_of_copy();
        let (written, of_logits) = (self.numbers_of_difference(), self.numbers_of_logits());
        let parts = self.parts(self.prompts_at_once(written + per_copy, of_logits)?);
        let mut scores = vec![0.; self.layout.n_forward()];
        let nodes = parts.len() * self.layout.n_forward();
        let mut progress = Progress::of("corrupting nodes", nodes as u64, "nodes");
        for (from, prompts) in parts {
            let room = self.numbers_in_budget().saturating_sub(written * prompts);
            let most = (room / (per_copy * prompts + of_logits)).max(1);
            let differences = self.difference(from, prompts)?;
            let mut row = 0;
            let mut add = |progress: &mut Progress, changes: Vec<f64>| {
                progress.step(changes.len() as u64)?;
                scores[row..].iter_mut().zip(&changes).for_each(|(score, change)| *score += change);
                row += changes.len();
                Ok::<_, Error>(())
            };
            let stream = |layer: usize| rows(&self.run.resid[layer], from, prompts);
            let behind = |layer: usize, written: &Tensor| {
                self.changes_from(layer, (stream(layer)? + written)?, HookPlan::new(), (from, prompts))
            };
            add(&mut progress, behind(0, &differences.embed)?)?;
            for layer in 0..self.layout.n_layers {
                for first in (0..self.layout.n_heads).step_by(most) {
                    let count = most.min(self.layout.n_heads - first);
                    progress.together(count);
                    let z = &differences.z[layer];
                    let point = HookPoint::Block(layer, Site::Z);
                    let added = (first..first + count)
                        .map(|head| Selection::new().head(head).choose(point, z, &z.zeros_like()?));
                    let edit = Edit::add(Tensor::cat(&added.collect::<Result<Vec<_>>>()?, 0)?);
                    let plan = HookPlan::new().edit(point, edit);
                    add(
                        &mut progress,
                        self.changes_from(layer, copied(&stream(layer)?, count)?, plan, (from, prompts))?,
                    )?;
                }
                if let Some(written) = differences.mlp.get(layer) {
                    add(&mut progress, behind(layer + 1, written)?)?;
                }
            }
        }
        Ok(scores)
    }
}

impl std::fmt::Debug for NodeScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeScores({} nodes; {})", self.scores.len(), visible(&self.method))
    }
}
