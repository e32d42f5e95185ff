//! GGUF files whose tokenizers contradict themselves or are damaged: a sentence that names what is wrong, never a panic, and never
//! a tokenizer that does something else.

use std::fs;
use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::tokens::{Bos, Tokenizer};
use serde_json::Value;

use crate::support::damage::{Damage, torture, torture_by};
use crate::support::fixture::{json, path};
use crate::support::gguf::{GgufFile, f32_value, list_value, text_value, u32_value, value};
use crate::support::gguf_tokenizer::{KEYS, file, flag, floats, ints, texts};
use crate::support::scratch;
use crate::support::sentence::sentence;

fn read(file: &GgufFile) -> Result<Tokenizer> {
    let place = scratch("gguf_bad").join("model.gguf");
    fs::write(&place, file.bytes()).expect("the scratch folder can be written");
    Tokenizer::from_file(place)
}

/// What a file without this key, or with another value of it, must say.
type Wrong = (&'static str, Option<Vec<u8>>, &'static [&'static str]);

fn check(whole: &GgufFile, wrong: Vec<Wrong>) {
    read(whole).expect("the whole file is read");
    for (name, value, parts) in wrong {
        let key = format!("{KEYS}{name}");
        let file = match value {
            Some(value) => whole.clone().with(&key, value),
            None => whole.clone().without(&key),
        };
        sentence(read(&file), &[&["model.gguf", "tokenizer.json"], parts].concat());
    }
}

/// A byte-level tokenizer with few tokens.
fn small_bytes() -> GgufFile {
    GgufFile::small()
        .with("general.architecture", text_value("llama"))
        .with("tokenizer.ggml.model", text_value("gpt2"))
        .with("tokenizer.ggml.pre", text_value("smollm"))
        .with("tokenizer.ggml.tokens", texts(&["a", "b", "ab", "<s>"]))
        .with("tokenizer.ggml.token_type", ints(&[1, 1, 1, 3]))
        .with("tokenizer.ggml.merges", texts(&["a b"]))
}

/// A SentencePiece tokenizer with few tokens.
fn small_pieces() -> GgufFile {
    GgufFile::small()
        .with("general.architecture", text_value("llama"))
        .with("tokenizer.ggml.model", text_value("llama"))
        .with("tokenizer.ggml.tokens", texts(&["<unk>", "<s>", "a", "b", "ab", "ba"]))
        .with("tokenizer.ggml.token_type", ints(&[2, 3, 1, 1, 1, 1]))
        .with("tokenizer.ggml.scores", floats(&[0., 0., -3., -4., -1., -2.]))
}

#[test]
fn byte_level_tokenizers_that_contradict_themselves() {
    let wrong: Vec<Wrong> = vec![
        ("model", Some(text_value("bert")), &["\"bert\"", "gpt2 and llama"]),
        ("model", Some(text_value("t5")), &["\"t5\""]),
        ("model", Some(text_value("rwkv")), &["\"rwkv\""]),
        ("model", Some(text_value("plamo2")), &["\"plamo2\""]),
        ("pre", Some(text_value("kimi-k2")), &["\"kimi-k2\"", "not supported"]),
        ("tokens", None, &["no tokens"]),
        ("tokens", Some(texts(&[])), &["no tokens"]),
        ("tokens", Some(texts(&["a", "b", "ab", "a"])), &["tokens 0 and 3", "\"a\""]),
        ("tokens", Some(texts(&["a", "b", "ab"])), &["3 tokens", "4 items", "token_type"]),
        ("token_type", Some(ints(&[1, 1, 1, 9])), &["token 3", "type 9"]),
        ("token_type", Some(ints(&[1, 1])), &["4 tokens", "2 items"]),
        ("merges", None, &["no merges"]),
        ("merges", Some(texts(&["a b", "ab"])), &["merge 1", "not a pair"]),
        ("merges", Some(texts(&["a b c"])), &["merge 0", "not a pair"]),
        ("merges", Some(texts(&[" a"])), &["merge 0", "not a pair"]),
        ("merges", Some(texts(&["a c"])), &["merge 0", "\"c\"", "not among its tokens"]),
        ("merges", Some(texts(&["ab ab"])), &["\"abab\"", "not among its tokens"]),
        ("bos_token_id", Some(u32_value(4)), &["bos_token_id is 4", "4 tokens"]),
        ("eos_token_id", Some(u32_value(u32::MAX)), &["eos_token_id"]),
        ("eot_token_id", Some(u32_value(99)), &["eot_token_id"]),
        ("padding_token_id", Some(u32_value(99)), &["padding_token_id"]),
        ("add_bos_token", Some(flag(true)), &["add_bos_token", "bos_token_id"]),
        ("add_space_prefix", Some(flag(true)), &["add_space_prefix"]),
        ("normalizer.lowercase", Some(flag(true)), &["tokenizer.ggml.normalizer.lowercase", "not understood"]),
    ];
    check(&small_bytes(), wrong);
}

#[test]
fn sentence_pieces_that_contradict_themselves() {
    let long = "x".repeat(600);
    let all = ["<unk>", "<s>", "a", "b", "ab", long.as_str()];
    let wrong: Vec<Wrong> = vec![
        ("scores", None, &["neither scores", "nor merges"]),
        ("scores", Some(floats(&[0.; 5])), &["6 tokens", "5 items", "scores"]),
        ("scores", Some(floats(&[0., 0., -3., f32::NAN, -1., -2.])), &["token 3", "not a number"]),
        ("scores", Some(floats(&[-1000.; 6])), &["all equal"]),
        ("tokens", Some(texts(&all)), &["token 5", "600 bytes"]),
        ("token_type", Some(ints(&[1; 6])), &["neither a token for each byte", "unknown_token_id"]),
        ("unknown_token_id", Some(u32_value(6)), &["unknown_token_id is 6"]),
        ("merges", Some(texts(&["a x"])), &["\"x\"", "not among its tokens"]),
        ("remove_extra_whitespaces", Some(flag(true)), &["remove_extra_whitespaces"]),
        ("precompiled_charsmap", Some(list_value(0, 2, &[1, 2])), &["precompiled_charsmap"]),
    ];
    check(&small_pieces(), wrong);
}

/// All runs of one letter: each is two shorter ones in as many ways as it has letters.
#[test]
fn tokens_that_imply_very_many_merges() {
    let runs = |longest: usize| {
        let runs: Vec<String> = (1..=longest).map(|length| "x".repeat(length)).collect();
        let all: Vec<&str> = ["<unk>"].into_iter().chain(runs.iter().map(String::as_str)).collect();
        let scores: Vec<f32> = (0..all.len()).map(|id| -(id as f32)).collect();
        let kinds: Vec<i32> = (0..all.len()).map(|id| if id == 0 { 2 } else { 1 }).collect();
        let file = small_pieces().with("tokenizer.ggml.tokens", texts(&all));
        file.with("tokenizer.ggml.token_type", ints(&kinds)).with("tokenizer.ggml.scores", floats(&scores))
    };
    read(&runs(40)).expect("runs of spaces in real vocabularies have up to 31");
    sentence(read(&runs(200)), &["201 tokens", "32 times as many merges", "tokenizer.json"]);
}

#[test]
fn metadata_of_another_type() {
    let number = || u32_value(7);
    let wrong = [
        ("model", number(), "a text"),
        ("pre", number(), "a text"),
        ("tokens", ints(&[1, 2]), "a list of texts"),
        ("tokens", text_value("a"), "a list of texts"),
        ("token_type", texts(&["1"]), "a list of whole numbers"),
        ("token_type", floats(&[1., 1., 1., 3.]), "a list of whole numbers"),
        ("merges", number(), "a list of texts"),
        ("bos_token_id", text_value("<s>"), "a whole number"),
        ("bos_token_id", f32_value(3.), "a whole number"),
        ("eos_token_id", value(5, &(-1i32).to_le_bytes()), "a whole number"),
        ("add_bos_token", number(), "true or false"),
    ];
    for (name, value, needed) in wrong {
        let key = format!("{KEYS}{name}");
        sentence(read(&small_bytes().with(&key, value)), &[&key, needed]);
    }
    sentence(read(&small_pieces().with("tokenizer.ggml.scores", texts(&["x"]))), &["scores", "a list of numbers"]);
}

#[test]
fn a_file_without_a_tokenizer() {
    sentence(read(&GgufFile::small()), &["no tokenizer", "tokenizer.json"]);
    let none = GgufFile::small().with("tokenizer.ggml.model", text_value("none"));
    sentence(read(&none), &["no tokenizer"]);
    sentence(Tokenizer::from_file(path("gguf_tokenizers/missing.gguf")), &["missing.gguf"]);
    sentence(Tokenizer::from_file(path("gguf_tokenizers").join("lines.json").with_extension("gguf")), &["lines.gguf"]);
}

fn use_it(place: &PathBuf) -> Result<()> {
    let tokenizer = Tokenizer::from_file(place)?;
    let tokens = tokenizer.to_tokens_with(["the war 1732", "naïve 日本 \u{0}🙂", "ab<|im_end|>  \n\n"], Bos::Omit);
    tokenizer.to_string([0, 1, 3, 259, 1000, u32::MAX]).map(drop).ok();
    match tokens {
        Ok(tokens) => tokenizer.to_strings(&tokens).and_then(|_| tokenizer.to_str_tokens_rows(tokens)).map(drop),
        // A damaged vocabulary may spell none of a text.
        Err(error) if error.to_string().contains("has no tokens") => Ok(()),
        Err(error) => Err(error),
    }
}

/// The file with lists of other lengths, other orders and other items, and numbers from anywhere.
fn rearranged(damage: &mut Damage, case: &Value) -> Vec<u8> {
    let mut whole = file(case);
    for _ in 0..=damage.below(2) {
        let at = damage.below(whole.entries.len());
        let (key, entry) = &mut whole.entries[at];
        let key = key.clone();
        match damage.below(5) {
            0 => whole = whole.without(&key),
            1 => whole = whole.with(&key, u32_value(damage.below(2000) as u32)),
            2 => whole = whole.with(&key, texts(&["a", "b c", "", "▁", "<0x41>", "a"][..damage.below(7)])),
            3 => whole = whole.with(&key, ints(&[1, 3, 6, 4, 2, 5, 0, -1][..damage.below(9)])),
            // Bytes of the items: the lengths stay.
            _ => {
                let place = damage.below(entry.len());
                entry[place] = damage.below(256) as u8;
            }
        }
    }
    whole.bytes()
}

#[test]
fn damaged_tokenizers_that_are_used() {
    let cases = json("gguf_tokenizers/cases.json")["cases"].clone();
    for (seed, name) in ["smollm", "llama-bpe", "llama", "gemma3"].into_iter().enumerate() {
        let place = scratch(&format!("gguf_fuzz_{name}")).join("model.gguf");
        let whole = file(&cases[name]).bytes();
        torture(90 + seed as u64, 25, &place, &whole, || use_it(&place));
        torture_by(95 + seed as u64, 40, &place, &whole, |damage| rearranged(damage, &cases[name]), || use_it(&place));
    }
}
