//! The data sets of `datasets/`: CSV files of every task, made from one seed.

use super::{Split, capital_country, gender_bias, greater_than, hypernymy, ioi, repeated, sva};
use crate::error::Result;
use crate::random::Random;

/// The seed of all data sets.
const SEED: u64 = 2;

/// A data set in the form of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFile {
    /// The file's name.
    pub name: &'static str,
    /// Its text, with a header line; lines end in `\n`.
    pub text: String,
}

/// Every data set, always with the same bytes.
///
/// # Errors
/// None in practice: every split is large enough, which a test checks.
pub fn csv_files() -> Result<Vec<CsvFile>> {
    Ok(vec![
        ioi_file()?,
        greater_than_file()?,
        gender_bias_file()?,
        capital_country_file()?,
        sva_file()?,
        hypernymy_file()?,
        repeated_file(),
    ])
}

fn ioi_file() -> Result<CsvFile> {
    let header = "clean,corrupted,corrupted_hard,correct,incorrect,order,template,io,s1,s2,end,split";
    let mut csv = Csv::new(header);
    for split in ioi::SPLITS {
        for prompt in ioi::prompts(split, 250, SEED)? {
            let at = prompt.positions;
            let order = if prompt.order == ioi::Order::Abba { "ABBA" } else { "BABA" };
            let numbers = [prompt.template, at.io, at.s1, at.s2, at.end].map(|number| number.to_string());
            let mut row: Vec<&str> =
                vec![&prompt.clean, &prompt.corrupted, &prompt.corrupted_hard, prompt.io, prompt.s];
            row.push(order);
            row.extend(numbers.iter().map(String::as_str));
            csv.row(&row, split);
        }
    }
    Ok(csv.named("ioi.csv"))
}

fn greater_than_file() -> Result<CsvFile> {
    let mut csv = Csv::new("clean,corrupted,correct_idx,split");
    for split in greater_than::SPLITS {
        for prompt in greater_than::prompts(split, 250, SEED)? {
            csv.row(&[&prompt.clean, &prompt.corrupted, &format!("{:02}", prompt.year)], split);
        }
    }
    Ok(csv.named("greater_than.csv"))
}

fn gender_bias_file() -> Result<CsvFile> {
    let mut csv = Csv::new("clean,corrupted,clean_answer,corrupted_answer,label,split");
    for (split, count) in gender_bias::SPLITS.into_iter().zip([150, 30, 90]) {
        for prompt in gender_bias::prompts(split, count, SEED)? {
            let (clean, corrupted) = (prompt.clean_answer.trim(), prompt.corrupted_answer.trim());
            let label = if clean == "she" { "1" } else { "0" };
            csv.row(&[&prompt.clean, &prompt.corrupted, clean, corrupted, label], split);
        }
    }
    Ok(csv.named("gender_bias.csv"))
}

fn capital_country_file() -> Result<CsvFile> {
    let mut csv = Csv::new("clean,capital,country,corrupted,corrupted_capital,corrupted_country,split");
    for (split, count) in capital_country::SPLITS.into_iter().zip([200, 60, 200]) {
        for prompt in capital_country::prompts(split, count, SEED)? {
            let row = [&prompt.clean, prompt.capital, prompt.country, &prompt.corrupted, prompt.corrupted_capital];
            csv.row(&[&row[..], &[prompt.corrupted_country]].concat(), split);
        }
    }
    Ok(csv.named("capital_country.csv"))
}

fn sva_file() -> Result<CsvFile> {
    let mut csv = Csv::new("clean,corrupted,group,plural,split");
    for split in sva::SPLITS {
        for prompt in sva::prompts(split, 300, SEED)? {
            let plural = if prompt.plural { "1" } else { "0" };
            csv.row(&[&prompt.clean, &prompt.corrupted, &prompt.template.to_string(), plural], split);
        }
    }
    Ok(csv.named("sva.csv"))
}

fn hypernymy_file() -> Result<CsvFile> {
    let header = "clean,h1,hypernym,answers,corrupted,c1,corrupted_hypernym,corrupted_answers,clean2,corrupted2,split";
    let mut csv = Csv::new(header);
    let list = |words: &[&str]| serde_json::Value::from(words.to_vec()).to_string();
    let type_of = |member: &str| format!("{member} are a type of");
    for (split, count) in hypernymy::SPLITS.into_iter().zip([200, 60, 200]) {
        for prompt in hypernymy::prompts(split, count, SEED)? {
            let (kind, other) = (prompt.category, prompt.corrupted_category);
            let row = [
                &prompt.clean,
                prompt.member,
                kind.name,
                &list(kind.answers),
                &prompt.corrupted,
                prompt.corrupted_member,
                other.name,
                &list(other.answers),
                &type_of(prompt.member),
                &type_of(prompt.corrupted_member),
            ];
            csv.row(&row, split);
        }
    }
    Ok(csv.named("hypernymy.csv"))
}

fn repeated_file() -> CsvFile {
    let mut csv = Csv::new("text,period");
    let mut random = Random::new(SEED);
    for period in [5, 10, 20, 40] {
        for _ in 0..25 {
            csv.line(&[&repeated::repeated_words(period, &mut random), &period.to_string()]);
        }
    }
    csv.named("repeated.csv")
}

/// A table that grows line by line.
struct Csv(String);

impl Csv {
    fn new(header: &str) -> Self {
        Self(format!("{header}\n"))
    }

    /// A line that ends with the split.
    fn row(&mut self, fields: &[&str], split: Split) {
        self.line(&[fields, &[&split.to_string()]].concat());
    }

    fn line(&mut self, fields: &[&str]) {
        let quoted = fields.iter().map(|field| match field.contains([',', '"', '\n']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => (*field).to_owned(),
        });
        self.0 += &quoted.collect::<Vec<_>>().join(",");
        self.0.push('\n');
    }

    fn named(self, name: &'static str) -> CsvFile {
        CsvFile { name, text: self.0 }
    }
}
