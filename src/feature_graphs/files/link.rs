//! Which node a link comes from, where circuit-tracer 0.5 gave two the same id.

use super::super::node::GraphNode;

/// An edge of a file. The nodes that it may come from are in the order of nodes: a feature, then an error.
pub(super) struct FileEdge {
    pub sources: Candidates,
    pub target: GraphNode,
    pub weight: f32,
}

/// One node, or a feature and an error.
#[derive(Clone, Copy)]
pub(super) struct Candidates {
    pub first: GraphNode,
    pub second: Option<GraphNode>,
}

impl From<GraphNode> for Candidates {
    fn from(first: GraphNode) -> Self {
        Self { first, second: None }
    }
}

impl Candidates {
    fn rising(self) -> impl DoubleEndedIterator<Item = GraphNode> {
        std::iter::once(self.first).chain(self.second)
    }

    /// Those that can lead to this target.
    pub(super) fn to(self, target: GraphNode) -> Self {
        let mut possible = self.rising().filter(|source| leads_on(*source, target));
        match possible.next() {
            Some(first) => Self { first, second: possible.next() },
            None => self,
        }
    }
}

/// Whether an edge between them points forwards: features and errors lead to later layers only.
pub(super) fn leads_on(source: GraphNode, target: GraphNode) -> bool {
    match (source, target) {
        (
            GraphNode::Feature { layer, .. } | GraphNode::Error { layer, .. },
            GraphNode::Feature { layer: later, .. },
        ) => layer < later,
        _ => true,
    }
}

/// The source of each edge: circuit-tracer writes links by target and then by source, both in the order of nodes, so the first choice of
/// nodes that rise and the last one are the same wherever there is one choice only.
///
/// # Errors
/// The number of an edge that may come from two nodes.
pub(super) fn sources(edges: &[FileEdge]) -> Result<Vec<GraphNode>, usize> {
    let Some(open) = edges.iter().position(|edge| edge.sources.second.is_some()) else {
        return Ok(edges.iter().map(|edge| edge.sources.first).collect());
    };
    let first = rising(edges.iter(), |a, b| a > b, |candidates| candidates.rising().collect()).ok_or(open)?;
    let mut last =
        rising(edges.iter().rev(), |a, b| a < b, |candidates| candidates.rising().rev().collect()).ok_or(open)?;
    last.reverse();
    match first.iter().zip(&last).position(|(a, b)| a != b) {
        None => Ok(first),
        Some(open) => Err(open),
    }
}

type Key = (GraphNode, GraphNode);

/// For each edge in turn the first candidate that comes after the one chosen before; none where there is no such.
fn rising<'a>(
    edges: impl Iterator<Item = &'a FileEdge>,
    is_after: impl Fn(Key, Key) -> bool,
    candidates: impl Fn(Candidates) -> Vec<GraphNode>,
) -> Option<Vec<GraphNode>> {
    let mut before: Option<Key> = None;
    let mut chosen = Vec::new();
    for edge in edges {
        let fits = |source: &GraphNode| before.is_none_or(|before| is_after((edge.target, *source), before));
        let source = candidates(edge.sources).into_iter().find(fits)?;
        before = Some((edge.target, source));
        chosen.push(source);
    }
    Some(chosen)
}
