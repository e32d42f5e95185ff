//! The table of variables.

use super::Held;
use super::note::{Note, notes};

/// A variable of the notebook and the memory it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type, without paths.
    pub kind: String,
    /// Shape and dtype of a tensor, length of a list, size of a model; none where there is nothing to say.
    pub shape: Option<String>,
    /// All bytes that it holds, those on a device included.
    pub bytes: u64,
    /// Those of them that other variables hold as well: dropping this one does not free them.
    pub shared: u64,
    /// Those of them that are in the memory of a device other than the CPU.
    pub on_device: u64,
    /// Whether it holds more that could not be counted.
    pub at_least: bool,
}

/// The variables that a cell got from earlier ones, those that hold most first: the result of [`variables`].
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a table appears as the last expression of a cell or by its method `show`"]
pub struct Variables {
    rows: Option<Vec<Variable>>,
    bytes: u64,
    on_device: u64,
}

/// The notebook's variables, each with type, shape and bytes, as they were when this cell began. Those that the cell itself
/// defines are in the table of the next.
///
/// Clones and views of a tensor share its numbers, and a model's clones its weights: bytes that several variables hold are in
/// the rows of each, once in the total, and in the column "shared".
///
/// `drop(x);` frees what no other variable holds. `let x = ..;` over an older `x` frees the old value when the cell ends.
/// The process keeps freed memory for the next tensors: what the system reports does not fall at once.
///
/// In a notebook of our kernel; elsewhere, in a program or under the stock "Rust" kernel, [`Variables::is_known`] is false and
/// the table says why.
///
/// ```
/// use candle_lens::prelude::*;
/// let table = variables();
/// assert!(!table.is_known());
/// assert!(table.to_string().contains(":vars"));
/// ```
pub fn variables() -> Variables {
    notes().map_or(Variables { rows: None, bytes: 0, on_device: 0 }, |notes| Variables::of(&notes))
}

impl Variables {
    pub(super) fn of(notes: &[Note]) -> Self {
        let mut all = Held::default();
        notes.iter().for_each(|note| all.join(&note.measure.2));
        let row = |(place, Note { name, measure: (kind, shape, held) }): (usize, &Note)| {
            let others = notes.iter().enumerate().filter(|(other, _)| *other != place);
            Variable {
                name: (*name).into(),
                kind: without_paths(kind),
                shape: shape.clone(),
                bytes: held.bytes(),
                shared: held.bytes_shared_with(others.map(|(_, other)| &other.measure.2)),
                on_device: held.bytes_on_device(),
                at_least: held.is_at_least(),
            }
        };
        let mut rows: Vec<Variable> = notes.iter().enumerate().map(row).collect();
        rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        Self { rows: Some(rows), bytes: all.bytes(), on_device: all.bytes_on_device() }
    }

    /// Whether the kernel says which variables there are.
    pub fn is_known(&self) -> bool {
        self.rows.is_some()
    }

    /// The variables, those that hold most first; none where they are not known.
    pub fn iter(&self) -> std::slice::Iter<'_, Variable> {
        self.rows.as_deref().unwrap_or_default().iter()
    }

    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.iter().find(|variable| variable.name == name)
    }

    /// What all variables hold together, in bytes, each piece of memory once.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those of them that are in the memory of a device other than the CPU.
    pub fn bytes_on_device(&self) -> u64 {
        self.on_device
    }
}

impl<'a> IntoIterator for &'a Variables {
    type Item = &'a Variable;
    type IntoIter = std::slice::Iter<'a, Variable>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `alloc::vec::Vec<candle_core::tensor::Tensor>` as `Vec<Tensor>`.
fn without_paths(kind: &str) -> String {
    let mut short = String::with_capacity(kind.len());
    let mut word = 0;
    let mut rest = kind;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            short.truncate(word);
            rest = after;
            continue;
        }
        short.push(c);
        if !c.is_alphanumeric() && c != '_' {
            word = short.len();
        }
        rest = &rest[c.len_utf8()..];
    }
    short
}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn types_are_written_without_paths() {
        for (long, short) in [
            ("f32", "f32"),
            ("alloc::vec::Vec<candle_core::tensor::Tensor>", "Vec<Tensor>"),
            ("(alloc::string::String, [core::option::Option<u8>; 3])", "(String, [Option<u8>; 3])"),
            ("&dyn core::any::Any", "&dyn Any"),
        ] {
            assert_eq!(without_paths(long), short);
        }
    }
}
