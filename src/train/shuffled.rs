//! A bounded buffer of rows that come out in random order.
//!
//! Rows of several points belong together and stay together. A row has a slot from the time it comes until it is taken, and the slots of
//! taken rows are used again, so that the memory is that of the fullest buffer.

use crate::random::Random;
use crate::variables::holds;

pub(super) struct Shuffled {
    /// The width of a row of each point.
    widths: Vec<usize>,
    /// The slots of each point, one row after the other.
    slots: Vec<Vec<f32>>,
    /// The slots of the rows that are there; the last one is taken first.
    order: Vec<usize>,
    free: Vec<usize>,
}

holds! {
    Shuffled { widths, slots, order, free }
}

/// The memory of rows of points of these widths.
pub(super) fn bytes_of(rows: usize, widths: &[usize]) -> u64 {
    let numbers = widths.iter().fold(0u64, |sum, &width| sum.saturating_add(width as u64));
    (rows as u64).saturating_mul(numbers).saturating_mul(size_of::<f32>() as u64)
}

impl Shuffled {
    pub(super) fn new(widths: Vec<usize>) -> Self {
        Self { slots: vec![Vec::new(); widths.len()], widths, order: Vec::new(), free: Vec::new() }
    }

    /// The width of a row of each point.
    pub(super) fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// How many rows are there.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Makes room for this many rows in all.
    pub(super) fn reserve(&mut self, rows: usize) {
        for (slots, width) in self.slots.iter_mut().zip(&self.widths) {
            slots.reserve_exact((rows * width).saturating_sub(slots.len()));
        }
    }

    /// Adds one row of each point, which ends up last until all are shuffled.
    pub(super) fn push<'a>(&mut self, rows: impl IntoIterator<Item = &'a [f32]>) {
        let slot = self.free.pop();
        let mut new = self.order.len() + self.free.len();
        for ((slots, width), row) in self.slots.iter_mut().zip(&self.widths).zip(rows) {
            match slot {
                Some(slot) => slots[slot * width..][..*width].copy_from_slice(row),
                None => {
                    new = slots.len() / width.max(&1);
                    slots.extend_from_slice(row);
                }
            }
        }
        self.order.push(slot.unwrap_or(new));
    }

    /// Puts the rows into a random order.
    pub(super) fn shuffle(&mut self, random: &mut Random) {
        random.shuffle(&mut self.order);
    }

    /// Takes up to `count` rows: for each point, one row after the other.
    pub(super) fn take(&mut self, count: usize) -> Vec<Vec<f32>> {
        let taken = self.order.split_off(self.order.len().saturating_sub(count));
        let rows = self.read(&taken);
        self.free.extend(taken);
        rows
    }

    /// All rows that are there, in their order.
    pub(super) fn rows(&self) -> Vec<Vec<f32>> {
        self.read(&self.order)
    }

    /// How many rows of each point these are; `None` if they are not rows of the same positions.
    pub(super) fn count(&self, rows: &[Vec<f32>]) -> Option<usize> {
        let counts = rows.iter().zip(&self.widths).map(|(rows, width)| {
            let width = *width.max(&1);
            (rows.len() % width == 0).then_some(rows.len() / width)
        });
        let counts = counts.collect::<Option<Vec<usize>>>()?;
        counts.windows(2).all(|pair| pair[0] == pair[1]).then(|| counts.first().copied().unwrap_or(0))
    }

    /// Takes in rows in their order, as [`Shuffled::rows`] gave them; nothing where they are not rows of the same positions.
    pub(super) fn fill_with(&mut self, rows: &[Vec<f32>]) {
        let Some(count) = self.count(rows) else { return };
        self.slots = rows.to_vec();
        self.order = (0..count).collect();
        self.free.clear();
    }

    fn read(&self, places: &[usize]) -> Vec<Vec<f32>> {
        let of_point = |(slots, width): (&Vec<f32>, &usize)| {
            places.iter().flat_map(|place| &slots[place * width..][..*width]).copied().collect()
        };
        self.slots.iter().zip(&self.widths).map(of_point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two points whose numbers say which row they are, pushed and taken in turns.
    #[test]
    fn every_row_comes_out_once_with_its_partner() {
        let mut buffer = Shuffled::new(vec![1, 2]);
        let (mut random, mut seen) = (Random::new(3), Vec::new());
        let mut most = 0;
        for round in 0..20 {
            for n in round * 10..round * 10 + 10 {
                let n = n as f32;
                buffer.push([&[n][..], &[n, -n][..]]);
            }
            buffer.shuffle(&mut random);
            most = most.max(buffer.slots[0].len());
            let taken = buffer.take(if round == 19 { 1000 } else { 9 });
            for (a, b) in taken[0].iter().zip(taken[1].chunks(2)) {
                assert_eq!(b, [*a, -a]);
                seen.push(*a as usize);
            }
        }
        assert_ne!(seen[..9], (0..9).collect::<Vec<_>>()[..], "in the order in which they came");
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        assert_eq!(most, 29, "slots are used again");
    }
}
