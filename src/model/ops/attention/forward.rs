//! Values mixed by the pattern, tile by tile, with scores and pattern written out where they are kept.

use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::inputs::Heads;
use super::panels::{Panels, Rows, rows_by_panel};
use super::tile::{Source, Tile, queries_of_tile};
use super::{Inputs, Kept};

/// How many queries of the same keys are few.
const FEW: usize = 6;

/// Places for a row of a result, not yet written.
pub(super) type Places<'a> = &'a mut [MaybeUninit<f32>];

/// What is made: mixed values, and the scores and the pattern if they are kept, empty otherwise.
pub(super) struct Made {
    /// `[batch, query, head, d_head]`
    pub z: Vec<f32>,
    /// `[batch, head, query, key]` each.
    pub scores: Vec<f32>,
    pub pattern: Vec<f32>,
}

/// The places of one tile's results.
struct Part<'a> {
    head: usize,
    queries: Range<usize>,
    z: Vec<Places<'a>>,
    scores: Places<'a>,
    pattern: Places<'a>,
}

/// The parts of all heads that share keys and values.
struct Group<'a> {
    batch: usize,
    group: usize,
    parts: Vec<Part<'a>>,
}

pub(super) fn forward(inputs: &Inputs, kept: Kept) -> Made {
    let (q, keys) = (inputs.q, inputs.k.pos);
    let all = q.batch * q.heads * q.pos * keys;
    let sized = |is_kept: bool| if is_kept { all } else { 0 };
    let count = q.batch * q.pos * q.heads * q.d_head;
    let mut z = Vec::with_capacity(count);
    let mut scores = Vec::with_capacity(sized(kept.scores));
    let mut pattern = Vec::with_capacity(sized(kept.pattern));
    let mut groups = groups(
        inputs,
        by_head(&mut z.spare_capacity_mut()[..count], q),
        &mut scores.spare_capacity_mut()[..sized(kept.scores)],
        &mut pattern.spare_capacity_mut()[..sized(kept.pattern)],
    );
    let arch = pulp::Arch::new();
    let alone = inputs.is_little();
    let few = q.pos * (q.heads / inputs.k.heads) <= FEW;
    let compute = |group: &mut Group| {
        let packed = Packed { inputs, batch: group.batch, group: group.group };
        let (keys, values) = if few { (None, None) } else { Some(arch.dispatch(packed)).unzip() };
        let goes_through_all = values.as_ref().is_none_or(|values: &Panels| !values.is_finite());
        let part = |part: &mut Part| {
            let source = Source { inputs, keys: keys.as_ref(), batch: group.batch, head: part.head, goes_through_all };
            arch.dispatch(Mixed { source, values: values.as_ref(), part });
        };
        match alone {
            true => group.parts.iter_mut().for_each(part),
            false => group.parts.par_iter_mut().for_each(part),
        }
    };
    // By reference: lists are freed by the thread that made them, which counts what it holds.
    match alone {
        true => groups.iter_mut().for_each(compute),
        false => groups.par_iter_mut().for_each(compute),
    }
    // SAFETY: the parts are all places of all results, and each has been written.
    unsafe {
        z.set_len(count);
        scores.set_len(sized(kept.scores));
        pattern.set_len(sized(kept.pattern));
    }
    Made { z, scores, pattern }
}

/// The places of a result, `[batch, pos, head, d_head]`, row by row for each head of each text.
pub(super) fn by_head<'a>(places: Places<'a>, of: Heads) -> Vec<Vec<Places<'a>>> {
    let mut heads: Vec<Vec<_>> = (0..of.batch * of.heads).map(|_| Vec::with_capacity(of.pos)).collect();
    for (row, places) in places.chunks_exact_mut(of.d_head).enumerate() {
        let (batch, head) = (row / (of.pos * of.heads), row % of.heads);
        heads[batch * of.heads + head].push(places);
    }
    heads
}

/// Cuts the first places off, or none if there are none.
fn cut<'a>(places: &mut Places<'a>, count: usize) -> Places<'a> {
    let count = count.min(places.len());
    places.split_off_mut(..count).unwrap_or_default()
}

fn groups<'a>(
    inputs: &Inputs,
    z: Vec<Vec<Places<'a>>>,
    mut scores: Places<'a>,
    mut pattern: Places<'a>,
) -> Vec<Group<'a>> {
    let (q, keys, groups) = (inputs.q, inputs.k.pos, inputs.k.heads);
    let in_tile = queries_of_tile(keys);
    let mut all: Vec<Group> = Vec::with_capacity(q.batch * groups);
    for (index, rows) in z.into_iter().enumerate() {
        let (batch, head) = (index / q.heads, index % q.heads);
        let group = head / (q.heads / groups);
        if all.last().is_none_or(|last| (last.batch, last.group) != (batch, group)) {
            all.push(Group { batch, group, parts: Vec::new() });
        }
        let mut rows = rows.into_iter();
        for first in (0..q.pos).step_by(in_tile) {
            let queries = first..(first + in_tile).min(q.pos);
            let numbers = queries.len() * keys;
            let (scores, pattern) = (cut(&mut scores, numbers), cut(&mut pattern, numbers));
            let z = rows.by_ref().take(in_tile).collect();
            if let Some(last) = all.last_mut() {
                last.parts.push(Part { head, queries, z, scores, pattern });
            }
        }
    }
    all
}

/// The keys of a group in panels of their positions, and its values in panels of their dimensions.
struct Packed<'a> {
    inputs: &'a Inputs<'a>,
    batch: usize,
    group: usize,
}

impl WithSimd for Packed<'_> {
    type Output = (Panels, Panels);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Self { inputs: Inputs { k, v, .. }, batch, group } = self;
        (
            Panels::of_columns::<S>(k.rows(batch, group), k.pos, k.d_head),
            Panels::of_rows::<S>(v.rows(batch, group), v.pos, v.d_head),
        )
    }
}

/// One tile.
struct Mixed<'a, 'p> {
    source: Source<'a>,
    /// In panels of their dimensions; none where there are none of the keys.
    values: Option<&'a Panels>,
    part: &'a mut Part<'p>,
}

impl WithSimd for Mixed<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { source, values, part } = self;
        let (d, keys) = (source.inputs.q.d_head, source.inputs.k.pos);
        let mut tile = Tile::new::<S>(part.queries.len(), keys, d);
        tile.fill(simd, &source, part.queries.clone());
        for ((row, query), places) in part.queries.clone().enumerate().zip(part.scores.chunks_exact_mut(keys.max(1))) {
            let span = source.span(query);
            write(places, &span.keys, tile.row(row, span).iter().copied(), f32::NEG_INFINITY);
        }
        tile.exponentials(&source);
        for ((row, query), places) in part.queries.clone().enumerate().zip(part.pattern.chunks_exact_mut(keys.max(1))) {
            let (span, share) = (source.span(query), tile.shares[row]);
            write(places, &span.keys, tile.row(row, span).iter().map(|x| x * share), 0.0);
        }
        let (z, stride) = match values {
            Some(values) => mixed(simd, &tile, &source, values),
            None => (mixed_rows(&tile, &source), d),
        };
        for ((places, z), share) in part.z.iter_mut().zip(z.chunks_exact(stride)).zip(&tile.shares) {
            for (place, z) in places.iter_mut().zip(z) {
                place.write(z * share);
            }
        }
    }
}

/// Values in panels, added up as the pattern says but for its shares: each query's, and how far apart they are.
#[inline(always)]
fn mixed<S: Simd>(simd: S, tile: &Tile, source: &Source, values: &Panels) -> (Vec<f32>, usize) {
    let (stride, width) = (values.stride(), values.width());
    let mut z = vec![0f32; tile.count * stride];
    for panel in 0..values.count() {
        for (rows, keys) in tile.groups(source) {
            let pattern = Rows { numbers: &tile.scores[rows.start * tile.stride + keys.start..], stride: tile.stride };
            let out = &mut z[rows.start * stride + panel * width..];
            let values = values.part(panel, keys.start, keys.end);
            rows_by_panel(simd, (pattern, rows.len(), keys.len()), values, (out, stride));
        }
    }
    (z, stride)
}

/// As [`mixed`], of values where they lie.
#[inline(always)]
fn mixed_rows(tile: &Tile, source: &Source) -> Vec<f32> {
    let (v, group) = (source.inputs.v, source.group());
    let mut z = vec![0f32; tile.count * v.d_head];
    for (z, scores) in z.chunks_exact_mut(v.d_head).zip(tile.scores.chunks_exact(tile.stride)) {
        for (value, &x) in v.rows(source.batch, group).zip(scores) {
            for (z, value) in z.iter_mut().zip(value) {
                *z += x * value;
            }
        }
    }
    z
}

/// Writes a row: numbers for the keys of a span, and `elsewhere` for the others.
#[inline(always)]
fn write(places: Places, keys: &Range<usize>, numbers: impl Iterator<Item = f32>, elsewhere: f32) {
    for (place, x) in places[keys.clone()].iter_mut().zip(numbers) {
        place.write(x);
    }
    for place in places[..keys.start].iter_mut() {
        place.write(elsewhere);
    }
    for place in places[keys.end..].iter_mut() {
        place.write(elsewhere);
    }
}
