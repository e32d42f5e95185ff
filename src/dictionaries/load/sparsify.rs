//! EleutherAI's sparsify: `HOOKPOINT/sae.safetensors` and `HOOKPOINT/cfg.json`.
//!
//! `f` = the k largest of `max((x - b_dec) W_enc + b_enc, 0)`, or the largest of each of k groups (`groupmax`), or the k largest in
//! absolute value (`signed`, in files of before 1.0); `y = f W_dec + b_dec + x W_skip`. A transcoder (`transcode`) subtracts nothing.
//!
//! The folder is called after a module of `transformers`, whose output is meant: `layers.5` is `blocks.5.hook_resid_post`,
//! `layers.5.mlp` is `blocks.5.hook_mlp_out`, and a transcoder of that reads `blocks.5.mlp.hook_in`. In families with a norm behind the
//! MLP (Gemma 2 and 3) the module's output comes before that norm, and no point here has it: the files do not say the
//! model, so this is for the caller to know. Weights of `transformers` are not processed.
//!
//! Source: `sparsify/sparse_coder.py`, `config.py` and `fused_encoder.py` of eai-sparsify 1.3.3.

use super::files::Files;
use super::keys::Keys;
use super::layout::{Active, Layout, Matrix, Said};
use super::options::DictionaryOptions;
use super::unread::{Opened, Unread};
use super::weights::Weights;
use crate::dictionaries::expects::Expects;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae.safetensors";

/// What the configuration says.
#[derive(Clone)]
struct Config {
    active: Active,
    transcode: bool,
    skip: bool,
    said: Said,
    expects: Expects,
}

/// The dictionaries of this format among the files.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a configuration that is missing, damaged or not understood.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let folders = files.names().iter().filter_map(|name| name.strip_suffix(WEIGHTS));
    let folders = folders.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    folders.map(|folder| entry(files, folder, options)).collect()
}

fn entry(files: &Files, folder: &str, options: &DictionaryOptions) -> Result<Unread> {
    let name = match folder.trim_end_matches('/') {
        "" => files.called(),
        folder => folder.into(),
    };
    let path = format!("{folder}{CONFIG}");
    let Some(bytes) = files.find(&path)? else {
        let message = format!("has no {CONFIG} beside it, which says what the numbers mean: fetch both.");
        return Err(Error::file(files.path_of(&format!("{folder}{WEIGHTS}")), message));
    };
    let module = name.rsplit('/').next().unwrap_or(&name);
    let config = read(Keys::read(files.path_of(&path), &bytes)?, module, options)?;
    let (files, file, called) = (files.clone(), format!("{folder}{WEIGHTS}"), name.clone());
    let expects = config.expects.clone();
    let open = Box::new(move || open(files.weights(&file, None)?, &config, called.clone()));
    Ok(Unread { name, expects, remote: false, open })
}

fn read(mut keys: Keys, module: &str, options: &DictionaryOptions) -> Result<Config> {
    let k = keys.need_size("k")?;
    let d_in = keys.need_size("d_in")?;
    let (latents, expansion) = (keys.size("num_latents")?, keys.size("expansion_factor")?);
    let d_sae = match (latents, expansion) {
        (Some(latents), _) if latents > 0 => Some(latents),
        (_, expansion) => expansion.and_then(|factor| d_in.checked_mul(factor)),
    };
    let signed = keys.flag("signed")?.unwrap_or(false);
    let active = match (keys.text("activation")?.as_deref(), signed) {
        (None | Some("topk"), false) => Active::TopK(k),
        (None | Some("topk"), true) => Active::AbsTopK(k),
        (Some("groupmax"), false) => Active::GroupMax(k),
        (Some(other), _) => {
            let signed = if signed { " and signed features" } else { "" };
            return Err(keys.bad(format!(
                "asks for the activation {other:?}{signed}, and topk, groupmax and signed topk are known"
            )));
        }
    };
    let (transcode, skip) = (keys.flag("transcode")?.unwrap_or(false), keys.flag("skip_connection")?.unwrap_or(false));
    let (hook_in, hook_out) = match points(module, transcode) {
        Some((reads, writes)) => (Some(reads), Some(writes)),
        None => (None, None),
    };
    let (centred, folded) = (Some(false), Some(false));
    let expects =
        Expects { hook_in, hook_out, centred, value_biases_folded: folded, norms_folded: folded, ..Expects::default() };
    // How it was trained.
    keys.leave(|key| ["normalize_decoder", "multi_topk"].contains(&key));
    keys.finish(&options.ignore_config_keys)?;
    Ok(Config { active, transcode, skip, said: Said { d_in: Some(d_in), d_sae }, expects })
}

/// What a dictionary of this module reads and writes.
fn points(module: &str, transcode: bool) -> Option<(HookPoint, HookPoint)> {
    let parts: Vec<&str> = module.split('.').collect();
    let at = parts.iter().position(|part| ["layers", "h"].contains(part))?;
    let layer: usize = parts.get(at + 1)?.parse().ok()?;
    let block = |site| HookPoint::Block(layer, site);
    match (parts.get(at + 2..)?, transcode) {
        ([], false) => Some((block(Site::ResidPost), block(Site::ResidPost))),
        ([], true) => Some((block(Site::ResidPre), block(Site::ResidPost))),
        (["mlp"], false) => Some((block(Site::MlpOut), block(Site::MlpOut))),
        (["mlp"], true) => Some((block(Site::MlpHookIn), block(Site::MlpOut))),
        (["attn" | "self_attn" | "attention"], false) => Some((block(Site::AttnOut), block(Site::AttnOut))),
        _ => None,
    }
}

fn open(weights: Weights, config: &Config, name: String) -> Result<Opened> {
    let layout = Layout::of_linears(name, config.expects.clone());
    Layout {
        w_dec: Matrix::As("W_dec".into()),
        b_in: (!config.transcode).then(|| "b_dec".into()),
        w_skip: config.skip.then(|| Matrix::Turned("W_skip".into())),
        active: config.active.clone(),
        ..layout
    }
    .opened(weights, None, config.said)
}
