//! State dicts in TransformerLens' own format: `blocks.0.attn.W_Q [n_heads, d_model, d_head]`, ...

use candle_core::Tensor;

use super::layout::Layout;
use crate::error::Result;
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, NormWeights};

/// Masks and angles that are stored beside the weights.
const BUFFERS: [&str; 4] = ["attn.mask", "attn.IGNORE", "attn.rotary_sin", "attn.rotary_cos"];

pub(super) const LAYOUT: Layout = Layout {
    prefix: "",
    buffers: &BUFFERS,
    embed: "embed.W_E",
    embed_scale: |_| 1.0,
    embed_norm: None,
    pos_embed: "pos_embed.W_pos",
    unused_positions: 0,
    ln_final: "ln_final",
    unembed: "unembed.W_U",
    unembed_in_out: true,
    unembed_bias: Some("unembed.b_U"),
    norm,
    block,
};

fn norm(file: &mut TensorFile, name: &str, cfg: &HookedTransformerConfig) -> NormWeights {
    NormWeights {
        w: file.take(&format!("{name}.w"), &[cfg.d_model]),
        b: cfg.normalization_type.centres().then(|| file.take(&format!("{name}.b"), &[cfg.d_model])),
    }
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let name = format!("blocks.{layer}");
    let (d, n, h, m) = (cfg.d_model, cfg.n_heads, cfg.d_head(), cfg.d_mlp());
    let take = |file: &mut TensorFile, part: &str, shape: &[usize]| file.take(&format!("{name}.{part}"), shape);
    // [n_heads, d_model, d_head] to our [d_model, n_heads * d_head]
    let side_by_side = |file: &mut TensorFile, part: &str, heads: usize| -> Result<Tensor> {
        let w = take(file, part, &[heads, d, h]);
        if file.is_faulty() { Ok(w) } else { Ok(w.transpose(0, 1)?.reshape((d, heads * h))?.contiguous()?) }
    };
    // The heads' axis comes first already.
    let flat = |file: &mut TensorFile, part: &str, shape: &[usize]| -> Result<Tensor> {
        let w = take(file, part, shape);
        if file.is_faulty() { Ok(w) } else { Ok(w.flatten(0, 1)?) }
    };
    let kind = cfg.qk_norm_type;
    let qk_norm = |file: &mut TensorFile, part: &str, heads: usize| NormWeights {
        w: take(file, &format!("{part}.w"), &kind.shape(heads, h)),
        b: kind.shifts().then(|| take(file, &format!("{part}.b"), &[h])),
    };
    // Keys and values that heads share are stored under names with an underscore.
    let (g, shared) = (cfg.n_key_value_heads(), if cfg.n_key_value_heads() < n { "_" } else { "" });
    let attn = AttentionWeights {
        w_q: side_by_side(file, "attn.W_Q", n)?.into(),
        w_k: side_by_side(file, &format!("attn.{shared}W_K"), g)?.into(),
        w_v: side_by_side(file, &format!("attn.{shared}W_V"), g)?.into(),
        b_q: flat(file, "attn.b_Q", &[n, h])?,
        b_k: flat(file, &format!("attn.{shared}b_K"), &[g, h])?,
        b_v: flat(file, &format!("attn.{shared}b_V"), &[g, h])?,
        w_o: flat(file, "attn.W_O", &[n, h, d])?.into(),
        b_o: take(file, "attn.b_O", &[d]),
        qk_norm: cfg.use_qk_norm.then(|| (qk_norm(file, "attn.q_norm", n), qk_norm(file, "attn.k_norm", g))),
    };
    let mlp = (!cfg.attn_only).then(|| MlpWeights {
        w_in: take(file, "mlp.W_in", &[d, m]).into(),
        w_gate: cfg.gated_mlp.then(|| take(file, "mlp.W_gate", &[d, m]).into()),
        gate_biases: cfg
            .gated_mlp_biases
            .then(|| (take(file, "mlp.b_gate", &[m]), take(file, "mlp.b_pre_linear", &[m]))),
        b_in: take(file, "mlp.b_in", &[m]),
        ln: (cfg.act_fn == ActFn::SoluLn && cfg.normalization_type == NormalizationType::LN)
            .then(|| NormWeights { w: take(file, "mlp.ln.w", &[m]), b: Some(take(file, "mlp.ln.b", &[m])) }),
        w_out: take(file, "mlp.W_out", &[m, d]).into(),
        b_out: take(file, "mlp.b_out", &[d]),
    });
    let kind = cfg.normalization_type;
    let mut norm_if = |there: bool, part: &str| there.then(|| norm(file, &format!("{name}.{part}"), cfg));
    let before = kind.has_weights() && !cfg.use_normalization_after_only;
    let ln1 = norm_if(before, "ln1");
    // Their output is added to the residual stream, so that nothing reads it into which they could be folded.
    let after = cfg.norms_after() && kind != NormalizationType::None;
    let (ln1_post, ln2_post) = (norm_if(after, "ln1_post"), norm_if(after, "ln2_post"));
    let ln2 = norm_if(before && !cfg.attn_only, "ln2");
    Ok(BlockWeights { ln1, attn, ln1_post, ln2, ln2_post, mlp })
}
