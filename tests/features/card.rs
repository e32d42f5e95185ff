//! What is said of a dictionary beside its card.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::score::{perfect, texts};

#[test]
fn a_verdict_compares_with_the_card() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let verdict = |card: Card| -> Result<CardCheck> {
        let expects = Expects { card, ..Expects::at("resid_post1".parse()?) };
        let scores = model.evaluate_dictionaries(
            perfect(expects, 128)?,
            texts()?,
            ScoreOptions { runs: false, ..Default::default() },
        )?;
        let text = scores.to_string();
        assert_eq!(text.contains("does not fit"), !scores.scores[0].card.fits, "{text}");
        Ok(scores.scores[0].card.clone())
    };
    let card = |l0, explained_variance| Card { l0, explained_variance };
    for (said, fits, why) in [
        (card(None, None), true, "no figures"),
        (card(Some(100.), Some(0.9)), true, "100.0 on its card"),
        (card(Some(40.), None), false, "128.0 features are active at a position, and its card says 40.0"),
        (card(Some(400.), None), false, "says 400.0"),
    ] {
        let verdict = verdict(said)?;
        assert!(verdict.fits == fits && verdict.why.contains(why), "{verdict}");
    }
    Ok(())
}

/// Of a model whose BOS is not known nothing is said of how its texts begin.
#[test]
fn texts_that_begin_otherwise_are_only_named_where_there_is_a_bos() -> Result<()> {
    let tiny = HookedTransformer::from_pretrained("tiny")?;
    let bos = tiny.tokenizer()?.bos_id().expect("it has one");
    let (without_tokenizer, _) = HookedTransformer::trainable(tiny.cfg().as_ref().clone(), 3, &Device::Cpu)?;
    let why = |model: &HookedTransformer, prepend_bos: bool, first: u32| -> Result<String> {
        let expects = Expects { prepend_bos: Some(prepend_bos), ..Expects::at("resid_post1".parse()?) };
        let rows = Tokens::from_rows(vec![vec![first, 5, 9, 12], vec![first, 9, 5, 20]])?;
        let options = ScoreOptions { runs: false, ..Default::default() };
        Ok(model.evaluate_dictionaries(perfect(expects, 128)?, rows, options)?.scores[0].card.why.clone())
    };
    for (prepends, first, said) in [(true, 7, "2 of these 2 do not"), (false, bos, "2 of these 2 begin with one")] {
        let of_tiny = why(&tiny, prepends, first)?;
        assert!(of_tiny.contains(said), "{of_tiny}");
        let unknown = why(&without_tokenizer, prepends, first)?;
        assert!(!unknown.contains("BOS"), "{unknown}");
    }
    for (prepends, first) in [(true, bos), (false, 7)] {
        assert!(!why(&tiny, prepends, first)?.contains("BOS"));
    }
    Ok(())
}
