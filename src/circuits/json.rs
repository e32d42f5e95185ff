//! Circuits as JSON files of EAP-IG's form, to and from its `Graph.to_json` and `Graph.from_json`.
//!
//! A file has `cfg` (the sizes), `nodes` (whether each is in the circuit) and `edges` (score, and whether each is in the
//! circuit). The edges decide; of the nodes only the names are checked, because not all of EAP-IG's methods keep its
//! flags of nodes up to date. One key is added, which EAP-IG ignores: `method`. Python writes an unscored edge as the bare word
//! `NaN`, which is not JSON; it is read and written all the same.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::circuit::Circuit;
use super::layout::Layout;
use super::node::{Edge, Node};
use crate::error::{Error, Result};
use crate::files;

/// More nodes than any model has: a file that claims them is a mistake.
const MOST_NODES: usize = 100_000;

#[derive(Deserialize)]
struct File {
    cfg: Layout,
    nodes: Map<String, Value>,
    edges: Map<String, Value>,
    method: Option<String>,
}

impl Circuit {
    /// Writes the circuit as EAP-IG's `Graph.to_json` does, whole or not at all.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let circuit = Circuit::of(&HookedTransformer::from_pretrained("tiny")?).without("m0->logits")?;
    /// let path = std::env::temp_dir().join("circuit.json");
    /// circuit.to_json(&path)?;
    /// assert_eq!(Circuit::from_json(&path)?, circuit);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn to_json(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.json();
        files::write_whole(path.as_ref(), |file| file.write_all(text.as_bytes()))
    }

    /// Reads a circuit that [`Circuit::to_json`] or EAP-IG's `Graph.to_json` wrote.
    ///
    /// Scores of nodes are ignored. An EAP-IG file holds scores of the metric that it was given, which is a loss as a
    /// rule: there, edges that help have positive scores.
    ///
    /// # Errors
    /// [`Error::File`]: a file that cannot be read or is not such JSON; nodes or edges that the model of its `cfg` does not
    /// have, or that are missing; a circuit of single neurons.
    pub fn from_json(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::file(path, format!("cannot be read ({error}): check the path.")))?;
        parse(&text).map_err(|error| error.in_file(path))
    }

    fn json(&self) -> String {
        let Layout { n_layers, n_heads, d_model, parallel_attn_mlp, attn_only } = self.layout;
        let mut cfg = json!({
            "n_layers": n_layers, "n_heads": n_heads, "parallel_attn_mlp": parallel_attn_mlp, "d_model": d_model,
        });
        if attn_only {
            cfg["attn_only"] = json!(true);
        }
        let inside = self.nodes();
        let node = |node: Node| {
            let included = node == Node::Logits || inside.contains(&node);
            format!("\"{node}\": {{\"in_graph\": {included}}}")
        };
        let nodes: Vec<String> = self.layout.nodes().into_iter().map(node).collect();
        let edge = |(place, edge): (usize, Edge)| {
            let mut text = format!("\"{edge}\": {{\"score\": ");
            match self.scores[place] {
                score if score.is_nan() => text.push_str("NaN"),
                score if score.is_infinite() => text.push_str(if score > 0.0 { "Infinity" } else { "-Infinity" }),
                // As many digits as bring the same f32 back.
                score => write!(text, "{score:?}").expect("a text takes all"),
            }
            text + &format!(", \"in_graph\": {}}}", self.included[place])
        };
        let edges: Vec<String> = self.layout.edges().into_iter().map(edge).collect();
        let (nodes, edges) = (nodes.join(", "), edges.join(", "));
        format!(
            "{{\"cfg\": {cfg}, \"nodes\": {{{nodes}}}, \"edges\": {{{edges}}}, \"method\": {}}}",
            json!(self.method)
        )
    }
}

fn parse(text: &str) -> Result<Circuit> {
    let file: File = files::read_json(without_bare_words(text).as_bytes()).map_err(|error| {
        Error::argument(format!(
            "this is not a circuit in EAP-IG's form ({error}): it needs cfg (with n_layers, n_heads, d_model), nodes \
             and edges."
        ))
    })?;
    let layout = file.cfg;
    check_cfg(&layout)?;
    check_nodes(&layout, &file.nodes)?;
    // All edges must be there before a matrix of the size that the file claims is allocated.
    let places = file.edges.keys().map(|name| place(&layout, name)).collect::<Result<Vec<_>>>()?;
    if let Some(edge) = first_missing(&layout, &file.edges) {
        return Err(Error::argument(format!(
            "the file has {} edges, but not all of its model; {edge} is missing, for example: write it again.",
            file.edges.len()
        )));
    }
    let mut circuit = Circuit::of_layout(layout).empty();
    for ((name, about), place) in file.edges.iter().zip(places) {
        circuit.included[place] = about["in_graph"]
            .as_bool()
            .ok_or_else(|| Error::argument(format!("the edge {name:?} does not say whether it is in_graph.")))?;
        circuit.scores[place] = match &about["score"] {
            Value::Null => f32::NAN,
            score => number(score).ok_or_else(|| {
                Error::argument(format!("the score of the edge {name:?} is {score}, which is not a number."))
            })?,
        };
    }
    circuit.method = file.method.unwrap_or_else(|| "read from a file".into());
    Ok(circuit)
}

/// The index of the edge of this name.
fn place(layout: &Layout, name: &str) -> Result<usize> {
    let edge: Edge = name.parse()?;
    check_counts(edge.from)?;
    check_counts(edge.to)?;
    layout.index(edge)
}

/// In a file each node has one name.
fn check_counts(node: Node) -> Result<()> {
    match node.counts_from_end() {
        true => Err(Error::argument(format!(
            "the file names {node}, but in files layers and heads count from 0: write it again."
        ))),
        false => Ok(()),
    }
}

/// Checks that a file's sizes are a model's.
pub(super) fn check_cfg(layout: &Layout) -> Result<()> {
    let nodes = layout.n_layers.checked_mul(layout.n_heads.saturating_add(1));
    match layout.n_layers == 0 || layout.n_heads == 0 || nodes.is_none_or(|nodes| nodes > MOST_NODES) {
        true => Err(Error::argument(format!("the cfg is not of a model: it says {layout}."))),
        false => Ok(()),
    }
}

/// The first edge of the model that the file does not have.
fn first_missing(layout: &Layout, edges: &Map<String, Value>) -> Option<Edge> {
    let targets = layout.targets();
    layout.sources().into_iter().enumerate().find_map(|(row, from)| {
        let real = targets.iter().filter(|(to, _)| row < layout.prev_index(*to));
        real.map(|&(to, qkv)| Edge { from, to, qkv }).find(|edge| !edges.contains_key(&edge.to_string()))
    })
}

fn number(score: &Value) -> Option<f32> {
    match score.as_str() {
        Some(INFINITE) => Some(f32::INFINITY),
        Some(MINUS_INFINITE) => Some(f32::NEG_INFINITY),
        Some(_) => None,
        None => score.as_f64().map(|score| score as f32),
    }
}

fn check_nodes(layout: &Layout, nodes: &Map<String, Value>) -> Result<()> {
    for (name, about) in nodes {
        let node: Node = name.parse()?;
        check_counts(node)?;
        layout.resolve(node)?;
        if about.get("neurons").is_some() {
            return Err(Error::argument(format!(
                "the circuit chooses single neurons of {node}, but circuits here are of whole nodes: write it without \
                 them."
            )));
        }
    }
    match layout.nodes().into_iter().find(|node| !nodes.contains_key(&node.to_string())) {
        None => Ok(()),
        Some(node) => Err(Error::argument(format!("the file says nothing about the node {node}: write it again."))),
    }
}

const INFINITE: &str = "Infinity";
const MINUS_INFINITE: &str = "-Infinity";

/// Python's bare words for what is not a number, as JSON has it: `null`, and texts for infinities.
fn without_bare_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let words = [("NaN", "null"), (MINUS_INFINITE, "\"-Infinity\""), (INFINITE, "\"Infinity\"")];
        let word = words.into_iter().find(|(word, _)| !quoted && rest.starts_with(word));
        if let Some((word, instead)) = word {
            out.push_str(instead);
            rest = &rest[word.len()..];
            continue;
        }
        // A quote after a backslash does not end its text.
        let taken = if quoted && c == '\\' { rest.chars().take(2).map(char::len_utf8).sum() } else { c.len_utf8() };
        quoted ^= c == '"';
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_are_replaced_outside_texts_only() {
        let text = r#"{"a": NaN, "NaN": [-Infinity, Infinity, 1], "say \"NaN": "\\", "b": NaN}"#;
        let expected = r#"{"a": null, "NaN": ["-Infinity", "Infinity", 1], "say \"NaN": "\\", "b": null}"#;
        assert_eq!(without_bare_words(text), expected);
    }
}
