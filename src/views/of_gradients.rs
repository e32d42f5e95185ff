//! How gradients and what is made of them show themselves.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::hooks::{Gradients, Taps};
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
    /// Each point with the length of its gradient, and what a change of the activation to zero would make, by the
    /// gradient.
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

/// The sum of all numbers; those of masked scores, infinity times zero, count nothing.
fn total(x: &Tensor) -> Result<f32> {
    let numbers = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.into_iter().filter(|number| !number.is_nan()).map(f64::from).sum::<f64>() as f32)
}

shown!(Taps, Gradients);
