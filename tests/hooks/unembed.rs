//! Input and output of the unembedding, which are points like all others.

use candle_lens::Result;
use candle_lens::hooks::{Edit, HookPlan, HookPoint};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, RunOptions};
use candle_lens::prelude::{DType, Device};
use candle_lens::tokens::Tokens;

use crate::support::assert_close;
use crate::support::sentence::sentence;
use crate::support::tolerance::REORDERED;

fn model() -> HookedTransformer {
    let cfg =
        HookedTransformerConfig { n_layers: 3, d_model: 8, n_heads: 2, d_vocab: 20, n_ctx: 12, ..Default::default() };
    HookedTransformer::trainable(cfg, 1, &Device::Cpu).unwrap().0.without_weight_gradients()
}

fn tokens() -> Tokens {
    Tokens::from_rows(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]]).unwrap()
}

#[test]
fn logits_are_points_as_others() -> Result<()> {
    let model = model();
    let plain = model.forward(tokens())?;
    let (_, cache) = model.run_with_hooks(tokens(), HookPlan::new().capture(("logits", "unembed_in")))?;
    assert_close(&cache.get("logits")?, &plain, 0.0, "logits");
    assert_close(&cache.get("unembed.hook_out")?, &plain, 0.0, "logits");
    let made = cache.get("unembed_in")?.broadcast_matmul(&model.W_U())?.broadcast_add(&model.b_U())?;
    assert_close(&made, &plain, REORDERED, "what the unembedding makes of what it reads");
    let halved = model.run_with_hooks(tokens(), HookPlan::new().edit("logits", Edit::scale(0.5)))?.0;
    assert_close(&halved, &(&plain * 0.5)?, 0.0, "edited");
    // A run computes logits only where it must, and a plan that names them makes it.
    let options = RunOptions { logits: false, ..Default::default() };
    let run = model.run(tokens(), HookPlan::new().capture("logits"), &options)?;
    assert!(run.logits.is_none());
    assert_close(&run.captured[&HookPoint::UnembedOut], &plain, 0.0, "without logits in the result");
    let (at_last, _) = (HookPlan::new().capture("logits").pos(-1), ());
    let memory = at_last.memory(&model.dims(), 2, 6, DType::F32)?;
    assert_eq!(memory.kept(), model.run_with_hooks(tokens(), &at_last)?.1.bytes());
    // The gradient of the sum of the logits is 1 at each of them.
    let run = model.run(tokens(), HookPlan::new().watch("logits"), RunOptions::default())?;
    let gradient = run.taps.gradients(&run.logits.expect("asked for").sum_all()?)?.get("logits")?;
    assert_close(&gradient, &plain.ones_like()?, 0.0, "gradient");
    let until = RunOptions { stop_at_layer: Some(3), ..Default::default() };
    sentence(model.run(tokens(), HookPlan::new().capture("logits"), &until), &["unembed.hook_out", "never reached"]);
    Ok(())
}
