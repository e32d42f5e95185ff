//! Which features are active in a batch.

/// Of the features of one layer, those that are active at each position, with their activations; those near their threshold
/// are among them with an activation of 0, if the gradient of thresholds needs them.
pub(super) struct Active {
    /// Where each position starts, and where the last ends.
    pub starts: Vec<usize>,
    pub features: Vec<u32>,
    pub values: Vec<f32>,
}

impl Active {
    pub(super) fn new() -> Self {
        Self { starts: vec![0], features: Vec::new(), values: Vec::new() }
    }

    pub(super) fn push(&mut self, feature: usize, value: f32) {
        self.features.push(feature as u32);
        self.values.push(value);
    }

    pub(super) fn end_position(&mut self) {
        self.starts.push(self.features.len());
    }

    /// The places of one position in the two lists.
    pub(super) fn at(&self, position: usize) -> std::ops::Range<usize> {
        self.starts[position]..self.starts[position + 1]
    }
}

/// The smallest of the `count` largest numbers above 0, of which 0 says that there are not that many. Numbers above `guess` are
/// looked at first: most are far below.
pub(super) fn cut(numbers: &[f32], count: usize, guess: f32) -> f32 {
    let above = |least: f32| numbers.iter().copied().filter(|x| *x > least).collect::<Vec<f32>>();
    let mut candidates = above(guess.max(0.0));
    if candidates.len() < count && guess > 0.0 {
        candidates = above(0.0);
    }
    if candidates.len() < count || count == 0 {
        return 0.0;
    }
    *candidates.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
}

/// Pre-activations that are at least `cut` and above 0, in rows of `width`.
pub(super) fn at_least(pre: &[f32], width: usize, cut: f32) -> Active {
    let mut active = Active::new();
    for row in pre.chunks(width) {
        row.iter().enumerate().filter(|(_, x)| **x >= cut && **x > 0.0).for_each(|(i, x)| active.push(i, *x));
        active.end_position();
    }
    active
}

/// The `k` largest above 0 of each row; of equal ones the first.
pub(super) fn largest(pre: &[f32], width: usize, k: usize) -> Active {
    let mut active = Active::new();
    for row in pre.chunks(width) {
        let cut = cut(row, k, 0.0);
        let mut at_cut = k - row.iter().filter(|x| **x > cut).count().min(k);
        for (i, &x) in row.iter().enumerate().filter(|(_, x)| **x >= cut && **x > 0.0) {
            if x == cut {
                if at_cut == 0 {
                    continue;
                }
                at_cut -= 1;
            }
            active.push(i, x);
        }
        active.end_position();
    }
    active
}

/// As [`largest`] among some features only.
pub(super) fn largest_among(pre: &[f32], width: usize, among: &[usize], k: usize) -> Active {
    let mut active = Active::new();
    let mut few = Vec::with_capacity(among.len());
    for row in pre.chunks(width) {
        few.clear();
        few.extend(among.iter().map(|&i| row[i]));
        let of_row = largest(&few, few.len(), k);
        of_row.features.iter().zip(&of_row.values).for_each(|(i, x)| active.push(among[*i as usize], *x));
        active.end_position();
    }
    active
}

/// Pre-activations above their thresholds, and those within half a `bandwidth` of them as 0 where they are below.
pub(super) fn above(pre: &[f32], thresholds: &[f32], bandwidth: f32) -> Active {
    let mut active = Active::new();
    for row in pre.chunks(thresholds.len()) {
        for (i, (&x, &threshold)) in row.iter().zip(thresholds).enumerate() {
            if x > threshold {
                active.push(i, x);
            } else if threshold - x < bandwidth / 2.0 {
                active.push(i, 0.0);
            }
        }
        active.end_position();
    }
    active
}
