//! Faithfulness, completeness and minimality of circuits of features, as of circuits of edges.

use std::collections::BTreeSet;

use super::prepare::FeatureCircuits;
use super::set::FeatureCircuit;
use crate::circuits::{CircuitScore, CircuitUnit, FaithfulnessCurve, RandomCurves, completeness, faithfulness};
use crate::error::{Error, Result};
use crate::feature_graphs::node::GraphNode;
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::progress::Progress;

impl FeatureCircuits {
    /// Runs the model with this circuit only.
    ///
    /// Its size is counted over all prompts: features that are active in the clean run (or, with corrupted prompts or others of the
    /// batch as the baseline, in that one), and errors unless all are live. Other nodes are live as well where the circuit has them,
    /// and not counted.
    ///
    /// # Errors
    /// Nodes that are neither features nor errors, of layers without a dictionary, of features or positions that do not exist, or of a
    /// BOS; circuits that are not one for each prompt; a budget that one prompt exceeds.
    pub fn evaluate(&self, circuit: &FeatureCircuit) -> Result<CircuitScore> {
        let named = self.named(circuit)?;
        let values = self.values_of(&named)?;
        let metric = mean(&values);
        let axis = Axis::numbered("prompt", values.len());
        Ok(CircuitScore {
            size: self.size(&named),
            of: self.nodes,
            unit: CircuitUnit::Nodes,
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
    /// let transcoders = DictionarySet::open("tiny")?.transcoders()?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let circuits = Experiment::new(&model, prompt, Baseline::Zero, metric)?
    ///     .feature_circuits(&transcoders, ErrorsOutside::Replaced)?;
    /// let graph = model.attribution_graph(&transcoders, prompt, GraphTargets::difference(" Mary", " John"))?;
    /// let chosen = graph.ranking().top_each(&[20, 80])?;
    /// let (curve, control) = (circuits.curve(&chosen)?, circuits.random_curve(&chosen, 0)?);
    /// assert!(curve.cpr() > control.cpr());
    /// let both = FaithfulnessCurves::new().add("by influence", &curve).add("at random", &control);
    /// both.show()?;
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No circuits; and as [`FeatureCircuits::evaluate`].
    pub fn curve(&self, circuits: &[FeatureCircuit]) -> Result<FaithfulnessCurve> {
        if circuits.is_empty() {
            return Err(Error::argument("no circuits were given: make some with NodeRanking::top_each."));
        }
        circuits.iter().try_for_each(|circuit| self.named(circuit).map(drop))?;
        let mut progress = Progress::of("running circuits", circuits.len() as u64, "circuits");
        let mut scores = Vec::new();
        for circuit in circuits {
            scores.push(self.evaluate(circuit)?);
            progress.step(1)?;
        }
        FaithfulnessCurve::new(scores)
    }

    /// The faithfulness of a random circuit of the size of each of these ([`FeatureCircuits::random_like`], which draws nested ones for
    /// nested circuits).
    ///
    /// # Errors
    /// As [`FeatureCircuits::curve`].
    pub fn random_curve(&self, circuits: &[FeatureCircuit], seed: u64) -> Result<FaithfulnessCurve> {
        let random = circuits.iter().map(|circuit| self.random_like(circuit, seed));
        self.curve(&random.collect::<Result<Vec<_>>>()?)
    }

    /// The faithfulness of `draws` random circuits of the size of each of these ([`FeatureCircuits::random_like`]), to be laid beside
    /// their curve ([`FaithfulnessCurve::with_random`]).
    ///
    /// # Errors
    /// 0 draws; and as [`FeatureCircuits::curve`].
    pub fn random_curves(&self, circuits: &[FeatureCircuit], draws: usize, seed: u64) -> Result<RandomCurves> {
        let sizes = circuits.iter().map(|circuit| Ok(self.size(&self.named(circuit)?))).collect::<Result<Vec<_>>>()?;
        RandomCurves::of((sizes, self.nodes, CircuitUnit::Nodes), draws, |circuit, draw| {
            self.left_of(&self.random_like(&circuits[circuit], seed.wrapping_add(draw))?)
        })
    }

    /// Whether the circuit contains everything that matters: for each set of nodes, the faithfulness of the circuit without them, of
    /// the whole model without them, and the difference, which is near 0 for every set if the circuit is complete.
    ///
    /// # Shapes
    /// `[without, of]`: the sets, and `circuit`, `model`, `difference`.
    ///
    /// # Errors
    /// No sets, and as [`FeatureCircuits::evaluate`].
    pub fn completeness(&self, circuit: &FeatureCircuit, sets: &[Vec<GraphNode>]) -> Result<Labelled> {
        if sets.is_empty() {
            return Err(Error::argument("no sets of nodes were given: name at least one set to be left out."));
        }
        let mut progress = Progress::of("leaving out nodes", 2 * sets.len() as u64, "runs");
        let without =
            |set: &Vec<GraphNode>| [circuit, &FeatureCircuit::full()].map(|all| all.without(set.iter().copied()));
        sets.iter().flat_map(without).try_for_each(|circuit| self.named(&circuit).map(drop))?;
        let mut of_sets = Vec::new();
        for set in sets {
            let [part, all] =
                without(set).map(|left| self.left_of(&left).and_then(|left| progress.step(1).map(|()| left)));
            of_sets.push([part?, all?]);
        }
        let names = sets.iter().map(|set| set.iter().map(GraphNode::to_string).collect::<Vec<_>>().join(", "));
        completeness(&self.about(), names.collect(), &of_sets)
    }

    /// Whether everything in the circuit matters: how much faithfulness is lost without each of its nodes, in all prompts that have
    /// it. A node near 0 could be left out. One run of all prompts for each node.
    ///
    /// # Shapes
    /// `[node]`.
    ///
    /// # Errors
    /// A circuit without nodes; and as [`FeatureCircuits::evaluate`].
    pub fn minimality(&self, circuit: &FeatureCircuit) -> Result<Labelled> {
        let _work = Progress::opaque("leaving out nodes");
        let nodes = self.nodes_to_leave_out(circuit)?;
        if nodes.is_empty() {
            return Err(Error::argument(
                "the circuit has no nodes that could be left out: give one with features or errors.",
            ));
        }
        let mut progress = Progress::of("leaving out nodes", nodes.len() as u64 + 1, "runs");
        let whole = self.left_of(circuit)?;
        progress.step(1)?;
        let mut lost = Vec::new();
        for node in &nodes {
            lost.push(whole - self.left_of(&circuit.without([*node]))?);
            progress.step(1)?;
        }
        let axis = Axis::new("node", nodes.iter().map(GraphNode::to_string));
        Labelled::new(format!("faithfulness lost, {}", self.about()), vec![axis], lost)
    }

    /// The nodes that the circuit has, in order: those that it names, or where it is everything but some those of the runs. Errors
    /// that are live in any case are none.
    fn nodes_to_leave_out(&self, circuit: &FeatureCircuit) -> Result<BTreeSet<GraphNode>> {
        let named = self.named(circuit)?;
        let of = |prompt: usize| self.counted(&named, prompt);
        let counted = (0..self.tokens.batch()).map(of);
        if circuit.is_all_but {
            return Ok(counted.flatten().flatten().collect());
        }
        let errors: BTreeSet<GraphNode> = counted.flat_map(|[_, errors]| errors).collect();
        let is_feature = |node: &GraphNode| matches!(node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. });
        Ok(circuit.union().into_iter().filter(|node| is_feature(node) || errors.contains(node)).collect())
    }

    /// The faithfulness of a circuit.
    fn left_of(&self, circuit: &FeatureCircuit) -> Result<f32> {
        Ok(self.faithfulness(mean(&self.values_of(&self.named(circuit)?)?)))
    }

    fn faithfulness(&self, metric: f32) -> f32 {
        faithfulness(metric, self.clean(), self.empty())
    }
}
