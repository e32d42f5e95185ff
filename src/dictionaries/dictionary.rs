//! A sparse dictionary.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::architecture::Architecture;
use super::expects::Expects;
use super::parts::{Activation, DictionaryParts};
use crate::error::Result;
use crate::variables::holds;
use crate::visible::visible;

/// A sparse autoencoder, a transcoder, or one layer of a cross-layer transcoder. Cheap to clone.
///
/// ```
/// use candle_lens::prelude::*;
/// let w_dec = Random::new(0).normal((32, 8))?;
/// let parts = DictionaryParts {
///     name: "mine".into(),
///     w_enc: w_dec.t()?.contiguous()?,
///     b_enc: Tensor::zeros(32, DType::F32, &Device::Cpu)?,
///     b_dec: Tensor::zeros(8, DType::F32, &Device::Cpu)?,
///     w_dec,
///     b_in: None,
///     w_skip: None,
///     activation: Activation::TopK { k: 4 },
///     input_norm: InputNorm::None,
///     scaled_by_decoder_norm: false,
///     expects: Expects::at("resid_post2".parse()?),
/// };
/// let dictionary = Dictionary::new(parts)?;
/// let acts = dictionary.encode(&Random::new(1).normal((2, 5, 8))?)?;
/// assert_eq!((acts.shape(), acts.d_sae()), (vec![2, 5], 32));
/// assert_eq!(dictionary.decode(&acts)?.dims(), [2, 5, 8]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Dictionary {
    pub(super) parts: Arc<DictionaryParts>,
}

holds! {
    Dictionary { parts } = |dictionary| format!("{} features", dictionary.d_sae());
}

impl Dictionary {
    /// A dictionary of these parts.
    ///
    /// # Errors
    /// Shapes that do not belong together, a `k` above the number of features, numbers that are not finite: all are named.
    pub fn new(mut parts: DictionaryParts) -> Result<Self> {
        super::check::check(&parts)?;
        // Decoding reads rows where they lie.
        parts.w_dec = parts.w_dec.contiguous()?;
        Ok(Self { parts: Arc::new(parts) })
    }

    /// What messages and figures call it.
    pub fn name(&self) -> String {
        self.parts.name.clone()
    }

    /// What kind it is.
    pub fn architecture(&self) -> Architecture {
        Architecture::of(&self.parts)
    }

    /// How pre-activations become activations.
    pub fn activation(&self) -> Activation {
        self.parts.activation.clone()
    }

    /// What it expects of the model.
    pub fn expects(&self) -> Expects {
        self.parts.expects.clone()
    }

    /// The weights with all that they need to be read correctly.
    pub fn parts(&self) -> DictionaryParts {
        (*self.parts).clone()
    }

    /// The width of what it reads.
    pub fn d_in(&self) -> usize {
        self.parts.w_enc.dims()[0]
    }

    /// How many features it has.
    pub fn d_sae(&self) -> usize {
        self.parts.w_enc.dims()[1]
    }

    /// The width of what it writes.
    pub fn d_out(&self) -> usize {
        self.parts.b_dec.dims()[0]
    }

    /// How many layers it writes: 1, more for a layer of a cross-layer transcoder.
    pub fn n_writes(&self) -> usize {
        if self.parts.w_dec.rank() == 3 { self.parts.w_dec.dims()[1] } else { 1 }
    }

    /// The dtype of its weights.
    pub fn dtype(&self) -> DType {
        self.parts.w_enc.dtype()
    }

    /// `W_enc`.
    ///
    /// # Shapes
    /// `[d_in, d_sae]`.
    pub fn w_enc(&self) -> Tensor {
        self.parts.w_enc.clone()
    }

    /// `W_dec`.
    ///
    /// # Shapes
    /// `[d_sae, d_out]`, of a layer of a cross-layer transcoder `[d_sae, n_writes, d_out]`.
    pub fn w_dec(&self) -> Tensor {
        self.parts.w_dec.clone()
    }
}

impl fmt::Display for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = visible(&self.parts.name).to_string();
        write!(f, "{name}: {}, {} features", self.architecture(), self.d_sae())?;
        match (self.parts.expects.hook_in, self.parts.expects.writes()) {
            (Some(reads), Some(writes)) if reads != writes => write!(f, ", reads {reads}, writes {writes}"),
            (Some(at), _) => write!(f, " of {at}"),
            _ => write!(f, " of an unnamed point of width {}", self.d_in()),
        }
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
