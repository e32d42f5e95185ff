//! Parts that several families store in the same way: PyTorch's linear layers are `[out, in]`, ours `[in, out]`.

use candle_core::{IndexOp, Tensor};

use crate::error::Result;
use crate::model::config::HookedTransformerConfig;
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{AttentionWeights, MlpWeights, NormWeights};

/// `{name}.weight [out, in]` as `[in, out]`.
pub(super) fn linear(file: &mut TensorFile, name: &str, (input, output): (usize, usize)) -> Result<Tensor> {
    let weight = file.take(&format!("{name}.weight"), &[output, input]);
    file.in_a_row(weight.t()?)
}

/// `{name}.bias`, or zeros for a layer without.
pub(super) fn bias(file: &mut TensorFile, name: &str, size: usize, there: bool) -> Result<Tensor> {
    if there {
        return Ok(file.take(&format!("{name}.bias"), &[size]));
    }
    file.zeros(size)
}

/// A layer norm.
pub(super) fn layer_norm(file: &mut TensorFile, name: &str, d: usize) -> NormWeights {
    NormWeights { w: file.take(&format!("{name}.weight"), &[d]), b: Some(file.take(&format!("{name}.bias"), &[d])) }
}

/// A root-mean-square norm.
pub(super) fn rms_norm(file: &mut TensorFile, name: &str, d: usize) -> NormWeights {
    NormWeights { w: file.take(&format!("{name}.weight"), &[d]), b: None }
}

/// The root-mean-square norm of the queries or keys of so many heads; a file has a scale for each head in one row.
pub(super) fn qk_norm(
    file: &mut TensorFile,
    name: &str,
    cfg: &HookedTransformerConfig,
    heads: usize,
) -> Result<NormWeights> {
    let shape = cfg.qk_norm_type.shape(heads, cfg.d_head());
    let w = file.take(&format!("{name}.weight"), &[shape.iter().product()]);
    Ok(NormWeights { w: if file.is_faulty() { w } else { w.reshape(shape)? }, b: None })
}

/// Attention as four linear layers below `name`, `names` being those of q, k, v and o, with biases of q, k, v or of o.
pub(super) fn attention(
    file: &mut TensorFile,
    cfg: &HookedTransformerConfig,
    name: &str,
    names: [&str; 4],
    (qkv_bias, o_bias): (bool, bool),
) -> Result<AttentionWeights> {
    let (d, heads, groups) = (cfg.d_model, cfg.n_heads * cfg.d_head(), cfg.n_key_value_heads() * cfg.d_head());
    let [q, k, v, o] = names.map(|part| format!("{name}.{part}"));
    Ok(AttentionWeights {
        w_q: linear(file, &q, (d, heads))?.into(),
        w_k: linear(file, &k, (d, groups))?.into(),
        w_v: linear(file, &v, (d, groups))?.into(),
        w_o: linear(file, &o, (heads, d))?.into(),
        b_q: bias(file, &q, heads, qkv_bias)?,
        b_k: bias(file, &k, groups, qkv_bias)?,
        b_v: bias(file, &v, groups, qkv_bias)?,
        b_o: bias(file, &o, d, o_bias)?,
        qk_norm: None,
    })
}

/// Attention whose queries, keys and values come of one linear layer, `[head, (q, k, v), d_head]`, which is split here.
/// `names` are those of this layer and of the output's; both have biases or neither.
pub(super) fn fused_by_head(
    file: &mut TensorFile,
    cfg: &HookedTransformerConfig,
    [qkv, o]: [String; 2],
    biases: bool,
) -> Result<AttentionWeights> {
    let (d, n, h) = (cfg.d_model, cfg.n_heads, cfg.d_head());
    let fused = file.take(&format!("{qkv}.weight"), &[3 * d, d]);
    let fused_bias = bias(file, &qkv, 3 * d, biases)?;
    // A stand-in for what is missing is never laid out: it may claim any size.
    let faulty = file.is_faulty();
    let part = |i: usize| -> Result<Tensor> {
        if faulty {
            return Ok(fused.clone());
        }
        Ok(fused.reshape((n, 3, h, d))?.i((.., i))?.reshape((n * h, d))?.t()?.contiguous()?)
    };
    let part_of_bias = |i: usize| -> Result<Tensor> {
        if faulty {
            return Ok(fused_bias.clone());
        }
        Ok(fused_bias.reshape((n, 3, h))?.i((.., i))?.flatten_all()?.contiguous()?)
    };
    Ok(AttentionWeights {
        w_q: part(0)?.into(),
        w_k: part(1)?.into(),
        w_v: part(2)?.into(),
        b_q: part_of_bias(0)?,
        b_k: part_of_bias(1)?,
        b_v: part_of_bias(2)?,
        w_o: linear(file, &o, (d, d))?.into(),
        b_o: bias(file, &o, d, biases)?,
        qk_norm: None,
    })
}

/// An MLP of two linear layers with biases.
pub(super) fn mlp(file: &mut TensorFile, cfg: &HookedTransformerConfig, into: &str, out: &str) -> Result<MlpWeights> {
    let (d, m) = (cfg.d_model, cfg.d_mlp());
    Ok(MlpWeights {
        w_in: linear(file, into, (d, m))?.into(),
        w_gate: None,
        gate_biases: None,
        b_in: bias(file, into, m, true)?,
        ln: None,
        w_out: linear(file, out, (m, d))?.into(),
        b_out: bias(file, out, d, true)?,
    })
}
