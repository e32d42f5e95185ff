//! How values of the earlier rooms are shown: caches as tables, results as tables or heat maps. Those rooms do not depend
//! on this.

use candle_core::Tensor;

use crate::cache::{ActivationCache, Provenance, ResidualStack};
use crate::dims::Dims;
use crate::error::{Result, human_bytes};
use crate::generate::Generated;
use crate::hooks::{HookPoint, MemoryPlan};
use crate::labelled::{Entry, Labelled};
use crate::metrics::Answers;
use crate::model::{ModelProvenance, Processing, Run};
use crate::patching::{PatchResult, Untouched};
use crate::views::figure::imshow;
use crate::views::html::{Html, preformatted};
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::{Cell, Table};

/// How many entries of a result with three axes or more are listed.
const ENTRIES: usize = 10;

impl View for Labelled {
    /// One axis is a table, two are a heat map; of more, the largest numbers are listed with their labels.
    fn render(&self) -> Result<Rendered> {
        match self.values().shape() {
            [] => Html::escaped(&format!("{}: {}", self.title, number(f64::from(self.scalar()?)))).render(),
            [_] => as_column(self).render(),
            [_, _] if !self.values().is_empty() => imshow(self).render(),
            [_, _] => as_matrix(self).render(),
            _ => largest(self).render(),
        }
    }
}

impl View for Entry {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&self.to_string()))
    }

    /// A table: where each number is, and what it belongs to.
    fn render_list(list: &[Self]) -> Result<Rendered> {
        let row = |table: Table, e: &Self| table.row((format!("{:?}", e.index), e.labels.join(", "), e.value));
        list.iter().fold(Table::new(["index", "labels", "value"]), row).render()
    }
}

fn as_column(result: &Labelled) -> Table {
    let axis = &result.axes()[0];
    let rows = axis.labels.iter().zip(result.values());
    rows.fold(Table::new([&axis.name, &result.title]), |table, (label, value)| table.row((label, value)))
}

/// The table of an empty matrix, which has no colours.
fn as_matrix(result: &Labelled) -> Table {
    let [rows, columns] = [&result.axes()[0], &result.axes()[1]];
    let corner = format!("{} \\ {}", rows.name, columns.name);
    let table = Table::new([&corner].into_iter().chain(&columns.labels)).title(&result.title);
    rows.labels.iter().zip(result.values().rows()).fold(table, |table, (label, values)| {
        let cells = values.iter().map(|&value| Cell::from(value));
        table.row([Cell::from(label)].into_iter().chain(cells).collect::<Vec<_>>())
    })
}

fn largest(result: &Labelled) -> Table {
    let sizes: Vec<String> = result.axes().iter().map(|axis| format!("{} {}", axis.name, axis.labels.len())).collect();
    let axes = result.axes();
    let names = axes.iter().map(|axis| axis.name.as_str()).chain(["value"]);
    let table = Table::new(names).title(format!("{} ({})", result.title, sizes.join(" x ")));
    let entries = result.top(ENTRIES);
    let note = format!("the {} largest of {} values", entries.len(), result.values().len());
    entries
        .iter()
        .fold(table, |table, entry| {
            let labels = entry.labels.iter().map(Cell::from);
            table.row(labels.chain([Cell::from(entry.value)]).collect::<Vec<_>>())
        })
        .note(note)
}

impl View for Processing {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["step", "done"]).title("Processing of the weights");
        let steps = [
            ("fold_ln", self.fold_ln),
            ("center_writing_weights", self.center_writing_weights),
            ("center_unembed", self.center_unembed),
            ("fold_value_biases", self.fold_value_biases),
            ("refactor_factored_attn_matrices", self.refactor_factored_attn_matrices),
        ];
        steps.into_iter().fold(table, |table, (step, done)| table.row((step, done))).render()
    }
}

impl View for ActivationCache {
    fn render(&self) -> Result<Rendered> {
        let title = format!("ActivationCache of {} points, {}", self.len(), human_bytes(self.bytes()));
        let points = self.iter().map(|(point, tensor)| (point, tensor.dims().to_vec(), bytes(tensor)));
        points_table(points).title(title).render()
    }
}

impl View for MemoryPlan {
    fn render(&self) -> Result<Rendered> {
        let title = format!("{} points to keep, {}", self.points.len(), human_bytes(self.kept()));
        let rest = [self.logits, self.working, self.total()].map(human_bytes);
        points_table(self.points.iter().map(|kept| (kept.point, kept.shape.clone(), kept.bytes)))
            .title(title)
            .note(format!("and {} of logits, about {} to compute with: {} in all", rest[0], rest[1], rest[2]))
            .render()
    }
}

/// Hook points with their shapes and bytes; a site that several layers have in one shape is one row.
fn points_table(points: impl Iterator<Item = (HookPoint, Vec<usize>, u64)>) -> Table {
    let mut rows: Vec<(String, Vec<usize>, Vec<usize>, u64)> = Vec::new();
    for (point, shape, bytes) in points {
        let name = match point {
            HookPoint::Block(_, site) => format!("blocks.*.{}", site.row().name),
            outside => outside.to_string(),
        };
        match rows.iter_mut().find(|row| row.0 == name && row.2 == shape) {
            Some(row) => {
                row.1.extend(point.layer());
                row.3 = row.3.saturating_add(bytes);
            }
            None => rows.push((name, point.layer().into_iter().collect(), shape, bytes)),
        }
    }
    rows.into_iter().fold(
        Table::new(["hook point", "layers", "shape", "bytes"]),
        |table, (name, layers, shape, bytes)| {
            table.row((name, spans(&layers), format!("{shape:?}"), human_bytes(bytes)))
        },
    )
}

/// `[0, 1, 2, 5]` is `0-2, 5`.
fn spans(layers: &[usize]) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &layer in layers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == layer => *last = layer,
            _ => spans.push((layer, layer)),
        }
    }
    let text = |&(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    spans.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl View for ResidualStack {
    fn render(&self) -> Result<Rendered> {
        let positions = self.positions().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let table = Table::new(["", "component"])
            .title(format!("ResidualStack {:?}, at positions {positions}", self.tensor().dims()));
        self.labels().iter().enumerate().fold(table, |table, (i, label)| table.row((i, label))).render()
    }
}

impl View for Answers {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["prompt", "correct", "incorrect"]).title("Answers");
        let pairs = self.texts().enumerate();
        let shown = |text: String| format!("{text:?}");
        pairs.fold(table, |table, (i, (right, wrong))| table.row((i, shown(right), shown(wrong)))).render()
    }
}

impl View for Generated {
    /// Each prompt and what the model added to it.
    fn render(&self) -> Result<Rendered> {
        let rows = self.prompts().into_iter().zip(self.completions());
        let table = Table::new(["prompt", "continued"]).title("Generated");
        rows.fold(table, |table, (prompt, more)| table.row((format!("{prompt:?}"), format!("{more:?}")))).render()
    }
}

impl View for PatchResult {
    /// The normalised metric, and its reference values; several metrics one after the other.
    fn render(&self) -> Result<Rendered> {
        if let Ok(names) = self.raw.labels("metric") {
            let mut all = Rendered::default();
            for name in names {
                all.append(&self.only(&name)?.render()?);
            }
            return Ok(all);
        }
        let mut all = self.normalised.render()?;
        let same = self.untouched.iter().filter(|reason| **reason == Some(Untouched::Identical)).count();
        let apart = self.untouched.len() - self.computed() - same;
        let facts = Table::new(["of the metric", ""])
            .row(("clean", self.clean))
            .row(("corrupted", self.corrupted))
            .row(("largest", self.raw.top(1).first().map_or(f32::NAN, |entry| entry.value)))
            .row(("smallest", self.raw.bottom(1).first().map_or(f32::NAN, |entry| entry.value)))
            .note(format!(
                "{} sites computed; {same} have the same activation in both runs, {apart} cannot reach what is read",
                self.computed()
            ));
        all.append(&facts.render()?);
        Ok(all)
    }
}

impl View for Run {
    /// The shapes of the run's results, and what it kept.
    fn render(&self) -> Result<Rendered> {
        let parts = [("logits", &self.logits), ("loss", &self.loss), ("resid", &self.resid)];
        let table = Table::new(["part", "shape"])
            .title("Run")
            .row(("tokens", format!("[{}, {}]", self.tokens.batch(), self.tokens.pos())));
        let given = parts.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)));
        let mut all =
            given.fold(table, |table, (name, tensor)| table.row((name, format!("{:?}", tensor.dims())))).render()?;
        if !self.captured.is_empty() {
            let points = self.captured.iter().map(|(point, tensor)| (*point, tensor.dims().to_vec(), bytes(tensor)));
            all.append(&points_table(points).title("captured").render()?);
        }
        if !self.taps.is_empty() {
            all.append(&self.taps.render()?);
        }
        Ok(all)
    }
}

impl View for Dims {
    fn render(&self) -> Result<Rendered> {
        let sizes = [
            ("n_layers", self.n_layers),
            ("n_heads", self.n_heads),
            ("n_key_value_heads", self.n_key_value_heads),
            ("d_model", self.d_model),
            ("d_head", self.d_head),
            ("d_mlp", self.d_mlp),
            ("d_vocab", self.d_vocab),
            ("d_vocab_out", self.d_vocab_out),
            ("n_ctx", self.n_ctx),
        ];
        let parts = [
            ("attn_only", self.attn_only),
            ("parallel_attn_mlp", self.parallel_attn_mlp),
            ("gated_mlp", self.gated_mlp),
            ("norms_after", self.norms_after),
            ("reads_unnormed", self.reads_unnormed),
            ("rotary", self.rotary),
            ("shortformer", self.shortformer),
            ("alibi", self.alibi),
            ("qk_norm", self.qk_norm),
            ("neuron_norm", self.neuron_norm),
            ("has_norm", self.has_norm),
        ];
        let table = Table::new(["size", "value"]).title("Dims");
        let table = sizes.into_iter().fold(table, |table, (name, size)| table.row((name, size)));
        parts.into_iter().fold(table, |table, (name, part)| table.row((name, part))).render()
    }
}

impl View for ModelProvenance {
    fn render(&self) -> Result<Rendered> {
        model_facts(Table::new(["of the model", ""]), self).render()
    }
}

fn model_facts(table: Table, model: &ModelProvenance) -> Table {
    model.facts().into_iter().fold(table, |table, (name, fact)| table.row((name, fact)))
}

impl View for Provenance {
    fn render(&self) -> Result<Rendered> {
        model_facts(Table::new(["of the run", ""]), &self.model)
            .row(("plan", self.plan.split_whitespace().collect::<Vec<_>>().join(" ")))
            .row(("candle-lens", &self.version))
            .row(("date", &self.date))
            .render()
    }
}

fn bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

shown!(Labelled, Processing, MemoryPlan, ResidualStack, Answers, Generated, PatchResult, Run, Dims, Provenance);
shown_with_own_display!(ActivationCache, Entry, ModelProvenance);

#[cfg(test)]
mod tests {
    #[test]
    fn layers_in_a_row_are_one_span() {
        assert_eq!(super::spans(&[0, 1, 2, 5]), "0-2, 5");
        assert_eq!(super::spans(&[]), "");
    }
}
