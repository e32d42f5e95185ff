//! Plans: what they keep, what they say before they run, and what they refuse before anything is computed.

use candle_lens::Error;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::prelude::*;

use crate::support::assert_close;
use crate::support::tolerance::LAST_DIGITS;

fn model() -> HookedTransformer {
    let cfg =
        HookedTransformerConfig { n_layers: 3, d_model: 8, n_heads: 2, d_vocab: 20, n_ctx: 8, ..Default::default() };
    HookedTransformer::trainable(cfg, 1, &Device::Cpu).unwrap().0
}

fn tokens() -> Tokens {
    Tokens::from_rows(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]]).unwrap()
}

fn refused(plan: HookPlan) -> String {
    let error = model().run_with_hooks(tokens(), plan).expect_err("the plan should be refused");
    error.to_string()
}

#[test]
fn a_cache_has_every_point_with_the_shape_the_table_says() {
    let model = model();
    let (_, cache) = model.run_with_hooks(tokens(), HookPlan::new().capture_where(|_| true)).unwrap();
    let points = HookPoint::all(&model.dims());
    assert_eq!(cache.len(), points.len());
    for point in points {
        assert_eq!(cache.get(point).unwrap().dims(), point.shape(&model.dims(), 2, 6), "{point}");
    }
    let (_, usual) = model.run_with_cache(tokens()).unwrap();
    assert_eq!(usual.len(), HookPoint::all(&model.dims()).iter().filter(|point| !point.on_demand()).count());
}

#[test]
fn on_demand_points_are_what_they_are_made_of() {
    let model = model();
    let plan = HookPlan::new().capture_all().capture("result").capture("q_input").capture("mlp_in");
    let (_, cache) = model.run_with_hooks(tokens(), plan).unwrap();
    let b_o = model.b_O().unwrap();
    for layer in 0..3 {
        let summed =
            cache.get(("result", layer)).unwrap().sum(2).unwrap().broadcast_add(&b_o.i(layer).unwrap()).unwrap();
        assert_close(&summed, &cache.get(("attn_out", layer)).unwrap(), LAST_DIGITS, "sum of hook_result and b_O");
        let input = cache.get(("q_input", layer)).unwrap();
        assert_close(&input.i((.., .., 1)).unwrap(), &cache.get(("resid_pre", layer)).unwrap(), 0.0, "q_input");
        assert_close(&cache.get(("mlp_in", layer)).unwrap(), &cache.get(("resid_mid", layer)).unwrap(), 0.0, "mlp_in");
    }
}

#[test]
fn position_slices_keep_the_same_numbers() {
    let model = model();
    let (_, whole) = model.run_with_cache(tokens()).unwrap();
    let (_, last) = model.run_with_hooks(tokens(), HookPlan::new().capture_all().pos(-1)).unwrap();
    let (_, some) = model.run_with_hooks(tokens(), HookPlan::new().capture_all().pos(2..5)).unwrap();
    for (point, tensor) in whole.iter() {
        let axis = if point.axes()[1] == candle_lens::hooks::AxisName::Head { 2 } else { 1 };
        assert_close(
            &last.get(point).unwrap(),
            &tensor.narrow(axis, 5, 1).unwrap().squeeze(axis).unwrap(),
            0.0,
            "pos -1",
        );
        assert_close(&some.get(point).unwrap(), &tensor.narrow(axis, 2, 3).unwrap(), 0.0, "pos 2..5");
    }
}

#[test]
fn memory_is_known_before_the_run_and_a_budget_refuses_with_the_largest_points() {
    let model = model();
    let plan = HookPlan::new().capture_all();
    let memory = plan.memory(&model.dims(), 2, 6, DType::F32).unwrap();
    let (_, cache) = model.run_with_hooks(tokens(), &plan).unwrap();
    assert_eq!(memory.kept(), cache.bytes());
    assert_eq!(memory.logits, 2 * 6 * 20 * 4, "batch, positions, vocabulary, bytes of a number");
    assert_eq!(memory.total(), memory.kept() + memory.logits + memory.working);
    let largest = memory.largest(1)[0].clone();
    assert_eq!(largest.point.to_string(), "blocks.0.mlp.hook_pre", "2 x 6 x 32 neurons are the most");
    let message = refused(plan.clone().budget(memory.total() - 1));
    assert!(message.contains("blocks.0.mlp.hook_pre") && message.contains("the plan's budget"), "{message}");
    model.run_with_hooks(tokens(), plan.clone().budget(memory.total())).unwrap();
    let less = RunOptions { stop_at_layer: Some(3), ..Default::default() };
    let plan = HookPlan::new().capture("resid_post").budget(memory.total() - memory.logits);
    model.run(tokens(), &plan, &less).expect("a run that stops before the end has no logits");
}

#[test]
fn mistakes_are_refused_in_full_sentences() {
    let vector = Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap();
    for (plan, words) in [
        (HookPlan::new().capture("rezid_pre0"), vec!["rezid_pre0", "nearest", "resid_pre0"]),
        (HookPlan::new().edit(("z", 3), Edit::zero()), vec!["layer 3", "3 layers"]),
        (HookPlan::new().edit(("z", 0), Edit::zero().head(2)), vec!["head 2", "0 to 1"]),
        (HookPlan::new().edit(("z", 0), Edit::zero().pos(6)), vec!["position 6", "0 to 5"]),
        (HookPlan::new().edit(("resid_pre", 0), Edit::zero().head(0)), vec!["head", "batch, pos, d_model"]),
        (HookPlan::new().edit(("resid_pre", 0), Edit::replace(vector)), vec!["[5]", "[2, 6, 8]"]),
        (HookPlan::new().edit("tokens", Edit::zero()), vec!["token ids"]),
        (HookPlan::new().capture_where(|_| false), vec!["no hook point"]),
        (HookPlan::new().capture("q0").pos(9), vec!["position 9"]),
        (HookPlan::new().capture("q0").remove_batch_dim(), vec!["one prompt", "2"]),
        (
            HookPlan::new().capture(("normalized", 1, "ln1")).edit(("q_input", 1), Edit::zero()),
            vec!["blocks.1.hook_q_input", "ln1"],
        ),
    ] {
        let message = refused(plan);
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
        assert!(message.starts_with(candle_lens::error::PREFIX), "{message}");
    }
}

#[test]
fn a_mistake_is_found_before_any_hook_runs() {
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = ran.clone();
    let note = Edit::custom("note", move |x, _| {
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, Error>(x.clone())
    });
    let plan = HookPlan::new().edit("embed", note).capture("no_such_point");
    assert!(matches!(model().run_with_hooks(tokens(), plan), Err(Error::UnknownHook { .. })));
    assert!(!ran.load(std::sync::atomic::Ordering::SeqCst), "the plan was checked too late");
}

#[test]
fn a_hook_that_changes_the_shape_is_named() {
    let plan = HookPlan::new().edit("z0", Edit::custom("half", |x, _| x.narrow(0, 0, 1)));
    let message = refused(plan);
    assert!(message.contains("\"half\"") && message.contains("blocks.0.attn.hook_z"), "{message}");
}

#[test]
fn a_plan_that_a_partial_run_never_reaches_is_refused() {
    let model = model();
    let options = RunOptions { stop_at_layer: Some(1), ..Default::default() };
    let error = model.run(tokens(), HookPlan::new().edit("z2", Edit::zero()), &options).unwrap_err().to_string();
    assert!(error.contains("never reached") && error.contains("blocks.2.attn.hook_z"), "{error}");
}
