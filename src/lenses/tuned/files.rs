//! Tuned lenses in files: our own, and those of the package `tuned-lens`.
//!
//! The package writes a folder with `config.json` and `params.pt`, whose `L.weight` (`[out, in]`) and `L.bias` are layer `L`'s; its map is
//! `h + h weight^T + bias` as here. The hash of the unembedding in its configuration cannot be compared: what it is of is not
//! among our files.
//!
//! Source: `tuned_lens/nn/lenses.py` of tuned-lens 0.2.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::{MadeFor, TunedLens};
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::hooks::check_free;
use crate::progress::Progress;
use crate::storage::{Tensors, restore, store, take};

/// What our own files are called inside.
const KIND: &str = "tuned lens";

const CONFIG: &str = "config.json";
const PARAMS: &str = "params.pt";

/// The configuration of the package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    base_model_name_or_path: String,
    d_model: usize,
    num_hidden_layers: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default)]
    base_model_revision: Option<String>,
    /// Under both of its spellings; a number in early files.
    #[serde(default, alias = "unemebd_hash", rename = "unembed_hash")]
    _unembed_hash: Option<Value>,
    #[serde(default)]
    lens_type: Option<String>,
}

fn yes() -> bool {
    true
}

impl TunedLens {
    /// The lens in a file that [`TunedLens::save`] wrote, or in a folder of the package `tuned-lens` (`config.json` and `params.pt`).
    /// Published ones are in the folder `lens` of <https://huggingface.co/spaces/AlignmentResearch/tuned-lens>; nothing in their files is
    /// run. Such a lens is for the model that it names, with weights that were not centred
    /// ([`HookedTransformer::from_pretrained_no_processing`](crate::model::HookedTransformer::from_pretrained_no_processing)).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let path = std::env::temp_dir().join("lens.safetensors");
    /// TunedLens::identity(&model)?.save(&path)?;
    /// let tuned = TunedLens::load(&path)?;
    /// assert_eq!(tuned.n_layers(), model.cfg().n_layers);
    /// // It is for the same weights, processed in the same way.
    /// let raw = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// assert!(tuned.read(&raw, "The keys", LensOptions::default()).is_err());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged or not a tuned lens, and for a configuration that is not understood.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let _loading = Progress::opaque("loading the tuned lens");
        let lens = if path.is_dir() { published(path) } else { saved(path) };
        lens.map_err(|error| match error {
            Error::File { .. } => error,
            error => error.in_file(path),
        })
    }

    /// Saves the lens with the provenance of its model in one file, which is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let parts = [("weights", &self.weights), ("biases", &self.biases)];
        let tensors = parts.map(|(name, part)| (name.to_string(), part.clone()));
        store(path.as_ref(), KIND, &(&self.made_for, &self.origin), &BTreeMap::from(tensors))
    }
}

fn saved(path: &Path) -> Result<TunedLens> {
    let ((made_for, origin), mut tensors): ((MadeFor, String), _) = restore(path, KIND)?;
    let (weights, biases) = (take(path, &mut tensors, "weights")?, take(path, &mut tensors, "biases")?);
    if !matches!(*weights.dims(), [_, rows, columns] if rows == columns) || weights.dtype() != DType::F32 {
        return Err(Error::file(path, "holds maps that are not square matrices of f32: save it again."));
    }
    TunedLens::of(weights, biases.to_dtype(DType::F32)?, made_for, origin)
}

fn published(folder: &Path) -> Result<TunedLens> {
    let path = folder.join(CONFIG);
    let read = fs::read(&path);
    let bytes = read.map_err(|error| {
        Error::file(&path, format!("cannot be read ({error}): a tuned lens is a folder with {CONFIG} and {PARAMS}."))
    })?;
    let config: Config = read_json(&bytes)
        .map_err(|error| Error::file(&path, format!("is not the configuration of a tuned lens ({error}).")))?;
    if let Some(other) = config.lens_type.as_deref().filter(|kind| *kind != "linear_tuned_lens") {
        let message = format!("is of a lens of the type {other:?}: linear_tuned_lens is read.");
        return Err(Error::file(&path, message));
    }
    let Config { d_model, num_hidden_layers: layers, bias, .. } = config;
    let path = folder.join(PARAMS);
    let file = Tensors::open(&path)?;
    let expected = layers.saturating_mul(1 + usize::from(bias));
    if file.len() != expected {
        let message =
            format!("has {} tensors, but a tuned lens of {layers} layers has {expected}: fetch it again.", file.len());
        return Err(Error::file(&path, message));
    }
    check_free(2 * file.bytes(), "this tuned lens", "free memory")?;
    let mut progress = Progress::of("loading the tuned lens", layers as u64, "layers");
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for layer in 0..layers {
        weights.push(part(&path, &file, &format!("{layer}.weight"), &[d_model, d_model])?.t()?.contiguous()?);
        biases.push(match bias {
            true => part(&path, &file, &format!("{layer}.bias"), &[d_model])?,
            false => Tensor::zeros(d_model, DType::F32, &Device::Cpu)?,
        });
        progress.step(1)?;
    }
    if weights.is_empty() {
        return Err(Error::file(&path, "has no layers: fetch it again."));
    }
    let revision = config.base_model_revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
    let origin = format!("{} for {}{revision}", folder.display(), config.base_model_name_or_path);
    let made_for = MadeFor::Name(config.base_model_name_or_path);
    TunedLens::of(Tensor::stack(&weights, 0)?, Tensor::stack(&biases, 0)?, made_for, origin)
}

/// A tensor of this shape, in f32.
///
/// # Errors
/// [`Error::File`] if it is missing or has another shape.
fn part(path: &Path, file: &Tensors, name: &str, shape: &[usize]) -> Result<Tensor> {
    let found = file.shape(name)?;
    if found != shape {
        return Err(Error::file(
            path,
            format!("has {name} of shape {found:?}, but its configuration means {shape:?}."),
        ));
    }
    Ok(file.tensor(name)?.to_dtype(DType::F32)?)
}
