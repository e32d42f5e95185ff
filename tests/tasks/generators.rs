//! The generators against what can be read off their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use candle_lens::random::Random;
use candle_lens::tasks::words::{
    CAPITALS, CATEGORIES, HELD_OUT_EVENTS, HELD_OUT_NAMES, NAMES, NOUNS, OBJECTS, PLACES, PROFESSIONS,
};
use candle_lens::tasks::{Split, Task, TaskPrompt, pieces, repeated};

use crate::support::sentence::sentence;
use crate::tiny::corpus;

fn prompts(task: Task, split: Split, count: usize, seed: u64) -> Vec<TaskPrompt> {
    task.prompts(split, count, seed).unwrap().prompts
}

/// A word of the prompt by its name.
fn named<'a>(prompt: &'a TaskPrompt, name: &str) -> &'a str {
    prompt.word(name).unwrap()
}

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
    for task in Task::ALL {
        for &split in task.splits() {
            let first = prompts(task, split, 20, 5);
            assert_eq!(first, prompts(task, split, 20, 5));
            let other = prompts(task, split, 20, 6);
            assert!(first.iter().zip(&other).any(|(a, b)| a.clean != b.clean), "{task}, {split}");
        }
    }
}

#[test]
fn a_longer_list_of_prompts_starts_with_the_shorter_one_and_has_no_prompt_twice() {
    let long = prompts(Task::Ioi, Split::Train, 200, 3);
    assert_eq!(long[..50], prompts(Task::Ioi, Split::Train, 50, 3));
    let different: BTreeSet<&String> = long.iter().map(|prompt| &prompt.clean).collect();
    assert_eq!(different.len(), 200);
}

/// A template filled with the words that the prompt names is the prompt, and so are prompts drawn one by one.
#[test]
fn prompts_say_their_split_their_template_and_its_words() {
    for task in Task::ALL {
        for &split in task.splits() {
            let mut random = Random::new(8);
            for prompt in prompts(task, split, 25, 8) {
                let drawn = (0..1000).map(|_| task.prompt(split, &mut random).unwrap());
                let drawn = drawn.into_iter().find(|drawn| drawn.clean == prompt.clean).unwrap();
                assert_eq!(TaskPrompt { row: prompt.row.clone(), ..drawn }, prompt);
                let template = task.templates(split)[prompt.template.unwrap()];
                assert_eq!(prompt.split, Some(split));
                let word = |key: &str| match key {
                    "A" | "B" if (key == "A") == (prompt.position("io") < prompt.position("s1")) => {
                        named(&prompt, "io")
                    }
                    "A" | "B" | "S" => named(&prompt, "s"),
                    "who" => named(&prompt, "profession"),
                    key => prompt.word(key).unwrap_or_default(),
                };
                let start =
                    (task == Task::GreaterThan).then(|| named(&prompt, "century").to_owned() + named(&prompt, "year"));
                let filled: String = template
                    .split(['{', '}'])
                    .enumerate()
                    .map(|(i, part)| match part {
                        "start" => start.clone().unwrap(),
                        part if i % 2 == 1 => word(part).to_owned(),
                        part => part.to_owned(),
                    })
                    .collect();
                assert_eq!(filled, prompt.clean, "{task}, {template}");
            }
        }
    }
}

#[test]
fn ioi_positions_are_where_the_names_are() {
    for &split in Task::Ioi.splits() {
        let mut abba = 0;
        for prompt in prompts(Task::Ioi, split, 300, 11) {
            let words = words(&prompt.clean);
            let all = |name: &str| -> Vec<usize> { (0..words.len()).filter(|&i| words[i] == name).collect() };
            let at = |name: &str| prompt.position(name).unwrap();
            assert_eq!(all(named(&prompt, "io")), [at("io")], "{}", prompt.clean);
            assert_eq!(all(named(&prompt, "s")), [at("s1"), at("s2")], "{}", prompt.clean);
            assert_eq!((at("end"), at("changed")), (words.len() - 1, at("s2")));
            abba += usize::from(at("io") < at("s1"));
        }
        assert!(abba > 100 && abba < 200, "{abba} of 300 name the indirect object first");
    }
}

#[test]
fn ioi_corrupted_forms_differ_in_the_second_subject_only() {
    for prompt in prompts(Task::Ioi, Split::Train, 200, 1) {
        let [io, s, third] = ["io", "s", "third"].map(|name| named(&prompt, name));
        for (corrupted, name) in [(&prompt.corrupted, third), (prompt.corrupted_hard.as_ref().unwrap(), io)] {
            assert_eq!(differing_words(&prompt.clean, corrupted), 1);
            assert_eq!(words(corrupted)[prompt.position("s2").unwrap()], name);
        }
        assert!(third != io && third != s);
        assert_eq!(prompt.question().right, [format!(" {io}")]);
    }
}

#[test]
fn groups_are_templates_and_orders() {
    let set = Task::Ioi.prompts(Split::Train, 300, 2).unwrap();
    let key = |prompt: &TaskPrompt| (prompt.template.unwrap(), prompt.position("io") < prompt.position("s1"));
    let groups = set.groups();
    for (i, a) in set.prompts.iter().enumerate() {
        for (j, b) in set.prompts.iter().enumerate() {
            assert_eq!(groups[i] == groups[j], key(a) == key(b), "{} and {}", a.clean, b.clean);
        }
    }
    let numbers: BTreeSet<usize> = groups.into_iter().collect();
    assert_eq!(numbers, (0..numbers.len()).collect(), "they are numbered from 0");
}

#[test]
fn prompts_are_chosen_by_template_and_by_any_condition() {
    let set = Task::Ioi.prompts(Split::Train, 300, 2).unwrap();
    let chosen = set.of_templates([3, 0]).unwrap();
    let by_hand: Vec<_> = set.prompts.iter().filter(|p| [Some(0), Some(3)].contains(&p.template)).cloned().collect();
    assert_eq!(chosen.prompts, by_hand);
    assert_eq!(chosen.len() + chosen.left_out.len(), 300);
    assert!(chosen.left_out[0].why.starts_with("template "), "{}", chosen.left_out[0].why);
    let sundays = set.filter("a Sunday", |prompt| prompt.clean.contains("Sunday")).unwrap();
    assert!(sundays.prompts.iter().all(|prompt| prompt.template == Some(8)) && !sundays.is_empty());
    assert_eq!(sundays.left_out[0].why, "not a Sunday");
    sentence(set.of_templates([99]), &["no prompt of ioi", "one of the templates 99", "template "]);
    sentence(set.filter("a Monday", |_| false), &["no prompt of ioi has a Monday"]);
    let mut read = set.head(2);
    read.prompts[1].template = None;
    sentence(read.of_templates([0]), &["prompt 1 does not say its template", "`filter`"]);
}

#[test]
fn ioi_has_the_promised_variety() {
    assert!(Task::Ioi.templates(Split::Train).len() >= 15 && NAMES.len() >= 100);
    let names: BTreeSet<&str> = NAMES.into_iter().chain(HELD_OUT_NAMES).collect();
    assert_eq!(names.len(), NAMES.len() + HELD_OUT_NAMES.len(), "a name is listed twice");
    assert_eq!(BTreeSet::from(PLACES).len(), PLACES.len());
    assert_eq!(BTreeSet::from(OBJECTS).len(), OBJECTS.len());
}

#[test]
fn greater_than_answers_are_the_years_that_may_follow() {
    for prompt in prompts(Task::GreaterThan, Split::Train, 100, 1) {
        let digits = prompt.clean.find(|c: char| c.is_ascii_digit()).unwrap();
        let start = &prompt.clean[digits..digits + 4];
        assert_eq!(start, named(&prompt, "century").to_owned() + named(&prompt, "year"));
        let year: u32 = start[2..].parse().unwrap();
        assert!(prompt.right.iter().all(|other| other.parse::<u32>().unwrap() > year));
        assert!(prompt.wrong.iter().all(|other| other.parse::<u32>().unwrap() <= year));
        assert_eq!(prompt.right.len() + prompt.wrong.len(), 100);
        assert!(prompt.corrupted.contains(&format!(" {}01", named(&prompt, "century"))));
        assert!(prompt.clean.ends_with(named(&prompt, "century")));
    }
}

#[test]
fn facts_are_the_lists_facts() {
    let countries = BTreeMap::from(CAPITALS);
    assert_eq!(countries.len(), CAPITALS.len(), "a capital is listed twice");
    for prompt in prompts(Task::CapitalCountry, Split::Templates, 100, 1) {
        assert!(words(&prompt.clean).contains(&named(&prompt, "capital").to_string()));
        assert_eq!(countries[named(&prompt, "capital")], named(&prompt, "country"));
        assert_eq!(countries[named(&prompt, "corrupted_capital")], named(&prompt, "corrupted_country"));
        let answers = [&prompt.right, &prompt.wrong].map(|answers| answers[0].trim());
        assert_eq!(answers, [named(&prompt, "country"), named(&prompt, "corrupted_country")]);
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
    }
    for prompt in prompts(Task::Hypernymy, Split::Templates, 100, 1) {
        let category = CATEGORIES.iter().find(|category| category.name == named(&prompt, "category")).unwrap();
        assert!(words(&prompt.clean).contains(&named(&prompt, "member").to_string()));
        assert!(category.members.contains(&named(&prompt, "member")));
        assert!(!category.members.contains(&named(&prompt, "corrupted_member")));
        assert!(prompt.right.iter().all(|answer| category.answers.contains(&answer.trim())));
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
    }
}

#[test]
fn agreement_is_with_the_subject_not_with_the_nearest_noun() {
    let mut distracted = 0;
    for prompt in prompts(Task::Sva, Split::Train, 300, 1) {
        let is_plural = prompt.plural.unwrap();
        let noun = |word: &String| NOUNS.iter().any(|(singular, plural)| word == singular || word == plural);
        let nouns: Vec<String> = words(&prompt.clean).into_iter().filter(noun).collect();
        let plural = |word: &String| NOUNS.iter().any(|(_, plural)| word == plural);
        assert_eq!(plural(&nouns[0]), is_plural, "{}", prompt.clean);
        assert_eq!(prompt.right.contains(&" were".to_string()), is_plural);
        assert_eq!(prompt.wrong.contains(&" was".to_string()), is_plural);
        assert_eq!(differing_words(&prompt.clean, &prompt.corrupted), 1);
        distracted += usize::from(nouns.get(1).is_some_and(|other| plural(other) != is_plural));
    }
    assert!(distracted > 100, "only {distracted} distractors have another number");
}

#[test]
fn the_stereotype_and_its_opposite_have_opposite_answers() {
    for prompt in prompts(Task::GenderBias, Split::Train, 60, 1) {
        let profession = PROFESSIONS.iter().find(|one| one.noun == named(&prompt, "profession")).unwrap();
        assert_ne!(profession.she, 0.5, "it has a stereotype");
        let stereotype = if profession.she > 0.5 { " she" } else { " he" };
        let person = if profession.she > 0.5 { "man" } else { "woman" };
        assert_eq!(prompt.right[0], stereotype);
        assert_ne!(prompt.wrong[0], stereotype);
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
    let message = Task::CapitalCountry.prompts(Split::Words, 5, 0).unwrap_err().to_string();
    assert!(message.contains("no split Words") && message.contains("Train, Combinations, Templates"), "{message}");
    let message = Task::CapitalCountry.prompt(Split::Words, &mut Random::new(0)).unwrap_err().to_string();
    assert!(message.contains("no split Words"), "{message}");
    let message = Task::CapitalCountry.prompts(Split::Train, 100_000, 0).unwrap_err().to_string();
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
    Task::ALL.into_iter().flat_map(|task| task.templates(Split::Templates)).copied().collect()
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
    let text_of_prompts: BTreeSet<&str> = text.iter().map(|sentence| sentence.prompt.as_str()).collect();
    let tasks = text.iter().filter(|sentence| !is_introduction(sentence));
    let all: String = tasks.map(|sentence| sentence.text() + "\n").collect();
    // Among the IOI sentences about any words are some whose two words happen to be names, as the model card says.
    let chance = text.len() / 1000;
    let named_together = prompts(Task::Ioi, Split::Combinations, 300, 0);
    let pairs: BTreeSet<(&str, &str)> = named_together
        .iter()
        .map(|prompt| (named(prompt, "io"), named(prompt, "s")))
        .flat_map(|(io, s)| [(io, s), (s, io)])
        .collect();
    let met = pairs.iter().filter(|(a, b)| all.contains(&format!(" {a} and {b} "))).count();
    assert!(met < chance, "{met} held-out pairs met among {} sentences", text.len());
    for prompt in prompts(Task::GreaterThan, Split::Combinations, 100, 0) {
        let year = named(&prompt, "century").to_owned() + named(&prompt, "year");
        assert!(!all.contains(&format!(" {year} ")), "{prompt:?}");
    }
    let held_out = [(Task::CapitalCountry, 60), (Task::Hypernymy, 60), (Task::GenderBias, 30), (Task::Sva, 2000)];
    for (task, count) in held_out {
        for prompt in prompts(task, Split::Combinations, count, 0) {
            // "The keys" alone has no second noun, so it is not a combination.
            let known = text_of_prompts.contains(prompt.clean.as_str());
            assert!(!known || prompt.clean.split(' ').count() == 2, "{}", prompt.clean);
        }
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
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    assert_eq!((text.len(), hash), (293_153, 0xe5b7_5bed_906c_a910));
}
