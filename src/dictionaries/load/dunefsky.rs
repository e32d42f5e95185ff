//! The transcoders of Dunefsky et al. 2024 (arXiv 2406.11944), and autoencoders of the same code:
//! `final_sparse_autoencoder_MODEL_HOOK_F.pt`, a dictionary of a `cfg` object and a `state_dict`.
//!
//! `f = max((x - b_dec) W_enc + b_enc, 0)`, `y = f W_dec + b_dec_out`; an autoencoder adds `b_dec`. The object is read as the data that
//! it was pickled as, without its class; where a file has none, the hook is that of the file's name. The models had
//! TransformerLens' default processing, so what is written is centred.
//!
//! Source: `sae_training/sparse_autoencoder.py` and `config.py` of github.com/jacobdunefsky/transcoder_circuits.

use super::files::Files;
use super::layout::{Layout, Said};
use super::options::DictionaryOptions;
use super::unread::{Opened, Unread, unique_names};
use crate::dictionaries::expects::Expects;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::storage::{TorchDict, TorchFile};

const START: &str = "final_sparse_autoencoder_";

/// The dictionaries of this format among the files. Of a single file under another name, what is in it decides.
///
/// # Errors
/// [`Error::File`] for one file that is damaged.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let mut found: Vec<(String, Expects)> = Vec::new();
    for name in files.names() {
        let file = name.rsplit('/').next().unwrap_or(name);
        if let Some(expects) = by_name(file) {
            found.push((name.clone(), expects));
        } else if files.only().is_some() && name.ends_with(".pt") && holds_state_dict(files, name)? {
            found.push((name.clone(), processed()));
        }
    }
    let short = |expects: &Expects| expects.hook_in.map(|hook| hook.to_string());
    let names = unique_names(found.iter().map(|(file, expects)| (short(expects), file.trim_end_matches(".pt"))));
    let unread = names.into_iter().zip(found).map(|(name, (file, expects))| {
        let (files, options) = (files.clone(), options.clone());
        let (called, expected) = (name.clone(), expects.clone());
        let open = Box::new(move || open(&files, &file, &called, &expected, &options));
        Unread { name, expects, remote: false, open }
    });
    Ok(unread.collect())
}

/// What every dictionary of this code expects.
fn processed() -> Expects {
    Expects { centred: Some(true), value_biases_folded: Some(true), norms_folded: Some(true), ..Expects::default() }
}

/// What `final_sparse_autoencoder_gpt2-small_blocks.5.ln2.hook_normalized_24576.pt` says. Files beside it with other endings hold
/// how often features fire.
fn by_name(file: &str) -> Option<Expects> {
    let (rest, features) = file.strip_prefix(START)?.strip_suffix(".pt")?.rsplit_once('_')?;
    features.parse::<usize>().ok()?;
    let (model, hook) = rest.split_once("_blocks.")?;
    let hook_in: HookPoint = format!("blocks.{hook}").parse().ok()?;
    let model = Some(model.to_string());
    Some(Expects { model, hook_in: Some(hook_in), hook_out: written(hook_in), ..processed() })
}

/// The point that a transcoder which reads this one writes, as far as that is usual.
fn written(hook_in: HookPoint) -> Option<HookPoint> {
    match hook_in {
        HookPoint::Block(layer, Site::Ln2Normalized) => Some(HookPoint::Block(layer, Site::MlpOut)),
        _ => None,
    }
}

fn holds_state_dict(files: &Files, name: &str) -> Result<bool> {
    let path = files.on_disk(name)?;
    let file = TorchFile::open(&path)?;
    Ok(file.dict().is_ok_and(|dict| dict.dict("state_dict").is_some_and(|state| state.has("W_enc"))))
}

fn open(files: &Files, file: &str, name: &str, expects: &Expects, options: &DictionaryOptions) -> Result<Opened> {
    let weights = files.weights(file, Some("state_dict"))?;
    let is_transcoder = weights.has("b_dec_out");
    let path = files.on_disk(file)?;
    let torch = TorchFile::open(&path)?;
    let mut expects = expects.clone();
    let said = match torch.dict().ok().and_then(|dict| dict.object("cfg").or(dict.dict("cfg"))) {
        Some(cfg) => {
            let wrong = |why: String| weights.wrong(why);
            read(cfg, is_transcoder, &mut expects, wrong)?
        }
        None => Said::default(),
    };
    if !is_transcoder {
        expects.hook_out = None;
    } else if expects.hook_out.or(options.hook_out).is_none() {
        return Err(Error::file(
            path,
            "holds a transcoder, but does not say which point it writes: give it as hook_out.",
        ));
    }
    let layout = Layout::plain(name.into(), expects);
    let b_dec = if is_transcoder { "b_dec_out" } else { "b_dec" };
    Layout { b_dec: b_dec.into(), b_in: Some("b_dec".into()), ..layout }.opened(weights, None, said)
}

/// What the attributes of the object say.
fn read(cfg: TorchDict, is_transcoder: bool, expects: &mut Expects, wrong: impl Fn(String) -> Error) -> Result<Said> {
    let point = |key: &str| -> Result<Option<HookPoint>> {
        let Some(name) = cfg.text(key) else { return Ok(None) };
        let parsed = name.parse().map(Some);
        parsed.map_err(|_| wrong(format!("its configuration has {key} = {name:?}, which is not a hook point")))
    };
    if let Some(said) = cfg.flag("is_transcoder").filter(|said| *said != is_transcoder) {
        let (a, b) = if said { ("a transcoder", "no b_dec_out") } else { ("no transcoder", "a b_dec_out") };
        return Err(wrong(format!("its configuration says that it is {a}, and it has {b}")));
    }
    expects.hook_in = point("hook_point")?.or(expects.hook_in);
    expects.hook_out = point("out_hook_point")?.or(expects.hook_out);
    expects.head = cfg.size("hook_point_head_index");
    expects.model = cfg.text("model_name").map(String::from).or(expects.model.take());
    expects.context_size = cfg.size("context_size");
    Ok(Said { d_in: cfg.size("d_in"), d_sae: cfg.size("d_sae") })
}
