//! How probes are shown: a study as a table of its scores beside those of its controls, a sweep as heat maps of both.

use crate::error::Result;
use crate::probes::{Probe, ProbeMethod, ProbeOptions, ProbeScore, ProbeSplit, ProbeStudy, ProbeSweep, ProbeTarget};
use crate::views::figure::imshow_facets;
use crate::views::number::mean_and_largest;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown_as_text, shown_with_own_display};
use crate::views::table::{Cell, Table};

impl View for ProbeStudy {
    /// Its scores, and of each control the mean and the largest of its fits.
    fn render(&self) -> Result<Rendered> {
        let measures: Vec<&str> = self.test.measures().into_iter().map(|(name, _)| name).collect();
        let columns = ["examples", "fits"].into_iter().chain(measures.iter().copied()).chain(["loss"]);
        let mut table = Table::new(columns.collect::<Vec<_>>()).title(format!("Probe: {}", self.probe.method()));
        for (name, scores) in self.rows() {
            let of = |measure: &str| -> Vec<f64> {
                let all = scores.iter().flat_map(|score| score.measures().into_iter().chain([("loss", score.loss)]));
                all.filter(|(name, _)| *name == measure).map(|(_, value)| value).collect()
            };
            let cell = |measure: &&str| Cell::from(mean_and_largest(&of(measure)));
            let cells = measures.iter().chain(&["loss"]).map(cell);
            let first = [Cell::from(name), Cell::from(scores.len())];
            table = table.row(first.into_iter().chain(cells).collect::<Vec<_>>());
        }
        let mut note = format!("{}; of controls: the mean, and the largest in brackets", self.split);
        let width = self.probe.weights()?.dims()[0];
        let is_logistic = matches!(self.probe.method(), ProbeMethod::Logistic { .. });
        if is_logistic && width >= self.train.count {
            note += &format!("; with {width} coordinates any labels of {} examples can be fitted", self.train.count);
        }
        if self.not_fitted > 0 {
            note += &format!("; {} controls could not be fitted", self.not_fitted);
        }
        table.note(note).render()
    }
}

impl View for ProbeSweep {
    /// The scores of held-out examples by point and position, beside the means of both controls.
    fn render(&self) -> Result<Rendered> {
        imshow_facets(&self.shown()?).render()
    }
}

shown_with_own_display!(ProbeStudy, ProbeSweep);
shown_as_text! {
    "{}": Probe, ProbeMethod, ProbeScore, ProbeSplit;
    "{:#?}": ProbeOptions;
    "{:?}": ProbeTarget;
}
