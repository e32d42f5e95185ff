//! A table: labels and numbers in columns, as text and as HTML.

use crate::error::{Error, Result};
use crate::views::html::{escape, visible};
use crate::views::number::{column, number};
use crate::views::page::{Rendered, View};
use crate::views::terminal;

/// How many rows a table shows by default.
const MAX_ROWS: usize = 40;

/// The content of one cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words, aligned to the left; what cannot be seen in them is written as in a Rust string.
    Text(String),
    /// A number, aligned to the right; in a column of numbers all have the same number of decimals, unless that would
    /// round one of them away.
    Number(f64),
}

/// The cells of a row: a tuple of words and numbers, or a list or an array of one kind.
pub trait Row {
    /// The cells from left to right.
    fn into_cells(self) -> Vec<Cell>;
}

/// Labels and numbers in columns: configurations, plans, results.
///
/// Built by value; what does not fit is an error when the table is shown.
///
/// ```
/// use candle_lens::views::{Table, View};
/// let heads = Table::new(["head", "logit difference"])
///     .row(("L2H5", 1.9341))
///     .row(("L3H0", -0.25));
/// let text = heads.render()?;
/// assert_eq!(text.text(), "head  logit difference\n────  ────────────────\nL2H5             1.934\nL3H0            -0.250");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
#[must_use = "a table appears as the last expression of a cell or by its method `show`"]
pub struct Table {
    title: Option<String>,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    max_rows: usize,
    note: Option<String>,
}

impl Table {
    /// A table with these columns and no row yet.
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { title: None, columns, rows: Vec::new(), max_rows: MAX_ROWS, note: None }
    }

    /// Adds a row: one cell for each column, as a tuple, a list or an array.
    pub fn row(mut self, cells: impl Row) -> Self {
        self.rows.push(cells.into_cells());
        self
    }

    /// A line above the table.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// A line below the table.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Shows at most `rows` rows (40 by default); a line below says how many are left out.
    pub fn max_rows(mut self, max_rows: usize) -> Self {
        self.max_rows = max_rows;
        self
    }

    /// The shown cells as text, column by column, with whether the column holds numbers only.
    fn columns_as_text(&self) -> Result<Vec<(Vec<String>, bool)>> {
        if self.columns.is_empty() || self.max_rows == 0 {
            return Err(Error::argument(format!(
                "a table of {} columns and at most {} rows shows nothing: give it at least one of each.",
                self.columns.len(),
                self.max_rows
            )));
        }
        if let Some((i, row)) = self.rows.iter().enumerate().find(|(_, row)| row.len() != self.columns.len()) {
            return Err(Error::argument(format!(
                "row {i} of the table has {} cells but there are {} columns ({}): give each row one cell per column.",
                row.len(),
                self.columns.len(),
                self.columns.join(", ")
            )));
        }
        Ok((0..self.columns.len()).map(|c| self.column_as_text(c)).collect())
    }

    fn column_as_text(&self, c: usize) -> (Vec<String>, bool) {
        let cells = || self.rows.iter().take(self.max_rows).map(|row| &row[c]);
        let numbers: Option<Vec<f64>> =
            cells().map(|cell| if let Cell::Number(value) = cell { Some(*value) } else { None }).collect();
        match numbers {
            Some(numbers) => (column(&numbers), true),
            None => (cells().map(Cell::as_text).collect(), false),
        }
    }

    /// The lines below: the rows left out, then the note.
    fn remarks(&self) -> Vec<String> {
        let hidden = self.rows.len().saturating_sub(self.max_rows);
        let clipped = (hidden > 0).then(|| format!("… {hidden} more rows ({} in all)", self.rows.len()));
        clipped.into_iter().chain(self.note.as_deref().map(visible)).collect()
    }

    /// At most as wide as a line: long words are truncated, and columns without room are left out.
    fn to_text(&self, columns: &[(Vec<String>, bool)]) -> String {
        let headers: Vec<String> = self.columns.iter().map(|name| visible(name)).collect();
        let widths: Vec<usize> = columns
            .iter()
            .zip(&headers)
            .map(|((cells, _), header)| {
                cells.iter().chain([header]).map(|text| terminal::columns(text)).max().unwrap_or(0)
            })
            .collect();
        let words: Vec<bool> = columns.iter().map(|(_, numbers)| !numbers).collect();
        let widths = terminal::share(&widths, &words, terminal::width());
        let line = |cells: Vec<&str>| {
            let places = cells.into_iter().zip(&widths).zip(columns);
            let filled = places.map(|((cell, &width), &(_, numbers))| terminal::fit(cell, width, numbers));
            filled.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let rule: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        let mut lines: Vec<String> = self.title.iter().map(|title| visible(title)).collect();
        lines.push(line(headers.iter().map(String::as_str).collect()));
        lines.push(rule.join("  "));
        for r in 0..self.rows.len().min(self.max_rows) {
            lines.push(line(columns.iter().map(|(cells, _)| cells[r].as_str()).collect()));
        }
        if widths.len() < columns.len() {
            let hidden = columns.len() - widths.len();
            let plural = if hidden == 1 { "" } else { "s" };
            lines.push(format!("… {hidden} more column{plural} ({} in all)", columns.len()));
        }
        lines.extend(self.remarks());
        lines.join("\n")
    }

    /// A table with its styles inline: GitHub and untrusted notebooks drop style sheets.
    fn to_html(&self, columns: &[(Vec<String>, bool)]) -> String {
        let place = |tag: &str, style: &str, numbers: bool, text: &str| {
            let align = if numbers { "right" } else { "left" };
            format!(
                "<{tag} style=\"padding:2px 12px 2px 0;text-align:{align};white-space:pre;{style}\">{}</{tag}>",
                escape(text)
            )
        };
        let mut html = String::from("<div style=\"overflow-x:auto\">");
        if let Some(title) = &self.title {
            html += &format!("<div style=\"font-weight:600;margin:4px 0\">{}</div>", escape(&visible(title)));
        }
        html += "<table style=\"border-collapse:collapse;margin:0;font-variant-numeric:tabular-nums\"><thead><tr>";
        for (name, &(_, numbers)) in self.columns.iter().zip(columns) {
            html += &place("th", "border-bottom:1px solid rgba(128,128,128,.6)", numbers, &visible(name));
        }
        html += "</tr></thead><tbody>";
        for r in 0..self.rows.len().min(self.max_rows) {
            html += "<tr>";
            for (cells, numbers) in columns {
                html += &place("td", "", *numbers, &cells[r]);
            }
            html += "</tr>";
        }
        html += "</tbody></table>";
        for remark in self.remarks() {
            html += &format!("<div style=\"opacity:.75;margin:4px 0\">{}</div>", escape(&remark));
        }
        html + "</div>"
    }
}

impl View for Table {
    fn render(&self) -> Result<Rendered> {
        let columns = self.columns_as_text()?;
        Ok(Rendered::new(self.to_html(&columns), self.to_text(&columns)))
    }
}

crate::views::show::shown!(Table);
crate::views::show::drawn_by_debug!(Table);

impl Cell {
    /// This cell alone, as in a column that also contains words.
    fn as_text(&self) -> String {
        match self {
            Self::Text(text) => visible(text),
            Self::Number(value) => number(*value),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Text(value.to_string())
    }
}

macro_rules! number_cells {
    ($($number:ty),+) => {$(
        impl From<$number> for Cell {
            fn from(value: $number) -> Self {
                Self::Number(value as f64)
            }
        }
    )+};
}
number_cells!(f32, f64, i32, i64, isize, u32, u64, usize);

impl<C: Into<Cell>> Row for Vec<C> {
    fn into_cells(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<C: Into<Cell>, const N: usize> Row for [C; N] {
    fn into_cells(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}

macro_rules! tuple_rows {
    ($(($($kind:ident $place:tt),+)),+) => {$(
        impl<$($kind: Into<Cell>),+> Row for ($($kind,)+) {
            fn into_cells(self) -> Vec<Cell> {
                vec![$(self.$place.into()),+]
            }
        }
    )+};
}
tuple_rows!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4), (A 0, B 1, C 2, D 3, E 4, F 5));
