//! References of C4 beside loops, the library's edits, and the logits that attributions must sum to.

use candle_lens::course::ex;
use candle_lens::prelude::*;

use super::c3_attention::losses;

/// A sum of a dozen logits near 10, in f32.
const ROUNDING: f32 = 1e-3;

/// What each part adds to the next token's logit, and the bias's own part, by loops.
fn attribution(parts: &Tensor, scale: &[f32], w_u: &Tensor, b_u: &[f32], ids: &[u32]) -> Result<Vec<Vec<f32>>> {
    let (parts, w_u) = (parts.to_vec3::<f32>()?, w_u.to_vec2::<f32>()?);
    let row = |pos: usize| {
        let next = ids[pos + 1] as usize;
        let of_part = |part: &Vec<f32>| part.iter().zip(&w_u).map(|(x, w)| x * w[next]).sum::<f32>() / scale[pos];
        parts[pos].iter().map(of_part).chain([b_u[next]]).collect()
    };
    Ok((0..ids.len() - 1).map(row).collect())
}

#[test]
fn attributions_are_what_loops_give_and_sum_to_the_logits() -> Result<()> {
    let plain = |embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]| -> Result<Tensor> {
        let parts = Tensor::cat(&[&embed.unsqueeze(1)?, l0, l1], 1)?;
        let mut rows = attribution(&parts, &vec![1.0; ids.len()], w_u, &vec![0.0; w_u.dim(1)?], ids)?;
        rows.iter_mut().for_each(|row| row.truncate(parts.dim(1).unwrap_or(0)));
        Ok(Tensor::new(rows, &Device::Cpu)?)
    };
    ex::logit_attribution().check(plain).expect()?;
    let normed = |parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]| -> Result<Tensor> {
        let rows = attribution(parts, &scale.flatten_all()?.to_vec1()?, w_u, &b_u.to_vec1()?, ids)?;
        Ok(Tensor::new(rows, &Device::Cpu)?)
    };
    ex::logit_attribution_ln().check(normed).expect()?;

    let model = HookedTransformer::from_pretrained("tiny")?;
    let tokens = model.to_tokens("When John and Mary went to the shops, John gave the bag to")?;
    let (logits, cache) = model.run_with_cache(tokens.clone())?;
    let parts = cache.stack(&model, Stack::components())?.tensor().squeeze(1)?.transpose(0, 1)?.contiguous()?;
    let scale = cache.get("ln_final.hook_scale")?.get(0)?;
    let rows = normed(&parts, &scale, &model.W_U(), &model.b_U(), &tokens.row(0))?.sum(1)?.to_vec1::<f32>()?;
    let logits = logits.get(0)?.to_vec2::<f32>()?;
    for (pos, sum) in rows.iter().enumerate() {
        let wanted = logits[pos][tokens.row(0)[pos + 1] as usize];
        assert!((sum - wanted).abs() < ROUNDING, "position {pos}: {sum}, not {wanted}");
    }
    Ok(())
}

/// The same tensor with the numbers of one head made anew from its place and its old number.
fn changed(z: &Tensor, head: usize, new: impl Fn([usize; 4], f32) -> f32) -> Result<Tensor> {
    let (batch, pos, heads, d_head) = z.dims4()?;
    let old = z.flatten_all()?.to_vec1::<f32>()?;
    let place = |at: usize| [at / d_head / heads / pos, at / d_head / heads % pos, at / d_head % heads, at % d_head];
    let numbers = old.iter().enumerate().map(|(at, x)| if place(at)[2] == head { new(place(at), *x) } else { *x });
    Ok(Tensor::from_vec(numbers.collect::<Vec<f32>>(), (batch, pos, heads, d_head), &Device::Cpu)?)
}

#[test]
fn ablations_are_those_of_loops_and_of_the_library() -> Result<()> {
    ex::zero_head().check(|z, head| changed(z, head, |_, _| 0.0)).expect()?;
    let mean = |z: &Tensor, head: usize| -> Result<Tensor> {
        let prompts = (0..z.dim(0)?).map(|b| Ok(z.get(b)?.to_vec3::<f32>()?)).collect::<Result<Vec<_>>>()?;
        let mean = |[_, p, h, d]: [usize; 4]| prompts.iter().map(|z| z[p][h][d]).sum::<f32>() / prompts.len() as f32;
        changed(z, head, |place, _| mean(place))
    };
    ex::mean_head().check(mean).expect()?;
    let scores = |model: &HookedTransformer, tokens: &Tokens, seq_len: usize| -> Result<Tensor> {
        let loss = |plan: HookPlan| -> Result<f32> {
            let rows = losses(&model.run_with_hooks(tokens.clone(), plan)?.0, tokens)?;
            let known: Vec<f32> = rows.iter().flat_map(|row| row[seq_len + 1..].iter().copied()).collect();
            Ok(known.iter().sum::<f32>() / known.len() as f32)
        };
        let (layers, heads) = (model.dims().n_layers, model.dims().n_heads);
        let clean = loss(HookPlan::new())?;
        let without = |at: usize| HookPlan::new().edit(("z", at / heads), Edit::zero().head(at % heads));
        let all = (0..layers * heads).map(|at| Ok(loss(without(at))? - clean)).collect::<Result<Vec<f32>>>()?;
        Ok(Tensor::from_vec(all, (layers, heads), &Device::Cpu)?)
    };
    ex::ablation_scores().check(scores).expect()
}

/// The head that costs most writes nothing into the logits, and zero and mean ablation name the same one.
#[test]
fn one_head_of_layer_0_costs_most_however_it_is_taken_away() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("induction")?;
    let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 25, batch: 4, seed: 0 })?;
    let cost = |plan: HookPlan| -> Result<f32> {
        let (logits, _) = model.run_with_hooks(tokens.clone(), plan)?;
        log_probs_of(&logits, &tokens)?.narrow(1, 26, 24)?.neg()?.mean_all()?.item()
    };
    for layer in 0..2 {
        for head in 0..4 {
            let to_mean = Edit::custom("mean", |z, _| z.mean_keepdim(0)?.broadcast_as(z.shape())?.contiguous());
            for edit in [Edit::zero(), to_mean] {
                let cost = cost(HookPlan::new().edit(("z", layer), edit.head(head)))?;
                assert!(if (layer, head) == (0, 0) { cost > 4.0 } else { cost < 1.0 }, "L{layer}H{head}: {cost}");
            }
        }
    }
    let (_, cache) = model.run_with_cache(tokens.clone())?;
    let heads = cache.stack(&model, Stack::heads())?.tensor();
    let parts = Tensor::cat(&[cache.get("embed")?.unsqueeze(0)?, heads], 0)?.narrow(2, 26, 24)?;
    let directions = (0..4).map(|row| {
        let next = Tensor::new(&tokens.row(row)[27..], &Device::Cpu)?;
        Ok(model.W_U().index_select(&next, 1)?.t()?)
    });
    let directions = Tensor::stack(&directions.collect::<Result<Vec<Tensor>>>()?, 0)?;
    let parts = parts.broadcast_mul(&directions)?.sum(3)?.mean((1, 2))?.to_vec1::<f32>()?;
    assert!(parts[..5].iter().all(|part| part.abs() < 0.2) && parts[5..].iter().all(|part| *part > 1.0), "{parts:?}");
    Ok(())
}

/// A question's answer is judged by the model, and a wrong one is answered by what its head does.
#[test]
fn the_question_tells_what_a_head_does_and_not_which_it_is() {
    assert!(ex::previous_token_head().check(|| Ok::<_, String>("l0h0 ".to_string())).passed());
    for wrong in ["L0H3", "L1H0"] {
        let said = ex::previous_token_head().check(|| Ok::<_, String>(wrong.to_string())).to_string();
        assert!(said.contains("of its attention to the token before") && !said.contains("L0H0"), "{said}");
    }
    let outside = ex::previous_token_head().check(|| Ok::<_, String>("L0H4".to_string())).to_string();
    assert!(outside.contains("there is no such head"), "{outside}");
    for untouched in ["", "0, 0"] {
        let said = ex::previous_token_head().check(|| Ok::<_, String>(untouched.to_string())).to_string();
        assert!(said.contains("names no head"), "{said}");
    }
}
