//! What ACDC costs on GPT-2 small's shapes, with random weights: one prompt of 15 tokens and its counterpart, by KL divergence.
//!
//! `cargo run --release --example acdc_cost [SHARE]`: tau is this share of the divergence between the two prompts, 0.001 by default.
use std::time::Instant;

use candle_lens::prelude::*;

fn main() -> candle_lens::Result<()> {
    let share: f64 = std::env::args().nth(1).and_then(|share| share.parse().ok()).unwrap_or(0.001);
    let (model, _) = HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu)?;
    let model = model.without_weight_gradients();
    let mut random = Random::new(2);
    let mut row = || (0..15).map(|_| random.below(model.cfg().d_vocab) as u32).collect::<Vec<_>>();
    let (clean, corrupted) = (row(), row());
    let edges = Experiment::new(&model, vec![clean.clone()], vec![corrupted], Metric::kl())?.edges()?;
    let start = Instant::now();
    model.forward(vec![clean])?;
    println!("a run of the model: {:.3} s; {edges:?}", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let circuit = edges.acdc(share * f64::from(edges.corrupted()))?;
    println!("{:.1} s; {circuit:?}; {:?}", start.elapsed().as_secs_f64(), edges.evaluate(&circuit)?);
    Ok(())
}
