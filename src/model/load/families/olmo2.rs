//! OLMo 2: Llama whose only norms are those of what attention and MLP write, and whose queries and keys are normed over
//! all heads of a layer at once.
//!
//! TransformerLens calls the norms behind attention and MLP `ln1` and `ln2`, as if they came before; here they are
//! `ln1_post` and `ln2_post`, as in Gemma 2.
//!
//! Reference: `transformers` `Olmo2ForCausalLM`.

use serde_json::json;

use super::config_file::ConfigFile;
use super::{Family, llama};
use crate::error::Result;
use crate::model::config::{HookedTransformerConfig, QkNormType};

pub(super) const FAMILY: Family =
    Family { model_type: "olmo2", config, layout: |_| Ok(llama::LAYOUT), usually_tied: false };

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("attention_bias", &[json!(false)])?;
    let eps = file.number("rms_norm_eps")?.unwrap_or(1e-5);
    Ok(HookedTransformerConfig {
        eps,
        use_normalization_after_only: true,
        use_qk_norm: true,
        qk_norm_type: QkNormType::RMSAcrossHeads,
        ..llama::base(file)?
    })
}
