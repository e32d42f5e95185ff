//! Probes say what they do while they take long (tests/progress.rs).

use candle_lens::Result;
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

use crate::progress::{finish, model, new_walk};

#[test]
fn probes() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let texts: Vec<String> =
        Task::Sva.prompts(Split::Train, 80, 0)?.prompts.into_iter().map(|prompt| prompt.clean).collect();
    let labels: Vec<bool> = (0..80).map(|at| at % 2 == 0).collect();
    let split = ProbeSplit::stratified(&labels, 0.3, 0)?;
    let x = walk.counted("collect_activations", || model.collect_activations(&texts, ("z", 3), Positions::Last));
    walk.counted("ProbeStudy::new", || ProbeStudy::new(&x, &labels, &split, ProbeMethod::default()));
    let end = || [("end", Positions::Last)];
    walk.counted("probe_sweep", || {
        model.probe_sweep(&texts, "resid_post", end(), &labels, &split, ProbeMethod::default())
    });
    finish(walk, 3);
    Ok(())
}
