//! Blocks on the last positions of a text, whose earlier positions have been computed before.
//!
//! The whole text is a suffix of itself, with nothing before it. A suffix needs the keys and values of the earlier
//! positions; its own positions continue their numbering, and the mask covers all keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{DType, Tensor};

use super::config::AttentionDir;
use super::ops::{later_keys, linear, soft_cap};
use super::transformer::HookedTransformer;
use crate::error::Result;
use crate::hooks::HookRun;
use crate::model::layers::alibi::alibi;
use crate::model::layers::attention::keys_and_values;
use crate::model::layers::block::{BlockContext, block};
use crate::model::layers::embed::{position_embeddings, position_ids};
use crate::model::layers::kv_cache::LayerKv;
use crate::model::layers::mixing::mixed;
use crate::model::layers::rotary::Rotations;
use crate::tokens::Tokens;

/// What all blocks need to know about the positions they run on.
pub(crate) struct Suffix {
    rotary: Option<Rotations>,
    /// What is added to the scores for the distance between query and key.
    alibi: Option<Tensor>,
    /// Position embeddings that enter queries and keys only.
    placed: Option<Tensor>,
    /// The keys that are masked for each query, for each window that some layer has.
    masked: BTreeMap<Option<usize>, Option<Tensor>>,
}

impl Suffix {
    /// The first `count` of its positions, whose keys are still those of the whole text. They keep the rotary embedding of
    /// the whole: where it depends on the length of a text, a shorter one would be rotated differently.
    pub(crate) fn first(&self, count: usize) -> Result<Self> {
        let rotary = self.rotary.as_ref().map(|rotary| rotary.first(count)).transpose()?;
        let placed = self.placed.as_ref().map(|placed| placed.narrow(1, 0, count)).transpose()?;
        // A mask or a distance that is the same for all queries has one row.
        let of_queries = |x: &Tensor| -> Result<Tensor> {
            Ok(if x.dim(2)? == 1 { x.clone() } else { x.narrow(2, 0, count)?.contiguous()? })
        };
        let alibi = self.alibi.as_ref().map(of_queries).transpose()?;
        let masks = self.masked.iter().map(|(window, mask)| Ok((*window, mask.as_ref().map(of_queries).transpose()?)));
        Ok(Self { rotary, placed, alibi, masked: masks.collect::<Result<_>>()? })
    }

    pub(super) fn context<'a>(&'a self, model: &'a HookedTransformer, layer: usize) -> BlockContext<'a> {
        BlockContext {
            layer,
            cfg: &model.cfg,
            rotary: self.rotary.as_ref().map(|rotations| rotations.of(model.cfg.window(layer).is_some())),
            alibi: self.alibi.as_ref(),
            shortformer: self.placed.as_ref(),
            masked: self.masked[&model.cfg.window(layer)].as_ref(),
            frozen: model.frozen,
        }
    }
}

impl HookedTransformer {
    /// The positions of `text` from `past` on; `placed` are the position embeddings of a model that has them in queries
    /// and keys only.
    pub(super) fn suffix(&self, text: &Tokens, past: usize, placed: Option<Tensor>) -> Result<Suffix> {
        let rotary = match self.dims().rotary {
            true => Some(Rotations::new(&self.cfg, text, past, self.weights.device())?),
            false => None,
        };
        let alibi = match self.dims().alibi {
            true => Some(alibi(self.cfg.n_heads, past, text.pos(), self.weights.device())?),
            false => None,
        };
        let mut masked = BTreeMap::new();
        for layer in 0..self.cfg.n_layers {
            if let Entry::Vacant(vacant) = masked.entry(self.cfg.window(layer)) {
                vacant.insert(self.masked_keys(text, past, self.cfg.window(layer))?);
            }
        }
        Ok(Suffix { rotary, alibi, placed, masked })
    }

    /// The positions from `past` on of `copies` copies of `text`, one after the other.
    pub(crate) fn suffix_of_copies(&self, text: &Tokens, past: usize, copies: usize) -> Result<Suffix> {
        // Without padding all rows are alike, and one serves all.
        let rows = match text.is_padded() {
            true => text.repeated(copies),
            false => text.first_row(),
        };
        let placed = match self.dims().shortformer {
            true => position_embeddings(&self.weights, rows.batch(), &position_ids(&rows, past))?,
            false => None,
        };
        self.suffix(&rows, past, placed)
    }

    /// The residual stream that leaves block `layer`, `[row, pos, d_model]`, from the one that enters it and the keys
    /// and values of the positions before.
    pub(crate) fn block_on_suffix(
        &self,
        layer: usize,
        resid: Tensor,
        suffix: &Suffix,
        past: Option<(Tensor, Tensor)>,
        run: &mut HookRun,
    ) -> Result<Tensor> {
        let mut kv = LayerKv::of(past);
        block(resid, &self.weights.blocks[layer], &suffix.context(self, layer), run, Some(&mut kv))
    }

    /// Keys and values of block `layer` for the residual stream that enters it, after those of the earlier positions.
    pub(crate) fn keys_and_values(
        &self,
        layer: usize,
        resid: &Tensor,
        suffix: &Suffix,
        past: Option<(Tensor, Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        let (k, v) = keys_and_values(resid, &self.weights.blocks[layer], &suffix.context(self, layer))?;
        LayerKv::of(past).extend(k, v)
    }

    /// Values mixed by the pattern of a block, of queries, keys and values as they are at their hook points; gradients flow to all
    /// three.
    ///
    /// # Shapes
    /// `[batch, pos, n_heads, d_head]` and of keys and values `[batch, pos, n_key_value_heads, d_head]` give
    /// `[batch, pos, n_heads, d_head]`.
    pub(crate) fn mixed(&self, layer: usize, qkv: [Tensor; 3], suffix: &Suffix) -> Result<Tensor> {
        let run = &mut HookRun::default();
        mixed(qkv, &self.weights.blocks[layer], &suffix.context(self, layer), run, None)
    }

    /// The gradient at queries or keys of a layer before their rotary embedding, from that behind it, at the positions of the suffix
    /// from `from` on; the same gradient in a model that rotates nothing.
    ///
    /// # Shapes
    /// `g [.., pos, head, d_head]`, result the same.
    pub(crate) fn rotated_back(&self, layer: usize, suffix: &Suffix, g: &Tensor, from: usize) -> Result<Tensor> {
        match suffix.context(self, layer).rotary {
            Some(rotary) => rotary.turn_back(g, from),
            None => Ok(g.clone()),
        }
    }

    /// The logits of these tokens (all, if none are given) for the final residual stream.
    ///
    /// # Shapes
    /// `resid [row, d_model]` gives `[row, token]`.
    pub(crate) fn logits_after(&self, resid: &Tensor, columns: Option<Vec<u32>>) -> Result<Tensor> {
        let normed = self.final_norm().apply(resid)?;
        let Some(columns) = columns else { return self.logits_of(&normed) };
        let count = columns.len();
        let columns = Tensor::from_vec(columns, count, self.weights.device())?;
        let (w, b) = (self.weights.w_u.index_select(&columns, 1)?, self.weights.b_u.index_select(&columns, 0)?);
        soft_cap(linear(&normed, &w, Some(&b))?, self.cfg.output_logits_soft_cap, self.frozen.ratios)
    }

    /// The mask, 1 where a query does not attend to a key: later keys of a causal model, keys outside the window, and
    /// padding. Queries are the positions from `past` on.
    ///
    /// # Shapes
    /// Broadcastable to `[batch, head, q_pos, k_pos]`.
    fn masked_keys(&self, tokens: &Tokens, past: usize, window: Option<usize>) -> Result<Option<Tensor>> {
        let pos = tokens.pos();
        let later = match self.cfg.attention_dir {
            AttentionDir::Causal => {
                Some(later_keys(past, pos, window, self.weights.device())?.reshape((1, 1, pos - past, pos))?)
            }
            AttentionDir::Bidirectional => None,
        };
        let padding = match self.real_tokens(tokens)? {
            Some(real) => Some(real.eq(0u8)?.to_dtype(DType::U8)?.reshape((tokens.batch(), 1, 1, pos))?),
            None => None,
        };
        Ok(match (later, padding) {
            (Some(later), Some(padding)) => Some(later.broadcast_maximum(&padding)?),
            (later, padding) => later.or(padding),
        })
    }
}
