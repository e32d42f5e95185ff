//! SAELens' folders: `cfg.json` and `sae_weights.safetensors`, of all versions of the configuration.
//!
//! Before version 6, everything stands at the top of `cfg.json` and much has a default; since then, what only says where the
//! dictionary belongs is in `metadata`. Tensors: `W_enc [d_in, F]`, `W_dec [F, d_out]`, `b_enc`, `b_dec`; gated `b_gate`, `b_mag`,
//! `r_mag` in place of `b_enc`; JumpReLU also `threshold`; skip transcoders `W_skip [d_out, d_in]`; matching pursuit only `W_dec`
//! and `b_dec`. `sparsity.safetensors` (the logarithms of firing rates) is not read.
//!
//! Source: `sae_lens/saes/*.py` and `sae_lens/loading/pretrained_sae_loaders.py` of SAELens 6.54.

use candle_core::{DType, Tensor};

use super::files::Files;
use super::keys::Keys;
use super::options::DictionaryOptions;
use super::saelens_config::{Config, Kind};
use super::unread::{Opened, Unread};
use super::weights::Weights;
use crate::dictionaries::architecture::Architecture;
use crate::dictionaries::parts::{Activation, DictionaryParts};
use crate::error::{Error, Result};

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

/// The dictionaries of this format among the files.
///
/// # Errors
/// [`Error::File`] for a configuration that is damaged or not understood.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let folders = files.names().iter().filter_map(|name| name.strip_suffix(WEIGHTS));
    let folders = folders.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    folders.map(|folder| entry(files, folder, options)).collect()
}

fn entry(files: &Files, folder: &str, options: &DictionaryOptions) -> Result<Unread> {
    let name = format!("{folder}{CONFIG}");
    let Some(bytes) = files.find(&name)? else {
        let message = format!("has no {CONFIG} beside it, which says what the numbers mean: fetch both.");
        return Err(Error::file(files.path_of(&format!("{folder}{WEIGHTS}")), message));
    };
    let config = Config::read(Keys::read(files.path_of(&name), &bytes)?, options)?;
    let (files, file) = (files.clone(), format!("{folder}{WEIGHTS}"));
    let called = match folder.trim_end_matches('/') {
        "" => files.called(),
        folder => folder.into(),
    };
    let expects = config.expects.clone();
    let open = {
        let called = called.clone();
        Box::new(move || open(files.weights(&file, None)?, &config, &called))
    };
    Ok(Unread { name: called, expects, remote: false, open })
}

/// Checks all shapes against the configuration.
fn open(weights: Weights, config: &Config, name: &str) -> Result<Opened> {
    let (d_in, d_sae, d_out) = (config.d_in, config.d_sae, config.d_out);
    let mut known: Vec<(&str, Vec<usize>)> = vec![("W_dec", vec![d_sae, d_out]), ("b_dec", vec![d_out])];
    match config.kind {
        Kind::MatchingPursuit { .. } => (),
        Kind::Gated => known.extend([
            ("W_enc", vec![d_in, d_sae]),
            ("b_gate", vec![d_sae]),
            ("b_mag", vec![d_sae]),
            ("r_mag", vec![d_sae]),
        ]),
        _ => known.extend([("W_enc", vec![d_in, d_sae]), ("b_enc", vec![d_sae])]),
    }
    if matches!(config.kind, Kind::JumpRelu) {
        known.push(("threshold", vec![d_sae]));
    }
    if config.skip {
        known.push(("W_skip", vec![d_out, d_in]));
    }
    for (tensor, shape) in &known {
        weights.expect(tensor, shape)?;
        weights.dtype(tensor)?;
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).chain(["scaling_factor"]).collect();
    weights.only(&names)?;
    let architecture = match (config.kind, config.expects.is_transcoder(), config.skip) {
        (_, _, true) => Architecture::SkipTranscoder,
        (_, true, _) => Architecture::Transcoder,
        (Kind::Standard, ..) => Architecture::Standard,
        (Kind::Gated, ..) => Architecture::Gated,
        (Kind::TopK { .. }, ..) => Architecture::TopK,
        (Kind::AbsTopK { .. }, ..) => Architecture::AbsTopK,
        (Kind::JumpRelu, ..) => Architecture::JumpRelu,
        (Kind::MatchingPursuit { .. }, ..) => Architecture::MatchingPursuit,
    };
    let (dtype, bytes) = (weights.dtype("W_dec")?, weights.bytes());
    let (config, name) = (config.clone(), name.to_string());
    let read = Box::new(move || parts(&weights, &config, &name));
    Ok(Opened { architecture, d_in, d_sae, d_out, dtype, bytes, read })
}

fn parts(weights: &Weights, config: &Config, name: &str) -> Result<DictionaryParts> {
    scaling_factor(weights)?;
    let (w_dec, mut b_dec) = (weights.take("W_dec")?, weights.take("b_dec")?);
    let zeros = |size: usize| Tensor::zeros(size, w_dec.dtype(), w_dec.device());
    let pursuit = matches!(config.kind, Kind::MatchingPursuit { .. });
    let w_enc = if pursuit { w_dec.t()? } else { weights.take("W_enc")? };
    let b_enc = match config.kind {
        Kind::MatchingPursuit { .. } | Kind::Gated => zeros(config.d_sae)?,
        _ => weights.take("b_enc")?,
    };
    let b_in = config.b_dec_in.then(|| b_dec.clone());
    if pursuit && b_in.is_none() {
        // SAELens adds the bias only where it was subtracted.
        b_dec = zeros(config.d_out)?;
    }
    let activation = match config.kind {
        Kind::Standard => Activation::Relu,
        Kind::Gated => Activation::Gated {
            b_gate: weights.take("b_gate")?,
            b_mag: weights.take("b_mag")?,
            r_mag: weights.take("r_mag")?,
        },
        Kind::TopK { k } => Activation::TopK { k },
        Kind::AbsTopK { k } => Activation::AbsTopK { k },
        Kind::JumpRelu => Activation::JumpRelu { threshold: weights.take("threshold")? },
        Kind::MatchingPursuit { max_iterations, residual_threshold, stop_on_duplicate_support } => {
            Activation::MatchingPursuit { max_iterations, residual_threshold, stop_on_duplicate_support }
        }
    };
    Ok(DictionaryParts {
        name: name.into(),
        w_enc,
        b_enc,
        w_dec,
        b_dec,
        b_in,
        w_skip: if config.skip { Some(weights.take("W_skip")?.t()?.contiguous()?) } else { None },
        activation,
        input_norm: config.input_norm,
        scaled_by_decoder_norm: config.scaled_by_decoder_norm,
        expects: config.expects.clone(),
    })
}

/// That the factors of features that old versions stored are all 1.
///
/// # Errors
/// [`Error::File`] if they are not: no version of SAELens that is in use applies them.
pub(super) fn scaling_factor(weights: &Weights) -> Result<()> {
    if !weights.has("scaling_factor") {
        return Ok(());
    }
    let factors = weights.take("scaling_factor")?.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    // The tolerance of torch.allclose, with which SAELens compares.
    match factors.iter().all(|factor| (factor - 1.0).abs() <= 1e-5) {
        true => Ok(()),
        false => Err(weights.wrong(
            "it has a scaling_factor for each feature that is not 1 everywhere, which SAELens itself no longer applies",
        )),
    }
}
