//! The model: a config, weights, and usually a tokenizer.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::config::HookedTransformerConfig;
use super::frozen::FrozenParts;
use super::spliced::Spliced;
use super::weights::Weights;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::model::load::Origin;
use crate::model::load::Processing;
use crate::tokens::{Input, TokenRef, TokenizeOptions, Tokenizer, Tokens};
use crate::variables::holds;
use crate::visible::visible;

/// A transformer whose every activation can be read and changed. Cheap to clone: weights are shared.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let logits = model.forward("Tirana, the capital of")?;
/// assert_eq!(logits.dim(2)?, model.cfg().d_vocab);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct HookedTransformer {
    pub(crate) cfg: Arc<HookedTransformerConfig>,
    pub(crate) weights: Weights,
    pub(crate) tokenizer: Option<Tokenizer>,
    /// The ids that the model's own files name as ends of a text.
    pub(super) end_ids: Vec<u32>,
    pub(crate) processing: Processing,
    pub(crate) origin: Origin,
    pub(super) frozen: FrozenParts,
    /// What is spliced in, in every run.
    pub(super) spliced: Spliced,
}

holds! {
    HookedTransformer { weights } = |model| format!("{} layers, d_model {}", model.cfg.n_layers, model.cfg.d_model);
}

impl HookedTransformer {
    /// The configuration, shared with the model: a cell can keep it by `let cfg = model.cfg();`.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let cfg = model.cfg();
    /// let wider = HookedTransformerConfig { n_ctx: 2 * cfg.n_ctx, ..(*cfg).clone() };
    /// assert_eq!(wider.d_model, cfg.d_model);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn cfg(&self) -> Arc<HookedTransformerConfig> {
        self.cfg.clone()
    }

    /// The plain sizes.
    pub fn dims(&self) -> Dims {
        self.cfg.dims()
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.weights.device().clone()
    }

    /// The weights' dtype.
    pub fn dtype(&self) -> DType {
        self.weights.w_e.dtype()
    }

    /// What was folded and centred when the weights were loaded.
    pub fn processing(&self) -> Processing {
        self.processing
    }

    /// The tokenizer. Cheap to clone, so that a cell can keep it.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let tokenizer = model.tokenizer()?;
    /// assert_eq!(tokenizer.to_single_token(" Mary")?, model.to_single_token(" Mary")?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Tokens`] for a model without one.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        self.own_tokenizer().cloned()
    }

    /// As [`HookedTransformer::tokenizer`], for this crate's own work.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn own_tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::tokens(format!(
                "the model {:?} has no tokenizer: give token ids (Tokens::from_rows) instead of text, or a \
                 tokenizer.json (with_tokenizer), which Python's AutoTokenizer.from_pretrained(..).save_pretrained(..) \
                 writes.",
                self.cfg.model_name
            ))
        })
    }

    /// Gives the model a tokenizer.
    pub fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Self {
        let tokenizer = tokenizer.with_n_ctx(self.cfg.n_ctx).with_d_vocab(self.cfg.d_vocab.max(self.cfg.d_vocab_out()));
        self.tokenizer = Some(tokenizer.with_default_prepend_bos(self.cfg.default_prepend_bos));
        self
    }

    /// Every id that ends a generated text: the tokenizer's end of text, and what the model's `config.json` and
    /// `generation_config.json` name, for many a chat model several.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// assert_eq!(model.end_ids(), [model.to_single_token("<|endoftext|>")?]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn end_ids(&self) -> Vec<u32> {
        let mut ends = self.tokenizer.as_ref().map_or(Vec::new(), |tokenizer| tokenizer.end_ids().to_vec());
        ends.extend(&self.end_ids);
        let mut seen = std::collections::BTreeSet::new();
        ends.retain(|id| seen.insert(*id));
        ends
    }

    /// How a token is shown, as [`Tokenizer::piece`]; the bare id where the model has no tokenizer.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// assert_eq!(model.piece(model.to_single_token(" Mary")?), " Mary");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn piece(&self, id: u32) -> String {
        self.tokenizer.as_ref().map_or_else(|| id.to_string(), |tokenizer| tokenizer.piece(id))
    }

    /// What each position is called: with its token where all prompts have the same one, `"3:Mary"`; else by its number, and
    /// where some prompts are padded there with how many have a token, `"3 (2 of 5 prompts)"`.
    pub(crate) fn position_labels(&self, tokens: &Tokens) -> Vec<String> {
        let label = |pos: usize| {
            let there: Vec<usize> = (0..tokens.batch()).filter(|&b| tokens.is_real(b, pos)).collect();
            let id = tokens.id(there.first().copied().unwrap_or(0), pos);
            match there.iter().all(|&b| tokens.id(b, pos) == id) {
                _ if there.len() < tokens.batch() => {
                    format!("{pos} ({} of {} prompts)", there.len(), tokens.batch())
                }
                true => format!("{pos}:{}", self.piece(id)),
                false => pos.to_string(),
            }
        };
        (0..tokens.pos()).map(label).collect()
    }

    /// Tokenises texts, padding shorter ones on the tokenizer's side.
    ///
    /// # Errors
    /// Empty input, a text longer than `n_ctx`, or text for a model without tokenizer.
    pub fn to_tokens(&self, input: impl Into<Input>) -> Result<Tokens> {
        self.to_tokens_with(input, TokenizeOptions::default())
    }

    /// As [`HookedTransformer::to_tokens`], with the BOS policy, padding side or truncation given.
    ///
    /// # Errors
    /// As [`HookedTransformer::to_tokens`].
    pub fn to_tokens_with(&self, input: impl Into<Input>, options: impl Into<TokenizeOptions>) -> Result<Tokens> {
        input.into().into_tokens(self.tokenizer.as_ref(), options)
    }

    /// The text of each token, as [`Tokenizer::to_str_tokens`].
    ///
    /// # Errors
    /// As [`HookedTransformer::to_tokens`].
    pub fn to_str_tokens(&self, input: impl Into<Input>) -> Result<Vec<String>> {
        self.own_tokenizer()?.to_str_tokens(input)
    }

    /// The text of these ids. An id that the model has and its tokenizer does not is written as `⟨50277⟩`. (The
    /// description of the model, which `println!("{model}")` prints, is `format!("{model}")`: this name is
    /// TransformerLens'.)
    ///
    /// # Errors
    /// An id that not even the model has.
    pub fn to_string(&self, ids: impl AsRef<[u32]>) -> Result<String> {
        self.own_tokenizer()?.to_string(ids)
    }

    /// The id of a text that is one token; for most words with their leading space, `" Mary"`.
    ///
    /// # Errors
    /// [`Error::Tokens`] listing the pieces of a text that is several.
    pub fn to_single_token(&self, text: &str) -> Result<u32> {
        self.own_tokenizer()?.to_single_token(text)
    }

    /// The directions of the residual stream that raise the logits of `tokens`: their columns of `W_U`.
    ///
    /// # Shapes
    /// `[n, d_model]` for `n` tokens, given as texts of one token each or as ids.
    ///
    /// # Errors
    /// A text that is not one token, an id outside the vocabulary, an empty list.
    pub fn tokens_to_residual_directions<T: Into<TokenRef>>(
        &self,
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<Tensor> {
        let ids = self.token_ids(tokens)?;
        let count = ids.len();
        let ids = Tensor::from_vec(ids, count, self.weights.device())?;
        Ok(self.weights.w_u.index_select(&ids, 1)?.t()?.contiguous()?)
    }

    /// The ids of tokens given as text or id, each checked.
    ///
    /// # Errors
    /// As [`HookedTransformer::tokens_to_residual_directions`].
    pub fn token_ids<T: Into<TokenRef>>(&self, tokens: impl IntoIterator<Item = T>) -> Result<Vec<u32>> {
        let id = |token: T| {
            let id = match token.into() {
                TokenRef::Text(text) => self.to_single_token(&text)?,
                TokenRef::Id(id) => id,
            };
            if (id as usize) < self.cfg.d_vocab_out() {
                return Ok(id);
            }
            Err(Error::tokens(format!(
                "token id {id} does not exist: the model has logits for ids 0 to {}.",
                self.cfg.d_vocab_out() - 1
            )))
        };
        let ids = tokens.into_iter().map(id).collect::<Result<Vec<_>>>()?;
        if ids.is_empty() {
            return Err(Error::tokens("the list of tokens is empty: give at least one."));
        }
        Ok(ids)
    }
}

impl fmt::Debug for HookedTransformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.cfg;
        write!(
            f,
            "HookedTransformer({}: {} layers, {} heads, d_model {})",
            visible(&c.model_name),
            c.n_layers,
            c.n_heads,
            c.d_model
        )
    }
}
