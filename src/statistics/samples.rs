//! The numbers of a result along one axis, one list for each place of the others.

use ndarray::{ArrayD, Axis as NdAxis, IxDyn};

use super::Statistics;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};

pub(super) struct Samples {
    axes: Vec<Axis>,
    cells: Vec<Vec<f64>>,
}

impl Samples {
    /// The numbers that are `there`.
    ///
    /// # Errors
    /// An axis that does not exist or has fewer than `least` entries; numbers that are not finite.
    pub fn of(values: &Labelled, axis: &str, there: Option<&ArrayD<bool>>, least: usize) -> Result<Self> {
        let count = values.labels(axis)?.len();
        let (title, all) = (&values.title, values.values());
        if count < least {
            return Err(Error::argument(format!(
                "the axis {axis:?} of {title:?} has {count} entries, but statistics need {least} or more: give the \
                 experiment more prompts."
            )));
        }
        let axes = values.axes();
        let at = axes.iter().position(|own| own.name == axis).expect("its labels were found");
        let is_there = |place: &IxDyn| there.is_none_or(|there| there[place]);
        let odd = all.indexed_iter().find(|(place, value)| is_there(place) && !value.is_finite());
        if let Some((place, value)) = odd {
            let labels: Vec<String> =
                axes.iter().enumerate().map(|(i, axis)| format!("{} {}", axis.name, axis.labels[place[i]])).collect();
            return Err(Error::argument(format!(
                "{title:?} is {value} at {}, and statistics are of finite numbers: leave that entry out, or find out \
                 why it is not finite.",
                labels.join(", ")
            )));
        }
        let flags = there.map(|there| there.lanes(NdAxis(at)).into_iter().collect::<Vec<_>>());
        let cells = all.lanes(NdAxis(at)).into_iter().enumerate().map(|(i, lane)| {
            let of_lane = |&(prompt, _): &(usize, &f32)| flags.as_ref().is_none_or(|flags| flags[i][prompt]);
            lane.iter().enumerate().filter(of_lane).map(|(_, &value)| f64::from(value)).collect()
        });
        let cells = cells.collect();
        let axes = axes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, axis)| axis.clone()).collect();
        Ok(Self { axes, cells })
    }

    pub fn cells(&self) -> &[Vec<f64>] {
        &self.cells
    }

    /// Room for what is found of each cell; `center` says what is estimated.
    pub fn found(&self, center: &'static str) -> Found {
        let counts = self.cells.iter().map(|cell| cell.len() as f32).collect();
        Found { axes: self.axes.clone(), center, counts, columns: Default::default() }
    }
}

/// What was found of each cell.
pub(super) struct Found {
    axes: Vec<Axis>,
    center: &'static str,
    counts: Vec<f32>,
    /// Estimate, standard error, low, high, p.
    columns: [Vec<f32>; 5],
}

impl Found {
    pub fn fill(&mut self, rows: &[[f64; 5]]) {
        for (i, column) in self.columns.iter_mut().enumerate() {
            *column = rows.iter().map(|row| row[i] as f32).collect();
        }
    }

    pub fn statistics(self, of: &Labelled, about: String, has_p: bool) -> Result<Statistics> {
        let Self { axes, center, counts, columns: [estimate, error, low, high, p] } = self;
        let labelled = |what: &str, values| Labelled::new(format!("{what} {}", of.title), axes.clone(), values);
        Ok(Statistics {
            estimate: labelled(&format!("{center} of the"), estimate)?,
            standard_error: labelled("standard error of the", error)?,
            low: labelled("lower end of the interval of the", low)?,
            high: labelled("upper end of the interval of the", high)?,
            count: labelled("entries of the", counts)?,
            p: has_p.then(|| labelled("p of the", p)).transpose()?,
            about,
        })
    }
}
