//! AtP*: the query-key fix where it is exact, GradDrop against runs in which each block is detached by hooks, both beside exact sweeps.

use candle_lens::candle::{D, DType, Device, Tensor};
use candle_lens::experiment::{Comparison, Experiment};
use candle_lens::gradients::AttributionOptions;
use candle_lens::hooks::AxisName::{self, DHead, Head, Layer, Pos};
use candle_lens::hooks::{Edit, Gradients, HookPlan, HookPoint, Site};
use candle_lens::model::{
    AttentionDir, Frozen, HookedTransformer, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType,
    QkNormType, RunOptions, ops,
};
use candle_lens::patching::PatchResult;
use candle_lens::tasks::Task;
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::{Error, Result};

use super::frozen::kinds;
use crate::support::fixture::numbers;
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, TWO_WAYS};

const FIX: AttributionOptions = AttributionOptions { qk_fix: true, grad_drop: false };
const DROP: AttributionOptions = AttributionOptions { qk_fix: false, grad_drop: true };

/// A saturated softmax passes on less than this share of what its queries do.
const SHARE: f32 = 0.05;

fn pair() -> Result<[Tokens; 2]> {
    let rows = |rows: [[u32; 5]; 2]| Tokens::from_rows(rows.map(|row| row.to_vec()).to_vec());
    Ok([rows([[1, 5, 2, 10, 3], [7, 7, 0, 4, 9]])?, rows([[1, 6, 2, 8, 4], [7, 2, 1, 4, 5]])?])
}

fn padded_pair(side: PaddingSide) -> Result<[Tokens; 2]> {
    let rows = |rows: [&[u32]; 2]| Tokens::padded(rows.map(|row| row.to_vec()).to_vec(), 0, side);
    Ok([rows([&[1, 5, 2, 10, 3], &[7, 7, 4]])?, rows([&[1, 6, 2, 8, 4], &[7, 2, 5]])?])
}

fn experiment(model: &HookedTransformer, [clean, corrupted]: &[Tokens; 2]) -> Result<Experiment> {
    Experiment::new(model, clean, corrupted, super::frozen::metric(model, 2)?)
}

/// Attention alone in one block, without norms: the metric is linear in the patterns.
fn linear_in_patterns() -> Vec<(&'static str, HookedTransformerConfig)> {
    let bare = HookedTransformerConfig {
        n_layers: 1,
        attn_only: true,
        d_mlp: None,
        normalization_type: NormalizationType::None,
        ..kinds().remove(0).1
    };
    let rotary = PositionalEmbeddingType::Rotary;
    vec![
        ("plain", bare.clone()),
        ("shared keys", HookedTransformerConfig { n_key_value_heads: Some(2), ..bare.clone() }),
        ("rotary", HookedTransformerConfig { positional_embedding_type: rotary, rotary_dim: Some(2), ..bare.clone() }),
        ("norms", HookedTransformerConfig { use_qk_norm: true, ..bare.clone() }),
        ("caps", HookedTransformerConfig { attn_scores_soft_cap: Some(2.), ..bare.clone() }),
        (
            "alibi",
            HookedTransformerConfig { positional_embedding_type: PositionalEmbeddingType::Alibi, ..bare.clone() },
        ),
        ("both directions", HookedTransformerConfig { attention_dir: AttentionDir::Bidirectional, ..bare }),
    ]
}

fn values(result: &PatchResult) -> Vec<f32> {
    result.raw.values().iter().copied().collect()
}

#[test]
fn the_query_key_fix_is_exact_where_the_metric_is_linear_in_patterns() -> Result<()> {
    for (what, config) in linear_in_patterns() {
        for pair in [pair()?, padded_pair(PaddingSide::Left)?, padded_pair(PaddingSide::Right)?] {
            // Scores as they are, and so large that each query attends to one key.
            for scale in [None, Some(0.002)] {
                let config = HookedTransformerConfig { attn_scale: scale, ..config.clone() };
                let (model, _) = HookedTransformer::trainable(config, 4, &Device::Cpu)?;
                for patching in [experiment(&model, &pair)?, experiment(&model, &pair)?.noising()?] {
                    let attribution = patching.attribution_with(("q", "k"), FIX)?;
                    for point in ["q", "k"] {
                        for axes in [&[Pos, Head][..], &[Head]] {
                            let (exact, estimate) =
                                (patching.sweep((point, 0), axes)?, attribution.sweep((point, 0), axes)?);
                            assert!(estimate.raw.title.contains("query-key fix"), "{}", estimate.raw.title);
                            for (exact, estimate) in values(&exact).into_iter().zip(values(&estimate)) {
                                let off = (exact - estimate).abs();
                                assert!(off < TWO_WAYS, "{what}, {point}, {axes:?}, {scale:?}: {estimate} for {exact}");
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// The toy: one block whose softmax is saturated.
#[test]
fn a_saturated_softmax_has_no_slope_and_yet_its_queries_matter() -> Result<()> {
    let (_, config) = linear_in_patterns().remove(0);
    let (model, _) =
        HookedTransformer::trainable(HookedTransformerConfig { attn_scale: Some(0.0005), ..config }, 4, &Device::Cpu)?;
    let patching = experiment(&model, &pair()?)?;
    let all = |result: PatchResult| values(&result).iter().map(|x| (x - patching.corrupted()).abs()).sum::<f32>();
    let axes = [Pos, Head];
    for point in ["q", "k"] {
        let exact = all(patching.sweep((point, 0), &axes)?);
        let plain = all(patching.attribution(point)?.sweep((point, 0), &axes)?);
        let fixed = all(patching.attribution_with(point, FIX)?.sweep((point, 0), &axes)?);
        println!("{point}: exact {exact}, one gradient {plain}, query-key fix {fixed}");
        assert!(exact > CLEAR && plain < SHARE * exact, "{point}: exact {exact}, one gradient {plain}");
        assert!((fixed - exact).abs() < CLEAR, "{point}: exact {exact}, query-key fix {fixed}");
    }
    Ok(())
}

/// The gradients of a run in which one block's attention and MLP outputs are constants.
fn without(model: &HookedTransformer, tokens: &Tokens, layer: usize, points: &[HookPoint]) -> Result<Gradients> {
    let constant = || Edit::custom("constant", |x: &Tensor, _: HookPoint| Ok::<_, Error>(x.detach()));
    let mut plan = HookPlan::new().edit(("attn_out", layer as isize), constant());
    if !model.cfg().attn_only {
        plan = plan.edit(("mlp_out", layer as isize), constant());
    }
    let plan = points.iter().fold(plan, |plan, &point| plan.watch(point)).watch("resid_pre").watch("resid_post");
    let run = model.without_weight_gradients().run(tokens, plan, RunOptions::default())?;
    let last = run.logits()?.narrow(1, tokens.pos() - 1, 1)?.squeeze(1)?;
    let column = |row: usize, id: usize| last.get(row)?.narrow(0, id, 1);
    run.taps.gradients(&((column(0, 3)? - column(0, 10)?)? + (column(1, 4)? - column(1, 9)?)?)?)
}

/// The mean over blocks of the size of each prompt's sum of products, then the mean over prompts.
fn by_hand(
    model: &HookedTransformer,
    corrupted: &Tokens,
    point: HookPoint,
    changes: &dyn Fn(&Gradients) -> Result<Option<Tensor>>,
) -> Result<f64> {
    let HookPoint::Block(own, site) = point else { panic!("a point of a block") };
    let stream = matches!(site, Site::ResidPre | Site::ResidMid | Site::ResidPost);
    let (mut sum, mut runs) = (0., 0.);
    for layer in 0..model.cfg().n_layers {
        if layer == own && !stream {
            continue;
        }
        runs += 1.;
        let gradients = without(model, corrupted, layer, &[point, HookPoint::Block(own, Site::Pattern)])?;
        if let Some(products) = changes(&gradients)? {
            let each = numbers(&products.to_dtype(DType::F64)?.flatten_from(1)?.sum(D::Minus1)?);
            sum += each.iter().map(|x| x.abs()).sum::<f64>() / each.len() as f64;
        }
    }
    Ok(sum / runs)
}

#[test]
fn grad_drop_is_the_mean_size_over_runs_with_a_detached_block() -> Result<()> {
    let pair = pair()?;
    for (what, config) in kinds() {
        let (model, _) = HookedTransformer::trainable(config.clone(), 4, &Device::Cpu)?;
        let patching = experiment(&model, &pair)?;
        let mut sites = vec![Site::ResidPre, Site::Q, Site::Z, Site::AttnOut, Site::ResidPost];
        if !config.attn_only {
            sites.extend([Site::MlpOut, Site::MlpPost]);
            sites.extend((!config.parallel_attn_mlp).then_some(Site::ResidMid));
        }
        for site in sites {
            for layer in 0..config.n_layers {
                let point = HookPoint::Block(layer, site);
                let got = patching.attribution_with(point, DROP)?.grad_drop(point, &[])?;
                let of = |tokens: &Tokens| -> Result<Tensor> {
                    model.run_with_hooks(tokens, HookPlan::new().capture(point))?.1.get(point)
                };
                let difference = (of(&pair[0])? - of(&pair[1])?)?;
                let expected = by_hand(&model, &pair[1], point, &|gradients| {
                    Ok(gradients.get(point).ok().map(|gradient| gradient * &difference).transpose()?)
                })?;
                let got = f64::from(got.scalar()?);
                assert!((got - expected).abs() < f64::from(TWO_WAYS), "{what}, {point}: {got}, by hand {expected}");
            }
        }
    }
    Ok(())
}

/// The scores of a layer in a run, with another run's queries in place of its own.
fn scores(model: &HookedTransformer, tokens: &Tokens, layer: usize, queries: Option<Tensor>) -> Result<Tensor> {
    let at = |site| HookPoint::Block(layer, site);
    let plan = HookPlan::new().capture(at(Site::AttnScores));
    let plan = match queries {
        Some(queries) => plan.edit(at(Site::Q), Edit::replace(queries)),
        None => plan,
    };
    model.run_with_hooks(tokens, plan)?.1.get(at(Site::AttnScores))
}

#[test]
fn both_parts_together_are_by_hand_what_they_are() -> Result<()> {
    let pair = pair()?;
    for (what, config) in kinds() {
        let (model, _) = HookedTransformer::trainable(config.clone(), 4, &Device::Cpu)?;
        let patching = experiment(&model, &pair)?;
        if config.qk_norm_type == QkNormType::RMSAcrossHeads {
            sentence(patching.attribution_with("q", FIX), &["over all heads", "qk_fix"]);
            continue;
        }
        for rules in [vec![], vec![Frozen::AttentionPatterns]] {
            // The fix needs no gradient at queries, which frozen patterns cut off.
            let patching = patching.with_frozen(rules.clone())?;
            let model = model.with_frozen(rules);
            let attribution = patching.attribution_with(("q", "z"), AttributionOptions::ATP_STAR)?;
            for layer in 0..config.n_layers {
                let point = HookPoint::Block(layer, Site::Q);
                let queries = model.run_with_hooks(&pair[0], HookPlan::new().capture(point))?.1.get(point)?;
                let [base, patched] = [None, Some(queries)].map(|queries| scores(&model, &pair[1], layer, queries));
                let moved = (ops::softmax(&patched?)? - ops::softmax(&base?)?)?;
                let products = |gradients: &Gradients| -> Result<Option<Tensor>> {
                    let gradient = gradients.get(HookPoint::Block(layer, Site::Pattern)).ok();
                    Ok(gradient.map(|gradient| gradient * &moved).transpose()?)
                };
                let expected = by_hand(&model, &pair[1], point, &products)?;
                let got = f64::from(attribution.grad_drop(point, &[])?.scalar()?);
                assert!((got - expected).abs() < f64::from(TWO_WAYS), "{what}, {point}: {got}, by hand {expected}");
            }
        }
    }
    Ok(())
}

/// The correlation of estimates with the exact sweep, by one gradient and with the fix.
fn correlations(patching: &Experiment, point: &'static str, axes: &[AxisName]) -> Result<[f64; 2]> {
    let exact = patching.sweep(point, axes)?;
    let of = |options| -> Result<f64> {
        Ok(Comparison::new(&exact, &patching.attribution_with(point, options)?.sweep(point, axes)?)?.pearson)
    };
    Ok([of(AttributionOptions::default())?, of(FIX)?])
}

/// What the fix reaches on tasks whose metric is not saturated.
const LEAST: f64 = 0.9;

#[test]
fn the_fix_is_nearer_to_exact_sweeps_of_tiny() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    for task in Task::ALL {
        let patching = super::quality::experiment(&model, task, 8)?.noising()?;
        for point in ["q", "k"] {
            for axes in [&[Layer, Head][..], &[Layer, Pos, Head]] {
                let [plain, fixed] = correlations(&patching, point, axes)?;
                println!("{task}, {point}, {axes:?}: one gradient {plain:.3}, query-key fix {fixed:.3}");
                assert!(fixed > plain, "{task}, {point}, {axes:?}: {plain} and {fixed}");
                let is_clear = !matches!(task, Task::CapitalCountry | Task::Hypernymy);
                assert!(fixed > LEAST || !is_clear, "{task}, {point}, {axes:?}: {fixed}");
            }
        }
    }
    Ok(())
}

#[test]
fn options_that_do_not_apply_are_refused() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let patching = super::quality::experiment(&model, Task::Ioi, 2)?;
    sentence(patching.attribution_with("z", FIX), &["none are among the points", "qk_fix"]);
    sentence(patching.attribution("z")?.grad_drop("z", &[Layer]), &["dropped no gradients", "attribution_with"]);
    let attribution = patching.attribution_with(("q", "z"), AttributionOptions::ATP_STAR)?;
    sentence(attribution.sweep("q", &[Layer, DHead]), &["whole queries", "DHead"]);
    sentence(attribution.grad_drop("q", &[Layer, DHead]), &["whole queries"]);
    sentence(attribution.grad_drop("k", &[Layer]), &["not among the points"]);
    assert!(attribution.sweep("z", &[Layer, DHead]).is_ok());
    sentence(patching.clone().budget(1000).attribution_with("z", DROP), &["1.0 kB", "Experiment::budget"]);
    let (one, _) = HookedTransformer::trainable(linear_in_patterns().remove(0).1, 4, &Device::Cpu)?;
    sentence(experiment(&one, &pair()?)?.attribution_with("z", DROP), &["no other block", "grad_drop"]);
    Ok(())
}
