//! Splits: both labels on both sides, whole groups, the same for a seed.

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::prelude::{ProbeSplit, Random};

fn all(split: &ProbeSplit) -> Vec<usize> {
    let mut all = [&split.train[..], &split.test].concat();
    all.sort_unstable();
    all
}

#[test]
fn each_label_has_its_share_on_both_sides() -> Result<()> {
    let mut random = Random::new(1);
    for (count, share) in [(4, 0.5), (30, 0.3), (100, 0.1), (7, 0.9)] {
        let labels: Vec<bool> = (0..count).map(|at| at < 2 || (at > 3 && random.chance(0.3))).collect();
        let split = ProbeSplit::stratified(&labels, share, 3)?;
        assert_eq!(all(&split), (0..count).collect::<Vec<_>>());
        for kind in [false, true] {
            let of_kind = |side: &[usize]| side.iter().filter(|&&at| labels[at] == kind).count();
            let (fitted, held_out) = (of_kind(&split.train), of_kind(&split.test));
            assert!(fitted > 0 && held_out > 0, "{split}");
            let wanted = share * (fitted + held_out) as f64;
            assert!((held_out as f64 - wanted).abs() <= 1., "{held_out} held out, {wanted} wanted");
        }
        assert_eq!(split, ProbeSplit::stratified(&labels, share, 3)?, "the same seed");
    }
    let labels: Vec<bool> = (0..40).map(|at| at % 2 == 0).collect();
    assert_ne!(ProbeSplit::stratified(&labels, 0.3, 0)?, ProbeSplit::stratified(&labels, 0.3, 1)?);
    assert_eq!(ProbeSplit::stratified((0..10).map(f64::from).collect::<Vec<_>>(), 0.3, 0)?.test.len(), 3);
    Ok(())
}

/// Groups of many sizes, with one label or both: none is on both sides, and the share is nearly met.
#[test]
fn groups_stay_whole() -> Result<()> {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let groups: Vec<usize> = (0..120).map(|_| random.below(15)).collect();
        let labels: Vec<bool> =
            groups.iter().map(|&group| group % 3 == 0 || (group % 3 == 1 && random.chance(0.5))).collect();
        let split = ProbeSplit::grouped(&labels, &groups, 0.3, seed)?;
        assert_eq!(all(&split), (0..120).collect::<Vec<_>>());
        let of = |side: &[usize]| side.iter().map(|&at| groups[at]).collect::<BTreeSet<_>>();
        assert!(of(&split.train).is_disjoint(&of(&split.test)));
        for side in [&split.train, &split.test] {
            assert_eq!(side.iter().map(|&at| labels[at]).collect::<BTreeSet<_>>().len(), 2);
        }
        assert!((28..45).contains(&split.test.len()), "{split}");
    }
    // Two groups of each label leave no choice but one of each, however small the share.
    let split = ProbeSplit::grouped([true, true, false, false], ["a", "b", "c", "d"], 0.01, 0)?;
    assert_eq!(split.test.len(), 2);
    // One group with nearly everything.
    let labels: Vec<bool> = (0..22).map(|at| at % 2 == 0).collect();
    let split = ProbeSplit::grouped(&labels, (0..22).map(|at| at.max(19)), 0.3, 0)?;
    assert_eq!(split.test, [20, 21]);
    Ok(())
}

#[test]
fn splits_that_cannot_be_are_refused() {
    let labels = [true, true, false, false];
    let messages = [
        (ProbeSplit::stratified(labels, 1., 0), "between 0 and 1"),
        (ProbeSplit::stratified(labels, f64::NAN, 0), "between 0 and 1"),
        (ProbeSplit::stratified([true, true], 0.5, 0), "all 2 labels are the same"),
        (ProbeSplit::stratified([true, false, false], 0.5, 0), "at least two of each kind"),
        (ProbeSplit::stratified([1., f64::NAN], 0.5, 0), "number 1"),
        (ProbeSplit::grouped(labels, [1, 2, 3], 0.5, 0), "3 groups were given for 4 examples"),
        (ProbeSplit::grouped(labels, [1, 1, 2, 3], 0.5, 0), "each kind needs two groups"),
        (ProbeSplit::grouped(labels, [0; 4], 0.5, 0), "1 groups cannot be divided"),
    ];
    for (result, words) in messages {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
}
