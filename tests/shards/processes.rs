//! Shards that are computed at the same time, one of which dies in the middle, as a process that is killed does: nothing of it runs
//! any more. `cargo lab test slurm` does the same with processes and a real Slurm.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use candle_lens::Result;
use candle_lens::prelude::*;

use super::identities::prompts;
use crate::support::scratch;

const SHARDS: usize = 8;

/// The heads of the prompts of a shard; dies at the prompt of this number.
fn compute(
    folder: &Path,
    model: &HookedTransformer,
    data: &TaskDataset,
    shard: Shard,
    dies_at: usize,
) -> Result<(ShardResult, usize)> {
    let ran = AtomicUsize::new(0);
    let found = data.shard(shard).save_to(folder).each_prompt(model, |batch| {
        assert!(ran.fetch_add(1, Ordering::Relaxed) < dies_at, "killed");
        batch.experiment(model)?.get_act_patch_attn_head_out_all_pos()
    })?;
    Ok((found, ran.into_inner()))
}

#[test]
fn a_shard_that_died_goes_on_and_the_whole_is_that_of_one_run() -> Result<()> {
    let (folder, model) = (scratch("shards_died"), HookedTransformer::from_pretrained("tiny")?);
    let data = prompts(&model, 50)?;
    let dying = Shard::new(3, SHARDS)?;
    let own = data.shard(dying).len();
    assert!(own > 4, "shard {dying} has {own} prompts");
    let done = own / 2;
    thread::scope(|scope| {
        let run = |number: usize| {
            let (folder, model, data) = (&folder, &model, &data);
            scope.spawn(move || {
                let shard = Shard::new(number, SHARDS).expect("a shard");
                let dies_at = if shard == dying { done } else { usize::MAX };
                catch_unwind(AssertUnwindSafe(|| compute(folder, model, data, shard, dies_at).map(|_| ())))
            })
        };
        let running: Vec<_> = (1..=SHARDS).map(run).collect();
        for (number, thread) in running.into_iter().enumerate() {
            let ended = thread.join().expect("its end is caught");
            assert_eq!(ended.is_err(), number + 1 == dying.number(), "shard {}", number + 1);
        }
    });
    let missing = gather(&folder).expect_err("one is not finished").to_string();
    assert!(missing.contains(&format!("3/8 ({done} of {own} prompts are done)")), "{missing}");
    assert!(missing.contains("7 of 8 shards"), "{missing}");
    let begun = candle_lens::shards::ShardResult::load(folder.join("shard-3-of-8.safetensors"))?.to_string();
    assert!(begun.contains(&format!("{done} of {own}; 51 in all shards")) && begun.contains("to be done"), "{begun}");
    let (resumed, ran) = compute(&folder, &model, &data, dying, usize::MAX)?;
    assert_eq!((ran, resumed.len()), (own - done, own), "what was done is not done again");
    let (_, again) = compute(&folder, &model, &data, dying, usize::MAX)?;
    assert_eq!(again, 0, "a finished shard is read from its file");
    let (whole, _) = compute(&folder.join("whole"), &model, &data, Shard::whole(), usize::MAX)?;
    let joined = gather(&folder)?;
    assert!(joined == whole);
    assert!(joined.to_string().starts_with("Results of all prompts") && !joined.to_string().contains("to be done"));
    let (a, b) = (joined.sweep()?, whole.sweep()?);
    assert!(a.raw.values().iter().zip(&b.raw.values()).all(|(a, b)| a.to_bits() == b.to_bits()));
    Ok(())
}

#[test]
fn an_error_of_one_prompt_keeps_those_before_it_and_names_its_row() -> Result<()> {
    let (folder, model) = (scratch("shards_error"), HookedTransformer::from_pretrained("tiny")?);
    let data = prompts(&model, 45)?;
    let ran = AtomicUsize::new(0);
    let work = |fails: bool| {
        data.shard(Shard::whole()).save_to(&folder).each_prompt(&model, |batch| {
            match fails && ran.fetch_add(1, Ordering::Relaxed) == 5 {
                true => batch.experiment(&model)?.only("no such metric").map(|_| 0.),
                false => Ok(batch.experiment(&model)?.clean()),
            }
        })
    };
    let error = work(true).expect_err("prompt 5").to_string();
    let row = &data.prompts[5].row;
    assert!(error.contains(row) && error.contains("no such metric"), "{error}");
    assert_eq!(ShardResult::load(folder.join("shard-1-of-1.safetensors"))?.len(), 5);
    assert_eq!(work(false)?.numbers()?.shape(), [46]);
    Ok(())
}
