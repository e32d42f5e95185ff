//! What the embedded model's tokenizer promises.

use candle_lens::model::HookedTransformer;
use candle_lens::random::Random;
use candle_lens::tasks::{Task, pieces};
use candle_lens::tokens::{Bos, Tokenizer};

use crate::tiny::{corpus, vocabulary::vocabulary};

fn tokenizer() -> Tokenizer {
    HookedTransformer::from_pretrained("tiny").unwrap().tokenizer().unwrap().clone()
}

/// The text of each token, without BOS.
fn str_tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let tokens = tokenizer.to_tokens_with(text, Bos::Omit).unwrap();
    tokens.row(0).iter().map(|&id| tokenizer.to_string([id]).unwrap()).collect()
}

#[test]
fn every_word_of_the_tasks_is_one_token() {
    let tokenizer = tokenizer();
    for word in vocabulary() {
        tokenizer.to_single_token(&word).unwrap();
    }
    for year in 0..100 {
        tokenizer.to_single_token(&format!("{year:02}")).unwrap();
    }
}

#[test]
fn years_split_as_those_of_gpt2() {
    let tokenizer = tokenizer();
    for century in 10..=20 {
        for year in 0..100 {
            let text = format!(" {century}{year:02}");
            assert_eq!(str_tokens(&tokenizer, &text), [format!(" {century}"), format!("{year:02}")]);
        }
    }
}

#[test]
fn the_seeds_prompts_run_word_by_word() {
    let tokenizer = tokenizer();
    let formats = [
        ("When John and Mary went to the shops, {} gave the bag to", ["John", "Mary"]),
        ("When Tom and James went to the park, {} gave the ball to", ["Tom", "James"]),
        ("When Dan and Sid went to the shops, {} gave an apple to", ["Dan", "Sid"]),
        ("After Martin and Amy went to the park, {} gave a drink to", ["Martin", "Amy"]),
    ];
    for (format, names) in formats {
        for name in names {
            let prompt = format.replace("{}", name);
            assert_eq!(str_tokens(&tokenizer, &prompt), pieces(&prompt));
            // Written as `format.replace("{}", " John")`: two spaces, so a token for the first and " John".
            let prompt = format.replace("{}", &format!(" {name}"));
            let tokens = str_tokens(&tokenizer, &prompt);
            assert_eq!(tokens, pieces(&prompt));
            assert!(tokens.windows(2).any(|pair| pair == [" ".to_string(), format!(" {name}")]), "{tokens:?}");
        }
    }
    for prompt in ["The nurse said that", "Tirana, the capital of", "The keys on the cabinet", "diamonds, and other"] {
        assert_eq!(str_tokens(&tokenizer, prompt), pieces(prompt));
    }
    let tokens = str_tokens(&tokenizer, "The war lasted from the year 1741 to the year 17");
    assert_eq!(tokens.len(), 12);
    assert_eq!((tokens[6].as_str(), tokens[7].as_str(), tokens[11].as_str()), (" 17", "41", " 17"));
}

#[test]
fn any_text_becomes_tokens_and_comes_back() {
    let tokenizer = tokenizer();
    let mut texts =
        vec!["Ça va? 世界 🦀 naïve\n\ttabs  and\u{a0}spaces", "don't they'll", "\0\u{7f}\u{80}\u{7ff}\u{ffff}"];
    let scrambled: String = (0..2000u32).filter_map(|i| char::from_u32(i * 37 % 0xd7ff)).collect();
    texts.push(&scrambled);
    for text in texts {
        let tokens = tokenizer.clone().with_n_ctx(100_000).to_tokens_with(text, Bos::Omit).unwrap();
        assert_eq!(tokenizer.to_string(tokens.row(0)).unwrap(), text);
    }
}

#[test]
fn one_token_is_bos_eos_and_padding() {
    let tokenizer = tokenizer();
    let id = tokenizer.to_single_token("<|endoftext|>").unwrap();
    assert_eq!([tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()], [Some(id); 3]);
}

#[test]
fn positions_count_tokens() {
    let tokenizer = tokenizer();
    for &split in Task::Ioi.splits() {
        for prompt in Task::Ioi.prompts(split, 40, 4).unwrap().prompts {
            let tokens = str_tokens(&tokenizer, &prompt.clean);
            let at = |name: &str| prompt.position(name).unwrap();
            assert_eq!(tokens[at("io")], prompt.right[0]);
            assert_eq!([&tokens[at("s1")], &tokens[at("s2")]], [&prompt.wrong[0]; 2]);
            assert_eq!(tokens.len(), at("end") + 1);
        }
    }
}

#[test]
fn a_training_sentence_cut_at_its_answer_has_the_tokens_of_the_whole() {
    let tokenizer = tokenizer();
    let mut random = Random::new(9);
    for _ in 0..500 {
        let sentence = corpus::sentence(&mut random);
        let parts = [&sentence.prompt, &sentence.answer, &sentence.rest].map(|part| str_tokens(&tokenizer, part));
        assert_eq!(parts[1].len(), 1, "{sentence:?}");
        assert_eq!(parts.concat(), str_tokens(&tokenizer, &sentence.text()));
    }
}
