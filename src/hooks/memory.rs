//! How many bytes a run will need, known before it starts.

use candle_core::DType;

use super::free::free_memory;
use super::point::HookPoint;
use super::stage::Kind;
use crate::dims::Dims;
use crate::error::{Error, Result, human_bytes};
use crate::wide::wide_type;

/// The percentage of the free memory that a run without a budget may need.
const DEFAULT_SHARE: u64 = 70;

/// For fewer bytes the system is not asked how much memory is free.
const SMALL: u64 = 16_000_000;

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

/// What a run will need: what it keeps, its logits, and working memory. What it keeps is an upper bound, since neighbouring
/// points may share memory; working memory is an estimate. A run with watched points keeps what each block computed for the
/// backward pass, so that working memory counts for every layer. The weights are not counted, nor are the tensors that edits
/// hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Each captured point, in the order of the forward pass.
    pub points: Vec<PointBytes>,
    /// The logits, `[batch, pos, d_vocab_out]`.
    pub logits: u64,
    /// What is in memory while the widest block is computed: two residual streams, either q, k, v, z with three attention
    /// patterns or two layers of neurons, and the inner activations of the largest splice.
    pub working: u64,
}

/// Sizes multiplied; a plan that no machine can hold has the largest number, not a wrapped one.
fn product(sizes: &[usize]) -> u64 {
    match sizes.contains(&0) {
        true => 0,
        false => sizes.iter().fold(1, |product: u64, size| product.saturating_mul(*size as u64)),
    }
}

impl MemoryPlan {
    /// What a run of this shape needs before it keeps anything.
    pub(super) fn of_run(dims: &Dims, (batch, pos): (usize, usize), dtype: DType, logits: bool) -> Self {
        let size = dtype.size_in_bytes();
        let of_heads = product(&[4, batch, pos, dims.n_heads, dims.d_head, size]);
        let attention = of_heads.saturating_add(product(&[3, batch, pos, dims.n_heads, pos, size]));
        let neurons = product(&[2, batch, pos, dims.d_mlp, size]);
        Self {
            points: Vec::new(),
            logits: if logits { product(&[batch, pos, dims.d_vocab_out, size]) } else { 0 },
            working: product(&[2, batch, pos, dims.d_model, size]).saturating_add(attention.max(neurons)),
        }
    }

    pub(super) fn push(&mut self, point: HookPoint, shape: Vec<usize>, dtype: DType) {
        let dtype = match (point, point.kind()) {
            (_, Kind::Ids) => DType::U32,
            // What a splice shows may be of its own dtype.
            (HookPoint::Inner(_), _) | (_, Kind::Scale) => wide_type(dtype),
            (_, Kind::Vector | Kind::Score | Kind::Share | Kind::Logits) => dtype,
        };
        let bytes = product(&shape).saturating_mul(dtype.size_in_bytes() as u64);
        self.points.push(PointBytes { point, shape, bytes });
    }

    /// A watched point: its activation, the zeros added to it, the sum, and later its gradient.
    pub(super) fn push_watched(&mut self, point: HookPoint, shape: Vec<usize>, dtype: DType) {
        self.push(point, shape, dtype);
        if let Some(pushed) = self.points.last_mut() {
            pushed.bytes = pushed.bytes.saturating_mul(4);
        }
    }

    /// What a splice shows inside, whether it is kept or not.
    pub(super) fn add_working(&mut self, numbers: usize) {
        self.working = self.working.saturating_add((numbers as u64).saturating_mul(size_of::<f32>() as u64));
    }

    /// A backward pass needs what every block computed, not only the last one.
    pub(super) fn for_backward(&mut self, dims: &Dims) {
        self.working = self.working.saturating_mul(dims.n_layers.max(1) as u64);
    }

    /// The bytes of everything that is kept.
    pub fn kept(&self) -> u64 {
        self.points.iter().fold(0, |sum, point| sum.saturating_add(point.bytes))
    }

    /// All bytes together.
    pub fn total(&self) -> u64 {
        self.kept().saturating_add(self.logits).saturating_add(self.working)
    }

    /// The `k` largest points, largest first.
    pub fn largest(&self, k: usize) -> Vec<&PointBytes> {
        let mut sorted: Vec<_> = self.points.iter().collect();
        sorted.sort_by_key(|point| (std::cmp::Reverse(point.bytes), point.point));
        sorted.truncate(k);
        sorted
    }

    /// Refuses a run of `batch` prompts that needs more than `budget`, or without one, more than its share of what is
    /// free in host memory, if that is where it runs.
    pub(super) fn check(&self, budget: Option<u64>, batch: usize, in_host_memory: bool) -> Result<()> {
        let is_asked = budget.is_none() && in_host_memory && self.total() > SMALL;
        self.check_against(budget, batch, if is_asked { free_memory() } else { None })
    }

    /// As [`MemoryPlan::check`], with this many bytes free.
    fn check_against(&self, budget: Option<u64>, batch: usize, free: Option<u64>) -> Result<()> {
        let share =
            free.map(|free| (free / 100 * DEFAULT_SHARE, format!("{DEFAULT_SHARE} % of the memory that is free")));
        let limit = budget.map(|budget| (budget, "the plan's budget".to_string())).or(share);
        let Some((budget, source)) = limit.filter(|(budget, _)| self.total() > *budget) else { return Ok(()) };
        let mut largest: Vec<(String, u64)> =
            self.points.iter().map(|kept| (kept.point.to_string(), kept.bytes)).collect();
        largest.extend([("the logits".into(), self.logits), ("working memory".into(), self.working)]);
        largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        largest.truncate(3);
        let fit = (u128::from(budget) * batch as u128 / u128::from(self.total().max(1))) as usize;
        let fewer = match fit {
            0 => "shorter prompts".into(),
            fit => format!("at most about {fit} of these {batch} prompts at a time"),
        };
        Err(Error::OverBudget { needed: self.total(), kept: self.kept(), budget, source, largest, fewer })
    }
}

/// Refuses to put together `bytes` of numbers when that is more than its share of the memory that is free.
///
/// # Errors
/// [`Error::Argument`] saying what was to be made, and `instead`, what to do instead.
pub(crate) fn check_free(bytes: u64, what: &str, instead: &str) -> Result<()> {
    let free = if bytes > SMALL { free_memory() } else { None };
    match free.map(|free| free / 100 * DEFAULT_SHARE).filter(|share| bytes > *share) {
        None => Ok(()),
        Some(share) => Err(Error::argument(format!(
            "{what} would take {}, more than {DEFAULT_SHARE} % of the memory that is free ({}): {instead}.",
            human_bytes(bytes),
            human_bytes(share)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> MemoryPlan {
        let point = |point, bytes| PointBytes { point, shape: vec![], bytes };
        let points = vec![point(HookPoint::Embed, 300), point(HookPoint::PosEmbed, 200)];
        MemoryPlan { points, logits: 400, working: 100 }
    }

    #[test]
    fn a_run_gets_its_share_of_what_is_free() {
        assert!(plan().check_against(None, 4, Some(1500)).is_ok());
        let refused = plan().check_against(None, 4, Some(1400)).expect_err("70 % of it are 980");
        let message = refused.to_string();
        for part in [
            "1.0 kB",
            "980 B",
            "70 % of the memory that is free",
            "the logits (400 B)",
            "500 B",
            "about 3 of these 4 prompts",
            "HookPlan::budget",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn a_budget_overrides_what_is_free() {
        assert!(plan().check_against(Some(1000), 4, Some(1)).is_ok());
        assert!(plan().check_against(Some(999), 4, Some(u64::MAX)).is_err());
        assert!(plan().check_against(None, 4, None).is_ok(), "a system that does not say sets no limit");
    }

    #[test]
    fn what_cannot_fit_at_all_is_said() {
        let message = plan().check_against(Some(200), 4, None).expect_err("too much").to_string();
        assert!(message.contains("shorter prompts") && message.contains("the plan's budget"), "{message}");
        assert!(plan().check_against(Some(0), 0, None).is_err());
    }
}
