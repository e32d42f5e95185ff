//! How fast each pair of dimensions rotates, and what models do to these frequencies to reach further than the context
//! of their first training.
//!
//! Reference: `transformers` `modeling_rope_utils`.

use std::f64::consts::TAU;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;

/// How the frequencies of the rotation are changed so that a model reaches further than the context of its first
/// training, `original_n_ctx`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum RotaryScaling {
    /// Every frequency is divided by the factor, as if positions lay closer together (Chen et al. 2023, "Position
    /// Interpolation").
    Linear {
        /// What frequencies are divided by.
        factor: f64,
    },
    /// In a text of `n` tokens, more than `original_n_ctx`, the base is multiplied by
    /// `(factor n / original_n_ctx - factor + 1)^(r / (r - 2))`, `r` being `rotary_dim` (NTK-aware scaling). The
    /// rotation of all tokens then depends on the length of the longest text of the batch.
    Dynamic {
        /// How fast the base grows.
        factor: f64,
        /// The length up to which nothing changes: the context of the first training.
        original_n_ctx: usize,
    },
    /// Frequencies that turn less than `beta_slow` times in the original context are divided by the factor, those that
    /// turn more than `beta_fast` times stay, and those between change gradually (Peng et al. 2023, "YaRN").
    Yarn {
        /// What slow frequencies are divided by.
        factor: f64,
        /// What rotated queries and keys are multiplied by.
        attention_factor: f64,
        /// The number of turns from which on a frequency stays as it is.
        beta_fast: f64,
        /// The number of turns up to which a frequency is divided by the whole factor.
        beta_slow: f64,
        /// Whether the range of pairs in which frequencies change gradually is rounded to whole pairs.
        truncate: bool,
        /// The context of the first training.
        original_n_ctx: usize,
    },
    /// Llama 3's: frequencies with long waves are divided by the factor, those with short ones stay, and those between
    /// change gradually.
    Llama3 {
        /// Frequencies with long waves are divided by this.
        factor: f64,
        /// Waves longer than `original_n_ctx / low_freq_factor` count as long.
        low_freq_factor: f64,
        /// Waves shorter than `original_n_ctx / high_freq_factor` stay as they are.
        high_freq_factor: f64,
        /// The context of the first training.
        original_n_ctx: usize,
    },
}

/// Reads the field of a config. Files of versions that knew Llama 3's scaling only do not name its kind.
pub(in crate::model) fn read_scaling<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<RotaryScaling>, D::Error> {
    let mut scaling = Value::deserialize(from)?;
    if let Value::Object(fields) = &mut scaling {
        fields.entry("kind").or_insert_with(|| "llama3".into());
    }
    serde_json::from_value(scaling).map_err(D::Error::custom)
}

impl RotaryScaling {
    /// # Errors
    /// [`Error::Config`] for numbers with which nothing can be computed.
    pub(in crate::model) fn check(&self, rotary_dim: usize, base: f64) -> Result<()> {
        let positive = |numbers: &[f64]| numbers.iter().all(|n| *n > 0.0 && n.is_finite());
        let (is_valid, needs) = match *self {
            Self::Linear { factor } => (positive(&[factor]), "a positive factor"),
            Self::Dynamic { factor, original_n_ctx } => (
                factor >= 1.0 && factor.is_finite() && original_n_ctx > 0 && rotary_dim > 2,
                "a factor of 1 or more, an original_n_ctx above 0 and a rotary_dim above 2",
            ),
            Self::Yarn { factor, attention_factor, beta_fast, beta_slow, original_n_ctx, .. } => (
                positive(&[factor, attention_factor, beta_slow, beta_fast - beta_slow, base - 1.0])
                    && original_n_ctx > 0,
                "positive factors, a beta_fast above beta_slow, a rotary_base above 1 and an original_n_ctx above 0",
            ),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_n_ctx } => (
                positive(&[factor, low_freq_factor, high_freq_factor - low_freq_factor]) && original_n_ctx > 0,
                "positive factors, a high_freq_factor above low_freq_factor and an original_n_ctx above 0",
            ),
        };
        if is_valid {
            return Ok(());
        }
        Err(Error::config(format!("rotary_scaling is {self:?}, but it needs {needs}: correct the config.")))
    }

    /// The length beyond which the rotation of a text depends on how long it is, if there is one.
    fn depends_beyond(&self) -> Option<usize> {
        match *self {
            Self::Dynamic { original_n_ctx, .. } => Some(original_n_ctx),
            Self::Linear { .. } | Self::Yarn { .. } | Self::Llama3 { .. } => None,
        }
    }
}

/// How Phi-3 reaches further than it was first trained to (Ding et al. 2024, "LongRoPE"): each frequency is divided by
/// a factor of its own, by others in a text longer than the first training's context, and rotated vectors are also
/// scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongRope {
    /// What each of the `rotary_dim / 2` frequencies is divided by in a text of at most `original_n_ctx` tokens.
    pub short_factor: Vec<f64>,
    /// What each is divided by in a longer text.
    pub long_factor: Vec<f64>,
    /// What rotated queries and keys are multiplied by.
    pub attention_factor: f64,
    /// The context of the first training.
    pub original_n_ctx: usize,
}

impl LongRope {
    /// # Errors
    /// [`Error::Config`] for a list of another length, or a factor that is not a positive number.
    pub(in crate::model) fn check(&self, rotary_dim: usize) -> Result<()> {
        let positive = |n: &f64| *n > 0.0 && n.is_finite();
        let lists = [&self.short_factor, &self.long_factor];
        if lists.iter().any(|list| list.len() != rotary_dim / 2 || !list.iter().all(positive)) {
            return Err(Error::config(format!(
                "long_rope needs a short_factor and a long_factor of {} positive numbers each, one for each pair of \
                 dimensions that rotates: correct the config.",
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

/// The field of the config that makes a text rotate its tokens differently once it has grown from `before` to `after` of
/// them; none where their keys stay as they are.
pub(super) fn changed_by_growth(cfg: &HookedTransformerConfig, before: usize, after: usize) -> Option<&'static str> {
    if before == after {
        return None;
    }
    let switches = |rope: &LongRope| before <= rope.original_n_ctx && after > rope.original_n_ctx;
    let dynamic = cfg.rotary_scaling.as_ref().and_then(RotaryScaling::depends_beyond);
    if dynamic.is_some_and(|original| after > original) {
        return Some("rotary_scaling");
    }
    cfg.long_rope.as_ref().is_some_and(switches).then_some("long_rope")
}

/// Radians for each position, one number for each pair of dimensions, and what rotated vectors are multiplied by, in
/// layers of local attention or in the others, where the longest text has `length` tokens.
pub(super) fn frequencies(cfg: &HookedTransformerConfig, is_local: bool, length: usize) -> (Vec<f64>, f64) {
    let turned = cfg.rotary_dim();
    let plain = |base: f64| (0..turned / 2).map(move |i| base.powf(-2.0 * i as f64 / turned as f64));
    if let Some(base) = cfg.rotary_base_local.filter(|_| is_local) {
        return (plain(base).collect(), 1.0);
    }
    let base = cfg.rotary_base;
    let (mut all, mut stretch): (Vec<f64>, f64) = match cfg.rotary_scaling {
        None => (plain(base).collect(), 1.0),
        Some(RotaryScaling::Linear { factor }) => (plain(base).map(|frequency| frequency / factor).collect(), 1.0),
        Some(RotaryScaling::Dynamic { factor, original_n_ctx }) => {
            let times = (length as f64 / original_n_ctx as f64).max(1.0);
            let grown = (factor * times - factor + 1.0).powf(turned as f64 / (turned as f64 - 2.0));
            (plain(base * grown).collect(), 1.0)
        }
        Some(RotaryScaling::Yarn { factor, attention_factor, beta_fast, beta_slow, truncate, original_n_ctx }) => {
            let share = yarn_share((turned, base), (beta_fast, beta_slow), truncate, original_n_ctx);
            let scaled = plain(base).enumerate().map(|(i, f)| mixed(f / factor, f, share(i)));
            (scaled.collect(), attention_factor)
        }
        Some(RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_n_ctx }) => {
            let scaled = plain(base).map(|frequency| {
                let waves = original_n_ctx as f64 * frequency / TAU;
                let share = (waves - low_freq_factor) / (high_freq_factor - low_freq_factor);
                mixed(frequency / factor, frequency, share.clamp(0.0, 1.0))
            });
            (scaled.collect(), 1.0)
        }
    };
    if let Some(LongRope { short_factor, long_factor, attention_factor, original_n_ctx }) = &cfg.long_rope {
        let factors = if length > *original_n_ctx { long_factor } else { short_factor };
        all.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        stretch *= attention_factor;
    }
    (all, stretch)
}

/// Between `slow`, at a share of 0, and `fast`, at 1.
fn mixed(slow: f64, fast: f64, share: f64) -> f64 {
    share * fast + (1.0 - share) * slow
}

/// For each pair of dimensions how much of its frequency YaRN keeps.
fn yarn_share(
    (turned, base): (usize, f64),
    (beta_fast, beta_slow): (f64, f64),
    truncate: bool,
    original_n_ctx: usize,
) -> impl Fn(usize) -> f64 {
    // The pair that turns so many times in the original context, as a number between pairs.
    let pair = |turns: f64| turned as f64 * (original_n_ctx as f64 / (turns * TAU)).ln() / (2.0 * base.ln());
    let (low, high) = (pair(beta_fast), pair(beta_slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(turned as f64 - 1.0));
    // As in the reference, two bounds that coincide are moved apart.
    let high = if low == high { high + 0.001 } else { high };
    move |i| 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)
}
