//! Models written in Hugging Face's layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;

use super::families::gpt2;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::files;
use crate::tokens::Tokenizer;

impl HookedTransformer {
    /// Writes `config.json`, `model.safetensors` (Hugging Face's GPT-2 layout) and the tokenizer with its special tokens
    /// (`tokenizer_config.json`, `generation_config.json`) into `folder`, so that
    /// [`HookedTransformer::from_pretrained_no_processing`] and Python's `transformers` read the same model back. Each file is written whole or not at all.
    ///
    /// # Errors
    /// A processed model, or one that GPT-2's layout cannot hold; a folder that cannot be written.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let tensors: BTreeMap<String, Tensor> = gpt2::tensors(&self.weights, &self.cfg)?.into_iter().collect();
        let bos = self.tokenizer.as_ref().and_then(Tokenizer::bos_id);
        let ends = (bos, self.end_ids());
        let tied = gpt2::is_tied(&self.weights)?;
        let config =
            serde_json::to_vec_pretty(&gpt2::config_json(&self.cfg, self.dtype(), tied, ends)).expect("a JSON value");
        fs::create_dir_all(folder)
            .map_err(|error| Error::file(folder, format!("the folder could not be made ({error}).")))?;
        files::write_tensors(&folder.join("model.safetensors"), &BTreeMap::new(), &tensors)?;
        for (name, contents) in self.tokenizer.iter().map(Tokenizer::to_files).collect::<Result<Vec<_>>>()?.concat() {
            files::write_whole(&folder.join(name), |out| out.write_all(&contents))?;
        }
        files::write_whole(&folder.join("config.json"), |out| out.write_all(&config))
    }
}
