//! The tokenizer of the tiny GPT-2 against what TransformerLens answered with it (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::tokens::{Bos, Occurrence, PaddingSide, TokenizeOptions, Tokenizer, Tokens};
use serde_json::Value;

use crate::support::fixture::{json, tiny_gpt2};

fn tokenizer() -> Result<Tokenizer> {
    Tokenizer::from_file(tiny_gpt2().join("tokenizer.json"))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn rows(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().unwrap().iter().map(ids).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_string()).collect()
}

fn policy(prepended: bool) -> Bos {
    if prepended { Bos::Prepend } else { Bos::Omit }
}

#[test]
fn texts_split_and_join_as_in_transformer_lens() -> Result<()> {
    let tokenizer = tokenizer()?;
    for entry in json("tiny_gpt2/tokens.json")["texts"].as_array().unwrap() {
        let text = entry["text"].as_str().unwrap();
        for (key, bos) in [("with_bos", Bos::Prepend), ("without_bos", Bos::Omit)] {
            let expected = &entry[key];
            if ids(&expected["ids"]).is_empty() {
                assert!(tokenizer.to_tokens_with(text, bos).is_err(), "we reject a text without tokens");
                continue;
            }
            let tokens = tokenizer.to_tokens_with(text, bos)?;
            assert_eq!(tokens.row(0), ids(&expected["ids"]), "{text:?} {key}");
            let (ours, theirs) = (tokenizer.to_str_tokens_with(text, bos)?, strings(&expected["str_tokens"]));
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                // TransformerLens shows every part of a character as U+FFFD, we show its bytes (tests/tokens/pieces.rs).
                match theirs.split_once('\u{fffd}') {
                    None => assert_eq!(ours, theirs, "{text:?} {key}"),
                    Some((before, _)) => assert!(ours.starts_with(&format!("{before}⟨")), "{ours:?} for {theirs:?}"),
                }
            }
            assert_eq!(tokenizer.to_string(tokens.row(0))?, expected["string"].as_str().unwrap());
        }
    }
    Ok(())
}

#[test]
fn batches_pad_and_mask_as_in_transformer_lens() -> Result<()> {
    let tokenizer = tokenizer()?;
    let references = json("tiny_gpt2/tokens.json");
    let texts: Vec<&str> =
        references["texts"].as_array().unwrap()[..4].iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    for batch in references["batches"].as_array().unwrap() {
        let side = if batch["side"] == "left" { PaddingSide::Left } else { PaddingSide::Right };
        let prepended = batch["bos"].as_bool().unwrap();
        let options = TokenizeOptions { bos: policy(prepended), padding_side: Some(side), ..Default::default() };
        let tokens = tokenizer.to_tokens_with(&texts, options)?;
        let (expected, mask) = (rows(&batch["ids"]), rows(&batch["mask"]));
        for b in 0..tokens.batch() {
            assert_eq!(tokens.row(b), expected[b]);
            let real: Vec<u32> = (0..tokens.pos()).map(|p| tokens.is_real(b, p).into()).collect();
            assert_eq!(real, mask[b], "row {b} padded {side}");
        }
        let read_back = Tokens::from_padded_rows(expected, tokenizer.pad_id().unwrap(), side, prepended)?;
        assert_eq!(read_back, tokens, "padding known from the text and read from the ids agree");
    }
    Ok(())
}

#[test]
fn single_tokens_and_positions_as_in_transformer_lens() -> Result<()> {
    let tokenizer = tokenizer()?;
    let references = json("tiny_gpt2/tokens.json");
    for (text, id) in references["single_tokens"].as_object().unwrap() {
        assert_eq!(u64::from(tokenizer.to_single_token(text)?), id.as_u64().unwrap());
    }
    let positions = &references["positions"];
    for entry in positions["found"].as_array().unwrap() {
        let bos = policy(entry["bos"].as_bool().unwrap());
        let tokens = tokenizer.to_tokens_with(positions["prompt"].as_str().unwrap(), bos)?;
        let which = if entry["mode"] == "last" { Occurrence::Last } else { Occurrence::First };
        let found = tokenizer.get_token_position(entry["token"].as_str().unwrap(), &tokens, which)?;
        assert_eq!(found as u64, entry["position"].as_u64().unwrap(), "{entry}");
    }
    Ok(())
}

#[test]
fn truncation_keeps_what_transformer_lens_keeps() -> Result<()> {
    let reference = &json("tiny_gpt2/tokens.json")["too_long"];
    let tokenizer = tokenizer()?.with_n_ctx(reference["n_ctx"].as_u64().unwrap() as usize);
    let text = reference["text"].as_str().unwrap();
    assert!(tokenizer.to_tokens(text).is_err());
    let truncate = TokenizeOptions { truncate: true, ..Default::default() };
    assert_eq!(tokenizer.to_tokens_with(text, truncate)?.row(0), ids(&reference["truncated"]));
    Ok(())
}
