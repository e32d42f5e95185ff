//! How many bytes a run will keep, known before it starts.

use candle_core::DType;

use super::point::HookPoint;

/// What one point will keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointBytes {
    /// The point.
    pub point: HookPoint,
    /// The shape it is kept in, position slice included.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: u64,
}

/// What a plan will keep: an upper bound, since neighbouring points may share their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Each captured point, in the order of the forward pass.
    pub points: Vec<PointBytes>,
}

impl MemoryPlan {
    pub(super) fn push(&mut self, point: HookPoint, shape: Vec<usize>, dtype: DType) {
        let dtype = if point == HookPoint::Tokens { DType::U32 } else { dtype };
        let bytes = shape.iter().product::<usize>() as u64 * dtype.size_in_bytes() as u64;
        self.points.push(PointBytes { point, shape, bytes });
    }

    /// All bytes together.
    pub fn total(&self) -> u64 {
        self.points.iter().map(|point| point.bytes).sum()
    }

    /// The `k` largest points, largest first.
    pub fn largest(&self, k: usize) -> Vec<&PointBytes> {
        let mut sorted: Vec<_> = self.points.iter().collect();
        sorted.sort_by_key(|point| (std::cmp::Reverse(point.bytes), point.point));
        sorted.truncate(k);
        sorted
    }
}
