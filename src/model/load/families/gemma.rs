//! Gemma 1 to 3: Llama with embeddings multiplied by `sqrt(d_model)`, norms that scale by `1 + w`, and gelu in the
//! gate. Gemma 2 also has norms after attention and MLP, soft caps, a scale of the scores of its own, and windows in
//! every other layer. Gemma 3 has norms of queries and keys in place of the caps, and windows in five layers of six,
//! which rotate by a base of their own; of a model that also reads images, the part that reads text is loaded.
//!
//! As in TransformerLens the factor is in `W_E` (not in `W_U`, which is the same matrix in the file) and the 1 in the
//! norms.
//!
//! Reference: `transformers` `GemmaForCausalLM`, `Gemma2ForCausalLM`, `Gemma3ForCausalLM`,
//! `Gemma3ForConditionalGeneration`.

use serde_json::json;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::llama::{self, Biases};
use super::{Family, parts, rope};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, AttentionType, HookedTransformerConfig};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{BlockWeights, NormWeights};

pub(super) const FAMILY: Family =
    Family { model_type: "gemma", config: first_config, layout: |_| Ok(LAYOUT), usually_tied: true };

pub(super) const GEMMA2: Family =
    Family { model_type: "gemma2", config: second_config, layout: |_| Ok(LAYOUT), usually_tied: true };

pub(super) const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    config: |file| third_config(&file.with_usual(THIRD_SIZES)),
    layout: |_| Ok(LAYOUT),
    usually_tied: true,
};

/// Gemma 3 with a part that reads images.
pub(super) const GEMMA3_IMAGES: Family =
    Family { model_type: "gemma3", config: config_with_images, layout: |_| Ok(LAYOUT), usually_tied: true };

/// The default sizes of `transformers`, which configs of Gemma 3 leave out where they have them.
const THIRD_SIZES: &[(&str, usize)] = &[
    ("vocab_size", 262208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("max_position_embeddings", 131072),
];

const LAYOUT: Layout = Layout {
    embed_scale: |cfg| (cfg.d_model as f64).sqrt(),
    norm: |file, name, cfg| one_more(parts::rms_norm(file, name, cfg.d_model)),
    block,
    ..llama::LAYOUT
};

fn first_config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    // The first files name the exact gelu where the weights were trained with the approximation.
    let act_fn = match file.activation("hidden_act", ActFn::GeluNew)? {
        ActFn::Gelu => ActFn::GeluNew,
        other => other,
    };
    if file.activation("hidden_activation", act_fn)? != act_fn {
        return Err(Error::config(
            "config.json names different activation functions as hidden_act, which transformers 5 heeds, and as \
             hidden_activation, which earlier versions do: keep the one that the model was trained with.",
        ));
    }
    Ok(HookedTransformerConfig { act_fn, ..config(file)? })
}

fn second_config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let base = config(file)?;
    // Without a list every second layer, from the first on, has a window.
    let cfg = with_windows(file, base, 2)?;
    file.only("sliding_window_size", &[json!(cfg.window_size)])?;
    Ok(HookedTransformerConfig {
        attn_scores_soft_cap: file.number_or("attn_logit_softcapping", 50.0)?,
        output_logits_soft_cap: file.number_or("final_logit_softcapping", 30.0)?,
        ..cfg
    })
}

fn third_config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    // `transformers` reads this key, which some files have from Gemma 2, and does not apply it.
    file.harmless(&["attn_logit_softcapping", "_sliding_window_pattern"]);
    only_causal_without_biases(file)?;
    let sizes = llama::sizes(file)?;
    let old = file.object("rope_scaling")?.filter(|object| !object.is_empty());
    let [global, local] = [file.rotary_of("full_attention")?, file.rotary_of("sliding_attention")?];
    if old.is_some() && global.is_some() {
        return Err(Error::config(
            "config.json has both rope_scaling and rope_parameters: keep the one with which the model was trained.",
        ));
    }
    if let Some(old) = old {
        file.check_rotary("rope_scaling", old)?;
        if !old.contains_key("rope_type") {
            return Err(Error::config(
                "config.json's rope_scaling has no rope_type, without which transformers 5 does not scale this model: \
                 correct it.",
            ));
        }
    }
    if rope::kind(local) != "default" {
        return Err(Error::config(
            "config.json changes the frequencies of the layers of \"sliding_attention\", which is not supported for \
             Gemma 3.",
        ));
    }
    let base = |object, old_key: &str, usual: f64| -> Result<f64> {
        Ok(rope::number(object, "rope_theta").or(file.number(old_key)?).unwrap_or(usual))
    };
    let rotary_base = base(global, "rope_theta", 1e6)?;
    let rotary_base_local = Some(base(local, "rope_local_base_freq", 1e4)?);
    let cfg = HookedTransformerConfig { use_qk_norm: true, rotary_base, rotary_base_local, ..sizes };
    let every = file.optional_size("sliding_window_pattern")?.unwrap_or(6);
    if every == 0 {
        return Err(Error::config(
            "config.json sets sliding_window_pattern to 0, but 1 or more is needed: correct it.",
        ));
    }
    let cfg = with_windows(file, rope::scaled(cfg, global.or(old))?, every)?;
    Ok(HookedTransformerConfig { output_logits_soft_cap: file.number("final_logit_softcapping")?, ..cfg })
}

/// What is around the config of the text model says how images are read.
fn config_with_images(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.harmless(&[
        "vision_config",
        "mm_tokens_per_image",
        "boi_token_index",
        "eoi_token_index",
        "image_token_index",
        "boi_token_id",
        "eoi_token_id",
        "image_token_id",
    ]);
    let text = file.inner("text_config", THIRD_SIZES)?;
    text.only("is_causal", &[json!(true)])?;
    text.only("tie_word_embeddings", &[json!(true)])?;
    let cfg = third_config(&text)?;
    text.finish()?;
    Ok(HookedTransformerConfig { model_name: file.name("gemma3"), ..cfg })
}

/// What Gemma 2 and 3 have in common: norms after attention and MLP, a scale of the scores, and windows, which without
/// a list all layers have but each `every`-th.
fn with_windows(file: &ConfigFile, base: HookedTransformerConfig, every: usize) -> Result<HookedTransformerConfig> {
    let kind = |layer: usize| match (layer + 1).is_multiple_of(every) {
        true => AttentionType::Global,
        false => AttentionType::Local,
    };
    let kinds = file.layer_types(base.n_layers)?.unwrap_or_else(|| (0..base.n_layers).map(kind).collect());
    let window_size = file.size_or("sliding_window", 4096)?;
    if window_size.is_none() && kinds.contains(&AttentionType::Local) {
        return Err(Error::config(
            "config.json has no sliding_window for its layers of \"sliding_attention\": correct it.",
        ));
    }
    Ok(HookedTransformerConfig {
        use_normalization_before_and_after: true,
        attn_scale: Some(file.number("query_pre_attn_scalar")?.unwrap_or(256.0).sqrt()),
        window_size,
        attn_types: Some(kinds),
        act_fn: file.activation("hidden_activation", ActFn::GeluNew)?,
        ..base
    })
}

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let d_head = Some(file.optional_size("head_dim")?.unwrap_or(256));
    only_causal_without_biases(file)?;
    Ok(HookedTransformerConfig { d_head, ..llama::base(file)? })
}

fn only_causal_without_biases(file: &ConfigFile) -> Result<()> {
    file.only("attention_bias", &[json!(false)])?;
    file.only("use_bidirectional_attention", &[json!(false)])
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let mut block = llama::block(file, layer, cfg, Biases::NONE)?;
    for norm in [&mut block.ln1, &mut block.ln1_post, &mut block.ln2, &mut block.ln2_post] {
        *norm = norm.take().map(one_more);
    }
    block.attn.qk_norm = block.attn.qk_norm.map(|(of_q, of_k)| (one_more(of_q), one_more(of_k)));
    Ok(block)
}

fn one_more(norm: NormWeights) -> NormWeights {
    NormWeights { w: (norm.w + 1.0).expect("numbers of a floating type"), b: norm.b }
}
