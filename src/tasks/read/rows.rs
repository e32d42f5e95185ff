//! What the columns of each task's tables mean.

use std::sync::Arc;

use super::csv::{Csv, Row};
use super::list;
use crate::tasks::{Split, Task, TaskPrompt, pieces, sva};

/// GPT-2's ids of the two pronouns of the gender bias task.
const SHE: u32 = 673;
const HE: u32 = 339;

type Ids = Option<(Vec<u32>, Vec<u32>)>;

impl Task {
    /// The columns of a table that hold GPT-2's ids of the right and of the wrong answers.
    pub(crate) fn id_columns(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Ioi => Some(["correct_idx", "incorrect_idx"]),
            Self::GenderBias => Some(["clean_answer_idx", "corrupted_answer_idx"]),
            Self::CapitalCountry => Some(["country_idx", "corrupted_country_idx"]),
            Self::Hypernymy => Some(["answers_idx", "corrupted_answers_idx"]),
            // The year of greater-than is not an id, and verbs are the same for all prompts.
            Self::GreaterThan | Self::Sva => None,
        }
    }
}

pub(super) fn prompts(task: Task, table: &Csv) -> Result<Vec<TaskPrompt>, String> {
    let read = |row: Row| {
        let (right, wrong, gpt2_ids) = match task {
            Task::Ioi => shared(names(&row)?),
            Task::GreaterThan => shared(years(&row)?),
            Task::GenderBias => shared(pronouns(&row)?),
            Task::CapitalCountry => shared(countries(&row)?),
            Task::Sva => {
                let [right, wrong] = sva::answers(plural(&row)?);
                (right, wrong, None)
            }
            Task::Hypernymy => shared(categories(&row)?),
        };
        let mut prompt = TaskPrompt::of(row.get("clean")?.into(), row.get("corrupted")?.into(), right, wrong);
        prompt.gpt2_ids = gpt2_ids;
        prompt.row = format!("line {}", row.line);
        if task == Task::Sva {
            prompt.plural = Some(plural(&row)?);
        }
        prompt.prob_diff = row.number("prob_diff")?;
        prompt.corrupted_hard = row.find("corrupted_hard")?.map(str::to_string);
        if task == Task::Ioi {
            add_names(&row, &mut prompt)?;
        }
        // What our own files say about their prompts. Columns of these names in others may hold anything.
        let splits = [Split::Train, Split::Combinations, Split::Templates, Split::Words];
        let split = row.find("split")?.and_then(|text| splits.into_iter().find(|split| split.to_string() == text));
        prompt.template = row.find("template")?.and_then(|text| text.parse().ok()).filter(|_| split.is_some());
        prompt.split = split;
        Ok(prompt)
    };
    table.rows().map(read).collect()
}

fn shared((right, wrong, ids): (Vec<String>, Vec<String>, Ids)) -> (Arc<[String]>, Arc<[String]>, Ids) {
    (right.into(), wrong.into(), ids)
}

fn pair(row: &Row, right: &str, wrong: &str) -> Result<Ids, String> {
    let ids = (row.number(right)?, row.number(wrong)?);
    Ok(ids.0.zip(ids.1).map(|(right, wrong)| (vec![right], vec![wrong])))
}

/// The two names: of columns, or of the word in which the clean prompt and the hard one differ.
fn names(row: &Row) -> Result<(Vec<String>, Vec<String>, Ids), String> {
    let ids = pair(row, "correct_idx", "incorrect_idx")?;
    if row.find("correct")?.is_some() {
        let name = |column| Ok::<_, String>(vec![format!(" {}", row.get(column)?.trim_start())]);
        return Ok((name("correct")?, name("incorrect")?, ids));
    }
    let (clean, hard) = (pieces(row.get("clean")?), pieces(row.get("corrupted_hard")?));
    let mut differing = clean.iter().zip(&hard).filter(|(a, b)| a != b);
    match (differing.next(), differing.next()) {
        (Some((subject, object)), None) if clean.len() == hard.len() => {
            Ok((vec![object.clone()], vec![subject.clone()], ids))
        }
        _ => Err(row.wrong("corrupted_hard", "must differ from the clean prompt in one word, the second subject")),
    }
}

/// Where the names are: columns of `datasets/`, or found by their words.
fn add_names(row: &Row, prompt: &mut TaskPrompt) -> Result<(), String> {
    let words = pieces(&prompt.clean);
    let found = |name: &str| -> Vec<usize> { (0..words.len()).filter(|&i| words[i].trim() == name.trim()).collect() };
    let (io, s) = (found(&prompt.right[0]), found(&prompt.wrong[0]));
    let ([io, ..], [s1, .., s2]) = (&io[..], &s[..]) else {
        return Err(row.wrong(
            "clean",
            &format!("must name{} once and{} twice, as the answers say", prompt.right[0], prompt.wrong[0]),
        ));
    };
    for (name, found) in [("io", *io), ("s1", *s1), ("s2", *s2)] {
        if let Some(place) = row.number::<usize>(name)?
            && place != found
        {
            return Err(row.wrong(name, &format!("is {place}, where another word is: the name is word {found}")));
        }
        prompt.positions.push((name.into(), found));
    }
    let names = [("io", &prompt.right[0]), ("s", &prompt.wrong[0])];
    prompt.words = names.map(|(name, word)| (name.to_string(), word.trim().to_string())).into();
    Ok(())
}

fn years(row: &Row) -> Result<(Vec<String>, Vec<String>, Ids), String> {
    let year: u32 = row.number("correct_idx")?.ok_or_else(|| row.get("correct_idx").err().unwrap_or_default())?;
    if year > 98 {
        return Err(row.wrong(
            "correct_idx",
            &format!("is {year}, but a two-digit year from 0 to 98 is needed (it is not a token id)"),
        ));
    }
    let texts = |range: std::ops::RangeInclusive<u32>| range.map(|year| format!("{year:02}")).collect();
    Ok((texts(year + 1..=99), texts(0..=year), None))
}

fn pronouns(row: &Row) -> Result<(Vec<String>, Vec<String>, Ids), String> {
    let pronoun = |column: &str| -> Result<String, String> {
        if row.find(column)?.is_some() {
            return Ok(format!(" {}", row.get(column)?.trim_start()));
        }
        let ids = format!("{column}_idx");
        row.get(&ids)?;
        match row.number(&ids)? {
            Some(SHE) => Ok(" she".into()),
            Some(HE) => Ok(" he".into()),
            other => Err(row.wrong(
                &ids,
                &format!("is {}, but GPT-2's {SHE} (\" she\") or {HE} (\" he\") is needed", other.unwrap_or(0)),
            )),
        }
    };
    let (right, wrong) = (pronoun("clean_answer")?, pronoun("corrupted_answer")?);
    if right == wrong {
        return Err(row.wrong("clean", "has the same right and wrong answer, so there is nothing to compare"));
    }
    Ok((vec![right], vec![wrong], pair(row, "clean_answer_idx", "corrupted_answer_idx")?))
}

fn countries(row: &Row) -> Result<(Vec<String>, Vec<String>, Ids), String> {
    let country = |column| Ok::<_, String>(vec![format!(" {}", row.get(column)?.trim_start())]);
    let ids = pair(row, "country_idx", "corrupted_country_idx")?;
    Ok((country("country")?, country("corrupted_country")?, ids))
}

fn plural(row: &Row) -> Result<bool, String> {
    match row.get("plural")?.trim() {
        "1" | "True" | "true" => Ok(true),
        "0" | "False" | "false" => Ok(false),
        other => Err(row.wrong("plural", &format!("is {other:?}, but 1 (plural) or 0 (singular) is needed"))),
    }
}

fn categories(row: &Row) -> Result<(Vec<String>, Vec<String>, Ids), String> {
    let answers = |column: &str| -> Result<Vec<String>, String> {
        let words = list::texts(row.get(column)?).map_err(|what| row.wrong(column, &what))?;
        if words.is_empty() {
            return Err(row.wrong(column, "is an empty list, but at least one answer is needed"));
        }
        Ok(words.iter().map(|word| format!(" {}", word.trim_start())).collect())
    };
    let ids = |column: &str, count: usize| -> Result<Option<Vec<u32>>, String> {
        let Some(field) = row.find(column)? else { return Ok(None) };
        let ids = list::numbers(field).map_err(|what| row.wrong(column, &what))?;
        match ids.len() == count {
            true => Ok(Some(ids)),
            false => Err(row.wrong(column, &format!("has {} ids for {count} answers: give one for each", ids.len()))),
        }
    };
    let (right, wrong) = (answers("answers")?, answers("corrupted_answers")?);
    let ids = (ids("answers_idx", right.len())?, ids("corrupted_answers_idx", wrong.len())?);
    Ok((right, wrong, ids.0.zip(ids.1)))
}
