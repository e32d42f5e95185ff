//! A circuit: the edges of a model, the score of each, and which of them are in it.

use std::collections::BTreeSet;
use std::fmt;

use super::layout::Layout;
use super::node::{Edge, Node};
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::visible::visible;

/// The edges between a model's heads, MLPs, input and logits: the score of each, and which belong to the circuit.
///
/// A circuit is immutable: selecting edges returns another one. A score of NaN means that the edge has none.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let circuit = Circuit::of(&model);
/// assert_eq!(circuit.count_included_edges(), circuit.n_edges());
/// let less = circuit.without("m0->m3")?.without("a0.h3->a1.h1<q>")?;
/// assert_eq!(less.count_included_edges(), circuit.n_edges() - 2);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Circuit {
    pub(super) layout: Layout,
    /// `[n_forward, n_backward]`, row by row; NaN where there is no edge or no score.
    pub(super) scores: Vec<f32>,
    /// `[n_forward, n_backward]`, row by row; false where there is no edge.
    pub(super) included: Vec<bool>,
    /// How the scores were computed.
    pub(super) method: String,
    /// The metric of the clean run and of the empty circuit, where scores are changes of it.
    pub(super) levels: Option<(f32, f32)>,
}

impl Circuit {
    /// All edges of the model, in the circuit and without scores.
    pub fn of(model: &HookedTransformer) -> Self {
        Self::of_layout(Layout::of(&model.dims()))
    }

    pub(super) fn of_layout(layout: Layout) -> Self {
        let count = layout.n_forward() * layout.n_backward();
        let mut included = vec![false; count];
        layout.edges().iter().for_each(|(place, _)| included[*place] = true);
        Self { layout, scores: vec![f32::NAN; count], included, method: "no scores".into(), levels: None }
    }

    /// The same edges in the circuit, other scores: a matrix of all rows and columns.
    pub(super) fn scored(mut self, scores: &[f32], method: impl Into<String>) -> Self {
        for (place, _) in self.layout.edges() {
            self.scores[place] = scores[place];
        }
        self.method = method.into();
        self.levels = None;
        self
    }

    /// How the scores were computed: the method with its rule and steps, the metric and the intervention.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// How many edges the model has.
    pub fn n_edges(&self) -> usize {
        self.layout.edges().len()
    }

    /// How many edges are in the circuit.
    pub fn count_included_edges(&self) -> usize {
        self.included.iter().filter(|included| **included).count()
    }

    /// How many nodes are in the circuit: those with an edge in it.
    pub fn count_included_nodes(&self) -> usize {
        self.nodes().len()
    }

    /// The nodes of the circuit, those with an edge in it, in the order in which they are computed.
    pub fn nodes(&self) -> Vec<Node> {
        let touched: BTreeSet<Node> = self.edges().into_iter().flat_map(|edge| [edge.from, edge.to]).collect();
        self.layout.nodes().into_iter().filter(|node| touched.contains(node)).collect()
    }

    /// The edges of the circuit, by what writes and then by what reads.
    pub fn edges(&self) -> Vec<Edge> {
        let edges = self.layout.edges().into_iter();
        edges.filter(|(place, _)| self.included[*place]).map(|(_, edge)| edge).collect()
    }

    /// Every edge of the model.
    pub fn all_edges(&self) -> Vec<Edge> {
        self.layout.edges().into_iter().map(|(_, edge)| edge).collect()
    }

    /// The score of an edge, given as an [`Edge`] or by its name; NaN where it has none.
    ///
    /// # Errors
    /// A name that is not an edge of the model.
    pub fn score(&self, edge: impl ToString) -> Result<f32> {
        Ok(self.scores[self.place(edge)?])
    }

    /// Whether an edge, given as an [`Edge`] or by its name, is in the circuit.
    ///
    /// # Errors
    /// A name that is not an edge of the model.
    pub fn includes(&self, edge: impl ToString) -> Result<bool> {
        Ok(self.included[self.place(edge)?])
    }

    /// The circuit with this edge.
    ///
    /// # Errors
    /// A name that is not an edge of the model.
    pub fn with(&self, edge: impl ToString) -> Result<Self> {
        self.with_edge(edge, true)
    }

    /// The circuit without this edge.
    ///
    /// # Errors
    /// A name that is not an edge of the model.
    pub fn without(&self, edge: impl ToString) -> Result<Self> {
        self.with_edge(edge, false)
    }

    /// The circuit without the edges of these nodes.
    ///
    /// # Errors
    /// A node that the model does not have.
    pub fn without_nodes(&self, nodes: &[Node]) -> Result<Self> {
        let nodes = nodes.iter().map(|node| self.layout.resolve(*node)).collect::<Result<Vec<_>>>()?;
        Ok(self.keeping(|_, edge| !nodes.contains(&edge.from) && !nodes.contains(&edge.to)))
    }

    fn with_edge(&self, edge: impl ToString, included: bool) -> Result<Self> {
        let place = self.place(edge)?;
        let mut circuit = self.clone();
        circuit.included[place] = included;
        Ok(circuit)
    }

    /// Those edges of the circuit that `keep` accepts, by their index in the matrix.
    pub(super) fn keeping(&self, keep: impl Fn(usize, Edge) -> bool) -> Self {
        let mut circuit = self.clone();
        for (place, edge) in self.layout.edges() {
            circuit.included[place] &= keep(place, edge);
        }
        circuit
    }

    /// The circuit of exactly these edges, by their index in the matrix.
    pub(super) fn of_places(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let mut circuit = Self { included: vec![false; self.included.len()], ..self.clone() };
        places.into_iter().for_each(|place| circuit.included[place] = true);
        circuit
    }

    fn place(&self, edge: impl ToString) -> Result<usize> {
        self.layout.index(edge.to_string().parse()?)
    }

    /// All scores; NaN where there is no edge, or no score.
    ///
    /// # Shapes
    /// `[from, to]`: what writes, and what reads (`a5.h1<q>`).
    pub fn scores(&self) -> Labelled {
        let name = |(node, qkv): (Node, Option<super::node::Qkv>)| match qkv {
            Some(qkv) => format!("{node}<{qkv}>"),
            None => node.to_string(),
        };
        let from = Axis::new("from", self.layout.sources().iter().map(Node::to_string));
        let to = Axis::new("to", self.layout.targets().into_iter().map(name));
        let title = format!("scores of edges, {}", self.method);
        Labelled::new(title, vec![from, to], self.scores.clone()).expect("the layout gives axes and numbers alike")
    }

    /// The share of edges that two circuits have in common, of those in either (the Jaccard index); 1 for two empty
    /// circuits.
    ///
    /// # Errors
    /// A circuit of a model with other edges.
    pub fn overlap(&self, other: &Self) -> Result<f32> {
        other.check(&self.layout)?;
        let pairs = || self.included.iter().zip(&other.included);
        let both = pairs().filter(|(a, b)| **a && **b).count();
        let either = pairs().filter(|(a, b)| **a || **b).count();
        Ok(if either == 0 { 1.0 } else { both as f32 / either as f32 })
    }

    /// Checks that the circuit is of a model with these edges.
    pub(super) fn check(&self, layout: &Layout) -> Result<()> {
        if self.layout == *layout {
            return Ok(());
        }
        Err(Error::argument(format!(
            "the circuit is of a model with {}, but this one has {layout}: make it with Circuit::of for this model.",
            self.layout
        )))
    }
}

/// Two circuits are equal when edges, membership, method and scores are; no score equals no score. The levels of the metric, which
/// files do not hold, do not count.
impl PartialEq for Circuit {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
        self.layout == other.layout
            && self.included == other.included
            && self.method == other.method
            && self.scores.iter().zip(&other.scores).all(same)
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Circuit({} of {} edges, {} nodes; {})",
            self.count_included_edges(),
            self.n_edges(),
            self.count_included_nodes(),
            visible(&self.method)
        )
    }
}
