//! How well a model does a task: accuracy, logit difference and probability difference.
//!
//! For a prompt with right answers R and wrong ones W, each a token that may come next:
//! - accuracy: the most likely token of the whole vocabulary is in R;
//! - preference: the likeliest answer of R is likelier than the likeliest of W;
//! - logit difference: mean logit of R minus mean logit of W (Wang et al. 2022, <https://arxiv.org/abs/2211.00593>);
//! - probability difference: p(R) - p(W), sums (Hanna et al. 2023, <https://arxiv.org/abs/2305.00586>).

use std::collections::BTreeMap;

use super::best::Best;
use super::metric::Metric;
use super::pairs::Pairs;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tasks::Question;
use crate::tokens::Tokens;

/// What [`scores`] are called, in their order.
pub(super) const SCORES: [&str; 4] = ["accuracy", "preference", "logit difference", "probability difference"];

/// Prompts that are run at once.
const BATCH: usize = 64;

/// The means of the four numbers over some questions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// How many questions were asked.
    pub count: usize,
    /// How often the most likely token was a right answer.
    pub accuracy: f64,
    /// How often a right answer was likelier than every wrong one.
    pub preference: f64,
    /// Mean logit of the right answers minus that of the wrong ones.
    pub logit_diff: f64,
    /// Probability of all right answers minus that of all wrong ones.
    pub prob_diff: f64,
}

/// Asks the model each question, tokenized as by [`HookedTransformer::to_tokens`], and scores its prediction after the
/// last token.
///
/// # Errors
/// If there is no question, a question has no right or no wrong answer, or an answer is not one token of this model.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompts = Task::Ioi.prompts(tasks::Split::Templates, 20, 0)?;
/// let questions: Vec<_> = prompts.prompts.iter().map(|prompt| prompt.question()).collect();
/// assert!(score_questions(&model, &questions)?.accuracy > 0.9);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn score_questions(model: &HookedTransformer, questions: &[Question]) -> Result<Score> {
    if questions.is_empty() {
        return Err(Error::argument("there is no question to score; give at least one."));
    }
    let mut ids = AnswerIds { model, known: BTreeMap::new() };
    let mut sums = [0f64; 4];
    let mut progress = Progress::of("scoring questions", questions.len() as u64, "questions");
    for batch in questions.chunks(BATCH) {
        let prompts: Vec<&str> = batch.iter().map(|question| question.prompt.as_str()).collect();
        let right = batch.iter().map(|question| ids.of(&question.right, question)).collect::<Result<Vec<_>>>()?;
        let wrong = batch.iter().map(|question| ids.of(&question.wrong, question)).collect::<Result<Vec<_>>>()?;
        let of_batch = scores(model, &model.to_tokens(prompts)?, right, wrong)?;
        for (sum, values) in sums.iter_mut().zip(of_batch) {
            *sum += values.into_iter().map(f64::from).sum::<f64>();
        }
        progress.step(batch.len() as u64)?;
    }
    let count = questions.len();
    let [accuracy, preference, logit_diff, prob_diff] = sums.map(|sum| sum / count as f64);
    Ok(Score { count, accuracy, preference, logit_diff, prob_diff })
}

/// The tokens of answers, looked up once each.
struct AnswerIds<'a> {
    model: &'a HookedTransformer,
    known: BTreeMap<String, u32>,
}

impl AnswerIds<'_> {
    fn of(&mut self, answers: &[String], question: &Question) -> Result<Vec<u32>> {
        if answers.is_empty() {
            return Err(Error::argument(format!(
                "the question {:?} has no right or no wrong answer; give at least one of each.",
                question.prompt
            )));
        }
        let mut ids = Vec::with_capacity(answers.len());
        for answer in answers {
            let id = match self.known.get(answer) {
                Some(&id) => id,
                None => self.model.to_single_token(answer)?,
            };
            self.known.insert(answer.clone(), id);
            ids.push(id);
        }
        Ok(ids)
    }
}

/// Accuracy, preference, logit difference and probability difference of each prompt, from one run.
pub(super) fn scores(
    model: &HookedTransformer,
    tokens: &Tokens,
    right: Vec<Vec<u32>>,
    wrong: Vec<Vec<u32>>,
) -> Result<[Vec<f32>; 4]> {
    let answers = Pairs::of_lists(right, wrong);
    let metrics = [
        Metric::of_best(answers.clone(), Best::OfAll),
        Metric::of_best(answers.clone(), Best::OfBoth),
        Metric::of_mean_logits(answers.clone()),
        Metric::of_probabilities(answers),
    ];
    let logits = model.forward(tokens)?.detach();
    let [accuracy, preference, logit_diff, prob_diff] = metrics.map(|metric| {
        let bound = metric.bind(tokens, model.cfg().d_vocab_out())?;
        bound.of_logits(&logits, None)
    });
    Ok([accuracy?, preference?, logit_diff?, prob_diff?])
}
