//! The identity rule and the half rule: values are the run's own, gradients those that the same rules have where they are written out at
//! the hook points of a run, and gradient times activation sums to the metric (conservation).

use std::sync::{Arc, Mutex};

use candle_lens::candle::{D, DType, Device, Tensor};
use candle_lens::experiment::Experiment;
use candle_lens::hooks::{AxisName, Edit, Gradients, HookPlan, HookPoint, Site};
use candle_lens::metrics::Metric;
use candle_lens::model::{
    ActFn, Frozen, HookedTransformer, HookedTransformerConfig, Processing, RELP, RunOptions, ops,
};
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::{Error, Result};

use super::frozen::{kinds, metric, more_kinds};
use super::run::prompts_of_fixtures;
use crate::support::fixture::{Agreement, Reference, numbers, path, tiny_model};
use crate::support::models::{every_model, pretrained};
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, TWO_WAYS, VISIBLE};

const ACTIVATIONS: [ActFn; 7] =
    [ActFn::Gelu, ActFn::GeluNew, ActFn::Relu, ActFn::Silu, ActFn::QuickGelu, ActFn::Solu, ActFn::SoluLn];

fn rows() -> Result<Tokens> {
    Tokens::from_rows(vec![vec![1, 5, 2, 10, 3], vec![7, 7, 0, 4, 9]])
}

#[test]
fn an_activation_passes_on_its_ratio() -> Result<()> {
    use candle_lens::candle::Var;
    let x = [-30.0f32, -4.0, -1.5, -0.75, -1e-4, 0.0, 1e-4, 0.25, 1.0, 2.5, 30.0];
    for act in ACTIVATIONS {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let x = Var::from_tensor(&Tensor::from_vec(x.to_vec(), (1, x.len()), &Device::Cpu)?.to_dtype(dtype)?)?;
            let y = ops::activate_by_ratio(x.as_tensor(), act)?;
            assert_eq!(numbers(&y), numbers(&ops::activate(x.as_tensor(), act)?), "{act:?}, {dtype:?}: values");
            let ratio = numbers(y.sum_all()?.backward()?.get(&x).expect("y depends on x"));
            assert!(ratio.iter().all(|ratio| ratio.is_finite()), "{act:?}, {dtype:?}: {ratio:?}");
            let rounding = match dtype {
                DType::F32 | DType::F64 => LAST_DIGITS,
                _ => HALF,
            };
            for ((ratio, x), y) in ratio.into_iter().zip(numbers(&x)).zip(numbers(&y)) {
                let off = (ratio * x - y).abs();
                assert!(off <= f64::from(rounding) * x.abs().max(1.), "{act:?}, {dtype:?}: {ratio} at {x}, off {off}");
            }
        }
    }
    Ok(())
}

/// What half precision rounds a number near 1 to.
const HALF: f32 = 1e-2;

/// The rules at hook points: every divisor and pattern detached, neurons rewritten from what they read.
fn by_hand(model: &HookedTransformer) -> HookPlan {
    let dims = model.dims();
    let constant = |plan: HookPlan, point: HookPoint| {
        plan.edit(point, Edit::custom("constant", |x: &Tensor, _: HookPoint| Ok::<_, Error>(x.detach())))
    };
    let mut plan = HookPlan::new();
    for point in HookPoint::all(&dims) {
        let name = point.to_string();
        if name.ends_with("hook_scale") || name.ends_with("hook_pattern") {
            plan = constant(plan, point);
        }
    }
    let layers = if dims.attn_only { 0 } else { dims.n_layers };
    for layer in 0..layers {
        plan = neurons(plan, model, layer);
    }
    plan
}

/// The neurons of a layer, `x * constant(act(x) / x)`, times half of each factor's gradient where there is a gate.
fn neurons(plan: HookPlan, model: &HookedTransformer, layer: usize) -> HookPlan {
    let (gated, act) = (model.cfg().gated_mlp, model.cfg().act_fn);
    let read: Arc<Mutex<Vec<Tensor>>> = Arc::default();
    let keep = |read: &Arc<Mutex<Vec<Tensor>>>| {
        let read = read.clone();
        Edit::custom("keep", move |x: &Tensor, _: HookPoint| {
            read.lock().expect("one thread").push(x.clone());
            Ok::<_, Error>(x.clone())
        })
    };
    let mut plan = plan.edit(HookPoint::Block(layer, Site::MlpPre), keep(&read));
    if gated {
        plan = plan.edit(HookPoint::Block(layer, Site::MlpPreLinear), keep(&read));
    }
    let after = if act == ActFn::SoluLn { Site::MlpMid } else { Site::MlpPost };
    let rewrite = Edit::custom("by the rules", move |post: &Tensor, _: HookPoint| {
        let read = std::mem::take(&mut *read.lock().expect("one thread"));
        let (x, value) = (&read[0], ops::activate(&read[0].detach(), act).expect("an activation"));
        let active = (x * value.div(&x.detach())?)?;
        let Some(linear) = read.get(1) else { return Ok(active) };
        let halves = (((&active * linear.detach())? + (active.detach() * linear)?)? / 2.)?;
        // A bias behind the product is a constant.
        Ok::<_, Error>((halves + (post.detach() - (&active * linear)?.detach())?)?)
    });
    plan.edit(HookPoint::Block(layer, after), rewrite)
}

/// The gradients of the same logit differences in a run under this plan.
fn gradients(model: &HookedTransformer, tokens: &Tokens, plan: HookPlan) -> Result<Gradients> {
    let plan = plan.watch(WATCHED);
    let run = model.without_weight_gradients().run(tokens, plan, RunOptions::default())?;
    let last = run.logits()?.narrow(1, tokens.pos() - 1, 1)?.squeeze(1)?;
    let column = |row: usize, id: usize| last.get(row)?.narrow(0, id, 1);
    let sum = ((column(0, 3)? - column(0, 1)?)? + (column(1, 4)? - column(1, 0)?)?)?;
    run.taps.gradients(&sum)
}

const WATCHED: [&str; 4] = ["resid_pre", "z", "attn_out", "resid_post"];

fn same_metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers([(3u32, 1u32), (4u32, 0u32)])?))
}

/// Every family and architecture, raw, folded and processed.
#[test]
fn gradients_are_those_of_the_rules_at_hook_points() -> Result<()> {
    let tokens = Tokens::from_rows(vec![vec![1, 5, 2, 7, 3], vec![7, 7, 0, 4, 2]])?;
    let mut agreement = Agreement::default();
    for (what, model) in every_model() {
        if model.cfg().d_vocab_out() < 5 || model.cfg().output_logits_soft_cap.is_some() {
            continue;
        }
        let frozen = model.with_frozen(RELP);
        assert_eq!(frozen.frozen(), RELP);
        assert_eq!(numbers(&frozen.forward(&tokens)?), numbers(&model.forward(&tokens)?), "{what}: values");
        let expected = gradients(&model, &tokens, by_hand(&model))?;
        let (_, got) = frozen.run_with_grads(&tokens, &same_metric(&model)?, WATCHED)?;
        assert_eq!(got.zero_by_structure(), expected.zero_by_structure(), "{what}");
        for (point, _, gradient) in got.iter() {
            // Weights of random models differ in size, and so do their gradients.
            let expected = expected.get(point)?;
            let size = numbers(&expected).iter().fold(1f64, |size, x| size.max(x.abs()));
            agreement.check(&format!("{what}: {point}"), &(gradient / size)?, &(expected / size)?);
        }
    }
    agreement.finish("rules at hook points");
    Ok(())
}

#[test]
fn gradients_are_those_of_pytorch_under_the_rules() -> Result<()> {
    let reference = Reference::load("frozen.safetensors");
    let model = tiny_model(Processing::default()).with_frozen(RELP);
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let mut agreement = Agreement::default();
    let names = reference.names("relp.");
    assert!(names.len() > 10, "{names:?}");
    let (_, gradients) = model.run_with_grads(prompts_of_fixtures(9), &metric, names.clone())?;
    for name in names {
        agreement.check(&name, &gradients.get(&name)?, reference.get(&format!("relp.{name}")));
    }
    agreement.finish("RelP");
    // The families, with gates, norms of queries and keys, parallel blocks, relu and both kinds of gelu.
    let reference = Reference::load("relp.safetensors");
    let mut agreement = Agreement::default();
    let families = ["bloom", "gemma", "gemma3", "gpt_neo", "gpt_neox", "gpt_neox_serial", "gptj", "llama", "mistral"];
    for family in families.into_iter().chain(["olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "stablelm"]) {
        let folder = path(&format!("families/{family}"));
        let model = pretrained(folder.to_str().expect("the path is UTF-8"), Some(Processing::NONE))?.with_frozen(RELP);
        let tokens = Reference::load(&format!("families/{family}/reference.safetensors")).tokens("tokens");
        let names = reference.names(&format!("{family}."));
        assert_eq!(names.len(), 8, "{family}");
        let (_, gradients) = model.run_with_grads(&tokens, &same_metric(&model)?, names.clone())?;
        for name in names {
            let (got, expected) = (gradients.get(&name)?, reference.get(&format!("{family}.{name}")));
            let size = numbers(expected).iter().fold(1f64, |size, x| size.max(x.abs()));
            agreement.check(&format!("{family}: {name}"), &(got / size)?, &(expected / size)?);
        }
    }
    agreement.finish("RelP in the families");
    Ok(())
}

/// Without biases, gradient times activation of each layer's residual stream sums to the metric.
#[test]
fn all_rules_conserve_the_metric() -> Result<()> {
    let tokens = rows()?;
    for (what, config) in more_kinds() {
        let mut configs = vec![(what.to_string(), config.clone())];
        if !config.attn_only {
            configs.extend(
                ACTIVATIONS.into_iter().filter(|act| *act != ActFn::SoluLn).map(|act_fn| {
                    (format!("{what}, {act_fn:?}"), HookedTransformerConfig { act_fn, ..config.clone() })
                }),
            );
            let capped = HookedTransformerConfig { output_logits_soft_cap: Some(2.), ..config };
            configs.push((format!("{what}, capped logits"), capped));
        }
        for (what, config) in configs {
            let (model, _) = HookedTransformer::trainable(config, 3, &Device::Cpu)?;
            let metric = metric(&model, 2)?;
            let sums = |model: &HookedTransformer| -> Result<(Vec<f32>, Vec<Vec<f64>>)> {
                let (values, gradients) = model.run_with_grads(&tokens, &metric, "resid_pre")?;
                let sum = |(_, x, gradient): (HookPoint, &Tensor, &Tensor)| {
                    Ok((x * gradient)?.to_dtype(DType::F64)?.flatten_from(1)?.sum(D::Minus1)?.to_vec1::<f64>()?)
                };
                Ok((values.values().iter().copied().collect(), gradients.iter().map(sum).collect::<Result<_>>()?))
            };
            let (values, by_layer) = sums(&model.with_frozen(RELP))?;
            for of_layer in &by_layer {
                for (sum, value) in of_layer.iter().zip(&values) {
                    let off = (sum - f64::from(*value)).abs();
                    assert!(off < f64::from(TWO_WAYS), "{what}: products sum to {sum}, the metric is {value}");
                }
            }
            assert!(values.iter().any(|value| value.abs() > VISIBLE), "{what}: nothing to compare, {values:?}");
        }
    }
    Ok(())
}

/// Padding on either side is masked, so it adds nothing.
#[test]
fn the_metric_is_conserved_over_padding() -> Result<()> {
    let (_, config) = kinds().remove(1);
    let (model, _) = HookedTransformer::trainable(config, 3, &Device::Cpu)?;
    let model = model.with_frozen(RELP);
    let rows = vec![vec![1, 5, 2, 10, 3], vec![7, 7, 0]];
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let tokens = Tokens::padded(rows.clone(), 0, side)?;
        let (values, gradients) = model.run_with_grads(&tokens, &metric(&model, 2)?, ("resid_pre", 1))?;
        let product = (gradients.get(("resid_pre", 1))? * gradients.activation(("resid_pre", 1))?)?;
        for (sum, value) in product.flatten_from(1)?.sum(1)?.to_vec1::<f32>()?.into_iter().zip(&values.values()) {
            assert!((sum - value).abs() < TWO_WAYS, "{side:?}: {sum} and {value}");
        }
    }
    Ok(())
}

#[test]
fn rules_that_a_model_does_not_have_are_refused() -> Result<()> {
    let model = tiny_model(Processing::default());
    let metric = || Ok::<_, Error>(Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?));
    let experiment = Experiment::new(&model, prompts_of_fixtures(0), prompts_of_fixtures(9), metric()?)?;
    sentence(experiment.with_frozen([Frozen::Gates]), &["Gates is a rule of gated MLPs", "give RELP"]);
    sentence(experiment.with_frozen([Frozen::NormScales, Frozen::Gates]), &["Gates is a rule"]);
    let (bare, _) = HookedTransformer::trainable(
        HookedTransformerConfig { attn_only: true, d_mlp: None, ..kinds().remove(0).1 },
        3,
        &Device::Cpu,
    )?;
    let pair = Tokens::from_rows(vec![vec![1, 5, 2, 10, 4], vec![7, 7, 0, 4, 8]])?;
    let bare = Experiment::new(&bare, rows()?, pair, super::frozen::metric(&bare, 2)?)?;
    sentence(bare.with_frozen([Frozen::Mlps]), &["Mlps is a rule of MLPs"]);
    sentence(bare.with_frozen([Frozen::ActivationRatios]), &["activation functions"]);
    assert!(bare.with_frozen(RELP).is_ok() && bare.with_frozen([]).is_ok());
    // Titles name the rules, and the runs are the same.
    let relp = experiment.with_frozen(RELP)?;
    assert_eq!((relp.clean(), relp.corrupted()), (experiment.clean(), experiment.corrupted()));
    let title = relp.attribution("z")?.sweep("z", &[AxisName::Layer])?.raw.title;
    assert!(title.ends_with("estimated by gradients with RelP"), "{title}");
    sentence(relp.attribution(("q", "z")), &["no gradient of the metric reaches", "with_frozen([])"]);
    sentence(relp.integrated_gradients("z", 4), &["frozen parts"]);
    Ok(())
}
