//! How training shows itself: a record as its curves, a schedule as its line.

use crate::error::Result;
use crate::train::{Schedule, TrainingLog};
use crate::views::figure::line;
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::table::Table;

/// The most points of a curve that are drawn; of more, means of neighbours.
const DRAWN: usize = 300;

/// A curve of at most [`DRAWN`] points: of more, the means of neighbours at the last step of each.
fn thinned(values: &[(u64, f64)]) -> (Vec<u64>, Vec<f64>) {
    let together = values.len().div_ceil(DRAWN).max(1);
    let mean = |part: &[(u64, f64)]| {
        let sum: f64 = part.iter().map(|(_, value)| value).sum();
        (part.last().map_or(0, |(step, _)| *step), sum / part.len() as f64)
    };
    values.chunks(together).map(mean).unzip()
}

impl View for TrainingLog {
    /// A curve for each series, which have scales of their own, and a table of where they began and ended.
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["series", "first", "least", "last", "step"]).title(self.title());
        let mut curves = Vec::new();
        for name in self.names() {
            let values = self.series(&name);
            let (Some((_, first)), Some((step, last))) = (values.first(), values.last()) else { continue };
            let least = values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
            table = table.row((&name, number(*first), number(least), number(*last), *step as usize));
            let (steps, means) = thinned(&values);
            if means.len() > 1 {
                curves.push(
                    line(means)
                        .title(format!("{}: {name}", self.title()))
                        .x_label("step")
                        .y_label(&name)
                        .x_ticks(steps),
                );
            }
        }
        let mut all = table.render()?;
        for curve in curves {
            all.append(&curve.render()?);
        }
        Ok(all)
    }
}

shown_with_own_display!(TrainingLog);

impl View for Schedule {
    /// The rate by step.
    fn render(&self) -> Result<Rendered> {
        let points: Vec<(u64, f64)> =
            (0..DRAWN as u64).map(|part| part * self.steps / DRAWN as u64).map(|step| (step, self.at(step))).collect();
        let (steps, rates): (Vec<u64>, Vec<f64>) = points.into_iter().unzip();
        line(rates).title(self.to_string()).x_label("step").y_label("learning rate").x_ticks(steps).render()
    }
}

shown_with_own_display!(Schedule);
