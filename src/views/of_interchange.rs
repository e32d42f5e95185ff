//! How interchanges are shown: a study as a table of its accuracies beside those of its controls, a sweep as lines over points.

use crate::error::Result;
use crate::interchange::{
    AlignBy, DasOptions, FittedAndHeldOut, Interchange, InterchangeOptions, InterchangeScore, InterchangeStudy,
    InterchangeSweep, Subspace,
};
use crate::views::figure::line;
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::Table;

impl View for InterchangeStudy {
    /// Accuracies on the pairs from which the subspace was found and on others, and the loss of each epoch where it was learnt.
    fn render(&self) -> Result<Rendered> {
        let columns = ["interchange", "fitted pairs", "held-out pairs", "loss"];
        let mut table = Table::new(columns).title(format!("Interchange at {}: {}", self.point, self.align));
        for (name, scores) in self.rows() {
            let of = |number: fn(&FittedAndHeldOut) -> f64| summary(scores, number);
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

/// One number, or the mean of several with the largest.
fn summary(scores: &[FittedAndHeldOut], number: fn(&FittedAndHeldOut) -> f64) -> String {
    let values: Vec<f64> = scores.iter().map(number).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    match values.len() {
        1 => format!("{mean:.3}"),
        _ => format!("{mean:.3} ({:.3})", values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
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

impl View for FittedAndHeldOut {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&self.to_string()))
    }
}

/// Values that are shown as the text they print.
macro_rules! as_text {
    ($($format:literal $view:ty),+ $(,)?) => {
        $(
            impl View for $view {
                fn render(&self) -> Result<Rendered> {
                    Ok(preformatted(&format!($format, self)))
                }
            }
        )+
    };
}

as_text!("{}" AlignBy, "{}" Interchange, "{}" InterchangeScore, "{}" Subspace, "{:#?}" DasOptions, "{:#?}" InterchangeOptions);
shown_with_own_display!(
    AlignBy,
    FittedAndHeldOut,
    Interchange,
    InterchangeScore,
    InterchangeStudy,
    InterchangeSweep,
    Subspace
);
shown!(DasOptions, InterchangeOptions);
