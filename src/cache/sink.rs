//! Attention to a prompt's first token: one setting of a cache, which whatever reads its attention shares.
//!
//! A head that has nothing to do attends to the first token, whose value is small: an attention sink (Xiao et al. 2023,
//! <https://arxiv.org/abs/2309.17453>). It takes most of the attention of many heads, so views and scores of what they do otherwise
//! leave it out.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::store::ActivationCache;
use crate::error::Result;
use crate::hooks::Site;

/// Whether attention to the first token of a prompt counts; padding before it is none. A setting of a cache
/// ([`ActivationCache::with_sink`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sink {
    /// It counts as any other.
    #[default]
    Counted,
    /// It does not count: views show none, and scores are of the rest.
    LeftOut,
}

impl ActivationCache {
    /// The same cache with this setting for attention to the first token of each prompt, which views of attention,
    /// [`detect_head`](crate::analysis::detect_head) and [`ActivationCache::attention`] follow. Activations stay as they were.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
    /// let cache = cache.with_sink(Sink::LeftOut);
    /// attention_explorer(&model, &cache).show()?;
    /// let previous = detect_head(&cache, &DetectionPattern::PreviousToken, DetectOptions::default())?;
    /// assert!(previous.top_heads(1)?[0].1 > 0.5);
    /// assert_eq!(cache.attention(0)?.i((0, .., .., 0))?.sum_all()?.to_scalar::<f32>()?, 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn with_sink(mut self, sink: Sink) -> Self {
        self.sink = sink;
        self
    }

    /// Whether attention to the first token of each prompt counts.
    pub fn sink(&self) -> Sink {
        self.sink
    }

    /// The attention pattern of a layer as the setting has it: 0 at the first token of each prompt where that is left out, and
    /// otherwise as in the run, so that rows sum to what attention is left.
    ///
    /// # Shapes
    /// `[batch, head, query position, key position]`, without the batch where the cache has none.
    ///
    /// # Errors
    /// A layer that does not exist, patterns that are not cached.
    pub fn attention(&self, layer: isize) -> Result<Tensor> {
        let pattern = self.get((Site::Pattern, layer))?;
        if self.sink == Sink::Counted {
            return Ok(pattern);
        }
        // A single query position has no axis.
        let last = pattern.rank() - 1;
        let keys = pattern.dim(last)?;
        let of_prompt = |first: usize| (0..keys).map(move |key| if key == first { 0_f32 } else { 1. });
        let counts: Vec<f32> = self.tokens.first_positions().into_iter().flat_map(of_prompt).collect();
        let mut shape = vec![1; last + 1];
        shape[last] = keys;
        if self.has_batch_dim {
            shape[0] = self.tokens.batch();
        }
        let counts = Tensor::from_vec(counts, shape, pattern.device())?.to_dtype(pattern.dtype())?;
        Ok(pattern.broadcast_mul(&counts)?)
    }
}
