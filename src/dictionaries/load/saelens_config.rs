//! SAELens' `cfg.json`, of all versions.

use super::keys::Keys;
use super::options::DictionaryOptions;
use crate::dictionaries::expects::{Card, Expects};
use crate::dictionaries::input::InputNorm;
use crate::error::{Error, Result};
use crate::hooks::HookPoint;

/// What is computed.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Standard,
    Gated,
    TopK { k: usize },
    AbsTopK { k: usize },
    JumpRelu,
    MatchingPursuit { max_iterations: usize, residual_threshold: f64, stop_on_duplicate_support: bool },
}

/// What `cfg.json` says, whatever its version.
#[derive(Clone)]
pub(super) struct Config {
    pub kind: Kind,
    pub skip: bool,
    pub d_in: usize,
    pub d_sae: usize,
    pub d_out: usize,
    /// `b_dec` is subtracted from the input.
    pub b_dec_in: bool,
    pub input_norm: InputNorm,
    pub scaled_by_decoder_norm: bool,
    pub expects: Expects,
}

/// Keys that say how it was trained and change nothing of what it computes; in versions before 6 all of them stood here.
const TRAINING: &str = "act_store_device adam_beta1 adam_beta2 autocast autocast_lm aux_loss_coefficient b_dec_init_method \
    cached_activations_path checkpoint_path compile_llm compile_sae context_size d_sae_from_expansion dataset_path \
    dataset_trust_remote_code dead_feature_estimation_method dead_feature_threshold dead_feature_window \
    decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm decoder_orthogonal_init device dtype \
    eval_batch_size_prompts eval_every_n_wandb_logs exclude_special_tokens expansion_factor feature_reinit_scale \
    feature_sampling_method feature_sampling_window finetuning_method finetuning_tokens from_pretrained_path \
    ghost_grad_coefficient hf_hook_name hf_hook_name_out hook_layer hook_layer_out hook_point_layer \
    init_encoder_as_decoder_transpose is_dataset_tokenized jumprelu_bandwidth jumprelu_init_threshold l0_coefficient \
    l0_warm_up_steps l1_coefficient l1_warm_up_steps llm_batch_size_prompts llm_compilation_mode log_to_wandb lp_norm lr \
    lr_decay_steps lr_end lr_scheduler_name lr_warm_up_steps model_class_name mse_loss_normalization n_batches_in_buffer \
    n_checkpoints n_eval_batches n_restart_cycles neuronpedia_id noise_scale normalize_sae_decoder prepend_bos \
    resample_batches resume run_name sae_compilation_mode sae_lens_training_version sae_lens_version \
    scale_sparsity_penalty_by_decoder_norm seed seqpos seqpos_slice store_batch_size store_batch_size_prompts streaming \
    tokens_per_buffer total_training_steps total_training_tokens train_batch_size train_batch_size_tokens training_tokens \
    use_cached_activations use_ghost_grads use_sparse_activations verbose wandb_entity wandb_id wandb_log_frequency \
    wandb_project";

impl Config {
    /// # Errors
    /// [`Error::File`] for what is missing, contradicts itself, is not understood or cannot be applied.
    pub(super) fn read(mut keys: Keys, options: &DictionaryOptions) -> Result<Self> {
        let mut metadata = keys.object("metadata")?;
        let version = match keys.text("sae_lens_version")? {
            Some(version) => Some(version),
            None => metadata.text("sae_lens_version")?,
        };
        let old =
            version.and_then(|version| version.split('.').next()?.parse::<u32>().ok()).is_none_or(|major| major < 6);
        if old {
            upgrade(&mut keys)?;
        }
        let expects = expects(if old { &mut keys } else { &mut metadata }, old, options)?;
        let word = keys.text("architecture")?.unwrap_or_else(|| "standard".into());
        let (d_in, d_sae) = (keys.need_size("d_in")?, keys.need_size("d_sae")?);
        let base = word.strip_suffix("transcoder").map(|word| word.trim_end_matches('_'));
        let transcoder = base.is_some();
        let (base, skip) = match base {
            None => (word.as_str(), false),
            Some(base) => match base.strip_suffix("skip") {
                Some(base) => (base.trim_end_matches('_'), true),
                None => (base, false),
            },
        };
        let kind = match base {
            "standard" if !transcoder => Kind::Standard,
            "" => Kind::Standard,
            "jumprelu" => Kind::JumpRelu,
            "gated" if !transcoder => Kind::Gated,
            "topk" if !transcoder => Kind::TopK { k: keys.need_size("k")? },
            "abstopk" if !transcoder => Kind::AbsTopK { k: keys.need_size("k")? },
            "matching_pursuit" if !transcoder => Kind::MatchingPursuit {
                max_iterations: keys.size("max_iterations")?.unwrap_or(d_in),
                residual_threshold: keys.number("residual_threshold")?.unwrap_or(1e-2),
                stop_on_duplicate_support: keys.flag("stop_on_duplicate_support")?.unwrap_or(true),
            },
            _ => return Err(keys.bad(unknown(&word))),
        };
        let d_out = if transcoder { keys.need_size("d_out")? } else { d_in };
        let b_dec_in = keys.flag("apply_b_dec_to_input")?.unwrap_or(true);
        if transcoder && b_dec_in {
            let why = "says that a transcoder subtracts b_dec from its input (apply_b_dec_to_input), which is of the output: \
                       SAELens refuses this as well";
            return Err(keys.bad(why));
        }
        let input_norm = input_norm(&mut keys, transcoder, options)?;
        let scaled_by_decoder_norm = keys.flag("rescale_acts_by_decoder_norm")?.unwrap_or(false);
        reshape(&mut keys, expects.hook_in)?;
        keys.leave(|key| TRAINING.split_whitespace().any(|harmless| harmless == key));
        keys.finish(&options.ignore_config_keys)?;
        Ok(Self { kind, skip, d_in, d_sae, d_out, b_dec_in, input_norm, scaled_by_decoder_norm, expects })
    }
}

/// Why an architecture is refused.
fn unknown(word: &str) -> String {
    match word {
        "temporal" => {
            "is of a temporal autoencoder, which attends to earlier positions: this architecture is not read".into()
        }
        "batchtopk" | "matryoshka_batchtopk" => format!(
            "is of a {word} dictionary in training, without the threshold that replaces it afterwards: save it with \
             save_inference_model"
        ),
        _ => format!(
            "says that the architecture is {word:?}, which is not known: standard, gated, topk, abstopk, jumprelu, \
             matching_pursuit, transcoder, skip_transcoder, jumprelu_transcoder and jumprelu_skip_transcoder are"
        ),
    }
}

/// Brings keys from before version 6 to their newer names and meanings.
fn upgrade(keys: &mut Keys) -> Result<()> {
    for (old, new) in [
        ("hook_point", "hook_name"),
        ("hook_point_head_index", "hook_head_index"),
        ("activation_fn_str", "activation_fn"),
    ] {
        keys.rename(old, new);
    }
    let mut arguments = keys.object("activation_fn_kwargs")?;
    let activation = keys.text("activation_fn")?.unwrap_or_else(|| "relu".into());
    match activation.as_str() {
        "relu" => (),
        // Whatever `architecture` says.
        "topk" => {
            let k = arguments.need_size("k")?;
            keys.set("architecture", "topk".into());
            keys.set("k", k.into());
        }
        other => {
            return Err(keys.bad(format!("says that the activation function is {other:?}: relu and topk are read")));
        }
    }
    arguments.finish(&[])?;
    if keys.flag("finetuning_scaling_factor")? == Some(true) {
        let why =
            "says that features are scaled after training (finetuning_scaling_factor), which SAELens no longer does";
        return Err(keys.bad(why));
    }
    if keys.is_flag("normalize_activations") {
        let word = match keys.flag("normalize_activations")? {
            Some(true) => AVERAGE,
            _ => "none",
        };
        keys.set("normalize_activations", word.into());
    }
    Ok(())
}

/// What it expects of the model; `keys` are those that only say where it belongs.
fn expects(keys: &mut Keys, old: bool, options: &DictionaryOptions) -> Result<Expects> {
    let mut point = |key: &str, given: Option<HookPoint>| -> Result<Option<HookPoint>> {
        let name = keys.text(key)?;
        match (given, name) {
            (Some(given), _) => Ok(Some(given)),
            (None, Some(name)) => name.parse().map(Some).map_err(|error: Error| {
                keys.bad(format!("names a point that no model here has: {} Or set it in the options", error.sentence()))
            }),
            (None, None) => Ok(None),
        }
    };
    let (hook_in, hook_out) = (point("hook_name", options.hook_in)?, point("hook_name_out", options.hook_out)?);
    let model = keys.text("model_name")?;
    let head = keys.size("hook_head_index")?;
    if keys.size("hook_head_index_out")?.is_some() {
        return Err(keys.bad("is of a transcoder that writes one head (hook_head_index_out), which is not read"));
    }
    let prepend_bos = keys.flag("prepend_bos")?;
    let excludes_special_tokens = keys.is_true("exclude_special_tokens");
    let context_size = keys.size("context_size")?;
    let neuronpedia = keys.text("neuronpedia_id")?;
    let said = keys.has("model_from_pretrained_kwargs");
    let mut loading = keys.object("model_from_pretrained_kwargs")?;
    // Version 6 loads models without processing, apart from what is named here.
    let mut step = |key: &str| -> Result<Option<bool>> { Ok(loading.flag(key)?.or((said && !old).then_some(false))) };
    let kwargs = [step("center_writing_weights")?, step("fold_value_biases")?, step("fold_ln")?];
    let mut own = keys.object("candle_lens")?;
    let centred = own.flag("centred")?.or(kwargs[0]);
    let value_biases_folded = own.flag("value_biases_folded")?.or(kwargs[1]);
    let norms_folded = own.flag("norms_folded")?.or(kwargs[2]);
    let weights = own.text("weights")?;
    let card = Card { l0: own.number("l0")?, explained_variance: own.number("explained_variance")? };
    Ok(Expects {
        model,
        weights,
        hook_in,
        hook_out,
        head,
        centred,
        value_biases_folded,
        norms_folded,
        prepend_bos,
        excludes_special_tokens,
        context_size,
        neuronpedia,
        card,
    })
}

/// SAELens' name for inputs that are multiplied by one factor, so that their mean norm is `sqrt(d_in)`.
const AVERAGE: &str = "expected_average_only_in";

fn input_norm(keys: &mut Keys, transcoder: bool, options: &DictionaryOptions) -> Result<InputNorm> {
    let word = keys.text("normalize_activations")?.unwrap_or_else(|| "none".into());
    let norm = match word.as_str() {
        "none" => InputNorm::None,
        "layer_norm" => InputNorm::LayerNorm,
        "constant_norm_rescale" => InputNorm::ConstantNorm,
        // Never applied when it runs: the factor has to be in the weights.
        AVERAGE if options.norm_factor.is_some() => InputNorm::None,
        AVERAGE => {
            let why = format!(
                "says that inputs were multiplied by a factor in training (normalize_activations = {AVERAGE}), which the files do not \
                 hold: give it as norm_factor, 1.0 if it is folded into the weights already"
            );
            return Err(keys.bad(why));
        }
        "covariance_whitening" => {
            let why = "says that inputs are whitened (covariance_whitening), but the matrices are not in the files: fold them into \
                       the weights with SAELens' fold_activation_whitening";
            return Err(keys.bad(why));
        }
        other => return Err(keys.bad(format!("says that inputs are normalised by {other:?}, which is not known"))),
    };
    if word != AVERAGE && options.norm_factor.is_some_and(|factor| factor != 1.0) {
        return Err(keys.bad(format!(
            "does not multiply inputs by a factor (normalize_activations = {word}): leave norm_factor out"
        )));
    }
    match transcoder && norm != InputNorm::None {
        true => Err(keys.bad(format!(
            "normalises the input of a transcoder ({word}), which SAELens does not undo: it is not read"
        ))),
        false => Ok(norm),
    }
}

/// That heads are flattened where the point has them, and nowhere else.
fn reshape(keys: &mut Keys, hook_in: Option<HookPoint>) -> Result<()> {
    let word = keys.text("reshape_activations")?;
    let z = hook_in.is_none_or(|point| point.to_string().ends_with("hook_z"));
    match word.as_deref() {
        None | Some("none") => Ok(()),
        Some("hook_z") if z => Ok(()),
        Some("hook_z") => Err(keys.bad("flattens heads (reshape_activations = hook_z) at a point that has none")),
        Some(other) => Err(keys.bad(format!("reshapes activations by {other:?}, which is not known"))),
    }
}
