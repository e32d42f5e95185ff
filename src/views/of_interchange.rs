//! How interchanges are shown: a study as a table of its accuracies beside those of its controls, a sweep as lines over points.

use crate::error::Result;
use crate::interchange::{
    AlignBy, DasOptions, FittedAndHeldOut, Interchange, InterchangeOptions, InterchangeScore, InterchangeStudy,
    InterchangeSweep, Subspace,
};
use crate::views::figure::line;
use crate::views::number::mean_and_largest;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown_as_text, shown_with_own_display};
use crate::views::table::Table;

impl View for InterchangeStudy {
    /// Accuracies on the pairs from which the subspace was found and on others, and the loss of each epoch where it was learnt.
    fn render(&self) -> Result<Rendered> {
        let columns = ["interchange", "fitted pairs", "held-out pairs", "loss"];
        let mut table = Table::new(columns).title(format!("Interchange at {}: {}", self.point, self.align));
        for (name, scores) in self.rows() {
            let of = |number: fn(&FittedAndHeldOut) -> f64| {
                mean_and_largest(&scores.iter().map(number).collect::<Vec<f64>>())
            };
            let [fitted, held_out] = [of(|row| row.fitted.accuracy()), of(|row| row.held_out.accuracy())];
            table = table.row((name, fitted, held_out, of(|row| row.held_out.loss)));
        }
        let (fitted, held_out) = (self.aligned.fitted.count(), self.aligned.held_out.count());
        let note = format!(
            "accuracies, and the mean loss of held-out pairs in nats; {fitted} fitted and {held_out} held-out pairs; of several random \
             subspaces the mean, and the largest in brackets"
        );
        let mut all = table.note(note).render()?;
        if self.losses.len() > 1 {
            let losses: Vec<f32> = self.losses.iter().map(|loss| *loss as f32).collect();
            all.append(&line(losses).title("mean loss of fitted pairs").x_label("epoch").y_label("nats").render()?);
        }
        Ok(all)
    }
}

impl View for InterchangeSweep {
    /// Accuracies on held-out pairs by point, those of the controls beside that of the aligned subspace.
    fn render(&self) -> Result<Rendered> {
        let accuracy = self.accuracy()?;
        let points = accuracy.labels("point")?;
        line(&accuracy).x_ticks(points).y_label("accuracy").render()
    }
}

shown_with_own_display!(InterchangeStudy, InterchangeSweep);
shown_as_text! {
    "{}": AlignBy, FittedAndHeldOut, Interchange, InterchangeScore, Subspace;
    "{:#?}": DasOptions, InterchangeOptions;
}
