//! One table for each architecture: its keys, its tensors, and in what its numbers differ from those of `transformers`.

use super::keys::Keys;
use super::rotary;
use crate::error::{Error, Result};
use crate::storage::GgufMetadata;

/// A key of a `config.json`, and what its value is.
pub(super) enum As {
    /// A size that the model cannot do without.
    Size(&'static str),
    OptionalSize(&'static str),
    /// A number that the model cannot do without.
    Number(&'static str),
    OptionalNumber(&'static str),
    Flag(&'static str),
}

/// In what the numbers of a tensor differ from those of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Rows of queries or keys are in the order in which neighbours rotate together: `[head, d_head / 2, 2]`.
    Queries,
    Keys,
    /// Rows are `[(q, k, v), head, d_head]`, not `[head, (q, k, v), d_head]`.
    Fused,
    /// The axes are the other way round.
    Transposed,
    /// 1 is added, which `transformers` adds to what it reads.
    OneMore,
}

/// How models of one architecture are stored.
pub(super) struct Architecture {
    /// Its name, with which its keys begin.
    pub name: &'static str,
    /// The `model_type` of the family that reads it.
    pub model_type: &'static str,
    pub keys: &'static [(&'static str, As)],
    /// Sets the keys that are more than another name.
    pub more: fn(&mut Keys) -> Result<()>,
    /// The names of tensors outside the blocks, without `.weight` and `.bias`.
    pub outside: &'static [(&'static str, &'static str)],
    /// What stands before the number of a block in `transformers`.
    pub blocks: &'static str,
    /// The names in a block, after its number.
    pub inside: &'static [(&'static str, &'static str)],
    /// The change of a tensor, by the name that it has here.
    pub change: fn(&str) -> Change,
}

static ARCHITECTURES: [Architecture; 10] = [LLAMA, QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3, PHI3, GPT2, GPT_NEOX, PHI2];

/// The architecture of a file.
///
/// # Errors
/// [`Error::File`] for none, one that is not supported, or a file that holds something else than a model.
pub(super) fn of(metadata: &GgufMetadata) -> Result<&'static Architecture> {
    let kind = metadata.string("general.type")?.unwrap_or("model");
    if kind != "model" {
        let message =
            format!("holds something of the kind {kind:?} and not a model: give the file of the model itself.");
        return Err(Error::file(metadata.path(), message));
    }
    let named = metadata.string("general.architecture")?.unwrap_or_default();
    by_name(named).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
        let message = format!(
            "is of the architecture {named:?} (general.architecture); supported in GGUF files are {}.",
            known.join(", ")
        );
        Error::file(metadata.path(), message)
    })
}

/// The architecture of this name.
pub(super) fn by_name(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    model_type: "llama",
    keys: LLAMA_KEYS,
    more: |keys| {
        keys.heads_of_one_size()?;
        keys.only_whole_rotary()?;
        rotary::scaling(keys)?;
        for (key, tensor) in [("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_gate.bias")] {
            let there = keys.has(tensor);
            keys.put(key, there);
        }
        keys.only_text("tensor_data_layout", "Meta AI original pth")?;
        // Mistral is llama with a window.
        if let Some(window) = keys.size("attention.sliding_window")?.filter(|window| *window > 0) {
            keys.put("model_type", "mistral");
            keys.put("sliding_window", window);
        }
        Ok(())
    },
    outside: LLAMA_OUTSIDE,
    blocks: "model.layers.",
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
    change: |part| match part {
        "attn_q.weight" | "attn_q.bias" => Change::Queries,
        "attn_k.weight" | "attn_k.bias" => Change::Keys,
        _ => Change::None,
    },
};

const LLAMA_KEYS: &[(&str, As)] = &[
    ("context_length", As::Size("max_position_embeddings")),
    ("block_count", As::Size("num_hidden_layers")),
    ("embedding_length", As::Size("hidden_size")),
    ("feed_forward_length", As::Size("intermediate_size")),
    ("attention.head_count", As::Size("num_attention_heads")),
    ("attention.head_count_kv", As::OptionalSize("num_key_value_heads")),
    ("attention.key_length", As::OptionalSize("head_dim")),
    ("attention.layer_norm_rms_epsilon", As::Number("rms_norm_eps")),
    ("rope.freq_base", As::OptionalNumber("rope_theta")),
];

const LLAMA_OUTSIDE: &[(&str, &str)] =
    &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

const QWEN2: Architecture = Architecture {
    name: "qwen2",
    model_type: "qwen2",
    more: |keys| {
        keys.heads_of_one_size()?;
        keys.whole_rotary()?;
        rotary::scaling(keys)
    },
    change: |_| Change::None,
    ..LLAMA
};

const QWEN3: Architecture = Architecture {
    name: "qwen3",
    model_type: "qwen3",
    more: |keys| {
        let biases = keys.has("blk.0.attn_q.bias");
        keys.put("attention_bias", biases);
        (QWEN2.more)(keys)
    },
    ..QWEN2
};

const GEMMA: Architecture = Architecture {
    name: "gemma",
    model_type: "gemma",
    change: |part| if part.ends_with("norm.weight") { Change::OneMore } else { Change::None },
    ..QWEN2
};

const GEMMA2: Architecture = Architecture {
    name: "gemma2",
    model_type: "gemma2",
    more: |keys| {
        for cap in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(number) = keys.number(cap)? {
                keys.put(cap, number);
            }
        }
        if let Some(window) = keys.size("attention.sliding_window")? {
            keys.put("sliding_window", window);
        }
        // llama.cpp knows the largest by its layers.
        gemma_scale(keys, 46)?;
        (QWEN2.more)(keys)
    },
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ],
    ..GEMMA
};

/// The scale of the scores, which the file does not have: `1 / sqrt(d_head)`, in the largest model, which has so many
/// layers, `1 / sqrt(d_model / n_heads)`.
fn gemma_scale(keys: &mut Keys, largest: usize) -> Result<()> {
    let (layers, width) = (keys.size("block_count")?, keys.size("embedding_length")?);
    let heads = keys.size("attention.head_count")?.filter(|heads| *heads > 0);
    let shared = width.zip(heads).map(|(width, heads)| width / heads);
    let d_head = keys.size("attention.key_length")?.or(shared);
    let scalar = if layers == Some(largest) { shared } else { d_head };
    if let Some(scalar) = scalar {
        keys.put("query_pre_attn_scalar", scalar);
    }
    Ok(())
}

const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    model_type: "gemma3_text",
    more: |keys| {
        gemma_scale(keys, 62)?;
        let every = keys.size("attention.sliding_window_pattern")?;
        match keys.size("attention.sliding_window")?.filter(|window| *window > 0) {
            Some(window) => {
                keys.put("sliding_window", window);
                if let Some(every) = every {
                    keys.put("sliding_window_pattern", every);
                }
            }
            // To llama.cpp a file without a window is one without windows, whatever it says of their pattern.
            None => keys.put("sliding_window_pattern", 1),
        }
        for (key, ours) in
            [("rope.freq_base_swa", "rope_local_base_freq"), ("final_logit_softcapping", "final_logit_softcapping")]
        {
            if let Some(number) = keys.number(key)? {
                keys.put(ours, number);
            }
        }
        (QWEN2.more)(keys)
    },
    ..GEMMA2
};

const PHI3: Architecture = Architecture {
    name: "phi3",
    model_type: "phi3",
    more: |keys| {
        keys.heads_of_one_size()?;
        if let Some(share) = keys.rotary_share()? {
            keys.put("partial_rotary_factor", share);
        }
        if let Some(window) = keys.size("attention.sliding_window")?.filter(|window| *window > 0) {
            keys.put("sliding_window", window);
        }
        rotary::long(keys)
    },
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_qkv", "self_attn.qkv_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_up", "mlp.gate_up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
    ..QWEN2
};

const GPT2: Architecture = Architecture {
    name: "gpt2",
    model_type: "gpt2",
    keys: &[
        ("context_length", As::Size("n_positions")),
        ("block_count", As::Size("n_layer")),
        ("embedding_length", As::Size("n_embd")),
        ("feed_forward_length", As::OptionalSize("n_inner")),
        ("attention.head_count", As::Size("n_head")),
        ("attention.layer_norm_epsilon", As::Number("layer_norm_epsilon")),
    ],
    more: |_| Ok(()),
    outside: &[
        ("token_embd", "transformer.wte"),
        ("position_embd", "transformer.wpe"),
        ("output_norm", "transformer.ln_f"),
        ("output", "lm_head"),
    ],
    blocks: "transformer.h.",
    inside: &[
        ("attn_norm", "ln_1"),
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_norm", "ln_2"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    ],
    change: |part| match part {
        "attn_qkv.weight" | "attn_output.weight" | "ffn_up.weight" | "ffn_down.weight" => Change::Transposed,
        _ => Change::None,
    },
};

const GPT_NEOX: Architecture = Architecture {
    name: "gptneox",
    model_type: "gpt_neox",
    keys: &[
        ("context_length", As::Size("max_position_embeddings")),
        ("block_count", As::Size("num_hidden_layers")),
        ("embedding_length", As::Size("hidden_size")),
        ("feed_forward_length", As::Size("intermediate_size")),
        ("attention.head_count", As::Size("num_attention_heads")),
        ("attention.layer_norm_epsilon", As::Number("layer_norm_eps")),
        ("rope.freq_base", As::OptionalNumber("rotary_emb_base")),
        ("use_parallel_residual", As::Flag("use_parallel_residual")),
    ],
    more: |keys| {
        // A file that does not say rotates whole heads, as llama.cpp does.
        let share = keys.rotary_share()?.unwrap_or(1.0);
        keys.put("rotary_pct", share);
        let biases = keys.has("blk.0.attn_qkv.bias");
        keys.put("attention_bias", biases);
        Ok(())
    },
    outside: &[
        ("token_embd", "gpt_neox.embed_in"),
        ("output_norm", "gpt_neox.final_layer_norm"),
        ("output", "embed_out"),
    ],
    blocks: "gpt_neox.layers.",
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_qkv", "attention.query_key_value"),
        ("attn_output", "attention.dense"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_up", "mlp.dense_h_to_4h"),
        ("ffn_down", "mlp.dense_4h_to_h"),
    ],
    change: |part| match part {
        "attn_qkv.weight" | "attn_qkv.bias" => Change::Fused,
        _ => Change::None,
    },
};

const PHI2: Architecture = Architecture {
    name: "phi2",
    model_type: "phi",
    keys: &[
        ("context_length", As::Size("max_position_embeddings")),
        ("block_count", As::Size("num_hidden_layers")),
        ("embedding_length", As::Size("hidden_size")),
        ("feed_forward_length", As::Size("intermediate_size")),
        ("attention.head_count", As::Size("num_attention_heads")),
        ("attention.head_count_kv", As::OptionalSize("num_key_value_heads")),
        ("attention.layer_norm_epsilon", As::Number("layer_norm_eps")),
        ("rope.freq_base", As::OptionalNumber("rope_theta")),
    ],
    more: |keys| {
        let share = keys.rotary_share()?.unwrap_or(1.0);
        keys.put("partial_rotary_factor", share);
        Ok(())
    },
    outside: &[("token_embd", "model.embed_tokens"), ("output_norm", "model.final_layernorm"), ("output", "lm_head")],
    blocks: "model.layers.",
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.dense"),
        ("ffn_up", "mlp.fc1"),
        ("ffn_down", "mlp.fc2"),
    ],
    change: |_| Change::None,
};
