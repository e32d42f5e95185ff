//! How a dictionary is loaded.

use candle_core::DType;

use super::format::DictionaryFormat;
use crate::dictionaries::parts::DictionaryParts;
use crate::error::{Error, Result};
use crate::hooks::HookPoint;
use crate::storage::Hub;

/// How a dictionary is loaded: what is left out is as its files say.
///
/// ```
/// use candle_lens::prelude::*;
/// // A dictionary whose files are silent about the processing of the model that it was trained on.
/// let options = DictionaryOptions { centred: Some(true), value_biases_folded: Some(true), ..Default::default() };
/// let expects = Dictionary::from_pretrained_with("tiny/z2", options)?.expects();
/// assert_eq!(expects.value_biases_folded, Some(true));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DictionaryOptions {
    /// The format of the files, where they could be of several.
    pub format: Option<DictionaryFormat>,
    /// The point it reads, where the files do not say, or say it wrongly.
    pub hook_in: Option<HookPoint>,
    /// The point it writes, if that is another one.
    pub hook_out: Option<HookPoint>,
    /// Whether what the model writes to the residual stream was centred
    /// ([`Processing::center_writing_weights`](crate::model::Processing)).
    pub centred: Option<bool>,
    /// Whether value biases were folded ([`Processing::fold_value_biases`](crate::model::Processing)).
    pub value_biases_folded: Option<bool>,
    /// Whether the norms' weights were folded ([`Processing::fold_ln`](crate::model::Processing)).
    pub norms_folded: Option<bool>,
    /// The factor by which inputs were multiplied in training (SAELens' `expected_average_only_in`), which its files do not
    /// hold: it is folded into the weights. `Some(1.0)` says that it is folded already.
    pub norm_factor: Option<f64>,
    /// The dtype of the weights; `None` is that of the file.
    pub dtype: Option<DType>,
    /// Keys of the configuration that this library does not know and that you know to change nothing.
    pub ignore_config_keys: Vec<String>,
    /// Where dictionaries of the hub come from and are kept; `None` is what the environment says.
    pub hub: Option<Hub>,
}

impl DictionaryOptions {
    /// What the user says takes the place of what the files say.
    ///
    /// # Errors
    /// A dtype in which weights cannot be kept.
    pub(super) fn apply(&self, parts: &mut DictionaryParts) -> Result<()> {
        let expects = &mut parts.expects;
        expects.hook_in = self.hook_in.or(expects.hook_in);
        expects.hook_out = self.hook_out.or(expects.hook_out);
        expects.centred = self.centred.or(expects.centred);
        expects.value_biases_folded = self.value_biases_folded.or(expects.value_biases_folded);
        expects.norms_folded = self.norms_folded.or(expects.norms_folded);
        if let Some(factor) = self.norm_factor {
            parts.fold_factor(factor)?;
        }
        let Some(dtype) = self.dtype else { return Ok(()) };
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(Error::argument(format!("the weights of a dictionary are F32, F16 or BF16, not {dtype:?}.")));
        }
        parts.each(|tensor| Ok(tensor.to_dtype(dtype)?))
    }
}
