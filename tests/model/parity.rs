//! The model against TransformerLens 3.9: logits, losses and every activation (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::hooks::{Edit, HookPlan, HookPoint, MeanOver};
use candle_lens::model::{HookedTransformer, Loss, Processing, Run, RunOptions};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};

const ALL: RunOptions =
    RunOptions { start_at_layer: None, stop_at_layer: None, logits: true, loss: Loss::PerToken, bos: Default::default() };

fn run_everything(model: &HookedTransformer, tokens: &Tokens) -> Result<Run> {
    model.run(tokens, HookPlan::new().capture_where(|point| point != HookPoint::Tokens), &RunOptions {
        loss: Loss::PerToken,
        ..Default::default()
    })
}

/// Holds a run against the reference's tensors under `prefix`: each of them, and no point left out.
fn compare_run(model: &HookedTransformer, reference: &Reference, prefix: &str) -> Result<Agreement> {
    let tokens = reference.tokens("tokens");
    let run = run_everything(model, &tokens)?;
    let mut agreement = Agreement::default();
    let mut points = 0;
    for name in reference.names(prefix) {
        let expected = reference.get(&format!("{prefix}{name}"));
        if name.contains("hook_") {
            points += 1;
            agreement.check(&name, &run.captured[&name.parse::<HookPoint>()?], expected);
        }
    }
    agreement.check("logits", run.logits.as_ref().unwrap(), reference.get(&format!("{prefix}logits")));
    if reference.names(prefix).iter().any(|name| name == "loss") {
        agreement.check("loss", &model.loss(&tokens)?, reference.get(&format!("{prefix}loss")));
        agreement.check("loss_per_token", run.loss.as_ref().unwrap(), reference.get(&format!("{prefix}loss_per_token")));
    }
    Ok((agreement, points))
}
