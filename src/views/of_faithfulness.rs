//! How the faithfulness of circuits is shown, with random circuits and resampled ones beside it.

use crate::circuits::{FaithfulnessCurve, FaithfulnessCurves, RandomCurves, Stability};
use crate::error::Result;
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::views::figure::line;
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::{Cell, Table};

impl View for FaithfulnessCurve {
    /// The curve with random circuits beside it, where there are any, and its numbers.
    fn render(&self) -> Result<Rendered> {
        let unit = self.unit.to_string();
        let mut lines = vec![("circuit".to_string(), self.faithfulness.clone())];
        if let Some(random) = &self.random {
            lines.push((format!("random, mean of {}", random.draws()), random.mean()));
            lines.push(("random, highest".into(), random.highest()));
        }
        let values = lines.iter().flat_map(|(_, values)| values.clone()).collect();
        let names = Axis::new("circuits", lines.iter().map(|(name, _)| name.clone()));
        let sizes = Axis::new("size", self.sizes.iter().map(usize::to_string));
        let figure = match lines.len() {
            1 => line(self.faithfulness.clone()),
            _ => line(&Labelled::new("faithfulness", vec![names, sizes], values)?),
        };
        let figure = figure
            .title("Faithfulness of circuits")
            .x_label(format!("{unit} in the circuit, of {}", self.of))
            .y_label("faithfulness")
            .x_values(self.sizes.iter().map(|&size| size as f64));
        let mut all = figure.render()?;
        all.append(&self.table(&unit).render()?);
        Ok(all)
    }
}

impl FaithfulnessCurve {
    fn table(&self, unit: &str) -> Table {
        let mut columns = vec![("metric", self.metric.clone()), ("faithfulness", self.faithfulness.clone())];
        let (cpr, cmd) = (number(f64::from(self.cpr())), number(f64::from(self.cmd())));
        let mut note =
            format!("area under the curve (CPR) {cpr}, between it and 1 (CMD) {cmd}, over the share of {unit}");
        if let (Some(random), Some(p)) = (&self.random, self.p_values()) {
            columns.extend([("random, mean", random.mean()), ("random, highest", random.highest()), ("p", p)]);
            note += &format!(
                "; p is the share of {} random circuits of that size, grown from the logits, that are as faithful, the \
                 circuit counted among them",
                random.draws()
            );
        }
        if let Some(stability) = &self.stability {
            columns.extend([("Jaccard", stability.mean()), ("Jaccard by chance", stability.by_chance())]);
            note += &format!(
                "; Jaccard is the mean overlap of circuits of {} resamples of the prompts",
                stability.resamples
            );
        }
        let names = [unit].into_iter().chain(columns.iter().map(|(name, _)| *name));
        let rows = self.sizes.iter().enumerate().map(|(row, size)| {
            [Cell::from(*size)]
                .into_iter()
                .chain(columns.iter().map(|(_, values)| values[row].into()))
                .collect::<Vec<_>>()
        });
        rows.fold(Table::new(names), |table, row| table.row(row)).note(note)
    }
}

impl View for FaithfulnessCurves {
    /// The curves on one axis, and what each is of.
    fn render(&self) -> Result<Rendered> {
        let figure = line(&self.values()?)
            .title("Faithfulness of circuits")
            .x_values(self.sizes())
            .x_label(self.axis())
            .y_label("faithfulness");
        let mut all = figure.render()?;
        let curves = self.curves();
        let (has_random, has_stability) = (
            curves.iter().any(|(_, curve)| curve.random.is_some()),
            curves.iter().any(|(_, curve)| curve.stability.is_some()),
        );
        let mut columns: Vec<&str> = vec!["circuits", "of", "in all", "CPR", "CMD"];
        columns.extend(has_random.then_some("CPR, random"));
        columns.extend(has_stability.then_some("Jaccard"));
        let mut table = Table::new(columns);
        for (name, curve) in &curves {
            let mut row: Vec<Cell> = vec![name.as_str().into(), curve.unit.to_string().into(), curve.of.into()];
            row.extend([Cell::from(curve.cpr()), Cell::from(curve.cmd())]);
            let random = curve.random.as_ref().map(RandomCurves::cpr);
            let stability = curve.stability.as_ref().map(|stability| mean(&stability.mean()));
            row.extend(has_random.then(|| or_nothing(random)));
            row.extend(has_stability.then(|| or_nothing(stability)));
            table = table.row(row);
        }
        let mut note =
            "each curve is 0 at its own empty circuit and 1 at the full one; between the sizes that were run it is a \
                        straight line"
                .to_string();
        if has_random {
            note += "; random circuits are grown from the logits, and their curve is the mean of the draws";
        }
        if has_stability {
            note += "; Jaccard is the mean overlap of circuits of resampled prompts, over all sizes";
        }
        all.append(&table.note(note).render()?);
        Ok(all)
    }
}

fn or_nothing(value: Option<f32>) -> Cell {
    value.map_or(Cell::Text("-".into()), Cell::from)
}

impl View for RandomCurves {
    /// The mean of each size with the lowest and the highest.
    fn render(&self) -> Result<Rendered> {
        let lines = [("mean", self.mean()), ("lowest", self.lowest()), ("highest", self.highest())];
        let names = Axis::new("of the draws", lines.iter().map(|(name, _)| *name));
        let sizes = Axis::new("size", self.sizes.iter().map(usize::to_string));
        let values = lines.iter().flat_map(|(_, values)| values.clone()).collect();
        let unit = self.unit.to_string();
        let figure = line(&Labelled::new("faithfulness", vec![names, sizes], values)?)
            .title(format!("Faithfulness of random circuits, {} draws of each size", self.draws()))
            .x_label(format!("{unit} in the circuit, of {}", self.of))
            .y_label("faithfulness")
            .x_values(self.sizes.iter().map(|&size| size as f64));
        let mut all = figure.render()?;
        let table = self
            .sizes
            .iter()
            .enumerate()
            .fold(Table::new([unit.as_str(), "mean", "lowest", "highest"]), |table, (row, &size)| {
                table.row((size, lines[0].1[row], lines[1].1[row], lines[2].1[row]))
            });
        all.append(&table.render()?);
        Ok(all)
    }
}

impl View for Stability {
    /// The overlap of each size, and what chance would give.
    fn render(&self) -> Result<Rendered> {
        let lines = [("resampled prompts", self.mean()), ("by chance", self.by_chance())];
        let names = Axis::new("circuits", lines.iter().map(|(name, _)| *name));
        let sizes = Axis::new("size", self.sizes.iter().map(usize::to_string));
        let values = lines.iter().flat_map(|(_, values)| values.clone()).collect();
        let figure = line(&Labelled::new("Jaccard index", vec![names, sizes], values)?)
            .title(format!("Overlap of circuits of {} resamples of the prompts", self.resamples))
            .x_label(format!("edges in the circuit, of {}", self.of))
            .y_label("Jaccard index, mean over pairs")
            .x_values(self.sizes.iter().map(|&size| size as f64));
        let mut all = figure.render()?;
        let always = self.frequencies().into_iter().map(|circuit| {
            let edges = circuit.edges();
            edges.iter().filter(|edge| circuit.score(**edge).is_ok_and(|share| share >= 1.0)).count()
        });
        let table = self.sizes.iter().zip(always).enumerate().fold(
            Table::new(["edges", "Jaccard", "by chance", "in every resample"]),
            |table, (row, (&size, always))| table.row((size, lines[0].1[row], lines[1].1[row], always)),
        );
        let note =
            "in every resample: how many edges of the circuit of all prompts the circuits of all resamples have too";
        all.append(&table.note(note).render()?);
        Ok(all)
    }
}

shown!(FaithfulnessCurve, RandomCurves, Stability);
shown_with_own_display!(FaithfulnessCurves);
