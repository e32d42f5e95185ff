//! How well a circuit does what the model does: faithfulness, its curve over sizes, completeness and minimality.
//!
//! Faithfulness is `(circuit - corrupted) / (clean - corrupted)` of the metric's means over prompts: 0 for the empty circuit,
//! 1 for the full one; it can leave that range. Completeness and minimality follow Wang et al. 2022, section 4; the areas
//! under the curve are those of the MIB benchmark (Mueller et al. 2025, <https://arxiv.org/abs/2504.13151>).

use std::fmt;

use super::chance::RandomCurves;
use super::circuit::Circuit;
use super::edges::Edges;
use super::node::Node;
use super::select::RankBy;
use super::stability::Stability;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::progress::Progress;

/// What circuits are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitUnit {
    /// Edges between heads and MLPs ([`Edges`]).
    Edges,
    /// Features of dictionaries, and their errors, each in each prompt
    /// ([`FeatureCircuits`](crate::feature_graphs::FeatureCircuits)).
    Nodes,
}

impl fmt::Display for CircuitUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edges => "edges",
            Self::Nodes => "nodes",
        })
    }
}

/// The metric when only a circuit is left.
#[derive(Clone)]
pub struct CircuitScore {
    /// How many edges or nodes the circuit has.
    pub size: usize,
    /// How many the model has.
    pub of: usize,
    /// What is counted.
    pub unit: CircuitUnit,
    /// The metric, the mean over prompts.
    pub metric: f32,
    /// `(metric - corrupted) / (clean - corrupted)`.
    pub faithfulness: f32,
    /// The metric of each prompt; [`Labelled::statistics_over`] says how sure its mean is.
    pub per_prompt: Labelled,
}

/// Faithfulness of circuits of one model, by their size.
#[derive(Clone, Debug, PartialEq)]
pub struct FaithfulnessCurve {
    /// How many edges or nodes each circuit has, the smallest first.
    pub sizes: Vec<usize>,
    /// The metric of each, the mean over prompts.
    pub metric: Vec<f32>,
    /// The faithfulness of each.
    pub faithfulness: Vec<f32>,
    /// How many the model has.
    pub of: usize,
    /// What is counted.
    pub unit: CircuitUnit,
    /// Random circuits of the same sizes, where they were run ([`FaithfulnessCurve::with_random`]).
    pub random: Option<RandomCurves>,
    /// How stable the circuits are, where that is known ([`FaithfulnessCurve::with_stability`]).
    pub stability: Option<Stability>,
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
            size: circuit.count_included_edges(),
            of: circuit.n_edges(),
            unit: CircuitUnit::Edges,
            metric,
            faithfulness: faithfulness(metric, self.clean(), self.corrupted()),
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
        let mut scores = Vec::new();
        for circuit in circuits {
            scores.push(self.evaluate(circuit)?);
            progress.step(1)?;
        }
        FaithfulnessCurve::new(scores)
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
        let mut of_sets = Vec::new();
        let mut progress = Progress::of("leaving out nodes", 2 * sets.len() as u64, "runs");
        let mut left_of = |whole: &Circuit, set: &[Node]| {
            let score = self.evaluate(&whole.without_nodes(set)?)?;
            progress.step(1).map(|()| score.faithfulness)
        };
        for set in sets {
            of_sets.push([left_of(circuit, set)?, left_of(&full, set)?]);
        }
        let name = |node: &Node| Ok(self.layout.resolve(*node)?.to_string());
        let names = sets.iter().map(|set| Ok(set.iter().map(name).collect::<Result<Vec<_>>>()?.join(", ")));
        completeness(&self.about(), names.collect::<Result<Vec<_>>>()?, &of_sets)
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
            progress.step(1)?;
        }
        let axis = Axis::new("node", nodes.iter().map(Node::to_string));
        Labelled::new(format!("faithfulness lost, {}", self.about()), vec![axis], values)
    }
}

/// `(metric - corrupted) / (clean - corrupted)`, where `corrupted` is the metric of the empty circuit.
pub(crate) fn faithfulness(metric: f32, clean: f32, corrupted: f32) -> f32 {
    (metric - corrupted) / (clean - corrupted)
}

/// The faithfulness of the circuit and of the model without each of these sets.
pub(crate) fn completeness(about: &str, names: Vec<String>, of_sets: &[[f32; 2]]) -> Result<Labelled> {
    let values = of_sets.iter().flat_map(|&[part, all]| [part, all, part - all]).collect();
    let axes = vec![Axis::new("without", names), Axis::new("of", ["circuit", "model", "difference"])];
    Labelled::new(format!("completeness, {about}"), axes, values)
}

impl Circuit {
    /// [`Circuit::topn`] for each of these sizes.
    ///
    /// # Errors
    /// As [`Circuit::topn`].
    pub fn topn_each(&self, sizes: &[usize], by: RankBy) -> Result<Vec<Self>> {
        let mut progress = Progress::of("choosing edges", sizes.len() as u64, "circuits");
        sizes.iter().map(|&n| self.topn(n, by).and_then(|found| progress.step(1).map(|()| found))).collect()
    }

    /// [`Circuit::greedy`] for each of these sizes.
    ///
    /// # Errors
    /// As [`Circuit::greedy`].
    pub fn greedy_each(&self, sizes: &[usize], by: RankBy) -> Result<Vec<Self>> {
        let mut progress = Progress::of("choosing edges", sizes.len() as u64, "circuits");
        sizes.iter().map(|&n| self.greedy(n, by).and_then(|found| progress.step(1).map(|()| found))).collect()
    }
}

impl FaithfulnessCurve {
    /// The curve through these circuits of one model.
    pub(crate) fn new(mut scores: Vec<CircuitScore>) -> Result<Self> {
        let Some(&CircuitScore { of, unit, .. }) = scores.first() else {
            return Err(Error::argument("a curve goes through at least one circuit, and none was given."));
        };
        scores.sort_by_key(|score| score.size);
        Ok(Self {
            sizes: scores.iter().map(|score| score.size).collect(),
            metric: scores.iter().map(|score| score.metric).collect(),
            faithfulness: scores.iter().map(|score| score.faithfulness).collect(),
            of,
            unit,
            random: None,
            stability: None,
        })
    }

    /// The area under the curve over the share of edges or nodes, from none to all: MIB's integrated circuit performance ratio,
    /// of which more is better. It sums trapezoids between the given sizes, with the end points added, which are 0
    /// and 1 by definition.
    pub fn cpr(&self) -> f32 {
        area(self.points(), self.of, |faithfulness| faithfulness)
    }

    /// The area between the curve and 1 over the share of edges or nodes, on either side: MIB's integrated circuit-model distance, of
    /// which less is better. It is summed as in [`FaithfulnessCurve::cpr`].
    pub fn cmd(&self) -> f32 {
        area(self.points(), self.of, |faithfulness| (1. - faithfulness).abs())
    }

    /// Sizes with their faithfulness, the empty circuit and the full one included.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        points(&self.sizes, &self.faithfulness, self.of).into_iter()
    }
}

/// Sizes with their faithfulness, the empty circuit and the full one included, which have 0 and 1.
pub(super) fn points(sizes: &[usize], faithfulness: &[f32], of: usize) -> Vec<(f64, f64)> {
    let measured = sizes.iter().zip(faithfulness).map(|(&size, &height)| (size as f64, f64::from(height)));
    [(0., 0.)].into_iter().chain(measured).chain([(of as f64, 1.)]).collect()
}

/// The area under a function of the faithfulness over the share of all edges or nodes, by trapezoids.
pub(super) fn area(points: impl Iterator<Item = (f64, f64)>, of: usize, height: impl Fn(f64) -> f64) -> f32 {
    let points: Vec<(f64, f64)> = points.map(|(size, height)| (size / of as f64, height)).collect();
    let pieces = points.windows(2).map(|pair| {
        let [(left, a), (right, b)] = [pair[0], pair[1]];
        (right - left) * (height(a) + height(b)) / 2.
    });
    pieces.sum::<f64>() as f32
}

impl fmt::Debug for CircuitScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CircuitScore({} {}, metric {:.4}, faithfulness {:.4})",
            self.size, self.unit, self.metric, self.faithfulness
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_those_of_known_curves() {
        let curve = |sizes: &[usize], faithfulness: &[f32]| FaithfulnessCurve {
            sizes: sizes.to_vec(),
            metric: faithfulness.to_vec(),
            faithfulness: faithfulness.to_vec(),
            of: 10,
            unit: CircuitUnit::Edges,
            random: None,
            stability: None,
        };
        let straight = curve(&[5], &[0.5]);
        assert_eq!((straight.cpr(), straight.cmd()), (0.5, 0.5));
        let at_once = curve(&[0, 5, 10], &[1., 1., 1.]);
        assert_eq!((at_once.cpr(), at_once.cmd()), (1., 0.));
        let beyond = curve(&[0, 10], &[2., 2.]);
        assert_eq!((beyond.cpr(), beyond.cmd()), (2., 1.));
    }
}
