//! Transcoders to files, as a set that circuit-tracer loads: `layer_L.safetensors` for each layer, and `config.yaml`.
//!
//! Reference: `SingleLayerTranscoder.to_safetensors` and `utils/hf_utils.py` of circuit-tracer 0.5.0.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;

use super::dictionary::Dictionary;
use super::input::InputNorm;
use super::load::circuit_tracer::{CONFIG, THRESHOLD};
use super::parts::Activation;
use crate::error::{Error, Result};
use crate::files::Part;
use crate::hooks::{HookPoint, Site};
use crate::progress::Progress;
use crate::storage;
use crate::visible::visible;
use crate::wide;

impl Dictionary {
    /// Saves the transcoders of all layers of a model into `folder` as circuit-tracer's
    /// `TranscoderSet`, whose `load_transcoder_from_hub` takes the folder's absolute path;
    /// [`DictionarySet::open`](super::DictionarySet::open) reads it back. A bias that is subtracted from the input goes into `b_enc`.
    ///
    /// circuit-tracer runs models whose weights are not processed. Transcoders of a model with centred writing weights write
    /// without a mean over `d_model`, and there the mean is a part of the error, which no layer norm reads.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let folder = std::env::temp_dir().join("candle-lens-example-transcoder-set");
    /// let all: Vec<Dictionary> =
    ///     (0..4).map(|layer| Dictionary::from_pretrained(format!("tiny/mlp{layer}"))).collect::<Result<_>>()?;
    /// Dictionary::save_transcoder_set(&folder, &all)?;
    /// let again = DictionarySet::open(folder.to_string_lossy())?;
    /// assert_eq!(again.names(), ["layer_0", "layer_1", "layer_2", "layer_3"]);
    /// assert_eq!(again.get("layer_3")?.expects().hook_in, all[3].expects().hook_in);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] if a layer is missing or there twice, layers differ in width, points or model, or a dictionary is none
    /// that circuit-tracer loads: it has ReLU or thresholds, reads its input as it is, and writes one layer. [`Error::File`] if the
    /// folder cannot be written, or holds layers of a larger set.
    pub fn save_transcoder_set(folder: impl AsRef<Path>, dictionaries: &[Dictionary]) -> Result<()> {
        let folder = folder.as_ref();
        let (layers, config) = in_order(dictionaries)?;
        fs::create_dir_all(folder)
            .map_err(|error| Error::file(folder, format!("the folder could not be made ({error}).")))?;
        let other = folder.join(file(layers.len()));
        if other.exists() {
            return Err(Error::file(
                other,
                "belongs to a larger set, which the new one would be mixed with: choose another folder.",
            ));
        }
        let mut progress = Progress::of(format!("saving {}", folder.display()), layers.len() as u64, "layers");
        let mut parts = Vec::new();
        for (layer, dictionary) in layers.into_iter().enumerate() {
            parts.push(storage::part(&folder.join(file(layer)), &BTreeMap::new(), &dictionary.to_circuit_tracer()?)?);
            progress.step(1)?;
        }
        let config = Part::write(&folder.join(CONFIG), |out| out.write_all(config.as_bytes()))?;
        config.clear_place()?;
        parts.into_iter().try_for_each(Part::give_name)?;
        config.give_name()
    }

    /// Its tensors by circuit-tracer's names.
    fn to_circuit_tracer(&self) -> Result<BTreeMap<String, Tensor>> {
        let parts = &*self.parts;
        let dtype = parts.w_dec.dtype();
        let b_enc = match &parts.b_in {
            None => parts.b_enc.clone(),
            Some(b_in) => {
                let shift =
                    wide::matmul(&wide::widened(&b_in.unsqueeze(0)?)?, &wide::widened(&parts.w_enc)?)?.squeeze(0)?;
                (wide::widened(&parts.b_enc)? - shift)?.to_dtype(parts.b_enc.dtype())?
            }
        };
        let mut tensors = BTreeMap::from([
            ("W_enc".to_string(), parts.w_enc.t()?.contiguous()?),
            ("b_enc".into(), b_enc),
            ("W_dec".into(), parts.w_dec.contiguous()?),
            ("b_dec".into(), parts.b_dec.clone()),
        ]);
        if let Some(w_skip) = &parts.w_skip {
            tensors.insert("W_skip".into(), w_skip.t()?.contiguous()?);
        }
        if let Activation::JumpRelu { threshold } = &parts.activation {
            // A threshold below 0 is ReLU here, and in circuit-tracer lets negative numbers pass.
            tensors.insert(THRESHOLD.into(), threshold.relu()?.to_dtype(dtype)?);
        }
        Ok(tensors)
    }

    /// The layer and the names of the two points within a block.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is not a transcoder that circuit-tracer loads.
    fn in_block(&self) -> Result<(usize, [String; 2])> {
        let parts = &*self.parts;
        let refused = |why: &str| Err(Error::argument(format!("the dictionary \"{}\" {why}", visible(&parts.name))));
        if !matches!(parts.activation, Activation::Relu | Activation::JumpRelu { .. }) {
            return refused("chooses its features neither by ReLU nor by thresholds: circuit-tracer loads no others.");
        }
        if parts.input_norm != InputNorm::None || parts.scaled_by_decoder_norm {
            return refused("scales what it reads or its features, for which circuit-tracer's files have no place.");
        }
        if self.n_writes() > 1 || parts.w_dec.rank() != 2 {
            return refused("is a layer of a cross-layer transcoder, which is not a set of transcoders.");
        }
        if self.d_in() != self.d_out() {
            return refused("writes another width than it reads: circuit-tracer has one for both.");
        }
        let (Some(HookPoint::Block(layer, site)), Some(HookPoint::Block(to, writes))) =
            (parts.expects.hook_in, parts.expects.hook_out)
        else {
            return refused(
                "does not say which points of a block it reads and writes: it is not a transcoder, or set them with_expects.",
            );
        };
        if layer != to {
            return refused(
                "reads one block and writes another: circuit-tracer's transcoders write the block that they read.",
            );
        }
        if site == Site::MlpHookIn && parts.expects.norms_folded == Some(true) {
            return refused(
                "reads what follows a norm whose weights were folded: circuit-tracer's models have them in the norm.",
            );
        }
        let name = |site| HookPoint::Block(0, site).to_string().trim_start_matches("blocks.0.").to_string();
        Ok((layer, [name(site), name(writes)]))
    }
}

fn file(layer: usize) -> String {
    format!("layer_{layer}.safetensors")
}

/// The dictionaries by layer, and the configuration of the set.
///
/// # Errors
/// [`Error::Argument`] for dictionaries that are no set.
fn in_order(dictionaries: &[Dictionary]) -> Result<(Vec<&Dictionary>, String)> {
    let mut layers = BTreeMap::new();
    let Some(first) = dictionaries.first() else {
        return Err(Error::argument("no transcoders were given: a set has one for each layer from 0."));
    };
    let (_, points) = first.in_block()?;
    let like = |other: &Dictionary| {
        (other.d_sae(), other.d_in(), other.parts.expects.model.clone(), other.parts.w_skip.is_some())
    };
    for dictionary in dictionaries {
        let (layer, of_block) = dictionary.in_block()?;
        if of_block != points || like(dictionary) != like(first) {
            return Err(Error::argument(format!(
                "\"{}\" and \"{}\" are no set: transcoders of a set have the same points, model, width and number of features, and all \
                 or none have a skip connection.",
                visible(&first.parts.name),
                visible(&dictionary.parts.name)
            )));
        }
        if layers.insert(layer, dictionary).is_some() {
            return Err(Error::argument(format!(
                "there are two transcoders of layer {layer}: a set has one for each layer."
            )));
        }
    }
    if let Some(missing) = (0..layers.len()).find(|layer| !layers.contains_key(layer)) {
        return Err(Error::argument(format!(
            "there is no transcoder of layer {missing}: a set has one for each layer from 0."
        )));
    }
    let [reads, writes] = points;
    let mut config =
        format!("feature_input_hook: {reads}\nfeature_output_hook: {writes}\nmodel_kind: transcoder_set\n");
    if let Some(model) = &first.parts.expects.model {
        if model.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
            return Err(Error::argument(format!(
                "the model's name {model:?} cannot be written: set another one with_expects."
            )));
        }
        config.push_str(&format!("model_name: \"{model}\"\nscan: \"{model}\"\n"));
    }
    Ok((layers.into_values().collect(), config))
}
