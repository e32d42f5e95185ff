//! References of C3 beside loops and the library's own functions.

use candle_lens::analysis;
use candle_lens::course::ex;
use candle_lens::prelude::*;

/// `-log p` of each token but the first, by hand.
pub fn losses(logits: &Tensor, tokens: &Tokens) -> Result<Vec<Vec<f32>>> {
    let logits = logits.to_vec3::<f32>()?;
    let loss = |row: &[f32], id: u32| {
        let highest = row.iter().copied().fold(f32::MIN, f32::max);
        let total: f32 = row.iter().map(|x| (x - highest).exp()).sum();
        total.ln() + highest - row[id as usize]
    };
    let of_row = |row: usize| {
        let ids = tokens.row(row);
        (1..ids.len()).map(|pos| loss(&logits[row][pos - 1], ids[pos])).collect()
    };
    Ok((0..tokens.batch()).map(of_row).collect())
}

fn mean(numbers: impl Iterator<Item = f32> + Clone) -> f32 {
    numbers.clone().sum::<f32>() / numbers.count() as f32
}

/// The mean attention of each head from a token of the second half to the one after its first occurrence.
pub fn stripe(pattern: &Tensor, seq_len: usize) -> Result<Vec<f32>> {
    let heads = pattern.dim(1)?;
    let of_head = |head: usize| -> Result<f32> {
        let prompts = pattern.narrow(1, head, 1)?.squeeze(1)?.to_vec3::<f32>()?;
        let queries = seq_len + 1..=2 * seq_len;
        Ok(mean(prompts.iter().flat_map(|rows| queries.clone().map(|q| rows[q][q + 1 - seq_len]))))
    };
    (0..heads).map(of_head).collect()
}

#[test]
fn references_are_what_loops_and_the_library_give() -> Result<()> {
    ex::repeated_tokens()
        .check(|model, seq_len, batch, seed| analysis::repeated_tokens(model, RepeatOptions { seq_len, batch, seed }))
        .expect()?;
    let by_half = |model: &HookedTransformer, tokens: &Tokens, seq_len: usize| -> Result<(f32, f32)> {
        let losses = losses(&model.forward(tokens.clone())?, tokens)?;
        // Token t has its loss at t - 1.
        let mean_of = |from: usize, to: usize| mean(losses.iter().flat_map(|row| row[from - 1..to].iter().copied()));
        Ok((mean_of(1, seq_len), mean_of(seq_len + 2, 2 * seq_len)))
    };
    ex::losses_by_half().check(by_half).expect()?;
    let in_run = |model: &HookedTransformer, tokens: &Tokens, seq_len: usize| -> Result<Tensor> {
        let (_, cache) = model.run_with_cache(tokens.clone())?;
        let layers = (0..cache.dims().n_layers).map(|layer| stripe(&cache.get(("pattern", layer))?, seq_len));
        let scores = layers.collect::<Result<Vec<_>>>()?;
        Ok(Tensor::new(scores, &Device::Cpu)?)
    };
    ex::induction_scores_in_run().check(in_run).expect()
}

/// One seed gives one answer.
#[test]
fn rows_follow_the_seed() {
    let drawn = std::cell::Cell::new(100);
    let own_seed = ex::repeated_tokens().check(|model, seq_len, batch, _| {
        drawn.set(drawn.get() + 1);
        analysis::repeated_tokens(model, RepeatOptions { seq_len, batch, seed: drawn.get() })
    });
    assert!(own_seed.to_string().contains("seed 2 and then seed 2 gave other rows the second time"), "{own_seed}");
    let beyond = ex::repeated_tokens().check(|model, seq_len, batch, seed| {
        let rows = analysis::repeated_tokens(model, RepeatOptions { seq_len, batch, seed })?;
        let shifted =
            |row: usize| rows.row(row).iter().map(|id| if *id == rows.row(row)[0] { *id } else { id + 2000 }).collect();
        Tokens::from_rows((0..batch).map(shifted).collect())
    });
    assert!(beyond.to_string().contains("the model knows those below"), "{beyond}");
}

/// A rule says what is wrong with rows, whatever their tokens are.
#[test]
fn rows_that_do_not_repeat_are_told_apart_by_what_is_wrong_with_them() {
    let verdict = ex::repeated_tokens().check(|model, seq_len, batch, seed| {
        let tokens = analysis::repeated_tokens(model, RepeatOptions { seq_len, batch, seed })?;
        let mut rows: Vec<Vec<u32>> = (0..batch).map(|row| tokens.row(row)).collect();
        rows[1][seq_len + 1] += 1;
        Tokens::from_rows(rows)
    });
    assert!(verdict.to_string().contains("row 1 has a second half that is not its first"), "{verdict}");
}
