//! What was read through a lens.

use super::rows::Numbers;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::variables::holds;

/// What the model would predict at each point of the residual stream, as a lens reads it. [`Lens::read`](super::Lens::read) gives axes
/// `component`, `prompt` and `position`; other vectors have their own.
#[derive(Clone, Debug)]
pub struct LensReading {
    /// The lens: "logit lens".
    pub lens: String,
    /// `[.., rank]`, the most likely token first.
    pub probabilities: Labelled,
    /// The tokens of these probabilities, in the same order.
    pub tokens: Vec<u32>,
    /// Their texts, or their ids if the model has no tokenizer.
    pub texts: Vec<String>,
    /// The text of each position of each prompt that was read; empty where no run was read.
    pub inputs: Vec<Vec<String>>,
    /// `-sum p log p` over the whole vocabulary, in nats.
    pub entropy: Labelled,
    /// `sum p log(p / q)` with `p` the model's own prediction at the same position and `q` the lens', in nats.
    pub kl: Option<Labelled>,
    /// What is read of the target.
    pub target: Option<TokenReading>,
    /// What is read of the chosen part of the vocabulary, `[.., token]`.
    pub chosen: Option<TokenReading>,
}

/// What a lens reads of some tokens, each result with the axes of the reading.
#[derive(Clone, Debug)]
pub struct TokenReading {
    /// The logit, a soft cap included.
    pub logit: Labelled,
    /// The logarithm of the probability among the whole vocabulary.
    pub log_prob: Labelled,
    /// How many tokens of the vocabulary have a strictly larger logit: 0 for the most likely one.
    pub rank: Labelled,
}

holds! {
    LensReading { lens, probabilities, tokens, texts, inputs, entropy, kl, target, chosen }
    TokenReading { logit, log_prob, rank }
}

impl LensReading {
    /// The most likely tokens at a place with their probabilities, the most likely first.
    ///
    /// # Errors
    /// A component, prompt or position that was not read; a reading with other axes.
    pub fn at(&self, component: &str, prompt: usize, position: usize) -> Result<Vec<(String, f32)>> {
        let (prompt, position) = (prompt.to_string(), position.to_string());
        let mut offset = 0;
        let axes = self.probabilities.axes();
        for (axis, (name, label)) in
            axes.iter().zip([("component", component), ("prompt", prompt.as_str()), ("position", position.as_str())])
        {
            let place = axis.labels.iter().position(|l| l == label && axis.name == name).ok_or_else(|| {
                Error::argument(format!("the lens has no {name} {label:?}: it has {} {:?}.", axis.name, axis.labels))
            })?;
            offset = offset * axis.labels.len() + place;
        }
        let k = axes.last().map_or(0, |axis| axis.labels.len());
        let values = self.probabilities.values();
        let best = values.iter().skip(offset * k).take(k);
        Ok(self.texts[offset * k..].iter().cloned().zip(best.copied()).collect())
    }

    /// The KL divergence from the model's own prediction.
    ///
    /// # Errors
    /// [`Error::Argument`] for a reading of vectors, which no run belongs to.
    pub fn kl(&self) -> Result<Labelled> {
        self.kl.clone().ok_or_else(|| {
            Error::argument(
                "these vectors were read without a run, so there is no prediction to compare them with: read a run (`read`), or \
                 components of one (`read_stack`).",
            )
        })
    }

    /// What was read of the target.
    ///
    /// # Errors
    /// [`Error::Argument`] for a reading without a target.
    pub fn target(&self) -> Result<TokenReading> {
        self.target.clone().ok_or_else(|| {
            Error::argument("no target was read: give one, as in LensOptions { target: \" Mary\".into(), .. }.")
        })
    }

    /// What was read of the chosen part of the vocabulary.
    ///
    /// # Errors
    /// [`Error::Argument`] for a reading without one.
    pub fn chosen(&self) -> Result<TokenReading> {
        self.chosen.clone().ok_or_else(|| {
            Error::argument(
                "no part of the vocabulary was chosen: name it, as in LensOptions { tokens: vec![\" Mary\".into()], .. }.",
            )
        })
    }

    /// Numbers of rows along these axes.
    pub(super) fn new(
        model: &HookedTransformer,
        lens: String,
        axes: Vec<Axis>,
        chosen: &[u32],
        numbers: Numbers,
    ) -> Result<Self> {
        let with = |axis: Axis| axes.iter().cloned().chain([axis]).collect::<Vec<_>>();
        let of = |what: &str, values| Labelled::new(format!("{what} by the {lens}"), axes.clone(), values);
        let reading = |axes: &[Axis], of: &str, [logit, log_prob, rank]: [Vec<f32>; 3]| -> Result<TokenReading> {
            let titled = |what: &str, values| Labelled::new(format!("{what} of {of} by the {lens}"), axes, values);
            Ok(TokenReading {
                logit: titled("logit", logit)?,
                log_prob: titled("log-probability", log_prob)?,
                rank: titled("rank (0 is first)", rank)?,
            })
        };
        let k = numbers.tokens.len() / numbers.entropy.len().max(1);
        let ranks = Axis::new("rank", (1..=k).map(|rank| rank.to_string()));
        let tokens = Axis::new("token", chosen.iter().map(|&id| model.piece(id)));
        Ok(Self {
            probabilities: Labelled::new(format!("probability by the {lens}"), with(ranks), numbers.probabilities)?,
            texts: numbers.tokens.iter().map(|&id| model.piece(id)).collect(),
            tokens: numbers.tokens,
            inputs: Vec::new(),
            entropy: of("entropy in nats", numbers.entropy)?,
            kl: numbers.kl.map(|kl| of("KL divergence from the model's prediction in nats", kl)).transpose()?,
            target: numbers.target.map(|numbers| reading(&axes, "the target", numbers)).transpose()?,
            chosen: match chosen.is_empty() {
                true => None,
                false => Some(reading(&with(tokens), "tokens", numbers.chosen)?),
            },
            lens,
        })
    }
}
