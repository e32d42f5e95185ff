//! The words of the tasks: what `tiny`'s tokenizer has as single tokens.

use std::collections::BTreeSet;

use candle_lens::tasks::words::{
    CAPITALS, CATEGORIES, EVENTS, HELD_OUT_EVENTS, HELD_OUT_NAMES, NAMES, NOUNS, OBJECTS, PLACES, PROFESSIONS, VERBS,
};
use candle_lens::tasks::{Split, Task, pieces};

use super::corpus::AFTER_PRONOUNS;
use super::introductions::BEGINNINGS;

/// Every word and punctuation mark of every prompt and sentence of the tasks, with its space, except digits:
/// what a tokenizer must have as single tokens for words and tokens to coincide.
///
/// Capitals and members of categories come both with and without space, since a sentence may start with them.
pub fn vocabulary() -> BTreeSet<String> {
    let mut texts: Vec<String> = Vec::new();
    texts.extend(templates().into_iter().map(without_keys));
    for word in inner_words() {
        texts.push(format!(" {word}"));
    }
    for word in CAPITALS.iter().map(|(capital, _)| *capital).chain(CATEGORIES.iter().flat_map(|c| c.members).copied()) {
        texts.push(word.into());
        texts.push(format!(" {word}"));
    }
    texts.push(".".into());
    texts.iter().flat_map(|text| pieces(text)).filter(|piece| !piece.is_empty()).collect()
}

/// The templates of every task, trained and held out, and the beginnings of introductions.
fn templates() -> Vec<&'static str> {
    let of_tasks =
        Task::ALL.into_iter().flat_map(|task| [Split::Train, Split::Templates].map(|split| task.templates(split)));
    of_tasks.flatten().copied().chain(BEGINNINGS).collect()
}

/// `template` without its `{key}`s, which leaves the words that are its own.
fn without_keys(template: &str) -> String {
    let mut parts = template.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or(part, |(_, rest)| rest))
}

/// The words (some of them phrases) that come after a space only.
fn inner_words() -> Vec<&'static str> {
    let mut words = vec!["man", "woman", "she", "he"];
    words.extend(NAMES.iter().chain(&HELD_OUT_NAMES).chain(&PLACES).chain(&OBJECTS).chain(&EVENTS));
    words.extend(HELD_OUT_EVENTS);
    words.extend(BEGINNINGS);
    words.extend(PROFESSIONS.iter().map(|profession| profession.noun));
    words.extend(AFTER_PRONOUNS);
    words.extend(CAPITALS.iter().map(|(_, country)| *country));
    words.extend(CATEGORIES.iter().flat_map(|category| category.answers));
    words.extend(NOUNS.iter().flat_map(|(singular, plural)| [*singular, *plural]));
    words.extend(VERBS.iter().flat_map(|verb| [verb.singular, verb.plural, verb.rest]));
    words
}
