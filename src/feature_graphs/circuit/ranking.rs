//! Nodes in the order in which circuits take them.

use std::fmt;

use super::super::chained::ChainedGraph;
use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;
use super::set::{FeatureCircuit, is_unit};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Features and errors with a score, the highest first: for all prompts, or a ranking of each.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let transcoders = DictionarySet::open("tiny")?.transcoders()?;
/// let graph = model.attribution_graph(&transcoders, "The capital of France is", GraphTargets::top())?;
/// let ranking = graph.ranking();
/// assert!(ranking.nodes_of(0)?[0].1 >= ranking.nodes_of(0)?[1].1);
/// assert_eq!(ranking.top(10)?.nodes_of(0)?.len(), 10);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRanking {
    rankings: Vec<Vec<(GraphNode, f64)>>,
    is_per_prompt: bool,
}

impl NodeRanking {
    /// Nodes by scores of any kind, for all prompts. Of nodes with one score the earlier given comes first.
    ///
    /// # Errors
    /// A score that is NaN; a node that is given twice, or that is neither a feature nor an error.
    pub fn new(scores: impl IntoIterator<Item = (GraphNode, f64)>) -> Result<Self> {
        let mut ranking: Vec<(GraphNode, f64)> = scores.into_iter().collect();
        if let Some((node, _)) = ranking.iter().find(|(node, score)| score.is_nan() || !is_unit(node)) {
            let why = if is_unit(node) { "has a score of NaN" } else { "is neither a feature nor an error" };
            return Err(Error::argument(format!("{node} {why}, so it has no place in a ranking: leave it out.")));
        }
        let mut nodes: Vec<GraphNode> = ranking.iter().map(|(node, _)| *node).collect();
        nodes.sort_unstable();
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::argument(format!("{} was given twice: give each node one score.", pair[0])));
        }
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(Self { rankings: vec![ranking], is_per_prompt: false })
    }

    /// The ranking of each prompt, in their order.
    ///
    /// # Errors
    /// No rankings, or one that is of several prompts already.
    pub fn per_prompt(rankings: impl IntoIterator<Item = Self>) -> Result<Self> {
        let mut each = Vec::new();
        for ranking in rankings {
            if ranking.is_per_prompt {
                return Err(Error::argument(format!(
                    "a ranking of {} prompts was given as that of one: give one ranking for each prompt.",
                    ranking.rankings.len()
                )));
            }
            each.extend(ranking.rankings);
        }
        match each.is_empty() {
            true => Err(Error::argument("no rankings were given: give one for each prompt.")),
            false => Ok(Self { rankings: each, is_per_prompt: true }),
        }
    }

    /// The ranking without errors.
    pub fn without_errors(&self) -> Self {
        let is_feature =
            |(node, _): &&(GraphNode, f64)| matches!(node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. });
        let rankings = self.rankings.iter().map(|ranking| ranking.iter().filter(is_feature).copied().collect());
        Self { rankings: rankings.collect(), ..*self }
    }

    /// The nodes of a prompt with their scores, the highest first.
    ///
    /// # Errors
    /// A prompt that has no ranking.
    pub fn nodes_of(&self, prompt: usize) -> Result<Vec<(GraphNode, f64)>> {
        let ranking = if self.is_per_prompt { self.rankings.get(prompt) } else { self.rankings.first() };
        let last = self.rankings.len() - 1;
        ranking
            .cloned()
            .ok_or_else(|| Error::argument(format!("there is no ranking of prompt {prompt}: give 0 to {last}.")))
    }

    /// The circuit of the `n` highest nodes, of each prompt where each has a ranking; a prompt with fewer has all of its own.
    ///
    /// # Errors
    /// More nodes than any prompt has.
    pub fn top(&self, n: usize) -> Result<FeatureCircuit> {
        let most = self.rankings.iter().map(Vec::len).max().unwrap_or(0);
        if n > most {
            return Err(Error::argument(format!(
                "{n} nodes were asked for, and the ranking has {most}{}: give at most {most}.",
                if self.is_per_prompt { " for the prompt with the most" } else { "" }
            )));
        }
        let first = |ranking: &Vec<(GraphNode, f64)>| ranking.iter().take(n).map(|(node, _)| *node).collect();
        Ok(FeatureCircuit {
            sets: self.rankings.iter().map(first).collect(),
            is_per_prompt: self.is_per_prompt,
            is_all_but: false,
        })
    }

    /// [`NodeRanking::top`] for each of these sizes.
    ///
    /// # Errors
    /// As [`NodeRanking::top`].
    pub fn top_each(&self, sizes: &[usize]) -> Result<Vec<FeatureCircuit>> {
        let mut progress = Progress::of("choosing nodes", sizes.len() as u64, "circuits");
        sizes.iter().map(|&n| self.top(n).and_then(|found| progress.step(1).map(|()| found))).collect()
    }
}

impl AttributionGraph {
    /// Its features and errors by influence.
    pub fn ranking(&self) -> NodeRanking {
        let ranked = self.influence().ranked().into_iter().filter(|(node, _)| is_unit(node));
        NodeRanking { rankings: vec![ranked.collect()], is_per_prompt: false }
    }
}

impl ChainedGraph {
    /// Its features and errors by how much they move the metric, in either direction; not the errors that it keeps apart.
    pub fn ranking(&self) -> NodeRanking {
        let scored = self.nodes().into_iter().map(|node| (node.node, f64::from(node.score().abs())));
        NodeRanking { rankings: vec![scored.filter(|(node, _)| is_unit(node)).collect()], is_per_prompt: false }
    }
}

impl fmt::Display for NodeRanking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: usize = self.rankings.iter().map(Vec::len).sum();
        match self.is_per_prompt {
            true => write!(f, "rankings of {nodes} nodes in all, one for each of {} prompts", self.rankings.len()),
            false => write!(f, "ranking of {nodes} nodes"),
        }
    }
}
