//! How factored matrices, their decompositions and the logit lens are shown.

use candle_core::{DType, Tensor};

use crate::analysis::LogitLens;
use crate::error::Result;
use crate::factored_matrix::{Eigenvalues, FactoredMatrix, Svd};
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::{Cell, Table};

/// How many matrices of a stack, and how many prompts of a lens, are written.
const WRITTEN: usize = 8;
/// How many numbers of a row are written.
const CORNER: usize = 6;

impl View for FactoredMatrix {
    fn render(&self) -> Result<Rendered> {
        let title = format!(
            "FactoredMatrix {:?}, the product of {:?} and {:?}",
            self.shape(),
            self.A().dims(),
            self.B().dims()
        );
        let first = self.get(&vec![0; self.ndim() - 2])?.get_corner(CORNER)?.to_dtype(DType::F32)?;
        let table = Table::new((0..first.dim(1)?).map(|column| column.to_string())).title(title);
        let note = if self.ndim() > 2 { "a corner of the first matrix" } else { "a corner of it" };
        first.to_vec2::<f32>()?.into_iter().fold(table, |table, row| table.row(row)).note(note).render()
    }
}

impl View for Svd {
    fn render(&self) -> Result<Rendered> {
        let shapes = [("u", &self.u), ("s", &self.s), ("v", &self.v)];
        let table = Table::new(["part", "shape"]).title("Svd");
        let table =
            shapes.into_iter().fold(table, |table, (name, part)| table.row((name, format!("{:?}", part.dims()))));
        table.note(format!("largest singular values: {}", in_front(&self.s)?)).render()
    }
}

impl View for Eigenvalues {
    fn render(&self) -> Result<Rendered> {
        Table::new(["part", "shape", "first of them"])
            .title("Eigenvalues")
            .row(("re", format!("{:?}", self.re.dims()), in_front(&self.re)?))
            .row(("im", format!("{:?}", self.im.dims()), in_front(&self.im)?))
            .note(format!("positivity: {}", in_front(&self.positivity()?)?))
            .render()
    }
}

/// The first numbers of a tensor.
fn in_front(x: &Tensor) -> Result<String> {
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let more = if values.len() > CORNER { ", .." } else { "" };
    Ok(values.iter().take(CORNER).map(|&value| number(value)).collect::<Vec<_>>().join(", ") + more)
}

impl View for LogitLens {
    /// One table for each prompt: a row for each slice of the stream, a column for each position, in each cell the
    /// most likely next token and its probability.
    fn render(&self) -> Result<Rendered> {
        let axes = self.probabilities.axes();
        let [components, prompts, positions] = [0, 1, 2].map(|axis| &axes[axis].labels);
        let mut all = Rendered::default();
        for prompt in 0..prompts.len().min(WRITTEN) {
            let heads = positions.iter().zip(&self.inputs[prompt]).map(|(at, text)| format!("{at}: {text:?}"));
            let title = format!("Logit lens, prompt {prompt}: what would come next");
            let mut table = Table::new(["after".to_string()].into_iter().chain(heads)).title(title);
            for (row, component) in components.iter().enumerate() {
                let cell = |column: usize| {
                    let place = [row, prompt, column, 0];
                    let sizes = self.probabilities.shape();
                    let first = ((row * sizes[1] + prompt) * sizes[2] + column) * sizes[3];
                    Cell::from(format!("{:?} {:.2}", self.texts[first], self.probabilities.values()[place]))
                };
                let cells = [Cell::from(component)].into_iter().chain((0..positions.len()).map(cell));
                table = table.row(cells.collect::<Vec<_>>());
            }
            if prompts.len() > WRITTEN && prompt + 1 == WRITTEN {
                table = table.note(format!("{} more prompts are not shown", prompts.len() - WRITTEN));
            }
            all.append(&table.render()?);
        }
        Ok(all)
    }
}

shown!(FactoredMatrix, Svd, Eigenvalues, LogitLens);
