//! Runs of the embedded model with random dictionaries spliced in, compared with SAELens' (`tests/fixtures/dictionaries_splice.py`).

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::support::assert_close;
use crate::support::fixture::Reference;
use crate::support::tolerance::{CLEAR, REORDERED};

/// The positions of which the file has inner hooks.
const KEPT: [u32; 2] = [1, 6];

const NAMES: [&str; 4] = ["z", "resid", "topk", "transcoder"];

/// The other architectures and normalisations.
const OTHERS: [&str; 5] = ["gated", "abstopk", "pursuit", "constant", "jumprelu_transcoder"];

fn expects(name: &str) -> Expects {
    let at = |name: &str| name.parse().unwrap();
    match name {
        "z" => Expects::at(at("blocks.1.attn.hook_z")),
        "resid" => Expects::at(at("blocks.1.hook_resid_post")),
        "topk" => Expects::at(at("blocks.2.hook_attn_out")),
        "transcoder" => Expects::between(at("blocks.2.ln2.hook_normalized"), at("blocks.2.hook_mlp_out")),
        "gated" => Expects::at(at("blocks.0.hook_resid_post")),
        "abstopk" => Expects::at(at("blocks.1.hook_mlp_out")),
        "pursuit" => Expects::at(at("blocks.2.hook_resid_pre")),
        "constant" => Expects::at(at("blocks.0.hook_attn_out")),
        "jumprelu_transcoder" => Expects::between(at("blocks.1.ln2.hook_normalized"), at("blocks.1.hook_mlp_out")),
        _ => Expects::between(at("blocks.3.hook_resid_mid"), at("blocks.3.hook_mlp_out")),
    }
}

fn dictionary(file: &Reference, name: &str) -> Result<Dictionary> {
    let get = |part: &str| file.get(&format!("{name}.{part}")).to_dtype(DType::F32);
    let (expects, w_dec) = (expects(name), get("W_dec")?);
    Dictionary::new(DictionaryParts {
        name: name.into(),
        w_enc: if name == "pursuit" { w_dec.t()?.contiguous()? } else { get("W_enc")? },
        b_enc: match name {
            "gated" | "pursuit" => Tensor::zeros(w_dec.dim(0)?, DType::F32, &Device::Cpu)?,
            _ => get("b_enc")?,
        },
        w_dec,
        b_dec: get("b_dec")?,
        b_in: if expects.is_transcoder() { None } else { Some(get("b_dec")?) },
        w_skip: if name == "skip" { Some(get("W_skip")?.t()?.contiguous()?) } else { None },
        activation: match name {
            "resid" | "jumprelu_transcoder" => Activation::JumpRelu { threshold: get("threshold")? },
            "topk" => Activation::TopK { k: 4 },
            "abstopk" => Activation::AbsTopK { k: 4 },
            "gated" => Activation::Gated { b_gate: get("b_gate")?, b_mag: get("b_mag")?, r_mag: get("r_mag")? },
            "pursuit" => Activation::MatchingPursuit {
                max_iterations: 4,
                residual_threshold: 0.01,
                stop_on_duplicate_support: true,
            },
            _ => Activation::Relu,
        },
        input_norm: match name {
            "resid" => InputNorm::LayerNorm,
            "constant" => InputNorm::ConstantNorm,
            _ => InputNorm::None,
        },
        scaled_by_decoder_norm: false,
        expects,
    })
}

fn plan(model: &HookedTransformer, dictionaries: &[Dictionary], error: ErrorTerm) -> Result<HookPlan> {
    model.splice(dictionaries, SpliceOptions { error, bos: AtBos::Spliced })
}

/// Every 71st logit of the last position.
fn logits(model: &HookedTransformer, tokens: &Tokens, plan: &HookPlan) -> Result<Tensor> {
    let logits = model.run_with_hooks(tokens, plan)?.0;
    let last = logits.narrow(1, logits.dim(1)? - 1, 1)?.squeeze(1)?.contiguous()?;
    let places: Vec<u32> = (0..last.dim(1)? as u32).step_by(71).collect();
    Ok(last.index_select(&Tensor::new(places, &Device::Cpu)?, 1)?)
}

#[test]
fn runs_and_inner_hooks_are_saelens() -> Result<()> {
    let file = Reference::load("dictionaries/splice.safetensors");
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let tokens = file.tokens("tokens");
    assert_close(&logits(&model, &tokens, &HookPlan::new())?, file.get("plain"), REORDERED, "without dictionaries");
    let all = NAMES.iter().map(|name| dictionary(&file, name)).collect::<Result<Vec<_>>>()?;
    let zero = || Edit::zero().pos(2..).feature(0..16);
    let mut compared = 0;
    for (mode, error) in [("none", ErrorTerm::None), ("error", ErrorTerm::Recomputed)] {
        let plan_of = |dictionaries: &[Dictionary]| plan(&model, dictionaries, error.clone());
        let of = |name: &str| file.get(&format!("{mode}.{name}"));
        let mut captured = plan_of(&all)?;
        for name in NAMES {
            let point = expects(name).writes().expect("it says so");
            for hook in file.names(&format!("{mode}.{name}.hook_")) {
                captured = captured.capture(format!("{point}.hook_{hook}"));
            }
        }
        let (_, cache) = model.run_with_hooks(&tokens, &captured)?;
        for name in NAMES {
            let point = expects(name).writes().expect("it says so");
            for hook in file.names(&format!("{mode}.{name}.hook_")) {
                let there = cache.get(format!("{point}.hook_{hook}"))?.narrow(0, 0, 1)?.contiguous()?;
                let there = there.index_select(&Tensor::new(&KEPT, &Device::Cpu)?, 1)?;
                assert_close(&there, of(&format!("{name}.hook_{hook}")), REORDERED, &format!("{mode} {name} {hook}"));
                compared += 1;
            }
            let alone = dictionary(&file, name)?;
            let edited = plan_of(&[alone])?.edit(format!("{point}.hook_sae_acts_post"), zero());
            assert_close(&logits(&model, &tokens, &edited)?, of(&format!("{name}.edited")), REORDERED, name);
        }
        assert_close(&logits(&model, &tokens, &plan_of(&all)?)?, of("logits"), REORDERED, mode);
        let edited = plan_of(&all)?.edit("sae_acts_post", zero());
        assert_close(&logits(&model, &tokens, &edited)?, of("edited"), REORDERED, mode);
        let upstream = plan_of(&all)?.edit(("resid_post", 0), Edit::scale(1.5));
        assert_close(&logits(&model, &tokens, &upstream)?, of("upstream"), REORDERED, mode);
        let change = (of("edited") - of("logits"))?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(change > CLEAR, "the edit does something: {change}");
    }
    assert_eq!(compared, 4 * (5 + 2), "every inner hook of SAELens");
    // SAELens leaves W_skip out where it splices; its transcoder's own forward does not.
    let skip = plan(&model, &[dictionary(&file, "skip")?], ErrorTerm::None)?;
    assert_close(&logits(&model, &tokens, &skip)?, file.get("none.skip.logits"), REORDERED, "the skip transcoder");
    Ok(())
}

#[test]
fn every_architecture_gives_saelens_logits() -> Result<()> {
    let file = Reference::load("dictionaries/splice.safetensors");
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let tokens = file.tokens("tokens");
    for name in OTHERS {
        let point = expects(name).writes().expect("it says so");
        let alone = [dictionary(&file, name)?];
        for (mode, error) in [("none", ErrorTerm::None), ("error", ErrorTerm::Recomputed)] {
            let plan = plan(&model, &alone, error)?;
            let of = |what: &str| file.get(&format!("{mode}.{name}.{what}"));
            assert_close(&logits(&model, &tokens, &plan)?, of("alone"), REORDERED, &format!("{mode} {name}"));
            if name == "pursuit" {
                // SAELens' matching pursuit does not call the hook of its activations, so nothing there can be edited.
                continue;
            }
            let edited = plan.edit(format!("{point}.hook_sae_acts_post"), Edit::zero().pos(2..).feature(0..16));
            let there = logits(&model, &tokens, &edited)?;
            assert_close(&there, of("alone_edited"), REORDERED, &format!("{mode} {name}, edited"));
        }
    }
    Ok(())
}
