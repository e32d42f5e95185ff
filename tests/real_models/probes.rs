//! Probes and interchanges of a real model: where SmolLM2 has the number of a subject, and by which direction.

use candle_lens::Result;
use candle_lens::model::HookedTransformer;
use candle_lens::prelude::*;

use super::checks::unprocessed;

/// Nouns that are one token in both numbers.
const NOUNS: [(&str, &str); 12] = [
    ("key", "keys"),
    ("author", "authors"),
    ("doctor", "doctors"),
    ("teacher", "teachers"),
    ("table", "tables"),
    ("letter", "letters"),
    ("garden", "gardens"),
    ("farmer", "farmers"),
    ("boy", "boys"),
    ("girl", "girls"),
    ("car", "cars"),
    ("book", "books"),
];

/// "The {subject} near the {other}", with the numbers of both, and the subject's position.
fn texts(
    model: &HookedTransformer,
    nouns: &[(&str, &str)],
    count: usize,
    seed: u64,
) -> Result<(Vec<String>, Vec<bool>, usize)> {
    let mut random = Random::new(seed);
    let mut noun = |plural: bool| {
        let noun = nouns[random.below(nouns.len())];
        if plural { noun.1 } else { noun.0 }
    };
    let text = |at: usize| format!("The {} near the {}", noun(at % 2 == 1), noun(at / 2 % 2 == 1));
    let texts: Vec<String> = (0..count).map(text).collect();
    Ok((texts, (0..count).map(|at| at % 2 == 1).collect(), model.to_tokens("The keys")?.pos() - 1))
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn number_is_read_and_exchanged() -> Result<()> {
    let model = unprocessed();
    let (prompts, plural, subject) = texts(model, &NOUNS, 240, 0)?;
    let nouns: Vec<usize> = prompts
        .iter()
        .map(|text| NOUNS.iter().position(|noun| text[4..].starts_with(noun.0)).expect("a noun"))
        .collect();
    let split = ProbeSplit::grouped(&plural, nouns, 0.3, 0)?;
    let options = ProbeOptions { repeats: 5, ..Default::default() };
    let at = [("subject", Positions::from(subject as isize)), ("end", Positions::Last)];
    let points = [("resid_post", 4), ("resid_post", 20)];
    let sweep = model.probe_sweep(&prompts, points, at, &plural, &split, options)?;
    let accuracy = sweep.scores("accuracy")?;
    println!("{accuracy}");
    assert!(accuracy.at(&[0, 0, 0])? > 0.9, "early at the subject");
    assert!(accuracy.at(&[0, 1, 1])? > 0.8, "late at the end");
    assert!(accuracy.at(&[1, 0, 0])? < 0.75, "shuffled labels");

    let pairs = |nouns: &[(&str, &str)], seed: u64| {
        let ((base, ..), (mut source, plural, _)) =
            (texts(model, nouns, 48, seed)?, texts(model, nouns, 48, seed + 1)?);
        // Each source has the other number than its base.
        source.rotate_left(1);
        let plural = plural.iter().cycle().skip(1).take(48);
        let answers = plural.map(|plural| if *plural { " are" } else { " is" });
        Interchange::new(model, base, source, answers)?.at(subject as isize)
    };
    let (train, test) = (pairs(&NOUNS[..6], 3)?, pairs(&NOUNS[6..], 5)?);
    let study =
        train.study(&test, ("resid_post", 4), InterchangeOptions { align: AlignBy::Means, repeats: 2, seed: 0 })?;
    println!("{study}");
    let aligned = study.aligned.held_out.accuracy();
    assert!(aligned > study.untouched.held_out.accuracy() + 0.2, "{study}");
    assert!(study.moved_as_far.iter().all(|control| control.held_out.accuracy() < aligned - 0.1), "{study}");
    Ok(())
}
