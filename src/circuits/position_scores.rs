//! Scores of edges by position or by span, and what they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{Device, Tensor};

use super::circuit::Circuit;
use super::json::check_cfg;
use super::layout::Layout;
use super::node::{Edge, Node};
use super::spans::SpanLayout;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::storage;
use crate::visible::visible;

const KIND: &str = "scores of edges by position";

/// The scores of edges at each position or span, and of edges into keys and values from each to each. Made by
/// [`Edges::attribute_by_position`](super::Edges::attribute_by_position) and
/// [`Edges::attribute_by_span`](super::Edges::attribute_by_span).
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = "When John and Mary went to the shops, John gave the bag to";
/// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
/// let scores = edges.attribute_by_position(EdgeMethod::Eap)?;
/// // What helps most goes from the second mention of the name, or ends at the last position.
/// let best = &scores.strongest(1)[0];
/// assert!(best.score.abs() > 0.1, "{best}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct PositionScores {
    layout: SpanLayout,
    /// `position` or `span`.
    axis: String,
    names: Vec<String>,
    scores: Vec<f32>,
    method: String,
    levels: Option<(f32, f32)>,
}

/// The score of one edge from one position or span to another, which are the same unless it enters keys or values.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionScore {
    /// The edge.
    pub edge: Edge,
    /// Where it is read.
    pub from: String,
    /// Where what is made of it is written.
    pub to: String,
    /// How much the metric changes when the edge is corrupted there.
    pub score: f32,
}

impl PositionScores {
    pub(super) fn new(
        layout: SpanLayout,
        (axis, names): (String, Vec<String>),
        scores: Vec<f32>,
        method: String,
        levels: Option<(f32, f32)>,
    ) -> Self {
        Self { layout, axis, names, scores, method, levels }
    }

    /// How the scores were computed: the method with its rule and steps, the metric and the intervention.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The labels of the positions, or the names of the spans, the last of them `other` where some positions are in no other.
    pub fn spans(&self) -> Vec<String> {
        self.names.clone()
    }

    /// What the labels are of: `position` or `span`.
    pub fn axis(&self) -> &str {
        &self.axis
    }

    /// The scores of one edge, given as an [`Edge`] or by its name; 0 where it does not go.
    ///
    /// # Shapes
    /// `[from, to]`.
    ///
    /// # Errors
    /// A name that is not an edge of the model.
    pub fn edge(&self, edge: impl ToString) -> Result<Labelled> {
        let edge: Edge = edge.to_string().parse()?;
        let place = self.layout.layout.index(edge)?;
        let ways = (0..self.names.len()).flat_map(|from| (0..self.names.len()).map(move |to| (from, to)));
        let score = |way| self.layout.index(place, edge.qkv, way).map_or(0., |index| self.scores[index]);
        let axes = vec![self.named("from"), self.named("to")];
        Labelled::new(format!("scores of {edge}, {}", self.method), axes, ways.map(score).collect())
    }

    /// The score of one edge from one position or span to another, by their indices; 0 where it does not go.
    ///
    /// # Errors
    /// A name that is not an edge of the model; an index that is too large.
    pub fn score(&self, edge: impl ToString, from: usize, to: usize) -> Result<f32> {
        let size = self.names.len();
        if let Some(index) = [from, to].into_iter().find(|index| *index >= size) {
            let index = crate::slice::forward(index);
            return Err(Error::IndexOutOfRange { axis: "position", index, size });
        }
        Ok(self.edge(edge)?.values()[[from, to]])
    }

    /// The scores of each edge summed over all positions, from and to. Those of methods with gradients are the scores of
    /// [`Edges::attribute`](super::Edges::attribute).
    pub fn total(&self) -> Circuit {
        let mut sums = vec![0f64; self.layout.layout.n_forward() * self.layout.layout.n_backward()];
        self.layout.all().for_each(|(index, (place, _), _)| sums[place] += f64::from(self.scores[index]));
        let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
        let method = format!("{}, summed over {}s", self.method, self.axis);
        Circuit { levels: self.levels, ..Circuit::of_layout(self.layout.layout).scored(&sums, method) }
    }

    /// What each node's edges out score at each position: those that leave it there.
    ///
    /// # Shapes
    /// `[node, from]`.
    pub fn by_node(&self) -> Labelled {
        let (layout, size) = (self.layout.layout, self.names.len());
        let mut sums = vec![0f64; layout.n_forward() * size];
        for (index, (_, edge), (from, _)) in self.layout.all() {
            let row = layout.forward_index(edge.from).expect("a node that writes");
            sums[row * size + from] += f64::from(self.scores[index]);
        }
        let axes = vec![Axis::new("node", layout.sources().iter().map(Node::to_string)), self.named(&self.axis)];
        self.labelled("scores of the edges out of each node", axes, sums)
    }

    /// What goes through each head from one position to another: the sum over the edges into its keys and values.
    ///
    /// # Shapes
    /// `[head, from, to]`.
    pub fn through_heads(&self) -> Labelled {
        let (layout, size) = (self.layout.layout, self.names.len());
        let heads: Vec<Node> = layout.sources().into_iter().filter(|node| matches!(node, Node::Head(..))).collect();
        let numbers: BTreeMap<Node, usize> = heads.iter().enumerate().map(|(number, head)| (*head, number)).collect();
        let mut sums = vec![0f64; heads.len() * size * size];
        for (index, (_, edge), (from, to)) in self.layout.all() {
            if super::spans::crosses(edge.qkv) {
                sums[(numbers[&edge.to] * size + from) * size + to] += f64::from(self.scores[index]);
            }
        }
        let axes = vec![Axis::new("head", heads.iter().map(Node::to_string)), self.named("from"), self.named("to")];
        self.labelled("scores of the edges into keys and values", axes, sums)
    }

    /// The `n` scores that are farthest from 0, the strongest first; NaN is not a score.
    pub fn strongest(&self, n: usize) -> Vec<PositionScore> {
        let mut all: Vec<_> = self.layout.all().filter(|(index, ..)| !self.scores[*index].is_nan()).collect();
        all.sort_by(|a, b| self.scores[b.0].abs().total_cmp(&self.scores[a.0].abs()));
        let of = |(index, (_, edge), (from, to)): (usize, (usize, Edge), (usize, usize))| PositionScore {
            edge,
            from: self.names[from].clone(),
            to: self.names[to].clone(),
            score: self.scores[index],
        };
        all.into_iter().take(n).map(of).collect()
    }

    /// How many scores there are.
    pub fn count(&self) -> usize {
        self.scores.len()
    }

    fn named(&self, axis: &str) -> Axis {
        Axis::new(axis, self.names.iter().cloned())
    }

    fn labelled(&self, what: &str, axes: Vec<Axis>, sums: Vec<f64>) -> Labelled {
        let sums = sums.into_iter().map(|sum| sum as f32).collect();
        Labelled::new(format!("{what}, {}", self.method), axes, sums).expect("the layout gives axes and numbers alike")
    }

    /// Saves the scores with all that belongs to them in one file, which is written whole or not at all; numbers are
    /// preserved bit for bit.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let clean = "When John and Mary went to the shops, John gave the bag to";
    /// # let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// # let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// # let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let scores = edges.attribute_by_position(EdgeMethod::Eap)?;
    /// let path = std::env::temp_dir().join("edges_by_position.safetensors");
    /// scores.save(&path)?;
    /// assert_eq!(PositionScores::load(&path)?, scores);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let scores = Tensor::from_vec(self.scores.clone(), self.scores.len(), &Device::Cpu)?;
        let about = (&self.layout.layout, &self.axis, &self.names, &self.method, &self.levels);
        storage::store(path.as_ref(), KIND, &about, &BTreeMap::from([("scores".into(), scores)]))
    }

    /// Reads what [`PositionScores::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged, or not of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        type About = (Layout, String, Vec<String>, String, Option<(f32, f32)>);
        let path = path.as_ref();
        let ((layout, axis, names, method, levels), mut tensors): (About, _) = storage::restore(path, KIND)?;
        check_cfg(&layout).map_err(|error| error.in_file(path))?;
        let wrong = |message: String| Error::file(path, message);
        if names.is_empty() || names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            return Err(wrong("names no positions, or two alike: save it again.".into()));
        }
        let scores = storage::take(path, &mut tensors, "scores")?.flatten_all()?;
        // Before a list of the size that the file claims is made.
        let most = layout.n_forward().saturating_mul(layout.n_backward()).saturating_mul(names.len());
        if scores.elem_count() > most.saturating_mul(names.len()) || layout.n_forward() > scores.elem_count() {
            return Err(wrong(format!("has {} scores, which are not those of {layout}.", scores.elem_count())));
        }
        let spans = SpanLayout::new(layout, names.len());
        if scores.elem_count() != spans.len() || scores.dtype() != candle_core::DType::F32 {
            return Err(wrong(format!(
                "has {} scores of type {:?}, but {} of type F32 belong to {layout} with {} {axis}s.",
                scores.elem_count(),
                scores.dtype(),
                spans.len(),
                names.len()
            )));
        }
        Ok(Self { layout: spans, axis, names, scores: scores.to_vec1()?, method, levels })
    }
}

impl std::fmt::Display for PositionScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (visible(&self.from), visible(&self.to));
        match self.from == self.to {
            true => write!(f, "{:.4} by {} at {from}", self.score, self.edge),
            false => write!(f, "{:.4} by {} from {from} to {to}", self.score, self.edge),
        }
    }
}

impl std::fmt::Debug for PositionScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (edges, count) = (self.layout.layout.edges().len(), self.names.len());
        write!(f, "PositionScores({edges} edges by {count} {}s; {})", self.axis, visible(&self.method))
    }
}
