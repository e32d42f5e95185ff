//! What `induction` claims: that it continues what repeats, and by which heads.

use candle_lens::prelude::*;

use super::Claim;

const SEQ_LEN: usize = 25;

pub fn measure(model: &HookedTransformer) -> Result<Vec<Claim>> {
    let tokens = repeated_tokens(model, RepeatOptions { seq_len: SEQ_LEN, batch: 16, seed: 1 })?;
    let heads = model.dims().n_heads;
    let (first, second) = losses(model, &tokens, HookPlan::new())?;
    let mut claims = vec![("loss in the first half".into(), first), ("loss in the second half".into(), second)];
    let previous = stripe(model, &tokens, 0, -1, 0)?;
    let through = top_1_through(model)?;
    let k = model.all_composition_scores(Composition::K)?;
    for head in 0..heads {
        let plan = HookPlan::new().edit(("z", 0), Edit::zero().head(head));
        let highest = (0..heads).map(|reader| k.values()[[0, head, 1, reader]]).fold(f32::MIN, f32::max);
        claims.extend([
            (format!("L0H{head}, previous-token score"), previous[head]),
            (format!("L0H{head}, the same from `W_pos` alone"), positions_alone(model, head)?),
            (format!("L0H{head}, second-half loss without it"), losses(model, &tokens, plan)?.1),
            (format!("L0H{head}, K-composition with layer 1, highest"), f64::from(highest)),
            (format!("L0H{head}, tokens found through it, highest"), through[head]),
        ]);
    }
    let induction = stripe(model, &tokens, 1, 1 - SEQ_LEN as isize, 2)?;
    for (head, score) in induction.into_iter().enumerate() {
        claims.push((format!("L1H{head}, induction score"), score));
        claims.push((format!("L1H{head}, tokens copied"), top_1(&copies(model, head)?)?));
    }
    let together = (1..heads)
        .try_fold(copies(model, 0)?, |sum, head| Ok::<_, candle_lens::Error>((sum + copies(model, head)?)?))?;
    claims.push(("layer 1 together, tokens copied".into(), top_1(&together)?));
    for (name, composition) in [("Q", Composition::Q), ("V", Composition::V)] {
        let highest = model.all_composition_scores(composition)?.top(1)[0].value;
        claims.push((format!("{name}-composition, highest"), f64::from(highest)));
    }
    Ok(claims)
}

/// The loss at the tokens of the first half, and at those of the second but its first, which nothing tells.
fn losses(model: &HookedTransformer, tokens: &Tokens, plan: HookPlan) -> Result<(f64, f64)> {
    let (logits, _) = model.run_with_hooks(tokens.clone(), plan)?;
    let found = log_probs_of(&logits, tokens)?.neg()?;
    let mean =
        |from: usize, count: usize| -> Result<f64> { Ok(found.narrow(1, from, count)?.mean_all()?.item()?.into()) };
    Ok((mean(0, SEQ_LEN)?, mean(SEQ_LEN + 1, SEQ_LEN - 1)?))
}

/// The mean along a diagonal of each head's pattern, from its place `from` on.
fn stripe(model: &HookedTransformer, tokens: &Tokens, layer: usize, offset: isize, from: usize) -> Result<Vec<f64>> {
    let mut scores = Vec::new();
    model.visit(tokens.clone(), ("pattern", layer), |pattern, _| {
        let stripe = pattern.diagonal(offset)?;
        let stripe = stripe.narrow(2, from, stripe.dim(2)? - from)?;
        scores = stripe.mean((0, 2))?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        Ok(())
    })?;
    Ok(scores)
}

/// The previous-token score of a head that sees positions and no tokens, at the queries of the rows that are measured.
fn positions_alone(model: &HookedTransformer, head: usize) -> Result<f64> {
    let w_pos = model.W_pos()?.narrow(0, 0, 1 + 2 * SEQ_LEN)?;
    let q = w_pos.matmul(&model.W_Q()?.i((0, head))?)?;
    let k = w_pos.matmul(&model.W_K()?.i((0, head))?)?;
    let scores = (q.matmul(&k.t()?)? / (model.dims().d_head as f64).sqrt())?;
    let future = Tensor::tril2(scores.dim(0)?, DType::U8, &Device::Cpu)?.eq(0u8)?;
    Ok(softmax(&scores.masked_fill(&future, f32::NEG_INFINITY)?)?.diagonal(-1)?.mean_all()?.item()?.into())
}

/// `W_E W_V W_O W_U` of a head of layer 1.
fn copies(model: &HookedTransformer, head: usize) -> Result<Tensor> {
    let ov = model.W_V()?.i((1, head))?.matmul(&model.W_O()?.i((1, head))?)?;
    Ok(model.W_E().matmul(&ov)?.matmul(&model.W_U())?)
}

/// Of how many tokens the row of a square matrix has its highest number on the diagonal.
fn top_1(square: &Tensor) -> Result<f64> {
    let best = square.argmax(1)?.to_vec1::<u32>()?;
    Ok(best.iter().zip(0..).filter(|(found, own)| **found == *own).count() as f64 / best.len() as f64)
}

/// For each head of layer 0, of how many tokens a query of a head of layer 1 finds the key behind the token best, of the best such head.
fn top_1_through(model: &HookedTransformer) -> Result<Vec<f64>> {
    let heads = model.dims().n_heads;
    let w_e = model.W_E();
    (0..heads)
        .map(|writer| {
            let moved = w_e.matmul(&model.W_V()?.i((0, writer))?)?.matmul(&model.W_O()?.i((0, writer))?)?;
            let mut best = 0.0_f64;
            for reader in 0..heads {
                let q = w_e.matmul(&model.W_Q()?.i((1, reader))?)?;
                let k = moved.matmul(&model.W_K()?.i((1, reader))?)?;
                best = best.max(top_1(&q.matmul(&k.t()?)?)?);
            }
            Ok(best)
        })
        .collect()
}
