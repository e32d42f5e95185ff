//! Gradients of queries, keys and values, with `P` the pattern and `S` the scores: `dV = P^T dZ`, `dP = dZ V^T`,
//! `dS_ij = P_ij (dP_ij - sum_k P_ik dP_ik)`, `dQ = dS K / scale`, `dK = dS^T Q / scale`.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Inputs;
use super::forward::{Places, by_head};
use super::inputs::Heads;
use super::panels::{Panels, ROWS, Rows, columns_by_panel, rows_by_panel};
use super::tile::{Source, Tile, queries_of_tile};
use crate::model::ops::kernels::products;

/// The gradients that are wanted, of queries, keys and values; each head has its own for keys and values that it shares.
///
/// # Shapes
/// `[batch, pos, head, d_head]` each.
pub(super) fn backward(inputs: &Inputs, grad: Heads, wanted: [bool; 3]) -> [Option<Vec<f32>>; 3] {
    let shapes = [inputs.q, inputs.k, inputs.v].map(|x| Heads { heads: inputs.q.heads, ..x });
    let counts = shapes.map(|x| x.batch * x.pos * x.heads * x.d_head);
    let [mut of_q, mut of_k, mut of_v] = counts.map(Vec::<f32>::with_capacity);
    let rows = |made, which: usize| by_head(&mut Vec::spare_capacity_mut(made)[..counts[which]], shapes[which]);
    let (q, k, v) = (rows(&mut of_q, 0), rows(&mut of_k, 1), rows(&mut of_v, 2));
    let mut parts: Vec<_> = q.into_iter().zip(k).zip(v).map(|((q, k), v)| [q, k, v]).collect();
    let arch = pulp::Arch::new();
    let of_head = |(index, places)| {
        let (batch, head) = (index / inputs.q.heads, index % inputs.q.heads);
        arch.dispatch(OfHead { inputs, grad, wanted, batch, head, places });
    };
    match inputs.is_little() {
        true => parts.iter_mut().enumerate().for_each(of_head),
        false => parts.par_iter_mut().enumerate().for_each(of_head),
    }
    let mut made = [of_q, of_k, of_v];
    for (made, count) in made.iter_mut().zip(counts) {
        // SAFETY: the rows of all heads are all places, and each has been written, with zeros where it is not wanted.
        unsafe { made.set_len(count) };
    }
    let mut wanted = wanted.into_iter();
    made.map(|made| wanted.next().is_some_and(|wanted| wanted).then_some(made))
}

/// The gradients of one head of one text.
struct OfHead<'a, 'p> {
    inputs: &'a Inputs<'a>,
    grad: Heads<'a>,
    wanted: [bool; 3],
    batch: usize,
    head: usize,
    places: &'a mut [Vec<Places<'p>>; 3],
}

/// What is added up over the tiles of a head, and the panels that they read.
struct Sums<'a> {
    source: &'a Source<'a>,
    /// The keys in panels of their dimensions, and the values in panels of their positions.
    keys: &'a Panels,
    values: &'a Panels,
    wanted: [bool; 3],
    /// `[key, stride]` each.
    of_k: Vec<f32>,
    of_v: Vec<f32>,
}

impl WithSimd for OfHead<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { inputs, grad, wanted, batch, head, places } = self;
        let [of_q, of_k, of_v] = places;
        let (q, k, v) = (inputs.q, inputs.k, inputs.v);
        let (group, d) = (head / (q.heads / k.heads), q.d_head);
        let columns = Panels::of_columns::<S>(k.rows(batch, group), k.pos, d);
        let keys = Panels::of_rows::<S>(k.rows(batch, group), k.pos, d);
        let values = Panels::of_columns::<S>(v.rows(batch, group), v.pos, d);
        let source = Source { inputs, keys: Some(&columns), batch, head, goes_through_all: !values.is_finite() };
        let zeros = || vec![0f32; k.pos * keys.stride()];
        let mut sums = Sums { source: &source, keys: &keys, values: &values, wanted, of_k: zeros(), of_v: zeros() };
        let in_tile = queries_of_tile(k.pos);
        let mut tile = Tile::new::<S>(in_tile.min(q.pos), k.pos, d);
        let mut of_scores = vec![0f32; tile.scores.len()];
        let mut of_queries = vec![0f32; in_tile.min(q.pos) * keys.stride()];
        let mut grads = Vec::new();
        let mut rows = of_q.iter_mut();
        for first in (0..q.pos).step_by(in_tile) {
            let queries = first..(first + in_tile).min(q.pos);
            tile.fill(simd, &source, queries.clone());
            tile.exponentials(&source);
            grads.clear();
            queries.clone().for_each(|query| grads.extend_from_slice(grad.row(batch, query, head)));
            sums.add(simd, &mut tile, &grads, (&mut of_scores, &mut of_queries));
            for (row, made) in rows.by_ref().take(queries.len()).zip(of_queries.chunks_exact(keys.stride())) {
                put(row, made, inputs.one_over_scale);
            }
        }
        for (rows, made) in [(of_k, &sums.of_k), (of_v, &sums.of_v)] {
            rows.iter_mut().zip(made.chunks_exact(keys.stride())).for_each(|(row, made)| put(row, made, 1.0));
        }
    }
}

#[inline(always)]
fn put(places: Places, numbers: &[f32], factor: f32) {
    for (place, x) in places.iter_mut().zip(numbers) {
        place.write(x * factor);
    }
}

impl Sums<'_> {
    /// Adds what a tile's queries give to keys and values, and puts their own gradients, times the scale, into `of_queries`.
    #[inline(always)]
    fn add<S: Simd>(
        &mut self,
        simd: S,
        tile: &mut Tile,
        grads: &[f32],
        (of_scores, of_queries): (&mut [f32], &mut [f32]),
    ) {
        let (stride, count, d) = (tile.stride, tile.count, self.source.inputs.q.d_head);
        let groups: Vec<_> = tile.groups(self.source).collect();
        let used = groups.iter().map(|(_, keys)| keys.clone()).filter(|keys| !keys.is_empty());
        let used = used.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        for (rows, keys) in &groups {
            for row in rows.clone() {
                let (pattern, share) = (&mut tile.scores[row * stride..(row + 1) * stride], tile.shares[row]);
                for x in &mut pattern[keys.clone()] {
                    *x *= share;
                }
                hide(pattern, &used, keys);
            }
        }
        let [of_q, of_k, of_v] = self.wanted;
        if of_v {
            let panels = Panels::of_rows::<S>(grads.chunks_exact(d), count, d);
            add_to_keys(simd, (&tile.scores, stride), &used, &panels, &mut self.of_v);
        }
        if !of_q && !of_k {
            return of_queries.fill(0.0);
        }
        for (rows, keys) in &groups {
            self.gradient_of_scores(simd, tile, &grads[rows.start * d..], of_scores, (rows.clone(), keys.clone()));
            for row in rows.clone() {
                hide(&mut of_scores[row * stride..(row + 1) * stride], &used, keys);
            }
            for panel in 0..self.keys.count() {
                let a = Rows { numbers: &of_scores[rows.start * stride + keys.start..], stride };
                let out = &mut of_queries[rows.start * self.keys.stride() + panel * self.keys.width()..];
                let panel = self.keys.part(panel, keys.start, keys.end);
                rows_by_panel(simd, (a, rows.len(), keys.len()), panel, (out, self.keys.stride()));
            }
        }
        if of_k {
            let panels = Panels::of_rows::<S>(tile.queries.chunks_exact(d).take(count), count, d);
            add_to_keys(simd, (of_scores, stride), &used, &panels, &mut self.of_k);
        }
    }

    /// The gradient of a group's scores.
    #[inline(always)]
    fn gradient_of_scores<S: Simd>(
        &self,
        simd: S,
        tile: &Tile,
        grads: &[f32],
        of_scores: &mut [f32],
        (rows, keys): (Range<usize>, Range<usize>),
    ) {
        let (stride, width, d) = (tile.stride, self.values.width(), self.source.inputs.q.d_head);
        let grads = Rows { numbers: grads, stride: d };
        for panel in keys.start / width..keys.end.div_ceil(width) {
            let out = &mut of_scores[rows.start * stride + panel * width..];
            rows_by_panel(simd, (grads, rows.len(), d), self.values.panel(panel), (out, stride));
        }
        for row in rows {
            let pattern = &tile.scores[row * stride..][keys.clone()];
            let of_scores = &mut of_scores[row * stride..][keys.clone()];
            let mean = products(pattern, of_scores);
            for (x, share) in of_scores.iter_mut().zip(pattern) {
                *x = share * (*x - mean);
            }
        }
    }
}

/// Writes zeros for the keys that other groups of the tile use.
#[inline(always)]
fn hide(row: &mut [f32], used: &Range<usize>, keys: &Range<usize>) {
    row[used.start..keys.start.max(used.start)].fill(0.0);
    row[keys.end.max(used.start)..used.end].fill(0.0);
}

/// Adds the transpose of `rows [query, key]` times `panels [query, d_head]` to `out [key, stride]`.
#[inline(always)]
fn add_to_keys<S: Simd>(
    simd: S,
    (numbers, stride): (&[f32], usize),
    keys: &Range<usize>,
    panels: &Panels,
    out: &mut [f32],
) {
    for panel in 0..panels.count() {
        for key in keys.clone().step_by(ROWS) {
            let count = ROWS.min(keys.end - key);
            let out = &mut out[key * panels.stride() + panel * panels.width()..];
            let a = Rows { numbers: &numbers[key..], stride };
            columns_by_panel(simd, (a, count), panels.panel(panel), (out, panels.stride()));
        }
    }
}
