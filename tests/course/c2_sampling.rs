//! The references of C2 beside loops by hand, identities, and the library's own loss, training and generation.

use candle_lens::course::ex;
use candle_lens::prelude::*;

fn exp_sum(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x).exp()).sum()
}

#[test]
#[expect(clippy::redundant_closure, reason = "a check does not judge the library's own function")]
fn losses_are_the_librarys() -> Result<()> {
    ex::get_log_probs().check(|logits, tokens| log_probs_of(logits, tokens)).expect()?;
    let by_hand = |logits: &Tensor, tokens: &Tokens| -> Result<Tensor> {
        let logits = logits.to_vec3::<f32>()?;
        let mut all = Vec::new();
        for (b, rows) in logits.iter().enumerate() {
            let scores = rows.iter().zip(tokens.row(b).into_iter().skip(1));
            all.extend(scores.map(|(row, id)| (f64::from(row[id as usize]) - exp_sum(row).ln()) as f32));
        }
        Ok(Tensor::from_vec(all, (tokens.batch(), tokens.pos() - 1), &Device::Cpu)?)
    };
    ex::get_log_probs().check(by_hand).expect()?;
    ex::next_token_loss()
        .check(|logits, tokens| Ok::<_, candle_lens::Error>(log_probs_of(logits, tokens)?.mean_all()?.neg()?))
        .expect()?;
    Ok(())
}

/// What the text says of a uniform guess.
#[test]
fn a_uniform_guess_costs_the_logarithm_of_the_vocabulary() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let tokens = model.to_tokens("When John and Mary went")?;
    let uniform = Tensor::zeros((1, tokens.pos(), model.cfg().d_vocab), DType::F32, &Device::Cpu)?;
    let loss = log_probs_of(&uniform, &tokens)?.mean_all()?.neg()?.item()?;
    /// The text says it to three places.
    const PLACES_TOLERANCE: f32 = 6e-4;
    assert!((loss - 7.947).abs() < PLACES_TOLERANCE, "{loss}");
    Ok(())
}

#[test]
fn training_with_the_librarys_loss_passes_and_with_another_rate_does_not() -> Result<()> {
    fn trained(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
        let (model, vars) = HookedTransformer::trainable(cfg.clone(), seed, &Device::Cpu)?;
        let mut adam = AdamW::new(AdamWOptions::default());
        let step = |tokens: &Tokens| {
            let loss = model.loss(tokens)?;
            adam.step_vars(rate, &vars, &loss.backward()?)?;
            loss.item()
        };
        batches.iter().map(step).collect()
    }
    ex::train().check(trained).expect()?;
    let slow = ex::train().check(|cfg, batches, rate, seed| trained(cfg, batches, rate / 100., seed));
    assert!(slow.to_string().contains("the loss of step 1 is"), "{slow}");
    let lazy = ex::train().check(|cfg, batches, rate, seed| {
        let mut losses = trained(cfg, batches, rate, seed)?;
        let start = losses[3];
        losses[4..].fill(start);
        Ok::<_, candle_lens::Error>(losses)
    });
    assert!(lazy.to_string().contains("below half"), "{lazy}");
    let nan = ex::train().check(|_, batches, _, _| Ok::<_, String>(vec![f32::NAN; batches.len()]));
    assert!(nan.to_string().contains("the loss of step 0 is NaN"), "{nan}");
    Ok(())
}

#[test]
fn distributions_are_those_of_loops() -> Result<()> {
    ex::with_temperature().check(|logits, temperature| logits.affine(1. / temperature, 0.)).expect()?;
    let penalised = |logits: &Tensor, ids: &[u32], penalty: f64| -> Result<Tensor> {
        let mut logits = logits.to_vec1::<f32>()?;
        ids.iter().for_each(|id| logits[*id as usize] -= penalty as f32);
        Ok(Tensor::new(logits, &Device::Cpu)?)
    };
    ex::frequency_penalty().check(penalised).expect()?;

    /// Of the tokens for which `stays` holds, given how many are more probable and what these have together.
    fn kept(logits: &Tensor, stays: impl Fn(usize, f64) -> bool) -> Result<Tensor> {
        let logits = logits.to_vec1::<f32>()?;
        let all = exp_sum(&logits);
        let better = |own: f32| logits.iter().copied().filter(|x| *x > own).collect::<Vec<f32>>();
        let stay = |own: f32| stays(better(own).len(), exp_sum(&better(own)) / all);
        let sum: f64 = exp_sum(&logits.iter().copied().filter(|x| stay(*x)).collect::<Vec<f32>>());
        let probs = logits.iter().map(|&x| if stay(x) { (f64::from(x).exp() / sum) as f32 } else { 0. });
        Ok(Tensor::new(probs.collect::<Vec<f32>>(), &Device::Cpu)?)
    }
    ex::top_k_probs().check(|logits, k| kept(logits, |better, _| better < k)).expect()?;
    ex::top_p_probs().check(|logits, p| kept(logits, |_, mass| mass < p)).expect()?;

    // The other way round: from the right end of the line.
    let from_the_end = |probs: &Tensor, uniform: f64| -> Result<u32> {
        let probs = probs.to_vec1::<f32>()?;
        let mut start: f64 = probs.iter().map(|p| f64::from(*p)).sum();
        let holds = |own: &f32| {
            start -= f64::from(*own);
            uniform >= start
        };
        Ok((probs.len() - 1 - probs.iter().rev().position(holds).unwrap_or(0)) as u32)
    };
    ex::sample().check(from_the_end).expect()
}

/// Greedy text of the library where the context is long enough, and a window over the text where it is not.
#[test]
fn texts_are_the_librarys() -> Result<()> {
    let text = |model: &HookedTransformer, tokens: &Tokens, new: usize| -> Result<Vec<u32>> {
        let options = GenerateOptions { max_new_tokens: new, stop_at_eos: false, ..Default::default() };
        if tokens.pos() + new <= model.cfg().n_ctx {
            return Ok(model.generate(tokens, options)?.tokens()?.row(0));
        }
        let mut ids = tokens.row(0);
        while ids.len() < tokens.pos() + new {
            let mut window = ids.clone();
            window.drain(..ids.len().saturating_sub(model.cfg().n_ctx));
            let last = window.len() - 1;
            let logits = model.forward(vec![window])?.to_vec3::<f32>()?;
            let row = &logits[0][last];
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("not empty");
            ids.push(best as u32);
        }
        Ok(ids)
    };
    ex::generate_greedy().check(text).expect()?;
    ex::generate_cached()
        .check(|model, tokens, new| Ok::<_, candle_lens::Error>((text(model, tokens, new)?, tokens.pos() + new - 1)))
        .expect()
}

/// Every text of `new` further tokens, with its score from a run of the whole.
fn all_texts(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<(f32, Vec<u32>)>> {
    let d_vocab = model.cfg().d_vocab as u32;
    let mut rows = vec![tokens.row(0)];
    for _ in 0..new {
        rows = rows.iter().flat_map(|ids| (0..d_vocab).map(move |id| [&ids[..], &[id]].concat())).collect();
    }
    let all = Tokens::from_rows(rows.clone())?;
    let log_probs = log_probs_of(&model.forward(&all)?, &all)?;
    let scores = log_probs.narrow(1, tokens.pos() - 1, new)?.sum(1)?.to_vec1::<f32>()?;
    let mut texts: Vec<(f32, Vec<u32>)> = scores.into_iter().zip(rows).collect();
    texts.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(texts)
}

/// Of all texts of each length, those remain whose beginnings remained.
#[test]
fn beams_are_what_all_texts_leave() -> Result<()> {
    let pruned =
        |model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize| -> Result<Vec<(f32, Vec<u32>)>> {
            let mut kept = vec![(0f32, tokens.row(0))];
            for _ in 0..new {
                let mut texts = Vec::new();
                for (score, ids) in kept {
                    let longer = all_texts(model, &Tokens::from_rows(vec![ids])?, 1)?;
                    texts.extend(longer.into_iter().map(|(more, ids)| (score + more, ids)));
                }
                texts.sort_by(|a, b| b.0.total_cmp(&a.0));
                texts.truncate(beams);
                kept = texts;
            }
            Ok(kept)
        };
    ex::beam_search().check(pruned).expect()
}

#[test]
fn attention_behind_a_cache_is_the_end_of_attention() -> Result<()> {
    let whole = |q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor| -> Result<Tensor> {
        let (k, v) = (Tensor::cat(&[past_k, k], 1)?, Tensor::cat(&[past_v, v], 1)?);
        let past = past_k.dim(1)?;
        let mut rows = Vec::new();
        for new in 0..q.dim(1)? {
            // One query sees all keys up to its own: no mask is needed.
            let (k, v) = (k.narrow(1, 0, past + new + 1)?, v.narrow(1, 0, past + new + 1)?);
            let q = (q.narrow(1, new, 1)? / (q.dim(3)? as f64).sqrt())?;
            let pattern = softmax(&einsum("b q h d, b k h d -> b h q k", &[&q, &k])?)?;
            rows.push(einsum("b h q k, b k h d -> b q h d", &[&pattern, &v])?);
        }
        Ok(Tensor::cat(&rows, 1)?)
    };
    ex::attend_with_cache().check(whole).expect()
}
