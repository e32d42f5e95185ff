//! circuit-tracer's transcoders: a folder with `config.yaml` and, of a set, a `layer_L.safetensors` for each layer from 0; of a
//! cross-layer transcoder, `W_enc_L.safetensors` and `W_dec_L.safetensors`.
//!
//! `f = act(x W_enc^T + b_enc)` with ReLU, or JumpReLU where there is a threshold, and `W_enc [F, d_model]`.
//! A set writes `y = f W_dec + b_dec + x W_skip^T`. Of a cross-layer transcoder, layer l writes `f W_dec[:, j]`
//! to layer l + j, and `b_dec` of a layer belongs to what is written there; its skip connection is not stored. Hooks are those of a block,
//! such as `hook_resid_mid`. The models it loads are not processed.
//!
//! `transcoders` may list the files of a set in place of `layer_L.safetensors`, those on the hub as
//! `hf://owner/repo/path?revision=..`; they are of this format or Gemma Scope's.
//!
//! Source: `circuit_tracer/transcoder/*.py` and `circuit_tracer/utils/hf_utils.py` of circuit-tracer 0.5.0.

use super::files::Files;
use super::format::DictionaryFormat;
use super::keys::Keys;
use super::layout::{Active, Layout, Matrix, Said};
use super::options::DictionaryOptions;
use super::unread::{Opened, Unread};
use super::weights::Weights;
use super::{names, yaml};
use crate::dictionaries::expects::Expects;
use crate::dictionaries::parts::DictionaryParts;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};

pub(in crate::dictionaries) const CONFIG: &str = "config.yaml";
pub(in crate::dictionaries) const THRESHOLD: &str = "activation_function.threshold";

/// The longest configuration that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// What the configuration says.
struct Config {
    cross_layer: bool,
    model: Option<String>,
    reads: String,
    writes: String,
    /// The files of the layers, where they are named.
    listed: Option<Vec<String>>,
}

/// The dictionaries of this format among the files.
///
/// # Errors
/// [`Error::File`] for a configuration that is damaged or not understood, a set in which a layer is missing, or in which layers have
/// different numbers of features.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    if let Some(only) = files.only() {
        let is_layer = numbered(only, "layer_").or(numbered(only, "W_enc_")).or(numbered(only, "W_dec_")).is_some();
        return match is_layer || only == CONFIG {
            true => folder(files, "", options),
            false => Ok(Vec::new()),
        };
    }
    let folders = files.names().iter().filter_map(|name| name.strip_suffix(CONFIG));
    let folders = folders.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    let found = folders.map(|below| folder(files, below, options)).collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The layer of `layer_12.safetensors`.
fn numbered(name: &str, start: &str) -> Option<usize> {
    let digits = name.strip_prefix(start)?.strip_suffix(".safetensors")?;
    digits.parse().ok().filter(|layer: &usize| layer.to_string() == digits)
}

fn folder(files: &Files, below: &str, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let name = format!("{below}{CONFIG}");
    let path = files.path_of(&name);
    let Some(bytes) = files.find(&name)? else { return Ok(Vec::new()) };
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= LONGEST);
    let text =
        text.ok_or_else(|| Error::file(&path, "is not a configuration: it is not text, or is longer than 1 MB."))?;
    let keys = yaml::read(text).map_err(|why| {
        Error::file(&path, format!("cannot be read, because {why}. Of YAML, `key: value` and lists are understood."))
    })?;
    if !keys.contains_key("model_kind") {
        return Ok(Vec::new());
    }
    let config = read(Keys::of(path, keys), options)?;
    if let (Some(listed), false) = (&config.listed, config.cross_layer) {
        let layers = listed.iter().enumerate();
        return layers.map(|(layer, file)| listed_layer(files, below, &config, (layer, file), options)).collect();
    }
    if let (Some(layer), false) = (files.only().and_then(|only| numbered(only, "layer_")), config.cross_layer) {
        return Ok(vec![of_layer(files, below, &config, (layer, layer + 1))?]);
    }
    let start = if config.cross_layer { "W_enc_" } else { "layer_" };
    let mut layers: Vec<usize> =
        files.beside().iter().filter_map(|name| numbered(name.strip_prefix(below)?, start)).collect();
    layers.sort_unstable();
    if layers.is_empty() || layers.iter().enumerate().any(|(at, layer)| at != *layer) {
        let message = format!(
            "is of a set whose layers must all be there from 0, and {}: fetch all {start}*.safetensors.",
            if layers.is_empty() { "has none beside it".into() } else { format!("has {layers:?} beside it") }
        );
        return Err(Error::file(files.path_of(&name), message));
    }
    let n_layers = layers.len();
    if files.is_local() {
        same_width(files, below, start, n_layers)?;
    }
    let only = files.only().and_then(|only| ["W_enc_", "W_dec_"].iter().find_map(|start| numbered(only, start)));
    layers.retain(|layer| only.is_none_or(|only| only == *layer));
    layers.into_iter().map(|layer| of_layer(files, below, &config, (layer, n_layers))).collect()
}

/// # Errors
/// [`Error::File`] for a layer with another number of features than the first.
fn same_width(files: &Files, below: &str, start: &str, n_layers: usize) -> Result<()> {
    let mut first = None;
    for layer in 0..n_layers {
        let weights = files.weights(&format!("{below}{start}{layer}.safetensors"), None)?;
        let name = if start == "layer_" { "b_enc".into() } else { format!("b_enc_{layer}") };
        let [width] = weights.dims::<1>(&name, "one axis")?;
        if *first.get_or_insert(width) != width {
            return Err(weights.wrong(format!(
                "it has {width} features, and layer 0 of its set has {}: all layers must have as many",
                first.unwrap_or(width)
            )));
        }
    }
    Ok(())
}

fn read(mut keys: Keys, options: &DictionaryOptions) -> Result<Config> {
    let cross_layer = match keys.text("model_kind")?.as_deref() {
        Some("transcoder_set") => false,
        Some("cross_layer_transcoder") => true,
        other => {
            return Err(keys.bad(format!(
                "has model_kind = {}, and transcoder_set and cross_layer_transcoder are known",
                other.unwrap_or("null")
            )));
        }
    };
    let mut need = |key: &str| {
        let found = keys.text(key)?;
        found.ok_or_else(|| keys.bad(format!("has no {key:?}, the point of a block at which the transcoders are")))
    };
    let (reads, writes) = (need("feature_input_hook")?, need("feature_output_hook")?);
    let model = keys.text("model_name")?;
    // The MLP's output before the norm that Gemma 2 and 3 have behind it is not a point of the model here.
    let post_norm = model.as_ref().is_some_and(|model| ["gemma-2", "gemma-3"].iter().any(|name| model.contains(name)));
    if writes == "mlp.hook_out" && post_norm {
        return Err(keys.bad(
            "has transcoders that write the MLP's output before the norm behind it, which is not a point of a model here",
        ));
    }
    let listed = keys.texts("transcoders")?;
    if cross_layer && listed.is_some() {
        return Err(keys.bad(
            "lists the files of a cross-layer transcoder, and those are read beside it only: give the files themselves, of Gemma \
             Scope's format",
        ));
    }
    // Where it was fetched from, and the name of the pages that describe features.
    keys.leave(|key| ["scan", "repo_id", "revision", "subfolder"].contains(&key));
    keys.finish(&options.ignore_config_keys)?;
    let config = Config { cross_layer, model, reads, writes, listed };
    if options.hook_in.is_none() {
        for hook in [&config.reads, &config.writes] {
            if config.point(hook, 0).is_none() {
                return Err(keys.bad(format!("has transcoders at {hook:?}, which is not a point of a block here")));
            }
        }
    }
    Ok(config)
}

impl Config {
    /// A point of a block by circuit-tracer's name.
    fn point(&self, hook: &str, layer: usize) -> Option<HookPoint> {
        match hook {
            "mlp.hook_out" => Some(HookPoint::Block(layer, Site::MlpOut)),
            hook => format!("blocks.{layer}.{hook}").parse().ok(),
        }
    }

    fn expects(&self, layer: usize) -> Expects {
        Expects {
            model: self.model.clone(),
            hook_in: self.point(&self.reads, layer),
            hook_out: self.point(&self.writes, layer),
            centred: Some(false),
            norms_folded: Some(false),
            ..Expects::default()
        }
    }
}

/// What a layer in this folder is called.
fn called(below: &str, layer: usize) -> String {
    format!("{below}layer_{layer}")
}

fn of_layer(files: &Files, below: &str, config: &Config, (layer, n_layers): (usize, usize)) -> Result<Unread> {
    let (name, expects) = (called(below, layer), config.expects(layer));
    let (files, below, called, expected) = (files.clone(), below.to_string(), name.clone(), expects.clone());
    let open: Box<dyn Fn() -> Result<Opened>> = match config.cross_layer {
        false => Box::new(move || {
            per_layer(&files, &format!("{below}layer_{layer}.safetensors"), called.clone(), expected.clone())
        }),
        true => Box::new(move || {
            let open = |part: &str| files.weights(&format!("{below}{part}_{layer}.safetensors"), None);
            cross_layer(open("W_enc")?, open("W_dec")?, (layer, n_layers), called.clone(), expected.clone())
        }),
    };
    Ok(Unread { name, expects, remote: false, open })
}

/// One layer of a set.
fn per_layer(files: &Files, file: &str, name: String, expects: Expects) -> Result<Opened> {
    let weights = files.weights(file, None)?;
    let active = match weights.has(THRESHOLD) {
        true => Active::JumpRelu { threshold: THRESHOLD.into(), from_zero: true },
        false => Active::Relu,
    };
    let w_skip = weights.has("W_skip").then(|| Matrix::Turned("W_skip".into()));
    let layout = Layout { w_enc: Matrix::Turned("W_enc".into()), w_skip, active, ..Layout::plain(name, expects) };
    layout.opened(weights, None, Said::default())
}

/// One layer of a cross-layer transcoder.
fn cross_layer(
    weights: Weights,
    decoder: Weights,
    (layer, n_layers): (usize, usize),
    name: String,
    expects: Expects,
) -> Result<Opened> {
    let threshold = format!("threshold_{layer}");
    let active = match weights.has(&threshold) {
        true => Active::JumpRelu { threshold, from_zero: true },
        false => Active::Relu,
    };
    let layout = Layout {
        w_enc: Matrix::Turned(format!("W_enc_{layer}")),
        b_enc: Some(format!("b_enc_{layer}")),
        w_dec: Matrix::As(format!("W_dec_{layer}")),
        b_dec: format!("b_dec_{layer}"),
        active,
        writes: Some(n_layers - layer),
        ..Layout::plain(name, expects)
    };
    layout.opened(weights, Some(decoder), Said::default())
}

/// A layer whose file is named in the configuration.
fn listed_layer(
    files: &Files,
    below: &str,
    config: &Config,
    (layer, file): (usize, &str),
    options: &DictionaryOptions,
) -> Result<Unread> {
    let (name, expects) = (called(below, layer), config.expects(layer));
    let expected = expects.clone();
    let open: Box<dyn Fn() -> Result<Opened>> = match on_hub(file) {
        Some(hub) => {
            let (options, called) = (options.clone(), name.clone());
            Box::new(move || of_hub(&hub, &called, &expected, &options))
        }
        None => {
            let file = format!("{below}{file}");
            if !files.beside().contains(&file) {
                let path = files.path_of(&format!("{below}{CONFIG}"));
                let message = format!("lists {file:?}, which is neither beside it nor hf://owner/repo/path.");
                return Err(Error::file(path, message));
            }
            let (files, called) = (files.clone(), name.clone());
            Box::new(move || per_layer(&files, &file, called.clone(), expected.clone()))
        }
    };
    Ok(Unread { name, expects, remote: on_hub(file).is_some(), open })
}

/// The name here of `hf://owner/repo/path?revision=..`.
fn on_hub(uri: &str) -> Option<String> {
    let (path, query) = uri.strip_prefix("hf://")?.split_once('?').unwrap_or((uri.strip_prefix("hf://")?, ""));
    let mut parts = path.splitn(3, '/');
    let name = format!("{}/{}:{}", parts.next()?, parts.next()?, parts.next()?);
    match query.strip_prefix("revision=") {
        Some(revision) => Some(format!("{name}@{revision}")),
        None => Some(name),
    }
}

fn of_hub(hub: &str, name: &str, expects: &Expects, options: &DictionaryOptions) -> Result<Opened> {
    let files = names::files(hub, options)?;
    let Some(file) = files.only().map(String::from) else {
        return Err(Error::file(files.path(), "is listed as a transcoder of a set, and is not a file."));
    };
    if !file.ends_with(".npz") && !file.starts_with("params") {
        return per_layer(&files, &file, name.into(), expects.clone());
    }
    let found = DictionaryFormat::GemmaScope.entries(&files, options)?;
    let one = found.into_iter().next().ok_or_else(|| Error::file(files.path(), "is no dictionary of Gemma Scope."))?;
    let opened = (one.open)()?;
    let (name, expects, read) = (name.to_string(), expects.clone(), opened.read);
    let read = Box::new(move || {
        let parts = read()?;
        Ok(DictionaryParts { name: name.clone(), expects: expects.clone(), ..parts })
    });
    Ok(Opened { read, ..opened })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_on_the_hub_and_layers_in_names() {
        let name = on_hub("hf://google/gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76/params.npz");
        assert_eq!(
            name.as_deref(),
            Some("google/gemma-scope-2b-pt-transcoders:layer_0/width_16k/average_l0_76/params.npz")
        );
        assert_eq!(on_hub("hf://a/b/c/d.npz?revision=v1").as_deref(), Some("a/b:c/d.npz@v1"));
        assert_eq!([on_hub("hf://a/b"), on_hub("layer_0.safetensors")], [None, None]);
        assert_eq!(numbered("layer_12.safetensors", "layer_"), Some(12));
        assert_eq!(
            [numbered("layer_01.safetensors", "layer_"), numbered("layer_x.safetensors", "layer_")],
            [None, None]
        );
    }
}
