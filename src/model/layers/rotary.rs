//! Rotary position embeddings: pairs of a head's dimensions are rotated by an angle that grows with the position.
//!
//! Dimension `i` and `i + r / 2` of the first `r = rotary_dim` rotate together by `position * base^(-2 i / r)`, as in
//! GPT-NeoX and Llama, or dimension `2 i` and `2 i + 1`, as published and as in GPT-J (Su et al. 2021, "RoFormer").

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;
use crate::model::transformer::HookedTransformer;
use crate::tokens::Tokens;

/// How Phi-3 reaches further than it was first trained to (Ding et al. 2024, "LongRoPE"): each frequency is divided by
/// a factor of its own, by others in a run longer than the first training's context, and rotated vectors are also
/// scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongRope {
    /// What each of the `rotary_dim / 2` frequencies is divided by in a run of at most `original_n_ctx` positions.
    pub short_factor: Vec<f64>,
    /// What each is divided by in a longer run.
    pub long_factor: Vec<f64>,
    /// What rotated queries and keys are multiplied by.
    pub attention_factor: f64,
    /// The context of the first training.
    pub original_n_ctx: usize,
}

impl LongRope {
    /// Whether a text that grows from `before` to `after` tokens changes its factors, and with them the keys it has.
    fn switches(&self, before: usize, after: usize) -> bool {
        before <= self.original_n_ctx && after > self.original_n_ctx
    }

    /// # Errors
    /// [`Error::Config`] for a list of another length, or a factor that is not a positive number.
    pub(in crate::model) fn check(&self, rotary_dim: usize) -> Result<()> {
        let positive = |n: &f64| *n > 0.0 && n.is_finite();
        let lists = [&self.short_factor, &self.long_factor];
        if lists.iter().any(|list| list.len() != rotary_dim / 2 || !list.iter().all(positive)) {
            return Err(Error::config(format!(
                "long_rope needs a short_factor and a long_factor of {} positive numbers each, one for each pair of \
                 dimensions that turn: correct the config.",
                rotary_dim / 2
            )));
        }
        if !positive(&self.attention_factor) || self.original_n_ctx == 0 {
            return Err(Error::config(
                "long_rope needs an attention_factor and an original_n_ctx above 0: correct the config.",
            ));
        }
        Ok(())
    }
}

impl HookedTransformer {
    /// Whether keys and values of `past` stay valid when `text` continues it; not if rotation depends on the length.
    pub(crate) fn can_continue(&self, past: &Tokens, text: &Tokens) -> bool {
        let longest = |tokens: &Tokens| tokens.lengths().iter().copied().max().unwrap_or(0);
        self.cfg.long_rope.as_ref().is_none_or(|rope| !rope.switches(longest(past), longest(text)))
    }
}

/// Sines and cosines of a run's positions.
pub(in crate::model) struct Rotary {
    /// `[batch, pos, 1, rotary_dim / 2]` each.
    cos: Tensor,
    sin: Tensor,
    /// Neighbouring dimensions rotate together, not halves.
    adjacent: bool,
}

impl Rotary {
    /// The rotation at `positions`, `[batch * pos]` of them.
    pub(in crate::model) fn new(
        cfg: &HookedTransformerConfig,
        positions: &[u32],
        (batch, pos): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let mut frequencies = frequencies(cfg);
        let mut stretched = 1.0;
        if let Some(long_rope) = &cfg.long_rope {
            let longer = positions.iter().any(|&position| position as usize >= long_rope.original_n_ctx);
            let factors = if longer { &long_rope.long_factor } else { &long_rope.short_factor };
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
            stretched = long_rope.attention_factor;
        }
        let angles: Vec<f64> =
            positions.iter().flat_map(|&position| frequencies.iter().map(move |f| f64::from(position) * f)).collect();
        let shape = (batch, pos, 1, frequencies.len());
        let table = |turn: fn(f64) -> f64| -> Result<Tensor> {
            let values: Vec<f32> = angles.iter().map(|angle| (stretched * turn(*angle)) as f32).collect();
            Ok(Tensor::from_vec(values, shape, device)?)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)?, adjacent: cfg.rotary_adjacent_pairs })
    }

    /// The rotation at the first `count` of its positions.
    pub(in crate::model) fn first(&self, count: usize) -> Result<Self> {
        Ok(Self { cos: self.cos.narrow(1, 0, count)?, sin: self.sin.narrow(1, 0, count)?, ..*self })
    }

    /// `x` rotated; dimensions from `rotary_dim` on stay.
    ///
    /// # Shapes
    /// `x [batch, pos, head, d_head]`, result the same.
    pub(in crate::model) fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let half = self.cos.dim(3)?;
        let rest = x.dim(3)? - 2 * half;
        let (cos, sin) = (self.cos.to_dtype(x.dtype())?, self.sin.to_dtype(x.dtype())?);
        let (a, b) = match self.adjacent {
            true => {
                let (batch, pos, heads, _) = x.dims4()?;
                let pairs = x.narrow(3, 0, 2 * half)?.reshape((batch, pos, heads, half, 2))?;
                (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?)
            }
            false => (x.narrow(3, 0, half)?, x.narrow(3, half, half)?),
        };
        let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let mut parts = match self.adjacent {
            true => vec![Tensor::stack(&[turned_a, turned_b], 4)?.flatten_from(3)?],
            false => vec![turned_a, turned_b],
        };
        if rest > 0 {
            parts.push(x.narrow(3, 2 * half, rest)?);
        }
        Ok(Tensor::cat(&parts, 3)?)
    }
}

/// Radians for each position, one number for each pair of dimensions.
fn frequencies(cfg: &HookedTransformerConfig) -> Vec<f64> {
    let turned = cfg.rotary_dim();
    let plain = (0..turned / 2).map(|i| cfg.rotary_base.powf(-2.0 * i as f64 / turned as f64));
    let Some(scaling) = cfg.rotary_scaling else { return plain.collect() };
    let context = scaling.original_n_ctx as f64;
    let scaled = |frequency: f64| {
        let waves = context * frequency / std::f64::consts::TAU;
        let share = (waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        let share = share.clamp(0.0, 1.0);
        share * frequency + (1.0 - share) * frequency / scaling.factor
    };
    plain.map(scaled).collect()
}
