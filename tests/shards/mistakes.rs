//! What cannot be joined, or gone on with, and what is said of it.

use candle_lens::Result;
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

use super::identities::{models, prompts};
use crate::support::damage::torture;
use crate::support::scratch;
use crate::support::sentence::sentence;

/// A number of each prompt of one of two shards.
fn number(model: &HookedTransformer, data: &TaskDataset, number: usize, about: &str) -> Result<ShardResult> {
    let part = data.shard(Shard::new(number, 2)?).about(about);
    part.each_prompt(model, |batch| Ok(batch.clean.pos() as f32))
}

#[test]
fn parts_of_other_work_are_not_joined() -> Result<()> {
    let folder = scratch("shards_mistakes");
    let tiny = HookedTransformer::from_pretrained("tiny")?;
    let raw = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let [(_, one), (_, other), ..] = &models()?[..] else { panic!("there are several models") };
    let data = prompts(&tiny, 12)?;
    let first = number(&tiny, &data, 1, "")?;
    let text = number(&tiny, &data.head(11), 2, "")?;
    let heads = data
        .shard(Shard::new(2, 2)?)
        .each_prompt(&tiny, |batch| batch.experiment(&tiny)?.get_act_patch_attn_head_out_all_pos())?;
    let third = data.shard(Shard::new(2, 3)?).each_prompt(&tiny, |batch| Ok(batch.clean.pos() as f32))?;
    let again = number(&tiny, &data, 1, "")?;
    let of_one = number(one, &data, 1, "")?;
    let cases = [
        ("processing", "its processing is none", number(&raw, &data, 2, "")?, &first),
        ("model", "its model is small", number(one, &data, 2, "")?, &first),
        ("weights", "another checksum", number(other, &data, 2, "")?, &of_one),
        ("order", "not the same prompts in the same order", number(&tiny, &data.shuffle(1), 2, "")?, &first),
        ("data", "of a data set of 11 prompts", text, &first),
        ("described", "described as \"again\"", number(&tiny, &data, 2, "again")?, &first),
        ("kind", "a sweep", heads, &first),
        ("count", "it is shard 2/3", third, &first),
        ("twice", "as is", again, &first),
    ];
    for (case, what, part, first) in cases {
        let folder = folder.join(case);
        std::fs::create_dir_all(&folder).expect("a folder");
        first.save(folder.join("a.safetensors"))?;
        part.save(folder.join("b.safetensors"))?;
        sentence(gather(folder.join("*")), &[what]);
    }
    Ok(())
}

#[test]
fn missing_shards_are_named_and_other_files_are_left_alone() -> Result<()> {
    let folder = scratch("shards_missing");
    let model = HookedTransformer::from_pretrained("tiny")?;
    let texts: Vec<String> = (0..100).map(|number| format!("The {number} keys")).collect();
    for number in [1, 2, 40] {
        let part = Shard::new(number, 40)?.texts(texts.clone()).save_to(&folder);
        part.each_text(&model, |text| Ok(text.len() as f32))?;
    }
    std::fs::write(folder.join("log.txt"), "words").expect("a file");
    sentence(gather(folder.join("*")), &["Missing: 3/40, 4/40", "and 17 more"]);
    for nothing in [folder.join("no*"), folder.join("nowhere"), folder.join("log.txt")] {
        sentence(gather(nothing), &["parts"]);
    }
    std::fs::write(folder.join("shard-03-of-40.safetensors"), "words").expect("a file");
    assert!(gather(&folder).is_err(), "a damaged file is not a missing one");
    Ok(())
}

#[test]
fn a_shard_does_not_go_on_with_other_work() -> Result<()> {
    let folder = scratch("shards_resumed");
    let model = HookedTransformer::from_pretrained("tiny")?;
    let run = |texts: &[&str], about: &str| {
        let part = Shard::whole().texts(texts.iter().copied()).save_to(&folder).about(about);
        part.each_text(&model, |text| Ok(text.len() as f32))
    };
    run(&["The key", "The keys"], "")?;
    for (what, error) in
        [("other prompts", run(&["The keys", "The key"], "")), ("described", run(&["The key", "The keys"], "b"))]
    {
        sentence(error, &[what, "own folder"]);
    }
    Ok(())
}

#[test]
fn results_that_cannot_be_joined_are_named() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let data = Task::Ioi.prompts(Split::Train, 60, 0)?.aligned(&model)?;
    let whole = data.shard(Shard::whole());
    assert!(data.one_length(&model)?.len() < data.len(), "there are several lengths");
    let error = whole.each_prompt(&model, |batch| batch.experiment(&model)?.get_act_patch_resid_pre());
    sentence(error, &["one_length"]);
    // What has no axis of positions has no length.
    let heads = whole.each_prompt(&model, |batch| batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos())?;
    assert_eq!(heads.sweep()?.raw.shape(), [4, 8]);
    sentence(heads.circuit(), &["use sweep()"]);
    let same = data.one_length(&model)?.head(4);
    let of_all = same.batch(&model)?.experiment(&model)?.get_act_patch_attn_head_out_all_pos()?;
    sentence(whole.each_prompt(&model, |_| Ok(of_all.clone())), &["4 prompts"]);
    let error = whole.each_prompt(&model, |batch| {
        batch.experiment(&model)?.edges()?.attribute(EdgeMethod::Eap)?.topn(20, RankBy::Magnitude)
    });
    sentence(error, &["choice"]);
    let error = whole.each_prompt(&model, |batch| {
        let mean = Baseline::mean(MeanOver::Batch);
        Experiment::new(&model, &batch.clean, mean, batch.metric.clone())?.get_act_patch_attn_head_out_all_pos()
    });
    sentence(error, &["at least two"]);
    Ok(())
}

/// More shards than prompts: some are empty, and belong to the whole all the same.
#[test]
fn an_empty_shard_is_a_part() -> Result<()> {
    let (folder, model) = (scratch("shards_empty"), HookedTransformer::from_pretrained("tiny")?);
    let data = prompts(&model, 2)?;
    let mut empty = 0;
    for number in 1..=9 {
        let part = data.shard(Shard::new(number, 9)?).save_to(&folder);
        let found = part.each_prompt(&model, |batch| Ok(batch.clean.pos() as f32))?;
        if found.is_empty() {
            empty += 1;
            sentence(found.numbers(), &["gather all"]);
        }
    }
    assert!(empty >= 7, "{empty} of 9 are empty");
    assert_eq!(gather(&folder)?.numbers()?.shape(), [3]);
    Ok(())
}

/// Whatever happens to a file: a sentence, or a part whose results can be made.
#[test]
fn damaged_parts() -> Result<()> {
    let (folder, model) = (scratch("shards_damaged"), HookedTransformer::from_pretrained("tiny")?);
    let part = prompts(&model, 3)?.shard(Shard::whole());
    let path = folder.join("part.safetensors");
    part.each_prompt(&model, |batch| batch.experiment(&model)?.edges()?.attribute_nodes(EdgeMethod::Eap))?
        .save(&path)?;
    let whole = std::fs::read(&path).expect("it was saved");
    torture(230, 150, &path, &whole, || ShardResult::load(&path)?.nodes().map(drop));
    Ok(())
}
