//! The tensors of a model with the names that `transformers` gives them, and as views whose numbers are in its order.

use super::architectures::{Architecture, Change};
use crate::model::config::HookedTransformerConfig;
use crate::storage::{Named, Stored};

/// The tensors as `transformers` names and orders them. One whose name is unknown keeps it, and is found unexpected
/// where the model takes its own.
pub(super) fn translated(
    architecture: &Architecture,
    cfg: &HookedTransformerConfig,
    tensors: Vec<Named>,
) -> Vec<Named> {
    let each = |(name, stored): Named| match translate(architecture, &name) {
        Some((ours, change)) => (ours, changed(stored, change, cfg)),
        None => (name, stored),
    };
    tensors.into_iter().map(each).collect()
}

/// The name in `transformers`, and in what the numbers differ.
fn translate(architecture: &Architecture, name: &str) -> Option<(String, Change)> {
    let (stem, suffix) = name.rsplit_once('.').filter(|(_, suffix)| ["weight", "bias"].contains(suffix))?;
    let find = |names: &[(&str, &'static str)], stem: &str| {
        names.iter().find(|(known, _)| *known == stem).map(|(_, ours)| *ours)
    };
    if let Some(ours) = find(architecture.outside, stem) {
        return Some((format!("{ours}.{suffix}"), (architecture.change)(name)));
    }
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let ours = find(architecture.inside, part)?;
    let change = (architecture.change)(&format!("{part}.{suffix}"));
    Some((format!("{}{layer}.{ours}.{suffix}", architecture.blocks), change))
}

/// The tensor with its numbers in the order of `transformers`. One whose shape does not allow that stays as it is: the
/// model, which needs the shape of its config, does not take it.
fn changed(stored: Stored, change: Change, cfg: &HookedTransformerConfig) -> Stored {
    if stored.shape.contains(&0) {
        return stored;
    }
    let (rows, columns) = match stored.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        _ => return stored,
    };
    match change {
        Change::None => stored,
        Change::Queries => rotated(stored, cfg.n_heads, rows, columns),
        Change::Keys => rotated(stored, cfg.n_key_value_heads(), rows, columns),
        Change::Fused if rows.is_multiple_of(3 * cfg.n_heads) => {
            let (heads, size) = (cfg.n_heads, rows / (3 * cfg.n_heads));
            let steps = vec![(heads, size * columns), (3, heads * size * columns), (size, columns), (columns, 1)];
            Stored { strides: Some(steps), ..stored }
        }
        Change::Transposed if stored.shape.len() == 2 => {
            Stored { strides: Some(vec![(columns, 1), (rows, columns)]), shape: vec![columns, rows], ..stored }
        }
        Change::OneMore => Stored { shift: -1.0, ..stored },
        Change::Fused | Change::Transposed => stored,
    }
}

/// Rows `[head, d_head / 2, 2]` as `[head, 2, d_head / 2]`.
fn rotated(stored: Stored, heads: usize, rows: usize, columns: usize) -> Stored {
    if !rows.is_multiple_of(2 * heads) {
        return stored;
    }
    let half = rows / heads / 2;
    let steps = vec![(heads, 2 * half * columns), (2, columns), (half, 2 * columns), (columns, 1)];
    Stored { strides: Some(steps), ..stored }
}

#[cfg(test)]
mod tests {
    use super::super::architectures;
    use super::*;

    #[test]
    fn names_are_those_of_transformers() {
        let named = |architecture: &str, name: &str| {
            let architecture = architectures::by_name(architecture).expect("it is in the table");
            translate(architecture, name)
        };
        let is = |ours: &str, change| Some((ours.to_string(), change));
        for (architecture, name, expected) in [
            ("llama", "token_embd.weight", is("model.embed_tokens.weight", Change::None)),
            ("llama", "output.weight", is("lm_head.weight", Change::None)),
            ("llama", "blk.12.attn_q.weight", is("model.layers.12.self_attn.q_proj.weight", Change::Queries)),
            ("llama", "blk.0.attn_k.bias", is("model.layers.0.self_attn.k_proj.bias", Change::Keys)),
            ("qwen2", "blk.0.attn_k.bias", is("model.layers.0.self_attn.k_proj.bias", Change::None)),
            ("gemma2", "output_norm.weight", is("model.norm.weight", Change::OneMore)),
            ("gemma2", "blk.1.ffn_norm.weight", is("model.layers.1.pre_feedforward_layernorm.weight", Change::OneMore)),
            ("gemma3", "blk.1.attn_q_norm.weight", is("model.layers.1.self_attn.q_norm.weight", Change::OneMore)),
            ("gpt2", "position_embd.weight", is("transformer.wpe.weight", Change::None)),
            ("gpt2", "blk.1.ffn_up.weight", is("transformer.h.1.mlp.c_fc.weight", Change::Transposed)),
            ("gptneox", "blk.1.attn_qkv.bias", is("gpt_neox.layers.1.attention.query_key_value.bias", Change::Fused)),
            ("phi2", "output.bias", is("lm_head.bias", Change::None)),
            ("llama", "rope_freqs.weight", None),
            ("llama", "blk.x.attn_q.weight", None),
            ("llama", "blk.0.attn_q", None),
            ("llama", "blk.0.ffn_gate_exps.weight", None),
        ] {
            assert_eq!(named(architecture, name), expected, "{architecture} {name}");
        }
    }
}
