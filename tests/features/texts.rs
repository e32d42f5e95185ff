//! The texts in which features are most active, against a full sort of dense activations of single texts.

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::prelude::*;

use super::made::{FEATURES, PROMPT, at, every_kind, made, tiny, unprocessed};
use crate::support::allocations::held_at_most;
use crate::support::sentence::sentence;

/// The same text alone and in a batch with others.
const IN_A_BATCH: f32 = 1e-4;

/// Of several lengths, with a BOS in front of each.
const TEXTS: [&str; 7] = [
    "When John and Mary went to the shops, John gave the bag to Mary",
    "The keys on the cabinet are old",
    "The war lasted from the year 1732 to the year 17",
    "Anna",
    "When Anna and Tom went to the park, Anna gave the ball to",
    "The keys to the cabinets",
    "The capital of France is the city of Paris",
];

/// The activations of one feature at each token of each text, one text a run.
fn dense(model: &HookedTransformer, dictionary: &Dictionary, texts: &[Vec<u32>]) -> Result<Vec<Vec<Vec<f32>>>> {
    let dictionary = dictionary.for_model(model)?;
    let point = dictionary.expects().hook_in.expect("it has a point");
    let of = |ids: &Vec<u32>| {
        let plan = HookPlan::new().capture(point.to_string());
        let (_, cache) = model.run_with_hooks(vec![ids.clone()], &plan)?;
        let mut x = cache.get(point.to_string().as_str())?;
        if let Some(head) = dictionary.expects().head {
            x = x.narrow(2, head, 1)?.squeeze(2)?;
        }
        Ok(dictionary.encode_dense(&x)?.squeeze(0)?.to_vec2::<f32>()?)
    };
    texts.iter().map(of).collect()
}

fn ids(model: &HookedTransformer) -> Result<Vec<Vec<u32>>> {
    TEXTS.iter().map(|text| Ok(model.to_tokens(*text)?.row(0))).collect()
}

/// The largest activation of each text in which the feature is active: text, position, activation.
fn peaks(dense: &[Vec<Vec<f32>>], feature: usize, from: usize) -> Vec<(usize, usize, f32)> {
    let mut all = Vec::new();
    for (text, rows) in dense.iter().enumerate() {
        let mut peak = (text, 0, 0f32);
        for (position, row) in rows.iter().enumerate().skip(from) {
            if row[feature].abs() > peak.2.abs() {
                peak = (text, position, row[feature]);
            }
        }
        if peak.2 != 0. {
            all.push(peak);
        }
    }
    all.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    all
}

/// The numbers of the bins, counted one by one.
fn check_histogram(histogram: &FeatureHistogram, dense: &[Vec<Vec<f32>>], feature: usize, from: usize, what: &str) {
    let all: Vec<f32> = dense.iter().flat_map(|rows| rows.iter().skip(from)).map(|row| row[feature]).collect();
    let active: Vec<f32> = all.iter().copied().filter(|value| *value != 0.).collect();
    assert_eq!((histogram.positions, histogram.active), (all.len() as u64, active.len() as u64), "{what}");
    assert_eq!(histogram.negative, active.iter().filter(|value| **value < 0.).count() as u64, "{what}");
    let mean = active.iter().map(|value| f64::from(*value)).sum::<f64>() / active.len().max(1) as f64;
    assert!((histogram.mean() - mean).abs() < f64::from(IN_A_BATCH), "{what}");
    let bins = histogram.bins();
    assert_eq!(bins.iter().map(|bin| bin.2).sum::<u64>(), histogram.active, "{what}");
    for (from, to, count) in bins {
        // Rounding may put a number on the other side of an edge.
        let inside =
            |slack: f32| active.iter().filter(|value| (from - slack..to + slack).contains(&value.abs())).count();
        let (least, most) = (inside(-IN_A_BATCH * from), inside(IN_A_BATCH));
        assert!((least as u64..=most as u64).contains(&count), "{what}: {count} from {from} to {to}, {least} {most}");
        assert!(to / from <= 1.25 + f32::EPSILON, "{what}: a bin from {from} to {to}");
    }
}

#[test]
fn examples_are_those_of_a_full_sort() -> Result<()> {
    for model in [tiny(), unprocessed()] {
        let ids = ids(&model)?;
        let pad = model.tokenizer()?.pad_id().unwrap_or(0);
        for dictionary in every_kind().into_iter().take(4) {
            let dense = dense(&model, &dictionary, &ids)?;
            for (side, bos) in [(PaddingSide::Right, AtBos::LeftAlone), (PaddingSide::Left, AtBos::Spliced)] {
                let from = usize::from(bos == AtBos::LeftAlone);
                let texts = Tokens::padded(ids.clone(), pad, side)?;
                let options = ExampleOptions { top: 3, random: 4, before: 2, after: 3, bos, seed: 1 };
                let found = model.feature_examples(&dictionary, .., &texts, &options)?;
                assert_eq!((found.features.len(), found.texts), (FEATURES, TEXTS.len()));
                assert_eq!(found.without_bos, from == 1);
                for of in &found.features {
                    let what = format!("feature {} of {dictionary}, {bos:?}", of.feature);
                    let expected = peaks(&dense, of.feature, from);
                    assert_eq!(of.top.len(), expected.len().min(3), "{what}");
                    assert_eq!(of.random.len(), expected.len().min(4), "{what}");
                    for (example, (_, _, activation)) in of.top.iter().zip(&expected) {
                        let there = dense[example.text][example.position][of.feature];
                        // Texts that begin alike are as active but for rounding, so either may come first.
                        assert!((there.abs() - activation.abs()).abs() < IN_A_BATCH, "{what}");
                        assert!((example.activation - activation).abs() < IN_A_BATCH, "{what}");
                    }
                    check_windows(&model, of, &dense, &ids, (&expected, from), &what);
                    check_histogram(&of.histogram, &dense, of.feature, from, &what);
                }
            }
        }
    }
    Ok(())
}

/// That every example shows the tokens around a peak with what the feature is there.
fn check_windows(
    model: &HookedTransformer,
    of: &FeatureTexts,
    dense: &[Vec<Vec<f32>>],
    ids: &[Vec<u32>],
    (peaks, from): (&[(usize, usize, f32)], usize),
    what: &str,
) {
    let mut texts = BTreeSet::new();
    for example in of.top.iter().chain(&of.random) {
        let row = &ids[example.text];
        assert!(peaks.iter().any(|peak| (peak.0, peak.1) == (example.text, example.position)), "{what}");
        let window = example.position.saturating_sub(2)..(example.position + 4).min(row.len());
        assert_eq!(example.start, window.start, "{what}");
        let pieces: Vec<String> = row[window.clone()].iter().map(|&id| model.piece(id)).collect();
        assert_eq!(example.pieces, pieces, "{what}");
        for (activation, position) in example.activations.iter().zip(window) {
            let there = if position < from { 0. } else { dense[example.text][position][of.feature] };
            assert!((activation - there).abs() < IN_A_BATCH, "{what}: {activation} {there}");
        }
        assert_eq!(example.activations[example.peak()], example.activation, "{what}");
    }
    assert!(of.random.iter().all(|example| texts.insert(example.text)), "{what}: a text was drawn twice");
    assert!(of.random.windows(2).all(|pair| pair[0].activation.abs() >= pair[1].activation.abs()), "{what}");
}

/// A list gives what all features give, in its order; numbers from the end count from the end.
#[test]
fn a_list_of_features_gives_the_same() -> Result<()> {
    let (model, dictionary) = (tiny(), made(1, at("resid_post1"), |parts| parts));
    let options = ExampleOptions { top: 2, random: 2, ..Default::default() };
    let all = model.feature_examples(&dictionary, .., TEXTS, &options)?;
    let some = model.feature_examples(&dictionary, [-1, 3, 3], TEXTS, &options)?;
    assert_eq!(some.features, [all.of(FEATURES - 1)?, all.of(3)?]);
    assert_eq!(some.positions, all.positions);
    assert!(some.of(4).unwrap_err().to_string().contains("feature 4"));
    let other = model.feature_examples(&dictionary, .., TEXTS, ExampleOptions { seed: 1, ..options })?;
    assert_eq!(other.features[3].top, all.features[3].top);
    assert!(other.features != all.features, "another seed draws other texts");
    Ok(())
}

/// Activations with signs are ranked by their size.
#[test]
fn negative_activations_count_by_their_size() -> Result<()> {
    let (model, k) = (tiny(), 12);
    let dictionary =
        made(1, at("resid_post1"), |parts| DictionaryParts { activation: Activation::AbsTopK { k }, ..parts });
    let dense = dense(&model, &dictionary, &ids(&model)?)?;
    let found = model.feature_examples(&dictionary, .., TEXTS, ExampleOptions { top: 3, ..Default::default() })?;
    let mut negative = 0;
    for of in &found.features {
        for (example, (_, _, activation)) in of.top.iter().zip(peaks(&dense, of.feature, 1)) {
            let there = dense[example.text][example.position][of.feature];
            assert!((there.abs() - activation.abs()).abs() < IN_A_BATCH, "{}", of.feature);
            negative += u64::from(activation < 0.);
        }
        check_histogram(&of.histogram, &dense, of.feature, 1, &format!("feature {}", of.feature));
    }
    assert!(negative > 0);
    Ok(())
}

/// Four times the texts need no more memory than the batches and what is kept.
#[test]
fn memory_does_not_grow_with_the_texts() -> Result<()> {
    let (model, dictionary) = (tiny(), made(1, at("resid_pre0"), |parts| parts));
    let options = ExampleOptions { top: 2, random: 2, before: 2, after: 2, ..Default::default() };
    let row = model.to_tokens(PROMPT)?.row(0);
    let most = |count: usize| {
        let texts = Tokens::from_rows(vec![row.clone(); count])?;
        let (found, most) = held_at_most(|| model.feature_examples(&dictionary, .., &texts, &options));
        assert_eq!(found?.texts, count);
        Ok::<_, candle_lens::Error>(most)
    };
    let (some, many) = (most(140)?, most(560)?);
    // Ids and lengths of the texts themselves are there three times at most.
    let texts = 560 * (row.len() * 4 + 64) * 3;
    assert!(many < some + texts, "{some} bytes for 140 texts, {many} for 560");
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let (model, dictionary) = (tiny(), made(1, at("resid_post1"), |parts| parts));
    let options = ExampleOptions::default;
    sentence(model.feature_examples(&dictionary, FEATURES, TEXTS, options()), &["feature", "40"]);
    sentence(model.feature_examples(&dictionary, .., Vec::<&str>::new(), options()), &["text"]);
    let bos = model.tokenizer()?.bos_id().expect("it has one");
    sentence(model.feature_examples(&dictionary, .., vec![vec![bos]], options()), &["BOS"]);
    let huge = ExampleOptions { top: usize::MAX, ..options() };
    sentence(model.feature_examples(&dictionary, .., TEXTS, huge), &["examples", "features"]);
    sentence(FeatureTexts::default().quantiles(0), &["0 groups"]);
    assert!(FeatureTexts::default().quantiles(5)?.is_empty(), "a feature that is never active has no groups");
    Ok(())
}
