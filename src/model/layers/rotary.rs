//! Rotary position embeddings: pairs of a head's dimensions are rotated by an angle that grows with the position.
//!
//! Dimension `i` and `i + r / 2` of the first `r = rotary_dim` rotate together by `position * base^(-2 i / r)`, as in
//! GPT-NeoX and Llama, or dimension `2 i` and `2 i + 1`, as published and as in GPT-J (Su et al. 2021, "RoFormer").

use candle_core::{Device, Tensor};

use super::embed::position_ids;
use super::frequencies::{changed_by_growth, frequencies};
use crate::error::Result;
use crate::model::config::HookedTransformerConfig;
use crate::model::ops::turned;
use crate::model::transformer::HookedTransformer;
use crate::tokens::Tokens;

impl HookedTransformer {
    /// Queries or keys of a layer, all turned as those at one position of a text are; as they are where positions do not turn them.
    ///
    /// # Shapes
    /// `x [row, d_head]`, result the same.
    pub(crate) fn turned_at(&self, text: &Tokens, (layer, pos): (usize, usize), x: &Tensor) -> Result<Tensor> {
        if !self.dims().rotary {
            return Ok(x.clone());
        }
        let rotations = Rotations::new(&self.cfg, text, 0, x.device())?;
        let rotary = rotations.of(self.cfg.window(layer).is_some()).narrow(pos, 1)?;
        Ok(rotary.turn(&x.reshape((1, 1, (), x.dim(1)?))?)?.flatten_to(2)?)
    }

    /// Why keys and values of `past` are not those of the same tokens in `text`, which continues it: the field of the
    /// config by which the rotation depends on the length of a text; none where they still hold.
    pub(crate) fn stale_past(&self, past: &Tokens, text: &Tokens) -> Option<&'static str> {
        changed_by_growth(&self.cfg, longest(past), longest(text))
    }
}

/// How many tokens the longest text of a batch has.
fn longest(tokens: &Tokens) -> usize {
    tokens.lengths().into_iter().max().unwrap_or(0)
}

/// How the positions of a run are rotated: in all layers alike, or in those of local attention differently.
pub(in crate::model) struct Rotations {
    global: Rotary,
    local: Option<Rotary>,
}

impl Rotations {
    /// Those of the positions of `text` from `past` on.
    pub(in crate::model) fn new(
        cfg: &HookedTransformerConfig,
        text: &Tokens,
        past: usize,
        device: &Device,
    ) -> Result<Self> {
        let local = cfg.rotary_base_local.map(|_| Rotary::new((cfg, true), text, past, device)).transpose()?;
        Ok(Self { global: Rotary::new((cfg, false), text, past, device)?, local })
    }

    /// The rotations of the first `count` of these positions.
    pub(in crate::model) fn first(&self, count: usize) -> Result<Self> {
        let local = self.local.as_ref().map(|local| local.narrow(0, count)).transpose()?;
        Ok(Self { global: self.global.narrow(0, count)?, local })
    }

    /// The rotation of a layer of local attention, or of another.
    pub(in crate::model) fn of(&self, is_local: bool) -> &Rotary {
        self.local.as_ref().filter(|_| is_local).unwrap_or(&self.global)
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
    fn new(
        (cfg, is_local): (&HookedTransformerConfig, bool),
        text: &Tokens,
        past: usize,
        device: &Device,
    ) -> Result<Self> {
        // As in `transformers`, the longest text of a batch counts for all of it.
        let (frequencies, stretch) = frequencies(cfg, is_local, longest(text));
        let angles: Vec<f64> = position_ids(text, past)
            .into_iter()
            .flat_map(|position| frequencies.iter().map(move |f| f64::from(position) * f))
            .collect();
        let shape = (text.batch(), text.pos() - past, 1, frequencies.len());
        let table = |turn: fn(f64) -> f64| -> Result<Tensor> {
            let values: Vec<f32> = angles.iter().map(|angle| (stretch * turn(*angle)) as f32).collect();
            Ok(Tensor::from_vec(values, shape, device)?)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)?, adjacent: cfg.rotary_adjacent_pairs })
    }

    /// The rotation at `count` of its positions from `start` on.
    fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Self { cos: self.cos.narrow(1, start, count)?, sin: self.sin.narrow(1, start, count)?, ..*self })
    }

    /// The gradient before the rotation, from that behind it, at the positions from `from` on: a rotation by the opposite angles.
    ///
    /// # Shapes
    /// `g [.., pos, head, d_head]`, result the same.
    pub(in crate::model) fn turn_back(&self, g: &Tensor, from: usize) -> Result<Tensor> {
        let count = g.dim(1)?;
        let (cos, sin) = (self.cos.narrow(1, from, count)?, self.sin.narrow(1, from, count)?.neg()?);
        Self { cos, sin, ..*self }.turn(g)
    }

    /// `x` rotated; dimensions from `rotary_dim` on stay.
    ///
    /// # Shapes
    /// `x [batch, pos, head, d_head]`, result the same.
    pub(in crate::model) fn turn(&self, x: &Tensor) -> Result<Tensor> {
        turned(x, (&self.cos, &self.sin), self.adjacent)
    }
}
