//! How groups of a graph's nodes, and the graph of groups, are shown: tables.

use crate::error::Result;
use crate::feature_graphs::{GraphNode, GroupGraph, Supernodes};
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::table::Table;

/// How many nodes and edges a table lists.
const ROWS: usize = 20;

/// How many members of a group a cell of a table names.
const NAMED: usize = 6;

/// Some nodes by name; how many more there are.
fn members(nodes: &[GraphNode]) -> String {
    let mut names: Vec<String> = nodes.iter().take(NAMED).map(GraphNode::to_string).collect();
    if nodes.len() > NAMED {
        names.push(format!("{} more", nodes.len() - NAMED));
    }
    names.join(", ")
}

impl View for Supernodes {
    /// The groups with their members, and the pinned nodes with labels and tokens.
    fn render(&self) -> Result<Rendered> {
        let mut groups = Table::new(["group", "members"]).title(self.to_string());
        for group in self.groups() {
            groups = groups.row((group.name, members(&group.nodes)));
        }
        let mut all = groups.render()?;
        let (graph, labels) = (self.graph(), self.labels());
        let mut nodes = self.pinned();
        nodes.extend(labels.keys().filter(|node| !self.pinned().contains(node)));
        let mut table = Table::new(["node", "token", "label", "group"]).title("Pinned and labelled nodes");
        for &node in nodes.iter().take(ROWS) {
            let label = labels.get(&node).cloned().unwrap_or_default();
            let group = self.group_of(node).unwrap_or_default();
            table = table.row((graph.name_of(node), graph.token_of(node), label, group));
        }
        if nodes.len() > ROWS {
            table = table.note(format!("{} of {} nodes", ROWS, nodes.len()));
        }
        all.append(&table.render()?);
        Ok(all)
    }
}

impl View for GroupGraph {
    /// Its nodes, and the edges between them that carry the most influence.
    fn render(&self) -> Result<Rendered> {
        let mut nodes = Table::new(["node", "members", "value", "influence"]).title(self.to_string());
        for node in self.nodes().into_iter().take(ROWS) {
            let value = self.value(node.clone()).map_or(String::new(), |value| format!("{value:.3}"));
            let influence = self.influence(node.clone())?;
            nodes = nodes.row((self.name_of(node.clone())?, members(&self.members(node)?), value, influence));
        }
        let mut all = nodes.render()?;
        let mut edges = Table::new(["from", "to", "weight", "share of what comes in", "influence"])
            .title("The edges that carry the most influence");
        for edge in self.edges().into_iter().take(ROWS) {
            let ends = (self.name_of(edge.source)?, self.name_of(edge.target)?);
            edges = edges.row((ends.0, ends.1, edge.weight, edge.share, edge.influence));
        }
        all.append(&edges.render()?);
        Ok(all)
    }
}

shown_with_own_display!(Supernodes);
shown_with_own_display!(GroupGraph);
