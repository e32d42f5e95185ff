//! How sparse dictionaries are shown: what one is and expects of the model, and which features are active where.

use candle_core::Tensor;

use crate::dictionaries::{
    Activation, Card, Dictionaries, Dictionary, DictionaryParts, DictionarySet, Expects, FeatureActs, Given,
};
use crate::error::Result;
use crate::hooks::{HookPoint, TextPart};
use crate::views::html::preformatted;
use crate::views::number::{grouped, number};
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::{Cell, Table};

impl View for Dictionary {
    /// What it is, the shapes of its weights, and what it expects of the model.
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["", ""])
            .title(self.to_string())
            .row(("architecture", self.architecture().as_str()))
            .row(("activation", activation(&self.activation())))
            .row(("features", grouped(self.d_sae())))
            .row(("width of what it reads and writes", format!("{} and {}", self.d_in(), self.d_out())))
            .row(("layers it writes", self.n_writes()))
            .row(("dtype", self.dtype().as_str()));
        expected(&self.expects()).into_iter().fold(table, Table::row).render()
    }

    /// A row for each.
    fn render_list(list: &[Self]) -> Result<Rendered> {
        let table = Table::new(["dictionary", "architecture", "features", "reads", "writes"]);
        let row = |table: Table, each: &Self| {
            let expects = each.expects();
            let [reads, writes] = [expects.hook_in, expects.writes()].map(point);
            table.row((each.name(), each.architecture().as_str(), each.d_sae(), reads, writes))
        };
        list.iter().fold(table, row).render()
    }
}

/// How pre-activations become activations, in a word or two.
fn activation(activation: &Activation) -> String {
    match activation {
        Activation::Relu => "ReLU".into(),
        Activation::JumpRelu { .. } => "JumpReLU, a threshold for each feature".into(),
        Activation::TopK { k } => format!("the {k} largest of a position"),
        Activation::AbsTopK { k } => format!("the {k} largest of a position by absolute value"),
        Activation::GroupMax { k } => format!("the largest of each of {k} groups"),
        Activation::Gated { .. } => "ReLU behind a gate".into(),
        Activation::MatchingPursuit { max_iterations, residual_threshold, .. } => {
            format!("matching pursuit, at most {max_iterations} steps, until a norm of {residual_threshold}")
        }
    }
}

fn point(point: Option<HookPoint>) -> String {
    point.map_or_else(|| "not said".into(), |point| point.to_string())
}

/// What a dictionary expects, a row for each; what its files do not say is said to be unknown.
fn expected(expects: &Expects) -> Vec<(&'static str, Cell)> {
    let words = |said: Option<String>| Cell::Text(said.unwrap_or_else(|| "not said".into()));
    let yes = |said: Option<bool>| words(said.map(|said| if said { "yes" } else { "no" }.into()));
    let mut rows = vec![
        ("model", words(expects.model.clone())),
        ("CRC32 of its weights", words(expects.weights.clone())),
        ("reads", Cell::Text(point(expects.hook_in))),
        ("writes", Cell::Text(point(expects.writes()))),
        ("writing weights centred", yes(expects.centred)),
        ("value biases folded", yes(expects.value_biases_folded)),
        ("norms folded", yes(expects.norms_folded)),
        ("texts begin with BOS", yes(expects.prepend_bos)),
        ("special tokens left out", yes(Some(expects.excludes_special_tokens))),
        ("tokens of a text", words(expects.context_size.map(grouped))),
    ];
    rows.extend(expects.head.map(|head| ("head", Cell::Text(head.to_string()))));
    rows.extend(carded(&expects.card).into_iter().map(|(name, figure)| (name, Cell::Text(figure))));
    rows
}

/// The figures of a card, as far as it has them.
fn carded(card: &Card) -> Vec<(&'static str, String)> {
    [("L0 on its card", card.l0), ("explained variance on its card", card.explained_variance)]
        .into_iter()
        .filter_map(|(name, figure)| Some((name, number(figure?))))
        .collect()
}

impl View for Expects {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["", ""]).title("What the dictionary expects of the model");
        expected(self).into_iter().fold(table, Table::row).render()
    }
}

impl View for Card {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["", ""]).title("Card");
        match &carded(self)[..] {
            [] => table.row(("", "no figures")).render(),
            figures => figures.iter().fold(table, |table, (name, figure)| table.row((*name, figure.as_str()))).render(),
        }
    }
}

impl View for DictionaryParts {
    /// The shape and dtype of each of its weights.
    fn render(&self) -> Result<Rendered> {
        let of_activation: Vec<(&str, Option<&Tensor>)> = match &self.activation {
            Activation::JumpRelu { threshold } => vec![("threshold", Some(threshold))],
            Activation::Gated { b_gate, b_mag, r_mag } => {
                vec![("b_gate", Some(b_gate)), ("b_mag", Some(b_mag)), ("r_mag", Some(r_mag))]
            }
            _ => Vec::new(),
        };
        let parts = [
            ("w_enc", Some(&self.w_enc)),
            ("b_enc", Some(&self.b_enc)),
            ("w_dec", Some(&self.w_dec)),
            ("b_dec", Some(&self.b_dec)),
            ("b_in", self.b_in.as_ref()),
            ("w_skip", self.w_skip.as_ref()),
        ];
        let title = format!("{}: {}", self.name, activation(&self.activation));
        let rows = parts.into_iter().chain(of_activation).filter_map(|(name, tensor)| Some((name, tensor?)));
        let table = rows.fold(Table::new(["part", "shape", "dtype"]).title(title), |table, (name, tensor)| {
            table.row((name, format!("{:?}", tensor.dims()), tensor.dtype().as_str()))
        });
        let scaled = if self.scaled_by_decoder_norm { ", scaled by the decoder's norms" } else { "" };
        table.note(format!("input norm: {:?}{scaled}", self.input_norm)).render()
    }
}

/// How many positions are listed, and how many features of each.
const POSITIONS: usize = 20;
const STRONGEST: usize = 5;

impl View for FeatureActs {
    /// The strongest features of the first positions.
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["position", "active", "strongest"]).title(self.to_string()).max_rows(POSITIONS);
        let shape = self.shape();
        let rows = (0..self.positions()).map(|position| {
            let (features, values) = self.row(position);
            let mut row: Vec<(u32, f32)> = features.iter().copied().zip(values.iter().copied()).collect();
            row.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
            let strongest = row.iter().take(STRONGEST);
            let strongest: Vec<String> =
                strongest.map(|(feature, value)| format!("{feature}: {}", number(f64::from(*value)))).collect();
            let more = if row.len() > STRONGEST { ", …" } else { "" };
            (place(position, &shape), row.len(), strongest.join(", ") + more)
        });
        rows.fold(table, Table::row).render()
    }
}

/// The index of a position along each axis: `[0, 3]`, or `3` where there is only one.
fn place(position: usize, shape: &[usize]) -> String {
    let mut rest = position;
    let mut index: Vec<usize> = Vec::new();
    for size in shape.iter().rev() {
        index.push(rest % size.max(&1));
        rest /= size.max(&1);
    }
    index.reverse();
    if let [only] = index[..] { only.to_string() } else { format!("{index:?}") }
}

impl View for DictionarySet {
    /// A row for each; only what was opened is known in full.
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&self.to_string()))
    }
}

impl View for Dictionaries {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["dictionary", "features", "reads", "writes"]);
        let row = |table: Table, each: &Given| -> Result<Table> {
            let expects = each.expects()?;
            let features = match each {
                Given::Read(dictionary) => dictionary.d_sae().to_string(),
                Given::InSet { .. } => "not read yet".into(),
            };
            Ok(table.row((each.name(), features, point(expects.hook_in), point(expects.writes()))))
        };
        self.given().iter().try_fold(table, row)?.render()
    }
}

impl View for TextPart {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&format!("positions of {} texts", self.texts())))
    }
}

shown_with_own_display!(Dictionary, DictionarySet, FeatureActs);
shown!(Expects, Card, Dictionaries, DictionaryParts, TextPart);
