//! Lenses say what they do while they take long (tests/progress.rs).

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::progress::{finish, model, new_walk};
use crate::support::scratch;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

#[test]
fn lenses() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (_, cache) = model.run_with_cache(vec![PROMPT; 8])?;
    let stack = cache.stack(&model, Stack::heads())?;
    walk.watched("read_stack", || LogitLens.read_stack(&model, &cache, &stack, ReadBy::End, LensOptions::default()));
    let rows = model.W_E().narrow(0, 0, 600)?;
    walk.watched("read_vectors", || LogitLens.read_vectors(&model, &rows, ReadBy::End, LensOptions::default()));
    let texts = || vec![PROMPT; 12];
    walk.watched("mean_kl", || LogitLens.mean_kl(&model, texts()));
    let tuned = walk.watched("TunedLens::fit", || TunedLens::fit(&model, texts(), TunedFit::default()));
    let options = TunedTraining { schedule: Schedule::new(1e-3, 4), batch: 16, ..Default::default() };
    walk.watched("TunedLens::train", || tuned.train(&model, texts(), options.clone()));
    let path = scratch("progress_lens").join("lens.safetensors");
    walk.watched("TunedLens::save", || tuned.save(&path));
    walk.watched("TunedLens::load", || TunedLens::load(&path));
    let published = crate::support::fixture::path("tuned_lens");
    walk.watched("TunedLens::load of its authors' files", || TunedLens::load(&published));
    finish(walk, 8);
    Ok(())
}
