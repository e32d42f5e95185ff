//! Wide random models in half precision, each beside the same weights in f32.

use std::collections::HashMap;

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor, safetensors};
use candle_lens::model::{
    ActFn, HookedTransformer, HookedTransformerConfig, LoadOptions, NormalizationType, PositionalEmbeddingType,
    Processing, QkNormType,
};

use super::fixture::numbers;
use super::scratch;

/// Both types, and how far `transformers` is from f32 in them: the logits of a random Llama of any width, as a share of their
/// length (transformers 5.24, torch 2.15: 0.53 % and 0.067 %; of other weights 0.64 % and 0.08 %).
pub const HALF: [(DType, f64); 2] = [(DType::BF16, 0.0064), (DType::F16, 0.0008)];

/// How far a sum of half-precision numbers is from the same in f64, as a share, where f32 adds them up.
pub const WIDE: f64 = 1e-5;

/// Wider than any sum of ones that half precision can hold: 256 in bf16. In f16 it is 2048, which squares and a scale reach.
pub const D_MODEL: usize = 1024;

/// The same weights, already rounded, in half precision and in f32.
pub struct Pair {
    pub half: HookedTransformer,
    pub full: HookedTransformer,
}

/// Numbers with mean 0 and variance 1, near enough to normal, that repeat with the seed.
fn random(count: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| ((0..4).map(|_| uniform()).sum::<f32>() - 2.) * 3f32.sqrt()).collect()
}

/// Names and shapes of TransformerLens' weights for this architecture.
fn shapes(cfg: &HookedTransformerConfig) -> Vec<(String, Vec<usize>)> {
    let (d, n, h, m, g) = (cfg.d_model, cfg.n_heads, cfg.d_head(), cfg.d_mlp(), cfg.n_key_value_heads());
    let mut all = vec![("embed.W_E".to_string(), vec![cfg.d_vocab, d])];
    if cfg.positional_embedding_type.has_vectors() {
        all.push(("pos_embed.W_pos".into(), vec![cfg.n_ctx, d]));
    }
    let norm = |name: &str, size: usize| {
        let parts: &[&str] = if cfg.normalization_type.centres() { &["w", "b"] } else { &["w"] };
        parts.iter().map(move |part| (format!("{name}.{part}"), vec![size])).collect::<Vec<_>>()
    };
    let shared = if g < n { "_" } else { "" };
    for layer in 0..cfg.n_layers {
        let at = |part: &str| format!("blocks.{layer}.{part}");
        let mut norms = vec!["ln1"];
        all.push((at("attn.W_Q"), vec![n, d, h]));
        all.push((at("attn.b_Q"), vec![n, h]));
        for part in ["K", "V"] {
            all.push((at(&format!("attn.{shared}W_{part}")), vec![g, d, h]));
            all.push((at(&format!("attn.{shared}b_{part}")), vec![g, h]));
        }
        all.push((at("attn.W_O"), vec![n, h, d]));
        all.push((at("attn.b_O"), vec![d]));
        if cfg.use_qk_norm {
            for (part, heads) in [("q", n), ("k", g)] {
                let (w, b) = (at(&format!("attn.{part}_norm.w")), at(&format!("attn.{part}_norm.b")));
                all.extend(match cfg.qk_norm_type {
                    QkNormType::RMS => vec![(w, vec![h])],
                    QkNormType::LN => vec![(w, vec![h]), (b, vec![h])],
                    QkNormType::LNPerHead | QkNormType::RMSAcrossHeads => vec![(w, vec![heads, h])],
                });
            }
        }
        if !cfg.attn_only {
            norms.push("ln2");
            all.push((at("mlp.W_in"), vec![d, m]));
            all.extend(cfg.gated_mlp.then(|| (at("mlp.W_gate"), vec![d, m])));
            if cfg.gated_mlp_biases {
                all.extend(["b_gate", "b_pre_linear"].map(|part| (at(&format!("mlp.{part}")), vec![m])));
            }
            all.push((at("mlp.b_in"), vec![m]));
            all.push((at("mlp.W_out"), vec![m, d]));
            all.push((at("mlp.b_out"), vec![d]));
            if cfg.act_fn == ActFn::SoluLn {
                all.extend(norm(&at("mlp.ln"), m));
            }
        }
        if cfg.use_normalization_after_only {
            norms.clear();
        }
        if cfg.use_normalization_before_and_after || cfg.use_normalization_after_only {
            norms.extend(["ln1_post", "ln2_post"]);
        }
        all.extend(norms.into_iter().flat_map(|name| norm(&at(name), d)));
    }
    all.extend(norm("ln_final", d));
    all.push(("unembed.W_U".into(), vec![d, cfg.d_vocab_out()]));
    all.push(("unembed.b_U".into(), vec![cfg.d_vocab_out()]));
    all
}

fn weight(name: &str, shape: &[usize], seed: usize) -> Result<Tensor> {
    let count = shape.iter().product();
    let last = name.rsplit('.').next().unwrap_or(name);
    // What a matrix sums over: its second to last axis; of W_E and W_pos nothing.
    let summed = shape.iter().rev().nth(1).copied().unwrap_or(1) as f32;
    let summed = if last == "W_O" { summed * shape[0] as f32 } else { summed };
    let (mean, spread) = match last {
        "W_E" | "W_pos" => (0., 1.),
        "w" => (1., 0.1),
        _ if last.starts_with('b') => (0., 0.1),
        _ => (0., 0.8 / summed.sqrt()),
    };
    let values: Vec<f32> = random(count, seed).into_iter().map(|x| mean + spread * x).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

impl Pair {
    /// A model of this architecture whose weights `change` has seen, rounded to `dtype`.
    pub fn with(
        name: &str,
        cfg: &HookedTransformerConfig,
        (dtype, processing): (DType, Option<Processing>),
        change: impl Fn(&str, Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let weights = shapes(cfg).into_iter().enumerate().map(|(seed, (name, shape))| {
            let weight = change(&name, weight(&name, &shape, seed)?)?;
            Ok((name, weight.to_dtype(dtype)?))
        });
        let weights: HashMap<String, Tensor> = weights.collect::<Result<_>>()?;
        let file = scratch(&format!("half_{name}_{}", dtype.as_str())).join("weights.safetensors");
        safetensors::save(&weights, &file)?;
        drop(weights);
        let load = |dtype, processing| {
            let options = LoadOptions { dtype, processing, ..Default::default() };
            HookedTransformer::from_transformer_lens_with(cfg.clone(), &file, options)
        };
        let pair = Self { half: load(dtype, processing)?, full: load(DType::F32, processing)? };
        std::fs::remove_file(&file).expect("the file was written");
        Ok(pair)
    }

    /// The same without a change.
    pub fn new(
        name: &str,
        cfg: &HookedTransformerConfig,
        dtype: DType,
        processing: Option<Processing>,
    ) -> Result<Self> {
        Self::with(name, cfg, (dtype, processing), |_, weight| Ok(weight))
    }
}

/// The one that all others are made of.
fn gpt2() -> HookedTransformerConfig {
    HookedTransformerConfig {
        n_layers: 2,
        d_model: D_MODEL,
        n_heads: 8,
        d_mlp: Some(D_MODEL),
        d_vocab: 300,
        n_ctx: 128,
        ..Default::default()
    }
}

/// What many others resemble.
fn llama() -> HookedTransformerConfig {
    HookedTransformerConfig {
        normalization_type: NormalizationType::RMS,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        act_fn: ActFn::Silu,
        gated_mlp: true,
        n_key_value_heads: Some(2),
        ..gpt2()
    }
}

/// Architectures of every kind of sum: norms of both sorts, before and after, of queries and keys and of neurons, gates,
/// shared keys, caps.
pub fn kinds() -> Vec<(&'static str, HookedTransformerConfig)> {
    let neox = || HookedTransformerConfig {
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        rotary_dim: Some(32),
        parallel_attn_mlp: true,
        act_fn: ActFn::Gelu,
        ..gpt2()
    };
    let gemma2 = HookedTransformerConfig {
        act_fn: ActFn::GeluNew,
        use_normalization_before_and_after: true,
        attn_scores_soft_cap: Some(50.),
        output_logits_soft_cap: Some(30.),
        eps: 1e-6,
        ..llama()
    };
    let olmo2 = HookedTransformerConfig {
        use_normalization_after_only: true,
        use_qk_norm: true,
        qk_norm_type: QkNormType::RMSAcrossHeads,
        ..llama()
    };
    let stablelm = HookedTransformerConfig {
        normalization_type: NormalizationType::LN,
        rotary_dim: Some(16),
        gated_mlp_biases: true,
        use_qk_norm: true,
        qk_norm_type: QkNormType::LNPerHead,
        ..llama()
    };
    let phi = HookedTransformerConfig { use_qk_norm: true, qk_norm_type: QkNormType::LN, ..neox() };
    vec![
        ("gpt2", gpt2()),
        ("opt", HookedTransformerConfig { act_fn: ActFn::Relu, ..gpt2() }),
        ("neox", neox()),
        ("gptj", HookedTransformerConfig { rotary_adjacent_pairs: true, act_fn: ActFn::GeluNew, ..neox() }),
        ("llama", llama()),
        ("qwen3", HookedTransformerConfig { use_qk_norm: true, ..llama() }),
        ("olmo2", olmo2),
        ("gemma2", gemma2),
        ("stablelm", stablelm),
        ("phi", phi),
        ("bloom", HookedTransformerConfig { positional_embedding_type: PositionalEmbeddingType::Alibi, ..gpt2() }),
        ("solu_ln", HookedTransformerConfig { act_fn: ActFn::SoluLn, ..gpt2() }),
        ("attn_only", HookedTransformerConfig { attn_only: true, ..gpt2() }),
    ]
}

/// The architecture of this name.
pub fn kind(name: &str) -> HookedTransformerConfig {
    kinds().into_iter().find(|(other, _)| *other == name).expect("a kind of this name").1
}

/// `batch` prompts of `pos` tokens below `d_vocab`.
pub fn prompts(batch: usize, pos: usize, d_vocab: usize) -> Vec<Vec<u32>> {
    (0..batch).map(|b| (0..pos).map(|p| ((b * 7919 + p * 104_729 + 17) % d_vocab) as u32).collect()).collect()
}

/// How far `half` is from `full`, as a share of the length of `full`.
pub fn miss(half: &[f64], full: &[f64]) -> f64 {
    assert_eq!(half.len(), full.len(), "as many numbers");
    let length = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    // Masked scores are -inf in both.
    let apart = length(&mut half.iter().zip(full).map(|(a, b)| if a == b { 0. } else { a - b }));
    apart / length(&mut full.iter().copied().filter(|x| x.is_finite())).max(f64::MIN_POSITIVE)
}

/// The same of tensors of any type.
pub fn miss_of(half: &Tensor, full: &Tensor) -> f64 {
    assert_eq!(half.dims(), full.dims(), "shapes");
    miss(&numbers(half), &numbers(full))
}

/// Misses compared with their limits; a failure names every one that is too large.
#[derive(Default)]
pub struct Misses {
    worst: Vec<(String, f64, f64)>,
}

impl Misses {
    /// Notes how far a number is off, and how far it may be.
    pub fn add(&mut self, name: impl Into<String>, miss: f64, allowed: f64) {
        self.worst.push((name.into(), miss, allowed));
    }

    /// Fails where one is too far off, or is not a number.
    pub fn finish(mut self) {
        self.worst.sort_by(|a, b| (b.1 / b.2).total_cmp(&(a.1 / a.2)));
        let line = |(name, miss, allowed): &(String, f64, f64)| format!("{name}: {miss:.2e} of {allowed:.2e}");
        for noted in self.worst.iter().take(12) {
            println!("{}", line(noted));
        }
        let wrong: Vec<String> =
            self.worst.iter().filter(|(_, miss, allowed)| miss.is_nan() || miss > allowed).map(line).collect();
        assert!(!self.worst.is_empty(), "nothing was compared");
        assert!(wrong.is_empty(), "{} of {} are too far off:\n{}", wrong.len(), self.worst.len(), wrong.join("\n"));
    }
}
