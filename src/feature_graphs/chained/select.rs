//! The part of a chained graph that moves the metric most. What is left out is summed.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::super::node::GraphNode;
use super::edge::ChainedEdge;
use super::graph::{ChainedGraph, METRIC};
use super::options::{ChainOptions, ErrorNodes};
use crate::error::Result;

impl ChainedGraph {
    /// The edges that move the metric by more than this, up or down, and of these those that lead to the metric
    /// ([`ChainOptions::threshold`]).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let set = DictionarySet::open("tiny")?;
    /// # let dictionaries = [set.get("z2")?, set.get("z3")?, set.get("mlp2")?, set.get("mlp3")?];
    /// # let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let graph = model.chained_graph(&dictionaries, prompt, Baseline::Zero, metric)?;
    /// let strong = graph.threshold(0.05)?;
    /// assert!(strong.edges().iter().all(|edge| edge.metric.abs() > 0.05));
    /// // The edges out of a node and what is left out of them sum to its score.
    /// let node = strong.edges_into(GraphNode::Target { number: 0 })?[0].source;
    /// let kept: f32 = strong.edges_out_of(node)?.iter().map(|edge| edge.metric).sum();
    /// assert!((kept + strong.node(node)?.left_out() - graph.node(node)?.score()).abs() < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error) for a negative threshold, NaN and infinity.
    pub fn threshold(&self, threshold: f32) -> Result<Self> {
        self.kept_by(ChainOptions { threshold, ..ChainOptions::default() })
    }

    /// At most `n` edges, grown from the metric ([`ChainOptions::most_edges`]).
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error) for none.
    pub fn most_edges(&self, n: usize) -> Result<Self> {
        self.kept_by(ChainOptions { most_edges: Some(n), ..ChainOptions::default() })
    }

    /// At most `n` nodes besides the metric, grown from the metric, and the edges between them ([`ChainOptions::most_nodes`]).
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error) for none.
    pub fn most_nodes(&self, n: usize) -> Result<Self> {
        self.kept_by(ChainOptions { most_nodes: Some(n), ..ChainOptions::default() })
    }

    /// The same graph with errors beside it ([`ErrorNodes::Apart`]).
    pub fn errors_apart(&self) -> Self {
        Self { errors: ErrorNodes::Apart, ..self.clone() }
    }

    fn kept_by(&self, options: ChainOptions) -> Result<Self> {
        options.check()?;
        Ok(self.clone().limited(&ChainOptions { errors: self.errors, ..options }))
    }

    /// The graph within the limits of options that are checked.
    pub(super) fn limited(mut self, options: &ChainOptions) -> Self {
        self.errors = options.errors;
        let allowed = self.allowed(options);
        let (kept, reached) = grow(&self.edges, options, &|node| allowed.as_ref().is_none_or(|set| set.contains(node)));
        let mut dropped: HashMap<GraphNode, f64> = HashMap::new();
        let (mut count, mut metric, mut magnitude) = (0, 0.0, 0.0);
        for (edge, _) in self.edges.iter().zip(&kept).filter(|(_, kept)| !**kept) {
            *dropped.entry(edge.source).or_default() += f64::from(edge.metric);
            if edge.target == METRIC || reached.contains(&edge.target) {
                count += 1;
                metric += f64::from(edge.metric);
                magnitude += f64::from(edge.metric.abs());
            }
        }
        let gone = self.sources().filter(|node| !reached.contains(&node.node) && node.score != 0.0);
        let (nodes, score) = gone.fold((0, 0.0), |(nodes, sum), node| (nodes + 1, sum + f64::from(node.score)));
        let mut is_kept = kept.iter();
        self.edges.retain(|_| is_kept.next() == Some(&true));
        self.nodes.retain(|node| node.node == METRIC || reached.contains(&node.node));
        for node in &mut self.nodes {
            node.left_out += dropped.get(&node.node).copied().unwrap_or(0.0) as f32;
        }
        let all = &mut self.left_out;
        all.edges += count;
        all.nodes += nodes;
        all.metric += metric as f32;
        all.magnitude += magnitude as f32;
        all.score += score as f32;
        self
    }

    /// The nodes that a budget has room for, grown from the metric; none where there is no budget.
    fn allowed(&self, options: &ChainOptions) -> Option<HashSet<GraphNode>> {
        let most = options.most_nodes?;
        let mut before: HashMap<GraphNode, Vec<GraphNode>> = HashMap::new();
        for edge in self.edges.iter().filter(|edge| edge.metric.abs() > options.threshold) {
            before.entry(edge.target).or_default().push(edge.source);
        }
        let places: HashMap<GraphNode, usize> =
            self.nodes.iter().enumerate().map(|(place, node)| (node.node, place)).collect();
        let candidate = |node: GraphNode| {
            let place = places.get(&node).copied().filter(|_| !options.is_apart(&node))?;
            Some(Candidate { size: self.nodes[place].score.abs(), place: Reverse(place) })
        };
        let mut open: BinaryHeap<Candidate> =
            before.remove(&METRIC).unwrap_or_default().into_iter().filter_map(candidate).collect();
        // Errors beside the graph need no room.
        let mut allowed: HashSet<GraphNode> = places.keys().copied().filter(|node| options.is_apart(node)).collect();
        let most = allowed.len().saturating_add(most);
        while let Some(Candidate { place: Reverse(place), .. }) = open.pop().filter(|_| allowed.len() < most) {
            let node = self.nodes[place].node;
            if allowed.insert(node) {
                open.extend(before.remove(&node).unwrap_or_default().into_iter().filter_map(candidate));
            }
        }
        Some(allowed)
    }
}

/// An edge or a node in the order in which a graph grows; of equals, the first is the greatest.
#[derive(Clone, Copy)]
struct Candidate {
    size: f32,
    place: Reverse<usize>,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.size.total_cmp(&other.size).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Which edges are kept, and which nodes they come from: from the metric down, each time the edge that moves it most.
fn grow(
    edges: &[ChainedEdge],
    options: &ChainOptions,
    is_allowed: &dyn Fn(&GraphNode) -> bool,
) -> (Vec<bool>, HashSet<GraphNode>) {
    let mut into: HashMap<GraphNode, Vec<Candidate>> = HashMap::new();
    for (place, edge) in edges.iter().enumerate() {
        let size = edge.metric.abs();
        if size > options.threshold && is_allowed(&edge.source) {
            into.entry(edge.target).or_default().push(Candidate { size, place: Reverse(place) });
        }
    }
    let mut kept = vec![false; edges.len()];
    let mut reached = HashSet::new();
    let mut room = options.most_edges.unwrap_or(usize::MAX);
    let mut open = BinaryHeap::from(into.remove(&METRIC).unwrap_or_default());
    while let Some(Candidate { place: Reverse(place), .. }) = open.pop() {
        let source = edges[place].source;
        let is_apart = options.is_apart(&source);
        if room == 0 && !is_apart {
            continue;
        }
        kept[place] = true;
        room -= usize::from(!is_apart);
        if reached.insert(source) {
            open.extend(into.remove(&source).unwrap_or_default());
        }
    }
    (kept, reached)
}
