//! Attention reduced: a block of positions becomes one cell, with the block's value of the largest magnitude.
//!
//! The largest, not the mean: a head that attends sharply to one token must still show it.

use ndarray::{Array3, s};

/// The reduced array and the tokens that name its positions.
pub(super) fn pooled(values: &Array3<f32>, factor: usize) -> Array3<f32> {
    let (heads, rows, columns) = values.dim();
    Array3::from_shape_fn((heads, rows.div_ceil(factor), columns.div_ceil(factor)), |(head, row, column)| {
        let span = |at: usize, size: usize| at * factor..((at + 1) * factor).min(size);
        let (rows, columns) = (span(row, rows), span(column, columns));
        let block = values.slice(s![head, rows, columns]);
        let finite = || block.iter().copied().filter(|value| value.is_finite());
        match (block.first(), finite().next()) {
            // A block without finite numbers is a gap.
            (Some(&odd), None) => odd,
            _ => finite().fold(0.0_f32, |most, value| if value.abs() > most.abs() { value } else { most }),
        }
    })
}

/// The first and the last token of each block.
pub(super) fn pooled_words(words: &[String], factor: usize) -> Vec<String> {
    let name = |block: &[String]| match block {
        [only] => only.clone(),
        [first, .., last] => format!("{first} …{last}"),
        [] => String::new(),
    };
    words.chunks(factor).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_a_block_stays() {
        let values = Array3::from_shape_vec((1, 3, 3), vec![0.1, -0.9, 0.0, 0.2, 0.3, 0.0, 0.0, 0.5, 0.7]);
        let small = pooled(&values.expect("nine numbers"), 2);
        assert_eq!(small.into_raw_vec_and_offset().0, [-0.9, 0.0, 0.5, 0.7]);
        let gaps = Array3::from_shape_vec(
            (1, 2, 4),
            vec![f32::NAN, 0.2, f32::NAN, f32::NAN, f32::INFINITY, 0.1, f32::NAN, f32::NAN],
        );
        let small = pooled(&gaps.expect("eight numbers"), 2);
        assert!(small[(0, 0, 0)] == 0.2 && small[(0, 0, 1)].is_nan(), "{small}");
        assert_eq!(pooled_words(&["a", " b", " c"].map(String::from), 2), ["a … b", " c"]);
    }
}
