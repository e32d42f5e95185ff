//! How edits of features and what graphs expect of them are shown.

use crate::error::Result;
use crate::feature_graphs::{FeatureEditRun, GraphChange};
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::table::Table;

/// How many features a table lists.
const ROWS: usize = 20;

impl View for FeatureEditRun {
    /// The edits, the metric of each prompt before and after, and which activations were kept.
    fn render(&self) -> Result<Rendered> {
        let Ok(metric) = self.metric() else {
            let table = Table::new(["logits", "activations kept"]).title(self.to_string());
            return table.row((format!("{:?}", self.logits().dims()), self.before().len())).render();
        };
        let mut table = Table::new(["prompt", "clean", "edited", "lower by"]).title(self.to_string());
        let values = metric.values();
        for prompt in 0..metric.shape()[1] {
            let (clean, edited) = (values[[0, prompt]], values[[1, prompt]]);
            table = table.row((prompt.to_string(), clean, edited, clean - edited));
        }
        table.note(format!("activations kept of each run: {}", self.before().len())).render()
    }
}

impl View for GraphChange {
    /// By how much targets move, then the features that move most.
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["node", "change"]).title(self.to_string());
        let targets = self.targets()?;
        for (name, change) in targets.labels("target")?.into_iter().zip(targets.values()) {
            table = table.row((name, change));
        }
        for (node, change) in self.features(ROWS) {
            table = table.row((node.to_string(), change));
        }
        table.render()
    }
}

shown_with_own_display!(FeatureEditRun, GraphChange);
