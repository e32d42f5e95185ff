use super::{
    Question, Split, capital_country, gender_bias, greater_than, hypernymy, ioi, repeated, repeated::RepeatedTokens,
    sva,
};
use crate::error::Result;
use crate::random::Random;

/// Another seed than that of any training text, which starts from small numbers.
const SEED: u64 = 0xE0A3;

/// The questions of one task and split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExamPaper {
    /// The task, by the name of its module.
    pub task: &'static str,
    /// Where its words, templates and combinations come from.
    pub split: Split,
    /// The questions.
    pub questions: Vec<Question>,
}

/// The questions by which the model card of the embedded model is measured: every task and split, always the same.
///
/// # Errors
/// None in practice: every split is large enough, which a test checks.
pub fn exam() -> Result<Vec<ExamPaper>> {
    let mut papers = Vec::new();
    let mut add = |task, split, questions| papers.push(ExamPaper { task, split, questions });
    for split in ioi::SPLITS {
        add("ioi", split, ioi::prompts(split, 500, SEED)?.iter().map(|p| p.question()).collect());
    }
    for split in greater_than::SPLITS {
        let prompts = greater_than::prompts(split, 300, SEED)?;
        add("greater_than", split, prompts.iter().map(|p| p.question()).collect());
    }
    for split in capital_country::SPLITS {
        let prompts = capital_country::prompts(split, 70, SEED)?;
        add("capital_country", split, prompts.iter().map(|p| p.question()).collect());
    }
    for split in sva::SPLITS {
        add("sva", split, sva::prompts(split, 300, SEED)?.iter().map(|p| p.question()).collect());
    }
    for split in hypernymy::SPLITS {
        let prompts = hypernymy::prompts(split, 100, SEED)?;
        add("hypernymy", split, prompts.iter().map(|p| p.question()).collect());
    }
    for split in gender_bias::SPLITS {
        let prompts = gender_bias::prompts(split, 40, SEED)?;
        add("gender_bias", split, prompts.iter().map(|p| p.question()).collect());
    }
    Ok(papers)
}

/// The repeated sequences that belong to [`exam`]: rows of 128 ids below `d_vocab`, `bos` excepted, that repeat after
/// 10, 25, 40 and 60 tokens.
///
/// # Errors
/// If `d_vocab` is less than 61.
pub fn repeated_exam(d_vocab: u32, bos: u32) -> Result<Vec<RepeatedTokens>> {
    let vocabulary: Vec<u32> = (0..d_vocab).filter(|&id| id != bos).collect();
    let mut random = Random::new(SEED);
    [10, 25, 40, 60]
        .into_iter()
        .flat_map(|period| [period; 8])
        .map(|period| repeated::repeated_tokens(&vocabulary, bos, period, 128, &mut random))
        .collect()
}
