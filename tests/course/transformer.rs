//! C1: references against loops in f64, and against the library's own runs.

use candle_lens::course::{AttnWeights, BlockWeights, MlpWeights, UnembedWeights, block_weights, ex, unembed_weights};
use candle_lens::prelude::*;

/// One prompt's positions, each a vector.
type Rows = Vec<Vec<f64>>;

fn vector(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn rows(x: &Tensor) -> Result<Rows> {
    Ok(x.to_dtype(DType::F64)?.to_vec2()?)
}

/// What is done to one prompt, done to each.
fn prompts(x: &Tensor, of: impl Fn(&Rows) -> Result<Rows>) -> Result<Tensor> {
    let each = (0..x.dim(0)?).map(|batch| of(&rows(&x.get(batch)?)?)).collect::<Result<Vec<_>>>()?;
    let shape = (each.len(), each[0].len(), each[0][0].len());
    let numbers: Vec<f32> = each.into_iter().flatten().flatten().map(|number| number as f32).collect();
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
}

fn norm(x: &Rows, w: &Tensor, b: &Tensor, eps: f64) -> Result<Rows> {
    let (w, b) = (vector(w)?, vector(b)?);
    let one = |row: &Vec<f64>| {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / row.len() as f64;
        (0..row.len()).map(|d| (row[d] - mean) / (variance + eps).sqrt() * w[d] + b[d]).collect()
    };
    Ok(x.iter().map(one).collect())
}

/// `x w + b`.
fn linear(x: &Rows, w: &Tensor, b: &Tensor) -> Result<Rows> {
    let (w, b) = (rows(w)?, vector(b)?);
    let one = |row: &Vec<f64>| {
        (0..b.len()).map(|to| row.iter().zip(&w).map(|(x, w)| x * w[to]).sum::<f64>() + b[to]).collect()
    };
    Ok(x.iter().map(one).collect())
}

fn sum(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

fn attend(x: &Rows, weights: &AttnWeights) -> Result<Rows> {
    let (heads, _, d_head) = weights.W_Q.dims3()?;
    let mut out: Rows = vec![vector(&weights.b_O)?; x.len()];
    for head in 0..heads {
        let part = |w: &Tensor, b: &Tensor| linear(x, &w.get(head)?, &b.get(head)?);
        let (q, k) = (part(&weights.W_Q, &weights.b_Q)?, part(&weights.W_K, &weights.b_K)?);
        let (v, w_o) = (part(&weights.W_V, &weights.b_V)?, rows(&weights.W_O.get(head)?)?);
        for to in 0..x.len() {
            let score = |from: usize| (0..d_head).map(|d| q[to][d] * k[from][d]).sum::<f64>() / (d_head as f64).sqrt();
            let shares: Vec<f64> = (0..=to).map(|from| score(from).exp()).collect();
            let total: f64 = shares.iter().sum();
            for (from, d) in (0..=to).flat_map(|from| (0..d_head).map(move |d| (from, d))) {
                let z = shares[from] / total * v[from][d];
                out[to].iter_mut().zip(&w_o[d]).for_each(|(out, w)| *out += z * w);
            }
        }
    }
    Ok(out)
}

fn neurons(x: &Rows, weights: &MlpWeights) -> Result<Rows> {
    let gelu = |x: f64| x / 2. * (1. + ((2. / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
    let pre = linear(x, &weights.W_in, &weights.b_in)?;
    let post = pre.into_iter().map(|row| row.into_iter().map(gelu).collect()).collect();
    linear(&post, &weights.W_out, &weights.b_out)
}

#[test]
fn references_are_what_loops_give() -> Result<()> {
    ex::layer_norm().check(|x, w, b, eps| prompts(x, |x| norm(x, w, b, eps))).expect()?;
    let looked_up = |w: &Tensor, batch: usize, pos: usize, row: &dyn Fn(usize, usize) -> usize| -> Result<Tensor> {
        let w = w.to_vec2::<f32>()?;
        let places = (0..batch).flat_map(|b| (0..pos).map(move |p| (b, p)));
        let numbers: Vec<f32> = places.flat_map(|(b, p)| w[row(b, p)].clone()).collect();
        Ok(Tensor::from_vec(numbers, (batch, pos, w[0].len()), &Device::Cpu)?)
    };
    ex::embed()
        .check(|tokens: &Tokens, w: &Tensor| {
            looked_up(w, tokens.batch(), tokens.pos(), &|b, p| tokens.id(b, p) as usize)
        })
        .expect()?;
    ex::pos_embed()
        .check(|tokens: &Tokens, w: &Tensor| looked_up(w, tokens.batch(), tokens.pos(), &|_, p| p))
        .expect()?;
    ex::attention().check(|x, weights| prompts(x, |x| attend(x, weights))).expect()?;
    ex::mlp().check(|x, weights| prompts(x, |x| neurons(x, weights))).expect()?;
    let mid = |x: &Rows, weights: &BlockWeights| -> Result<Rows> {
        Ok(sum(x, &attend(&norm(x, &weights.ln1_w, &weights.ln1_b, weights.eps)?, &weights.attn)?))
    };
    let post = |x: &Rows, weights: &BlockWeights| -> Result<Rows> {
        let mid = mid(x, weights)?;
        Ok(sum(&mid, &neurons(&norm(&mid, &weights.ln2_w, &weights.ln2_b, weights.eps)?, &weights.mlp)?))
    };
    ex::block()
        .check(|x: &Tensor, weights: &BlockWeights| {
            let pair = (prompts(x, |x| mid(x, weights))?, prompts(x, |x| post(x, weights))?);
            Ok::<_, candle_lens::Error>(pair)
        })
        .expect()?;
    let logits = |x: &Rows, weights: &UnembedWeights| {
        linear(&norm(x, &weights.ln_final_w, &weights.ln_final_b, weights.eps)?, &weights.W_U, &weights.b_U)
    };
    ex::unembed().check(|x, weights| prompts(x, |x| logits(x, weights))).expect()
}

/// The texts say so.
#[test]
fn what_the_texts_say_of_the_trained_model_is_so() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let rows = model.weight("pos_embed.W_pos")?.narrow(0, 0, 40)?;
    let directions = rows.broadcast_div(&rows.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    let likeness = directions.matmul(&directions.t()?)?;
    let mean = |offset: isize| -> Result<f32> { likeness.diagonal(offset)?.mean(0)?.item() };
    assert_eq!([mean(1)?, mean(20)?].map(|mean| format!("{mean:.2}")), ["0.23", "0.05"]);
    let (_, cache) = model.run_with_cache("The keys on the cabinet are old and the keys on the")?;
    let stack = cache.stack(&model, Stack::accumulated().with_mid())?;
    let sizes = stack.tensor().sqr()?.mean(3)?.sqrt()?.squeeze(1)?.to_vec2::<f32>()?;
    assert_eq!(stack.labels()[2], "1_pre");
    assert!(sizes[2][1..].iter().all(|size| sizes[2][0] > 2.0 * size), "BOS stands out: {:?}", sizes[2]);
    let x = Tensor::arange_step(-6f32, 6., 0.01, &Device::Cpu)?;
    let most = (x.gelu()? - x.gelu_erf()?)?.abs()?.max(0)?.item()?;
    assert_eq!(format!("{most:.4}"), "0.0005", "of the two kinds of gelu");
    Ok(())
}

/// A bias of the keys adds one number to all scores of a query.
#[test]
fn keys_need_no_bias() -> Result<()> {
    ex::attention()
        .check(|x: &Tensor, weights: &AttnWeights| {
            let weights = AttnWeights { b_K: weights.b_K.zeros_like()?, ..weights.clone() };
            prompts(x, |x| attend(x, &weights))
        })
        .expect()
}

/// Any number that softmax takes for nothing is as good as minus infinity.
#[test]
fn masks_are_judged_by_what_softmax_makes_of_them() -> Result<()> {
    let hidden =
        |scores: &Tensor| -> Result<Tensor> { Ok(Tensor::tril2(scores.dim(3)?, DType::U8, scores.device())?.eq(0u8)?) };
    ex::apply_causal_mask().check(|scores: &Tensor| scores.masked_fill(&hidden(scores)?, -1e5)).expect()?;
    let multiplied = ex::apply_causal_mask().check(|scores: &Tensor| -> Result<Tensor> {
        let mask = hidden(scores)?.to_dtype(DType::F32)?;
        Ok(scores.broadcast_add(&(mask * f64::NEG_INFINITY)?)?)
    });
    assert!(multiplied.to_string().contains("0 times minus infinity is NaN"), "{multiplied}");
    let none = ex::apply_causal_mask().check(|scores: &Tensor| Ok::<_, candle_lens::Error>(scores.clone()));
    assert!(none.to_string().contains("after softmax, "), "{none}");
    Ok(())
}

/// The stream as the library's cache has it, up to a place from which on everything is 1 too large.
fn stream(model: &HookedTransformer, tokens: &Tokens, wrong_from: usize) -> Result<Vec<Tensor>> {
    let (logits, cache) = model.run_with_cache(tokens.clone())?;
    let mut parts = vec![cache.get(("resid_pre", 0))?];
    for layer in 0..model.cfg().n_layers {
        parts.extend([cache.get(("resid_mid", layer))?, cache.get(("resid_post", layer))?]);
    }
    parts.push(logits);
    let wrong = |(at, part): (usize, Tensor)| if at < wrong_from { Ok(part) } else { Ok((part + 1.0)?) };
    parts.into_iter().enumerate().map(wrong).collect()
}

#[test]
fn a_whole_model_is_right_up_to_a_hook_point() -> Result<()> {
    ex::demo_transformer().check(|model, tokens| stream(model, tokens, usize::MAX)).expect()?;
    let said = |from: usize| ex::demo_transformer().check(|model, tokens| stream(model, tokens, from)).to_string();
    for (from, wanted) in [
        (0, "nothing is right yet; the first difference is in blocks.0.hook_resid_pre, so look at the embeddings."),
        (
            3,
            "all is right up to blocks.0.hook_resid_post; the first difference is in blocks.1.hook_resid_mid, so look at attention in block 1.",
        ),
        (
            4,
            "all is right up to blocks.1.hook_resid_mid; the first difference is in blocks.1.hook_resid_post, so look at the MLP in block 1.",
        ),
        (
            7,
            "all is right up to blocks.2.hook_resid_post; the first difference is in the logits, so look at the final norm or the unembedding.",
        ),
    ] {
        assert!(said(from).contains(wanted), "{}", said(from));
    }
    let short = ex::demo_transformer()
        .check(|model, tokens| Ok::<_, candle_lens::Error>(stream(model, tokens, 9)?.split_off(1)));
    assert!(short.to_string().contains("it returns 7 tensors, and this model of 3 layers has 8"), "{short}");
    Ok(())
}

#[test]
fn weights_are_those_of_models_of_gpt_2s_form() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let (block, last) = (block_weights(&model, 3)?, unembed_weights(&model)?);
    assert_close(&block.attn.W_O, &model.weight("blocks.3.attn.W_O")?, 0.0)?;
    assert_close(&last.W_U, &model.W_U(), 0.0)?;
    assert_eq!(block.eps, model.cfg().eps);
    let error = block_weights(&model, 4).expect_err("there is none").to_string();
    assert!(error.contains("blocks.4.ln1.w"), "{error}");
    let folded = HookedTransformer::from_pretrained("tiny")?;
    let error = block_weights(&folded, 0).expect_err("norms are folded").to_string();
    assert!(error.contains("from_pretrained_no_processing"), "{error}");
    let cfg = HookedTransformerConfig {
        n_layers: 1,
        d_model: 8,
        n_heads: 2,
        d_vocab: 9,
        n_ctx: 5,
        attn_only: true,
        ..Default::default()
    };
    let (attn_only, _) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
    let error = unembed_weights(&attn_only).expect_err("no MLP").to_string();
    assert!(error.contains("has no MLP"), "{error}");
    Ok(())
}
