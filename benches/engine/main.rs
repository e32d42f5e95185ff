//! The engine row by row, on GPT-2 small's shapes with random weights or on the model that `CANDLE_LENS_BENCH_MODEL` names.
//!
//! `cargo bench --bench engine` times every row by criterion, and a pattern behind `--` chooses. `benches/compare.py` puts peers beside
//! them: it runs this program once for each row (`bench.rs` says how it is asked), so that each has a peak of memory of its own.

mod bench;
mod dictionaries;
mod gradients;
mod growth;
mod runs;
mod sweeps;
mod texts;

use bench::{Bench, model};
use candle_lens::prelude::*;
use serde_json::{Value, json};

/// Rows of random tokens.
fn rows(model: &HookedTransformer, random: &mut Random, (count, length): (usize, usize)) -> Vec<Vec<u32>> {
    let d_vocab = model.cfg().d_vocab;
    (0..count).map(|_| (0..length).map(|_| random.below(d_vocab) as u32).collect()).collect()
}

/// Two random tokens for each prompt.
fn answers(model: &HookedTransformer, random: &mut Random, prompts: usize) -> Vec<(u32, u32)> {
    let mut token = || random.below(model.cfg().d_vocab_out()) as u32;
    (0..prompts).map(|_| (token(), token())).collect()
}

/// A clean and a corrupted batch with two answers for each prompt.
struct Pair {
    clean: Vec<Vec<u32>>,
    corrupted: Vec<Vec<u32>>,
    answers: Vec<(u32, u32)>,
}

impl Pair {
    /// Random prompts that first differ at a position.
    fn new(model: &HookedTransformer, shape: (usize, usize), first_difference: usize) -> Self {
        let mut random = Random::new(1);
        let (clean, other) = (rows(model, &mut random, shape), rows(model, &mut random, shape));
        let mix =
            |(clean, other): (&Vec<u32>, &Vec<u32>)| [&clean[..first_difference], &other[first_difference..]].concat();
        let corrupted = clean.iter().zip(&other).map(mix).collect();
        Self { clean, corrupted, answers: answers(model, &mut random, shape.0) }
    }

    /// What edges are scored on.
    fn of_edges(model: &HookedTransformer) -> Self {
        let mut random = Random::new(2);
        let (clean, corrupted) = (rows(model, &mut random, (8, 15)), rows(model, &mut random, (8, 15)));
        Self { clean, corrupted, answers: (0..8).map(|b| (b, b + 9)).collect() }
    }

    fn metric(&self, model: &HookedTransformer) -> candle_lens::Result<Metric> {
        Ok(Metric::logit_diff(&model.answers(self.answers.clone())?))
    }

    fn experiment(&self, model: &HookedTransformer) -> candle_lens::Result<Experiment> {
        Experiment::new(model, self.clean.clone(), self.corrupted.clone(), self.metric(model)?)
    }

    fn json(&self) -> Value {
        json!({ "clean": self.clean, "corrupted": self.corrupted, "answers": self.answers })
    }
}

/// Every number of a result, in order.
fn numbers(found: &Labelled) -> Value {
    json!(found.values().iter().collect::<Vec<_>>())
}

fn all(bench: &mut Bench) -> candle_lens::Result<()> {
    dictionaries::all(bench)?;
    runs::load(bench)?;
    if bench.is_done() {
        return Ok(());
    }
    let model = model()?;
    runs::all(bench, &model)?;
    sweeps::all(bench, &model)?;
    gradients::all(bench, &model)?;
    texts::all(bench, &model)?;
    growth::all(bench, &model)
}

fn main() -> candle_lens::Result<()> {
    set_progress(false);
    let mut bench = Bench::asked()?;
    all(&mut bench)?;
    bench.end()
}
