//! What training records: loss, L0, unexplained variance, dead features, by step.

use std::collections::BTreeMap;
use std::fmt;

use crate::visible::visible;

/// Numbers by step, in named series. Cheap enough to record each step.
///
/// evcxr shows figures when a cell is done, but lines of progress at once: give [`TrainingLog::line`] to
/// [`Progress::saying`](crate::progress::Progress::saying) to follow a training, and show the curves at the end with `log.show()`.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut log = TrainingLog::new("a small autoencoder");
/// for step in 0..3 {
///     log.add(step, "loss", 1. / (step + 1) as f64);
/// }
/// log.add(2, "L0", 16.);
/// assert_eq!(log.last("loss"), Some(1. / 3.));
/// assert_eq!(log.series("L0"), [(2, 16.)]);
/// assert_eq!(log.line(), "L0 16.00, loss 0.3333");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingLog {
    pub(super) title: String,
    pub(super) series: BTreeMap<String, Vec<(u64, f64)>>,
}

impl TrainingLog {
    /// An empty record of what is trained.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), series: BTreeMap::new() }
    }

    /// Records a number of a series. A step that the series has already is recorded anew, and what it had of later steps is
    /// forgotten: training went on from a checkpoint.
    pub fn add(&mut self, step: u64, series: &str, value: f64) {
        let values = self.series.entry(series.to_string()).or_default();
        while values.last().is_some_and(|(last, _)| *last >= step) {
            values.pop();
        }
        values.push((step, value));
    }

    /// What is trained.
    pub fn title(&self) -> String {
        self.title.clone()
    }

    /// The names of the series.
    pub fn names(&self) -> Vec<String> {
        self.series.keys().cloned().collect()
    }

    /// The numbers of a series with their steps; nothing where there is no such series.
    pub fn series(&self, name: &str) -> Vec<(u64, f64)> {
        self.series.get(name).cloned().unwrap_or_default()
    }

    /// The last number of a series.
    pub fn last(&self, name: &str) -> Option<f64> {
        Some(self.series.get(name)?.last()?.1)
    }

    /// The mean of the last `count` numbers of a series: of a loss, less noise than its last number.
    pub fn recent(&self, name: &str, count: usize) -> Option<f64> {
        let values = self.series.get(name)?;
        let recent = &values[values.len().saturating_sub(count.max(1))..];
        (!recent.is_empty()).then(|| recent.iter().map(|(_, value)| value).sum::<f64>() / recent.len() as f64)
    }

    /// The last number of each series in one line, to be printed while training goes on.
    pub fn line(&self) -> String {
        let one = |(name, values): (&String, &Vec<(u64, f64)>)| {
            Some(format!("{} {}", visible(name), short(values.last()?.1)))
        };
        self.series.iter().filter_map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Four significant digits or so.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000. => format!("{value:.0}"),
        size if size >= 10. => format!("{value:.2}"),
        size if size >= 1e-3 || value == 0. => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

impl fmt::Display for TrainingLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.title))?;
        for (name, values) in &self.series {
            let (Some((first, from)), Some((last, to))) = (values.first(), values.last()) else { continue };
            let (name, from, to) = (visible(name), short(*from), short(*to));
            write!(f, "\n{name}: {from} at step {first}, {to} at step {last}")?;
        }
        Ok(())
    }
}
