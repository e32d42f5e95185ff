//! Activations of texts: every position once, those of several points together, in an order that the seed decides.

use std::collections::BTreeMap;

use candle_lens::Result;
use candle_lens::hooks::HookPlan;
use candle_lens::model::HookedTransformer;
use candle_lens::random::Random;
use candle_lens::tasks::{Split, Task};
use candle_lens::tokens::Tokens;
use candle_lens::train::{ActivationStore, SkipTokens, StoreOptions, Texts};

use crate::support::scratch;

const POINTS: (&str, &str) = ("blocks.1.ln2.hook_normalized", "blocks.1.attn.hook_z");

fn tiny() -> HookedTransformer {
    HookedTransformer::from_pretrained("tiny").expect("the embedded model")
}

fn options() -> StoreOptions {
    StoreOptions { batch: 50, buffer: 120, prompts: 7, ..Default::default() }
}

/// All rows of all batches, both points side by side, as bits.
fn all(store: &mut ActivationStore) -> Result<Vec<Vec<u32>>> {
    let mut rows = Vec::new();
    while let Some(batch) = store.next_batch()? {
        let [a, b] = &batch.tensors()[..] else { panic!("two points") };
        assert_eq!((a.dims(), b.dims()), (&[batch.rows(), 128][..], &[batch.rows(), 128][..]));
        for (a, b) in a.to_vec2::<f32>()?.into_iter().zip(b.to_vec2::<f32>()?) {
            rows.push(a.into_iter().chain(b).map(f32::to_bits).collect());
        }
    }
    Ok(rows)
}

/// The same rows from one run for each prompt, BOS left out.
fn by_hand(model: &HookedTransformer, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    for row in rows {
        let tokens = Tokens::from_rows(vec![row.clone()])?;
        let (_, cache) = model.run_with_hooks(&tokens, HookPlan::new().capture(POINTS))?;
        let [a, b] = [cache.get(POINTS.0)?, cache.get(POINTS.1)?];
        let (a, b) = (a.squeeze(0)?.to_vec2::<f32>()?, b.squeeze(0)?.flatten_from(1)?.to_vec2::<f32>()?);
        all.extend(a.into_iter().zip(b).skip(1).map(|(a, b)| [a, b].concat()));
    }
    Ok(all)
}

/// Rounded, so that runs of padded batches are the same numbers as runs of single prompts.
fn counted(rows: impl IntoIterator<Item = Vec<f32>>) -> BTreeMap<Vec<i64>, usize> {
    const DIGITS: f32 = 1e2;
    let mut counts = BTreeMap::new();
    for row in rows {
        // The sum as well, because a number may lie at the border between two roundings.
        let key = row.chunks(32).map(|part| (part.iter().sum::<f32>() * DIGITS / 4.).round() as i64).collect();
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[test]
fn every_position_comes_once_with_its_partner() -> Result<()> {
    let model = tiny();
    let dataset = Task::Ioi.prompts(Split::Train, 40, 0)?;
    let mut store = ActivationStore::new(&model, POINTS, &dataset, options())?;
    let got = all(&mut store)?;
    let texts: Vec<String> = dataset.prompts.iter().map(|prompt| prompt.clean.clone()).collect();
    let ids = (0..texts.len()).map(|n| Ok(model.to_tokens(&texts[n])?.row(0))).collect::<Result<Vec<_>>>()?;
    let expected = by_hand(&model, &ids)?;
    assert_eq!((got.len(), store.rows_given()), (expected.len(), expected.len() as u64));
    let got = got.into_iter().map(|row| row.into_iter().map(f32::from_bits).collect::<Vec<f32>>());
    let (got, expected) = (counted(got), counted(expected));
    let found: usize = got.iter().map(|(key, count)| (*count).min(expected.get(key).copied().unwrap_or(0))).sum();
    let total: usize = expected.values().sum();
    // Sums that lie at a border between two roundings may fall on either side.
    assert!(found * 100 >= total * 95, "{found} of {total} rows are those of single runs");
    Ok(())
}

#[test]
fn the_seed_decides_the_order() -> Result<()> {
    let model = tiny();
    let dataset = Task::Ioi.prompts(Split::Train, 30, 0)?;
    let with_seed =
        |seed| all(&mut ActivationStore::new(&model, POINTS, &dataset, StoreOptions { seed, ..options() })?);
    let (one, again, other) = (with_seed(1)?, with_seed(1)?, with_seed(2)?);
    assert_eq!(one, again);
    assert_ne!(one, other);
    let sorted = |mut rows: Vec<Vec<u32>>| {
        rows.sort_unstable();
        rows
    };
    assert_eq!(sorted(one), sorted(other), "the same rows in another order");
    Ok(())
}

/// Ids name positions: of `hook_embed` the row of a token is that of its embedding.
#[test]
fn special_tokens_are_left_out_and_long_texts_are_read_whole() -> Result<()> {
    let model = tiny();
    let bos = model.tokenizer()?.bos_id().expect("a BOS");
    let long: Vec<u32> = [bos].into_iter().chain(1..=300).collect();
    let count = |skip: SkipTokens, context: Option<usize>| -> Result<usize> {
        let options = StoreOptions { skip, context, ..options() };
        let mut store =
            ActivationStore::new(&model, "resid_pre0", vec![Tokens::from_rows(vec![long.clone()])?], options)?;
        let mut rows = 0;
        while let Some(batch) = store.next_batch()? {
            rows += batch.rows();
        }
        Ok(rows)
    };
    assert_eq!(count(SkipTokens::Special, None)?, 300);
    // 300 tokens in parts of 127 with a BOS each.
    assert_eq!(count(SkipTokens::Nothing, None)?, 303);
    assert_eq!(count(SkipTokens::Nothing, Some(11))?, 330);
    assert_eq!(count(SkipTokens::Ids(vec![bos, 5, 6]), None)?, 298);
    Ok(())
}

#[test]
fn texts_are_of_files_lists_and_streams() -> Result<()> {
    let model = tiny();
    let lines = ["The keys on the cabinet", "", "The key on the cabinets", "   "];
    let path = scratch("train_texts").join("texts.txt");
    std::fs::write(&path, lines.join("\n")).expect("a file of the test");
    let all_of = |texts: Texts| all(&mut ActivationStore::new(&model, POINTS, texts, options())?);
    let of_list = all_of([lines[0], lines[2]].into())?;
    assert_eq!(all_of(Texts::file(&path)?)?, of_list);
    assert_eq!(all_of(Texts::stream(vec![lines[0], lines[2]]))?, of_list);
    let mut endless = ActivationStore::new(&model, POINTS, Texts::file(&path)?.repeated()?, options())?;
    for _ in 0..10 {
        assert_eq!(endless.next_batch()?.expect("it has no end").rows(), 50);
    }
    std::fs::write(&path, "").expect("a file of the test");
    assert!(all_of(Texts::file(&path)?.repeated()?)?.is_empty(), "nothing, again and again, has an end");
    std::fs::write(&path, b"good\n\xff\xfe\n").expect("a file of the test");
    let message = all_of(Texts::file(&path)?).expect_err("not UTF-8").to_string();
    assert!(message.contains("line 2"), "{message}");
    assert!(Texts::file(path.with_file_name("none.txt")).is_err());
    let mut random = Random::new(0);
    let noise = Texts::stream(std::iter::from_fn(move || Some(vec![random.below(9) as u32 + 1, 3])));
    assert!(noise.repeated().is_err());
    Ok(())
}

#[test]
fn texts_that_give_nothing_do_not_run_for_ever() -> Result<()> {
    let model = tiny();
    let skipped = SkipTokens::Ids(vec![5, 6]);
    let store = |rows: Vec<Vec<u32>>| {
        let texts = Texts::from(rows).repeated()?;
        ActivationStore::new(&model, "resid_pre0", texts, StoreOptions { skip: skipped.clone(), ..options() })
    };
    for count in [1, 7, 20] {
        let message = store(vec![vec![5, 6, 5]; count])?.next_batch().expect_err("no rows").to_string();
        assert!(message.contains("all tokens of these texts are left out"), "{message}");
    }
    // One token of the last of many texts is enough.
    let mut rows = vec![vec![5, 6]; 30];
    rows.push(vec![5, 7]);
    assert_eq!(store(rows)?.next_batch()?.expect("it has no end").rows(), 50);
    Ok(())
}

#[test]
fn what_cannot_be_collected_is_refused_before_a_run() {
    let model = tiny();
    let new = |points: &[&str], options: StoreOptions| {
        ActivationStore::new(&model, points, ["a text"], options).expect_err("refused").to_string()
    };
    for (points, options, word) in [
        (&["pattern1"][..], options(), "no activation for each position"),
        (&["hook_tokens_"], options(), "hook_tokens_"),
        (&["resid_post9"], options(), "layer 9"),
        (&[], options(), "no point was named"),
        (&["z1"], StoreOptions { batch: 200, ..options() }, "holds at least a batch"),
        (&["z1"], StoreOptions { prompts: 0, ..options() }, "at least 1"),
        (&["z1"], StoreOptions { context: Some(1), ..options() }, "from 2 to"),
        (&["z1"], StoreOptions { context: Some(129), ..options() }, "n_ctx, 128"),
        (&["z1"], StoreOptions { buffer: 1 << 60, ..options() }, "take a smaller `buffer`"),
    ] {
        let message = new(points, options);
        assert!(message.contains(word), "{word}: {message}");
    }
}
