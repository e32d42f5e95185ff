//! How scores of edges by position and the schemas of spans are shown.

use ndarray::Axis;

use crate::circuits::{PositionScore, PositionScores, Spans};
use crate::error::Result;
use crate::labelled::{self, Labelled};
use crate::views::figure::imshow;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::Table;

/// How many scores are listed.
const LISTED: usize = 20;
/// How many nodes are drawn; more rows could not be read.
const DRAWN: usize = 40;

/// The `most` rows with the largest numbers, in the order in which they are.
fn strongest(nodes: &Labelled, most: usize) -> Result<Labelled> {
    let values = nodes.values();
    let size = |row: usize| values.index_axis(Axis(0), row).iter().fold(0f32, |size, value| size.max(value.abs()));
    let mut rows: Vec<usize> = (0..nodes.shape()[0]).collect();
    rows.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
    rows.truncate(most);
    rows.sort_unstable();
    let axes = nodes.axes();
    let labels = rows.iter().map(|&row| axes[0].labels[row].clone());
    let first = labelled::Axis::new(axes[0].name.clone(), labels);
    // A title is one line, and the method is in the note below.
    let title = match rows.len() < nodes.shape()[0] {
        true => format!("scores of edges out of the {} strongest of {} nodes", rows.len(), nodes.shape()[0]),
        false => "scores of edges out of each node".into(),
    };
    let values = values.select(Axis(0), &rows).iter().copied().collect();
    Labelled::new(title, vec![first, axes[1].clone()], values)
}

impl View for PositionScores {
    /// Nodes by position, each with the sum of its edges out, and a table of the strongest edges.
    fn render(&self) -> Result<Rendered> {
        let mut all = imshow(&strongest(&self.by_node(), DRAWN)?).render()?;
        let strongest = self.strongest(LISTED);
        let count = strongest.len();
        let table = strongest.into_iter().fold(Table::new(["edge", "from", "to", "score"]), |table, entry| {
            table.row((entry.edge.to_string(), entry.from, entry.to, entry.score))
        });
        let note = format!(
            "{}: the strongest {count} of {} scores; edges into keys and values go from the {axis} that is read to the \
             {axis} that attends to it, all others stay where they are",
            self.method(),
            self.count(),
            axis = self.axis()
        );
        all.append(&table.note(note).render()?);
        Ok(all)
    }
}

impl View for PositionScore {
    fn render(&self) -> Result<Rendered> {
        let row = (self.edge.to_string(), self.from.clone(), self.to.clone(), self.score);
        Table::new(["edge", "from", "to", "score"]).row(row).render()
    }
}

impl View for Spans {
    /// Where each span is in each prompt.
    fn render(&self) -> Result<Rendered> {
        let names = self.names();
        let columns = ["prompt".to_string()].into_iter().chain(names.iter().cloned());
        let prompts = self.prompts();
        let table = prompts.iter().enumerate().fold(Table::new(columns), |table, (prompt, places)| {
            let places = (0..names.len()).map(|span| places.get(span).map_or("-".into(), ToString::to_string));
            table.row([prompt.to_string()].into_iter().chain(places).collect::<Vec<_>>())
        });
        let note = match prompts.len() {
            0 => "no prompt yet: .prompt(..) says where the spans are",
            1 => "a single prompt is that of all prompts",
            _ => "positions count from a prompt's first token; all others are in the span \"other\"",
        };
        table.note(note).render()
    }
}

shown!(PositionScores, Spans);
shown_with_own_display!(PositionScore);
