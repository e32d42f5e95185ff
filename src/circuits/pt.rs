//! Circuits from `.pt` files of EAP-IG's `Graph.to_pt`. Nothing in the file is executed.
//!
//! Such a file is a dictionary of `cfg`, of the names of the rows (`src_nodes`) and columns (`dst_nodes`), and of matrices of
//! scores and membership. There is no writer, because EAP-IG's `Graph.from_json` reads JSON ([`Circuit::to_json`]).

use std::path::Path;

use super::circuit::Circuit;
use super::json::check_cfg;
use super::layout::Layout;
use super::node::Node;
use crate::error::{Error, Result};
use crate::storage::{TorchDict, TorchFile};

impl Circuit {
    /// Reads a circuit that EAP-IG's `Graph.to_pt` wrote. As in [`Circuit::from_json`], the edges decide, scores of nodes are ignored, and
    /// scores are of the metric that EAP-IG was given.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let circuit = Circuit::from_pt("tests/fixtures/eap_ig.pt")?;
    /// assert_eq!(circuit.count_included_edges(), 44);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`]: a file that cannot be read or holds something else; rows and columns that are not those of the model
    /// of its `cfg`; a circuit of single neurons.
    pub fn from_pt(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = TorchFile::open(path)?;
        file.dict().and_then(read).map_err(|error| error.in_file(path))
    }
}

fn read(file: TorchDict) -> Result<Circuit> {
    let layout = layout(file)?;
    if file.has("neurons_in_graph") {
        return Err(Error::argument(
            "the circuit chooses single neurons, but circuits here are of whole nodes: write it without them.",
        ));
    }
    let targets = layout.targets().into_iter().map(|(node, qkv)| match qkv {
        Some(qkv) => format!("{node}<{qkv}>"),
        None => node.to_string(),
    });
    check_names(file, "src_nodes", layout.sources().iter().map(Node::to_string).collect())?;
    check_names(file, "dst_nodes", targets.collect())?;
    let (scores, included) = (matrix(file, "edges_scores", &layout)?, matrix(file, "edges_in_graph", &layout)?);
    let mut circuit = Circuit::of_layout(layout).scored(&scores, "read from a file").empty();
    // When choosing nodes, EAP-IG also marks entries where there is no edge.
    for (place, edge) in layout.edges() {
        circuit.included[place] = match included[place] {
            0. => false,
            1. => true,
            other => return Err(Error::argument(format!("{edge} is in the graph by {other}, not by true or false."))),
        };
    }
    Ok(circuit)
}

fn layout(file: TorchDict) -> Result<Layout> {
    let cfg = file.dict("cfg").ok_or_else(|| missing(file, "cfg"))?;
    let size = |name: &str| {
        cfg.size(name).ok_or_else(|| Error::argument(format!("the cfg of the file has no {name}: write it again.")))
    };
    let flag = |name: &str| cfg.flag(name) == Some(true);
    let layout = Layout {
        n_layers: size("n_layers")?,
        n_heads: size("n_heads")?,
        d_model: size("d_model")?,
        parallel_attn_mlp: flag("parallel_attn_mlp"),
        attn_only: flag("attn_only"),
    };
    check_cfg(&layout)?;
    Ok(layout)
}

fn check_names(file: TorchDict, key: &str, expected: Vec<String>) -> Result<()> {
    let names = file.texts(key).ok_or_else(|| missing(file, key))?;
    match names.iter().zip(&expected).find(|(name, expected)| **name != expected.as_str()) {
        Some((name, expected)) => Err(Error::argument(format!(
            "{key} of the file has {name:?} where the model of its cfg has {expected:?}: write it again."
        ))),
        None if names.len() == expected.len() => Ok(()),
        None => Err(Error::argument(format!(
            "{key} of the file has {} names, but the model of its cfg has {}: write it again.",
            names.len(),
            expected.len()
        ))),
    }
}

fn matrix(file: TorchDict, key: &str, layout: &Layout) -> Result<Vec<f32>> {
    let (shape, numbers) = file.numbers(key)?.ok_or_else(|| missing(file, key))?;
    let expected = [layout.n_forward(), layout.n_backward()];
    match shape == expected {
        true => Ok(numbers),
        false => Err(Error::shape(format!("{key} of the file"), format!("{expected:?}, as its cfg says"), &shape)),
    }
}

fn missing(file: TorchDict, key: &str) -> Error {
    let keys: Vec<&str> = file.keys(12).collect();
    Error::argument(format!(
        "this is not a circuit in the form of EAP-IG's to_pt: it needs {key}, and has {}.",
        if keys.is_empty() { "nothing".into() } else { keys.join(", ") }
    ))
}
