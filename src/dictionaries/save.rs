//! Dictionaries to files: a folder of SAELens' form, `cfg.json` beside `sae_weights.safetensors`, which SAELens 6 reads too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::dictionary::Dictionary;
use super::input::InputNorm;
use super::parts::{Activation, DictionaryParts};
use crate::error::{Error, Result};
use crate::files::{Part, VERSION};
use crate::hooks::{HookPoint, Site};
use crate::storage;
use crate::visible::visible;
use crate::wide;

/// The version of SAELens whose form is written.
const FORM: &str = "6.54.12";

impl Dictionary {
    /// Saves it into `folder` as SAELens does, with its dtype and with what it expects of the model;
    /// [`Dictionary::from_pretrained`] and SAELens' `SAE.load_from_disk` read it back.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let folder = std::env::temp_dir().join("candle-lens-example-dictionary");
    /// let dictionary = Dictionary::from_pretrained("tiny/z2")?;
    /// dictionary.save_pretrained(&folder)?;
    /// let again = Dictionary::from_pretrained(folder.to_string_lossy())?;
    /// assert_eq!(again.expects(), dictionary.expects());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be written; [`Error::Argument`] for what SAELens' form cannot say: the largest feature of
    /// each group, cross-layer transcoders, transcoders that choose the largest features.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let (config, tensors) = self.to_sae_lens()?;
        fs::create_dir_all(folder)
            .map_err(|error| Error::file(folder, format!("the folder could not be made ({error}).")))?;
        let weights = storage::part(&folder.join("sae_weights.safetensors"), &BTreeMap::new(), &tensors)?;
        let config = serde_json::to_string_pretty(&config).expect("a JSON value") + "\n";
        let config = Part::write(&folder.join("cfg.json"), |out| out.write_all(config.as_bytes()))?;
        config.clear_place()?;
        weights.give_name()?;
        config.give_name()
    }

    /// The configuration and the tensors.
    fn to_sae_lens(&self) -> Result<(Value, BTreeMap<String, Tensor>)> {
        let parts = &*self.parts;
        let mut config = Map::new();
        config.insert("architecture".into(), self.sae_lens_architecture()?.into());
        config.insert("d_in".into(), self.d_in().into());
        config.insert("d_sae".into(), self.d_sae().into());
        if parts.expects.is_transcoder() {
            config.insert("d_out".into(), self.d_out().into());
        }
        // What SAELens computes in, whatever the file has: half precision would change its features.
        config.insert("dtype".into(), "float32".into());
        config.insert("device".into(), "cpu".into());
        let (subtracted, b_enc) = self.input_bias()?;
        config.insert("apply_b_dec_to_input".into(), subtracted.into());
        let norm = match parts.input_norm {
            InputNorm::None => "none",
            InputNorm::LayerNorm => "layer_norm",
            InputNorm::ConstantNorm => "constant_norm_rescale",
        };
        config.insert("normalize_activations".into(), norm.into());
        let reads_heads =
            parts.expects.head.is_none() && matches!(parts.expects.hook_in, Some(HookPoint::Block(_, Site::Z)));
        config.insert("reshape_activations".into(), if reads_heads { "hook_z" } else { "none" }.into());
        config.insert("metadata".into(), metadata(parts));

        let mut tensors =
            BTreeMap::from([("W_dec".to_string(), parts.w_dec.clone()), ("b_dec".into(), parts.b_dec.clone())]);
        let mut add = |name: &str, tensor: &Tensor| {
            tensors.insert(name.into(), tensor.clone());
        };
        match &parts.activation {
            Activation::MatchingPursuit { max_iterations, residual_threshold, stop_on_duplicate_support } => {
                config.insert("max_iterations".into(), (*max_iterations).into());
                config.insert("residual_threshold".into(), json!(residual_threshold));
                config.insert("stop_on_duplicate_support".into(), (*stop_on_duplicate_support).into());
            }
            Activation::Gated { b_gate, b_mag, r_mag } => {
                let all = [("W_enc", &parts.w_enc), ("b_gate", b_gate), ("b_mag", b_mag), ("r_mag", r_mag)];
                all.into_iter().for_each(|(name, tensor)| add(name, tensor));
            }
            other => {
                if let Activation::JumpRelu { threshold } = other {
                    add("threshold", threshold);
                }
                if let Activation::TopK { k } | Activation::AbsTopK { k } = other {
                    config.insert("k".into(), (*k).into());
                    config.insert("rescale_acts_by_decoder_norm".into(), parts.scaled_by_decoder_norm.into());
                }
                add("W_enc", &parts.w_enc);
                add("b_enc", &b_enc);
            }
        }
        if let Some(w_skip) = &parts.w_skip {
            // SAELens multiplies by its transpose.
            add("W_skip", &w_skip.t()?.contiguous()?);
        }
        Ok((config.into(), tensors))
    }

    /// # Errors
    /// [`Error::Argument`] for what SAELens has no name for.
    fn sae_lens_architecture(&self) -> Result<&'static str> {
        let parts = &*self.parts;
        let name = match (&parts.activation, parts.expects.is_transcoder(), parts.w_skip.is_some()) {
            _ if self.n_writes() > 1 || parts.w_dec.rank() == 3 => None,
            (Activation::Relu, false, false) => Some("standard"),
            (Activation::Relu, true, false) => Some("transcoder"),
            (Activation::Relu, true, true) => Some("skip_transcoder"),
            (Activation::JumpRelu { .. }, false, false) => Some("jumprelu"),
            (Activation::JumpRelu { .. }, true, false) => Some("jumprelu_transcoder"),
            (Activation::JumpRelu { .. }, true, true) => Some("jumprelu_skip_transcoder"),
            (Activation::TopK { .. }, false, false) => Some("topk"),
            (Activation::AbsTopK { .. }, false, false) => Some("abstopk"),
            (Activation::Gated { .. }, false, false) => Some("gated"),
            (Activation::MatchingPursuit { .. }, false, false) => Some("matching_pursuit"),
            _ => None,
        };
        let chooses = matches!(parts.activation, Activation::TopK { .. } | Activation::AbsTopK { .. });
        name.filter(|_| chooses || !parts.scaled_by_decoder_norm).ok_or_else(|| {
            Error::argument(format!(
                "the dictionary \"{}\" ({}) has no form in SAELens' files: keep it as the files that it came from.",
                visible(&parts.name),
                self.architecture()
            ))
        })
    }

    /// Whether the decoder's bias is what is subtracted from the input; if something else is, its product with `W_enc` goes into
    /// `b_enc`, which is exact.
    ///
    /// # Errors
    /// [`Error::Argument`] for another bias before a gate, whose two paths cannot take it up.
    fn input_bias(&self) -> Result<(bool, Tensor)> {
        let parts = &*self.parts;
        let tied = matches!(parts.activation, Activation::MatchingPursuit { .. });
        let Some(b_in) = &parts.b_in else {
            let numbers = parts.b_dec.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            // SAELens adds the bias of matching pursuit only where it was subtracted.
            return match tied && numbers.iter().any(|number| *number != 0.0) {
                true => Err(self.other_bias()),
                false => Ok((false, parts.b_enc.clone())),
            };
        };
        let numbers = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.to_dtype(DType::F32)?.to_vec1()?) };
        if numbers(b_in)? == numbers(&parts.b_dec)? {
            return Ok((true, parts.b_enc.clone()));
        }
        if tied || matches!(parts.activation, Activation::Gated { .. }) {
            return Err(self.other_bias());
        }
        let folded = wide::widened(b_in)?.unsqueeze(0)?.matmul(&wide::widened(&parts.w_enc)?)?.squeeze(0)?;
        Ok((false, (wide::widened(&parts.b_enc)? - folded)?.to_dtype(parts.b_enc.dtype())?))
    }

    fn other_bias(&self) -> Error {
        Error::argument(format!(
            "the dictionary \"{}\" subtracts another bias from its input than it adds to its output: SAELens' files cannot say so \
             for {}.",
            visible(&self.parts.name),
            self.architecture()
        ))
    }
}

/// What the dictionary expects of the model; under `candle_lens` what SAELens has no key for.
fn metadata(parts: &DictionaryParts) -> Value {
    let expects = &parts.expects;
    let hook = |point: Option<HookPoint>| point.map(|point| point.to_string());
    json!({
        "sae_lens_version": FORM,
        "model_name": expects.model,
        "hook_name": hook(expects.hook_in),
        "hook_name_out": if expects.is_transcoder() { hook(expects.hook_out) } else { None },
        "hook_head_index": expects.head,
        "prepend_bos": expects.prepend_bos,
        "context_size": expects.context_size,
        "neuronpedia_id": expects.neuronpedia,
        "exclude_special_tokens": expects.excludes_special_tokens,
        "candle_lens": {
            "version": VERSION,
            "weights": expects.weights,
            "centred": expects.centred,
            "value_biases_folded": expects.value_biases_folded,
            "norms_folded": expects.norms_folded,
            "l0": expects.card.l0,
            "explained_variance": expects.card.explained_variance,
        },
    })
}
