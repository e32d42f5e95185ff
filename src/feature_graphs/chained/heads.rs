//! One layer's attention around the run of a prompt: gradients of what attention features read, along values, queries and keys.
//!
//! A feature with encoder `w` at query position `q` reads `sum_h sum_k A[h,q,k] w[h] . v[h,k]`. With `dfa[h,k] = w[h] . v[h,k]` and
//! `m[h] = sum_k A[h,q,k] dfa[h,k]`, a score `s[h,k]` moves it by `c[h,k] = A[h,q,k] (dfa[h,k] - m[h])`: the mean under the pattern
//! is subtracted because a softmax only sees differences of scores. A score is `q . k / scale`, each behind its norm, whose scale is held, and its rotary embedding; a soft
//! cap multiplies `c` by its slope.

use candle_core::{D, Tensor};

use super::super::affine::{AffineBlock, one};
use super::super::node::BiasOf;
use super::edge::EdgeVia;
use super::rows::Field;
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};
use crate::model::{AttentionDir, HookedTransformer, QkNormType, Suffix};
use crate::wide;

/// The norm of queries or of keys with its scale held.
struct HeadNorm {
    centres: bool,
    /// `1 / s`, `[head, pos, 1]`.
    inverse: Tensor,
    /// `[head or 1, 1, d_head]`.
    w: Tensor,
    b: Option<Tensor>,
}

impl HeadNorm {
    /// The gradient before the norm at `count` positions from `from` on, and what the norm's shift adds.
    ///
    /// # Shapes
    /// `g [head, row, d_head]` gives the same, and `[head, row]`; there are `count` rows, or any number of one position.
    fn pull(&self, g: &Tensor, from: usize, count: usize) -> Result<(Tensor, Option<Tensor>)> {
        let shift = match &self.b {
            Some(b) => Some(g.broadcast_mul(b)?.sum(D::Minus1)?),
            None => None,
        };
        let g = g.broadcast_mul(&self.w)?;
        let g = match self.centres {
            true => g.broadcast_sub(&g.mean_keepdim(D::Minus1)?)?,
            false => g,
        };
        Ok((g.broadcast_mul(&self.inverse.narrow(1, from, count)?)?, shift))
    }
}

/// How queries or keys are made.
struct Projection {
    /// `[head, d_head, d_model]`: gradients pulled back.
    w: Tensor,
    /// `[head, 1, d_head]`.
    b: Tensor,
    norm: Option<HeadNorm>,
    /// As scores see them, `[head, pos, d_head]`.
    x: Tensor,
}

/// The sites and names of queries or of keys.
struct Names {
    letter: char,
    norm: &'static str,
    plain: Site,
    rotated: Site,
    scale: Site,
    normalized: Site,
}

const QUERIES: Names = Names {
    letter: 'Q',
    norm: "q_norm",
    plain: Site::Q,
    rotated: Site::RotQ,
    scale: Site::QNormScale,
    normalized: Site::QNormNormalized,
};

const KEYS: Names = Names {
    letter: 'K',
    norm: "k_norm",
    plain: Site::K,
    rotated: Site::RotK,
    scale: Site::KNormScale,
    normalized: Site::KNormNormalized,
};

/// One layer's attention.
pub(super) struct Heads {
    queries: Projection,
    keys: Projection,
    /// With `b_V`, `[head, pos, d_head]`.
    v: Tensor,
    /// `[head, d_head, d_model]`.
    w_v: Tensor,
    /// `[head, 1, d_head]`.
    b_v: Tensor,
    /// The derivative of each score with respect to the product of its query and key: one over the scale, times the slope of a soft cap,
    /// `[head, q_pos, k_pos]`.
    slope: Tensor,
    /// What queries and keys read besides the residual stream, `[pos, d_model]`.
    placed: Option<Tensor>,
    is_causal: bool,
    layer: usize,
}

/// The gradient along one kind of path, with what biases and positions add.
pub(super) struct Along {
    pub via: EdgeVia,
    /// At the residual stream that enters the block.
    pub field: Field,
    /// `[target]` each.
    pub biases: Vec<(BiasOf, Tensor)>,
    /// From position embeddings that only queries and keys read, `[target, pos]`.
    pub placed: Option<Tensor>,
}

impl Heads {
    pub(super) fn new(
        model: &HookedTransformer,
        cache: &ActivationCache,
        (block, layer): (&AffineBlock, usize),
    ) -> Result<Self> {
        let (heads, d_model) = (model.cfg().n_heads, model.cfg().d_model);
        let queries = projection(model, cache, layer, &QUERIES)?;
        let keys = projection(model, cache, layer, &KEYS)?;
        let slope = (queries.x.matmul(&keys.x.transpose(1, 2)?.contiguous()?)? / model.cfg().attn_scale(layer))?;
        let slope = match model.cfg().attn_scores_soft_cap {
            Some(cap) => (slope / cap)?.tanh()?.sqr()?.affine(-1.0, 1.0)?,
            None => slope.ones_like()?,
        };
        let placed = match model.dims().shortformer {
            true => Some(one(cache, HookPoint::PosEmbed)?),
            false => None,
        };
        let v = one(cache, HookPoint::Block(layer, Site::V))?.transpose(0, 1)?;
        Ok(Self {
            queries,
            keys,
            v: for_each(&v, heads)?,
            w_v: block.w_v.reshape((heads, (), d_model))?,
            b_v: block.b_v.reshape((heads, 1, ()))?,
            slope: (slope / model.cfg().attn_scale(layer))?,
            placed,
            is_causal: model.cfg().attention_dir == AttentionDir::Causal,
            layer,
        })
    }

    /// The gradients of what features at one query position read, along values, queries and keys.
    ///
    /// # Shapes
    /// `w [target, head d_head]` are directions of z.
    pub(super) fn along(
        &self,
        (model, suffix): (&HookedTransformer, &Suffix),
        block: &AffineBlock,
        (w, pos): (&Tensor, usize),
    ) -> Result<[Along; 3]> {
        let (heads, n_pos, d_head) = self.v.dims3()?;
        let keys = if self.is_causal { pos + 1 } else { n_pos };
        // [head, target, d_head]
        let w = w.reshape((w.dim(0)?, heads, d_head))?.transpose(0, 1)?.contiguous()?;
        let at = |x: &Tensor| -> Result<Tensor> { Ok(x.narrow(1, pos, 1)?.narrow(2, 0, keys)?.contiguous()?) };
        let pattern = at(&block.pattern)?;
        let dfa = w.matmul(&self.v.narrow(1, 0, keys)?.transpose(1, 2)?.contiguous()?)?;
        let mean = dfa.broadcast_mul(&pattern)?.sum_keepdim(D::Minus1)?;
        let c = dfa.broadcast_sub(&mean)?.broadcast_mul(&pattern)?.broadcast_mul(&at(&self.slope)?)?;
        let by_query = self.by_query((model, suffix), (&c, pos))?;
        let by_key = self.by_key((model, suffix), (&c, pos))?;
        Ok([through(block, self.by_value(&w, &pattern)?)?, through(block, by_query)?, through(block, by_key)?])
    }

    /// # Shapes
    /// `w [head, target, d_head]`, `pattern [head, 1, k_pos]`.
    fn by_value(&self, w: &Tensor, pattern: &Tensor) -> Result<Along> {
        let (heads, targets, _) = w.dims3()?;
        let keys = pattern.dim(2)?;
        let read = w.matmul(&self.w_v)?.reshape((heads, ()))?;
        let mixed = pattern.squeeze(1)?.t()?.contiguous()?.matmul(&read)?;
        let g = mixed.reshape((keys, targets, ()))?.transpose(0, 1)?.contiguous()?;
        let bias = w.broadcast_mul(&self.b_v)?.sum(D::Minus1)?;
        let bias = bias.broadcast_mul(&pattern.sum(D::Minus1)?)?.sum(0)?;
        let biases = vec![(BiasOf::Attention, bias)];
        Ok(Along { via: EdgeVia::Ov, field: Field { from: 0, g }, biases, placed: None })
    }

    /// # Shapes
    /// `c [head, target, k_pos]`.
    fn by_query(&self, (model, suffix): (&HookedTransformer, &Suffix), (c, pos): (&Tensor, usize)) -> Result<Along> {
        let keys = c.dim(2)?;
        let g = c.matmul(&self.keys.x.narrow(1, 0, keys)?.contiguous()?)?;
        // Each target as a text of one position.
        let g = g.transpose(0, 1)?.unsqueeze(1)?.contiguous()?;
        let g = model.rotated_back(self.layer, suffix, &g, pos)?.squeeze(1)?.transpose(0, 1)?.contiguous()?;
        let mut biases = Vec::new();
        let g = match &self.queries.norm {
            Some(norm) => {
                let (g, shift) = norm.pull(&g, pos, 1)?;
                biases.extend(
                    shift.map(|shift| Ok::<_, candle_core::Error>((BiasOf::Norms, shift.sum(0)?))).transpose()?,
                );
                g
            }
            None => g,
        };
        biases.push((BiasOf::Attention, g.broadcast_mul(&self.queries.b)?.sum((0, 2))?));
        let g = g.contiguous()?.matmul(&self.queries.w)?.sum(0)?.unsqueeze(1)?;
        let placed = self.placed(&g, pos)?;
        Ok(Along { via: EdgeVia::Q, field: Field { from: pos, g }, biases, placed })
    }

    /// Targets differ only in `c`: what a query's score with each key reads of the residual stream is computed once for all of them.
    ///
    /// # Shapes
    /// `c [head, target, k_pos]`.
    fn by_key(&self, (model, suffix): (&HookedTransformer, &Suffix), (c, pos): (&Tensor, usize)) -> Result<Along> {
        let (heads, _, keys) = c.dims3()?;
        let query = self.queries.x.narrow(1, pos, 1)?.transpose(0, 1)?.unsqueeze(0)?;
        let query = query.broadcast_as((1, keys, heads, query.dim(3)?))?.contiguous()?;
        let query = model.rotated_back(self.layer, suffix, &query, 0)?.squeeze(0)?.transpose(0, 1)?.contiguous()?;
        let weighed = |by_key: &Tensor| -> Result<Tensor> { Ok(c.broadcast_mul(&by_key.unsqueeze(1)?)?.sum((0, 2))?) };
        let mut biases = Vec::new();
        let query = match &self.keys.norm {
            Some(norm) => {
                let (query, shift) = norm.pull(&query, 0, keys)?;
                if let Some(shift) = shift {
                    biases.push((BiasOf::Norms, weighed(&shift)?));
                }
                query
            }
            None => query,
        };
        biases.push((BiasOf::Attention, weighed(&query.broadcast_mul(&self.keys.b)?.sum(D::Minus1)?)?));
        // [k_pos, head, d_model]
        let read = query.contiguous()?.matmul(&self.keys.w)?.transpose(0, 1)?.contiguous()?;
        let g = c.permute((2, 1, 0))?.contiguous()?.matmul(&read)?.transpose(0, 1)?.contiguous()?;
        let placed = self.placed(&g, 0)?;
        Ok(Along { via: EdgeVia::K, field: Field { from: 0, g }, biases, placed })
    }

    /// What position embeddings that only queries and keys read add, from the gradient at what these read.
    fn placed(&self, g: &Tensor, from: usize) -> Result<Option<Tensor>> {
        let Some(placed) = &self.placed else { return Ok(None) };
        Ok(Some(g.broadcast_mul(&placed.narrow(0, from, g.dim(1)?)?)?.sum(D::Minus1)?))
    }
}

/// Pulls back through the norm before attention.
fn through(block: &AffineBlock, mut along: Along) -> Result<Along> {
    let Some(norm) = &block.ln1 else { return Ok(along) };
    let (g, shift) = norm.at(along.field.from, along.field.count()?)?.pull(&along.field.g)?;
    along.biases.extend(shift.map(|shift| (BiasOf::Norms, shift)));
    along.field.g = g;
    Ok(along)
}

fn projection(model: &HookedTransformer, cache: &ActivationCache, layer: usize, names: &Names) -> Result<Projection> {
    let heads = model.cfg().n_heads;
    let at = |site: Site| -> Result<Tensor> {
        for_each(&one(cache, HookPoint::Block(layer, site))?.transpose(0, 1)?, heads)
    };
    let weight =
        |name: String| -> Result<Tensor> { Ok(wide::widened(&model.weight(&format!("blocks.{layer}.attn.{name}"))?)?) };
    let norm = match model.dims().qk_norm {
        true => {
            let part = |part: &str| -> Result<Tensor> {
                let part = weight(format!("{}.{part}", names.norm))?;
                // One for all heads, or one for each.
                let part = if part.rank() == 1 { part.unsqueeze(0)? } else { for_each(&part, heads)? };
                Ok(part.unsqueeze(1)?)
            };
            Some(HeadNorm {
                centres: matches!(model.cfg().qk_norm_type, QkNormType::LN | QkNormType::LNPerHead),
                inverse: at(names.scale)?.recip()?,
                w: part("w")?,
                b: part("b").ok(),
            })
        }
        false => None,
    };
    let x = match (model.dims().rotary, &norm) {
        (true, _) => at(names.rotated)?,
        (false, None) => at(names.plain)?,
        (false, Some(norm)) => {
            let x = at(names.normalized)?.broadcast_mul(&norm.w)?;
            norm.b.as_ref().map_or(Ok(x.clone()), |b| x.broadcast_add(b))?
        }
    };
    let w = weight(format!("W_{}", names.letter))?.transpose(1, 2)?.contiguous()?;
    let b = weight(format!("b_{}", names.letter))?.unsqueeze(1)?;
    Ok(Projection { w, b, norm, x })
}

/// What key/value heads have, for each head that reads them; for as many heads the same.
///
/// # Shapes
/// `x [key/value head, ..]` gives `[head, ..]`.
fn for_each(x: &Tensor, heads: usize) -> Result<Tensor> {
    let shared = x.dim(0)?;
    if shared == heads {
        return Ok(x.contiguous()?);
    }
    let of: Vec<u32> = (0..heads).map(|head| (head * shared / heads) as u32).collect();
    Ok(x.contiguous()?.index_select(&Tensor::from_vec(of, heads, x.device())?, 0)?)
}
