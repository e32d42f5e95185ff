//! The autoencoders of Gao et al. 2024 (arXiv 2406.04093) for GPT-2: `LOCATION/autoencoders/LAYER.pt`.
//!
//! `f = act((s(x) - pre_bias) W_enc + latent_bias)`, `y = f W_dec + pre_bias` with s undone. Their rule: those with TopK read
//! layer-normed activations (`s`), those with ReLU (v1 and v4) read them as they are. The activation and its `k` are text and a
//! number among the tensors; three tensors of statistics are not used. They want a model whose writing weights are not centred.
//!
//! Source: `sparse_autoencoder/model.py` and `paths.py` of github.com/openai/sparse_autoencoder.

use std::path::Path;

use super::files::Files;
use super::layout::{Active, Layout, Matrix, Said};
use super::options::DictionaryOptions;
use super::unread::{Opened, Unread, unique_names};
use crate::dictionaries::expects::Expects;
use crate::dictionaries::input::InputNorm;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};
use crate::storage::TorchFile;

/// Beside the tensors: statistics, and the two that are not tensors.
const UNUSED: [&str; 5] = [
    "stats_last_nonzero",
    "latents_activation_frequency",
    "latents_mean_square",
    "activation",
    "activation_state_dict",
];

/// The dictionaries of this format among the files. Of a single file in another folder, what is in it decides.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for one file that is damaged.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let forced = options.format.is_some();
    let mut found: Vec<(String, Expects, Option<String>)> = Vec::new();
    for name in files.names().iter().filter(|name| name.ends_with(".pt")) {
        let path = files.path_of(name);
        let (location, layer) = place(&path);
        let numbered = layer.is_some() && (location.is_some() || forced);
        if numbered || files.only().is_some() && is_autoencoder(files, name)? {
            let hook_in = location.as_deref().zip(layer).and_then(|(location, layer)| read_at(location, layer));
            let (model, centred) = (Some("gpt2-small".into()), Some(false));
            let short = location.zip(layer).map(|(location, layer)| format!("{location}/{layer}"));
            found.push((name.clone(), Expects { model, hook_in, centred, ..Expects::default() }, short));
        }
    }
    let names = unique_names(found.iter().map(|(file, _, short)| (short.clone(), file.trim_end_matches(".pt"))));
    let unread = names.into_iter().zip(found).map(|(name, (file, expects, _))| {
        let (files, layout) = (files.clone(), Layout::of_linears(name.clone(), expects.clone()));
        let open = Box::new(move || open(&files, &file, layout.clone()));
        Unread { name, expects, remote: false, open }
    });
    Ok(unread.collect())
}

/// The location and the layer of `LOCATION/autoencoders/LAYER.pt`.
fn place(path: &Path) -> (Option<String>, Option<usize>) {
    let layer = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
    let mut above = path.iter().rev().skip(1).map(|part| part.to_string_lossy());
    let location = above.next().filter(|folder| folder == "autoencoders").and(above.next());
    (location.map(|location| location.into_owned()), layer)
}

/// The point of a location such as `resid_post_mlp_v5_32k`.
fn read_at(location: &str, layer: usize) -> Option<HookPoint> {
    let site = match location.split_once("_v").map_or(location, |(location, _)| location) {
        "mlp_post_act" => Site::MlpPost,
        "resid_delta_attn" => Site::AttnOut,
        "resid_delta_mlp" => Site::MlpOut,
        "resid_post_attn" => Site::ResidMid,
        "resid_post_mlp" => Site::ResidPost,
        _ => return None,
    };
    Some(HookPoint::Block(layer, site))
}

fn is_autoencoder(files: &Files, name: &str) -> Result<bool> {
    let path = files.on_disk(name)?;
    let file = TorchFile::open(&path)?;
    let has = |name: &&str| file.dict().is_ok_and(|dict| dict.has(name));
    Ok(["pre_bias", "latent_bias", "encoder.weight"].iter().all(has))
}

fn open(files: &Files, file: &str, layout: Layout) -> Result<Opened> {
    let weights = files.weights(file, None)?;
    let path = files.on_disk(file)?;
    let torch = TorchFile::open(&path)?;
    let dict = torch.dict().map_err(|error| error.in_file(&path))?;
    let active = match dict.text("activation") {
        None if dict.has("activation") => return Err(weights.wrong("its \"activation\" is not the name of a function")),
        None | Some("ReLU") => Active::Relu,
        Some("TopK") => {
            let state = dict.dict("activation_state_dict");
            let k = state.and_then(|state| state.size("k"));
            let k = k.ok_or_else(|| weights.wrong("it does not say how many features TopK keeps (k)"))?;
            match state.and_then(|state| state.text("postact_fn")) {
                Some("ReLU") => Active::TopK(k),
                other => {
                    return Err(weights.wrong(format!("its TopK is followed by {other:?}, and only ReLU is known")));
                }
            }
        }
        Some(other) => {
            return Err(weights.wrong(format!("its activation is {other:?}, and only ReLU and TopK are known")));
        }
    };
    let input_norm = if matches!(active, Active::TopK(_)) { InputNorm::LayerNorm } else { InputNorm::None };
    Layout {
        w_enc: Matrix::Turned("encoder.weight".into()),
        b_enc: Some("latent_bias".into()),
        b_dec: "pre_bias".into(),
        b_in: Some("pre_bias".into()),
        active,
        input_norm,
        unused: &UNUSED,
        ..layout
    }
    .opened(weights, None, Said::default())
}
