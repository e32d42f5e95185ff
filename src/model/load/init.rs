//! New weights, drawn as GPT-2 draws them, that an optimiser can train.

use candle_core::{DType, Device, Tensor, Var};

use super::process::Processing;
use super::provenance::Origin;
use crate::error::{Error, Result};
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType};
use crate::model::frozen::FrozenParts;
use crate::model::matrix::Matrix;
use crate::model::transformer::HookedTransformer;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, NormWeights, Weights};
use crate::random::normal;

/// Draws each weight and records it as a variable.
struct Init<'a> {
    device: &'a Device,
    std: f64,
    /// State of the generator, so that a seed gives the same weights on every device and in every process.
    state: u64,
    vars: Vec<Var>,
}

impl Init<'_> {
    /// A standard normal number from SplitMix64 (Steele et al. 2014); another generator would change the weights of every seed.
    fn normal(&mut self) -> f64 {
        normal(|| {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        })
    }

    fn var(&mut self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, self.device)?)?;
        let tensor = var.as_tensor().clone();
        self.vars.push(var);
        Ok(tensor)
    }

    fn random(&mut self, shape: &[usize], scale: f64) -> Result<Tensor> {
        let count = shape.iter().product();
        let values = (0..count).map(|_| (self.normal() * self.std * scale) as f32).collect();
        self.var(values, shape)
    }

    fn constant(&mut self, value: f32, size: usize) -> Result<Tensor> {
        self.var(vec![value; size], &[size])
    }

    fn norm(&mut self, cfg: &HookedTransformerConfig) -> Result<Option<NormWeights>> {
        if !cfg.normalization_type.has_weights() {
            return Ok(None);
        }
        let w = self.constant(1.0, cfg.d_model)?;
        let b = cfg.normalization_type.centres().then(|| self.constant(0.0, cfg.d_model)).transpose()?;
        Ok(Some(NormWeights { w, b }))
    }

    fn norm_before(&mut self, cfg: &HookedTransformerConfig) -> Result<Option<NormWeights>> {
        if cfg.use_normalization_after_only { Ok(None) } else { self.norm(cfg) }
    }

    fn norm_after(&mut self, cfg: &HookedTransformerConfig) -> Result<Option<NormWeights>> {
        if cfg.norms_after() { self.norm(cfg) } else { Ok(None) }
    }

    fn qk_norm(&mut self, cfg: &HookedTransformerConfig, heads: usize) -> Result<NormWeights> {
        let (kind, d_head) = (cfg.qk_norm_type, cfg.d_head());
        let shape = kind.shape(heads, d_head);
        let w = self.var(vec![1.0; shape.iter().product()], &shape)?;
        Ok(NormWeights { w, b: kind.shifts().then(|| self.constant(0.0, d_head)).transpose()? })
    }

    fn block(&mut self, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
        let (d, m, h) = (cfg.d_model, cfg.d_mlp(), cfg.n_heads * cfg.d_head());
        let kv = cfg.n_key_value_heads() * cfg.d_head();
        // GPT-2 (Radford et al. 2019) shrinks what is added to the residual stream by 1 / sqrt(2 n_layers).
        let shrink = 1.0 / (2.0 * cfg.n_layers as f64).sqrt();
        Ok(BlockWeights {
            ln1: self.norm_before(cfg)?,
            attn: AttentionWeights {
                w_q: self.random(&[d, h], 1.0)?.into(),
                w_k: self.random(&[d, kv], 1.0)?.into(),
                w_v: self.random(&[d, kv], 1.0)?.into(),
                b_q: self.constant(0.0, h)?,
                b_k: self.constant(0.0, kv)?,
                b_v: self.constant(0.0, kv)?,
                w_o: self.random(&[h, d], shrink)?.into(),
                b_o: self.constant(0.0, d)?,
                qk_norm: match cfg.use_qk_norm {
                    true => Some((self.qk_norm(cfg, cfg.n_heads)?, self.qk_norm(cfg, cfg.n_key_value_heads())?)),
                    false => None,
                },
            },
            ln1_post: self.norm_after(cfg)?,
            ln2: if cfg.attn_only { None } else { self.norm_before(cfg)? },
            ln2_post: if cfg.attn_only { None } else { self.norm_after(cfg)? },
            mlp: if cfg.attn_only {
                None
            } else {
                Some(MlpWeights {
                    w_in: self.random(&[d, m], 1.0)?.into(),
                    w_gate: cfg.gated_mlp.then(|| self.random(&[d, m], 1.0)).transpose()?.map(Matrix::from),
                    gate_biases: match cfg.gated_mlp_biases {
                        true => Some((self.constant(0.0, m)?, self.constant(0.0, m)?)),
                        false => None,
                    },
                    b_in: self.constant(0.0, m)?,
                    ln: match cfg.act_fn == ActFn::SoluLn && cfg.normalization_type == NormalizationType::LN {
                        true => Some(NormWeights { w: self.constant(1.0, m)?, b: Some(self.constant(0.0, m)?) }),
                        false => None,
                    },
                    w_out: self.random(&[m, d], shrink)?.into(),
                    b_out: self.constant(0.0, d)?,
                })
            },
        })
    }
}

impl HookedTransformer {
    /// A new model with random weights, and the variables behind them for an optimiser.
    ///
    /// Normal weights of standard deviation `initializer_range`, biases 0. The same seed gives the same weights.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let cfg = HookedTransformerConfig { n_layers: 1, d_model: 8, n_heads: 2, d_vocab: 10, n_ctx: 6, ..Default::default() };
    /// let (model, vars) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
    /// let grads = model.loss(vec![vec![1, 2, 3]])?.backward()?;
    /// assert!(vars.iter().all(|var| grads.get(var).is_some()));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be a model's.
    pub fn trainable(cfg: HookedTransformerConfig, seed: u64, device: &Device) -> Result<(Self, Vec<Var>)> {
        cfg.check()?;
        let std = cfg.initializer_range.unwrap_or(0.8 / (cfg.d_model as f64).sqrt());
        if !(std.is_finite() && std >= 0.0) {
            return Err(Error::config(format!("initializer_range is {std}, but a number from 0 is needed.")));
        }
        let mut init = Init { device, std, state: seed, vars: Vec::new() };
        let weights = Weights {
            w_e: init.random(&[cfg.d_vocab, cfg.d_model], 1.0)?,
            w_pos: match cfg.positional_embedding_type.has_vectors() {
                true => Some(init.random(&[cfg.n_ctx, cfg.d_model], 1.0)?),
                false => None,
            },
            blocks: (0..cfg.n_layers).map(|_| init.block(&cfg)).collect::<Result<_>>()?,
            ln_final: init.norm(&cfg)?,
            w_u: init.random(&[cfg.d_model, cfg.d_vocab_out()], 1.0)?.into(),
            b_u: Tensor::zeros(cfg.d_vocab_out(), DType::F32, device)?,
            level: None,
        };
        let model = Self {
            cfg: cfg.into(),
            weights,
            tokenizer: None,
            end_ids: Vec::new(),
            processing: Processing::NONE,
            origin: Origin::new_weights(seed),
            frozen: FrozenParts::default(),
            spliced: Default::default(),
        };
        Ok((model, init.vars))
    }

    /// An untrained copy: the same sizes, tokenizer and dtype, new random weights as [`HookedTransformer::trainable`] draws them. What a method
    /// finds in it comes from the method and the architecture. Frozen parts stay frozen; splices, which were made for the trained weights,
    /// are left out.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let untrained = model.reinitialized(0)?;
    /// assert_eq!(untrained.cfg().d_model, model.cfg().d_model);
    /// let losses = [&model, &untrained].map(|model| model.loss("The keys on the cabinet are"));
    /// let [trained, random] = losses.map(|loss| loss.and_then(|loss| Ok(loss.to_scalar::<f32>()?)));
    /// assert!(trained? < random?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`HookedTransformer::trainable`].
    pub fn reinitialized(&self, seed: u64) -> Result<Self> {
        let (mut new, _) = Self::trainable((*self.cfg).clone(), seed, self.weights.device())?;
        let dtype = self.dtype();
        for tensor in new.weights.tensors_mut() {
            *tensor = tensor.detach().to_dtype(dtype)?;
        }
        Ok(Self { tokenizer: self.tokenizer.clone(), end_ids: self.end_ids.clone(), frozen: self.frozen, ..new })
    }
}
