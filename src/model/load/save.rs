//! Models written in Hugging Face's layout and in TransformerLens'.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use serde_json::Value;

use super::families::gpt2;
use crate::error::{Error, Result};
use crate::files::Part;
use crate::model::transformer::HookedTransformer;
use crate::progress::Progress;
use crate::storage;
use crate::tokens::Tokenizer;

impl HookedTransformer {
    /// Writes `config.json`, `model.safetensors` (Hugging Face's GPT-2 layout) and the tokenizer with its special
    /// tokens (`tokenizer_config.json`, `generation_config.json`) into `folder`, so that
    /// [`HookedTransformer::from_pretrained_no_processing`] and Python's `transformers` read the same model back.
    ///
    /// All files are written before the first gets its name, and a `config.json` that is there goes first and comes
    /// last. So whatever interrupts this leaves the model that was there, or the new one, or, within the moment in
    /// which names change, a folder without `config.json`, which does not load: never parts of two models.
    ///
    /// # Errors
    /// A processed model, or one that GPT-2's layout cannot hold; a folder that cannot be written, or that holds the
    /// tokenizer of another model when this one has none.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let _saving = Progress::opaque(format!("saving {}", folder.display()));
        let tensors: BTreeMap<String, Tensor> = gpt2::tensors(&self.weights, &self.cfg)?.into_iter().collect();
        let bos = self.tokenizer.as_ref().and_then(Tokenizer::bos_id);
        let ends = (bos, self.end_ids());
        let tied = gpt2::is_tied(&self.weights)?;
        self.write(folder, &gpt2::config_json(&self.cfg, self.dtype(), tied, ends), &tensors)
    }

    /// Writes the model in TransformerLens' own format: `model.safetensors` with the names and shapes of
    /// [`HookedTransformer::state_dict`], `config.json` with the fields of its `HookedTransformerConfig`, and the
    /// tokenizer. Every architecture of this crate can be written, processed or not, except what TransformerLens has no
    /// field for: Phi-3's long context, dynamic rotary scaling, biases of an MLP with a gate, OLMo 2's norms, layer
    /// norms of queries and keys, ALiBi positions of a number of heads that is not a power of two, quick_gelu.
    ///
    /// [`HookedTransformer::from_pretrained_no_processing`] reads the folder back, and
    /// [`HookedTransformer::from_transformer_lens`] its `model.safetensors`. In Python:
    ///
    /// ```python
    /// cfg = HookedTransformerConfig.from_dict(json.load(open("folder/config.json")))
    /// model = HookedTransformer(cfg)
    /// model.load_state_dict(safetensors.torch.load_file("folder/model.safetensors"), strict=False)
    /// ```
    ///
    /// `strict=False`, because masks and rotary angles, which are computed, are not in the file.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let folder = std::env::temp_dir().join("candle-lens-example-transformer-lens");
    /// model.save_transformer_lens(&folder)?;
    /// let cfg = HookedTransformerConfig::from_file(folder.join("config.json"))?;
    /// let again = HookedTransformer::from_transformer_lens(cfg, folder.join("model.safetensors"))?;
    /// let difference = (again.forward(vec![1, 2, 3])? - model.forward(vec![1, 2, 3])?)?;
    /// assert_eq!(difference.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// The file does not say how the weights were processed, so the provenance of the model read back does not either.
    ///
    /// # Errors
    /// As [`HookedTransformer::save_pretrained`], but of the architectures only those named above are refused.
    pub fn save_transformer_lens(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let _saving = Progress::opaque(format!("saving {}", folder.display()));
        self.write(folder, &self.cfg.to_transformer_lens()?, &self.state_dict()?)
    }

    /// Writes these weights and this config, and the tokenizer, as one.
    fn write(&self, folder: &Path, config: &Value, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let config = serde_json::to_vec_pretty(config).expect("a JSON value");
        fs::create_dir_all(folder)
            .map_err(|error| Error::file(folder, format!("the folder could not be made ({error}).")))?;
        let foreign = ["tokenizer.json", "vocab.json"].map(|name| folder.join(name));
        if let Some(foreign) = foreign.into_iter().find(|file| self.tokenizer.is_none() && file.exists()) {
            return Err(Error::file(
                foreign,
                "would be taken for the tokenizer of this model, which has none: choose another folder, or remove the \
                 file.",
            ));
        }
        let mut parts = vec![storage::part(&folder.join("model.safetensors"), &BTreeMap::new(), tensors)?];
        for (name, contents) in self.tokenizer.iter().map(Tokenizer::to_files).collect::<Result<Vec<_>>>()?.concat() {
            parts.push(Part::write(&folder.join(name), |out| out.write_all(&contents))?);
        }
        let config = Part::write(&folder.join("config.json"), |out| out.write_all(&config))?;
        config.clear_place()?;
        parts.into_iter().chain([config]).try_for_each(Part::give_name).map_err(|error| {
            let message =
                format!("the model was not saved, and the folder has no config.json now: {}", error.sentence());
            Error::file(folder, message)
        })
    }
}
