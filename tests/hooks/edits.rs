//! Edits against hand-written loops over plain numbers, and against the identities they promise.

use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::prelude::*;

use crate::support::assert_close;
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, LAST_DIGITS, REORDERED, VISIBLE};

fn model() -> HookedTransformer {
    let cfg = HookedTransformerConfig {
        n_layers: 2,
        d_model: 16,
        n_heads: 4,
        d_vocab: 30,
        n_ctx: 10,
        initializer_range: Some(0.3),
        ..Default::default()
    };
    HookedTransformer::trainable(cfg, 7, &Device::Cpu).unwrap().0
}

fn tokens() -> Tokens {
    Tokens::from_rows(vec![vec![3, 7, 1, 22, 9], vec![5, 5, 28, 0, 14]]).unwrap()
}

/// The activation at `point` before and after `edit`, as `[b][p][h][d]` numbers (missing axes have one index).
fn before_and_after(point: &str, edit: Edit) -> (Tensor, Tensor) {
    let model = model();
    let (_, before) = model.run_with_hooks(tokens(), HookPlan::new().capture(point)).unwrap();
    let (_, after) = model.run_with_hooks(tokens(), HookPlan::new().capture(point).edit(point, edit)).unwrap();
    (before.get(point).unwrap(), after.get(point).unwrap())
}

fn rank4(x: &Tensor) -> Vec<Vec<Vec<Vec<f32>>>> {
    let dims = x.dims4().unwrap();
    (0..dims.0).map(|a| (0..dims.1).map(|b| x.i((a, b)).unwrap().to_vec2::<f32>().unwrap()).collect()).collect()
}

#[test]
fn an_edit_of_one_head_at_one_position_changes_that_and_nothing_else() {
    let (before, after) = before_and_after("z1", Edit::scale(3.0).head(2).pos(-1).batch(0));
    let (before, after) = (rank4(&before), rank4(&after));
    for b in 0..2 {
        for p in 0..5 {
            for h in 0..4 {
                for d in 0..4 {
                    let factor = if (b, p, h) == (0, 4, 2) { 3.0 } else { 1.0 };
                    let expected = before[b][p][h][d] * factor;
                    assert!((after[b][p][h][d] - expected).abs() < LAST_DIGITS, "{b} {p} {h} {d}");
                }
            }
        }
    }
}

#[test]
fn a_part_may_be_replaced_by_a_value_of_its_own_shape() {
    let value = Tensor::arange(0f32, 2.0 * 2.0 * 4.0, &Device::Cpu).unwrap().reshape((2, 2, 4)).unwrap();
    // Batch 2, positions [3, 1] in this order, one head: [batch, pos, d_head].
    let (before, after) = before_and_after("q0", Edit::replace(value.clone()).head(1).pos([3, 1]));
    let (before, after) = (rank4(&before), rank4(&after));
    let value = value.to_vec3::<f32>().unwrap();
    for b in 0..2 {
        for p in 0..5 {
            for h in 0..4 {
                let expected = match (p, h) {
                    (3, 1) => &value[b][0],
                    (1, 1) => &value[b][1],
                    _ => &before[b][p][h],
                };
                assert_eq!(&after[b][p][h], expected, "{b} {p} {h}");
            }
        }
    }
}

#[test]
fn the_mean_leaves_padding_out() {
    let model = model();
    let padded = Tokens::padded(vec![vec![3, 7, 1, 22], vec![5, 28]], 0, PaddingSide::Right).unwrap();
    let plan = HookPlan::new().capture("mlp_out0");
    let (_, before) = model.run_with_hooks(&padded, &plan).unwrap();
    let (_, after) = model.run_with_hooks(&padded, plan.edit("mlp_out0", Edit::mean(MeanOver::BatchAndPos))).unwrap();
    let before = before.get("mlp_out0").unwrap().to_vec3::<f32>().unwrap();
    let real = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)];
    let after = after.get("mlp_out0").unwrap().to_vec3::<f32>().unwrap();
    for d in 0..16 {
        let mean = real.iter().map(|&(b, p)| before[b][p][d]).sum::<f32>() / 6.0;
        assert!((after[1][1][d] - mean).abs() < REORDERED, "{d}: {} and {mean}", after[1][1][d]);
    }
}

/// A mean of one activation is that activation: such an edit would change nothing, and is refused wherever it would.
#[test]
fn a_mean_of_one_is_refused() {
    let model = model();
    let run = |rows: Tokens, edit: Edit| {
        ["attn_out0", "z1", "pattern0"].map(|point| {
            let plan = HookPlan::new().capture(point).edit(point, edit.clone());
            model.run_with_hooks(&rows, plan).map(|(_, cache)| cache.get(point).unwrap())
        })
    };
    let plain = |rows: &Tokens| {
        let (_, cache) = model.run_with_cache(rows).unwrap();
        ["attn_out0", "z1", "pattern0"].map(|point| cache.get(point).unwrap())
    };
    let (batch, both) = (Edit::mean(MeanOver::Batch), Edit::mean(MeanOver::BatchAndPos));
    let one = Tokens::from_rows(vec![vec![3, 7, 1]]).unwrap();
    for refused in run(one.clone(), batch.clone()).into_iter().chain(run(one.clone(), batch.clone().pos(-1))) {
        sentence(refused, &["the mean of one prompt", "MeanOver::BatchAndPos"]);
    }
    // Over positions too there is a mean, unless there is one token.
    for (edited, plain) in run(one.clone(), both.clone()).into_iter().zip(plain(&one)) {
        let largest = (edited.unwrap() - plain).unwrap().abs().unwrap().max_all().unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() > VISIBLE);
    }
    for refused in run(Tokens::from_rows(vec![vec![3]]).unwrap(), both) {
        sentence(refused, &["the mean of one token"]);
    }
    // Where prompts are padded, a position may be one prompt's alone.
    for (side, alone) in [(PaddingSide::Left, 0), (PaddingSide::Right, 3)] {
        let padded = Tokens::padded(vec![vec![3, 7, 1, 22], vec![5, 28]], 0, side).unwrap();
        for refused in run(padded.clone(), batch.clone().pos(alone)) {
            sentence(refused, &["the mean of one prompt"]);
        }
        run(padded, batch.clone()).into_iter().for_each(|run| drop(run.unwrap()));
    }
}

#[test]
fn replacing_every_stream_by_its_own_value_is_the_clean_run_and_by_another_is_the_other() {
    let model = model();
    let other = Tokens::from_rows(vec![vec![1, 2, 3, 4, 5], vec![9, 8, 7, 6, 5]]).unwrap();
    let (clean, cache) = model.run_with_cache(tokens()).unwrap();
    let (_, other_cache) = model.run_with_cache(&other).unwrap();
    for layer in 0..2 {
        let resid = |cache: &ActivationCache| Edit::replace(cache.get(("resid_pre", layer)).unwrap());
        let same = HookPlan::new().edit(("resid_pre", layer), resid(&cache));
        assert_close(&model.run_with_hooks(tokens(), same).unwrap().0, &clean, 0.0, "the run's own residual stream");
        let swapped = HookPlan::new().edit(("resid_pre", layer), resid(&other_cache));
        let (logits, _) = model.run_with_hooks(tokens(), swapped).unwrap();
        assert_close(&logits, &model.forward(&other).unwrap(), LAST_DIGITS, "another run's residual stream");
    }
}

#[test]
fn zeroing_a_head_through_z_result_and_custom_agree() {
    let model = model();
    let custom = Edit::custom("no head 1", |x, _| {
        let mask = Tensor::new(&[1f32, 0., 1., 1.], x.device())?.reshape((1, 1, 4, 1))?;
        x.broadcast_mul(&mask)
    });
    let by_z = model.run_with_hooks(tokens(), HookPlan::new().edit("z1", Edit::zero().head(1))).unwrap().0;
    let by_result = model.run_with_hooks(tokens(), HookPlan::new().edit("result1", Edit::zero().head(1))).unwrap().0;
    let by_custom = model.run_with_hooks(tokens(), HookPlan::new().edit("z1", custom)).unwrap().0;
    assert_close(&by_result, &by_z, REORDERED, "result and z");
    assert_close(&by_custom, &by_z, LAST_DIGITS, "custom and z");
    let clean = model.forward(tokens()).unwrap();
    let moved = (clean - by_z).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(moved > CLEAR, "zeroing a head changed nothing");
}

#[test]
fn split_inputs_reach_one_head_only() {
    let model = model();
    let plan = |site: &str| {
        HookPlan::new().edit((site, 1), Edit::scale(-2.0).head(3)).capture("q1").capture("k1").capture("v1")
    };
    let (_, clean) = model.run_with_hooks(tokens(), HookPlan::new().capture("q1").capture("k1").capture("v1")).unwrap();
    for (site, changed) in [("q_input", vec!["q1"]), ("k_input", vec!["k1"]), ("attn_in", vec!["q1", "k1", "v1"])] {
        let (_, cache) = model.run_with_hooks(tokens(), plan(site)).unwrap();
        for vector in ["q1", "k1", "v1"] {
            let difference = (cache.get(vector).unwrap() - clean.get(vector).unwrap()).unwrap().abs().unwrap();
            for head in 0..4 {
                let moved = difference.i((.., .., head)).unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                let should = head == 3 && changed.contains(&vector);
                assert_eq!(moved > VISIBLE, should, "{site}, {vector}, head {head}: moved by {moved}");
            }
        }
    }
}

#[test]
fn knocked_out_attention_is_zero_and_the_rest_of_its_row_sums_to_one() {
    let model = model();
    let pattern = |edit: Edit| -> Vec<Vec<Vec<Vec<f32>>>> {
        let plan = HookPlan::new().edit(("attn_scores", 1), edit).capture(("pattern", 1));
        rank4(&model.run_with_hooks(tokens(), plan).unwrap().1.get(("pattern", 1)).unwrap())
    };
    let whole = pattern(Edit::scale(1.0));
    let cut = pattern(Edit::knock_out().head(1).pos(-1).key_pos(0));
    for (b, (whole, cut)) in whole.iter().zip(&cut).enumerate() {
        for (head, (whole, cut)) in whole.iter().zip(cut).enumerate() {
            let last = whole.len() - 1;
            for (q, (whole, cut)) in whole.iter().zip(cut).enumerate() {
                let left = if (head, q) == (1, last) { 1.0 - whole[0] } else { 1.0 };
                for (k, (whole, cut)) in whole.iter().zip(cut).enumerate() {
                    let expected = if (head, q, k) == (1, last, 0) { 0.0 } else { whole / left };
                    assert!((cut - expected).abs() < LAST_DIGITS, "prompt {b}, head {head}, query {q}, source {k}");
                }
            }
        }
    }
    // A query that may look nowhere gets nothing, and no NaN.
    assert!(pattern(Edit::knock_out().pos(2))[0].iter().all(|head| head[2].iter().all(|&share| share == 0.0)));
    let error = model.run_with_hooks(tokens(), HookPlan::new().edit(("z", 0), Edit::knock_out())).unwrap_err();
    assert!(error.to_string().contains("not an attention score"), "{error}");
}

#[test]
fn nothing_of_a_plan_leaks_into_the_next_run() {
    let model = model();
    let clean = model.forward(tokens()).unwrap();
    let plan = HookPlan::new().edit("z0", Edit::zero());
    let first = model.run_with_hooks(tokens(), &plan).unwrap().0;
    assert_close(&model.forward(tokens()).unwrap(), &clean, 0.0, "the run after an edited one");
    let failing =
        HookPlan::new().edit("z0", Edit::custom("fails", |_, _| Err(candle_lens::Error::argument("on purpose."))));
    assert!(model.run_with_hooks(tokens(), failing).is_err());
    assert_close(&model.forward(tokens()).unwrap(), &clean, 0.0, "the run after a failed one");
    assert_close(&model.run_with_hooks(tokens(), &plan).unwrap().0, &first, 0.0, "the same plan again");
}
