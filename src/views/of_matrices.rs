//! How factored matrices and their decompositions are shown.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::factored_matrix::{Eigenvalues, FactoredMatrix, Svd};
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::Table;

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

shown!(FactoredMatrix, Svd, Eigenvalues);
