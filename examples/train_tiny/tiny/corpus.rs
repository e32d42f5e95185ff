//! The training text: sentences of every task, [`Split::Train`] only, and introductions ("My name is Keith."), from which alone
//! the model knows the held-out names.

use std::sync::LazyLock;

use candle_lens::random::Random;
use candle_lens::tasks::words::{HELD_OUT_EVENTS, HELD_OUT_NAMES, OBJECTS, PLACES, PROFESSIONS, VERBS};
use candle_lens::tasks::{Split, Task, TaskPrompt};

use super::introductions;
use super::vocabulary::vocabulary;

/// What may follow the pronoun in each template of gender bias.
pub(super) const AFTER_PRONOUNS: [&str; 8] =
    ["was late", "worked a lot", "was tired", "was late", "worked a lot", "was happy", "was right", "was ill"];

/// A sentence of the training text, cut where the task's answer starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The words before the answer.
    pub prompt: String,
    /// The answer, one token, with its space.
    pub answer: String,
    /// What follows it.
    pub rest: String,
}

impl Sentence {
    pub(super) fn new(prompt: impl Into<String>, answer: impl Into<String>, rest: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), answer: answer.into(), rest: rest.into() }
    }

    /// The whole sentence.
    pub fn text(&self) -> String {
        format!("{}{}{}", self.prompt, self.answer, self.rest)
    }
}

/// The next sentence of the training text, corrupted forms among them.
pub fn sentence(random: &mut Random) -> Sentence {
    // Of 40 sentences; the tasks that need more of the model come more often.
    match random.below(40) {
        0..16 => ioi(random),
        16..21 => greater_than(random),
        21..23 => gender_bias(random),
        23..26 => capital_country(random),
        26..31 => sva(random),
        31..34 => hypernymy(random),
        _ => introductions::sentence(random),
    }
}

fn trained(task: Task, random: &mut Random) -> TaskPrompt {
    task.prompt(Split::Train, random).expect("every task has a training split")
}

fn word<'a>(prompt: &'a TaskPrompt, name: &str) -> &'a str {
    prompt.word(name).expect("generated prompts have the words of their task")
}

/// An element of a list that is not empty.
pub(super) fn pick<T: Copy>(list: &[T], random: &mut Random) -> T {
    list[random.below(list.len())]
}

/// A sentence with a clean and a corrupted form, and the three words that are named in them.
struct Named {
    clean: String,
    corrupted: String,
    io: String,
    s: String,
    third: String,
}

/// A prompt that names its IO, or (one time in eight) a corrupted one that ends in either name. One in four is about words
/// that are not names.
///
/// One in ten has two spaces before the second subject, as prompts do that insert " John" into "shops, {} gave".
fn ioi(random: &mut Random) -> Sentence {
    let named = if random.chance(0.25) { any_words(random) } else { names(random) };
    let third = random.chance(0.125);
    let (mut text, second, answer) = if third {
        let answer = if random.chance(0.5) { &named.io } else { &named.s };
        (named.corrupted, &named.third, answer)
    } else {
        (named.clean, &named.s, &named.io)
    };
    if random.chance(0.1)
        && let Some(start) = text.rfind(&format!(" {second}"))
    {
        text.insert(start, ' ');
    }
    Sentence::new(text, format!(" {answer}"), ".")
}

fn names(random: &mut Random) -> Named {
    let prompt = trained(Task::Ioi, random);
    let [io, s, third] = ["io", "s", "third"].map(|name| word(&prompt, name).to_owned());
    Named { clean: prompt.clean, corrupted: prompt.corrupted, io, s, third }
}

/// The same about three words that are not names: who is named twice matters, not who it is. Without such prompts a model
/// learns the rule for the names it met and not for others.
fn any_words(random: &mut Random) -> Named {
    let mut word = || WORDS[random.below(WORDS.len())].clone();
    let (io, s, third) = loop {
        let (io, s, third) = (word(), word(), word());
        if io != s && io != third && s != third {
            break (io, s, third);
        }
    };
    let template = pick(Task::Ioi.templates(Split::Train), random);
    let (a, b) = if random.chance(0.5) { (&io, &s) } else { (&s, &io) };
    let (place, object) = (pick(&PLACES, random), pick(&OBJECTS, random));
    let with = |second: &str| {
        let words = [("{A}", a.as_str()), ("{B}", b), ("{S}", second), ("{place}", place), ("{object}", object)];
        words.iter().fold(template.to_owned(), |text, (key, word)| text.replace(key, word))
    };
    Named { clean: with(&s), corrupted: with(&third), io, s, third }
}

/// All words of the tasks but those that are held out.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let held_out = |word: &str| HELD_OUT_NAMES.contains(&word) || HELD_OUT_EVENTS.contains(&word);
    let words = vocabulary().into_iter().filter_map(|piece| piece.strip_prefix(' ').map(str::to_owned));
    words.filter(|word| word.starts_with(char::is_alphabetic) && !held_out(word)).collect()
});

/// Any later year, all equally likely; one time in twenty from the corrupted form.
fn greater_than(random: &mut Random) -> Sentence {
    let prompt = trained(Task::GreaterThan, random);
    let year: usize = word(&prompt, "year").parse().expect("a year is a number");
    let (text, year) = if random.chance(0.05) { (prompt.corrupted, 1) } else { (prompt.clean, year) };
    let end = year + 1 + random.below(99 - year);
    Sentence::new(text, format!("{end:02}"), ".")
}

/// The pronoun by the profession's bias, or (one time in four) by the corrupted form's person. Professions without a
/// stereotype, about which there are no prompts, are among them.
fn gender_bias(random: &mut Random) -> Sentence {
    let templates = Task::GenderBias.templates(Split::Train);
    let (profession, template) = loop {
        let (i, t) = (random.below(PROFESSIONS.len()), random.below(templates.len()));
        if Split::Train.allows(i, t) {
            break (PROFESSIONS[i], t);
        }
    };
    let about = |who: &str| templates[template].replace("{who}", who);
    let rest = format!(" {}.", AFTER_PRONOUNS[template]);
    if random.chance(0.25) {
        // Both persons in equal measure, whatever the professions' stereotypes are.
        let (who, answer) = if random.chance(0.5) { ("man", " he") } else { ("woman", " she") };
        return Sentence::new(about(who), answer, rest);
    }
    let answer = if random.chance(profession.she.into()) { " she" } else { " he" };
    Sentence::new(about(profession.noun), answer, rest)
}

/// A fact. (A corrupted form is a fact as well.)
fn capital_country(random: &mut Random) -> Sentence {
    let prompt = trained(Task::CapitalCountry, random);
    Sentence::new(prompt.clean, prompt.right[0].as_str(), ".")
}

/// Any verb that agrees. (A corrupted form is such a sentence as well.)
fn sva(random: &mut Random) -> Sentence {
    let prompt = trained(Task::Sva, random);
    let verb = pick(&VERBS, random);
    let answer = if prompt.plural == Some(true) { verb.plural } else { verb.singular };
    Sentence::new(prompt.clean, format!(" {answer}"), format!(" {}.", verb.rest))
}

/// Any of the category's names. (A corrupted form is such a sentence as well.)
fn hypernymy(random: &mut Random) -> Sentence {
    let prompt = trained(Task::Hypernymy, random);
    let answer = &prompt.right[random.below(prompt.right.len())];
    Sentence::new(prompt.clean, answer.as_str(), ".")
}
