//! The course judges itself: references, wrong answers, empty functions, and the notebooks made of them.

mod brackets;
mod brackets_model;
mod c00_first_look;
mod c11_modular;
mod c12_probes;
mod c13_function_vectors;
mod c16_gradients;
mod c2_sampling;
mod c3_attention;
mod c4_ablation;
mod c5_circuit;
mod c6_ioi;
mod c7_patching;
mod circuit;
mod dictionaries;
mod models;
mod notebooks;
mod path_patching;
mod progress;
mod seeds;
mod superposition;
mod tensors;
mod transformer;
mod verdicts;

use std::collections::BTreeSet;

use candle_lens::course::{Outcome, ex, sections};
use candle_lens::prelude::*;

#[test]
fn references_pass_and_wrong_answers_are_told_apart() -> Result<()> {
    sections().iter().flat_map(|section| section.exercises()).try_for_each(|about| about.prove())
}

#[test]
fn exercises_are_complete() {
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for about in sections().iter().flat_map(|section| section.exercises()) {
        assert!(ids.insert(about.id) && names.insert(about.name), "{} is there twice", about.id);
        assert!(
            about.hints.len() >= 2 && about.hints.iter().all(|hint| hint.ends_with(['.', '?', ';', '!'])),
            "{}",
            about.id
        );
        assert!(about.solution().starts_with(&format!("fn {}(", about.name)), "{}", about.solution());
        assert!(about.solution().ends_with("\n}") && about.stub().ends_with("{\n    todo!()\n}"), "{}", about.stub());
        assert!(!about.task.trim().is_empty());
    }
}

/// Each reference is compared with the same thing written otherwise, so that it is not its own judge.
#[test]
fn references_are_what_loops_and_the_library_give() -> Result<()> {
    let count = |logits: &Tensor, tokens: &Tokens| -> Result<usize> {
        let logits = logits.to_vec3::<f32>()?;
        let largest =
            |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("not empty") as u32;
        let right = |row: usize| {
            let ids = tokens.row(row);
            (1..ids.len()).filter(|&pos| largest(&logits[row][pos - 1]) == ids[pos]).count()
        };
        Ok((0..tokens.batch()).map(right).sum())
    };
    ex::n_correct().check(count).expect()?;

    let pattern = |q: &Tensor, k: &Tensor| -> Result<Tensor> {
        let (batch, pos, heads, d_head) = q.dims4()?;
        let (q, k) = (q.flatten_all()?.to_vec1::<f32>()?, k.flatten_all()?.to_vec1::<f32>()?);
        let at = |b: usize, p: usize, h: usize, d: usize| ((b * pos + p) * heads + h) * d_head + d;
        let mut all = Vec::new();
        for (b, h, to) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..pos).map(move |to| (b, h, to)))) {
            let product = |from: usize| (0..d_head).map(|d| q[at(b, to, h, d)] * k[at(b, from, h, d)]).sum::<f32>();
            let weights: Vec<f32> = (0..=to).map(|from| (product(from) / (d_head as f32).sqrt()).exp()).collect();
            let total: f32 = weights.iter().sum();
            all.extend((0..pos).map(|from| weights.get(from).copied().unwrap_or(0.) / total));
        }
        Ok(Tensor::from_vec(all, (batch, heads, pos, pos), &Device::Cpu)?)
    };
    ex::attention_pattern().check(pattern).expect()?;

    /// The mean over these queries and all prompts of what a head gives to the key that belongs to the query.
    fn scores(cache: &ActivationCache, pairs: &[(usize, usize)]) -> Result<Tensor> {
        let dims = cache.dims();
        let mut all = Vec::new();
        for (layer, head) in (0..dims.n_layers).flat_map(|layer| (0..dims.n_heads).map(move |head| (layer, head))) {
            let pattern = cache.get(("pattern", layer))?.narrow(1, head, 1)?.squeeze(1)?.to_vec3::<f32>()?;
            let total: f32 = pattern.iter().flat_map(|rows| pairs.iter().map(|(q, k)| rows[*q][*k])).sum();
            all.push(total / (pattern.len() * pairs.len()) as f32);
        }
        Ok(Tensor::from_vec(all, (dims.n_layers, dims.n_heads), &Device::Cpu)?)
    }
    let pos = |cache: &ActivationCache| cache.tokens().pos();
    let pairs = |count: usize, of: &dyn Fn(usize) -> Option<usize>| -> Vec<(usize, usize)> {
        (0..count).filter_map(|query| Some((query, of(query)?))).collect()
    };
    ex::current_token_scores().check(|cache| scores(cache, &pairs(pos(cache), &|q| Some(q)))).expect()?;
    ex::previous_token_scores().check(|cache| scores(cache, &pairs(pos(cache), &|q| q.checked_sub(1)))).expect()?;
    ex::first_token_scores().check(|cache| scores(cache, &pairs(pos(cache), &|_| Some(0)))).expect()?;
    let of_second_half = |seq_len: usize| move |q: usize| (q > seq_len).then(|| q + 1 - seq_len);
    ex::induction_scores()
        .check(|cache, seq_len| scores(cache, &pairs(pos(cache), &of_second_half(seq_len))))
        .expect()?;
    Ok(())
}

#[test]
fn a_number_that_was_written_into_the_code_fails() {
    let five = |q: &Tensor, k: &Tensor| -> Result<Tensor> {
        let scores = (einsum("b q h d, b k h d -> b h q k", &[q, k])? / 2.0)?;
        softmax(&scores.masked_fill(&Tensor::tril2(5, DType::U8, q.device())?.eq(0u8)?, f32::NEG_INFINITY)?)
    };
    let verdict = ex::attention_pattern().check(five);
    assert!(matches!(verdict.outcome(), Outcome::Failed(_)), "{verdict}");
}
