//! Mistral: Llama with attention that reaches a window of positions.
//!
//! Reference: `transformers` `MistralForCausalLM`.

use super::config_file::ConfigFile;
use super::{Family, llama};
use crate::error::Result;
use crate::model::config::HookedTransformerConfig;

pub(super) const FAMILY: Family =
    Family { model_type: "mistral", config, layout: |_| Ok(llama::LAYOUT), usually_tied: false };

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    Ok(HookedTransformerConfig { window_size: file.size_or("sliding_window", 4096)?, ..llama::base(file)? })
}
