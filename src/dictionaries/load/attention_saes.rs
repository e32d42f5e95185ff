//! The attention SAEs of Kissane et al. 2024 (arXiv 2406.17759): `NAME.pt`, a state dict, and `NAME_cfg.json`.
//!
//! `f = max((x - b_dec) W_enc + b_enc, 0)`, `y = f W_dec + b_dec`, with z of all heads side by side as x. They were trained on models
//! with TransformerLens' default processing, so z has no `b_V`, and they are converted where it has
//! ([`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model)).
//!
//! Source: `common/torch_modules/autoencoder.py` and `train.py` of github.com/ckkissane/attention-output-saes.

use super::files::Files;
use super::keys::Keys;
use super::layout::{Layout, Said};
use super::options::DictionaryOptions;
use super::unread::{Unread, unique_names};
use crate::dictionaries::expects::Expects;
use crate::error::Result;

/// The settings of training and what follows from them.
const TRAINING: [&str; 33] = [
    "seed",
    "batch_size",
    "buffer_mult",
    "lr",
    "num_tokens",
    "l1_coeff",
    "beta1",
    "beta2",
    "dict_mult",
    "enc_dtype",
    "device",
    "reinit",
    "concat_heads",
    "resample_scheme",
    "anthropic_neuron_resample_scale",
    "dead_direction_cutoff",
    "re_init_every",
    "anthropic_resample_last",
    "resample_factor",
    "num_resamples",
    "wandb_project_name",
    "wandb_entity",
    "save_state_dict_every",
    "b_dec_init",
    "sched_type",
    "sched_epochs",
    "sched_lr_factor",
    "sched_warmup_epochs",
    "sched_finish",
    "anthropic_resample_batches",
    "eval_every",
    "model_batch_size",
    "buffer_size",
];

/// The dictionaries of this format among the files.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a configuration that is damaged or not understood.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let mut found = Vec::new();
    for stem in files.names().iter().filter_map(|name| name.strip_suffix(".pt")) {
        let config = format!("{stem}_cfg.json");
        let is_there = files.only().is_some() || files.names().contains(&config);
        if let Some(bytes) = if is_there { files.find(&config)? } else { None } {
            let keys = Keys::read(files.path_of(&config), &bytes)?;
            let (expects, said) = read(keys, options)?;
            found.push((format!("{stem}.pt"), expects, said));
        }
    }
    let short = |expects: &Expects| expects.hook_in.map(|hook| hook.to_string());
    let names = unique_names(found.iter().map(|(file, expects, _)| (short(expects), file.trim_end_matches(".pt"))));
    let unread = names.into_iter().zip(found).map(|(name, (file, expects, said))| {
        let (files, layout) = (files.clone(), Layout::plain(name.clone(), expects.clone()));
        let layout = Layout { b_in: Some("b_dec".into()), ..layout };
        let open = Box::new(move || layout.clone().opened(files.weights(&file, None)?, None, said));
        Unread { name, expects, remote: false, open }
    });
    Ok(unread.collect())
}

fn read(mut keys: Keys, options: &DictionaryOptions) -> Result<(Expects, Said)> {
    let said = Said { d_in: keys.size("act_size")?, d_sae: keys.size("dict_size")? };
    let act_name = keys.text("act_name")?;
    let hook_in = match (&act_name, options.hook_in) {
        (_, Some(hook)) => Some(hook),
        (Some(name), None) => {
            let hook =
                name.parse().map_err(|_| keys.bad(format!("has act_name = {name:?}, which is not a hook point")))?;
            Some(hook)
        }
        (None, None) => return Err(keys.bad("has no \"act_name\", the hook point that the dictionary reads")),
    };
    let head = if keys.takes("head", "cat") { None } else { keys.size("head")? };
    let expects = Expects {
        model: keys.text("model_name")?,
        hook_in,
        head,
        centred: Some(true),
        value_biases_folded: Some(true),
        norms_folded: Some(true),
        context_size: keys.size("seq_len")?,
        ..Expects::default()
    };
    // The layer and the site are in the name of the hook too.
    keys.leave(|key| TRAINING.contains(&key) || ["site", "layer", "name", "buffer_batches"].contains(&key));
    keys.finish(&options.ignore_config_keys)?;
    Ok((expects, said))
}
