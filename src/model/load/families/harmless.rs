//! Keys of a `config.json` that do not change what a model computes when it is evaluated: a closed list, so that what
//! is new to it is examined before it is skipped.
//!
//! Reference: `transformers` 2 to 5, `PretrainedConfig` (what it wrote into every file) and `GenerationConfig` (which
//! older versions kept in the same file); the rest was read in the files of models of the hub.

use serde_json::Value;

/// Where a model comes from, how it was trained, and how Python should load it.
const BOOKKEEPING: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation",
    "_experts_implementation_internal",
    "_from_auto",
    "_from_model_config",
    "_model_name_or_path",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attn_implementation",
    "auto_map",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "custom_pipelines",
    "dtype",
    "experts_implementation",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    "xla_device",
];

/// What is off when a model is evaluated.
const TRAINING: &[&str] = &[
    "activation_dropout",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "embd_pdrop",
    "embed_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "init_std",
    "layerdrop",
    "resid_dropout",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_last_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

/// How text is generated, and which tokens are special; the tokenizer and the options of a generation say that here.
const GENERATION: &[&str] = &[
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "constraints",
    "continuous_batching_config",
    "decoder_start_token_id",
    "disable_compile",
    "diversity_penalty",
    "do_sample",
    "dola_layers",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "eos_token_id",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "generation_kwargs",
    "guidance_scale",
    "is_assistant",
    "length_penalty",
    "low_memory",
    "max_cache_len",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_time",
    "min_length",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "penalty_alpha",
    "prefill_chunk_size",
    "prefix",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "return_dict_in_generate",
    "return_legacy_cache",
    "sep_token_id",
    "sequence_bias",
    "speculation_type",
    "stop_strings",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "token_healing",
    "top_h",
    "top_k",
    "top_p",
    "typical_p",
    "unk_token_id",
    "use_mtp",
    "watermarking_config",
];

/// What models on the hub carry for other programs, or because a version of their own code once asked for it.
const OF_THE_HUB: &[&str] = &["is_llama_config", "transformers.js_config", "unsloth_fixed", "unsloth_version"];

/// Keys that change nothing at this value; at another they may.
const HARMLESS_AT: &[(&str, i64)] = &[("full_attn_mod", 1), ("interpolate_factor", 1)];

/// Whether a key changes nothing, whatever its value.
pub(super) fn is_harmless(key: &str) -> bool {
    [BOOKKEEPING, TRAINING, GENERATION, OF_THE_HUB].iter().any(|keys| keys.contains(&key))
}

/// Whether a key that nobody asked for is off: what is null, false or empty asks for nothing, nor does a list by which
/// every layer attends to everything.
pub(super) fn is_off(key: &str, value: &Value) -> bool {
    match value {
        Value::Array(list) if key == "layer_types" => list.iter().all(|layer| layer == "full_attention"),
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        number => HARMLESS_AT.iter().any(|(known, at)| *known == key && number.as_f64() == Some(*at as f64)),
    }
}
