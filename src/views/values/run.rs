//! Plans, what they will keep, and what runs left.

use crate::cache::{ActivationCache, ResidualStack};
use crate::error::{Result, human_bytes};
use crate::hooks::{HookPlan, MemoryPlan};
use crate::views::html::Html;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::Table;

impl View for ActivationCache {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["hook point", "axes", "shape", "bytes"]);
        for (point, tensor) in self.iter() {
            let axes = point.axes().iter().skip(usize::from(!self.has_batch_dim()));
            let axes = axes.map(|axis| axis.as_str()).collect::<Vec<_>>().join(", ");
            let bytes = (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
            table = table.row([point.to_string(), axes, format!("{:?}", tensor.dims()), human_bytes(bytes)]);
        }
        let (batch, pos) = (self.tokens().batch(), self.tokens().pos());
        let title = format!(
            "ActivationCache: {} points of a run of {batch} x {pos} tokens, {}",
            self.len(),
            human_bytes(self.bytes())
        );
        table.title(title).render()
    }
}

impl View for HookPlan {
    fn render(&self) -> Result<Rendered> {
        Html::escaped(&self.to_string()).render()
    }
}

impl View for MemoryPlan {
    /// The largest points first.
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["hook point", "shape", "bytes"]);
        for entry in self.largest(self.points.len()) {
            table = table.row([entry.point.to_string(), format!("{:?}", entry.shape), human_bytes(entry.bytes)]);
        }
        table
            .title(format!("{} points, at most {}", self.points.len(), human_bytes(self.total())))
            .max_rows(12)
            .render()
    }
}

impl View for ResidualStack {
    fn render(&self) -> Result<Rendered> {
        let norms =
            self.tensor().sqr().and_then(|x| x.sum(x.rank() - 1)?.sqrt()?.reshape((self.len(), ()))?.mean(1))?;
        let mut table = Table::new(["component", "mean norm"]);
        for (label, norm) in self.labels().iter().zip(norms.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?) {
            table = table.row([crate::views::Cell::from(label.as_str()), crate::views::Cell::from(norm)]);
        }
        table.title(format!("ResidualStack {:?}", self.tensor().dims())).render()
    }
}

shown!(ActivationCache, HookPlan, MemoryPlan, ResidualStack);
