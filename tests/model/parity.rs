//! The model against TransformerLens 3.9: logits, losses and every activation (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::hooks::{Edit, HookPlan, HookPoint, MeanOver, Site};
use candle_lens::model::{HookedTransformer, Loss, Processing, Run, RunOptions};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::assert_close;
use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};

fn run_everything(model: &HookedTransformer, tokens: &Tokens, loss: Loss) -> Result<Run> {
    let options = RunOptions { loss, ..Default::default() };
    model.run(tokens, HookPlan::new().capture_where(|point| point != HookPoint::Tokens), &options)
}

/// Compares logits, losses and each activation of the reference (under `prefix`) with a run of the model.
/// Returns how many activations there were.
pub fn compare_run(
    agreement: &mut Agreement,
    model: &HookedTransformer,
    reference: &Reference,
    prefix: &str,
) -> Result<usize> {
    let tokens = reference.tokens("tokens");
    let names = reference.names(prefix);
    let loss = if names.contains(&"loss".to_string()) { Loss::PerToken } else { Loss::None };
    let run = run_everything(model, &tokens, loss)?;
    let mut points = 0;
    for name in names {
        let got = match name.as_str() {
            "tokens" | "transformers.logits" => continue,
            "logits" => {
                // The references keep TransformerLens' logits once, not as `unembed.hook_out` too.
                if model.cfg().output_logits_soft_cap.is_none() {
                    let captured = &run.captured[&HookPoint::UnembedOut];
                    agreement.check("unembed.hook_out", captured, reference.get(&format!("{prefix}{name}")));
                }
                run.logits.clone().unwrap()
            }
            "loss" => model.loss(&tokens)?,
            "loss_per_token" => run.loss.clone().unwrap(),
            hook => {
                points += 1;
                run.captured[&hook.parse::<HookPoint>()?].clone()
            }
        };
        agreement.check(&name, &got, reference.get(&format!("{prefix}{name}")));
    }
    Ok(points)
}

/// How many points a model has besides its tokens, which are not activations, the unembedding's, which the references do
/// not keep by these names, and `mlp.hook_in`, which is circuit-tracer's.
pub fn all_points(model: &HookedTransformer) -> usize {
    let left_out = [HookPoint::Tokens, HookPoint::UnembedIn, HookPoint::UnembedOut];
    let is_compared =
        |point: &HookPoint| !left_out.contains(point) && !matches!(point, HookPoint::Block(_, Site::MlpHookIn));
    HookPoint::all(&model.dims()).into_iter().filter(is_compared).count()
}

/// `mlp.hook_in` is not in the references, but the points around it are: it is the norm's output with scale and shift, and the
/// neurons read it.
#[test]
fn what_the_mlp_reads_lies_between_its_norm_and_its_neurons() -> Result<()> {
    const ROUNDING: f32 = 1e-5;
    for processing in [Processing::NONE, Processing::default()] {
        let model = tiny_model(processing);
        let plan = HookPlan::new().capture_where(|point| point.layer() == Some(1));
        let (_, cache) =
            model.run_with_hooks(Tokens::from_rows(vec![vec![5, 3, 8]])?, plan.capture(("mlp_hook_in", 1)))?;
        let (read, normalized) = (cache.get(("mlp_hook_in", 1))?, cache.get(("normalized", 1, "ln2"))?);
        let scaled = match model.weight("blocks.1.ln2.w") {
            Ok(w) => normalized.broadcast_mul(&w)?.broadcast_add(&model.weight("blocks.1.ln2.b")?)?,
            Err(_) => normalized,
        };
        assert_close(&read, &scaled, ROUNDING, "the norm's output with scale and shift");
        let w_in = model.weight("blocks.1.mlp.W_in")?;
        let pre = read.broadcast_matmul(&w_in)?.broadcast_add(&model.weight("blocks.1.mlp.b_in")?)?;
        assert_close(&pre, &cache.get(("pre", 1))?, ROUNDING, "the neurons");
    }
    Ok(())
}

#[test]
fn raw_model_agrees_at_every_point() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let reference = Reference::load("tiny_gpt2/raw.safetensors");
    let mut agreement = Agreement::default();
    let points = compare_run(&mut agreement, &model, &reference, "")?;
    assert_eq!(points, all_points(&model), "TransformerLens and we have the same points");
    let logits = model.forward(reference.tokens("tokens"))?;
    agreement.check("logits of transformers", &logits, reference.get("transformers.logits"));
    agreement.finish("raw");
    Ok(())
}

#[test]
fn processed_model_agrees_at_every_point() -> Result<()> {
    let model = tiny_model(Processing::default());
    let mut agreement = Agreement::default();
    let points = compare_run(&mut agreement, &model, &Reference::load("tiny_gpt2/processed.safetensors"), "")?;
    assert_eq!(points, all_points(&model));
    agreement.finish("processed");
    Ok(())
}

#[test]
fn refactored_model_agrees_where_the_basis_does_not_matter() -> Result<()> {
    let model = tiny_model(Processing { refactor_factored_attn_matrices: true, ..Default::default() });
    let mut agreement = Agreement::default();
    let points = compare_run(&mut agreement, &model, &Reference::load("tiny_gpt2/refactored.safetensors"), "")?;
    assert_eq!(points, 4 * model.cfg().n_layers, "scores, pattern, result and attn_out of each layer");
    agreement.finish("refactored");
    Ok(())
}

#[test]
fn processed_weights_agree() -> Result<()> {
    let model = tiny_model(Processing::default());
    let reference = Reference::load("tiny_gpt2/processed_weights.safetensors");
    let mut agreement = Agreement::default();
    let outside = [
        ("embed.W_E", model.W_E()),
        ("pos_embed.W_pos", model.W_pos()?),
        ("unembed.W_U", model.W_U()),
        ("unembed.b_U", model.b_U()),
    ];
    for (name, got) in &outside {
        agreement.check(name, got, reference.get(name));
    }
    let stacked = [
        ("attn.W_Q", model.W_Q()?),
        ("attn.W_K", model.W_K()?),
        ("attn.W_V", model.W_V()?),
        ("attn.W_O", model.W_O()?),
        ("attn.b_Q", model.b_Q()?),
        ("attn.b_K", model.b_K()?),
        ("attn.b_V", model.b_V()?),
        ("attn.b_O", model.b_O()?),
        ("mlp.W_in", model.W_in()?),
        ("mlp.b_in", model.b_in()?),
        ("mlp.W_out", model.W_out()?),
        ("mlp.b_out", model.b_out()?),
    ];
    for (name, got) in &stacked {
        for layer in 0..model.cfg().n_layers {
            let name = format!("blocks.{layer}.{name}");
            agreement.check(&name, &got.get(layer)?, reference.get(&name));
        }
    }
    assert_eq!(reference.names("").len(), outside.len() + stacked.len() * model.cfg().n_layers);
    agreement.finish("processed weights");
    Ok(())
}

/// The elements at real tokens only: TransformerLens computes something at padding too, which means nothing.
fn at_real_tokens(tensor: &Tensor, tokens: &Tokens, pos_axis: usize) -> Result<Vec<f64>> {
    let mut kept = Vec::new();
    for b in 0..tokens.batch() {
        for p in 0..tokens.pos() {
            if tokens.is_real(b, p) {
                kept.extend(numbers(&tensor.narrow(0, b, 1)?.narrow(pos_axis, p, 1)?));
            }
        }
    }
    Ok(kept)
}

#[test]
fn padded_batches_agree_at_real_tokens() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let reference = Reference::load("tiny_gpt2/padded.safetensors");
    let mut agreement = Agreement::default();
    for (side, prefix) in [(PaddingSide::Right, "right."), (PaddingSide::Left, "left.")] {
        let rows = (0..3).map(|b| reference.tokens(&format!("{prefix}tokens")).row(b).to_vec()).collect();
        let tokens = Tokens::from_padded_rows(rows, 0, side, true)?;
        assert_eq!(tokens.lengths(), [7, 4, 2]);
        let run = run_everything(&model, &tokens, Loss::None)?;
        for name in reference.names(prefix) {
            let expected = reference.get(&format!("{prefix}{name}"));
            let (got, pos_axis) = match name.as_str() {
                "tokens" | "mask" => continue,
                "loss" => {
                    agreement.check("loss", &model.loss(&tokens)?, expected);
                    continue;
                }
                "logits" => (run.logits.clone().unwrap(), 1),
                hook => {
                    let point: HookPoint = hook.parse()?;
                    (run.captured[&point].clone(), if hook.ends_with("pattern") { 2 } else { 1 })
                }
            };
            let expected = at_real_tokens(expected, &tokens, pos_axis)?;
            let got = at_real_tokens(&got, &tokens, pos_axis)?;
            assert_eq!(got.len(), expected.len(), "{prefix}{name}");
            agreement.check_numbers(&format!("{prefix}{name}"), got.into_iter().zip(expected));
        }
    }
    agreement.finish("padded");
    Ok(())
}

#[test]
fn padding_changes_nothing_for_the_real_tokens() -> Result<()> {
    let model = tiny_model(Processing::default());
    let row = |b| Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens").row(b).to_vec();
    let rows: Vec<Vec<u32>> = vec![row(0), row(1)[..4].to_vec(), row(2)[..1].to_vec()];
    let mut agreement = Agreement::default();
    for side in [PaddingSide::Right, PaddingSide::Left] {
        let batch = Tokens::padded(rows.clone(), 0, side)?;
        let together = model.forward(&batch)?;
        for (b, row) in rows.iter().enumerate() {
            let alone = model.forward(vec![row.clone()])?;
            let part = together.narrow(0, b, 1)?.narrow(1, batch.first_positions()[b], row.len())?;
            agreement.check(&format!("row {b} padded {side}"), &part, &alone);
        }
    }
    agreement.finish("padded and alone");
    Ok(())
}

/// Queries of padding may look nowhere; half precision has no room for the numbers that f32 uses there.
#[test]
fn padding_on_the_left_is_no_nan_in_half_precision() -> Result<()> {
    let folder = crate::support::fixture::tiny_gpt2();
    for dtype in [DType::F16, DType::BF16] {
        let options = candle_lens::model::LoadOptions { dtype, ..Default::default() };
        let model = HookedTransformer::from_pretrained_with(folder.to_str().expect("UTF-8"), options)?;
        let batch = Tokens::padded(vec![vec![1, 2, 3, 4, 5], vec![6, 7]], 0, PaddingSide::Left)?;
        let logits = model.forward(&batch)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(logits.iter().all(|logit| logit.is_finite()), "{dtype:?}");
    }
    Ok(())
}

#[test]
fn edited_runs_agree() -> Result<()> {
    let model = tiny_model(Processing::default());
    let reference = Reference::load("tiny_gpt2/edited.safetensors");
    let vector = || reference.get("vector").clone();
    let plans = [
        ("zero_head_2_of_z_0", ("z", 0), Edit::zero().head(2)),
        ("replace_resid_pre_1_at_3", ("resid_pre", 1), Edit::replace(vector()).pos(3)),
        ("scale_mlp_out_1_by_half", ("mlp_out", 1), Edit::scale(0.5)),
        ("add_to_q_1_head_1_last_pos", ("q", 1), Edit::add(reference.get("query").clone()).head(1).pos(-1)),
        ("pattern_0_without_first_source", ("pattern", 0), Edit::zero().key_pos(0)),
        ("mean_over_batch_of_attn_out_0", ("attn_out", 0), Edit::mean(MeanOver::Batch)),
        ("mean_over_batch_and_pos_of_attn_out_0", ("attn_out", 0), Edit::mean(MeanOver::BatchAndPos)),
    ];
    let mut agreement = Agreement::default();
    let tokens = reference.tokens("tokens");
    for (name, point, edit) in plans {
        let run = model.run(&tokens, HookPlan::new().edit(point, edit), RunOptions::default())?;
        agreement.check(name, &run.logits.unwrap(), reference.get(name));
    }
    let untouched = Reference::load("tiny_gpt2/processed.safetensors");
    agreement.check("a run after them", &model.forward(&tokens)?, untouched.get("logits"));
    agreement.finish("edited");
    Ok(())
}

#[test]
fn runs_start_and_stop_where_the_residual_stream_says() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let reference = Reference::load("tiny_gpt2/raw.safetensors");
    let tokens = reference.tokens("tokens");
    let resid = |layer: usize| reference.get(&format!("blocks.{layer}.hook_resid_pre"));
    let mut agreement = Agreement::default();
    for (stop, layer) in [(0, 0), (1, 1), (-1, 1), (-2, 0)] {
        let options = RunOptions { stop_at_layer: Some(stop), ..Default::default() };
        let run = model.run(&tokens, HookPlan::new(), &options)?;
        agreement.check(&format!("stop at {stop}"), &run.resid.unwrap(), resid(layer));
        let options = RunOptions { start_at_layer: Some((stop, resid(layer).clone())), ..Default::default() };
        let run = model.run(&tokens, HookPlan::new(), &options)?;
        agreement.check(&format!("start at {stop}"), &run.logits.unwrap(), reference.get("logits"));
    }
    agreement.finish("start and stop");
    Ok(())
}
