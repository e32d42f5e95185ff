use std::collections::BTreeSet;

use super::template::without_keys;
use super::words::{
    CAPITALS, CATEGORIES, EVENTS, HELD_OUT_EVENTS, HELD_OUT_NAMES, NAMES, NOUNS, OBJECTS, PLACES, PROFESSIONS, VERBS,
};
use super::{capital_country, gender_bias, greater_than, hypernymy, introductions, ioi, pieces, sva};

/// Every word and punctuation mark of every prompt and sentence of the tasks, with its space, digits apart:
/// what a tokenizer must have as single tokens for words and positions to coincide.
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
    let lists: [&[&str]; 11] = [
        &ioi::TEMPLATES,
        &ioi::HELD_OUT_TEMPLATES,
        &greater_than::TEMPLATES,
        &greater_than::HELD_OUT_TEMPLATES,
        &capital_country::TEMPLATES,
        &capital_country::HELD_OUT_TEMPLATES,
        &sva::TEMPLATES,
        &sva::HELD_OUT_TEMPLATES,
        &hypernymy::TEMPLATES,
        &hypernymy::HELD_OUT_TEMPLATES,
        &introductions::BEGINNINGS,
    ];
    let gender = gender_bias::TEMPLATES.iter().chain(&gender_bias::HELD_OUT_TEMPLATES).map(|(template, _)| *template);
    lists.into_iter().flatten().copied().chain(gender).collect()
}

/// The words (some of them phrases) that come after a space only.
fn inner_words() -> Vec<&'static str> {
    let mut words = vec!["man", "woman", "she", "he"];
    words.extend(NAMES.iter().chain(&HELD_OUT_NAMES).chain(&PLACES).chain(&OBJECTS).chain(&EVENTS));
    words.extend(HELD_OUT_EVENTS);
    words.extend(introductions::BEGINNINGS);
    words.extend(PROFESSIONS.iter().map(|profession| profession.noun));
    words.extend(gender_bias::TEMPLATES.iter().chain(&gender_bias::HELD_OUT_TEMPLATES).map(|(_, rest)| *rest));
    words.extend(CAPITALS.iter().map(|(_, country)| *country));
    words.extend(CATEGORIES.iter().flat_map(|category| category.answers));
    words.extend(NOUNS.iter().flat_map(|(singular, plural)| [*singular, *plural]));
    words.extend(VERBS.iter().flat_map(|verb| [verb.singular, verb.plural, verb.rest]));
    words
}
