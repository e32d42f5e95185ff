//! How attribution graphs are shown: what has the most influence, and what comes into the targets.

use crate::error::Result;
use crate::feature_graphs::{AttributionGraph, Influence};
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::Table;

/// How many nodes and edges a table lists.
const ROWS: usize = 20;

impl View for AttributionGraph {
    /// The sources with the most influence, the edges that carry the most, and how much errors have.
    fn render(&self) -> Result<Rendered> {
        let influence = self.influence();
        let mut nodes = Table::new(["node", "token", "activation", "influence"]).title(self.to_string());
        for (node, share) in influence.ranked().into_iter().take(ROWS) {
            let activation = self.activation(node).map_or(String::new(), |activation| format!("{activation:.3}"));
            nodes = nodes.row((node.to_string(), self.token_of(node), activation, share));
        }
        let scores = format!(
            "replacement score {:.3}, completeness {:.3} of features and targets",
            self.replacement_score(),
            self.completeness_of_features()
        );
        // A graph that another program wrote has no values.
        let note = match self.residual() {
            missed if missed.is_nan() => scores,
            missed => format!("{scores}; the edges that are here miss a node's value by at most {missed:.1e}"),
        };
        let mut all = nodes.note(note).render()?;
        let mut edges = Table::new(["from", "to", "weight"]).title("The edges that carry the most influence");
        for edge in self.top_edges(ROWS) {
            edges = edges.row((edge.source.to_string(), self.name_of(edge.target), edge.weight));
        }
        all.append(&edges.render()?);
        Ok(all)
    }
}

impl View for Influence {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["node", "influence"]).title("Influence on the targets");
        for (node, share) in self.ranked().into_iter().take(ROWS) {
            table = table.row((node.to_string(), share));
        }
        table.render()
    }
}

shown_with_own_display!(AttributionGraph);
shown!(Influence);
