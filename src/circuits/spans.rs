//! Spans: parts of prompts by name, so that prompts of different lengths can be compared part by part; and the index of each
//! edge's score from span to span.
//!
//! A schema says where each span is in each prompt (Haklay et al. 2025, <https://arxiv.org/abs/2502.04577>). Single
//! positions are a schema too: one span for each.

use super::layout::Layout;
use super::node::{Edge, Qkv};
use crate::error::{Error, Result};
use crate::slice::Slice;
use crate::tokens::Tokens;
use crate::visible::visible;

/// The span of what no other span has.
pub(super) const OTHER: &str = "other";

/// Where each named part of a task is in each prompt: subject, verb, ..
///
/// Positions count from a prompt's first token, a beginning-of-sequence token included, and negative ones from its end; padding does not count. Positions
/// in no span are in one called `other`, so that nothing is lost.
///
/// ```
/// use candle_lens::prelude::*;
/// // "The keys on the cabinet" and "The old clock in the hall", each after a beginning-of-sequence token.
/// let spans = Spans::new(["subject", "place"]).prompt([1..3, 4..6]).prompt([1..4, 5..7]);
/// assert_eq!(spans.names(), ["subject", "place"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    names: Vec<String>,
    prompts: Vec<Vec<Slice>>,
}

impl Spans {
    /// A schema of these spans, without prompts yet.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), prompts: Vec::new() }
    }

    /// Where the spans are in the next prompt, in the order of their names. A schema with one prompt alone is that of all
    /// prompts.
    pub fn prompt<S: Into<Slice>>(mut self, places: impl IntoIterator<Item = S>) -> Self {
        self.prompts.push(places.into_iter().map(Into::into).collect());
        self
    }

    /// The names of the spans.
    pub fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Where the spans are in each prompt that was given.
    pub fn prompts(&self) -> Vec<Vec<Slice>> {
        self.prompts.clone()
    }

    /// The span of each position of these prompts.
    ///
    /// # Errors
    /// No spans, or two with one name; other counts of prompts or places; positions that a prompt does not have, or that two
    /// spans share.
    pub(super) fn of(&self, tokens: &Tokens) -> Result<SpanOf> {
        self.check_names()?;
        if self.prompts.len() != 1 && self.prompts.len() != tokens.batch() {
            return Err(Error::argument(format!(
                "the schema says where its spans are in {} prompts, but there are {}: give one .prompt(..) for each, or a \
                 single one for all.",
                self.prompts.len(),
                tokens.batch()
            )));
        }
        let mut of = vec![None; tokens.batch() * tokens.pos()];
        for prompt in 0..tokens.batch() {
            let places = &self.prompts[if self.prompts.len() == 1 { 0 } else { prompt }];
            if places.len() != self.names.len() {
                return Err(Error::argument(format!(
                    "the schema has {} spans, but {} places are given in prompt {prompt}: give one for each span.",
                    self.names.len(),
                    places.len()
                )));
            }
            let first = prompt * tokens.pos() + tokens.first_positions()[prompt];
            for (span, place) in places.iter().enumerate() {
                for position in place.indices(tokens.lengths()[prompt], "pos")? {
                    if let Some(other) = of[first + position].replace(span) {
                        let [a, b] = [other, span].map(|span: usize| visible(&self.names[span]).to_string());
                        return Err(Error::argument(format!(
                            "position {position} of prompt {prompt} is in the spans \"{a}\" and \"{b}\": give each position \
                             to one span."
                        )));
                    }
                }
            }
        }
        let mut names = self.names.clone();
        let is_open =
            |&place: &usize| of[place].is_none() && tokens.is_real(place / tokens.pos(), place % tokens.pos());
        let open: Vec<usize> = (0..of.len()).filter(is_open).collect();
        if !open.is_empty() {
            open.into_iter().for_each(|place| of[place] = Some(names.len()));
            names.push(OTHER.into());
        }
        Ok(SpanOf { axis: "span", names, of, pos: tokens.pos() })
    }

    fn check_names(&self) -> Result<()> {
        if self.names.is_empty() {
            return Err(Error::argument("the schema has no spans: name some, as Spans::new([\"subject\", \"verb\"])."));
        }
        for (at, name) in self.names.iter().enumerate() {
            if name == OTHER || self.names[..at].contains(name) {
                let name = visible(name);
                return Err(Error::argument(format!(
                    "two spans are called \"{name}\", or one is called \"{OTHER}\", the name of positions in no span: give each \
                     its own name."
                )));
            }
        }
        Ok(())
    }
}

/// The span of each position of a batch.
pub(super) struct SpanOf {
    /// What the spans are: `span` or `position`.
    pub axis: &'static str,
    pub names: Vec<String>,
    /// By prompt and position; none where padding is.
    of: Vec<Option<usize>>,
    pos: usize,
}

impl SpanOf {
    /// Each position by itself, under these labels.
    pub(super) fn positions(tokens: &Tokens, labels: Vec<String>) -> Self {
        let pos = tokens.pos();
        let of = (0..tokens.batch() * pos).map(|place| tokens.is_real(place / pos, place % pos).then_some(place % pos));
        Self { axis: "position", names: labels, of: of.collect(), pos }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The positions of each span in the `count` prompts from prompt `from` on, as indices in `[count * pos]`.
    pub(super) fn places(&self, from: usize, count: usize) -> Vec<Vec<u32>> {
        let mut places = vec![Vec::new(); self.len()];
        for (place, span) in self.of[from * self.pos..(from + count) * self.pos].iter().enumerate() {
            span.iter().for_each(|&span| places[span].push(place as u32));
        }
        places
    }

    /// Which spans of these prompts can be reached from which: in a causal model by a later position only.
    pub(super) fn reach(&self, places: &[Vec<u32>], is_causal: bool) -> Reach {
        let prompt = |place: u32| place as usize / self.pos;
        let way = |from: u32, to: u32| prompt(from) == prompt(to) && (from <= to || !is_causal);
        let some = |from: &Vec<u32>, to: &Vec<u32>| from.iter().any(|&from| to.iter().any(|&to| way(from, to)));
        Reach(places.iter().map(|from| places.iter().map(|to| some(from, to)).collect()).collect())
    }
}

/// Which spans of some prompts something can go to from which.
pub(super) struct Reach(Vec<Vec<bool>>);

impl Reach {
    pub(super) fn joins(&self, from: usize, to: usize) -> bool {
        self.0[from][to]
    }
}

/// Where the scores of each edge from span to span are in a list: of an edge within a position one for each span, of one into
/// keys or values one for each two spans, from and to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SpanLayout {
    pub layout: Layout,
    pub spans: usize,
    /// The index of each edge in the matrix of edges, and of its first score.
    first: Vec<(usize, usize)>,
    len: usize,
}

/// Whether an edge can carry something from one position to another: what keys and values are made of.
pub(super) fn crosses(qkv: Option<Qkv>) -> bool {
    matches!(qkv, Some(Qkv::K | Qkv::V))
}

impl SpanLayout {
    pub(super) fn new(layout: Layout, spans: usize) -> Self {
        let mut first = Vec::new();
        let mut len: usize = 0;
        for (place, edge) in layout.edges() {
            first.push((place, len));
            len = len.saturating_add(if crosses(edge.qkv) { spans.saturating_mul(spans) } else { spans });
        }
        Self { layout, spans, first, len }
    }

    /// How many scores there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The index of the score of an edge, by its index in the matrix of edges, from span to span; none where the edge does not
    /// go there.
    pub(super) fn index(&self, place: usize, qkv: Option<Qkv>, (from, to): (usize, usize)) -> Option<usize> {
        let edge = self.first.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let first = self.first[edge].1;
        match crosses(qkv) {
            true => Some(first + from * self.spans + to),
            false => (from == to).then_some(first + from),
        }
    }

    /// Every score: its index, the edge with its index in the matrix of edges, and the spans.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, (usize, Edge), (usize, usize))> {
        let spans = self.spans;
        self.layout.edges().into_iter().zip(&self.first).flat_map(move |((place, edge), &(_, first))| {
            let count = if crosses(edge.qkv) { spans * spans } else { spans };
            (0..count).map(move |i| {
                let way = if crosses(edge.qkv) { (i / spans, i % spans) } else { (i, i) };
                (first + i, (place, edge), way)
            })
        })
    }
}
