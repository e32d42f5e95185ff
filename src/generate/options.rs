//! How text is generated.

use crate::error::{Error, Result};
use crate::hooks::HookPlan;
use crate::tokens::Bos;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// The most likely token; ties go to the smallest id.
    #[default]
    Greedy,
    /// A random token; the same seed gives the same tokens.
    Random {
        /// Divides the logits: below 1 it makes likely tokens likelier, above 1 it makes probabilities more equal.
        temperature: f64,
        /// Only the `k` most likely tokens.
        top_k: Option<usize>,
        /// Only the smallest set of most likely tokens whose probabilities sum to at least this.
        top_p: Option<f64>,
        /// The seed of the random choices.
        seed: u64,
    },
}

impl Sampling {
    /// Draws from the model's own distribution, `softmax(logits / temperature)`, with seed 0.
    pub fn temperature(temperature: f64) -> Self {
        Self::Random { temperature, top_k: None, top_p: None, seed: 0 }
    }

    /// The same sampling from the `k` most likely tokens only. Greedy sampling becomes random with temperature 1.
    pub fn top_k(self, k: usize) -> Self {
        let (temperature, _, top_p, seed) = self.parts();
        Self::Random { temperature, top_k: Some(k), top_p, seed }
    }

    /// The same sampling from the smallest set of tokens whose probabilities sum to at least `p`.
    pub fn top_p(self, p: f64) -> Self {
        let (temperature, top_k, _, seed) = self.parts();
        Self::Random { temperature, top_k, top_p: Some(p), seed }
    }

    /// The same sampling with this seed.
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

/// Options of [`HookedTransformer::generate`](crate::model::HookedTransformer::generate). The default is greedy sampling of up
/// to ten tokens that stops at the end of text.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The maximum number of tokens to add, which must fit into `n_ctx`; `usize::MAX` means as many as fit.
    pub max_new_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Above 1, it makes tokens of the text so far less likely: their logits are divided by it (multiplied if negative), as in
    /// `transformers`. It is applied first, before the temperature, to the logits as the model was trained to produce them: where
    /// `center_unembed` has shifted them, they are shifted back for it. A state dict that was centred before it was stored
    /// does not say by how much, so there it is applied to the logits as they are.
    pub repetition_penalty: f64,
    /// Subtracted from the logit of each token once for every time that it occurs in the text so far. It is applied after the
    /// temperature, as in TransformerLens, which ignores it in greedy sampling; here it applies there as well.
    pub freq_penalty: f64,
    /// Whether a text stops at the tokenizer's end of text, or at any other that the model's `config.json` or
    /// `generation_config.json` names ([`HookedTransformer::end_ids`](crate::model::HookedTransformer::end_ids)).
    pub stop_at_eos: bool,
    /// Further tokens that end a text. The token that ends it is kept.
    pub stop_tokens: Vec<u32>,
    /// Whether a BOS token is prepended to prompts.
    pub bos: Bos,
    /// Edits under which the model runs.
    pub plan: HookPlan,
    /// Whether to print the text of a single prompt as it grows, line by line.
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
    /// Checks that every option is in its range.
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
                "a plan for generating text cannot keep activations, because every step has its own: generate the \
                 text, then run the model on Generated::tokens() with the plan, which gives the same activations.",
            ));
        }
        if self.plan.edits_from_the_end() {
            return Err(Error::argument(
                "an edit's position counts from the end, which moves with every new token: count positions from the \
                 start.",
            ));
        }
        Ok(())
    }
}
