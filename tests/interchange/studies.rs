//! Studies: a subspace that carries a variable is found, and its controls fail.

use candle_lens::Result;
use candle_lens::prelude::*;
use candle_lens::views::View;

use crate::support::models::pretrained;

/// Nouns with both numbers, at which the subject is position 2.
const NOUNS: [&str; 10] =
    ["key", "author", "cabinet", "doctor", "teacher", "table", "letter", "garden", "door", "farmer"];

/// Every pair of subjects in both numbers; the number of the second noun is free, and the predicted answer is the number of the source's subject.
fn pairs(model: &HookedTransformer, nouns: &[&str], seed: u64) -> Result<Interchange> {
    let mut random = Random::new(seed);
    let (mut base, mut source, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let mut text = |noun: &str, plural: bool| {
        let of = |noun: &str, plural: bool| if plural { format!("{noun}s") } else { noun.to_string() };
        let other = NOUNS[random.below(NOUNS.len())];
        format!("The {} near the {}", of(noun, plural), of(other, random.chance(0.5)))
    };
    for (at, one) in nouns.iter().enumerate() {
        for other in nouns.iter().skip(at % 2).step_by(2) {
            for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
                base.push(text(one, a));
                source.push(text(other, b));
                answers.push(if b { " are" } else { " is" });
            }
        }
    }
    Interchange::new(model, &base, &source, answers)?.at(2)
}

#[test]
fn number_is_carried_by_a_direction_and_controls_fail() -> Result<()> {
    let model = pretrained("tiny", None)?;
    let (train, test) = (pairs(&model, &NOUNS[..6], 0)?, pairs(&model, &NOUNS[6..], 1)?);
    let das = AlignBy::Das(DasOptions { epochs: 4, batch_size: 24, learning_rate: 0.05, ..Default::default() });
    for align in [AlignBy::Means, AlignBy::Probe { strength: 1. }, das] {
        let study = train.study(&test, ("resid_post", 0), InterchangeOptions { align, repeats: 2, seed: 0 })?;
        assert!(study.whole.held_out.accuracy() > 0.9, "{study}");
        let aligned = study.aligned.held_out.accuracy();
        assert!(aligned > 0.8 && aligned > study.untouched.held_out.accuracy() + 0.2, "{study}");
        for control in study.moved_as_far.iter().chain([&study.untrained, &study.arbitrary]) {
            assert!(control.held_out.accuracy() < aligned - 0.15, "{study}");
        }
        assert_eq!((study.subspace.rank(), study.losses.is_empty()), (1, !matches!(study.align, AlignBy::Das(_))));
        assert_eq!(study.aligned.held_out, test.score(("resid_post", 0), &study.subspace)?);
        let shown = study.render()?.html().to_string();
        assert!(
            ["random, moved as far", "arbitrary labels", "untrained model"].iter().all(|word| shown.contains(word))
        );
    }
    Ok(())
}

/// At the first word nothing of the subject's number is there to be exchanged. An MLP alone hardly turns the answer, since the residual
/// stream has the number as well; but most of what its whole activation does to the loss, an eighth of its neurons do, and random
/// directions in which the base is moved as far do little of it.
#[test]
fn other_places_and_neurons() -> Result<()> {
    let model = pretrained("tiny", None)?;
    let (train, test) = (pairs(&model, &NOUNS[..6], 0)?, pairs(&model, &NOUNS[6..], 1)?);
    let whole = |pairs: &Interchange, at: isize| {
        pairs.clone().at(at)?.score(("resid_post", 0), &Subspace::whole(model.cfg().d_model)?)
    };
    assert!(whole(&test, 1)?.accuracy() < 0.7);
    let options = InterchangeOptions { align: AlignBy::Neurons { count: 64 }, repeats: 2, seed: 1 };
    let sweep = train.sweep(&test, [("post", 0), ("post", 1)], options)?;
    let accuracy = sweep.accuracy()?;
    assert_eq!(accuracy.shape(), [6, 2]);
    assert_eq!(sweep.studies[0].subspace.rank(), 64);
    for study in &sweep.studies {
        let (from, to) = (study.untouched.held_out.loss, study.whole.held_out.loss);
        let share = |scores: &FittedAndHeldOut| (from - scores.held_out.loss) / (from - to);
        let aligned = share(&study.aligned);
        assert!(to < from - 0.1 && aligned > 0.5 && share(&study.arbitrary) < aligned - 0.1, "{study}");
        assert!(study.moved_as_far.iter().all(|random| share(random) < 0.3), "{study}");
    }
    // No interchange is the same at every point.
    let still = accuracy.select("interchange", 4)?;
    assert_eq!(still.at(&[0])?, still.at(&[1])?);
    sweep.render()?;
    Ok(())
}

#[test]
fn what_cannot_be_studied_is_refused() -> Result<()> {
    let model = pretrained("tiny", None)?;
    let raw = pretrained("tiny", Some(Processing::NONE))?;
    let new = |model: &HookedTransformer| {
        Interchange::new(model, ["The key", "The keys"], ["The children", "The child"], [" are", " is"])
    };
    let pairs = new(&model)?;
    let at = ("resid_post", 1);
    let study = |held_out: &Interchange, align: AlignBy, repeats| {
        pairs.study(held_out, at, InterchangeOptions { align, repeats, seed: 0 }).map(drop)
    };
    let das = |options: DasOptions| study(&pairs, options.into(), 1);
    let one = Interchange::new(&model, "The key", "The keys", [" are"])?;
    let narrow = Subspace::random(8, 1, 0)?;
    let options = InterchangeOptions { align: AlignBy::Means, repeats: 1, seed: 0 };
    let found = pairs.study(&pairs, at, options)?.subspace;
    let start = Some(Subspace::random(model.cfg().d_model, 2, 0)?);
    let messages = [
        (
            Interchange::new(&model, ["The key"], ["The keys", "The child"], [" are"]).map(drop),
            "1 bases, 2 sources and 1 predicted",
        ),
        (Interchange::new(&model, "The key", "The keys", [" nevertheless so"]).map(drop), "token"),
        (new(&model)?.at(7).map(drop), "position"),
        (new(&model)?.between(Positions::All, Positions::Last).map(drop), "both the same number"),
        (new(&model)?.strength(f64::NAN).map(drop), "the strength is NaN"),
        (one.untouched().map(drop), "every subspace would be right"),
        (pairs.score(at, &narrow).map(drop), "[8, 1]"),
        (pairs.score(("pattern", 0), &narrow).map(drop), "a vector for each position"),
        (pairs.score("embed", &narrow).map(drop), "outside the blocks"),
        (study(&new(&raw)?, AlignBy::Means, 1), "processed otherwise"),
        (study(&new(&model)?.strength(0.5)?, AlignBy::Means, 1), "strength"),
        (study(&pairs, AlignBy::Means, 0), "no placebo"),
        (study(&pairs, AlignBy::Given(narrow.clone()), 1), "[8, 1]"),
        (study(&pairs, AlignBy::Neurons { count: 0 }, 1), "at least 1"),
        (das(DasOptions { rank: 0, ..Default::default() }), "0 dimensions"),
        (das(DasOptions { epochs: 0, ..Default::default() }), "learn nothing"),
        (das(DasOptions { learning_rate: 0., ..Default::default() }), "learning rate"),
        (das(DasOptions { start, ..Default::default() }), "from one of 2"),
        (das(DasOptions { learning_rate: 1e30, ..Default::default() }), "smaller learning rate"),
        (new(&raw)?.score(at, &found).map(drop), "was found in another model"),
    ];
    for (result, words) in messages {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
    // An answer that is only compared is not a label, and the labels of the control are those of the fitted pairs.
    for seed in 0..8 {
        let options = InterchangeOptions { align: AlignBy::Probe { strength: 1. }, repeats: 1, seed };
        new(&model)?.among([" was"])?.study(&pairs.clone().among([" was"])?, at, options)?;
    }
    let three =
        Interchange::new(&model, ["The key"; 3], ["The keys", "The child", "The author"], [" are", " is", " was"])?;
    let message = three.study(&three, at, AlignBy::Probe { strength: 1. }).expect_err("three answers").to_string();
    assert!(message.contains("pairs with 3"), "{message}");
    Ok(())
}
