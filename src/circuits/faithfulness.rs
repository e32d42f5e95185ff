//! How well a circuit does what the model does: faithfulness, its curve over sizes, completeness and minimality.
//!
//! Faithfulness is `(circuit - corrupted) / (clean - corrupted)` of the metric's means over prompts: 0 for the empty circuit,
//! 1 for the full one; it can leave that range. Completeness and minimality follow Wang et al. 2022, section 4; the areas
//! under the curve are those of the MIB benchmark (Mueller et al. 2025, <https://arxiv.org/abs/2504.13151>).

use super::circuit::Circuit;
use super::edges::Edges;
use super::node::Node;
use super::select::RankBy;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::progress::Progress;

/// The metric when only a circuit is left.
#[derive(Clone)]
pub struct CircuitScore {
    /// How many edges the circuit has.
    pub edges: usize,
    /// The metric, the mean over prompts.
    pub metric: f32,
    /// `(metric - corrupted) / (clean - corrupted)`.
    pub faithfulness: f32,
    /// The metric of each prompt.
    pub per_prompt: Labelled,
}

/// Faithfulness of circuits of one model, by their size.
#[derive(Clone, Debug, PartialEq)]
pub struct FaithfulnessCurve {
    /// How many edges each circuit has, the smallest first.
    pub edges: Vec<usize>,
    /// The metric of each, the mean over prompts.
    pub metric: Vec<f32>,
    /// The faithfulness of each.
    pub faithfulness: Vec<f32>,
    /// How many edges the model has.
    pub n_edges: usize,
}

impl Edges {
    /// Runs the model with this circuit only: every reader gets what nodes write in this run along edges of the circuit, and
    /// what they write corrupted (or ablated) along all others. The circuit is used as it is.
    ///
    /// Dangling edges are kept as they are. Between two prompts they change nothing; under ablation a node without incoming edges
    /// still writes what it computes from its corrupted inputs, so [prune](Circuit::prune) first, as EAP-IG does.
    ///
    /// # Errors
    /// A circuit of a model with other edges; a budget that one prompt exceeds.
    pub fn evaluate(&self, circuit: &Circuit) -> Result<CircuitScore> {
        let values = self.values_of(circuit)?;
        let metric = mean(&values);
        let axis = Axis::numbered("prompt", values.len());
        Ok(CircuitScore {
            edges: circuit.count_included_edges(),
            metric,
            faithfulness: self.faithfulness(metric),
            per_prompt: Labelled::new(self.about(), vec![axis], values)?,
        })
    }

    /// The faithfulness of each of these circuits.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let scores = edges.attribute(EdgeMethod::EapIgInputs { steps: 5 })?;
    /// let curve = edges.curve(&scores.greedy_each(&[50, 200, 800], RankBy::Magnitude)?)?;
    /// assert!(curve.cpr() > 0.5 && curve.cmd() < 0.5, "{curve:?}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No circuits; and as [`Edges::evaluate`].
    pub fn curve(&self, circuits: &[Circuit]) -> Result<FaithfulnessCurve> {
        if circuits.is_empty() {
            return Err(Error::argument("no circuits were given: make some with topn_each or greedy_each."));
        }
        circuits.iter().try_for_each(|circuit| circuit.check(&self.layout))?;
        let mut progress = Progress::of("running circuits", circuits.len() as u64, "circuits");
        let mut points = Vec::new();
        for circuit in circuits {
            let score = self.evaluate(circuit)?;
            points.push((score.edges, score.metric, score.faithfulness));
            progress.step(1);
        }
        points.sort_by_key(|(edges, ..)| *edges);
        Ok(FaithfulnessCurve {
            edges: points.iter().map(|point| point.0).collect(),
            metric: points.iter().map(|point| point.1).collect(),
            faithfulness: points.iter().map(|point| point.2).collect(),
            n_edges: circuits[0].n_edges(),
        })
    }

    /// Whether the circuit contains everything that matters: for each set of nodes, the faithfulness of the circuit without them, of
    /// the whole model without them, and the difference, which is near 0 for every set if the circuit is complete.
    ///
    /// # Shapes
    /// `[without, of]`: the sets, and `circuit`, `model`, `difference`.
    ///
    /// # Errors
    /// No sets, nodes that the model does not have, and as [`Edges::evaluate`].
    pub fn completeness(&self, circuit: &Circuit, sets: &[Vec<Node>]) -> Result<Labelled> {
        if sets.is_empty() {
            return Err(Error::argument("no sets of nodes were given: name at least one set to be left out."));
        }
        circuit.check(&self.layout)?;
        let full = circuit.full();
        let mut values = Vec::new();
        let mut progress = Progress::of("leaving out nodes", sets.len() as u64, "sets");
        for set in sets {
            let [part, all] = [circuit, &full].map(|whole| self.evaluate(&whole.without_nodes(set)?));
            let (part, all) = (part?.faithfulness, all?.faithfulness);
            values.extend([part, all, part - all]);
            progress.step(1);
        }
        let name = |node: &Node| Ok(self.layout.resolve(*node)?.to_string());
        let names = sets.iter().map(|set| Ok(set.iter().map(name).collect::<Result<Vec<_>>>()?.join(", ")));
        let names = names.collect::<Result<Vec<_>>>()?;
        let axes = vec![Axis::new("without", names), Axis::new("of", ["circuit", "model", "difference"])];
        Labelled::new(format!("completeness, {}", self.about()), axes, values)
    }

    /// Whether everything in the circuit matters: how much faithfulness is lost without each of its heads and MLPs. A node near
    /// 0 could be left out.
    ///
    /// # Shapes
    /// `[node]`.
    ///
    /// # Errors
    /// As [`Edges::evaluate`].
    pub fn minimality(&self, circuit: &Circuit) -> Result<Labelled> {
        let _work = Progress::opaque("leaving out nodes");
        let whole = self.evaluate(circuit)?.faithfulness;
        let nodes = circuit.nodes().into_iter().filter(|node| !matches!(node, Node::Input | Node::Logits));
        let nodes: Vec<Node> = nodes.collect();
        let mut values = Vec::new();
        let mut progress = Progress::of("leaving out nodes", nodes.len() as u64, "nodes");
        for node in &nodes {
            values.push(whole - self.evaluate(&circuit.without_nodes(&[*node])?)?.faithfulness);
            progress.step(1);
        }
        let axis = Axis::new("node", nodes.iter().map(Node::to_string));
        Labelled::new(format!("faithfulness lost, {}", self.about()), vec![axis], values)
    }

    fn faithfulness(&self, metric: f32) -> f32 {
        (metric - self.corrupted()) / (self.clean() - self.corrupted())
    }
}

impl Circuit {
    /// [`Circuit::topn`] for each of these sizes.
    ///
    /// # Errors
    /// As [`Circuit::topn`].
    pub fn topn_each(&self, sizes: &[usize], by: RankBy) -> Result<Vec<Self>> {
        let mut progress = Progress::of("choosing edges", sizes.len() as u64, "circuits");
        sizes.iter().map(|&n| self.topn(n, by).inspect(|_| progress.step(1))).collect()
    }

    /// [`Circuit::greedy`] for each of these sizes.
    ///
    /// # Errors
    /// As [`Circuit::greedy`].
    pub fn greedy_each(&self, sizes: &[usize], by: RankBy) -> Result<Vec<Self>> {
        let mut progress = Progress::of("choosing edges", sizes.len() as u64, "circuits");
        sizes.iter().map(|&n| self.greedy(n, by).inspect(|_| progress.step(1))).collect()
    }
}

impl FaithfulnessCurve {
    /// The area under the curve over the share of edges, from no edges to all: MIB's integrated circuit performance ratio,
    /// of which more is better. It sums trapezoids between the given sizes, with the end points added, which are 0
    /// and 1 by definition.
    pub fn cpr(&self) -> f32 {
        self.area(|faithfulness| faithfulness)
    }

    /// The area between the curve and 1 over the share of edges, on either side: MIB's integrated circuit-model distance, of
    /// which less is better. It is summed as in [`FaithfulnessCurve::cpr`].
    pub fn cmd(&self) -> f32 {
        self.area(|faithfulness| (1. - faithfulness).abs())
    }

    fn area(&self, height: impl Fn(f64) -> f64) -> f32 {
        let points = self.edges.iter().zip(&self.faithfulness);
        let points =
            points.map(|(&edges, &faithfulness)| (edges as f64 / self.n_edges as f64, f64::from(faithfulness)));
        let points: Vec<(f64, f64)> = [(0., 0.)].into_iter().chain(points).chain([(1., 1.)]).collect();
        let pieces = points.windows(2).map(|pair| {
            let [(left, a), (right, b)] = [pair[0], pair[1]];
            (right - left) * (height(a) + height(b)) / 2.
        });
        pieces.sum::<f64>() as f32
    }
}

impl std::fmt::Debug for CircuitScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "CircuitScore({} edges, metric {:.4}, faithfulness {:.4})",
            self.edges, self.metric, self.faithfulness
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_those_of_known_curves() {
        let curve = |edges: &[usize], faithfulness: &[f32]| FaithfulnessCurve {
            edges: edges.to_vec(),
            metric: faithfulness.to_vec(),
            faithfulness: faithfulness.to_vec(),
            n_edges: 10,
        };
        let straight = curve(&[5], &[0.5]);
        assert_eq!((straight.cpr(), straight.cmd()), (0.5, 0.5));
        let at_once = curve(&[0, 5, 10], &[1., 1., 1.]);
        assert_eq!((at_once.cpr(), at_once.cmd()), (1., 0.));
        let beyond = curve(&[0, 10], &[2., 2.]);
        assert_eq!((beyond.cpr(), beyond.cmd()), (2., 1.));
    }
}
