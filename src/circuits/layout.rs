//! Which edges a model has, and the index of each in a matrix of edges. All index arithmetic is in this file.
//!
//! Rows are writers: the input, then each layer's heads and MLP. Columns are readers: in each layer the inputs of all heads'
//! queries, keys and values, then the MLP, and at the end the logits. Rows are in the order in which they are computed, so a
//! column reads the first `n` rows for some `n`: its real edges are the rows above that number.

use serde::{Deserialize, Serialize};

use super::node::{Edge, Node, Qkv};
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::head::Head;
use crate::slice::{absolute, forward};

/// The sizes of a model that determine its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub n_layers: usize,
    pub n_heads: usize,
    pub d_model: usize,
    /// Attention and MLP of a layer read the same residual stream.
    #[serde(default)]
    pub parallel_attn_mlp: bool,
    /// There are no MLPs.
    #[serde(default)]
    pub attn_only: bool,
}

impl Layout {
    pub(super) fn of(dims: &Dims) -> Self {
        Self {
            n_layers: dims.n_layers,
            n_heads: dims.n_heads,
            d_model: dims.d_model,
            parallel_attn_mlp: dims.parallel_attn_mlp,
            attn_only: dims.attn_only,
        }
    }

    fn mlps(&self) -> usize {
        usize::from(!self.attn_only)
    }

    /// Rows of one layer, columns of one layer.
    fn of_layer(&self) -> (usize, usize) {
        (self.n_heads + self.mlps(), 3 * self.n_heads + self.mlps())
    }

    /// How many rows there are.
    pub(super) fn n_forward(&self) -> usize {
        1 + self.n_layers * self.of_layer().0
    }

    /// How many columns there are.
    pub(super) fn n_backward(&self) -> usize {
        self.n_layers * self.of_layer().1 + 1
    }

    fn layer(&self, layer: isize) -> Option<usize> {
        absolute(layer, self.n_layers, "layer").ok()
    }

    fn head(&self, head: isize) -> Option<usize> {
        absolute(head, self.n_heads, "head").ok()
    }

    /// The same node with layer and head counted from 0.
    ///
    /// # Errors
    /// A node that the model does not have.
    pub(super) fn resolve(&self, node: Node) -> Result<Node> {
        let found = match node {
            Node::Input | Node::Logits => Some(node),
            Node::Head(layer, head) => {
                self.layer(layer).zip(self.head(head)).map(|(layer, head)| Head::new(layer, head).into())
            }
            Node::Mlp(layer) => self.layer(layer).filter(|_| !self.attn_only).map(|layer| Node::Mlp(forward(layer))),
        };
        found.ok_or_else(|| self.unknown(node))
    }

    /// The row of a node that writes; none for the logits, and for what the model does not have.
    pub(super) fn forward_index(&self, node: Node) -> Option<usize> {
        let first = |layer: usize| 1 + layer * self.of_layer().0;
        match node {
            Node::Input => Some(0),
            Node::Head(layer, head) => Some(first(self.layer(layer)?) + self.head(head)?),
            Node::Mlp(layer) if !self.attn_only => Some(first(self.layer(layer)?) + self.n_heads),
            Node::Mlp(_) | Node::Logits => None,
        }
    }

    /// The column of what reads; none for the input, and for what the model does not have.
    pub(super) fn backward_index(&self, node: Node, qkv: Option<Qkv>) -> Option<usize> {
        let first = |layer: usize| layer * self.of_layer().1;
        match (node, qkv) {
            (Node::Head(layer, head), Some(qkv)) => {
                Some(first(self.layer(layer)?) + qkv as usize * self.n_heads + self.head(head)?)
            }
            (Node::Mlp(layer), None) if !self.attn_only => Some(first(self.layer(layer)?) + 3 * self.n_heads),
            (Node::Logits, None) => Some(self.n_backward() - 1),
            _ => None,
        }
    }

    /// How many of the first rows a node reads; none where the model does not have it.
    pub(super) fn prev_index(&self, node: Node) -> usize {
        let before = |layer: isize| self.layer(layer).map_or(0, |layer| 1 + layer * self.of_layer().0);
        match node {
            Node::Input => 0,
            Node::Head(layer, _) => before(layer),
            Node::Mlp(layer) if self.parallel_attn_mlp => before(layer),
            Node::Mlp(layer) => before(layer) + self.n_heads,
            Node::Logits => self.n_forward(),
        }
    }

    /// The nodes that write, in the order of the rows.
    pub(super) fn sources(&self) -> Vec<Node> {
        let of_layer = |layer: usize| {
            let heads = (0..self.n_heads).map(move |head| Head::new(layer, head).into());
            heads.chain((!self.attn_only).then_some(Node::Mlp(forward(layer))))
        };
        [Node::Input].into_iter().chain((0..self.n_layers).flat_map(of_layer)).collect()
    }

    /// What reads, in the order of the columns.
    pub(super) fn targets(&self) -> Vec<(Node, Option<Qkv>)> {
        let of_layer = |layer: usize| {
            let heads = Qkv::ALL
                .into_iter()
                .flat_map(move |qkv| (0..self.n_heads).map(move |head| (Head::new(layer, head).into(), Some(qkv))));
            heads.chain((!self.attn_only).then_some((Node::Mlp(forward(layer)), None)))
        };
        (0..self.n_layers).flat_map(of_layer).chain([(Node::Logits, None)]).collect()
    }

    /// Every node, in the order in which they are computed.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let mut nodes = self.sources();
        nodes.push(Node::Logits);
        nodes
    }

    /// Every real edge with its index in a matrix of `n_forward` rows, row by row.
    pub(super) fn edges(&self) -> Vec<(usize, Edge)> {
        let targets = self.targets();
        let of_row = |(row, &from): (usize, &Node)| {
            let real = targets.iter().enumerate().filter(move |(_, (to, _))| row < self.prev_index(*to));
            real.map(move |(column, &(to, qkv))| (row * self.n_backward() + column, Edge { from, to, qkv }))
                .collect::<Vec<_>>()
        };
        self.sources().iter().enumerate().flat_map(of_row).collect()
    }

    /// The index of an edge in a matrix of all rows and columns.
    ///
    /// # Errors
    /// An edge that the model does not have, with the reason.
    pub(super) fn index(&self, edge: Edge) -> Result<usize> {
        let edge = Edge { from: self.resolve(edge.from)?, to: self.resolve(edge.to)?, ..edge };
        let real = self.forward_index(edge.from).zip(self.backward_index(edge.to, edge.qkv));
        match real.filter(|(row, _)| *row < self.prev_index(edge.to)) {
            Some((row, column)) => Ok(row * self.n_backward() + column),
            None => Err(Error::argument(format!(
                "{edge} is not an edge of this model: {} does not read what {} writes{}.",
                edge.to,
                edge.from,
                match edge.to {
                    Node::Mlp(_) if self.parallel_attn_mlp =>
                        ", because its attention and MLP of one layer read the same stream",
                    _ => ", which comes at the same time or later",
                }
            ))),
        }
    }

    /// The error about a node that the model does not have.
    fn unknown(&self, node: Node) -> Error {
        let mlps = if self.attn_only { "no MLPs" } else { "an MLP in each layer" };
        Error::argument(format!(
            "{node} does not exist in this model, which has layers 0 to {}, heads 0 to {} and {mlps}.",
            self.n_layers.saturating_sub(1),
            self.n_heads.saturating_sub(1)
        ))
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} layers, {} heads, d_model {}", self.n_layers, self.n_heads, self.d_model)?;
        f.write_str(if self.parallel_attn_mlp { ", parallel attention and MLP" } else { "" })?;
        f.write_str(if self.attn_only { ", attention only" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(n_layers: usize, n_heads: usize, parallel_attn_mlp: bool, attn_only: bool) -> Layout {
        Layout { n_layers, n_heads, d_model: 8, parallel_attn_mlp, attn_only }
    }

    /// The edges as a list grown layer by layer: what has been written so far goes to what reads next.
    fn grown(layout: &Layout) -> Vec<String> {
        let mut stream = vec!["input".to_string()];
        let mut edges = Vec::new();
        for layer in 0..layout.n_layers {
            let heads: Vec<String> = (0..layout.n_heads).map(|head| format!("a{layer}.h{head}")).collect();
            for (from, head) in stream.iter().flat_map(|from| heads.iter().map(move |head| (from, head))) {
                edges.extend(["q", "k", "v"].map(|input| format!("{from}->{head}<{input}>")));
            }
            if !layout.parallel_attn_mlp {
                stream.extend(heads.clone());
            }
            if !layout.attn_only {
                edges.extend(stream.iter().map(|from| format!("{from}->m{layer}")));
            }
            if layout.parallel_attn_mlp {
                stream.extend(heads);
            }
            if !layout.attn_only {
                stream.push(format!("m{layer}"));
            }
        }
        edges.extend(stream.iter().map(|from| format!("{from}->logits")));
        edges.sort();
        edges
    }

    #[test]
    fn edges_are_those_that_grow_layer_by_layer() {
        for (parallel, attn_only) in [(false, false), (true, false), (false, true)] {
            let layout = layout(3, 2, parallel, attn_only);
            let mut edges: Vec<String> = layout.edges().iter().map(|(_, edge)| edge.to_string()).collect();
            edges.sort();
            assert_eq!(edges, grown(&layout), "{layout}");
        }
    }

    #[test]
    fn gpt2_small_has_the_counts_of_eap_ig() {
        let gpt2 = layout(12, 12, false, false);
        assert_eq!((gpt2.n_forward(), gpt2.n_backward(), gpt2.edges().len()), (157, 445, 32_491));
    }

    #[test]
    fn each_edge_has_the_place_that_it_stands_at() -> Result<()> {
        for (parallel, attn_only) in [(false, false), (true, false), (false, true)] {
            let layout = layout(3, 4, parallel, attn_only);
            assert_eq!(layout.sources().len(), layout.n_forward());
            assert_eq!(layout.targets().len(), layout.n_backward());
            for (row, node) in layout.sources().into_iter().enumerate() {
                assert_eq!(layout.forward_index(node), Some(row));
            }
            for (column, (node, qkv)) in layout.targets().into_iter().enumerate() {
                assert_eq!(layout.backward_index(node, qkv), Some(column));
            }
            let edges = layout.edges();
            assert!(edges.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
            for (place, edge) in edges {
                assert_eq!(layout.index(edge)?, place, "{edge}");
            }
        }
        Ok(())
    }

    #[test]
    fn numbers_may_count_from_the_end() -> Result<()> {
        let layout = layout(3, 4, false, false);
        for (name, same) in [
            ("a-3.h-4->a-1.h-2<k>", "a0.h0->a2.h2<k>"),
            ("m-3->m-2", "m0->m1"),
            ("input->a1.h-1<v>", "input->a1.h3<v>"),
            ("m-1->logits", "m2->logits"),
        ] {
            let (edge, same): (Edge, Edge) = (name.parse()?, same.parse()?);
            assert_eq!(layout.index(edge)?, layout.index(same)?, "{name}");
            assert_eq!([layout.resolve(edge.from)?, layout.resolve(edge.to)?], [same.from, same.to], "{name}");
        }
        for name in ["a-4.h0", "a0.h-5", "m-4", "m3"] {
            assert!(layout.resolve(name.parse()?).is_err(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn edges_that_are_not_there_are_refused_with_the_reason() {
        let message = |layout: &Layout, edge: &str| {
            layout.index(edge.parse().expect("an edge")).expect_err("no edge of it").to_string()
        };
        let (serial, parallel, heads) =
            (layout(2, 2, false, false), layout(2, 2, true, false), layout(2, 2, false, true));
        assert!(message(&serial, "m1->m1").contains("later"));
        assert!(message(&serial, "a1.h0->a1.h1<v>").contains("a1.h1 does not read what a1.h0 writes"));
        assert!(message(&serial, "logits->m1").contains("logits"));
        assert!(message(&serial, "m0->input").contains("input"));
        assert!(message(&serial, "m2->logits").contains("layers 0 to 1"));
        assert!(message(&parallel, "a1.h0->m1").contains("same stream"));
        assert!(message(&heads, "m0->logits").contains("no MLPs"));
    }
}
