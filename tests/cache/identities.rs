//! Identities of decompositions: parts sum to the residual stream, and their shares to the model's logits.

use candle_lens::Result;
use candle_lens::cache::{ActivationCache, Stack};
use candle_lens::candle::Tensor;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::model::{HookedTransformer, Processing};

use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};
use crate::support::scratch;
use crate::support::sentence::sentence;

fn run(processing: Processing) -> Result<(HookedTransformer, Tensor, ActivationCache)> {
    let model = tiny_model(processing);
    let tokens = Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens");
    let (logits, cache) = model.run_with_cache(tokens)?;
    Ok((model, logits, cache))
}

#[test]
fn parts_sum_to_the_residual_stream() -> Result<()> {
    let mut agreement = Agreement::default();
    for processing in [Processing::NONE, Processing::default()] {
        let (model, _, cache) = run(processing)?;
        for layer in 0..=2 {
            let whole = if layer == 2 { cache.get(("resid_post", 1))? } else { cache.get(("resid_pre", layer))? };
            let parts = cache.decompose_resid(Stack::components().before(layer))?;
            agreement.check(&format!("decompose_resid before {layer}"), &parts.sum()?, &whole);
            let options = Stack::heads().before(layer).with_remainder();
            let heads = cache.stack_head_results(&model, options)?;
            assert_eq!(heads.len(), 4 * layer as usize + 1);
            agreement.check(&format!("heads and remainder before {layer}"), &heads.sum()?, &whole);
        }
        let middle = Stack::components().before_mlp(1);
        agreement.check("the MLP's input", &cache.decompose_resid(middle)?.sum()?, &cache.get(("resid_mid", 1))?);
        for layer in 0..2 {
            let heads = cache.stack_head_results(&model, Stack::heads().before(layer + 1))?;
            let own = heads.tensor().narrow(0, 4 * layer as usize, 4)?.sum(0)?;
            let out = own.broadcast_add(&model.b_O()?.get(layer as usize)?)?;
            agreement.check(&format!("heads and b_O of {layer}"), &out, &cache.get(("attn_out", layer))?);
        }
    }
    agreement.finish("sums of parts");
    Ok(())
}

#[test]
fn attributions_sum_to_the_logit() -> Result<()> {
    let (model, logits, cache) = run(Processing::default())?;
    let mut agreement = Agreement::default();
    for (token, wrong) in [(5u32, 17u32), (250, 0)] {
        let b_u = numbers(&model.b_U());
        let of = |id: u32| numbers(&logits.narrow(2, id as usize, 1).expect("the id has a logit"));
        let parts = cache.decompose_resid(Stack::components())?;
        let shares = cache.logit_attrs(&model, &parts, token)?;
        let sums = shares.values().sum_axis(ndarray::Axis(0));
        let whole = of(token).into_iter().map(|logit| logit - b_u[token as usize]);
        agreement.check_numbers("the logit", sums.iter().map(|&x| f64::from(x)).zip(whole));
        let shares = cache.logit_attrs(&model, &parts, (token, wrong))?;
        let sums = shares.values().sum_axis(ndarray::Axis(0));
        let bias = b_u[token as usize] - b_u[wrong as usize];
        let whole = of(token).into_iter().zip(of(wrong)).map(|(right, wrong)| right - wrong - bias);
        agreement.check_numbers("the logit difference", sums.iter().map(|&x| f64::from(x)).zip(whole));
    }
    agreement.finish("attributions");
    Ok(())
}

#[test]
fn the_logit_lens_ends_at_the_logits() -> Result<()> {
    let mut agreement = Agreement::default();
    for processing in [Processing::NONE, Processing::default()] {
        let (model, logits, cache) = run(processing)?;
        let options = Stack::accumulated().with_mid().normed();
        let lens = cache.accumulated_resid(options)?;
        let last = lens.tensor().get(lens.len() - 1)?;
        let flat = last.flatten_to(1)?.matmul(&model.W_U())?.broadcast_add(&model.b_U())?;
        agreement.check("the last of the lens", &flat, &logits.flatten_to(1)?);
    }
    agreement.finish("logit lens");
    Ok(())
}

#[test]
fn slicing_before_or_after_gives_the_same() -> Result<()> {
    let (model, _, cache) = run(Processing::default())?;
    let tokens = cache.tokens().clone();
    let mut agreement = Agreement::default();
    for pos in [-1, 2] {
        let (_, sliced) = model.run_with_hooks(&tokens, HookPlan::new().capture_all().pos(pos))?;
        let at = if pos < 0 { tokens.pos() - 1 } else { pos as usize };
        let heads = Stack::heads().normed();
        let all = cache.stack_head_results(&model, heads.clone())?.tensor().narrow(2, at, 1)?.squeeze(2)?;
        agreement.check("heads of a sliced cache", &sliced.stack_head_results(&model, heads.clone())?.tensor(), &all);
        let later = heads.clone().pos(pos);
        agreement.check("a slice of the heads", &cache.stack_head_results(&model, later)?.tensor(), &all);
    }
    agreement.finish("slices");
    Ok(())
}

#[test]
fn a_cache_outlives_its_model_and_its_batch_axis() -> Result<()> {
    let (model, logits, _) = run(Processing::default())?;
    let one = Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens").row(1).to_vec();
    let (_, cache) = model.run_with_cache(vec![one])?;
    drop((model, logits));
    let with_batch = cache.decompose_resid(Stack::components().normed())?;
    let without = cache.clone().remove_batch_dim()?;
    assert_eq!(without.get(("q", 0))?.dims(), [7, 4, 6]);
    let parts = without.decompose_resid(Stack::components().normed())?;
    let mut agreement = Agreement::default();
    agreement.check("parts without batch", &parts.tensor(), &with_batch.tensor().squeeze(1)?);
    agreement.finish("batch axis");
    Ok(())
}

/// What a plan makes of heads' results is not in z, from which they are made where they are not cached.
#[test]
fn results_that_were_edited_must_be_cached() -> Result<()> {
    let model = tiny_model(Processing::default());
    let tokens = Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens");
    let plan = HookPlan::new().capture_all().edit(("result", 1), Edit::zero().head(2));
    let (_, cache) = model.run_with_hooks(&tokens, &plan)?;
    let file = scratch("identities").join("edited.safetensors");
    cache.save(&file)?;
    for cache in [cache, ActivationCache::load(&file)?] {
        sentence(cache.stack_head_results(&model, Stack::heads()), &["blocks.1.attn.hook_result", "capture"]);
        // The heads of earlier layers still follow from z.
        cache.stack_head_results(&model, Stack::heads().before(1))?;
    }
    let (_, cache) = model.run_with_hooks(&tokens, plan.capture(("result", 1)))?;
    let heads = cache.stack_head_results(&model, Stack::heads())?;
    let mut agreement = Agreement::default();
    let own = heads.tensor().narrow(0, 4, 4)?.sum(0)?.broadcast_add(&model.b_O()?.get(1)?)?;
    agreement.check("heads and b_O", &own, &cache.get(("attn_out", 1))?);
    assert!(numbers(&heads.tensor().get(6)?).into_iter().all(|number| number == 0.0));
    agreement.finish("edited results");
    Ok(())
}

#[test]
fn positions_are_labelled_with_those_of_the_run() -> Result<()> {
    let (model, _, cache) = run(Processing::NONE)?;
    let tokens = cache.tokens().clone();
    let direction = model.W_U().t()?.get(1)?;
    let labels = |cache: &ActivationCache, pos: candle_lens::slice::Slice| -> Result<Vec<String>> {
        let stack = cache.decompose_resid(Stack::components().pos(pos))?;
        Ok(stack.project(&direction)?.labels("position")?.to_vec())
    };
    assert_eq!(labels(&cache, (2..5).into())?, ["2", "3", "4"]);
    assert_eq!(labels(&cache, [3, 1].into())?, ["3", "1"]);
    assert_eq!(labels(&cache, candle_lens::slice::Slice::All)?.len(), tokens.pos());
    let (_, sliced) = model.run_with_hooks(tokens, HookPlan::new().capture_all().pos(1..3))?;
    assert_eq!(labels(&sliced, candle_lens::slice::Slice::All)?, ["1", "2"], "the cache holds only these");
    Ok(())
}
