//! What a model scores on every task and split: the table of `tiny`'s card.

use std::fmt;

use candle_lens::candle::D;
use candle_lens::metrics::{Score, score_questions};
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::repeated::RepeatedTokens;
use candle_lens::tasks::{Split, Task};
use candle_lens::tokens::Tokens;
use candle_lens::{Error, Result};

use super::exam::{exam, repeated_exam};

/// Rows that are run at once.
const BATCH: usize = 64;

/// The scores of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    /// Task, split and score.
    pub rows: Vec<(Task, Split, Score)>,
    /// [`score_repeated`] on random sequences of the model's own tokens.
    pub repeated: f64,
}

/// Asks the model the questions of [`exam`] and [`repeated_exam`]; their answers must be tokens of this model.
pub fn scorecard(model: &HookedTransformer) -> Result<Scorecard> {
    let mut rows = Vec::new();
    for paper in exam()? {
        rows.push((paper.task, paper.split, score_questions(model, &paper.questions)?));
    }
    let tokenizer = model.tokenizer()?;
    let bos = tokenizer.bos_id().or(tokenizer.eos_id()).ok_or_else(|| {
        Error::tokens(
            "the exam's rows of repeated tokens begin with a BOS or an end of text, but this tokenizer has neither.",
        )
    })?;
    let repeated = score_repeated(model, &repeated_exam(model.cfg().d_vocab as u32, bos)?)?;
    Ok(Scorecard { rows, repeated })
}

/// How often the most likely token is the one that came next before, at the positions where that is known.
pub fn score_repeated(model: &HookedTransformer, rows: &[RepeatedTokens]) -> Result<f64> {
    let (mut hits, mut known) = (0, 0);
    for batch in rows.chunks(BATCH) {
        let tokens = Tokens::from_rows(batch.iter().map(|row| row.ids.clone()).collect())?;
        let predicted: Vec<Vec<u32>> = model.forward(tokens)?.argmax(D::Minus1)?.to_vec2()?;
        for (row, predicted) in batch.iter().zip(predicted) {
            hits += row.predictable().filter(|&position| predicted[position] == row.ids[position + 1]).count();
            known += row.predictable().len();
        }
    }
    if known == 0 {
        return Err(Error::argument("no row has a token that repeats; give at least one repeated sequence."));
    }
    Ok(hits as f64 / known as f64)
}

impl fmt::Display for Scorecard {
    /// A Markdown table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| task | split | accuracy | preference | probability difference | logit difference |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (task, split, score) in &self.rows {
            writeln!(
                f,
                "| {task} | {split} | {:.3} | {:.3} | {:.3} | {:.2} |",
                score.accuracy, score.preference, score.prob_diff, score.logit_diff
            )?;
        }
        writeln!(f, "| repeated | random | {:.3} | | | |", self.repeated)
    }
}
