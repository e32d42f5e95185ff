//! The work of shards in the walk of everything that can take long ([`progress`](crate::progress)).

use std::path::PathBuf;
use std::time::Duration;

use candle_lens::prelude::*;
use candle_lens::progress::rehearsal::{rehearse, rehearse_interrupted};
use candle_lens::{Error, Result};

use super::identities::prompts;
use crate::progress::{finish, model, new_walk};
use crate::support::scratch;

#[test]
fn shards() -> Result<()> {
    let (mut walk, model, folder) = (new_walk(), model()?, scratch("shards_progress"));
    let data = prompts(&model, 24)?;
    // Each time from the beginning: what is kept is not done again.
    let each = |folder: PathBuf| {
        let part = data.shard(Shard::whole()).save_to(folder);
        part.each_prompt(&model, |batch| batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos())
    };
    walk.counted("each_prompt", || each(scratch("shards_walked")));
    each(folder.clone())?;
    let texts = Shard::whole().texts(["The keys on the cabinet"; 24]);
    walk.counted("each_text", || texts.each_text(&model, |text| Ok(model.loss(text)?.to_scalar::<f32>()?)));
    let joined = walk.watched("gather", || gather(&folder));
    walk.watched("sweep of all", || joined.sweep());
    finish(walk, 4);
    Ok(())
}

#[test]
fn what_an_interrupt_leaves_is_in_the_file() -> Result<()> {
    let (model, folder) = (model()?, scratch("shards_interrupted"));
    let part = prompts(&model, 24)?.shard(Shard::whole()).save_to(&folder);
    let each = || part.each_prompt(&model, |batch| Ok(model.loss(&batch.clean)?.to_scalar::<f32>()?));
    let (whole, moments) = rehearse(|| Duration::ZERO, each);
    let whole = whole?;
    std::fs::remove_dir_all(&folder).expect("it is ours");
    let (result, _) = rehearse_interrupted(moments.len() / 2, || Duration::ZERO, each);
    let error = result.map(drop).expect_err("it was interrupted");
    let Error::Interrupted { done, total, kept: Some(kept), .. } = &error else { panic!("{error}") };
    assert_eq!(ShardResult::load(kept)?.len() as u64, *done);
    assert!((1..*total).contains(done) && *total == whole.len() as u64, "{error}");
    let bits = |result: &ShardResult| -> Result<Vec<u32>> {
        Ok(result.numbers()?.values().iter().map(|x| x.to_bits()).collect())
    };
    assert_eq!(bits(&each()?)?, bits(&whole)?);
    Ok(())
}
