//! How chained graphs are shown: what moves the metric most, through what, and what was left out.

use crate::error::Result;
use crate::feature_graphs::{ChainedGraph, GraphNode};
use crate::labelled::Labelled;
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::table::Table;

/// How many nodes and edges a table lists.
const ROWS: usize = 20;

impl View for ChainedGraph {
    /// The nodes that move the metric most, the edges that do, and how much goes through which kind.
    fn render(&self) -> Result<Rendered> {
        let sources = self.nodes().into_iter().filter(|node| !matches!(node.node, GraphNode::Target { .. }));
        let mut nodes =
            Table::new(["node", "token", "change", "score", "left out of it", "prompts"]).title(self.to_string());
        for node in sources.take(ROWS) {
            nodes = nodes.row((
                node.node.to_string(),
                self.token_of(node.node),
                node.change,
                node.score(),
                node.left_out(),
                node.prompts,
            ));
        }
        let corrupted =
            self.corrupted().map_or(String::new(), |corrupted| format!(", of corrupted prompts {corrupted:.3}"));
        let note = format!("the metric is {:.3}{corrupted}; {}", self.clean(), self.left_out());
        let mut all = nodes.note(note).render()?;
        let mut edges =
            Table::new(["from", "to", "through", "local", "metric"]).title("The edges that move the metric most");
        for edge in self.edges().into_iter().take(ROWS) {
            let via = edge.via.to_string();
            edges = edges.row((edge.source.to_string(), self.name_of(edge.target), via, edge.local, edge.metric));
        }
        all.append(&edges.render()?);
        all.append(&kinds(self, &self.by_kind()?).render()?);
        Ok(all)
    }
}

/// How many edges there are of each kind, and how much they move the metric.
fn kinds(graph: &ChainedGraph, sums: &Labelled) -> Table {
    let counts = graph.edge_counts();
    let counts = [counts.ov, counts.q, counts.k, counts.mlp, counts.direct];
    let table = Table::new(["through", "edges", "sum by magnitude"]).title("Edges by kind");
    let labels = sums.axes()[0].labels.clone();
    let rows = labels.into_iter().zip(counts).zip(sums.values());
    rows.fold(table, |table, ((kind, count), sum)| table.row((kind, count, sum)))
}

shown_with_own_display!(ChainedGraph);
