//! How well RelP and attribution patching estimate our own exact sweeps, point by point and task by task.

use candle_lens::Result;
use candle_lens::experiment::{Comparison, Experiment};
use candle_lens::hooks::AxisName::{Layer, Pos};
use candle_lens::model::{HookedTransformer, RELP};
use candle_lens::tasks::{Split, Task};

/// What patches write: the residual stream, attention outputs and MLP outputs, by layer and position.
pub const POINTS: [&str; 3] = ["resid_pre", "attn_out", "mlp_out"];

/// The correlation that RelP must reach (Jafari et al. 2025 report 0.96 to 0.99 for GPT-2 small).
pub const LEAST: f64 = 0.95;

/// Tasks on which it does. On the agreement of verbs and on hypernyms it does not, nor do derivatives: the model is so sure of
/// these that the metric, a difference of probabilities, is saturated.
pub const TASKS: [Task; 4] = [Task::Ioi, Task::GreaterThan, Task::GenderBias, Task::CapitalCountry];

/// The largest batch of one length among prompts of this task, of at most `most`.
pub fn experiment(model: &HookedTransformer, task: Task, most: usize) -> Result<Experiment> {
    let prompts = task.prompts(Split::Train, 120, 1)?.aligned(model)?;
    let batches = prompts.batches(model, most)?;
    batches.into_iter().max_by_key(|batch| batch.prompts.len()).expect("there are prompts").experiment(model)
}

/// The correlations of attribution patching and of RelP with the exact sweep.
pub fn correlations(experiment: &Experiment, point: &'static str) -> Result<[f64; 2]> {
    let truth = experiment.sweep(point, &[Layer, Pos])?;
    let of = |experiment: &Experiment| -> Result<f64> {
        Ok(Comparison::new(&truth, &experiment.attribution(point)?.sweep(point, &[Layer, Pos])?)?.pearson)
    };
    Ok([of(experiment)?, of(&experiment.with_frozen(RELP)?)?])
}

#[test]
fn relp_estimates_exact_sweeps_of_tiny() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    for task in TASKS {
        let denoising = experiment(&model, task, 12)?;
        for (way, experiment) in [("noising", denoising.clone().noising()?), ("denoising", denoising)] {
            for point in POINTS {
                let [derivative, relp] = correlations(&experiment, point)?;
                println!("{task}, {way}, {point}: attribution patching {derivative:.3}, RelP {relp:.3}");
                assert!(relp >= LEAST, "{task}, {way}, {point}: {relp}, and attribution patching {derivative}");
            }
        }
    }
    Ok(())
}
