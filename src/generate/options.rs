//! How text is generated.

use crate::error::{Error, Result};
use crate::hooks::HookPlan;
use crate::tokens::Bos;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// The most likely token; of equals the one with the smallest id.
    #[default]
    Greedy,
    /// A random token, the same for the same seed.
    Random {
        /// Divides the logits: below 1 likely tokens become likelier, above 1 all become more alike.
        temperature: f64,
        /// Only the so many most likely tokens.
        top_k: Option<usize>,
        /// Only the fewest most likely tokens whose probabilities reach this sum.
        top_p: Option<f64>,
        /// Of the random choices.
        seed: u64,
    },
}

impl Sampling {
    /// Draws from the model's own distribution, `softmax(logits / temperature)`, with seed 0.
    pub fn temperature(temperature: f64) -> Self {
        Self::Random { temperature, top_k: None, top_p: None, seed: 0 }
    }

    /// The same, only of the `k` most likely tokens. Greedy choice becomes random with temperature 1.
    pub fn top_k(self, k: usize) -> Self {
        let (temperature, _, top_p, seed) = self.parts();
        Self::Random { temperature, top_k: Some(k), top_p, seed }
    }

    /// The same, only of the fewest tokens whose probabilities reach `p`.
    pub fn top_p(self, p: f64) -> Self {
        let (temperature, top_k, _, seed) = self.parts();
        Self::Random { temperature, top_k, top_p: Some(p), seed }
    }

    /// The same with other random choices.
    pub fn seed(self, seed: u64) -> Self {
        let (temperature, top_k, top_p, _) = self.parts();
        Self::Random { temperature, top_k, top_p, seed }
    }

    fn parts(self) -> (f64, Option<usize>, Option<f64>, u64) {
        match self {
            Self::Greedy => (1., None, None, 0),
            Self::Random { temperature, top_k, top_p, seed } => (temperature, top_k, top_p, seed),
        }
    }
}

/// Options of [`crate::model::HookedTransformer::generate`]. `Default` is greedy, ten tokens, stopping at the end of
/// text.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// How many tokens are added at most: as many as fit into `n_ctx`, or `usize::MAX` for all that fit.
    pub max_new_tokens: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Above 1, tokens of the text so far become less likely: their logits are divided by it (multiplied if negative), as in
    /// `transformers`. It acts first, before the temperature, on the logits as the model was trained to give them: where
    /// `center_unembed` has shifted them, they are shifted back for it. A state dict that was centred before it was stored
    /// does not say by how much, so there it acts on the logits as they are.
    pub repetition_penalty: f64,
    /// Taken off the logit of each token for each time that it is in the text so far. It acts after the temperature, as in
    /// TransformerLens, whose greedy choice leaves it out; here it counts there, too.
    pub freq_penalty: f64,
    /// Whether a text ends with the tokenizer's end of text, or with any other that the model's `config.json` or
    /// `generation_config.json` names ([`HookedTransformer::end_ids`](crate::model::HookedTransformer::end_ids)).
    pub stop_at_eos: bool,
    /// More tokens that end a text. The one that ended it is kept.
    pub stop_tokens: Vec<u32>,
    /// Whether prompts get a BOS token in front.
    pub bos: Bos,
    /// What is changed in the model meanwhile.
    pub plan: HookPlan,
    /// Writes the text of a single prompt as it grows, a line at a time.
    pub print: bool,
}

impl From<&Self> for GenerateOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 10,
            sampling: Sampling::Greedy,
            repetition_penalty: 1.,
            freq_penalty: 0.,
            stop_at_eos: true,
            stop_tokens: Vec::new(),
            bos: Bos::Default,
            plan: HookPlan::new(),
            print: false,
        }
    }
}

impl GenerateOptions {
    /// That every number means something.
    pub(super) fn check(&self, d_vocab: usize) -> Result<()> {
        let wrong =
            |what: &str, value: f64, valid: &str| Err(Error::argument(format!("{what} is {value}: give {valid}.")));
        if self.max_new_tokens == 0 {
            return Err(Error::argument("max_new_tokens is 0, so nothing would be generated: give 1 or more."));
        }
        if let Sampling::Random { temperature, top_k, top_p, .. } = self.sampling {
            if !(temperature.is_finite() && temperature > 0.) {
                return wrong("temperature", temperature, "a number above 0, or Sampling::Greedy");
            }
            if top_k == Some(0) {
                return wrong("top_k", 0., "1 or more, or leave it out");
            }
            if let Some(p) = top_p.filter(|p| !(*p > 0. && *p <= 1.)) {
                return wrong("top_p", p, "a number above 0 and at most 1, or leave it out");
            }
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.) {
            return wrong("repetition_penalty", self.repetition_penalty, "a number above 0; 1 changes nothing");
        }
        if !self.freq_penalty.is_finite() {
            return wrong("freq_penalty", self.freq_penalty, "a finite number; 0 changes nothing");
        }
        if let Some(id) = self.stop_tokens.iter().find(|&&id| id as usize >= d_vocab) {
            return Err(Error::tokens(format!(
                "stop token {id} does not exist: the model has logits for ids 0 to {}.",
                d_vocab - 1
            )));
        }
        if !self.plan.captures_nothing() {
            return Err(Error::argument(
                "a plan for generating text cannot keep activations, as each step has its own: generate, then run the \
                 model on Generated::tokens() with the plan, which gives the same activations.",
            ));
        }
        if self.plan.edits_from_the_end() {
            return Err(Error::argument(
                "an edit's position counts from the end, which moves with each new token: give positions from the start.",
            ));
        }
        Ok(())
    }
}
