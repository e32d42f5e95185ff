//! How gradients and attributions are shown.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::experiment::{Comparison, Effect, Miss};
use crate::gradients::{AttentionAttribution, Attribution, AttributionOptions, IntegratedGradients};
use crate::hooks::{Gradients, Taps};
use crate::views::figure::{imshow_facets, scatter};
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::Table;

impl View for Taps {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["watched point"]).title(format!("{} watched points", self.points().len()));
        let table = self.points().iter().fold(table, |table, point| table.row((point.to_string(),)));
        table.note("taps.gradients(&number) gives the gradients of a number made of the run's results").render()
    }
}

impl View for Gradients {
    /// Each point with the norm of its gradient, and the first-order effect of setting the activation to zero.
    fn render(&self) -> Result<Rendered> {
        let columns = ["hook point", "shape", "length of the gradient", "activation \u{b7} gradient"];
        let mut table = Table::new(columns).title(format!("Gradients at {} points", self.points().len()));
        for (point, activation, gradient) in self.iter() {
            let length = total(&gradient.to_dtype(DType::F32)?.sqr()?)?.sqrt();
            let product = total(&(activation * gradient)?)?;
            table = table.row((point.to_string(), format!("{:?}", gradient.dims()), length, product));
        }
        for point in self.zero_by_structure() {
            table = table.row((point.to_string(), "", "zero by structure", ""));
        }
        table.render()
    }
}

impl View for Attribution {
    fn render(&self) -> Result<Rendered> {
        let mut all = self.gradients().render()?;
        let note = "sweep(point, axes) gives the estimates of patching";
        all.append(&Table::new(["estimates"]).row((format!("{self:?}"),)).note(note).render()?);
        Ok(all)
    }
}

impl View for AttributionOptions {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&format!("{self:?}")))
    }
}

impl View for Effect {
    /// The numbers, whose title names the convention.
    fn render(&self) -> Result<Rendered> {
        self.values.render()
    }
}

impl View for Comparison {
    /// Estimates against the truth as points, the correlations, and the worst misses.
    fn render(&self) -> Result<Rendered> {
        let points = scatter(&self.truth, &self.estimate);
        // Titles say method, point and convention, which is more than fits along an axis.
        let mut all = points.x_label("truth").y_label("estimate").diagonal().render()?;
        let facts = Table::new(["", ""])
            .row(("truth", &self.truth.title))
            .row(("estimate", &self.estimate.title))
            .row(("Pearson's correlation", self.pearson))
            .row(("Spearman's rank correlation", self.spearman))
            .row(("mean miss", self.mean_miss))
            .row(("sites", self.truth.values().len()));
        all.append(&facts.render()?);
        all.append(&Miss::render_list(&self.worst)?);
        Ok(all)
    }
}

impl View for Miss {
    fn render(&self) -> Result<Rendered> {
        Self::render_list(std::slice::from_ref(self))
    }

    fn render_list(list: &[Self]) -> Result<Rendered> {
        let table = Table::new(["site", "truth", "estimate", "miss"]).title("the worst misses");
        let row = |table: Table, miss: &Self| {
            table.row((miss.labels.join(", "), miss.truth, miss.estimate, miss.estimate - miss.truth))
        };
        list.iter().fold(table, row).render()
    }
}

impl View for IntegratedGradients {
    /// What each point's attributions should sum to and how far they are from it, as means over prompts.
    fn render(&self) -> Result<Rendered> {
        let columns = ["point", "effect", "completeness error", "largest of a prompt"];
        let table = Table::new(columns)
            .title(format!("Integrated gradients of {}: {} with {} steps", self.metric, self.rule.0, self.rule.1))
            .note(
                "effect: the metric minus that with the point at its baseline; attributions sum to it up to the error",
            );
        let (effect, error) = (self.effect.mean_over("prompt")?, self.completeness_error.mean_over("prompt")?);
        let (points, all) = (self.effect.labels("point")?, self.completeness_error.values());
        let rows = points.into_iter().zip(effect.values()).zip(error.values()).enumerate();
        rows.fold(table, |table, (i, ((point, effect), error))| {
            let of_prompts = all.index_axis(ndarray::Axis(0), i);
            let largest = of_prompts.iter().fold(0f32, |largest, error| largest.max(error.abs()));
            table.row((point, effect, error, largest))
        })
        .render()
    }
}

impl View for AttentionAttribution {
    /// Heads ranked by their contribution, and the maps of the first four.
    fn render(&self) -> Result<Rendered> {
        let mut all = self.heads.render()?;
        all.append(&imshow_facets(&self.top(4)?).render()?);
        Ok(all)
    }
}

/// The sum of all numbers; those of masked scores, infinity times zero, count as zero.
fn total(x: &Tensor) -> Result<f32> {
    let numbers = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.into_iter().filter(|number| !number.is_nan()).map(f64::from).sum::<f64>() as f32)
}

shown!(
    Taps,
    Gradients,
    Attribution,
    AttributionOptions,
    Effect,
    Comparison,
    Miss,
    IntegratedGradients,
    AttentionAttribution
);
