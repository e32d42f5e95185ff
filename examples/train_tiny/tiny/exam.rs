//! The questions by which `tiny` is examined, always the same.

use candle_lens::Result;
use candle_lens::random::Random;
use candle_lens::tasks::repeated::{RepeatedTokens, repeated_tokens};
use candle_lens::tasks::{Question, Split, Task};

/// Another seed than that of any training text, which starts from small numbers.
const SEED: u64 = 0xE0A3;

/// The tasks, with how many questions are asked of each split.
const PAPERS: [(Task, usize); 6] = [
    (Task::Ioi, 500),
    (Task::GreaterThan, 300),
    (Task::CapitalCountry, 70),
    (Task::Sva, 300),
    (Task::Hypernymy, 100),
    (Task::GenderBias, 40),
];

/// The questions of one task and split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExamPaper {
    /// The task.
    pub task: Task,
    /// Where its words, templates and combinations come from.
    pub split: Split,
    /// The questions.
    pub questions: Vec<Question>,
}

/// Every task and split.
pub fn exam() -> Result<Vec<ExamPaper>> {
    let papers =
        PAPERS.into_iter().flat_map(|(task, count)| task.splits().iter().map(move |split| (task, *split, count)));
    papers
        .map(|(task, split, count)| {
            let prompts = task.prompts(split, count, SEED)?.prompts;
            Ok(ExamPaper { task, split, questions: prompts.iter().map(|prompt| prompt.question()).collect() })
        })
        .collect()
}

/// The repeated sequences that belong to [`exam`]: rows of 128 ids below `d_vocab`, `bos` excepted, that repeat after
/// 10, 25, 40 and 60 tokens.
pub fn repeated_exam(d_vocab: u32, bos: u32) -> Result<Vec<RepeatedTokens>> {
    let vocabulary: Vec<u32> = (0..d_vocab).filter(|&id| id != bos).collect();
    let mut random = Random::new(SEED);
    [10, 25, 40, 60]
        .into_iter()
        .flat_map(|period| [period; 8])
        .map(|period| repeated_tokens(&vocabulary, bos, period, 128, &mut random))
        .collect()
}
