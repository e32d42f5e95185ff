//! TOK-1 to TOK-7 against values worked out by hand from the small tokenizer's vocabulary.

use candle_lens::Result;
use candle_lens::tokens::{Bos, Input, Occurrence, PaddingSide, TokenizeOptions, Tokenizer, Tokens};

use crate::support::scratch;
use crate::support::tokenizer::{END, HE, THE, byte, small, small_json, small_json_that_adds_its_own};

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("candle-lens: ") && message.ends_with('.'), "no sentence: {message}");
    message
}

#[test]
fn bos_is_prepended_once_and_only_on_request() -> Result<()> {
    let plain = small();
    let adds_its_own = Tokenizer::from_bytes(&small_json_that_adds_its_own())?;
    for tokenizer in [&plain, &adds_its_own] {
        assert_eq!(tokenizer.to_tokens("he the")?.row(0), [END, HE, THE]);
        assert_eq!(tokenizer.to_tokens_with("he the", Bos::Prepend)?.row(0), [END, HE, THE]);
        assert_eq!(tokenizer.to_tokens_with("he the", Bos::Omit)?.row(0), [HE, THE]);
        let without = tokenizer.clone().with_default_prepend_bos(false);
        assert_eq!(without.to_tokens("he the")?.row(0), [HE, THE]);
        assert_eq!(without.to_tokens_with("he the", Bos::Prepend)?.row(0), [END, HE, THE]);
    }
    // A BOS that the text spells out is the user's own, in addition, as in TransformerLens.
    assert_eq!(plain.to_tokens("<|endoftext|>he")?.row(0), [END, END, HE]);
    // The file's own truncation (to four tokens) is not obeyed either.
    assert_eq!(adds_its_own.to_tokens("a b c d")?.pos(), 8);
    Ok(())
}

#[test]
fn a_batch_is_padded_and_knows_it() -> Result<()> {
    let tokenizer = small();
    let right = tokenizer.to_tokens(["he the he", "he"])?;
    assert_eq!(right.row(1), [END, HE, END, END, END]);
    assert_eq!((right.lengths(), right.padding_side()), (vec![5, 2], PaddingSide::Right));
    let left = tokenizer.to_tokens_with(["he the he", "he"], PaddingSide::Left)?;
    assert_eq!(left.row(1), [END, END, END, END, HE]);
    let mask: Vec<bool> = (0..5).map(|p| left.is_real(1, p)).collect();
    assert_eq!(mask, [false, false, false, true, true], "the BOS is real although padding has its id");
    assert_eq!(tokenizer.with_padding_side(PaddingSide::Left).to_tokens(["he the he", "he"])?, left);
    Ok(())
}

#[test]
fn every_usual_type_is_an_input() -> Result<()> {
    let tokenizer = small();
    let owned = vec!["he".to_string(), "the".to_string()];
    let expected = tokenizer.to_tokens(&owned)?;
    let same: Vec<Input> = vec![
        owned.clone().into(),
        owned.as_slice().into(),
        ["he", "the"].into(),
        (&["he", "the"]).into(),
        ["he", "the"].as_slice().into(),
        vec!["he", "the"].into(),
        (&vec!["he", "the"]).into(),
        [owned[0].clone(), owned[1].clone()].into(),
        (&expected).into(),
        expected.clone().into(),
    ];
    for input in same {
        assert_eq!(tokenizer.to_tokens(input)?, expected);
    }
    assert_eq!(tokenizer.to_tokens(&owned[0])?, tokenizer.to_tokens("he")?);
    assert_eq!(tokenizer.to_tokens(vec![1, 2, 3])?, Tokens::from_rows(vec![vec![1, 2, 3]])?);
    assert_eq!(tokenizer.to_tokens(vec![vec![1, 2], vec![3, 4]])?.batch(), 2);
    assert_eq!(tokenizer.to_tokens([1, 2].as_slice())?.pos(), 2);
    let ids = expected.to_tensor(&candle_lens::candle::Device::Cpu)?;
    assert_eq!(tokenizer.to_tokens(&ids)?.row(0), expected.row(0));
    Ok(())
}

#[test]
fn ids_turn_back_into_text() -> Result<()> {
    let tokenizer = small();
    assert_eq!(tokenizer.to_string([END, HE, THE])?, "<|endoftext|>he the");
    let batch = tokenizer.to_tokens(["he the", "é"])?;
    assert_eq!(tokenizer.to_strings(&batch)?, ["<|endoftext|>he the", "<|endoftext|>é"]);
    assert_eq!(tokenizer.to_string([])?, "");
    assert_eq!(tokenizer.to_string([HE, 260])?, "he⟨260⟩");
    Ok(())
}

#[test]
fn str_tokens_are_one_text_each() -> Result<()> {
    let tokenizer = small();
    assert_eq!(tokenizer.to_str_tokens("he the")?, ["<|endoftext|>", "he", " the"]);
    // é is two bytes and here two tokens: neither is a character, together they are.
    let pieces = tokenizer.to_str_tokens_with("é he", Bos::Omit)?;
    assert_eq!(pieces, ["⟨c3⟩", "⟨a9⟩", " ", "he"]);
    assert_eq!(tokenizer.to_string(tokenizer.to_tokens_with("é he", Bos::Omit)?.row(0))?, "é he");
    assert_eq!(tokenizer.to_str_tokens(vec![THE])?, [" the"]);
    let rows = tokenizer.to_str_tokens_rows(["he", "he the"])?;
    assert_eq!(rows, [vec!["<|endoftext|>", "he"], vec!["<|endoftext|>", "he", " the"]]);
    // A batch keeps its padding, so that the list agrees with the positions.
    let batch = tokenizer.to_tokens_with(["he", "he the"], PaddingSide::Left)?;
    assert_eq!(tokenizer.to_str_tokens_rows(&batch)?[0], ["<|endoftext|>", "<|endoftext|>", "he"]);
    assert!(message(tokenizer.to_str_tokens(["he", "the"])).contains("2 rows"));
    Ok(())
}

#[test]
fn a_single_token_is_looked_up_or_its_pieces_are_named() -> Result<()> {
    let tokenizer = small();
    assert_eq!(tokenizer.to_single_token(" the")?, THE);
    assert_eq!(tokenizer.to_single_token("!")?, byte('!'));
    assert_eq!(tokenizer.to_single_token("<|endoftext|>")?, END);
    assert_eq!(tokenizer.to_single_str_token(THE)?, " the");
    let pieces = message(tokenizer.to_single_token("the"));
    assert!(pieces.contains(r#"["t", "he"]"#) && pieces.contains(r#"" the""#), "{pieces}");
    assert!(message(tokenizer.to_single_token("")).contains("no tokens"));
    Ok(())
}

#[test]
fn a_token_has_a_first_and_a_last_position() -> Result<()> {
    let tokenizer = small();
    let text = "he the he the";
    assert_eq!(tokenizer.get_token_position(" the", text, Occurrence::First)?, 2);
    assert_eq!(tokenizer.get_token_position(" the", text, Occurrence::Last)?, 5);
    assert_eq!(tokenizer.get_token_position(THE, text, Occurrence::Last)?, 5);
    let without = tokenizer.to_tokens_with(text, Bos::Omit)?;
    assert_eq!(tokenizer.get_token_position(" the", &without, Occurrence::First)?, 1);
    // The padding has the id of the BOS, but only the BOS is found.
    let padded = Tokens::from_padded_rows(vec![vec![END, END, END, HE]], END, PaddingSide::Left, true)?;
    assert_eq!(tokenizer.get_token_position("<|endoftext|>", &padded, Occurrence::First)?, 2);
    let absent = message(tokenizer.get_token_position("!", text, Occurrence::First));
    assert!(absent.contains("\"!\"") && absent.contains("does not occur") && absent.contains("\" the\""), "{absent}");
    assert!(tokenizer.get_token_position(" the", ["he", "the"], Occurrence::First).is_err());
    Ok(())
}

#[test]
fn long_texts_are_rejected_unless_truncation_is_requested() -> Result<()> {
    let tokenizer = small().with_n_ctx(3);
    assert_eq!(tokenizer.to_tokens("he the")?.pos(), 3);
    let long = message(tokenizer.to_tokens("he the the"));
    assert!(
        long.contains("4 tokens with its BOS") && long.contains("n_ctx = 3") && long.contains("he the the"),
        "{long}"
    );
    assert_eq!(tokenizer.to_tokens_with("he the the", Bos::Omit)?.pos(), 3);
    let truncate = TokenizeOptions { truncate: true, ..Default::default() };
    assert_eq!(tokenizer.to_tokens_with("he the the", truncate)?.row(0), [END, HE, THE]);
    Ok(())
}

#[test]
fn empty_prompts_need_a_bos() -> Result<()> {
    let tokenizer = small();
    assert_eq!(tokenizer.to_tokens("")?.row(0), [END]);
    assert!(message(tokenizer.to_tokens_with("", Bos::Omit)).contains("Bos::Prepend"));
    assert!(message(tokenizer.to_tokens_with(["he", ""], Bos::Omit)).contains("\"\""));
    assert!(message(tokenizer.to_tokens(Vec::<String>::new())).contains("no rows"));
    Ok(())
}

#[test]
fn ids_are_used_as_they_are() {
    let tokenizer = small();
    assert!(message(tokenizer.to_tokens(vec![vec![1, 2], vec![3]])).contains("row 1 has 1 tokens and row 0 has 2"));
    assert!(message(tokenizer.to_tokens_with(vec![1, 2], Bos::Prepend)).contains("used as they are"));
    let no_tokenizer = Input::from("he").into_tokens(None, TokenizeOptions::default());
    assert!(message(no_tokenizer).contains("no tokenizer"));
}

#[test]
fn special_tokens_come_from_the_config_beside_it() -> Result<()> {
    let folder = scratch("special_tokens");
    let path = folder.join("tokenizer.json");
    let config = folder.join("tokenizer_config.json");
    std::fs::write(&path, small_json()).unwrap();
    let ids = |tokenizer: &Tokenizer| (tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id());
    assert_eq!(ids(&Tokenizer::from_file(&path)?), (Some(END), Some(END), Some(END)));
    std::fs::write(&config, r#"{"bos_token": {"content": "!"}, "eos_token": "he", "pad_token": null}"#).unwrap();
    assert_eq!(ids(&Tokenizer::from_file(&path)?), (Some(byte('!')), Some(HE), Some(HE)));
    // One that the vocabulary does not have is added, as in transformers.
    std::fs::write(&config, r#"{"bos_token": "<s>"}"#).unwrap();
    assert_eq!(ids(&Tokenizer::from_file(&path)?), (Some(END + 1), Some(END), Some(END)));
    std::fs::write(&config, r#"{"bos_token": "#).unwrap();
    assert!(message(Tokenizer::from_file(&path)).contains("tokenizer_config.json: it is not a valid JSON"));
    Ok(())
}

#[test]
fn a_damaged_tokenizer_names_its_file() {
    let path = scratch("damaged_tokenizer").join("tokenizer.json");
    assert!(message(Tokenizer::from_file(&path)).contains("damaged_tokenizer"), "a missing file is named");
    let whole = small_json();
    let text = String::from_utf8(whole.clone()).unwrap();
    let in_decoder = text.replace(r#""decoder":{"#, "\"decoder\":{\"\u{1}");
    let not_what_it_says = text.replace(r#""normalizer":null"#, r#""normalizer":{"type":"Precompiled"}"#);
    assert!(in_decoder != text && not_what_it_says != text);
    for damaged in [
        &whole[..whole.len() / 2],
        in_decoder.as_bytes(),
        not_what_it_says.as_bytes(),
        b"{}",
        b"",
        b"\xff\xfe",
        b"[1, 2]",
    ] {
        std::fs::write(&path, damaged).unwrap();
        let message = message(Tokenizer::from_file(&path));
        assert!(message.contains("tokenizer.json") && message.contains("again"), "{message}");
    }
}

#[test]
fn a_tokenizer_without_special_tokens_says_so() -> Result<()> {
    let without = String::from_utf8(small_json()).unwrap().replace("<|endoftext|>", "<end>");
    let tokenizer = Tokenizer::from_bytes(without.as_bytes())?;
    assert_eq!(tokenizer.bos_id(), None);
    assert_eq!(tokenizer.to_tokens("he")?.row(0), [HE], "no BOS to prepend by default");
    assert!(message(tokenizer.to_tokens_with("he", Bos::Prepend)).contains("has none"));
    assert!(message(tokenizer.to_tokens(["he", "he he"])).contains("row 0 has 1 tokens"));
    Ok(())
}
