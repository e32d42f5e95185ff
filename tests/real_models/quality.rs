//! How well RelP and attribution patching estimate exact sweeps of SmolLM2. The numbers stand in docs/real-models.md.

use candle_lens::Result;
use candle_lens::experiment::Experiment;
use candle_lens::metrics::Metric;
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::{Split, Task, TaskPrompt};

use super::checks::unprocessed;
use crate::gradients::quality::{POINTS, correlations};

/// Prompts of each task.
const PROMPTS: usize = 8;

/// What RelP reaches at every point on the mean over tasks; a single task's MLPs may lie below.
const LEAST: f64 = 0.85;

/// The tasks whose answers are tokens of this model, with how many prompts they have.
const TASKS: [(Task, usize); 5] =
    [(Task::Ioi, 1500), (Task::GenderBias, 40), (Task::CapitalCountry, 120), (Task::Sva, 1500), (Task::Hypernymy, 114)];

/// Corrupted activations in clean runs, by logit differences: probabilities saturate.
fn experiment(model: &HookedTransformer, task: Task, count: usize) -> Result<Experiment> {
    let prompts = task.prompts(Split::Combinations, count, 1)?.answerable(model)?.aligned(model)?;
    let prompts = if task == Task::Ioi { prompts.hard()? } else { prompts };
    let batches = prompts.batches(model, PROMPTS)?;
    let batch = batches.into_iter().max_by_key(|batch| batch.prompts.len()).expect("there are prompts");
    let metric = match task {
        // Their own metric is a logit difference.
        Task::Ioi | Task::GenderBias | Task::CapitalCountry => batch.metric.clone(),
        _ => {
            let first = |prompt: &TaskPrompt| (prompt.right[0].clone(), prompt.wrong[0].clone());
            let pairs: Vec<_> = batch.prompts.iter().map(|&prompt| first(&prompts.prompts[prompt])).collect();
            Metric::logit_diff(&model.answers(pairs.iter().map(|(right, wrong)| (right.as_str(), wrong.as_str())))?)
        }
    };
    Experiment::new(model, &batch.clean, &batch.corrupted, metric)?.noising()
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn relp_estimates_exact_sweeps_better_than_one_gradient() -> Result<()> {
    let mut means = [[0.; 2]; POINTS.len()];
    for (task, count) in TASKS {
        let experiment = experiment(unprocessed(), task, count)?;
        for (point, mean) in POINTS.into_iter().zip(&mut means) {
            let found = correlations(&experiment, point)?;
            println!("{task}, {point}: attribution patching {:.3}, RelP {:.3}", found[0], found[1]);
            mean.iter_mut().zip(found).for_each(|(mean, found)| *mean += found / TASKS.len() as f64);
        }
    }
    for (point, [derivative, relp]) in POINTS.into_iter().zip(means) {
        println!("{point}: attribution patching {derivative:.3}, RelP {relp:.3}");
        assert!(relp > LEAST && relp > derivative, "{point}: attribution patching {derivative}, RelP {relp}");
    }
    Ok(())
}
