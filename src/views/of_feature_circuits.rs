//! How circuits of features are shown: as tables of nodes.

use crate::error::Result;
use crate::feature_graphs::{FeatureCircuit, NodeRanking};
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::table::Table;

/// How many nodes a table lists.
const ROWS: usize = 20;

impl View for NodeRanking {
    /// The highest nodes, of the first prompt where each has a ranking.
    fn render(&self) -> Result<Rendered> {
        let nodes = self.nodes_of(0)?;
        let table = Table::new(["node", "score"]).title(self.to_string());
        let table = nodes.iter().take(ROWS).fold(table, |table, (node, score)| table.row((node.to_string(), *score)));
        table.note(format!("the highest {} of {} of prompt 0", ROWS.min(nodes.len()), nodes.len())).render()
    }
}

impl View for FeatureCircuit {
    /// Its nodes by layer and position, of the first prompt where each has its own.
    fn render(&self) -> Result<Rendered> {
        let nodes = self.nodes_of(0)?;
        let table = Table::new(["node"]).title(self.to_string());
        let table = nodes.iter().take(ROWS).fold(table, |table, node| table.row((node.to_string(),)));
        table.note(format!("{} of {} of prompt 0", ROWS.min(nodes.len()), nodes.len())).render()
    }
}

shown_with_own_display!(FeatureCircuit, NodeRanking);
