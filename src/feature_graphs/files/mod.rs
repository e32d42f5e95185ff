//! Files of graphs: circuit-tracer's JSON, with what it has no place for under a key of its own.
//!
//! `nodes` and `links` hold features, errors, tokens and targets; `qParams` pins and groups; a label is a node's `clerp`. Under
//! `candle_lens`, which other readers pass over, are the sources that circuit-tracer does not have with their edges, values, and the names
//! of targets, so that the graph comes back bit for bit: numbers are written as the f64 that each f32 is, which is what Python writes too
//! and what a reader that errs by the last bit of an f64 still turns into the same f32.
//!
//! Ids are those of circuit-tracer after its fix of the ids of errors, `layer_-1_pos`. In files of version 0.5 and before, the error of
//! layer 2 at position 5 is `0_2_5`, and so is feature 2 of layer 0: which of the two a link comes from is worked out from what can lead
//! where and from the order of its links, and a file that leaves it open is refused.
//!
//! Limits: files were read by circuit-tracer's models, not drawn in a browser, nor uploaded to Neuronpedia; a file that circuit-tracer wrote is pruned and has no biases, so its edges do not sum to values, which it does not have either;
//! `influence` in a file is the cumulated share at which a node enters, and is computed again here from the edges that are there.
//!
//! References: `create_graph_files` and the models of `circuit_tracer.frontend.graph_models` of circuit-tracer 0.5; issue 78 of its
//! repository.

mod form;
mod link;
mod parts;
mod read;
mod told;
mod write;

use std::path::Path;

use super::graph::AttributionGraph;
use super::supernodes::Supernodes;
use crate::error::Result;

impl AttributionGraph {
    /// Writes the graph, whole or not at all, in the form of circuit-tracer's graph files, which its models read and that
    /// [`AttributionGraph::open`] turns into the same graph. A file that is there is replaced. [`AttributionGraph::prune`] first what is to
    /// be looked at: an unpruned graph of a long prompt has millions of edges.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let transcoders = DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
    /// let graph = model.attribution_graph(transcoders, "The capital of France is", GraphTargets::top())?.prune(0.8, 0.98)?;
    /// let path = std::env::temp_dir().join("candle-lens-example-graph.json");
    /// graph.save_to(&path)?;
    /// assert_eq!(AttributionGraph::open(&path)?, graph);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a number that JSON cannot hold; [`Error::File`](crate::Error::File) if the file
    /// cannot be written.
    pub fn save_to(&self, path: impl AsRef<Path>) -> Result<()> {
        write::write(path.as_ref(), self, None)
    }

    /// Reads a graph that [`AttributionGraph::save_to`] or circuit-tracer wrote. [`Supernodes::open`] reads groups, pins and labels too.
    ///
    /// A graph of circuit-tracer has what its file has: no biases, and no values ([`AttributionGraph::value`] says so).
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File): a file that cannot be read or is not such JSON; kinds of nodes that are not understood; ids that
    /// come twice or are not in the file; edges that lead backwards; numbers that are not an f32's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(read::open(path.as_ref())?.graph)
    }
}

impl Supernodes {
    /// Writes the graph with its groups, pins and labels, as [`AttributionGraph::save_to`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let transcoders = DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
    /// let graph = model.attribution_graph(transcoders, "The capital of France is", GraphTargets::top())?.prune(0.8, 0.98)?;
    /// let groups = graph.supernodes().group("France", ["E_4".parse()?, "E_5".parse()?])?;
    /// let path = std::env::temp_dir().join("candle-lens-example-groups.json");
    /// groups.save_to(&path)?;
    /// assert_eq!(Supernodes::open(&path)?, groups);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`AttributionGraph::save_to`].
    pub fn save_to(&self, path: impl AsRef<Path>) -> Result<()> {
        write::write(path.as_ref(), &self.graph, Some(self))
    }

    /// Reads a graph with its groups, pins and labels. Members of groups are pinned, which circuit-tracer leaves open; of groups with the
    /// same name, which it allows, all but the first get a number behind it.
    ///
    /// # Errors
    /// As [`AttributionGraph::open`]; groups or pins of nodes that are not in the graph, nodes in two groups, groups without members.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        read::open(path.as_ref())?.supernodes().map_err(|error| error.in_file(path.as_ref()))
    }
}
