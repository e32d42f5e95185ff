//! Interchanges say what they do while they take long (tests/progress.rs).

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::progress::{finish, model, new_walk};

#[test]
fn interchanges() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let texts = |noun: &str| {
        (0..48).map(|at| format!("The {noun}{} near the keys", if at % 2 == 0 { "" } else { "s" })).collect::<Vec<_>>()
    };
    let answers = (0..48).map(|at| if at % 2 == 0 { " is" } else { " are" });
    let pairs = Interchange::new(&model, texts("author"), texts("doctor"), answers)?;
    let subspace = Subspace::random(64, 2, 0)?;
    walk.counted("Interchange::logits", || pairs.logits(("resid_post", 3), &subspace));
    walk.counted("Interchange::study", || pairs.study(&pairs, ("resid_post", 3), AlignBy::Means));
    let das = DasOptions { epochs: 2, batch_size: 24, ..Default::default() };
    walk.counted("Interchange::sweep", || pairs.sweep(&pairs, [("resid_post", 5)], das.clone()));
    finish(walk, 3);
    Ok(())
}
