//! The generators against what can be read off their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use candle_lens::random::Random;
use candle_lens::tasks::words::{CAPITALS, HELD_OUT_EVENTS, HELD_OUT_NAMES, NAMES, NOUNS, OBJECTS, PLACES};
use candle_lens::tasks::{
    Split, capital_country, corpus, gender_bias, greater_than, hypernymy, ioi, pieces, repeated, sva,
};

/// Words and punctuation marks, split without the crate's help.
fn words(text: &str) -> Vec<String> {
    text.replace(',', " ,").replace('.', " .").split_whitespace().map(String::from).collect()
}

/// How many words differ between two texts of equally many words.
fn differing_words(a: &str, b: &str) -> usize {
    let (a, b) = (words(a), words(b));
    assert_eq!(a.len(), b.len(), "{a:?} and {b:?}");
    a.iter().zip(&b).filter(|(a, b)| a != b).count()
}

#[test]
fn the_same_seed_gives_the_same_prompts() {
    for split in ioi::SPLITS {
        let first = ioi::prompts(split, 30, 5).unwrap();
        assert_eq!(first, ioi::prompts(split, 30, 5).unwrap());
        assert_ne!(first, ioi::prompts(split, 30, 6).unwrap());
    }
    assert_eq!(greater_than::prompts(Split::Train, 9, 1).unwrap(), greater_than::prompts(Split::Train, 9, 1).unwrap());
    assert_eq!(sva::prompts(Split::Train, 9, 1).unwrap(), sva::prompts(Split::Train, 9, 1).unwrap());
}

#[test]
fn a_longer_list_of_prompts_starts_with_the_shorter_one_and_has_no_prompt_twice() {
    let long = ioi::prompts(Split::Train, 200, 3).unwrap();
    assert_eq!(long[..50], ioi::prompts(Split::Train, 50, 3).unwrap());
    let different: BTreeSet<&String> = long.iter().map(|prompt| &prompt.clean).collect();
    assert_eq!(different.len(), 200);
}

#[test]
fn ioi_positions_are_where_the_names_are() {
    for split in ioi::SPLITS {
        let mut orders = BTreeMap::new();
        for prompt in ioi::prompts(split, 300, 11).unwrap() {
            let words = words(&prompt.clean);
            let all = |name: &str| -> Vec<usize> { (0..words.len()).filter(|&i| words[i] == name).collect() };
            assert_eq!(all(prompt.io), [prompt.positions.io], "{}", prompt.clean);
            assert_eq!(all(prompt.s), [prompt.positions.s1, prompt.positions.s2], "{}", prompt.clean);
            assert_eq!(prompt.positions.end, words.len() - 1);
            assert_eq!(prompt.order == ioi::Order::Abba, prompt.positions.io < prompt.positions.s1);
            *orders.entry(format!("{:?}", prompt.order)).or_insert(0) += 1;
        }
        assert!(orders["Abba"] > 100 && orders["Baba"] > 100, "{orders:?}");
    }
}

#[test]
fn ioi_corrupted_forms_differ_in_the_second_subject_only() {
    for prompt in ioi::prompts(Split::Train, 200, 1).unwrap() {
        for (corrupted, name) in [(&prompt.corrupted, prompt.third), (&prompt.corrupted_hard, prompt.io)] {
            assert_eq!(differing_words(&prompt.clean, corrupted), 1);
            assert_eq!(words(corrupted)[prompt.positions.s2], name);
        }
        assert!(prompt.third != prompt.io && prompt.third != prompt.s);
        assert_eq!(prompt.question().right, [format!(" {}", prompt.io)]);
    }
}

#[test]
fn ioi_has_the_promised_variety() {
    assert!(ioi::TEMPLATES.len() >= 15 && NAMES.len() >= 100);
    let names: BTreeSet<&str> = NAMES.into_iter().chain(HELD_OUT_NAMES).collect();
    assert_eq!(names.len(), NAMES.len() + HELD_OUT_NAMES.len(), "a name is listed twice");
    assert_eq!(BTreeSet::from(PLACES).len(), PLACES.len());
    assert_eq!(BTreeSet::from(OBJECTS).len(), OBJECTS.len());
}

#[test]
fn greater_than_answers_are_the_years_that_may_follow() {
    for prompt in greater_than::prompts(Split::Train, 100, 1).unwrap() {
        let question = prompt.question();
        let digits = prompt.clean.find(|c: char| c.is_ascii_digit()).unwrap();
        let start: u32 = prompt.clean[digits..digits + 4].parse().unwrap();
        assert_eq!(start, prompt.century * 100 + prompt.year);
        assert!(question.right.iter().all(|year| year.parse::<u32>().unwrap() > start % 100));
        assert!(question.wrong.iter().all(|year| year.parse::<u32>().unwrap() <= start % 100));
        assert_eq!(question.right.len() + question.wrong.len(), 100);
        assert!(prompt.corrupted.contains(&format!(" {}01", prompt.century)));
        assert!(prompt.clean.ends_with(&prompt.century.to_string()));
    }
}

#[test]
fn facts_are_the_lists_facts() {
    let countries = BTreeMap::from(CAPITALS);
    assert_eq!(countries.len(), CAPITALS.len(), "a capital is listed twice");
    for prompt in capital_country::prompts(Split::Templates, 100, 1).unwrap() {
        assert!(words(&prompt.clean).contains(&prompt.capital.to_string()));
        assert_eq!(countries[prompt.capital], prompt.country);
        assert_eq!(countries[prompt.corrupted_capital], prompt.corrupted_country);
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
    }
    for prompt in hypernymy::prompts(Split::Templates, 100, 1).unwrap() {
        assert!(words(&prompt.clean).contains(&prompt.member.to_string()));
        assert!(prompt.category.members.contains(&prompt.member));
        assert!(!prompt.category.members.contains(&prompt.corrupted_member));
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
    }
}

#[test]
fn agreement_is_with_the_subject_not_with_the_nearest_noun() {
    let mut distracted = 0;
    for prompt in sva::prompts(Split::Train, 300, 1).unwrap() {
        let noun = |word: &String| NOUNS.iter().any(|(singular, plural)| word == singular || word == plural);
        let nouns: Vec<String> = words(&prompt.clean).into_iter().filter(noun).collect();
        let plural = |word: &String| NOUNS.iter().any(|(_, plural)| word == plural);
        assert_eq!(plural(&nouns[0]), prompt.plural, "{}", prompt.clean);
        assert_eq!(prompt.question().right.contains(&" were".to_string()), prompt.plural);
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
        distracted += usize::from(nouns.get(1).is_some_and(|other| plural(other) != prompt.plural));
    }
    assert!(distracted > 100, "only {distracted} distractors have another number");
}

#[test]
fn the_stereotype_and_its_opposite_have_opposite_answers() {
    for prompt in gender_bias::prompts(Split::Train, 60, 1).unwrap() {
        let stereotype = if prompt.profession.she > 0.5 { " she" } else { " he" };
        let person = if prompt.profession.she > 0.5 { "man" } else { "woman" };
        assert_eq!(prompt.clean_answer, stereotype);
        assert_ne!(prompt.corrupted_answer, stereotype);
        assert_eq!(words(&prompt.corrupted)[1], person);
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
    }
}

#[test]
fn repeated_rows_repeat() {
    let vocabulary: Vec<u32> = (10..200).collect();
    let row = repeated::repeated_tokens(&vocabulary, 3, 12, 40, &mut Random::new(0)).unwrap();
    assert_eq!((row.ids[0], row.ids.len()), (3, 40));
    assert_eq!(row.ids[1..13].iter().collect::<BTreeSet<_>>().len(), 12);
    for position in row.predictable() {
        assert_eq!(row.ids[position + 1], row.ids[position + 1 - 12]);
        assert_eq!(row.ids[position], row.ids[position - 12]);
    }
    assert_eq!(row.predictable().start, 13);
    for (period, length) in [(0, 10), (6, 12), (191, 600)] {
        let message = repeated::repeated_tokens(&vocabulary, 3, period, length, &mut Random::new(0)).unwrap_err();
        assert!(message.to_string().contains("cannot repeat"), "{message}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_in_a_sentence() {
    let message = capital_country::prompts(Split::Words, 5, 0).unwrap_err().to_string();
    assert!(message.contains("no split Words") && message.contains("Train, Combinations, Templates"), "{message}");
    let message = capital_country::prompts(Split::Train, 100_000, 0).unwrap_err().to_string();
    assert!(message.contains("100000 different capital-country prompts"), "{message}");
}

#[test]
fn pieces_put_together_are_the_text() {
    for text in ["Then, Tom went to the zoo. Ann", ", pearls and other", "shops,  John gave", ""] {
        assert_eq!(pieces(text).concat(), text);
    }
    assert_eq!(pieces("Then, Tom"), ["Then", ",", " Tom"]);
}

/// A long piece of the training text, long enough for a held-out combination to come up if it could.
fn training_text() -> &'static [corpus::Sentence] {
    static TEXT: OnceLock<Vec<corpus::Sentence>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut random = Random::new(0);
        (0..40_000).map(|_| corpus::sentence(&mut random)).collect()
    })
}

fn is_introduction(sentence: &corpus::Sentence) -> bool {
    let beginnings = ["My name is", "I know", "We met", "My friend is", "They talked about", "You know"];
    beginnings.iter().any(|beginning| sentence.prompt.starts_with(beginning))
}

fn held_out_templates() -> Vec<&'static str> {
    let gender = gender_bias::HELD_OUT_TEMPLATES.iter().map(|(template, _)| *template);
    let lists: [&[&str]; 5] = [
        &ioi::HELD_OUT_TEMPLATES,
        &greater_than::HELD_OUT_TEMPLATES,
        &capital_country::HELD_OUT_TEMPLATES,
        &sva::HELD_OUT_TEMPLATES,
        &hypernymy::HELD_OUT_TEMPLATES,
    ];
    lists.concat().into_iter().chain(gender).collect()
}

#[test]
fn the_training_text_has_nothing_that_is_held_out() {
    let text = training_text();
    let held_out: BTreeSet<&str> = HELD_OUT_NAMES.into_iter().chain(HELD_OUT_EVENTS).collect();
    let names: BTreeSet<&str> = NAMES.into_iter().chain(HELD_OUT_NAMES).collect();
    let templates = held_out_templates();
    for sentence in text {
        // Held-out names are introduced, at most two in a sentence, and occur in no other way.
        let named: BTreeSet<String> =
            words(&sentence.text()).into_iter().filter(|word| names.contains(word.as_str())).collect();
        let introduced = named.len() <= 2 && is_introduction(sentence);
        let forbidden = words(&sentence.text()).iter().any(|word| held_out.contains(word.as_str()));
        assert!(!forbidden || introduced, "{sentence:?}");
        for template in &templates {
            assert!(!follows(&sentence.prompt, template), "{sentence:?} follows {template:?}");
        }
    }
}

#[test]
fn held_out_templates_have_only_words_that_training_knows() {
    let known: BTreeSet<String> = training_text().iter().flat_map(|sentence| pieces(&sentence.text())).collect();
    for template in held_out_templates() {
        let own = template.split('{').map(|part| part.split_once('}').map_or(part, |(_, own)| own));
        for piece in own.flat_map(|part| pieces(part.trim_end())) {
            let piece = piece.trim_end_matches(',');
            assert!(piece.is_empty() || known.contains(piece), "{piece:?} of {template:?}");
        }
    }
}

/// Whether a text has the template's own words in their order, from its beginning.
fn follows(text: &str, template: &str) -> bool {
    let mut parts = template.split('{').map(|part| part.split_once('}').map_or(part, |(_, own)| own));
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    for part in parts {
        let Some(start) = rest.find(part) else {
            return false;
        };
        rest = &rest[start + part.len()..];
    }
    true
}

#[test]
fn held_out_combinations_never_meet_in_the_training_text() {
    let text = training_text();
    let prompts: BTreeSet<&str> = text.iter().map(|sentence| sentence.prompt.as_str()).collect();
    let tasks = text.iter().filter(|sentence| !is_introduction(sentence));
    let all: String = tasks.map(|sentence| sentence.text() + "\n").collect();
    // Among the IOI sentences about any words are some whose two words happen to be names, as the model card says.
    let chance = text.len() / 1000;
    let pairs: BTreeSet<(&str, &str)> = ioi::prompts(Split::Combinations, 300, 0)
        .unwrap()
        .iter()
        .flat_map(|prompt| [(prompt.io, prompt.s), (prompt.s, prompt.io)])
        .collect();
    let met = pairs.iter().filter(|(a, b)| all.contains(&format!(" {a} and {b} "))).count();
    assert!(met < chance, "{met} held-out pairs met among {} sentences", text.len());
    for prompt in greater_than::prompts(Split::Combinations, 100, 0).unwrap() {
        assert!(!all.contains(&format!(" {}{:02} ", prompt.century, prompt.year)), "{prompt:?}");
    }
    let held_out = [
        capital_country::prompts(Split::Combinations, 60, 0).unwrap().into_iter().map(|p| p.clean).collect(),
        hypernymy::prompts(Split::Combinations, 60, 0).unwrap().into_iter().map(|p| p.clean).collect(),
        gender_bias::prompts(Split::Combinations, 30, 0).unwrap().into_iter().map(|p| p.clean).collect(),
        sva::prompts(Split::Combinations, 2000, 0).unwrap().into_iter().map(|p| p.clean).collect::<Vec<_>>(),
    ];
    for prompt in held_out.concat() {
        // "The keys" alone has no second noun, so it is no combination.
        assert!(!prompts.contains(prompt.as_str()) || prompt.split(' ').count() == 2, "{prompt}");
    }
}

#[test]
fn corrupted_forms_and_double_spaces_are_in_the_training_text() {
    let text = training_text();
    let names: BTreeSet<&str> = NAMES.into();
    let people =
        |text: &str| words(text).into_iter().filter(|word| names.contains(word.as_str())).collect::<BTreeSet<_>>();
    let three = text.iter().filter(|sentence| people(&sentence.prompt).len() == 3).count();
    assert!(three > 1200, "{three} sentences with a third person");
    assert!(text.iter().filter(|sentence| sentence.prompt.contains("  ")).count() > 700);
    assert!(text.iter().any(|sentence| sentence.prompt.contains("year 1701 ")));
    assert!(text.iter().any(|sentence| sentence.prompt.starts_with("The woman ")));
}

/// Another training text would be that of another model: its sentences, and through them the choices behind them, are fixed.
#[test]
fn the_training_text_is_the_one_that_tiny_learnt() {
    let text: String = training_text()[..5000].iter().map(|sentence| sentence.text() + "\n").collect();
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    assert_eq!((text.len(), hash), (0, 0));
}
