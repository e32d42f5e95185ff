//! Kinds of models that are left out on purpose, by their `model_type`, so that a refusal says why.

/// Each kind with what is said of it.
const KINDS: &[(&[&str], &str)] = &[
    (
        &[
            "dbrx",
            "deepseek_v2",
            "deepseek_v3",
            "ernie4_5_moe",
            "glm4_moe",
            "gpt_oss",
            "granitemoe",
            "jetmoe",
            "llama4",
            "llama4_text",
            "mixtral",
            "olmoe",
            "phimoe",
            "qwen2_moe",
            "qwen3_moe",
            "qwen3_next",
        ],
        "a mixture of experts, whose tokens each go through some of many MLPs; here every block has one MLP",
    ),
    (
        &["falcon_mamba", "jamba", "mamba", "mamba2", "recurrent_gemma", "rwkv", "zamba", "zamba2"],
        "a model with recurrent layers; here every block has attention",
    ),
    (
        &["bart", "marian", "mbart", "mt5", "pegasus", "t5", "whisper"],
        "an encoder with a decoder; only decoders are supported",
    ),
    (
        &["albert", "bert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"],
        "an encoder, which does not predict the next token",
    ),
];

/// What a model of this type is, where it is none that this crate is about.
pub(super) fn out_of_scope(model_type: &str) -> Option<&'static str> {
    KINDS.iter().find(|(types, _)| types.contains(&model_type)).map(|(_, what)| *what)
}
