//! The pattern of a head for some queries, in a buffer that the processor keeps near.

use std::ops::Range;

use pulp::Simd;

use super::Inputs;
use super::inputs::Span;
use super::panels::{Panels, ROWS, Rows, rows_by_panel, width_of_panels};
use crate::model::ops::kernels::{exp, largest, products, total};

/// How many scores a tile has at most: half of a second-level cache of 512 KiB, which keys and values go through as well.
const SCORES: usize = 1 << 15;

/// The most queries of a tile.
const QUERIES: usize = 8 * ROWS;

/// How many queries of a text with so many keys make a tile.
pub(super) fn queries_of_tile(keys: usize) -> usize {
    (SCORES / keys.max(1) / ROWS * ROWS).clamp(ROWS, QUERIES)
}

/// What the pattern of some queries of a head is made of.
pub(super) struct Source<'a> {
    pub inputs: &'a Inputs<'a>,
    /// The keys in panels of their positions; none for queries so few that putting them in order takes longer than the product.
    pub keys: Option<&'a Panels>,
    pub batch: usize,
    pub head: usize,
    /// Whether hidden keys are gone through, too: 0 times a value that is not finite is not 0.
    pub goes_through_all: bool,
}

/// The queries of a head in a tile, and their row of the pattern.
pub(super) struct Tile {
    /// The queries over the scale, `[query, d_head]`.
    pub queries: Vec<f32>,
    /// The scores, and after [`Tile::exponentials`] `exp(score - max)`, `[query, stride]`; nothing outside of the span of a
    /// row's group has been written.
    pub scores: Vec<f32>,
    /// One over the sum of each row, 0 for a query that attends to nothing.
    pub shares: Vec<f32>,
    /// How many numbers a row of the scores has.
    pub stride: usize,
    pub count: usize,
    first: usize,
}

impl Tile {
    /// An empty tile for up to so many queries.
    #[inline(always)]
    pub(super) fn new<S: Simd>(queries: usize, keys: usize, d_head: usize) -> Self {
        let width = width_of_panels::<S>();
        // Rows that a power of two lies between would compete for the same places of the cache.
        let stride = keys.next_multiple_of(width) + width;
        let scores = vec![0f32; queries * stride];
        Self { queries: vec![0f32; queries * d_head], scores, shares: vec![0f32; queries], stride, count: 0, first: 0 }
    }

    /// The rows of a group of queries, as numbers of the tile, with the keys that some of them attend to.
    #[inline(always)]
    pub(super) fn groups<'a>(
        &self,
        source: &'a Source,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<'a> {
        let (first, count) = (self.first, self.count);
        (0..count).step_by(ROWS).map(move |row| {
            let rows = row..(row + ROWS).min(count);
            if source.goes_through_all {
                return (rows, 0..source.inputs.k.pos);
            }
            let spans = rows.clone().map(|row| source.span(first + row).keys.clone()).filter(|keys| !keys.is_empty());
            let keys = spans.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
            (rows, keys)
        })
    }

    /// Scores of these queries.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&mut self, simd: S, source: &Source, queries: Range<usize>) {
        let inputs = source.inputs;
        let d = inputs.q.d_head;
        (self.first, self.count) = (queries.start, queries.len());
        for (row, query) in self.queries.chunks_exact_mut(d).zip(queries) {
            // Scaling the queries instead of the scores touches fewer numbers.
            for (place, &x) in row.iter_mut().zip(inputs.q.row(source.batch, query, source.head)) {
                *place = x * inputs.one_over_scale;
            }
        }
        match source.keys {
            Some(keys) => self.multiply(simd, source, keys),
            None => self.multiply_rows(source),
        }
        for row in 0..self.count {
            let query = self.first + row;
            let span = source.span(query);
            let scores = &mut self.scores[row * self.stride..][span.keys.clone()];
            if let Some(lowered) = source.lowered(query) {
                for (score, by) in scores.iter_mut().zip(&lowered[span.keys.clone()]) {
                    *score += by;
                }
            }
            for (score, &hidden) in scores.iter_mut().zip(span.hidden().into_iter().flatten()) {
                *score = if hidden == 0 { *score } else { f32::NEG_INFINITY };
            }
        }
    }

    /// Queries times keys in panels.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, source: &Source, keys: &Panels) {
        let (d, width) = (source.inputs.q.d_head, keys.width());
        let groups: Vec<_> = self.groups(source).collect();
        for panel in 0..keys.count() {
            let columns = panel * width..(panel + 1) * width;
            for (rows, used) in &groups {
                if used.start < columns.end && columns.start < used.end {
                    let queries = Rows { numbers: &self.queries[rows.start * d..], stride: d };
                    let out = &mut self.scores[rows.start * self.stride + columns.start..];
                    rows_by_panel(simd, (queries, rows.len(), d), keys.panel(panel), (out, self.stride));
                }
            }
        }
    }

    /// Queries times keys where they lie.
    #[inline(always)]
    fn multiply_rows(&mut self, source: &Source) {
        let (k, group) = (source.inputs.k, source.group());
        for (row, query) in self.queries.chunks_exact(source.inputs.q.d_head).take(self.count).enumerate() {
            let keys = source.span(self.first + row).keys.clone();
            let scores = &mut self.scores[row * self.stride..][keys.clone()];
            for (score, key) in scores.iter_mut().zip(keys) {
                *score = products(query, k.row(source.batch, key, group));
            }
        }
    }

    /// The scores of a query in its span.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, span: &Span) -> &[f32] {
        &self.scores[row * self.stride..][span.keys.clone()]
    }

    /// Makes `exp(score - max)` of the scores, and 0 of what no query of a group attends to.
    #[inline(always)]
    pub(super) fn exponentials(&mut self, source: &Source) {
        for (rows, of_group) in self.groups(source) {
            for row in rows {
                let keys = source.span(self.first + row).keys.clone();
                let scores = &mut self.scores[row * self.stride..];
                // Another query of the group attends to these.
                scores[of_group.start..keys.start.max(of_group.start)].fill(0.0);
                scores[keys.end.max(of_group.start)..of_group.end].fill(0.0);
                self.shares[row] = exponentials(&mut scores[keys]);
            }
        }
    }
}

/// As `softmax`, but for the last step: `exp(x - max)`, and one over their sum. Rows of `-inf` throughout become zeros.
#[inline(always)]
fn exponentials(row: &mut [f32]) -> f32 {
    let max = largest(row);
    if max == f32::NEG_INFINITY && !row.iter().any(|x| x.is_nan()) {
        row.fill(0.0);
        return 0.0;
    }
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    1.0 / total(row.len(), |i| row[i])
}

impl<'a> Source<'a> {
    #[inline(always)]
    pub(super) fn span(&self, query: usize) -> &'a Span {
        self.inputs.visible.of(self.batch, query)
    }

    /// Which keys and values the head reads.
    #[inline(always)]
    pub(super) fn group(&self) -> usize {
        self.head / (self.inputs.q.heads / self.inputs.k.heads)
    }

    /// What the distance between query and key adds to the scores of all keys, if anything.
    #[inline(always)]
    fn lowered(&self, query: usize) -> Option<&'a [f32]> {
        let (queries, keys) = (self.inputs.q.pos, self.inputs.k.pos);
        let lowered = self.inputs.lowered.as_ref()?;
        Some(&lowered[(self.head * queries + query) * keys..][..keys])
    }
}
