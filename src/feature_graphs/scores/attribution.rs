//! What a split score holds.

use std::fmt;

use super::super::node::GraphNode;
use super::side::Side;
use crate::error::{Error, Result};
use crate::head::Head;
use crate::labelled::{Axis, Labelled};
use crate::visible::visible;

/// The score of a head for one query and one key, split by the sources of both
/// ([`HookedTransformer::attention_score_attribution`]).
///
/// [`HookedTransformer::attention_score_attribution`]: crate::model::HookedTransformer::attention_score_attribution
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreAttribution {
    pub(super) head: Head,
    pub(super) query: usize,
    pub(super) key: usize,
    pub(super) pieces: [String; 2],
    pub(super) queries: Vec<GraphNode>,
    pub(super) keys: Vec<GraphNode>,
    /// A row for each source of the query.
    pub(super) parts: Vec<Vec<f32>>,
    pub(super) score: f32,
}

impl ScoreAttribution {
    /// # Shapes
    /// `parts` has a row for each source of the query, and in it a number for each of the key.
    pub(super) fn new(head: Head, [query, key]: [Side; 2], parts: Vec<Vec<f32>>, score: f32) -> Self {
        Self {
            head,
            query: query.pos,
            key: key.pos,
            pieces: [query.piece, key.piece],
            queries: query.nodes,
            keys: key.nodes,
            parts,
            score,
        }
    }

    /// The head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The position of the query.
    pub fn query(&self) -> usize {
        self.query
    }

    /// The position of the key.
    pub fn key(&self) -> usize {
        self.key
    }

    /// The score of the run: `q . k / scale`, before a soft cap and without what ALiBi takes off, where the model has them.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// The difference between the score and the sum of its parts: rounding.
    pub fn residual(&self) -> f32 {
        let sum: f64 = self.parts.iter().flatten().map(|&part| f64::from(part)).sum();
        (sum - f64::from(self.score)).abs() as f32
    }

    /// What writes at the query's position.
    pub fn query_sources(&self) -> Vec<GraphNode> {
        self.queries.clone()
    }

    /// What writes at the key's position.
    pub fn key_sources(&self) -> Vec<GraphNode> {
        self.keys.clone()
    }

    /// The part of the score that one source of the query and one of the key make together.
    ///
    /// # Errors
    /// [`Error::Argument`] for nodes that do not write there.
    pub fn part(&self, query: GraphNode, key: GraphNode) -> Result<f32> {
        Ok(self.parts[self.place(&self.queries, query)?][self.place(&self.keys, key)?])
    }

    /// What each source of the query adds to the score, with all of the key.
    ///
    /// # Shapes
    /// `[query source]`.
    ///
    /// # Errors
    /// None that this value can cause.
    pub fn by_query(&self) -> Result<Labelled> {
        self.table()?.sum_over("key source")
    }

    /// What each source of the key adds to the score, with all of the query.
    ///
    /// # Shapes
    /// `[key source]`.
    ///
    /// # Errors
    /// None that this value can cause.
    pub fn by_key(&self) -> Result<Labelled> {
        self.table()?.sum_over("query source")
    }

    /// All parts, which sum to the score.
    ///
    /// # Shapes
    /// `[query source, key source]`.
    ///
    /// # Errors
    /// None that this value can cause.
    pub fn table(&self) -> Result<Labelled> {
        let all =
            |nodes: &[GraphNode]| (0..nodes.len()).map(|at| (nodes[at].to_string(), vec![at])).collect::<Vec<_>>();
        self.grouped(&all(&self.queries), &all(&self.keys))
    }

    /// As [`ScoreAttribution::table`], with the `count` sources of each side whose parts are largest together (by the sum of their
    /// absolute values), those first that have most, and all others as one: it sums to the score, too.
    ///
    /// # Shapes
    /// `[query source, key source]`.
    ///
    /// # Errors
    /// None that this value can cause.
    pub fn top(&self, count: usize) -> Result<Labelled> {
        let of_query = |at: usize| self.parts[at].iter().map(|part| part.abs()).sum();
        let of_key = |at: usize| self.parts.iter().map(|row| row[at].abs()).sum();
        self.grouped(&largest(&self.queries, count, &of_query), &largest(&self.keys, count, &of_key))
    }

    /// The parts summed over groups of sources.
    fn grouped(&self, queries: &[Group], keys: &[Group]) -> Result<Labelled> {
        let sum = |rows: &[usize], columns: &[usize]| -> f32 {
            let of_row = |&row: &usize| columns.iter().map(|&column| f64::from(self.parts[row][column])).sum::<f64>();
            rows.iter().map(of_row).sum::<f64>() as f32
        };
        let values = queries.iter().flat_map(|(_, rows)| keys.iter().map(move |(_, columns)| sum(rows, columns)));
        let names = |groups: &[Group]| groups.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let axes = vec![Axis::new("query source", names(queries)), Axis::new("key source", names(keys))];
        Labelled::new(self.to_string(), axes, values.collect())
    }

    fn place(&self, nodes: &[GraphNode], node: GraphNode) -> Result<usize> {
        nodes.iter().position(|own| *own == node).ok_or_else(|| {
            Error::argument(format!(
                "{node} is not a source of this side of the score: query_sources() and key_sources() list what is there."
            ))
        })
    }
}

/// A name, and the sources that are taken together under it.
type Group = (String, Vec<usize>);

/// The `count` largest sources, and the others together.
fn largest(nodes: &[GraphNode], count: usize, size: &dyn Fn(usize) -> f32) -> Vec<Group> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
    let others = order.split_off(count.min(order.len()));
    let mut groups: Vec<Group> = order.into_iter().map(|at| (nodes[at].to_string(), vec![at])).collect();
    if !others.is_empty() {
        groups.push((format!("{} others", others.len()), others));
    }
    groups
}

impl fmt::Display for ScoreAttribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [query, key] = &self.pieces;
        write!(
            f,
            "score of {} from {} \"{}\" to {} \"{}\": {:.3}",
            self.head,
            self.query,
            visible(query),
            self.key,
            visible(key),
            self.score
        )
    }
}
