//! Gemma Scope: JumpReLU dictionaries of Gemma 2 (`params.npz`) and of Gemma 3 (`params.safetensors`; of a cross-layer transcoder one
//! file for each layer).
//!
//! `W_enc [d_in, F]`, `W_dec [F, d_out]`, `b_enc`, `b_dec`, `threshold [F]`. In Gemma Scope 2 the names are in small letters, there may
//! be an `affine_skip_connection [d_in, d_out]`, and a cross-layer transcoder has `w_dec [F, n_layers, d_out]`, of which the part for
//! earlier layers is left out. `b_dec` is not subtracted from the input. The point follows from the names of the repository and the
//! folders.
//!
//! Sources: Lieberum et al. 2024 (arXiv 2408.05147); the loaders of SAELens 6.54 and circuit-tracer 0.5.0. Gemma Scope 2's transcoders
//! read `model.layers.N.pre_feedforward_layernorm.output`, as their `config.json` says, which is `mlp.hook_in` here.

use candle_core::{DType, Tensor};

use super::files::Files;
use super::keys::Keys;
use super::options::DictionaryOptions;
use super::saelens::scaling_factor;
use super::unread::{Opened, Unread};
use super::weights::Weights;
use crate::dictionaries::architecture::Architecture;
use crate::dictionaries::expects::{Card, Expects};
use crate::dictionaries::input::InputNorm;
use crate::dictionaries::parts::{Activation, DictionaryParts};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};

const NPZ: &str = "params.npz";
const SAFETENSORS: &str = "params.safetensors";

/// What the names of folders and files say.
#[derive(Clone)]
struct Named {
    file: String,
    called: String,
    layer: Option<usize>,
    cross_layer: bool,
    /// Trained on token embeddings before they are scaled by `sqrt(d_model)`.
    of_embeddings: bool,
    expects: Expects,
}

/// The dictionaries of this format among the files.
///
/// # Errors
/// [`Error::File`] for names that do not say which point it is.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let mut found = Vec::new();
    for file in files.names() {
        let base = file.rsplit('/').next().unwrap_or(file);
        let all = files.path_of(file).to_string_lossy().into_owned();
        let of_layer =
            known(&all).contains("clt") && base.ends_with(".safetensors") && number(base, "layer_").is_some();
        let cross_layer = of_layer && base.starts_with("params");
        if base == NPZ || base == SAFETENSORS || cross_layer {
            found.push(entry(files, named(files, file, &all, cross_layer, options)?));
        }
    }
    Ok(found)
}

fn entry(files: &Files, named: Named) -> Unread {
    let (files, name, expects) = (files.clone(), named.called.clone(), named.expects.clone());
    Unread { name, expects, remote: false, open: Box::new(move || open(files.weights(&named.file, None)?, &named)) }
}

/// The part of a path that says something: what stands before the repository's name is a folder of this disk. Without that name it is
/// the last folders, as many as a repository has (`layer_5/width_16k/average_l0_10`).
fn known(all: &str) -> &str {
    match all.rsplit_once("gemma-scope-") {
        Some((_, known)) => known,
        None => all.rmatch_indices('/').nth(3).map_or(all, |(at, _)| &all[at + 1..]),
    }
}

/// What the names say; `all` is the whole path, with that of the repository.
fn named(files: &Files, file: &str, all: &str, cross_layer: bool, options: &DictionaryOptions) -> Result<Named> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let second = !file.ends_with(NPZ);
    let known = known(all);
    let layer = number(known, "layer_");
    let of_embeddings = !second
        && known.split('/').any(|part| part == "embedding")
        && options.hook_in.is_none_or(|hook_in| hook_in == HookPoint::Embed);
    let repo = known.split('/').next().unwrap_or(known);
    let of = |kind: &str| !second && repo.len() < known.len() && repo.ends_with(kind);
    let has = |words: &[&str]| second && words.iter().any(|word| known.contains(word));
    let site = |site: Site| layer.map(|layer| HookPoint::Block(layer, site));
    let (hook_in, hook_out) = match () {
        () if of_embeddings => (Some(HookPoint::Embed), None),
        () if cross_layer || has(&["transcoder", "clt"]) => (site(Site::MlpHookIn), site(Site::MlpOut)),
        () if of("-transcoders") => (site(Site::Ln2Normalized), site(Site::MlpOut)),
        () if of("-res") || has(&["resid_post"]) => (site(Site::ResidPost), None),
        () if of("-mlp") || has(&["mlp_out"]) => (site(Site::MlpOut), None),
        () if of("-att") || has(&["attn_out"]) => (site(Site::Z), None),
        () => (None, None),
    };
    let hook_in = options.hook_in.or(hook_in);
    if hook_in.is_none() {
        let message = "does not say which point it reads: its folders are not called as in Gemma Scope's repositories \
                       (gemma-scope-2b-pt-res/layer_5/.., resid_post/layer_5_..). Set hook_in, and hook_out for a transcoder.";
        return Err(Error::file(files.path_of(file), message));
    }
    let mut expects = Expects {
        model: model(all),
        hook_in,
        hook_out: options.hook_out.or(hook_out),
        centred: Some(false),
        norms_folded: (second && hook_out.is_some()).then_some(false),
        prepend_bos: Some(true),
        context_size: Some(1024),
        card: Card { l0: number(all, "average_l0_").map(|l0| l0 as f64), explained_variance: None },
        ..Expects::default()
    };
    let config = if folder.is_empty() { "config.json".into() } else { format!("{folder}/config.json") };
    if second && let Some(bytes) = files.find(&config)? {
        let mut keys = Keys::read(files.path_of(&config), &bytes)?;
        match keys.text("architecture")?.as_deref() {
            Some("jump_relu") | None => (),
            Some(other) => return Err(keys.bad(format!("says that the architecture is {other:?}, not \"jump_relu\""))),
        }
        expects.model = keys.text("model_name")?.or(expects.model);
    }
    let base = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".safetensors");
    let called = match (folder, cross_layer) {
        (_, true) => file.trim_end_matches(".safetensors").into(),
        ("", _) if files.only().is_none() => files.called(),
        ("", _) => base.into(),
        (folder, _) => folder.into(),
    };
    Ok(Named { file: file.into(), called, layer, cross_layer, of_embeddings, expects })
}

/// The number behind the last occurrence of a word.
fn number(text: &str, word: &str) -> Option<usize> {
    let (_, rest) = text.rsplit_once(word)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The model that the name of a repository says, such as `gemma-2-2b` of `gemma-scope-2b-pt-res` and `gemma-3-1b-pt` of
/// `gemma-scope-2-1b-pt`.
fn model(all: &str) -> Option<String> {
    let (_, rest) = all.rsplit_once("gemma-scope-")?;
    let rest = rest.split('/').next().unwrap_or(rest);
    let (generation, rest) = match rest.strip_prefix("2-") {
        Some(rest) => (3, rest),
        None => (2, rest),
    };
    let mut words = rest.split('-');
    let (size, kind) = (words.next()?, words.next()?);
    Some(match (generation, kind) {
        (2, "pt") => format!("gemma-2-{size}"),
        _ => format!("gemma-{generation}-{size}-{kind}"),
    })
}

/// The name of a tensor in this file, which is in small letters in newer ones.
fn called(weights: &Weights, name: &'static str) -> &'static str {
    let small = match name {
        "W_enc" => "w_enc",
        "W_dec" => "w_dec",
        other => other,
    };
    if weights.has(small) { small } else { name }
}

fn open(weights: Weights, named: &Named) -> Result<Opened> {
    let (w_enc, w_dec) = (called(&weights, "W_enc"), called(&weights, "W_dec"));
    let [d_in, d_sae] = weights.dims(w_enc, "[d_in, d_sae]")?;
    let [d_out] = weights.dims("b_dec", "[d_out]")?;
    match (named.cross_layer, named.layer) {
        (true, Some(layer)) => {
            let [_, n_layers, _] = weights.dims(w_dec, "[d_sae, n_layers, d_out]")?;
            if layer >= n_layers {
                let why = format!("its {w_dec} is of {n_layers} layers, but its name says that it is layer {layer}");
                return Err(weights.wrong(why));
            }
            weights.expect(w_dec, &[d_sae, n_layers, d_out])?;
        }
        _ => weights.expect(w_dec, &[d_sae, d_out])?,
    }
    for name in ["b_enc", "threshold"] {
        weights.expect(name, &[d_sae])?;
    }
    let skip = weights.has("affine_skip_connection");
    if skip {
        weights.expect("affine_skip_connection", &[d_in, d_out])?;
    }
    weights.only(&[w_enc, w_dec, "b_enc", "b_dec", "threshold", "affine_skip_connection", "scaling_factor"])?;
    for name in weights.names() {
        weights.dtype(&name)?;
    }
    if d_in != d_out && !named.expects.is_transcoder() {
        return Err(
            weights.wrong(format!("it reads {d_in} numbers and writes {d_out}, but names one point: set hook_out"))
        );
    }
    let architecture = match (named.cross_layer, skip, named.expects.is_transcoder()) {
        (true, ..) => Architecture::CrossLayerTranscoder,
        (_, true, _) => Architecture::SkipTranscoder,
        (_, _, true) => Architecture::Transcoder,
        _ => Architecture::JumpRelu,
    };
    let (dtype, bytes) = (weights.dtype(w_enc)?, weights.bytes());
    let named = named.clone();
    let read = Box::new(move || parts(&weights, &named));
    Ok(Opened { architecture, d_in, d_sae, d_out, dtype, bytes, read })
}

fn parts(weights: &Weights, named: &Named) -> Result<DictionaryParts> {
    scaling_factor(weights)?;
    let mut w_enc = weights.take(called(weights, "W_enc"))?;
    let mut w_dec = weights.take(called(weights, "W_dec"))?;
    if let (true, Some(layer)) = (named.cross_layer, named.layer) {
        let writes = w_dec.dim(1)? - layer;
        w_dec = w_dec.narrow(1, layer, writes)?.contiguous()?;
    }
    if named.of_embeddings {
        // It was trained on embeddings as the model stores them, and hook_embed has them scaled.
        let scale = (w_enc.dim(0)? as f64).sqrt();
        let times = |tensor: &Tensor, by: f64| -> Result<Tensor> {
            Ok((tensor.to_dtype(DType::F32)? * by)?.to_dtype(tensor.dtype())?)
        };
        (w_enc, w_dec) = (times(&w_enc, scale.recip())?, times(&w_dec, scale)?);
    }
    let skip = weights.has("affine_skip_connection");
    Ok(DictionaryParts {
        name: named.called.clone(),
        w_enc,
        b_enc: weights.take("b_enc")?,
        w_dec,
        b_dec: weights.take("b_dec")?,
        b_in: None,
        w_skip: if skip { Some(weights.take("affine_skip_connection")?) } else { None },
        activation: Activation::JumpRelu { threshold: weights.take("threshold")? },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: named.expects.clone(),
    })
}
