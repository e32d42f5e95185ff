//! Keys and values of tokens that were run before, so that a run of later tokens need not compute them again.
//!
//! Each layer's keys (rotated to their positions, in a model with rotary embeddings) and values are kept as attention
//! reads them. A cache is a value: running on from it leaves it as it is, so one prompt can be continued in many ways
//! (TransformerLens calls that frozen).

use std::fmt;

use candle_core::Tensor;

use crate::dims::Dims;
use crate::error::{Error, Result, human_bytes};
use crate::model::load::ModelProvenance;
use crate::model::transformer::HookedTransformer;
use crate::tokens::Tokens;

/// Keys and values of one layer, `[batch, pos, n_key_value_heads, d_head]` each; nothing before the first run.
#[derive(Clone, Default)]
pub(in crate::model) struct LayerKv(Option<(Tensor, Tensor)>);

impl LayerKv {
    /// Those of earlier positions, if there are any.
    pub(in crate::model) fn of(past: Option<(Tensor, Tensor)>) -> Self {
        Self(past)
    }

    /// Adds those of the tokens that run now, and returns all.
    pub(in crate::model) fn extend(&mut self, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor)> {
        let whole = match self.0.take() {
            Some((past_k, past_v)) => (Tensor::cat(&[past_k, k], 1)?, Tensor::cat(&[past_v, v], 1)?),
            None => (k, v),
        };
        Ok(self.0.insert(whole).clone())
    }
}

/// The keys and values of the tokens of a run. Cheap to clone, never changed.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
/// let prompt = model.run("When John and Mary went to the shops,", HookPlan::new(), &keep)?;
/// // Two ends of one beginning; only their own tokens are computed.
/// let on = RunOptions { past_kv_cache: prompt.kv_cache, ..Default::default() };
/// for end in [" John gave the bag to", " Mary gave the bag to"] {
///     let run = model.run(end, HookPlan::new(), &on)?;
///     assert_eq!(run.tokens.pos(), 5);
/// }
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct KvCache {
    pub(in crate::model) tokens: Tokens,
    pub(in crate::model) layers: Vec<LayerKv>,
    pub(in crate::model) dims: Dims,
    /// Which weights computed them.
    pub(in crate::model) weights: ModelProvenance,
}

impl KvCache {
    /// What `model` has for each layer of these tokens.
    pub(in crate::model) fn new(model: &HookedTransformer, tokens: Tokens, layers: Vec<LayerKv>) -> Self {
        Self { tokens, layers, dims: model.dims(), weights: model.provenance() }
    }

    /// The tokens whose keys and values are here.
    pub fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> u64 {
        let pairs = self.layers.iter().filter_map(|layer| layer.0.as_ref());
        pairs.map(|(k, v)| ((k.elem_count() + v.elem_count()) * k.dtype().size_in_bytes()) as u64).sum()
    }

    /// Keys and values of one layer's first `pos` positions, `[batch, pos, n_key_value_heads, d_head]` each.
    pub(crate) fn before(&self, layer: usize, pos: usize) -> Result<Option<(Tensor, Tensor)>> {
        match &self.layers[layer].0 {
            Some((k, v)) if pos > 0 => Ok(Some((k.narrow(1, 0, pos)?, v.narrow(1, 0, pos)?))),
            _ => Ok(None),
        }
    }

    /// Checks that this model made it.
    pub(in crate::model) fn check(&self, model: &HookedTransformer) -> Result<()> {
        if self.dims != model.dims() {
            return Err(Error::argument(
                "past_kv_cache was made by a model with other sizes: make it with a run of this model (keep_kv_cache).",
            ));
        }
        match self.weights.other_weights(&model.provenance()) {
            other if other.is_empty() => Ok(()),
            other => Err(Error::argument(format!(
                "past_kv_cache was not made by this model: {}. Make it with a run of this model (keep_kv_cache).",
                other.join("; ")
            ))),
        }
    }
}

impl fmt::Debug for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (batch, pos) = (self.tokens.batch(), self.tokens.pos());
        write!(f, "KvCache(batch {batch}, pos {pos}, {} layers, {})", self.layers.len(), human_bytes(self.bytes()))
    }
}
