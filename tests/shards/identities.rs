//! Joined shards against one run of the whole, to the last bit; and the rows that shards have.

use std::collections::BTreeSet;
use std::path::Path;

use candle_lens::Result;
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

use crate::support::models::untrained;
use crate::support::scratch;
use crate::support::tolerance::REORDERED;

/// Small models of three kinds with the words of `tiny`, and `tiny` itself, processed and not.
pub fn models() -> Result<Vec<(&'static str, HookedTransformer)>> {
    let tiny = HookedTransformer::from_pretrained("tiny")?;
    let base = HookedTransformerConfig {
        n_layers: 2,
        d_model: 32,
        n_heads: 4,
        d_head: None,
        d_mlp: Some(64),
        model_name: "small".into(),
        normalization_type: NormalizationType::LN,
        ..(*tiny.cfg()).clone()
    };
    let llama = HookedTransformerConfig {
        normalization_type: NormalizationType::RMS,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        gated_mlp: true,
        n_key_value_heads: Some(2),
        act_fn: ActFn::Silu,
        ..base.clone()
    };
    let parallel = HookedTransformerConfig { parallel_attn_mlp: true, ..base.clone() };
    let small = |cfg| untrained(cfg, &tiny);
    Ok(vec![
        ("GPT-2-like", small(base)?),
        ("Llama-like", small(llama)?),
        ("parallel", small(parallel)?),
        ("tiny, raw", HookedTransformer::from_pretrained_no_processing("tiny")?),
        ("tiny", tiny),
    ])
}

/// Prompts of one length, some of them twice.
pub fn prompts(model: &HookedTransformer, count: usize) -> Result<TaskDataset> {
    let mut prompts = Task::Ioi.prompts(Split::Train, 4 * count, 0)?.one_length(model)?.head(count);
    let twice = prompts.prompts[1].clone();
    prompts.prompts.push(twice);
    Ok(prompts)
}

/// The work in so many shards, the last first, and joined.
fn in_shards<R: ByPrompt>(
    folder: &Path,
    model: &HookedTransformer,
    prompts: &TaskDataset,
    shards: usize,
    work: impl Fn(&TaskBatch) -> Result<R>,
) -> Result<ShardResult> {
    let folder = folder.join(shards.to_string());
    for number in (1..=shards).rev() {
        prompts.shard(Shard::new(number, shards)?).save_to(&folder).each_prompt(model, &work)?;
    }
    gather(folder.join("*"))
}

fn bits(values: &Labelled) -> Vec<u32> {
    values.values().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn joined_sweeps_are_the_whole_to_the_last_bit() -> Result<()> {
    let folder = scratch("shards_sweeps");
    for (name, model) in models()? {
        let prompts = prompts(&model, 11)?;
        let heads = |batch: &TaskBatch| batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos();
        let stream = |batch: &TaskBatch| batch.experiment(&model)?.noising()?.get_act_patch_resid_pre();
        let whole = prompts.shard(Shard::whole());
        for (work, of_whole) in
            [("heads", whole.each_prompt(&model, heads)?), ("stream", whole.each_prompt(&model, stream)?)]
        {
            for shards in [2, 5, 40] {
                let folder = folder.join(format!("{name} {work}"));
                let joined = match work {
                    "heads" => in_shards(&folder, &model, &prompts, shards, heads)?,
                    _ => in_shards(&folder, &model, &prompts, shards, stream)?,
                };
                assert!(joined == of_whole, "{name}, {work} in {shards} shards");
                let (joined, of_whole) = (joined.sweep()?, of_whole.sweep()?);
                for (a, b) in [
                    (&joined.raw, &of_whole.raw),
                    (&joined.normalised, &of_whole.normalised),
                    (&joined.per_prompt, &of_whole.per_prompt),
                ] {
                    assert_eq!(bits(a), bits(b), "{name}, {work} in {shards} shards: {}", a.title);
                    assert_eq!(a.axes(), b.axes());
                }
                assert_eq!(joined.clean.to_bits(), of_whole.clean.to_bits());
                assert_eq!(joined.untouched, of_whole.untouched);
            }
        }
    }
    Ok(())
}

/// The same numbers as a sweep of all prompts as one batch, but for the order in which matrix products add up.
#[test]
fn prompts_one_by_one_are_the_batch() -> Result<()> {
    for (name, model) in models()? {
        let prompts = prompts(&model, 7)?;
        let one_by_one = prompts
            .shard(Shard::whole())
            .each_prompt(&model, |batch| batch.experiment(&model)?.get_act_patch_resid_pre())?;
        let (got, expected) =
            (one_by_one.sweep()?, prompts.batch(&model)?.experiment(&model)?.get_act_patch_resid_pre()?);
        assert_eq!(got.raw.axes(), expected.raw.axes(), "{name}: labels of positions");
        assert_eq!((&got.raw.title, &got.normalised.title), (&expected.raw.title, &expected.normalised.title));
        let largest = expected.per_prompt.values().iter().fold(0_f32, |largest, value| largest.max(value.abs()));
        for (a, b) in got.per_prompt.values().iter().zip(&expected.per_prompt.values()) {
            assert!((a - b).abs() <= REORDERED * largest.max(1.), "{name}: {a} and {b}");
        }
        let (a, b) = (got.statistics(Center::Median)?, expected.statistics(Center::Median)?);
        assert_eq!(a.estimate.axes(), b.estimate.axes());
    }
    Ok(())
}

#[test]
fn joined_scores_and_effects_are_the_whole_to_the_last_bit() -> Result<()> {
    let folder = scratch("shards_scores");
    for (name, model) in models()? {
        let prompts = prompts(&model, 6)?;
        let whole = prompts.shard(Shard::whole());
        let edges = |batch: &TaskBatch| batch.experiment(&model)?.edges()?.attribute_each(EdgeMethod::Eap);
        let of_whole = whole.each_prompt(&model, edges)?.circuit()?;
        let joined = in_shards(&folder.join(format!("{name} edges")), &model, &prompts, 3, edges)?.circuit()?;
        for edge in of_whole.all_edges() {
            assert_eq!(joined.score(edge)?.to_bits(), of_whole.score(edge)?.to_bits(), "{name}: {edge}");
        }
        assert_eq!(joined.method(), of_whole.method());
        assert!(joined.effect().is_ok(), "{name}: the levels are known");
        let batch = prompts.batch(&model)?.experiment(&model)?.edges()?;
        let together = batch.attribute(EdgeMethod::Eap)?;
        assert_eq!(joined.method(), together.method());
        let largest = together.all_edges().into_iter().map(|edge| together.score(edge).map(f32::abs));
        let largest = largest.collect::<Result<Vec<_>>>()?.into_iter().fold(0_f32, f32::max);
        for edge in of_whole.all_edges() {
            let (a, b) = (joined.score(edge)?, together.score(edge)?);
            assert!((a - b).abs() <= REORDERED * largest.max(1.), "{name}: {edge} {a} and {b}");
        }
        let nodes = |batch: &TaskBatch| batch.experiment(&model)?.edges()?.attribute_nodes(EdgeMethod::Eap);
        let of_whole = whole.each_prompt(&model, nodes)?.nodes()?;
        let joined = in_shards(&folder.join(format!("{name} nodes")), &model, &prompts, 3, nodes)?.nodes()?;
        assert_eq!(bits(&joined.scores()), bits(&of_whole.scores()), "{name}");
        let gradients = |batch: &TaskBatch| batch.experiment(&model)?.integrated_gradients("z", 3)?.heads();
        let of_whole = whole.each_prompt(&model, gradients)?.effect()?;
        let joined = in_shards(&folder.join(format!("{name} gradients")), &model, &prompts, 3, gradients)?.effect()?;
        assert_eq!(bits(&joined.values), bits(&of_whole.values), "{name}");
        assert_eq!(bits(&joined.as_metric().values), bits(&of_whole.as_metric().values), "{name}");
        let (a, b) = (joined.statistics(Center::Mean)?, of_whole.statistics(Center::Mean)?);
        assert_eq!(bits(&a.estimate), bits(&b.estimate), "{name}");
    }
    Ok(())
}

#[test]
fn several_metrics_and_plain_numbers_are_joined() -> Result<()> {
    let (folder, model) = (scratch("shards_metrics"), HookedTransformer::from_pretrained("tiny")?);
    let prompts = prompts(&model, 9)?;
    let both = |batch: &TaskBatch| {
        let correct = batch.metric.clone();
        let prob = Metric::log_prob(&model, [" Mary"])?;
        Experiment::new(&model, &batch.clean, Baseline::Zero, [correct, prob])?.get_act_patch_attn_head_out_all_pos()
    };
    let of_whole = prompts.shard(Shard::whole()).each_prompt(&model, both)?;
    let joined = in_shards(&folder.join("both"), &model, &prompts, 4, both)?;
    assert!(joined == of_whole);
    let (all, one) = (joined.sweep()?, joined.sweep()?.only("log-probability")?);
    assert_eq!((all.raw.shape(), one.raw.shape()), (vec![2, 4, 8], vec![4, 8]));
    assert_eq!(all.statistics(StatisticsOptions::default())?.estimate.shape(), [2, 4, 8]);
    let measured = |batch: &TaskBatch| batch.metric.measure(&model, &batch.clean);
    let joined = in_shards(&folder.join("measured"), &model, &prompts, 4, measured)?.numbers()?;
    assert_eq!(bits(&joined), bits(&prompts.shard(Shard::whole()).each_prompt(&model, measured)?.numbers()?));
    for (a, b) in joined.values().iter().zip(prompts.measure(&model)?) {
        assert!((a - b).abs() <= REORDERED * b.abs().max(1.), "{a} and {b}, in the order of the data set");
    }
    Ok(())
}

#[test]
fn a_shard_has_the_same_rows_in_any_order() -> Result<()> {
    let prompts = Task::GreaterThan.prompts(Split::Train, 200, 0)?;
    let doubled = TaskDataset { prompts: [&prompts.prompts[..], &prompts.prompts[..20]].concat(), ..prompts.clone() };
    let rows = |data: &TaskDataset, number: usize| -> Result<BTreeSet<String>> {
        Ok(data.shard(Shard::new(number, 7)?).data.prompts.iter().map(|prompt| prompt.row.clone()).collect())
    };
    let mut all = 0;
    for number in 1..=7 {
        let own = rows(&prompts, number)?;
        assert_eq!(own, rows(&prompts.shuffle(number as u64), number)?);
        assert_eq!(own, rows(&doubled, number)?, "equal prompts stay together");
        all += own.len();
    }
    assert_eq!(all, prompts.prompts.iter().map(|prompt| &prompt.row).collect::<BTreeSet<_>>().len());
    Ok(())
}

/// Five standard deviations of how many of 10,000 rows one of 16 shards has: sqrt(10,000 * 15 / 256).
#[test]
fn shards_are_balanced() -> Result<()> {
    const DEVIATIONS: f64 = 5. * 24.2;
    let texts: Vec<String> = (0..10_000).map(|number| format!("prompt {number}")).collect();
    for number in 1..=16 {
        let len = Shard::new(number, 16)?.texts(texts.clone()).len() as f64;
        assert!((len - 625.).abs() < DEVIATIONS, "shard {number} has {len}");
    }
    Ok(())
}
