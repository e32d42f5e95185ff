//! The data sets of `datasets/`: CSV files of every task, made from one seed.

use candle_lens::Result;
use candle_lens::random::Random;
use candle_lens::tasks::repeated::repeated_tokens;
use candle_lens::tasks::words::CATEGORIES;
use candle_lens::tasks::{Split, Task, TaskPrompt};

use crate::tiny::vocabulary::vocabulary;

/// The seed of all data sets.
const SEED: u64 = 2;

/// A data set in the form of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFile {
    /// The file's name.
    pub name: String,
    /// Its text, with a header line; lines end in `\n`.
    pub text: String,
}

/// Every data set, always with the same bytes.
pub fn csv_files() -> Result<Vec<CsvFile>> {
    Ok(vec![
        file(
            Task::Ioi,
            "clean,corrupted,corrupted_hard,correct,incorrect,order,template,io,s1,s2,end,split",
            250,
            ioi,
        )?,
        file(Task::GreaterThan, "clean,corrupted,correct_idx,split", 250, greater_than)?,
        file(
            Task::GenderBias,
            "clean,corrupted,clean_answer,corrupted_answer,label,split",
            [150, 30, 90],
            gender_bias,
        )?,
        file(
            Task::CapitalCountry,
            "clean,capital,country,corrupted,corrupted_capital,corrupted_country,split",
            [200, 60, 200],
            capital_country,
        )?,
        file(Task::Sva, "clean,corrupted,group,plural,split", 300, sva)?,
        file(
            Task::Hypernymy,
            "clean,h1,hypernym,answers,corrupted,c1,corrupted_hypernym,corrupted_answers,clean2,corrupted2,split",
            [200, 60, 200],
            hypernymy,
        )?,
        repeated_file()?,
    ])
}

/// How many prompts of each split a file has.
struct Counts(Vec<usize>);

impl From<usize> for Counts {
    fn from(of_each: usize) -> Self {
        Self(vec![of_each; 4])
    }
}

impl From<[usize; 3]> for Counts {
    fn from(counts: [usize; 3]) -> Self {
        Self(counts.into())
    }
}

/// The file of a task: a line for each prompt, its fields and then its split.
fn file(
    task: Task,
    header: &str,
    counts: impl Into<Counts>,
    fields: fn(&TaskPrompt) -> Vec<String>,
) -> Result<CsvFile> {
    let mut csv = Csv::new(header);
    for (split, count) in task.splits().iter().zip(counts.into().0) {
        for prompt in task.prompts(*split, count, SEED)?.prompts {
            csv.row(&fields(&prompt), *split);
        }
    }
    Ok(csv.named(format!("{task}.csv")))
}

fn word(prompt: &TaskPrompt, name: &str) -> String {
    prompt.word(name).expect("generated prompts have the words of their task").into()
}

fn template(prompt: &TaskPrompt) -> String {
    prompt.template.expect("generated prompts have a template").to_string()
}

fn ioi(prompt: &TaskPrompt) -> Vec<String> {
    let [io, s1, s2, end] =
        ["io", "s1", "s2", "end"].map(|name| prompt.position(name).expect("IOI has these positions"));
    let hard = prompt.corrupted_hard.clone().expect("IOI has a hard form");
    let order = if io < s1 { "ABBA" } else { "BABA" };
    let mut row = vec![prompt.clean.clone(), prompt.corrupted.clone(), hard, word(prompt, "io"), word(prompt, "s")];
    row.extend([order.into(), template(prompt)]);
    row.extend([io, s1, s2, end].map(|position| position.to_string()));
    row
}

fn greater_than(prompt: &TaskPrompt) -> Vec<String> {
    vec![prompt.clean.clone(), prompt.corrupted.clone(), word(prompt, "year")]
}

fn gender_bias(prompt: &TaskPrompt) -> Vec<String> {
    let [clean, corrupted] = [&prompt.right, &prompt.wrong].map(|answers| answers[0].trim().to_string());
    let label = if clean == "she" { "1" } else { "0" };
    vec![prompt.clean.clone(), prompt.corrupted.clone(), clean, corrupted, label.into()]
}

fn capital_country(prompt: &TaskPrompt) -> Vec<String> {
    let mut row =
        vec![prompt.clean.clone(), word(prompt, "capital"), word(prompt, "country"), prompt.corrupted.clone()];
    row.extend([word(prompt, "corrupted_capital"), word(prompt, "corrupted_country")]);
    row
}

fn sva(prompt: &TaskPrompt) -> Vec<String> {
    let plural = if prompt.plural == Some(true) { "1" } else { "0" };
    vec![prompt.clean.clone(), prompt.corrupted.clone(), template(prompt), plural.into()]
}

fn hypernymy(prompt: &TaskPrompt) -> Vec<String> {
    let answers = |category: &str| {
        let found = CATEGORIES.iter().find(|one| one.name == category).expect("it is one of the list");
        serde_json::Value::from(found.answers.to_vec()).to_string()
    };
    let of = |text: &str, member: &str, category: &str| {
        let category = word(prompt, category);
        let answers = answers(&category);
        vec![text.to_string(), word(prompt, member), category, answers]
    };
    let mut row = of(&prompt.clean, "member", "category");
    row.extend(of(&prompt.corrupted, "corrupted_member", "corrupted_category"));
    row.extend(["member", "corrupted_member"].map(|member| format!("{} are a type of", word(prompt, member))));
    row
}

fn repeated_file() -> Result<CsvFile> {
    let mut csv = Csv::new("text,period");
    let mut random = Random::new(SEED);
    for period in [5, 10, 20, 40] {
        for _ in 0..25 {
            csv.line(&[repeated_words(period, &mut random)?, period.to_string()]);
        }
    }
    Ok(csv.named("repeated.csv".into()))
}

/// A text of `period` different words of the tasks, twice: each word is one token of `tiny`'s tokenizer.
fn repeated_words(period: usize, random: &mut Random) -> Result<String> {
    let is_word = |piece: &String| piece.strip_prefix(' ').is_some_and(|word| word.starts_with(char::is_alphabetic));
    let words: Vec<String> = vocabulary().into_iter().filter(is_word).collect();
    let numbers: Vec<u32> = (0..words.len() as u32).collect();
    let row = repeated_tokens(&numbers, 0, period, 1 + 2 * period, random)?;
    Ok(row.ids[1..].iter().map(|&number| words[number as usize].as_str()).collect())
}

/// A table that grows line by line.
struct Csv(String);

impl Csv {
    fn new(header: &str) -> Self {
        Self(format!("{header}\n"))
    }

    /// A line that ends with the split.
    fn row(&mut self, fields: &[String], split: Split) {
        self.line(&[fields, &[split.to_string()]].concat());
    }

    fn line(&mut self, fields: &[String]) {
        let quoted = fields.iter().map(|field| match field.contains([',', '"', '\n']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field.clone(),
        });
        self.0 += &quoted.collect::<Vec<_>>().join(",");
        self.0.push('\n');
    }

    fn named(self, name: String) -> CsvFile {
        CsvFile { name, text: self.0 }
    }
}
