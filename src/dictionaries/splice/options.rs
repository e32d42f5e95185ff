//! How dictionaries are spliced in: what becomes of their error, and of a BOS.

use std::fmt;

use crate::tokens::Input;

/// What becomes of a dictionary's error, `e = y - recon(x)`: the activation less what the dictionary makes of what it reads.
/// No gradient passes through it in any of these cases.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let dictionary = Dictionary::from_pretrained("tiny/resid1")?;
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// let plain = model.forward(prompt)?;
/// for (error, changes) in [(ErrorTerm::None, true), (ErrorTerm::Recomputed, false), (ErrorTerm::frozen(prompt), false)] {
///     let logits = model.run_with_hooks(prompt, model.splice(&dictionary, error)?)?.0;
///     assert_eq!((logits - &plain)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3, changes);
/// }
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub enum ErrorTerm {
    /// It is left out: the run goes on with the reconstruction.
    #[default]
    None,
    /// It is added, computed on the current activations and without the plan's edits inside the dictionary: as long as no
    /// feature is edited, the run is the model's own, whatever is edited upstream; an edit of a feature changes the activation by
    /// its decoder row and nothing else. SAELens' `use_error_term`. Gradients with respect to what comes before several such
    /// dictionaries are not slopes of runs, then: they pass later dictionaries through features only, as if errors were frozen.
    Recomputed,
    /// It is added as a constant, that of the plain run of these prompts: an edit upstream reaches what follows through the
    /// dictionary only, as in attribution graphs. A run of other prompts is refused. [`ErrorTerm::frozen`] makes it.
    Frozen(Input),
}

impl ErrorTerm {
    /// The errors of the plain run of these prompts.
    pub fn frozen(prompts: impl Into<Input>) -> Self {
        Self::Frozen(prompts.into())
    }
}

impl fmt::Display for ErrorTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no error term",
            Self::Recomputed => "error term recomputed",
            Self::Frozen(_) => "error term frozen",
        })
    }
}

/// What becomes of a BOS: of the first token of a text that is not padding, if it is the tokenizer's BOS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtBos {
    /// The activation there stays the model's own, and no feature is active: most dictionaries were trained without a BOS, whose
    /// activations are far larger than all others. An edit of a feature there adds its decoder row, as everywhere.
    /// circuit-tracer's `zero_positions`; of SAELens' `exclude_special_tokens` the first token.
    #[default]
    LeftAlone,
    /// The dictionary replaces the activation there too: SAELens' default.
    Spliced,
}

/// How dictionaries are spliced in. An [`ErrorTerm`] converts into it.
///
/// ```
/// use candle_lens::prelude::*;
/// let options = SpliceOptions { error: ErrorTerm::Recomputed, bos: AtBos::Spliced };
/// assert_eq!(SpliceOptions::from(ErrorTerm::None).bos, AtBos::LeftAlone);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct SpliceOptions {
    /// What becomes of the error.
    pub error: ErrorTerm,
    /// What becomes of a BOS.
    pub bos: AtBos,
}

impl From<ErrorTerm> for SpliceOptions {
    fn from(error: ErrorTerm) -> Self {
        Self { error, ..Self::default() }
    }
}

impl From<&SpliceOptions> for SpliceOptions {
    fn from(options: &SpliceOptions) -> Self {
        options.clone()
    }
}
