//! How statistics over prompts are shown: tables with intervals, heat maps in which cells whose interval holds 0 are grey.

use crate::cache::Sink;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::metrics::{BoundMetrics, Metrics};
use crate::statistics::{Alternative, Center, Statistics, StatisticsOptions};
use crate::views::figure::imshow;
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_as_text};
use crate::views::table::{Cell, Table};

/// How many entries of statistics with three axes or more are listed.
const ENTRIES: usize = 10;

impl View for Statistics {
    /// Two axes are a heat map, in which cells whose interval holds 0 are grey; one is a table. Of more axes, those numbers are listed
    /// that are largest, of either sign, among those whose interval leaves out 0; metrics, which have units of their own, come one
    /// after the other.
    fn render(&self) -> Result<Rendered> {
        let names = self.estimate.labels("metric").unwrap_or_default();
        if !names.is_empty() && self.estimate.shape().len() > 1 {
            let mut all = Rendered::default();
            for (index, name) in names.iter().enumerate() {
                let mut one = self.select("metric", index as isize)?;
                one.estimate.title = one.estimate.title.replacen(BoundMetrics::LIST, name, 1);
                all.append(&one.render()?);
            }
            return Ok(all);
        }
        let places: Vec<Vec<usize>> = self.estimate.values().indexed_iter().map(|(at, _)| indices(&at)).collect();
        match self.estimate.shape()[..] {
            [] | [_] => rows(self, &places).note(self.note(None)).render(),
            [_, _] if !places.is_empty() => {
                let mut all = imshow(self).render()?;
                let apart = self.apart(places);
                if !apart.is_empty() {
                    all.append(&rows(self, &apart).note(self.note(Some(apart.len()))).render()?);
                }
                Ok(all)
            }
            _ => {
                let apart = self.apart(places);
                rows(self, &apart).note(self.note(Some(apart.len()))).render()
            }
        }
    }
}

fn indices(at: &ndarray::IxDyn) -> Vec<usize> {
    (0..ndarray::Dimension::ndim(at)).map(|axis| at[axis]).collect()
}

impl Statistics {
    /// The places with the largest estimates of either sign whose interval leaves out 0.
    fn apart(&self, mut places: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
        let (holds, values) = (self.holds_zero(), self.estimate.values());
        places.retain(|place| !holds[&place[..]]);
        places.sort_by(|a, b| values[&b[..]].abs().total_cmp(&values[&a[..]].abs()));
        places.truncate(ENTRIES);
        places
    }

    fn note(&self, listed: Option<usize>) -> String {
        let about = self.about();
        match listed {
            Some(count) => {
                let values = self.estimate.values().len();
                format!("the {count} largest of {values} values, of those whose interval leaves out 0; {about}")
            }
            None => about,
        }
    }
}

/// A row for each of these places.
fn rows(found: &Statistics, places: &[Vec<usize>]) -> Table {
    let axes = found.estimate.axes();
    let p = found.p().ok();
    let names = axes.iter().map(|axis| axis.name.clone());
    let columns = ["estimate", "standard error", "interval", "p", "of"].map(String::from);
    let columns = columns.into_iter().filter(|name| name != "p" || p.is_some());
    let table = Table::new(names.chain(columns)).title(&found.estimate.title);
    places.iter().fold(table, |table, place| {
        let at = |part: &Labelled| f64::from(part.values()[&place[..]]);
        let labels = axes.iter().zip(place).map(|(axis, &at)| Cell::from(&axis.labels[at]));
        let ends = format!("{} to {}", number(at(&found.low)), number(at(&found.high)));
        let numbers = [Cell::from(at(&found.estimate)), Cell::from(at(&found.standard_error)), Cell::from(ends)];
        let p = p.as_ref().map(|p| Cell::from(at(p)));
        let count = Cell::from(at(&found.count));
        table.row(labels.chain(numbers).chain(p).chain([count]).collect::<Vec<_>>())
    })
}

shown!(Statistics);
shown_as_text! {
    "{}": StatisticsOptions;
    "{:?}": Alternative, Center, Metrics, Sink;
}
