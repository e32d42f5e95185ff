//! What a sweep found.

use ndarray::ArrayD;

use crate::labelled::Labelled;

/// Why a site was not computed: its number is that of the run without patching, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// Both runs have the same activation there.
    Identical,
    /// Nothing that the metric reads depends on it.
    NoPath,
}

/// The metric with each site patched.
#[derive(Clone)]
pub struct PatchResult {
    /// The metric itself, the mean over prompts; of a position where some are padded, over those that have a token there.
    pub raw: Labelled,
    /// `(patched - corrupted) / (clean - corrupted)`: 0 is the corrupted run, 1 the clean one, and it may leave that range. All
    /// three are means over the same prompts.
    pub normalised: Labelled,
    /// The metric of each prompt, also of those that are padded at the position; one more axis, `prompt`.
    pub per_prompt: Labelled,
    /// The metric of the clean run, the mean over all prompts.
    pub clean: f32,
    /// The metric of the corrupted run, the mean over all prompts.
    pub corrupted: f32,
    /// Which sites changed nothing by themselves, and why; in the shape of the results.
    pub untouched: ArrayD<Option<Untouched>>,
}

impl PatchResult {
    /// How many sites were computed.
    pub fn computed(&self) -> usize {
        self.untouched.iter().filter(|reason| reason.is_none()).count()
    }
}

impl std::fmt::Debug for PatchResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PatchResult({:?}, clean {:.4}, corrupted {:.4}, {} of {} sites computed)",
            self.normalised,
            self.clean,
            self.corrupted,
            self.computed(),
            self.untouched.len()
        )
    }
}
