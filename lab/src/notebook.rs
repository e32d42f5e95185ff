//! A notebook file: its code cells, and its outputs written back as JupyterLab writes them.

use crate::carried;
use crate::session::Reply;
use crate::steps;
use crate::trouble::Trouble;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};
use std::path::Path;

/// A notebook as read from its file.
#[derive(Clone, Debug)]
pub struct Notebook {
    content: Value,
}

/// One code cell.
#[derive(Debug, PartialEq)]
pub struct Cell {
    /// Its place among all cells of the file, text cells included.
    pub index: usize,
    /// Its code.
    pub source: String,
    /// Whether it carries the tag `raises-error`.
    pub must_fail: bool,
    /// Texts that its outputs must hold, in this order: `"candle_lens": {"expects": [..]}` in its metadata.
    pub expects: Vec<String>,
}

impl Cell {
    /// What to call the cell in a report: its first line, not too long.
    pub fn title(&self) -> String {
        let line = self.source.trim().lines().next().unwrap_or_default();
        if line.chars().count() <= 90 { line.to_string() } else { line.chars().take(89).chain(['…']).collect() }
    }
}

impl Notebook {
    /// Reads a notebook.
    ///
    /// # Errors
    /// The file is missing, or not a notebook of format 4.
    pub fn read(path: &Path) -> Result<Self, Trouble> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            Trouble::new(
                format!("The notebook {} cannot be read: {source}.", path.display()),
                "Check the path; without one, `cargo lab run` executes all of notebooks/.",
            )
        })?;
        Self::parse(path, &text)
    }

    /// A notebook's text; `path` names it in a message.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Trouble> {
        let content: Value = serde_json::from_str(text).map_err(|source| not_a_notebook(path, &source.to_string()))?;
        if content["nbformat"] != 4 || !content["cells"].is_array() {
            return Err(not_a_notebook(path, "it lacks \"nbformat\": 4 or its cells"));
        }
        Ok(Self { content })
    }

    /// The code cells that hold code, in order.
    pub fn code_cells(&self) -> Vec<Cell> {
        let cells = self.content["cells"].as_array().into_iter().flatten().enumerate();
        cells
            .filter(|(_, cell)| cell["cell_type"] == "code")
            .map(|(index, cell)| Cell {
                index,
                source: joined(&cell["source"]),
                must_fail: cell["metadata"]["tags"]
                    .as_array()
                    .is_some_and(|tags| tags.contains(&json!("raises-error"))),
                expects: texts(&cell["metadata"]["candle_lens"]["expects"]),
            })
            .filter(|cell| !cell.source.trim().is_empty())
            .collect()
    }

    /// The exercises of the course that its cells are marked as, with the cells' code.
    pub fn exercise_sources(&self) -> Vec<(String, String)> {
        let cells = self.content["cells"].as_array().into_iter().flatten();
        let marked = cells.filter_map(|cell| Some((marked_as(cell)?.to_string(), joined(&cell["source"]))));
        marked.collect()
    }

    /// The ids of those exercises.
    pub fn exercises(&self) -> Vec<String> {
        self.exercise_sources().into_iter().map(|(id, _)| id).collect()
    }

    /// Gives one exercise the code that it has in another notebook; nothing if one of the two does not have it.
    pub fn reset_exercise(&mut self, id: &str, original: &Self) -> Option<()> {
        let (_, source) = original.exercise_sources().into_iter().find(|(own, _)| own == id)?;
        let cells = self.content["cells"].as_array_mut()?;
        let cell = cells.iter_mut().find(|cell| marked_as(cell) == Some(id))?;
        cell["source"] = lines(&source);
        cell["outputs"] = json!([]);
        Some(())
    }

    /// An entry of the notebook's own metadata under `candle_lens`.
    pub fn note(&self, name: &str) -> &Value {
        &self.content["metadata"]["candle_lens"][name]
    }

    /// Replaces a line of the code.
    ///
    /// # Errors
    /// The notebook does not have that line exactly once.
    pub fn replace_line(&mut self, path: &Path, line: &str, replacement: &str) -> Result<(), Trouble> {
        let cells =
            self.content["cells"].as_array_mut().into_iter().flatten().filter(|cell| cell["cell_type"] == "code");
        let mut found = 0;
        for cell in cells {
            let source = joined(&cell["source"]);
            let here = source.lines().filter(|own| *own == line).count();
            if here > 0 {
                let replaced: Vec<_> = source.lines().map(|own| if own == line { replacement } else { own }).collect();
                cell["source"] = lines(&replaced.join("\n"));
            }
            found += here;
        }
        if found == 1 {
            return Ok(());
        }
        Err(Trouble::new(
            format!("{} has the line `{line}` {found} times in its code, and should have it once.", path.display()),
            "Name the model in one such line, and nowhere else.",
        ))
    }

    /// Forgets every output.
    pub fn clear(&mut self) {
        for cell in self.content["cells"].as_array_mut().into_iter().flatten() {
            if cell["cell_type"] == "code" {
                cell["outputs"] = json!([]);
                cell["execution_count"] = Value::Null;
            }
        }
    }

    /// Puts what came of a cell into the file.
    pub fn keep(&mut self, index: usize, reply: &Reply) {
        let outputs = reply.outputs.iter().cloned().map(as_on_disk).collect();
        self.content["cells"][index]["outputs"] = Value::Array(outputs);
        self.content["cells"][index]["execution_count"] = reply.execution_count.clone();
    }

    /// Takes plotly.js out of the outputs, for a file beside the notebook, to which they then refer.
    pub fn take_out_scripts(&mut self) -> Vec<carried::File> {
        carried::take_out(&mut self.content["cells"])
    }

    /// Writes the notebook, sorted and indented as Jupyter does, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b" "));
        self.content.serialize(&mut serializer).map_err(|source| not_a_notebook(path, &source.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|source| not_a_notebook(path, &source.to_string()))?;
        steps::write(path, &(text + "\n"))
    }
}

/// The exercise that a cell is marked as.
fn marked_as(cell: &Value) -> Option<&str> {
    cell["metadata"]["candle_lens"]["exercise"].as_str()
}

fn not_a_notebook(path: &Path, why: &str) -> Trouble {
    Trouble::new(format!("{} is not a Jupyter notebook: {why}.", path.display()), "Open and save it in JupyterLab.")
}

/// A text that a notebook file holds as a string or as a list of lines.
pub fn joined(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or_default().to_string(),
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

/// Long texts as lists of lines, which is how notebook files keep them.
fn as_on_disk(mut output: Value) -> Value {
    if let Some(text) = output["text"].as_str() {
        output["text"] = lines(text);
    }
    if let Some(data) = output.get_mut("data").and_then(Value::as_object_mut) {
        for (mime, value) in data {
            if mime != "application/json"
                && let Some(text) = value.as_str()
            {
                *value = lines(text);
            }
        }
    }
    output
}

/// A text as the list of its lines.
pub fn lines(text: &str) -> Value {
    text.split_inclusive('\n').map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn notebook(cells: Value) -> Notebook {
        Notebook { content: json!({ "cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5 }) }
    }

    #[test]
    fn code_cells_are_found_with_their_tags() {
        let read = notebook(json!([
            { "cell_type": "markdown", "source": "text" },
            { "cell_type": "code", "source": ["let x = 1;\n", "x"], "metadata": {} },
            { "cell_type": "code", "source": "  \n", "metadata": {} },
            { "cell_type": "code", "source": "panic!()", "metadata": { "tags": ["raises-error"] } },
        ]));
        let expected = [
            Cell { index: 1, source: "let x = 1;\nx".into(), must_fail: false, expects: Vec::new() },
            Cell { index: 3, source: "panic!()".into(), must_fail: true, expects: Vec::new() },
        ];
        assert_eq!(read.code_cells(), expected);
        assert_eq!(expected[0].title(), "let x = 1;");
    }

    #[test]
    fn outputs_are_kept_as_jupyter_keeps_them() {
        let mut written = notebook(json!([{ "cell_type": "code", "source": "1", "metadata": {} }]));
        let outputs = json!([
            { "output_type": "stream", "name": "stdout", "text": "a\nb" },
            { "output_type": "execute_result", "execution_count": 2, "metadata": {}, "data": { "text/html": "<p>\n</p>", "application/x+json": { "a": 1 } } },
        ]);
        let reply = Reply {
            status: "ok".into(),
            execution_count: json!(2),
            outputs: outputs.as_array().cloned().unwrap(),
            took: Duration::ZERO,
        };
        written.keep(0, &reply);
        let expected = json!([
            { "output_type": "stream", "name": "stdout", "text": ["a\n", "b"] },
            { "output_type": "execute_result", "execution_count": 2, "metadata": {}, "data": { "text/html": ["<p>\n", "</p>"], "application/x+json": { "a": 1 } } },
        ]);
        assert_eq!(written.content["cells"][0]["outputs"], expected);
        assert_eq!(written.content["cells"][0]["execution_count"], 2);
        written.clear();
        assert_eq!(written.content["cells"][0]["outputs"], json!([]));
    }

    #[test]
    fn one_line_of_the_code_is_replaced() {
        let code = |source: &str| json!({ "cell_type": "code", "source": lines(source) });
        let text = json!({ "cell_type": "markdown", "source": "let a = 1;" });
        let mut notebook = Notebook { content: json!({ "cells": [text, code("b();\nlet a = 1;\nc();")] }) };
        let mut replace = |line, by| notebook.replace_line(Path::new("n.ipynb"), line, by);
        replace("let a = 1;", "let a = 2;").unwrap();
        assert!(replace("let a = 1;", "let a = 2;").unwrap_err().to_string().contains("0 times"));
        let expected = json!({ "cells": [text, code("b();\nlet a = 2;\nc();")] });
        assert_eq!(notebook.content, expected);
        let mut twice = Notebook { content: json!({ "cells": [code("x\nx")] }) };
        assert!(twice.replace_line(Path::new("n.ipynb"), "x", "y").unwrap_err().to_string().contains("2 times"));
    }

    #[test]
    fn a_file_that_is_no_notebook_is_refused() {
        let path = std::env::temp_dir().join(format!("candle-lens-lab-{}.ipynb", std::process::id()));
        for (text, why) in [("{", "not a Jupyter notebook"), ("{\"nbformat\": 3}", "nbformat")] {
            std::fs::write(&path, text).unwrap();
            assert!(Notebook::read(&path).unwrap_err().to_string().contains(why));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Notebook::read(&path).unwrap_err().to_string().contains("cannot be read"));
    }
}
