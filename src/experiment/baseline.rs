//! What takes the place of an activation.

use crate::hooks::MeanOver;
use crate::tokens::Input;

/// What takes the place of an activation in an [`Experiment`](super::Experiment): that of other prompts, nothing, a mean, or
/// that of another prompt of the batch. Prompts can be given as they are, texts or tokens.
///
/// ```
/// use candle_lens::prelude::*;
/// let corrupted: Baseline = "When John and Mary went to the shops, Mary gave the bag to".into();
/// assert!(matches!(corrupted, Baseline::Prompts(_)));
/// let mean = Baseline::mean_of(MeanOver::BatchAndPos, ["The keys on the cabinet", "Tirana, the capital of"]);
/// assert!(matches!(mean, Baseline::Mean { of: Some(_), .. }));
/// ```
#[derive(Clone, Debug)]
pub enum Baseline {
    /// The activation of these prompts: one for each clean prompt, with the same number of tokens.
    Prompts(Input),
    /// Zeros.
    Zero,
    /// A mean.
    Mean {
        /// Over prompts, position by position, or over prompts and positions. Padding does not count.
        over: MeanOver,
        /// The prompts whose mean it is; the clean prompts of the experiment where there are none.
        of: Option<Input>,
    },
    /// The mean over the clean prompts of the same group (the same template, as a rule), position by position: one group number
    /// for each prompt, at least two prompts in each group (Wang et al. 2022, <https://arxiv.org/abs/2211.00593>).
    MeanByGroup(Vec<usize>),
    /// The activation of another clean prompt, drawn with this seed; no prompt keeps its own (Chan et al. 2022, "Causal
    /// Scrubbing").
    Resample(u64),
}

impl Baseline {
    /// The mean of the experiment's own clean prompts.
    pub fn mean(over: MeanOver) -> Self {
        Self::Mean { over, of: None }
    }

    /// The mean of these prompts, texts or tokens.
    pub fn mean_of(over: MeanOver, prompts: impl Into<Input>) -> Self {
        Self::Mean { over, of: Some(prompts.into()) }
    }
}

impl<T: Into<Input>> From<T> for Baseline {
    fn from(prompts: T) -> Self {
        Self::Prompts(prompts.into())
    }
}
