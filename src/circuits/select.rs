//! Circuits chosen by the scores of edges or nodes. Each selection returns another circuit and leaves the given one as it is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::circuit::Circuit;
use super::node::{Edge, Node};
use super::nodes::NodeScores;
use crate::error::{Error, Result};

/// Which scores count as large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RankBy {
    /// Those far from 0 on either side (EAP-IG's `absolute=True`).
    #[default]
    Magnitude,
    /// Those that are large (EAP-IG's `absolute=False`): edges or nodes whose corruption raises the metric.
    Largest,
    /// Those that are small: edges or nodes whose corruption lowers the metric.
    Smallest,
}

impl RankBy {
    pub(super) fn key(self, score: f32) -> f32 {
        match self {
            Self::Magnitude => score.abs(),
            Self::Largest => score,
            Self::Smallest => -score,
        }
    }
}

/// An edge in the order of its key; of equal keys, the first in the matrix is the greatest.
#[derive(Clone, Copy, PartialEq)]
struct Ranked {
    key: f32,
    place: usize,
    edge: Edge,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        // 0 and -0 are one score.
        (self.key + 0.0).total_cmp(&(other.key + 0.0)).then(other.place.cmp(&self.place))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Circuit {
    /// The circuit of all edges.
    pub fn full(&self) -> Self {
        self.of_places(self.layout.edges().into_iter().map(|(place, _)| place))
    }

    /// The circuit of no edge.
    pub fn empty(&self) -> Self {
        self.of_places([])
    }

    /// The circuit of those edges that are not in this one.
    pub fn complement(&self) -> Self {
        let edges = self.layout.edges().into_iter();
        self.of_places(edges.map(|(place, _)| place).filter(|place| !self.included[*place]))
    }

    /// The edges whose score, ranked by `by`, is at least `threshold`. Edges without a score are left out.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let clean = "When John and Mary went to the shops, John gave the bag to";
    /// # let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// # let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let scores = Experiment::new(&model, clean, corrupted, metric)?.edges()?.attribute(EdgeMethod::Eap)?;
    /// let strong = scores.threshold(0.1, RankBy::Magnitude)?;
    /// assert!(strong.edges().into_iter().all(|edge| scores.score(edge).unwrap().abs() >= 0.1));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A threshold of NaN; a circuit without scores.
    pub fn threshold(&self, threshold: f32, by: RankBy) -> Result<Self> {
        if threshold.is_nan() {
            return Err(Error::argument("the threshold is NaN, which no score reaches: give a number."));
        }
        let ranked = self.ranked(by)?;
        Ok(self.of_places(ranked.into_iter().filter(|edge| edge.key >= threshold).map(|edge| edge.place)))
    }

    /// The `n` highest-ranked edges; ties go to the earlier writer, then to the earlier reader. The result may contain dangling
    /// edges: [`Circuit::prune`] drops those.
    ///
    /// # Errors
    /// More edges than have a score.
    pub fn topn(&self, n: usize, by: RankBy) -> Result<Self> {
        let mut ranked = self.ranked(by)?;
        self.check_count(n, ranked.len())?;
        ranked.sort_by(|a, b| b.cmp(a));
        Ok(self.of_places(ranked[..n].iter().map(|edge| edge.place)))
    }

    /// `n` edges, grown from the logits: each time the highest-ranked edge into a node of the circuit. Ties go to the
    /// earlier writer, then to the earlier reader.
    ///
    /// # Errors
    /// More edges than have a score and lead to the logits.
    pub fn greedy(&self, n: usize, by: RankBy) -> Result<Self> {
        let ranked = self.ranked(by)?;
        self.check_count(n, ranked.len())?;
        let mut into: BTreeMap<Node, Vec<Ranked>> = BTreeMap::new();
        ranked.into_iter().for_each(|ranked| into.entry(ranked.edge.to).or_default().push(ranked));
        let mut candidates = BinaryHeap::from(into.remove(&Node::Logits).unwrap_or_default());
        let mut reached = BTreeSet::from([Node::Logits]);
        let mut chosen = Vec::new();
        while chosen.len() < n {
            let Some(best) = candidates.pop() else {
                return Err(Error::argument(format!(
                    "only {} edges with scores lead to the logits, so {n} cannot be chosen greedily: give at most that \
                     many.",
                    chosen.len()
                )));
            };
            chosen.push(best.place);
            if reached.insert(best.edge.from) {
                candidates.extend(into.remove(&best.edge.from).unwrap_or_default());
            }
        }
        Ok(self.of_places(chosen))
    }

    /// The circuit without edges that carry nothing from the input to the logits: a node without incoming edges, or without outgoing
    /// ones, is removed with its edges, until no such node is left. The input needs no incoming edge, the logits no outgoing one.
    pub fn prune(&self) -> Self {
        let mut circuit = self.clone();
        loop {
            let edges = circuit.edges();
            let written: BTreeSet<Node> = edges.iter().map(|edge| edge.to).chain([Node::Input]).collect();
            let read: BTreeSet<Node> = edges.iter().map(|edge| edge.from).chain([Node::Logits]).collect();
            let left = circuit.keeping(|_, edge| written.contains(&edge.from) && read.contains(&edge.to));
            if left.count_included_edges() == edges.len() {
                return left;
            }
            circuit = left;
        }
    }

    /// Edges with a score, in the order of the matrix.
    fn ranked(&self, by: RankBy) -> Result<Vec<Ranked>> {
        let scored = self.layout.edges().into_iter().filter(|(place, _)| !self.scores[*place].is_nan());
        let ranked: Vec<Ranked> =
            scored.map(|(place, edge)| Ranked { key: by.key(self.scores[place]), place, edge }).collect();
        if ranked.is_empty() {
            return Err(Error::argument(
                "the circuit has no scores to choose by: Edges::attribute gives them, and edges can be chosen by \
                 name with `with` and `without`.",
            ));
        }
        Ok(ranked)
    }

    fn check_count(&self, n: usize, scored: usize) -> Result<()> {
        if n <= scored {
            return Ok(());
        }
        Err(Error::argument(format!(
            "{n} edges were asked for, but {scored} of the model's {} have a score: give at most {scored}.",
            self.n_edges()
        )))
    }
}

impl NodeScores {
    /// The circuit of all edges between those heads and MLPs whose score, ranked by `by`, is at least `threshold`, the
    /// input and the logits, which are always there. A node with a score of NaN has none and is left out.
    ///
    /// # Errors
    /// A threshold of NaN; no head or MLP with a score.
    pub fn threshold(&self, threshold: f32, by: RankBy) -> Result<Circuit> {
        if threshold.is_nan() {
            return Err(Error::argument("the threshold is NaN, which no score reaches: give a number."));
        }
        let nodes = self.ranked(by)?.into_iter().filter(|(key, _)| *key >= threshold);
        Ok(self.between(&nodes.map(|(_, node)| node).collect()))
    }

    /// The circuit of all edges between the `n` highest-ranked heads and MLPs, the input and the logits; ties go to the node
    /// that is computed first. EAP-IG counts the input among the `n`, and leaves it out if it scores too little. A node with a
    /// score of NaN has none and is left out.
    ///
    /// # Errors
    /// More nodes than there are heads and MLPs with a score; no head or MLP with one.
    pub fn topn(&self, n: usize, by: RankBy) -> Result<Circuit> {
        let mut ranked = self.ranked(by)?;
        if n > ranked.len() {
            return Err(Error::argument(format!(
                "{n} nodes were asked for, but {} of the model's {} heads and MLPs have a score: give at most {}.",
                ranked.len(),
                self.scores.len() - 1,
                ranked.len()
            )));
        }
        // 0 and -0 are one score; a stable sort keeps the order of equals.
        ranked.sort_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)));
        Ok(self.between(&ranked[..n].iter().map(|(_, node)| *node).collect()))
    }

    /// Heads and MLPs that have a score, with their rank key.
    fn ranked(&self, by: RankBy) -> Result<Vec<(f32, Node)>> {
        let parts = self.layout.sources().into_iter().zip(&self.scores).skip(1);
        let scored = parts.filter(|(_, score)| !score.is_nan());
        let ranked: Vec<(f32, Node)> = scored.map(|(node, &score)| (by.key(score), node)).collect();
        if ranked.is_empty() {
            return Err(Error::argument(
                "the scores of all heads and MLPs are NaN, so there is nothing to choose by: look at the metric of \
                 corrupted runs.",
            ));
        }
        Ok(ranked)
    }
}
