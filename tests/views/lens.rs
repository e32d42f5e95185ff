//! The picture of what a lens reads.

use candle_lens::prelude::*;
use candle_lens::views::Rendered;
use candle_lens::{Error, Result};
use serde_json::Value;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

fn reading() -> Result<LensReading> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    logit_lens(&model, [PROMPT, "The keys on"], LensOptions { target: " Mary".into(), ..Default::default() })
}

/// What numbers are written with.
const FIVE_DIGITS: f64 = 1e-4;

/// A picture whose labels and tokens are this text.
pub fn priced(text: &str) -> Result<Rendered> {
    let mut reading = reading()?;
    reading.texts.fill(text.into());
    reading.inputs.iter_mut().flatten().for_each(|input| *input = text.into());
    lens_grid(&reading, LensColor::Probability).title(text).render()
}

/// The argument of the script's function.
fn data(shown: &Rendered) -> Value {
    let html = shown.html();
    let call = html.rsplit("\"lens\",").next().expect("a call");
    let json = call.split(")</script>").next().expect("its end");
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn every_cell_has_its_token_and_its_numbers() -> Result<()> {
    let reading = reading()?;
    let shown = reading.render()?;
    let data = data(&shown);
    let (rows, positions) = (reading.entropy.shape()[0], reading.entropy.shape()[2]);
    assert_eq!(data["rows"].as_array().map(Vec::len), Some(rows));
    assert_eq!(data["inputs"].as_array().map(Vec::len), Some(2));
    let number = |value: &Value| value.as_f64().expect("a number");
    for (row, prompt, position) in [(0, 0, 3), (rows - 1, 0, positions - 1), (4, 1, 2)] {
        let at = (row * 2 + prompt) * positions + position;
        for rank in 0..5 {
            let pair = |which: usize| &data["best"][2 * (at * 5 + rank) + which];
            let text = data["vocabulary"][pair(0).as_u64().expect("an index") as usize].as_str();
            assert_eq!(text, Some(&candle_lens::views::visible(&reading.texts[at * 5 + rank])[..]));
            let p = f64::from(reading.probabilities.values()[[row, prompt, position, rank]]);
            assert_eq!(number(pair(1)), (1e4 * p).round());
        }
        for (which, result) in [(0, &reading.target()?.rank), (1, &reading.entropy), (2, &reading.kl()?)] {
            let expected = f64::from(result.values()[[row, prompt, position]]);
            let got = number(&data["numbers"][which]["values"][at]);
            assert!((got - expected).abs() <= FIVE_DIGITS * expected.abs(), "{which}: {got} {expected}");
        }
    }
    // The second prompt is shorter: what is padded has neither a token nor numbers.
    let padded = (rows * 2 - 1) * positions;
    let is_left = data["best"][2 * 5 * padded + 1] == -1;
    let at = if is_left { padded } else { padded + positions - 1 };
    assert_eq!(data["best"][2 * 5 * at + 1], -1);
    assert!(data["numbers"][1]["values"][at].is_null());
    // Without scripts the first prompt is there, the end of the model on top.
    let still = shown.html().split("<script").next().expect("a still form");
    assert!(still.find("final_post") < still.find("0_pre"), "{still}");
    assert!(still.contains(">Mary") || still.contains("> Mary"), "{still}");
    assert_eq!(still.matches("<td").count(), rows * positions);
    assert!(shown.text().contains("\" Mary\"") && shown.text().contains("Prompt 1"), "{}", shown.text());
    Ok(())
}

#[test]
fn every_colour_gives_another_picture() -> Result<()> {
    let reading = reading()?;
    let still = |color| -> Result<String> {
        let shown = lens_grid(&reading, color).title("").render()?;
        Ok(shown.html().split("<script").next().expect("a still form").to_string())
    };
    let all = [LensColor::Probability, LensColor::Rank, LensColor::Entropy, LensColor::Kl].map(still);
    let all = all.into_iter().collect::<Result<Vec<_>>>()?;
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "colour {i}");
    }
    Ok(())
}

#[test]
fn foreign_tokens_are_text() -> Result<()> {
    let hostile = "</script><img src=x onerror=alert(1)>\"'`\u{202e}";
    let html = priced(hostile)?.html().to_owned();
    assert!(!html.contains("<img") && !html.contains('\u{202e}') && html.contains("&lt;"), "{html}");
    assert_eq!(html.matches("</script>").count(), 1, "its own call alone");
    Ok(())
}

#[test]
fn the_size_is_bounded_and_says_so() -> Result<()> {
    let reading = reading()?;
    let whole = reading.render()?;
    println!("{} bytes", whole.html().len());
    assert!(!whole.text().contains("max_bytes") && whole.html().len() < 60_000, "{}", whole.html().len());
    for (bytes, words) in
        [(14_000, "the first 1 of 2 prompts"), (9_000, "of 5 tokens of each cell"), (5_000, "positions")]
    {
        let shown = lens_grid(&reading, LensColor::Probability).max_bytes(bytes).render()?;
        println!("{} of {bytes}: {words}", shown.html().len());
        assert!(shown.html().len() <= bytes + 3_000, "{} of {bytes}", shown.html().len());
        assert!(shown.html().contains(words) && shown.text().contains("`max_bytes` allows more"), "{}", shown.text());
    }
    Ok(())
}

#[test]
fn what_cannot_be_drawn_is_refused() -> Result<()> {
    let refusal = |widget: Widget, part: &str| match widget.render() {
        Err(Error::Argument { message }) => assert!(message.contains(part), "{message}"),
        other => panic!("this must be refused: {:?}", other.map(|shown| shown.text().to_string())),
    };
    let model = HookedTransformer::from_pretrained("tiny")?;
    let vectors = model.tokens_to_residual_directions([" Mary"])?;
    let of_vectors = LogitLens.read_vectors(&model, &vectors, ReadBy::End, LensOptions::default())?;
    refusal(lens_grid(&of_vectors, LensColor::Probability), "no prompts and positions");
    assert!(of_vectors.render()?.text().contains("Mary"), "it is a table");
    let without = logit_lens(&model, PROMPT, LensOptions::default())?;
    refusal(lens_grid(&without, LensColor::Rank), "give a target");
    refusal(lens_grid(&without, LensColor::Kl).names(["a"]), "`names` is not an option of `lens_grid`");
    refusal(lens_grid(&without, LensColor::Kl).top_k(0), "`top_k`");
    Ok(())
}
