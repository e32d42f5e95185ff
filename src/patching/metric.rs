//! What a run is judged by: one number for each prompt, from its logits.

use std::fmt;
use std::sync::Arc;

use candle_core::{D, DType, Tensor};

use crate::analysis::Answers;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::tokens::{TokenRef, Tokens};
use crate::visible::visible;

type Custom = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

#[derive(Clone)]
enum Kind {
    LogitDiff(Answers),
    ProbDiff { right: Vec<Vec<u32>>, wrong: Vec<Vec<u32>> },
    LogProb(Vec<u32>),
    Loss(Vec<u32>),
    Rank(Vec<u32>),
    Kl,
    Custom { name: String, metric: Custom },
}

/// A number for each prompt, read from the logits after its last token.
///
/// A metric knows which logits it reads, so that no others are computed.
#[derive(Clone)]
pub struct Metric {
    kind: Kind,
}

impl Metric {
    /// The logit of the correct answer minus that of the incorrect one (Wang et al. 2022). More is better.
    pub fn logit_diff(answers: &Answers) -> Self {
        Self { kind: Kind::LogitDiff(answers.clone()) }
    }

    /// The probability of all right tokens minus that of all wrong ones, a list of each for every prompt (Hanna et al.
    /// 2023). More is better.
    ///
    /// # Errors
    /// Empty lists, lists of different prompts, a text that is not one token.
    pub fn prob_diff<T: Into<TokenRef>, W: Into<TokenRef>>(
        model: &HookedTransformer,
        right: impl IntoIterator<Item = impl IntoIterator<Item = T>>,
        wrong: impl IntoIterator<Item = impl IntoIterator<Item = W>>,
    ) -> Result<Self> {
        let right = right.into_iter().map(|tokens| model.token_ids(tokens)).collect::<Result<Vec<_>>>()?;
        let wrong = wrong.into_iter().map(|tokens| model.token_ids(tokens)).collect::<Result<Vec<_>>>()?;
        if right.len() != wrong.len() {
            return Err(Error::argument(format!(
                "right tokens were given for {} prompts and wrong ones for {}: give a list of each for every prompt.",
                right.len(),
                wrong.len()
            )));
        }
        Ok(Self { kind: Kind::ProbDiff { right, wrong } })
    }

    /// The natural logarithm of the token's probability, one token for each prompt. More is better.
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn log_prob<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self { kind: Kind::LogProb(model.token_ids(tokens)?) })
    }

    /// The loss of the token that follows each prompt, in nats: minus the natural logarithm of its probability. Less is
    /// better.
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn loss<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self { kind: Kind::Loss(model.token_ids(tokens)?) })
    }

    /// How many tokens are likelier than the given one, one for each prompt: 0 is the best.
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn rank<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self { kind: Kind::Rank(model.token_ids(tokens)?) })
    }

    /// The Kullback-Leibler divergence, in nats, of the run's next-token distribution from the clean run's,
    /// `sum p_clean ln(p_clean / p)`. Less is better, 0 is the clean run.
    pub fn kl() -> Self {
        Self { kind: Kind::Kl }
    }

    /// A number of your own from the logits `[prompt, d_vocab_out]` after the last tokens, as a tensor `[prompt]`.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let largest = Metric::custom("largest logit", |logits| Ok(logits.max(1)?));
    /// ```
    pub fn custom(name: impl Into<String>, metric: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Self { kind: Kind::Custom { name: name.into(), metric: Arc::new(metric) } }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::LogitDiff(_) => "logit difference",
            Kind::ProbDiff { .. } => "probability difference",
            Kind::LogProb(_) => "log-probability",
            Kind::Loss(_) => "loss",
            Kind::Rank(_) => "rank",
            Kind::Kl => "KL divergence",
            Kind::Custom { name, .. } => name,
        }
    }

    /// Whether more of it is better; `None` for a metric of your own, which does not say.
    pub fn more_is_better(&self) -> Option<bool> {
        match &self.kind {
            Kind::LogitDiff(_) | Kind::ProbDiff { .. } | Kind::LogProb(_) => Some(true),
            Kind::Loss(_) | Kind::Rank(_) | Kind::Kl => Some(false),
            Kind::Custom { .. } => None,
        }
    }

    /// The tokens whose logits it reads; `None` is all of them.
    pub(crate) fn columns(&self) -> Option<Vec<u32>> {
        let Kind::LogitDiff(answers) = &self.kind else { return None };
        let mut columns: Vec<u32> = answers.correct().iter().chain(answers.incorrect()).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        Some(columns)
    }

    /// Of all logits those that it reads, those of [`Metric::columns`].
    pub(crate) fn read(&self, logits: &Tensor) -> Result<Tensor> {
        match self.columns() {
            None => Ok(logits.clone()),
            Some(columns) => {
                let count = columns.len();
                Ok(logits.index_select(&Tensor::from_vec(columns, count, logits.device())?, 1)?)
            }
        }
    }

    /// Whether it is measured from another run.
    pub(crate) fn is_kl(&self) -> bool {
        matches!(self.kind, Kind::Kl)
    }

    /// That it has an answer for each prompt, and only tokens that the model has.
    pub(crate) fn check(&self, tokens: &Tokens, d_vocab_out: usize) -> Result<()> {
        let count = match &self.kind {
            Kind::LogitDiff(answers) => answers.len(),
            Kind::ProbDiff { right, .. } => right.len(),
            Kind::LogProb(tokens) | Kind::Loss(tokens) | Kind::Rank(tokens) => tokens.len(),
            Kind::Kl | Kind::Custom { .. } => tokens.batch(),
        };
        if count != tokens.batch() {
            return Err(Error::argument(format!(
                "the metric {:?} has answers for {count} prompts, but there are {}: give one for each.",
                self.name(),
                tokens.batch()
            )));
        }
        let largest = match &self.kind {
            Kind::LogitDiff(answers) => answers.correct().iter().chain(answers.incorrect()).max(),
            Kind::ProbDiff { right, wrong } => right.iter().chain(wrong).flatten().max(),
            Kind::LogProb(tokens) | Kind::Loss(tokens) | Kind::Rank(tokens) => tokens.iter().max(),
            Kind::Kl | Kind::Custom { .. } => None,
        };
        if let Some(largest) = largest.filter(|largest| **largest as usize >= d_vocab_out) {
            return Err(Error::tokens(format!(
                "token id {largest} of the metric has no logit: the model has ids 0 to {}.",
                d_vocab_out - 1
            )));
        }
        Ok(())
    }

    /// The number of each row. Rows are prompts, once or several times over; columns are those of
    /// [`Metric::columns`], or all. `clean` are the clean run's logits, one row for each prompt.
    pub(crate) fn evaluate(&self, logits: &Tensor, prompts: usize, clean: Option<&Tensor>) -> Result<Vec<f32>> {
        Ok(self.values(logits, prompts, clean)?.to_vec1::<f32>()?)
    }

    /// As [`Metric::evaluate`], as a tensor through which gradients flow to the logits.
    ///
    /// # Shapes
    /// `logits [row, column]`, `clean [prompt, column]`; the result is `[row]`, f32.
    pub(crate) fn values(&self, logits: &Tensor, prompts: usize, clean: Option<&Tensor>) -> Result<Tensor> {
        let logits = logits.to_dtype(DType::F32)?;
        let (rows, width) = logits.dims2()?;
        let device = logits.device();
        let picked = |x: &Tensor, of_prompt: &[u32]| -> Result<Tensor> {
            let ids: Vec<u32> = (0..rows).map(|row| of_prompt[row % prompts]).collect();
            Ok(x.contiguous()?.gather(&Tensor::from_vec(ids, (rows, 1), device)?, 1)?.squeeze(1)?)
        };
        match &self.kind {
            Kind::LogitDiff(answers) => {
                let columns = self.columns().unwrap_or_default();
                let place = |id: &u32| columns.binary_search(id).unwrap_or(0) as u32;
                let right: Vec<u32> = answers.correct().iter().map(place).collect();
                let wrong: Vec<u32> = answers.incorrect().iter().map(place).collect();
                Ok((picked(&logits, &right)? - picked(&logits, &wrong)?)?)
            }
            Kind::ProbDiff { right, wrong } => {
                let mut signs = vec![0f32; prompts * width];
                for (lists, sign) in [(right, 1.), (wrong, -1.)] {
                    for (prompt, ids) in lists.iter().enumerate() {
                        ids.iter().for_each(|&id| signs[prompt * width + id as usize] += sign);
                    }
                }
                let signs = Tensor::from_vec(signs, (prompts, width), device)?.repeat((rows / prompts, 1))?;
                Ok((crate::model::ops::softmax(&logits)? * signs)?.sum(D::Minus1)?)
            }
            Kind::LogProb(tokens) => picked(&log_softmax(&logits)?, tokens),
            Kind::Loss(tokens) => Ok(picked(&log_softmax(&logits)?, tokens)?.neg()?),
            Kind::Rank(tokens) => {
                let own = picked(&logits, tokens)?.unsqueeze(1)?;
                Ok(logits.detach().broadcast_gt(&own.detach())?.to_dtype(DType::F32)?.sum(D::Minus1)?)
            }
            Kind::Kl => {
                let clean = clean.ok_or_else(|| Error::argument("KL divergence needs the clean run's logits."))?;
                let p = log_softmax(&clean.detach().to_dtype(DType::F32)?)?.repeat((rows / prompts, 1))?;
                let difference = (&p - log_softmax(&logits)?)?;
                // A probability of 0 adds nothing, whatever stands beside it.
                Ok((p.exp()? * difference)?.sum(D::Minus1)?)
            }
            Kind::Custom { name, metric } => {
                let copies = (0..rows / prompts).map(|copy| {
                    let own = metric(&logits.narrow(0, copy * prompts, prompts)?)?;
                    if own.dims() != [prompts] {
                        let what = format!("what the metric {name:?} returned");
                        return Err(Error::shape(what, format!("[{prompts}], one number for each prompt"), own.dims()));
                    }
                    Ok(own.to_dtype(DType::F32)?)
                });
                Ok(Tensor::cat(&copies.collect::<Result<Vec<_>>>()?, 0)?)
            }
        }
    }

    /// Refuses a metric that has no slope at the clean run itself.
    ///
    /// # Errors
    /// KL divergence from the clean run, which is at its least there.
    pub(crate) fn check_slope_at_clean(&self, instead: &str) -> Result<()> {
        if self.is_kl() {
            return Err(Error::argument(format!(
                "KL divergence is measured from the clean run and at its least there, so all its gradients at that run are 0 and \
                 would rank rounding errors: {instead}, or take another metric."
            )));
        }
        Ok(())
    }

    /// Refuses a metric that has no gradient, as far as its kind says.
    ///
    /// # Errors
    /// The rank, which changes in steps.
    pub(crate) fn check_slope(&self) -> Result<()> {
        match &self.kind {
            Kind::Rank(_) => Err(Error::argument(
                "the rank of a token changes in steps, so it has no gradient: use Metric::log_prob or Metric::logit_diff.",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a metric of the user's that is not made of tensor operations: `values` are its numbers for logits that have
    /// a gradient.
    pub(crate) fn check_gradient(&self, values: &Tensor) -> Result<()> {
        match &self.kind {
            Kind::Custom { name, .. } if !values.track_op() => Err(Error::argument(format!(
                "the metric {name:?} has no gradient: make it of tensor operations on the logits that it is given, not of \
                 numbers taken out of them."
            ))),
            _ => self.check_slope(),
        }
    }
}

/// The logits after the last token of each prompt, `[prompt, d_vocab_out]`.
pub(crate) fn at_last(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let rows = tokens.last_positions().into_iter().enumerate();
    let rows: Vec<u32> = rows.map(|(b, last)| (b * tokens.pos() + last) as u32).collect();
    let rows = Tensor::from_vec(rows, tokens.batch(), logits.device())?;
    Ok(logits.flatten(0, 1)?.index_select(&rows, 0)?.to_dtype(DType::F32)?)
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metric({})", visible(self.name()))
    }
}
