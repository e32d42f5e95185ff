//! dictionary_learning's trainers: `config.json` and `ae.pt`, a state dict.
//!
//! | class | activation | subtracted from x |
//! |---|---|---|
//! | `AutoEncoder` | ReLU | `bias` |
//! | `AutoEncoderNew` | ReLU | nothing |
//! | `GatedAutoEncoder` | gated | `decoder_bias` |
//! | `JumpReluAutoEncoder` | a threshold for each feature | nothing |
//! | `AutoEncoderTopK` | the k largest of a position | `b_dec` |
//! | `BatchTopKSAE`, `MatryoshkaBatchTopKSAE` | one threshold for all features | `b_dec` |
//!
//! Features of an `AutoEncoder` are reported as the library's `from_pretrained` does by default: times the norm of their decoder
//! row. The point is known where `submodule_name` is of the usual form, such as `resid_post_layer_8`; otherwise give `hook_in`. Models
//! were those of `transformers`, whose weights are not processed.
//!
//! Source: `dictionary_learning/dictionary.py` and `trainers/*.py` of dictionary-learning 0.1.0.

use super::files::Files;
use super::keys::Keys;
use super::layout::{Active, Layout, Said};
use super::options::DictionaryOptions;
use super::unread::{Opened, Unread};
use super::weights::Weights;
use crate::dictionaries::expects::Expects;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "ae.pt";

/// Keys of the trainers that say how it was trained.
const TRAINING: [&str; 32] = [
    "trainer_class",
    "lr",
    "steps",
    "auxk_alpha",
    "warmup_steps",
    "decay_start",
    "threshold_beta",
    "threshold_start_step",
    "top_k_aux",
    "seed",
    "device",
    "wandb_name",
    "l1_penalty",
    "resample_steps",
    "sparsity_warmup_steps",
    "bandwidth",
    "sparsity_penalty",
    "target_l0",
    "sparsity_function",
    "p_start",
    "p_end",
    "anneal_start",
    "anneal_end",
    "sparsity_queue_length",
    "n_sparsity_updates",
    "group_fractions",
    "group_weights",
    "group_sizes",
    "initial_sparsity_penalty",
    "sparsity_coeff",
    "save_dir",
    "layer",
];

/// What the configuration says.
#[derive(Clone)]
struct Config {
    class: String,
    k: Option<usize>,
    said: Said,
    expects: Expects,
}

/// The dictionaries of this format among the files.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a configuration that is damaged or not understood.
pub(super) fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let folders = files.names().iter().filter_map(|name| name.strip_suffix(WEIGHTS));
    let folders = folders.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    let mut found = Vec::new();
    for folder in folders {
        let config = format!("{folder}{CONFIG}");
        let Some(bytes) = files.find(&config)? else { continue };
        let config = read(Keys::read(files.path_of(&config), &bytes)?, options)?;
        let name = match folder.trim_end_matches('/') {
            "" => files.called(),
            folder => folder.into(),
        };
        let (files, file, called) = (files.clone(), format!("{folder}{WEIGHTS}"), name.clone());
        let expects = config.expects.clone();
        let open = Box::new(move || open(files.weights(&file, None)?, &config, called.clone()));
        found.push(Unread { name, expects, remote: false, open });
    }
    Ok(found)
}

fn read(mut keys: Keys, options: &DictionaryOptions) -> Result<Config> {
    let mut trainer = keys.object("trainer")?;
    let Some(class) = trainer.text("dict_class")? else {
        return Err(keys.bad("does not say which class of dictionary_learning it is (trainer.dict_class)"));
    };
    let layer = trainer.size("layer")?;
    let submodule = trainer.text("submodule_name")?;
    let hook_in = layer.zip(submodule).and_then(|(layer, submodule)| point(&submodule, layer));
    let config = Config {
        class,
        k: trainer.size("k")?,
        said: Said { d_in: trainer.size("activation_dim")?, d_sae: trainer.size("dict_size")? },
        expects: Expects {
            model: trainer.text("lm_name")?,
            hook_in,
            centred: Some(false),
            value_biases_folded: Some(false),
            norms_folded: Some(false),
            context_size: keys.object("buffer")?.size("ctx_len")?,
            ..Expects::default()
        },
    };
    trainer.leave(|key| TRAINING.contains(&key));
    trainer.finish(&options.ignore_config_keys)?;
    keys.finish(&options.ignore_config_keys)?;
    Ok(config)
}

/// The point of `resid_post_layer_8`.
fn point(submodule: &str, layer: usize) -> Option<HookPoint> {
    let site = match submodule.strip_suffix(&format!("_layer_{layer}")).unwrap_or(submodule) {
        "resid_post" => Site::ResidPost,
        "resid_pre" => Site::ResidPre,
        "mlp_out" => Site::MlpOut,
        "attn_out" | "attention_out" => Site::AttnOut,
        _ => return None,
    };
    Some(HookPoint::Block(layer, site))
}

fn open(weights: Weights, config: &Config, name: String) -> Result<Opened> {
    let linears = || Layout::of_linears(name.clone(), config.expects.clone());
    let plain = || Layout::plain(name.clone(), config.expects.clone());
    let b_dec_in = Some("b_dec".to_string());
    let layout = match config.class.as_str() {
        "AutoEncoder" => {
            Layout { b_dec: "bias".into(), b_in: Some("bias".into()), scaled_by_decoder_norm: true, ..linears() }
        }
        "AutoEncoderNew" => Layout { b_dec: "decoder.bias".into(), ..linears() },
        "GatedAutoEncoder" => Layout {
            b_enc: None,
            b_dec: "decoder_bias".into(),
            b_in: Some("decoder_bias".into()),
            active: Active::Gated { b_gate: "gate_bias", b_mag: "mag_bias", r_mag: "r_mag" },
            ..linears()
        },
        "JumpReluAutoEncoder" => {
            Layout { active: Active::JumpRelu { threshold: "threshold".into(), from_zero: false }, ..plain() }
        }
        "AutoEncoderTopK" => Layout {
            active: Active::TopK(k(&weights, config)?),
            b_in: b_dec_in,
            unused: &["k", "threshold"],
            ..linears()
        },
        "BatchTopKSAE" => {
            Layout { active: Active::OneThreshold("threshold".into()), b_in: b_dec_in, unused: &["k"], ..linears() }
        }
        "MatryoshkaBatchTopKSAE" => Layout {
            active: Active::OneThreshold("threshold".into()),
            b_in: b_dec_in,
            unused: &["k", "group_sizes"],
            ..plain()
        },
        other => {
            return Err(weights.wrong(format!(
                "its class is {other:?}, and AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder, AutoEncoderTopK, \
                 BatchTopKSAE and MatryoshkaBatchTopKSAE are known"
            )));
        }
    };
    layout.opened(weights, None, config.said)
}

/// How many features are kept: by the configuration, the file, or both.
fn k(weights: &Weights, config: &Config) -> Result<usize> {
    match (config.k, weights.has("k").then(|| weights.whole("k")).transpose()?) {
        (Some(said), Some(stored)) if said != stored => {
            Err(weights.wrong(format!("its configuration keeps {said} features, and the file says {stored}")))
        }
        (Some(k), _) | (None, Some(k)) => Ok(k),
        (None, None) => Err(weights.wrong("neither it nor its configuration says how many features are kept (k)")),
    }
}
