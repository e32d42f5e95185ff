//! Sets of sites at once, and effects that every method reports in one convention.

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::circuits::{EdgeMethod, Node};
use candle_lens::experiment::{Baseline, Comparison, Effect, Experiment, Scale};
use candle_lens::head::Head;
use candle_lens::hooks::{AxisName, Edit, HookPlan, MeanOver};
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::patching::{PatchSite, Receiver, Sender};
use candle_lens::tokens::Tokens;

use crate::support::fixture::tiny_model;
use crate::support::sentence::sentence;
use crate::support::tolerance::{IN_F64, REORDERED, TWO_WAYS};

/// The correlation of two effects that are the same but for rounding.
const SAME: f64 = 0.9999;

/// Six prompts of six tokens.
fn prompts(shift: u32) -> Tokens {
    let row = |i: u32| (0..6).map(|k| (3 + 5 * i + 4 * k + u32::from(k == 2) * shift) % 29).collect::<Vec<u32>>();
    Tokens::from_rows((0..6).map(row).collect()).expect("one length")
}

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers((0..6u32).map(|b| (4 + b, 19 + b)))?))
}

/// Mean ablation by group of a set of heads, by hand: the means of each group's z, put in by a plan.
fn by_hand(model: &HookedTransformer, groups: &[usize], heads: &BTreeSet<Head>) -> Result<f64> {
    let (_, cache) = model.run_with_cache(prompts(0))?;
    let mut plan = HookPlan::new();
    for layer in 0..model.cfg().n_layers {
        let z = cache.get(("z", layer))?;
        let mean_of = |b: usize| -> Result<Tensor> {
            let like: Vec<u32> = (0..6u32).filter(|&i| groups[i as usize] == groups[b]).collect();
            Ok(z.index_select(&Tensor::new(like, &Device::Cpu)?, 0)?.mean(0)?)
        };
        let means = Tensor::stack(&(0..6).map(mean_of).collect::<Result<Vec<_>>>()?, 0)?;
        let of_layer: Vec<isize> = heads.iter().filter(|it| it.layer == layer).map(|it| it.head as isize).collect();
        if !of_layer.is_empty() {
            plan = plan.edit(("z", layer), Edit::replace(means).head(of_layer));
        }
    }
    let (logits, _) = model.run_with_hooks(prompts(0), &plan)?;
    let answers = model.answers((0..6u32).map(|b| (4 + b, 19 + b)))?;
    Ok(answers.logit_diff(&logits, prompts(0))?.mean())
}

#[test]
fn a_set_of_heads_is_ablated_by_group_as_by_hand() -> Result<()> {
    let model = tiny_model(Processing::default());
    let groups = vec![0, 1, 0, 1, 1, 0];
    let experiment = Experiment::new(&model, prompts(0), Baseline::MeanByGroup(groups.clone()), metric(&model)?)?;
    let all: BTreeSet<Head> = (0..2).flat_map(|layer| (0..4).map(move |head| Head::new(layer, head))).collect();
    let some: BTreeSet<Head> = [Head::new(0, 1), Head::new(0, 3), Head::new(1, 2)].into();
    let others: BTreeSet<Head> = all.difference(&some).copied().collect();
    for heads in [BTreeSet::new(), some.clone(), others, all] {
        let got = experiment.together(&heads)?;
        let expected = by_hand(&model, &groups, &heads)?;
        let value = f64::from(got.raw.scalar()?);
        assert!((value - expected).abs() < f64::from(REORDERED), "{heads:?}: {value} and {expected}");
        assert_eq!(got.per_prompt.shape(), [6]);
        let mean = got.per_prompt.values().iter().map(|&x| f64::from(x)).sum::<f64>() / 6.;
        assert!((value - mean).abs() < f64::from(REORDERED));
        let lost = got.effect().as_lost().values.scalar()?;
        assert!((f64::from(lost) - (f64::from(experiment.clean()) - expected)).abs() < f64::from(REORDERED));
    }
    assert_eq!(experiment.together(Vec::<Head>::new())?.raw.scalar()?, experiment.clean(), "nothing was replaced");
    // One site is what a sweep gives, and a list of sites ends where they are all replaced.
    let one = experiment.get_act_patch_attn_head_out_all_pos()?.raw.values()[[1, 2]];
    assert!((experiment.together([(1, 2)])?.raw.scalar()? - one).abs() < REORDERED);
    let sites: Vec<PatchSite> = some.iter().map(PatchSite::from).collect();
    let last = experiment.cumulative(&sites)?.raw.at(&[-1])?;
    assert!((experiment.together(&sites)?.raw.scalar()? - last).abs() < REORDERED);
    sentence(experiment.together([(0, 4)]), &["head 4"]);
    sentence(experiment.clone().save_to("sweep.safetensors").together([(0, 0)]), &["together", "save_to"]);
    Ok(())
}

/// What a node's exact score says is what patching its output says, with the other sign.
#[test]
fn scores_of_nodes_patching_and_integrated_gradients_are_effects_of_one_convention() -> Result<()> {
    let model = tiny_model(Processing::default());
    let experiment = Experiment::new(&model, prompts(0), prompts(7), metric(&model)?)?.noising()?;
    let patched = experiment.get_act_patch_attn_head_out_all_pos()?;
    let edges = experiment.edges()?;
    let nodes = edges.attribute_nodes(EdgeMethod::Exact)?;
    let heads = nodes.heads()?;
    assert_eq!(heads.scale, Scale::Lost);
    let lost = patched.effect().as_lost();
    for (node, patched) in heads.values.values().iter().zip(&lost.values.values()) {
        assert!((node - patched).abs() < TWO_WAYS, "{node} and {patched}");
    }
    let comparison = Comparison::new(&patched, &heads)?;
    assert!(comparison.pearson > SAME && comparison.mean_miss < f64::from(TWO_WAYS), "{comparison:?}");
    // The same comparison in the other conventions.
    let share = Comparison::new(&patched.effect().as_share()?, &heads.as_share()?)?;
    assert!((share.pearson - comparison.pearson).abs() < f64::from(TWO_WAYS));
    let attributed = experiment.integrated_gradients("z", 20)?.heads()?;
    let by_hand: Vec<f32> = patched.raw.values().iter().map(|value| patched.clean - value).collect();
    let by_hand = Labelled::new("lost", patched.raw.axes(), by_hand)?;
    let expected = Comparison::new(&by_hand, &attributed.values)?;
    let got = Comparison::new(&patched, &attributed)?;
    assert!((got.pearson - expected.pearson).abs() < IN_F64 && got.spearman == expected.spearman);
    sentence(Comparison::new(&patched, &attributed.values), &["is an effect", "plain numbers"]);
    sentence(Comparison::new(&by_hand, &attributed), &["is an effect", "plain numbers"]);
    // Edges into the logits: what each loses by itself.
    let exact = edges.attribute(EdgeMethod::Exact)?;
    let effect = exact.effect()?;
    assert_eq!(effect.values.shape(), [exact.n_edges()]);
    assert_eq!(effect.values.get(&["m1->logits"])?, -exact.score("m1->logits")?);
    let level = edges.evaluate(&exact.full().without("m1->logits")?)?.metric;
    assert!((effect.as_metric().values.get(&["m1->logits"])? - level).abs() < TWO_WAYS);
    sentence(edges.attribute(EdgeMethod::InformationFlowRoutes)?.effect(), &["information flow routes", "metric"]);
    Ok(())
}

/// An ablation has no second run for its levels: its share is that of the clean metric.
#[test]
fn effects_say_their_convention() -> Result<()> {
    let model = tiny_model(Processing::default());
    let experiment = Experiment::new(&model, prompts(0), Baseline::mean(MeanOver::Batch), metric(&model)?)?;
    let swept = experiment.sweep("z", &[AxisName::Layer])?;
    let effect = swept.effect();
    assert_eq!(effect.as_share()?.values.values(), swept.normalised.values());
    assert!(effect.values.title.ends_with("(level of the metric)"), "{effect:?}");
    assert!(effect.to_string().contains("level of the metric"), "{effect}");
    assert!(effect.as_lost().values.title.ends_with("(lost: clean minus changed)"));
    let axis = vec![Axis::numbered("site", 2)];
    let of = |values: Vec<f32>| Labelled::new("own", axis.clone(), values);
    let own = Effect::new(of(vec![0.25, 1.5])?, Scale::Share, 4., 2.)?;
    assert_eq!(own.as_metric().values.values().as_slice(), Some(&[2.5, 5.0][..]));
    assert_eq!(own.as_lost().values.values().as_slice(), Some(&[1.5, -1.0][..]));
    Ok(())
}

#[test]
fn heads_are_sites_senders_and_receivers() -> Result<()> {
    let head: Head = "L1H3".parse()?;
    assert_eq!(PatchSite::from(head).to_string(), "blocks.1.attn.hook_z, head 3");
    assert_eq!(Node::from(head), Node::Head(1, 3));
    assert_eq!(Sender::from(head), Sender::Head(1, 3));
    assert_eq!(
        [Receiver::q(head), Receiver::k(head), Receiver::v((1, 3))],
        [Receiver::Q(1, 3), Receiver::K(1, 3), Receiver::V(1, 3)]
    );
    Ok(())
}
