//! `run_with_grads` against central differences on every kind of architecture, and against TransformerLens' backward
//! hooks (tests/fixtures/gradients.py).

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::hooks::{Edit, HookPlan, HookPoint, Site};
use candle_lens::metrics::Metric;
use candle_lens::model::{
    ActFn, AttentionDir, HookedTransformer, HookedTransformerConfig, Loss, NormalizationType, PositionalEmbeddingType,
    Processing, QkNormType, RunOptions,
};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};
use crate::support::sentence::sentence;

/// How far a slope may be from the gradient, relative to the gradient's length; the second term is f32's rounding of a
/// few metrics, divided by the step.
const TOLERANCE: f64 = 3e-3;
const ROUNDING: f64 = 2e-6;
/// The step along a direction, shorter where the metric is steep.
const STEP: f64 = 0.01;

/// A gradient that is not longer is 0 up to rounding, and has no direction.
const ZERO: f64 = 1e-6;

fn small() -> HookedTransformerConfig {
    HookedTransformerConfig {
        n_layers: 2,
        d_model: 8,
        n_heads: 4,
        d_mlp: Some(12),
        d_vocab: 11,
        n_ctx: 6,
        initializer_range: Some(0.5),
        ..Default::default()
    }
}

fn prompts() -> Tokens {
    Tokens::from_rows(vec![vec![1, 5, 2, 10, 3], vec![7, 7, 0, 4, 9]]).expect("equal lengths")
}

/// Numbers between -1 and 1 that no axis repeats.
fn scrambled(shape: &[usize], salt: usize) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 7919 + salt * 104_729 + 13) as f32 * 0.618_034).sin()).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn metrics(model: &HookedTransformer) -> Result<Vec<Metric>> {
    Ok(vec![
        Metric::logit_diff(&model.answers([(1u32, 2u32), (3u32, 1u32)])?),
        Metric::prob_diff(model, [vec![1u32, 4], vec![3]], [vec![2u32], vec![1, 5, 7]])?,
        Metric::log_prob(model, [6u32, 8])?,
        Metric::custom("half the first logits", |logits| logits.narrow(1, 0, 3)?.sqr()?.sum(1)? * 0.5),
    ])
}

/// Compares the gradient at each of these points with slopes of the metric along the gradient and along another direction.
fn check(what: &str, model: &HookedTransformer, tokens: &Tokens, metric: &Metric, points: &[HookPoint]) -> Result<()> {
    let (_, gradients) = model.run_with_grads(tokens, metric, points)?;
    assert_eq!(gradients.points().len(), points.len());
    for &point in points {
        let gradient = gradients.get(point)?;
        let length = numbers(&gradient.sqr()?.sum_all()?)[0].sqrt();
        assert!(length.is_finite(), "{what}: {point} has a gradient that is not finite");
        let step = STEP / length.max(1.0);
        let mut directions = vec![scrambled(gradient.dims(), 1)?];
        if length > ZERO {
            directions.push(gradient.clone());
        }
        for direction in directions {
            let norm = numbers(&direction.sqr()?.sum_all()?)[0].sqrt();
            let direction = (direction / norm)?;
            let at = |steps: f64| -> Result<f64> {
                let plan = HookPlan::new().edit(point, Edit::add((&direction * (steps * step))?)).watch(point);
                let run = model.run(tokens, plan, RunOptions::default())?;
                let logits = run.logits.expect("asked for");
                let last: Vec<Tensor> = tokens
                    .last_positions()
                    .iter()
                    .enumerate()
                    .map(|(b, &last)| logits.get(b)?.get(last))
                    .collect::<candle_core::Result<_>>()?;
                let both = Tensor::stack(&[Tensor::stack(&last, 0)?], 0)?.squeeze(0)?;
                Ok(value(metric, &both)?.iter().sum())
            };
            let expected = (8.0 * (at(1.0)? - at(-1.0)?) - (at(2.0)? - at(-2.0)?)) / (12.0 * step);
            let got: f64 = numbers(&gradient).iter().zip(numbers(&direction)).map(|(g, d)| g * d).sum();
            assert!(
                (got - expected).abs() <= TOLERANCE * length + ROUNDING / step,
                "{what}, {metric:?}: {point} has slope {expected:.6} but gradient {got:.6} (length {length:.4})"
            );
        }
    }
    Ok(())
}

/// The metrics of [`metrics`] once more, in f64 and by hand.
fn value(metric: &Metric, logits: &Tensor) -> Result<Vec<f64>> {
    let width = logits.dim(1)?;
    let all = numbers(logits);
    let of = |b: usize, id: usize| all[b * width + id];
    let sum = |b: usize| (0..width).map(|id| of(b, id).exp()).sum::<f64>();
    Ok((0..2)
        .map(|b| match (metric.name(), b) {
            ("logit difference", 0) => of(b, 1) - of(b, 2),
            ("logit difference", _) => of(b, 3) - of(b, 1),
            ("probability difference", 0) => (of(b, 1).exp() + of(b, 4).exp() - of(b, 2).exp()) / sum(b),
            ("probability difference", _) => {
                (of(b, 3).exp() - of(b, 1).exp() - of(b, 5).exp() - of(b, 7).exp()) / sum(b)
            }
            ("log-probability", _) => of(b, 6 + 2 * b) - sum(b).ln(),
            _ => (0..3).map(|id| of(b, id).powi(2) / 2.0).sum(),
        })
        .collect())
}

fn is_split_input(point: &HookPoint) -> bool {
    matches!(point, HookPoint::Block(_, site) if site.row().is_split_input())
}

fn model(cfg: HookedTransformerConfig) -> Result<HookedTransformer> {
    let (model, variables) = HookedTransformer::trainable(cfg, 7, &Device::Cpu)?;
    for (salt, variable) in variables.iter().enumerate() {
        variable.set(&(variable.as_tensor() + (scrambled(variable.dims(), salt)? * 0.3)?)?)?;
    }
    Ok(model.without_weight_gradients())
}

/// Every point of the model, those that give each head its own input apart from the norm that they replace.
fn check_model(what: &str, cfg: HookedTransformerConfig, tokens: &Tokens) -> Result<()> {
    let model = model(cfg)?;
    let all: Vec<HookPoint> = HookPoint::all(&model.dims()).into_iter().filter(|p| *p != HookPoint::Tokens).collect();
    let (split, shared): (Vec<HookPoint>, Vec<HookPoint>) = all.into_iter().partition(is_split_input);
    for metric in &metrics(&model)? {
        check(what, &model, tokens, metric, &shared)?;
    }
    check(what, &model, tokens, &metrics(&model)?[0], &split)
}

#[test]
fn every_point_of_every_architecture() -> Result<()> {
    let tokens = prompts();
    let rotary = PositionalEmbeddingType::Rotary;
    check_model("GPT-2", small(), &tokens)?;
    check_model("attention only", HookedTransformerConfig { attn_only: true, ..small() }, &tokens)?;
    check_model("parallel", HookedTransformerConfig { parallel_attn_mlp: true, ..small() }, &tokens)?;
    let bidirectional = AttentionDir::Bidirectional;
    check_model("bidirectional", HookedTransformerConfig { attention_dir: bidirectional, ..small() }, &tokens)?;
    let llama = HookedTransformerConfig {
        normalization_type: NormalizationType::RMS,
        n_key_value_heads: Some(2),
        gated_mlp: true,
        act_fn: ActFn::Silu,
        positional_embedding_type: rotary,
        ..small()
    };
    check_model("Llama", llama.clone(), &tokens)?;
    let stablelm = HookedTransformerConfig {
        normalization_type: NormalizationType::LN,
        gated_mlp_biases: true,
        use_qk_norm: true,
        qk_norm_type: QkNormType::LNPerHead,
        // Of two numbers a layer norm leaves nothing but a sign.
        d_head: Some(8),
        rotary_dim: Some(2),
        ..llama.clone()
    };
    let gemma = HookedTransformerConfig {
        use_normalization_before_and_after: true,
        attn_scores_soft_cap: Some(3.0),
        output_logits_soft_cap: Some(5.0),
        window_size: Some(3),
        act_fn: ActFn::GeluNew,
        ..llama.clone()
    };
    check_model("Gemma 2", gemma, &tokens)?;
    check_model("StableLM 2", stablelm, &tokens)?;
    let olmo = HookedTransformerConfig {
        use_normalization_after_only: true,
        use_qk_norm: true,
        qk_norm_type: QkNormType::RMSAcrossHeads,
        ..llama
    };
    check_model("OLMo 2", olmo, &tokens)?;
    check_model(
        "no norm",
        HookedTransformerConfig { normalization_type: NormalizationType::None, ..small() },
        &tokens,
    )?;
    check_model("SoLU", HookedTransformerConfig { act_fn: ActFn::SoluLn, ..small() }, &tokens)
}

#[test]
fn padded_prompts_are_read_at_their_last_tokens() -> Result<()> {
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let tokens = Tokens::padded(vec![vec![1, 5, 2, 10, 3], vec![6, 2, 9]], 0, side)?;
        check_model(&format!("padded {side}"), small(), &tokens)?;
    }
    Ok(())
}

/// The prompts of tests/fixtures/patching.py; `other` is 0 for the clean ones and 9 for the corrupted.
pub fn prompts_of_fixtures(other: u32) -> Tokens {
    let row =
        |seed: u32| (0..7).map(|i| (seed * 7 + i * 5 + if i == 2 || i == 4 { other } else { 0 }) % 29 + 1).collect();
    Tokens::from_rows([1, 2, 3].map(row).to_vec()).expect("rows of one length")
}

#[test]
fn gradients_are_those_of_transformer_lens() -> Result<()> {
    let (model, reference) = (tiny_model(Processing::default()), Reference::load("gradients.safetensors"));
    let tokens = prompts_of_fixtures(9);
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let names = reference.names("gradient.");
    assert!(names.len() > 30, "{names:?}");
    let (values, gradients) = model.run_with_grads(&tokens, &metric, names.clone())?;
    let mut agreement = Agreement::default();
    let values: Vec<f32> = values.values().iter().copied().collect();
    agreement.check("metric", &Tensor::from_vec(values, 3, &Device::Cpu)?, reference.get("corrupted"));
    for name in &names {
        let expected = reference.get(&format!("gradient.{name}"));
        agreement.check(name, &gradients.get(name)?, expected);
        assert!(numbers(expected).iter().any(|x| x.abs() > ZERO), "{name}: the reference is zeros");
    }
    agreement.finish("gradients");
    Ok(())
}

#[test]
fn a_run_under_edits_gives_gradients_of_any_number() -> Result<()> {
    let (model, tokens) = (model(small())?, prompts());
    let plan = HookPlan::new()
        .edit(("z", 0), Edit::zero())
        .edit(("resid_post", 1), Edit::scale(2.0))
        .watch("z")
        .watch(("q", 0))
        .watch("resid_post");
    let options = RunOptions { loss: Loss::Mean, ..Default::default() };
    let run = model.run(&tokens, &plan, &options)?;
    let gradients = run.taps.gradients(&run.loss.clone().expect("asked for"))?;
    // What is watched is behind the edit, so that z 0 itself still reaches the loss, but what z 0 is made of does not.
    assert_eq!(gradients.zero_by_structure(), [HookPoint::Block(0, Site::Q)]);
    sentence(gradients.get(("q", 0)), &["structurally zero", "blocks.0.attn.hook_q"]);
    assert!(numbers(&gradients.activation(("z", 0))?).iter().all(|&x| x == 0.0));
    assert!(numbers(&gradients.get(("z", 0))?).iter().any(|&x| x != 0.0));
    assert!(plan.to_string().contains("watch z"));
    // The same numbers without watching.
    let plain = model.run(&tokens, HookPlan::new().edit(("z", 0), Edit::zero()), &options)?;
    let watched = model.run(&tokens, HookPlan::new().edit(("z", 0), Edit::zero()).watch("z"), &options)?;
    assert_eq!(numbers(&plain.logits.expect("asked for")), numbers(&watched.logits.expect("asked for")));
    Ok(())
}

#[test]
fn what_has_no_gradient_is_refused() -> Result<()> {
    let (model, tokens) = (model(small())?, prompts());
    let metric = Metric::logit_diff(&model.answers([(1u32, 2u32), (3u32, 1u32)])?);
    let none: [&str; 0] = [];
    sentence(model.run_with_grads(&tokens, &metric, none), &["no point was given"]);
    sentence(model.run_with_grads(&tokens, &metric, ["hook_zz"]), &["hook_z"]);
    sentence(model.run_with_grads(&tokens, &metric, ["hook_tokens"]), &["token ids", "embed"]);
    sentence(model.run_with_grads(&tokens, &metric, ["q_input", "normalized0ln1"]), &["is watched", "not used"]);
    sentence(model.run_with_grads(&tokens, &Metric::rank(&model, [1u32, 2])?, ["z"]), &["changes in steps"]);
    sentence(model.run_with_grads(&tokens, &Metric::kl(), ["z"]), &["clean run"]);
    let one = Metric::logit_diff(&model.answers([(1u32, 2u32)])?);
    sentence(model.run_with_grads(&tokens, &one, ["z"]), &["answers for 1 prompts", "there are 2"]);
    let taken_out = Metric::custom("largest", |logits| {
        let values = logits.max(1)?.to_vec1::<f32>()?;
        Tensor::from_vec(values, 2, &Device::Cpu)
    });
    sentence(model.run_with_grads(&tokens, &taken_out, ["z"]), &["\"largest\"", "tensor operations"]);
    let run = model.run(&tokens, HookPlan::new().watch("z"), RunOptions::default())?;
    let logits = run.logits.clone().expect("asked for");
    sentence(run.taps.gradients(&logits), &["one number"]);
    sentence(run.taps.gradients(&logits.detach().sum_all()?), &["does not depend on any watched point"]);
    let gradients = run.taps.gradients(&logits.sum_all()?)?;
    sentence(gradients.get("q0"), &["was not watched"]);
    let unwatched = model.run(&tokens, HookPlan::new(), RunOptions::default())?;
    sentence(unwatched.taps.gradients(&logits.sum_all()?), &["nothing was watched"]);
    sentence(model.run(&tokens, HookPlan::new().watch("z").budget(10), RunOptions::default()), &["budget"]);
    Ok(())
}
