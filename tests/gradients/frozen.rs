//! Gradients that treat parts of the model as constants, against TransformerLens with those parts detached
//! (tests/fixtures/frozen.py), and by identities: where all that is left is linear, products sum to the logit difference.

use candle_lens::Result;
use candle_lens::cache::Stack;
use candle_lens::candle::{DType, Device};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::AxisName;
use candle_lens::hooks::{Edit, HookPlan, HookPoint};
use candle_lens::metrics::Metric;
use candle_lens::model::{
    ActFn, Frozen, HookedTransformer, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType, Processing,
    QkNormType, RunOptions,
};
use candle_lens::tokens::Tokens;

use super::run::prompts_of_fixtures;
use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};
use crate::support::sentence::sentence;
use crate::support::tolerance::TWO_WAYS;

const LINEAR: [Frozen; 3] = [Frozen::AttentionPatterns, Frozen::NormScales, Frozen::Mlps];

/// A metric of this size, of which rounding is a hundredth.
const LARGE: f32 = 1e-2;

/// The rounding of the embedded model's logit differences, which are sums of numbers near 10.
const OF_LOGITS: f32 = 1e-3;

pub fn metric(model: &HookedTransformer, prompts: u32) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers((0..prompts).map(|b| (3 + b, 10 - b)))?))
}

#[test]
fn gradients_are_those_of_pytorch_with_parts_detached() -> Result<()> {
    let (model, reference) = (tiny_model(Processing::default()), Reference::load("frozen.safetensors"));
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let mut agreement = Agreement::default();
    let cases: [(&str, &[Frozen]); 4] =
        [("patterns", &LINEAR[..1]), ("scales", &LINEAR[1..2]), ("both", &LINEAR[..2]), ("all", &LINEAR)];
    for (what, parts) in cases {
        let frozen = model.with_frozen(parts.iter().copied());
        assert_eq!(frozen.frozen(), parts);
        let names = reference.names(&format!("{what}."));
        assert!(names.len() > 10, "{names:?}");
        let (_, gradients) = frozen.run_with_grads(prompts_of_fixtures(9), &metric, names.clone())?;
        for name in names {
            agreement.check(
                &format!("{what}: {name}"),
                &gradients.get(&name)?,
                reference.get(&format!("{what}.{name}")),
            );
        }
        // The runs themselves are those of the model.
        let (a, b) = (frozen.forward(prompts_of_fixtures(9))?, model.forward(prompts_of_fixtures(9))?);
        assert_eq!(numbers(&a), numbers(&b));
    }
    // What leads only through a frozen part has no gradient and reports it.
    let (_, gradients) =
        model.with_frozen(LINEAR).run_with_grads(prompts_of_fixtures(9), &metric, ("q", "post", "z"))?;
    assert_eq!(gradients.zero_by_structure().len(), 4);
    sentence(gradients.get(("q", 0)), &["structurally zero", "with_frozen"]);
    let patterns = model.with_frozen([Frozen::AttentionPatterns]);
    sentence(
        patterns.run_with_grads(prompts_of_fixtures(9), &metric, "q"),
        &["does not depend on any watched point", "with_frozen"],
    );
    // Estimates say that they are of a frozen model, and there are none behind a frozen part.
    let patching = Experiment::new(&patterns, prompts_of_fixtures(9), prompts_of_fixtures(4), metric)?;
    let title = patching.attribution("z")?.sweep("z", &[AxisName::Layer])?.raw.title;
    assert!(title.ends_with("estimated by gradients with frozen [AttentionPatterns]"), "{title}");
    sentence(
        patching.attribution(("z", "q")),
        &["no gradient of the metric reaches blocks.0.attn.hook_q", "with_frozen([])"],
    );
    assert!(model.with_frozen(LINEAR).with_frozen([]).frozen().is_empty());
    agreement.finish("frozen parts");
    Ok(())
}

/// Models without biases, of every kind of norm and of positions.
pub fn kinds() -> Vec<(&'static str, HookedTransformerConfig)> {
    let small = || HookedTransformerConfig {
        n_layers: 3,
        d_model: 8,
        n_heads: 4,
        d_mlp: Some(12),
        d_vocab: 11,
        n_ctx: 6,
        initializer_range: Some(0.5),
        ..Default::default()
    };
    vec![
        ("layer norm", small()),
        (
            "RMS, rotary, gated",
            HookedTransformerConfig {
                normalization_type: NormalizationType::RMS,
                positional_embedding_type: PositionalEmbeddingType::Rotary,
                rotary_dim: Some(2),
                gated_mlp: true,
                act_fn: ActFn::Silu,
                ..small()
            },
        ),
        ("attention only", HookedTransformerConfig { attn_only: true, d_mlp: None, ..small() }),
        ("parallel", HookedTransformerConfig { parallel_attn_mlp: true, ..small() }),
        ("queries and keys with norms", HookedTransformerConfig { use_qk_norm: true, ..small() }),
        (
            "queries and keys with norms over all heads",
            HookedTransformerConfig { use_qk_norm: true, qk_norm_type: QkNormType::RMSAcrossHeads, ..small() },
        ),
        (
            "queries and keys with layer norms",
            // Of two numbers a layer norm leaves nothing but a sign.
            HookedTransformerConfig {
                use_qk_norm: true,
                qk_norm_type: QkNormType::LNPerHead,
                d_head: Some(4),
                ..small()
            },
        ),
    ]
}

#[test]
fn products_sum_to_the_whole_where_all_is_linear() -> Result<()> {
    let tokens = Tokens::from_rows(vec![vec![1, 5, 2, 10, 3], vec![7, 7, 0, 4, 9]])?;
    for (what, config) in kinds() {
        let has_mlps = !config.attn_only;
        let (model, _) = HookedTransformer::trainable(config, 3, &Device::Cpu)?;
        let (model, metric) = (model.with_frozen(LINEAR), metric(&model, 2)?);
        // The sources are what enters the first block and what each MLP writes; a new model has no biases.
        let (values, gradients) = match has_mlps {
            true => model.run_with_grads(&tokens, &metric, (("resid_pre", 0), "mlp_out"))?,
            false => model.run_with_grads(&tokens, &metric, ("resid_pre", 0))?,
        };
        let mut parts = [0f64; 2];
        for (_, activation, gradient) in gradients.iter() {
            let products = (activation * gradient)?.to_dtype(DType::F64)?.flatten_from(1)?.sum(1)?.to_vec1::<f64>()?;
            parts.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
        for (sum, value) in parts.iter().zip(&values.values()) {
            assert!(
                (sum - f64::from(*value)).abs() < f64::from(TWO_WAYS),
                "{what}: parts sum to {sum}, the whole is {value}"
            );
            assert!(value.abs() > LARGE, "{what}: nothing to compare, {value}");
        }
    }
    Ok(())
}

/// Every norm there is: of neurons, after attention and MLP, of queries and keys.
pub fn more_kinds() -> Vec<(&'static str, HookedTransformerConfig)> {
    let plain = kinds().remove(0).1;
    let mut kinds = kinds();
    kinds.extend([
        ("norms of neurons", HookedTransformerConfig { act_fn: ActFn::SoluLn, ..plain.clone() }),
        ("norms after", HookedTransformerConfig { use_normalization_before_and_after: true, ..plain.clone() }),
        ("norms after only", HookedTransformerConfig { use_normalization_after_only: true, ..plain }),
    ]);
    kinds
}

/// A frozen part behaves as if the run's own numbers were substituted for it.
#[test]
fn frozen_parts_are_as_if_substituted() -> Result<()> {
    let tokens = Tokens::from_rows(vec![vec![1, 5, 2, 10, 3], vec![7, 7, 0, 4, 9]])?;
    let mut agreement = Agreement::default();
    for (what, config) in more_kinds() {
        let has_mlps = !config.attn_only;
        let (model, _) = HookedTransformer::trainable(config, 5, &Device::Cpu)?;
        let metric = metric(&model, 2)?;
        let (_, cache) = model.run_with_cache(&tokens)?;
        let points = HookPoint::all(&model.dims());
        for part in LINEAR {
            let name = match part {
                Frozen::AttentionPatterns => "hook_pattern",
                Frozen::NormScales => "hook_scale",
                Frozen::Mlps if has_mlps => "hook_mlp_out",
                Frozen::Mlps | Frozen::ActivationRatios | Frozen::Gates => continue,
            };
            let own = points.iter().filter(|point| point.to_string().ends_with(name));
            let mut plan = HookPlan::new().watch(["q", "k", "z", "resid_pre", "attn_out"]);
            for point in own {
                plan = plan.edit(*point, Edit::replace(cache.get(*point)?.detach()));
            }
            let run = model.without_weight_gradients().run(&tokens, plan, RunOptions::default())?;
            let last = run.logits.clone().expect("asked for").narrow(1, 4, 1)?.squeeze(1)?;
            let column = |row: usize, id: usize| last.get(row)?.narrow(0, id, 1);
            let sum = ((column(0, 3)? - column(0, 10)?)? + (column(1, 4)? - column(1, 9)?)?)?;
            let expected = run.taps.gradients(&sum)?;
            let frozen = model.with_frozen([part]);
            let (_, got) = frozen.run_with_grads(&tokens, &metric, ["q", "k", "z", "resid_pre", "attn_out"])?;
            assert_eq!(got.zero_by_structure(), expected.zero_by_structure(), "{what}, {part:?}");
            for (point, _, gradient) in got.iter() {
                agreement.check(&format!("{what}, {part:?}: {point}"), gradient, &expected.get(point)?);
            }
            // Heads with their own inputs have the same norms, frozen as well.
            let points = ("resid_pre", if model.dims().n_key_value_heads == 4 { "q_input" } else { "v_input" });
            let (_, split) = frozen.run_with_grads(&tokens, &metric, points)?;
            for layer in 0..3usize {
                let point = ("resid_pre", layer);
                agreement.check(&format!("{what}, {part:?}: split"), &split.get(point)?, &got.get(point)?);
            }
        }
    }
    agreement.finish("frozen parts and their own numbers");
    Ok(())
}

/// In the last layer only the final norm is between a head and the logits.
#[test]
fn last_heads_add_what_direct_attribution_says() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let answers = model.answers([(" Mary", " John")])?;
    let metric = Metric::logit_diff(&answers);
    let (_, cache) = model.run_with_cache(prompt)?;
    let heads = cache.stack_head_results(&model, Stack::heads().pos(-1))?;
    let direct = candle_lens::analysis::residual_stack_to_logit_diff(&model, &cache, &heads, &answers)?;
    let last = model.cfg().n_layers - 1;
    let frozen = model.with_frozen([Frozen::AttentionPatterns, Frozen::NormScales]);
    let ablated = Experiment::new(&frozen, [prompt], Baseline::Zero, metric)?;
    // The last MLP reads what heads write, so it is taken out as well.
    let all = model.with_frozen(LINEAR);
    let (_, gradients) = all.run_with_grads(prompt, &Metric::logit_diff(&answers), (("result", last), ("z", last)))?;
    let products = (gradients.get(("result", last))? * gradients.activation(("result", last))?)?;
    let own: Vec<f32> = products.sum(3)?.sum((0, 1))?.to_vec1()?;
    for (head, got) in own.iter().enumerate() {
        let expected = direct.values()[[last * model.cfg().n_heads + head]];
        assert!((got - expected).abs() < OF_LOGITS, "head {head} adds {got}, directly {expected}");
    }
    // The model with frozen parts serves experiments, too: nothing else follows an MLP of the last layer.
    let whole = ablated.attribution(("mlp_out", last))?.sweep(("mlp_out", last), &[AxisName::Pos])?;
    let (logits, full) =
        model.run_with_hooks(prompt, HookPlan::new().capture(("mlp_out", last)).capture("ln_final.hook_scale"))?;
    let pos = logits.dim(1)? - 1;
    let written = full.get(("mlp_out", last))?.get(0)?.get(pos)?;
    // Its norms only subtract the mean and have no weights, because they are folded.
    assert_eq!(model.cfg().normalization_type, NormalizationType::LNPre);
    let written = (&written - f64::from(written.mean_all()?.to_scalar::<f32>()?))?;
    let scale = full.get("ln_final.hook_scale")?.get(0)?.get(pos)?.to_vec1::<f32>()?[0];
    let along = (written * answers.directions(&model)?.get(0)?)?.sum_all()?.to_scalar::<f32>()? / scale;
    let fell = ablated.clean() - whole.raw.values()[[pos]];
    assert!((fell - along).abs() < OF_LOGITS, "{fell} and {along}");
    Ok(())
}
