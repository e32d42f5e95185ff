//! Numbers reduced where there are more than a picture has pixels or a notebook has room for: extremes are kept.

use std::collections::HashSet;

use ndarray::{Array2, ArrayView1, ArrayView2};

/// The size of a figure above which it is reduced, in bytes.
pub(in crate::views) const MAX_BYTES: usize = 5_000_000;

/// What a number takes in JSON, with the comma behind it.
pub(super) const NUMBER: usize = 13;

/// The share of a figure's bytes that is for its numbers and labels; the rest is for its still picture.
pub(super) fn room(max_bytes: usize) -> usize {
    max_bytes / 4 * 3
}

/// The places that keep the outline of a line: of each `stretch` the minimum and maximum number, and the first and
/// the last place of all. A stretch without a finite number keeps a place, so that the gap is still one.
pub(super) fn outline(values: ArrayView1<f32>, stretch: usize) -> Vec<usize> {
    let count = values.len();
    if stretch <= 2 {
        return (0..count).collect();
    }
    let mut kept = Vec::with_capacity(2 * (count / stretch) + 4);
    for start in (0..count).step_by(stretch) {
        let (mut low, mut high) = (None, None);
        for i in (start..(start + stretch).min(count)).filter(|&i| values[i].is_finite()) {
            low = Some(low.map_or(i, |low: usize| if values[i] < values[low] { i } else { low }));
            high = Some(high.map_or(i, |high: usize| if values[i] > values[high] { i } else { high }));
        }
        let (low, high) = (low.unwrap_or(start), high.unwrap_or(start));
        kept.extend([low.min(high), low.max(high)]);
    }
    kept.extend([0, count - 1]);
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Of each `stretch` of columns the one with the largest number of either sign, or of a stack the largest sum of sizes.
pub(super) fn largest_columns(values: ArrayView2<f32>, stretch: usize, stacked: bool) -> Vec<usize> {
    let size = |column: usize| {
        let sizes = values.column(column).into_iter().filter(|value| value.is_finite()).map(|value| value.abs());
        if stacked { sizes.sum::<f32>() } else { sizes.fold(0.0, f32::max) }
    };
    let columns = values.ncols();
    let starts = (0..columns).step_by(stretch.max(1));
    let best = |start: usize| {
        (start..(start + stretch.max(1)).min(columns)).max_by(|&a, &b| size(a).total_cmp(&size(b)).then(b.cmp(&a)))
    };
    starts.filter_map(best).collect()
}

/// How many rows and columns become one cell, so that what is left of them `fits`; the longer side gives way first.
pub(super) fn blocks((rows, columns): (usize, usize), fits: impl Fn(usize, usize) -> bool) -> (usize, usize) {
    let (mut tall, mut wide) = (1, 1);
    loop {
        let (left, across) = (rows.div_ceil(tall), columns.div_ceil(wide));
        if left * across <= 1 || fits(left, across) {
            return (tall, wide);
        }
        if left > across { tall += 1 } else { wide += 1 }
    }
}

/// For each block of cells the place of the number that is furthest from `center`, counted row by row; a block is a gap
/// where it has no finite number.
pub(super) fn furthest(values: ArrayView2<f32>, center: f64, (tall, wide): (usize, usize)) -> Array2<usize> {
    let (rows, columns) = values.dim();
    Array2::from_shape_fn((rows.div_ceil(tall), columns.div_ceil(wide)), |(row, column)| {
        let mut best = (row * tall * columns + column * wide, -1.0);
        for r in row * tall..((row + 1) * tall).min(rows) {
            for c in column * wide..((column + 1) * wide).min(columns) {
                let apart = (f64::from(values[(r, c)]) - center).abs();
                if apart.is_finite() && apart > best.1 {
                    best = (r * columns + c, apart);
                }
            }
        }
        best.0
    })
}

/// The first and the last label of each block.
pub(super) fn block_labels(labels: &[String], side: usize) -> Vec<String> {
    let name = |block: &[String]| match block {
        [only] => only.clone(),
        [first, .., last] => format!("{first} … {last}"),
        [] => String::new(),
    };
    labels.chunks(side).map(name).collect()
}

/// At most `most` points, one for each square of a raster over the picture in which there are any, so that no lonely
/// point is lost. Points are in pixels; the squares are as small as that allows.
pub(super) fn spread(points: &[(f32, f32)], most: usize) -> Vec<usize> {
    let mut side = 0.5_f32;
    let mut kept: Vec<usize> = (0..points.len()).collect();
    while kept.len() > most.max(1) && side < 1e6 {
        let mut taken = HashSet::new();
        let square = |(x, y): (f32, f32)| ((x / side).floor() as i64, (y / side).floor() as i64);
        // A square of the next size is four of these: its first point is the first of one of them.
        kept.retain(|&i| taken.insert(square(points[i])));
        side *= 2.0;
    }
    kept
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, arr1, arr2};

    use super::*;

    #[test]
    fn an_outline_has_the_extremes_of_every_stretch() {
        let values: Array1<f32> = (0..10_007).map(|i| ((i * i) as f32 * 0.37).sin() * i as f32).collect();
        for stretch in [1, 2, 3, 10, 999, 20_000] {
            let kept = outline(values.view(), stretch);
            assert!(kept.windows(2).all(|two| two[0] < two[1]) && kept[0] == 0 && kept[kept.len() - 1] == 10_006);
            let extremes = |places: &[usize]| {
                let of = |from: usize, to: usize| places.iter().filter(move |&&i| i >= from && i < to);
                let range = |from: usize| {
                    let values = || of(from, from + stretch).map(|&i| values[i]);
                    (values().fold(f32::MAX, f32::min), values().fold(f32::MIN, f32::max))
                };
                (0..10_007).step_by(stretch).map(range).collect::<Vec<_>>()
            };
            assert_eq!(extremes(&kept), extremes(&(0..10_007).collect::<Vec<_>>()), "stretch {stretch}");
            assert!(stretch <= 2 || kept.len() <= 2 * 10_007_usize.div_ceil(stretch) + 2);
        }
        let gap = arr1(&[1.0, 2.0, 3.0, f32::NAN, f32::NAN, f32::NAN, 4.0, f32::NAN, 6.0]);
        assert_eq!(outline(gap.view(), 3), [0, 2, 3, 6, 8], "the stretch of gaps is still one");
    }

    #[test]
    fn the_furthest_of_a_block_stays_and_gaps_are_gaps_only_where_all_is() {
        let values = arr2(&[[0.1, -0.9, f32::NAN], [0.2, f32::NAN, f32::NAN], [3.0, 0.5, 0.7]]);
        let flat: Vec<f32> = values.iter().copied().collect();
        let of = |center: f64| furthest(values.view(), center, (2, 2)).mapv(|i| flat[i]);
        assert!(of(0.0)[(0, 1)].is_nan());
        assert_eq!((of(0.0)[(0, 0)], of(0.0)[(1, 0)], of(0.0)[(1, 1)]), (-0.9, 3.0, 0.7));
        assert_eq!(of(2.0)[(1, 0)], 0.5, "furthest from another centre");
        assert_eq!(block_labels(&["a", "b", "c"].map(String::from), 2), ["a … b", "c"]);
    }

    #[test]
    fn blocks_are_as_small_as_the_room_allows() {
        let at_most = |most: usize| move |rows: usize, columns: usize| rows * columns <= most;
        assert_eq!(blocks((12, 16), at_most(1000)), (1, 1));
        assert_eq!(blocks((1500, 1500), at_most(250_000)), (3, 3));
        assert_eq!(blocks((10, 100_000), at_most(50_000)), (1, 20), "few rows stay");
        assert_eq!(blocks((5, 5), at_most(0)), (5, 5));
    }

    #[test]
    fn a_lonely_point_is_kept() {
        let mut points: Vec<(f32, f32)> = (0..50_000).map(|i| ((i % 97) as f32 * 0.1, (i % 89) as f32 * 0.1)).collect();
        points.push((500.0, 300.0));
        let kept = spread(&points, 100);
        assert!(kept.len() <= 100 && kept.len() > 10 && kept.contains(&50_000), "{} kept", kept.len());
        assert_eq!(spread(&points[..1], 100), [0]);
    }

    #[test]
    fn the_largest_column_of_a_stretch_stands_for_it() {
        let values = arr2(&[[1.0, -5.0, 2.0, f32::NAN], [0.0, 0.0, 4.0, 1.0]]);
        assert_eq!(largest_columns(values.view(), 2, false), [1, 2]);
        assert_eq!(largest_columns(values.view(), 4, true), [2], "a stack counts as a whole");
    }
}
