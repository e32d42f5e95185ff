//! The forward pass: from tokens, or from the residual stream of any block, to logits, loss, or a residual stream.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::config::AttentionDir;
use super::loss;
use super::ops::soft_cap;
use super::spliced::text_part;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, HookRun, Reach, Setting, Taps};
use crate::model::layers::block::block;
use crate::model::layers::embed::{embed, position_embeddings, position_ids};
use crate::model::layers::kv_cache::{KvCache, LayerKv};
use crate::model::layers::norm::{NormPoints, norm};
use crate::progress::Progress;
use crate::tokens::{Bos, Input, PaddingSide, Tokens};

/// Which loss a run returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// The mean over all predictions of real tokens, a scalar.
    Mean,
    /// One number for each prediction, `[batch, pos - 1]`; 0 where padding is involved.
    PerToken,
}

/// What a run computes besides its plan. `RunOptions::default()` gives logits from the whole model.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Starts before this block from this residual stream `[batch, pos, d_model]`, instead of from the embedding.
    /// Negative layers count from the end.
    pub start_at_layer: Option<(isize, Tensor)>,
    /// Stops before this block and returns the residual stream; 0 gives the embeddings, negatives count from the end.
    pub stop_at_layer: Option<isize>,
    /// Whether the logits are returned.
    pub logits: bool,
    /// Which loss is returned.
    pub loss: Loss,
    /// Whether texts get a BOS token in front; by default not where they continue a `past_kv_cache`.
    pub bos: Bos,
    /// Keys and values of the tokens before the input. Positions of the plan are then those of the whole text,
    /// and only those of the input can be captured or edited.
    pub past_kv_cache: Option<KvCache>,
    /// Whether the run returns its keys and values, for runs that continue it.
    pub keep_kv_cache: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            start_at_layer: None,
            stop_at_layer: None,
            logits: true,
            loss: Loss::None,
            bos: Bos::Default,
            past_kv_cache: None,
            keep_kv_cache: false,
        }
    }
}

/// What a run returns.
#[derive(Clone, Debug)]
pub struct Run {
    /// The tokens that were run.
    pub tokens: Tokens,
    /// `[batch, pos, d_vocab_out]`, if asked for.
    pub logits: Option<Tensor>,
    /// A scalar or `[batch, pos - 1]`, if asked for; f32 of a half-precision model too.
    pub loss: Option<Tensor>,
    /// `[batch, pos, d_model]` where the run stopped before the end.
    pub resid: Option<Tensor>,
    /// What the plan captured.
    pub captured: BTreeMap<HookPoint, Tensor>,
    /// What the plan watched: the activations, and access to their gradients.
    pub taps: Taps,
    /// Keys and values of these tokens and those before them, if asked for.
    pub kv_cache: Option<KvCache>,
    /// Where it began, unless it began with the embeddings of these tokens.
    pub(crate) began: Option<String>,
    /// By how much centring the unembedding lowered the logits at the last column, `[batch]`; none where it is not
    /// centred.
    pub(crate) level: Option<Tensor>,
    /// The residual stream behind the last block that ran.
    pub(crate) left: Tensor,
}

impl From<&Self> for RunOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl Run {
    /// The logits, `[batch, pos, d_vocab_out]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run without them.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let run = model.run("The keys on the cabinet", HookPlan::new(), RunOptions::default())?;
    /// assert_eq!(run.logits()?.dim(2)?, model.cfg().d_vocab);
    /// assert!(run.loss().is_err(), "RunOptions asks for it with `loss`");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn logits(&self) -> Result<Tensor> {
        self.logits.clone().ok_or_else(|| left_out("logits", "set RunOptions::logits, and leave stop_at_layer out"))
    }

    /// The loss, a scalar or `[batch, pos - 1]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run without it.
    pub fn loss(&self) -> Result<Tensor> {
        self.loss.clone().ok_or_else(|| left_out("loss", "set RunOptions::loss"))
    }

    /// The residual stream where the run stopped, `[batch, pos, d_model]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run that went to the end.
    pub fn resid(&self) -> Result<Tensor> {
        self.resid.clone().ok_or_else(|| left_out("last residual stream", "set RunOptions::stop_at_layer"))
    }

    /// The keys and values of the run, from which a later run goes on.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run that did not keep them.
    pub fn kv_cache(&self) -> Result<KvCache> {
        self.kv_cache.clone().ok_or_else(|| left_out("key-value cache", "set RunOptions::keep_kv_cache"))
    }
}

fn left_out(what: &str, fix: &str) -> Error {
    Error::argument(format!("this run has no {what}: {fix}, and run again."))
}

impl HookedTransformer {
    /// Runs the model under a plan. All other ways of running it are shorthands for this one.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let options = RunOptions { loss: Loss::PerToken, ..Default::default() };
    /// let run = model.run("The keys on the cabinet", &HookPlan::new(), &options)?;
    /// assert_eq!(run.loss.unwrap().dims(), [1, run.tokens.pos() - 1]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Every mistake in the input, the plan or the options, and a run that would need more memory than it may
    /// ([`HookPlan::budget`]), found before anything is computed.
    pub fn run(
        &self,
        input: impl Into<Input>,
        plan: impl AsRef<HookPlan>,
        options: impl Into<RunOptions>,
    ) -> Result<Run> {
        let options = &options.into();
        let (tokens, text) = self.tokens_to_run(input.into(), options)?;
        text.check(self.cfg.d_vocab, self.cfg.n_ctx)?;
        let past = text.pos() - tokens.pos();
        let reach = self.reach(options)?;
        let began = began(&reach, past);
        let shape = (tokens.batch(), tokens.pos());
        self.check_loss(&tokens, &reach, options.loss)?;
        let right_padded = tokens.is_padded() && tokens.padding_side() == PaddingSide::Right;
        let logits = reach.stop.is_none() && (options.logits || options.loss != Loss::None);
        let (dtype, device, (batch, pos)) = (self.dtype(), self.weights.device(), shape);
        let prompts_at = &tokens.prompts_at();
        let setting = Setting { reach: &reach, batch, pos, past, right_padded, prompts_at, logits, dtype, device };
        let plan = self.with_splices(plan.as_ref(), &reach);
        let mut hooks = HookRun::new(plan.resolve(&self.dims(), &setting)?, self.real_tokens(&tokens)?);
        if hooks.has_splices() {
            hooks = hooks.of_text(text_part(&text, past));
        }

        let entering = self.entering(options, &tokens, &position_ids(&text, past), &mut hooks)?;
        let mut kv = KvCache::for_run(options.past_kv_cache.as_ref(), self.cfg.n_layers, options.keep_kv_cache);
        // The logits of many tokens take as long as some blocks.
        let mut progress = Progress::of("running the model", reach.layers().len() as u64 + 1, "steps");
        let resid = self.blocks(entering, (&text, past), &reach, (&mut hooks, &mut progress), kv.as_deref_mut())?;
        if reach.stop.is_some() {
            let (captured, taps) = hooks.into_parts(self.dims());
            let (logits, loss, kv_cache, level) = (None, None, None, None);
            let left = resid.clone();
            return Ok(Run { tokens, logits, loss, resid: Some(resid), captured, taps, kv_cache, began, level, left });
        }
        let normed = self.normalize_final(&resid, &mut hooks)?;
        let normed = hooks.at(HookPoint::UnembedIn, normed)?;
        let logits = match logits || hooks.wants_logits() {
            true => Some(self.capped(hooks.at(HookPoint::UnembedOut, self.unembedded(&normed)?)?)?),
            false => None,
        };
        let level = logits.as_ref().and(self.weights.level.as_ref()).map(|level| level.of_last(&normed)).transpose()?;
        let loss = match (options.loss, &logits) {
            (Loss::Mean, Some(logits)) => Some(loss::mean(logits, &tokens)?),
            (Loss::PerToken, Some(logits)) => Some(loss::per_token(logits, &tokens)?),
            _ => None,
        };
        let logits = logits.filter(|_| options.logits);
        let kv_cache = kv.filter(|_| options.keep_kv_cache);
        let kv_cache = kv_cache.map(|layers| KvCache::new(self, text, layers));
        let (captured, taps) = hooks.into_parts(self.dims());
        Ok(Run { tokens, logits, loss, resid: None, captured, taps, kv_cache, began, level, left: resid })
    }

    /// Checks that a run can return the requested loss.
    fn check_loss(&self, tokens: &Tokens, reach: &Reach, loss: Loss) -> Result<()> {
        match loss {
            Loss::None => Ok(()),
            _ if reach.stop.is_some() => Err(Error::argument(
                "a run that stops before the end has no logits, so it has no loss: drop stop_at_layer or the loss.",
            )),
            _ => loss::check(tokens, self.cfg.d_vocab_out()),
        }
    }

    /// The residual stream before the first block that runs, and the position embeddings of a model that has them in
    /// queries and keys.
    fn entering(
        &self,
        options: &RunOptions,
        tokens: &Tokens,
        positions: &[u32],
        hooks: &mut HookRun,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (shortformer, shape) = (self.dims().shortformer, (tokens.batch(), tokens.pos()));
        let Some((_, resid)) = &options.start_at_layer else {
            return embed(&self.weights, tokens, positions, shortformer, hooks);
        };
        let placed = match shortformer {
            true => position_embeddings(&self.weights, tokens.batch(), positions)?,
            false => None,
        };
        Ok((self.check_resid(resid, shape)?, placed))
    }

    /// The tokens of the input, and the text that they end: the same, or what a past holds with them behind it.
    fn tokens_to_run(&self, input: Input, options: &RunOptions) -> Result<(Tokens, Tokens)> {
        let part = options.start_at_layer.is_some() || options.stop_at_layer.is_some();
        if part && (options.past_kv_cache.is_some() || options.keep_kv_cache) {
            return Err(Error::argument(
                "keys and values are kept of whole runs only: drop past_kv_cache and keep_kv_cache, or start_at_layer \
                 and stop_at_layer.",
            ));
        }
        let Some(past) = &options.past_kv_cache else {
            let tokens = self.to_tokens_with(input, options.bos)?;
            return Ok((tokens.clone(), tokens));
        };
        past.check(self)?;
        if self.cfg.attention_dir == AttentionDir::Bidirectional {
            return Err(Error::argument(
                "this model's tokens attend to later ones, so what was computed before them cannot be kept: run the \
                 whole text without past_kv_cache.",
            ));
        }
        let tokens = match (&input, options.bos) {
            (Input::Texts(texts), Bos::Default | Bos::Omit) => self.own_tokenizer()?.continuations(texts)?,
            _ => self.to_tokens_with(input, options.bos)?,
        };
        let text = past.tokens.continued(&tokens)?;
        if let Some(field) = self.stale_past(&past.tokens, &text) {
            return Err(Error::argument(format!(
                "a text that grows from {} to {} tokens changes all its positions in this model ({field}), so what was \
                 computed before no longer holds: run the whole text without past_kv_cache.",
                past.tokens.pos(),
                text.pos()
            )));
        }
        Ok((tokens, text))
    }

    /// The logits of `input`.
    ///
    /// # Shapes
    /// `[batch, pos, d_vocab_out]`.
    ///
    /// # Errors
    /// As [`HookedTransformer::run`].
    pub fn forward(&self, input: impl Into<Input>) -> Result<Tensor> {
        let run = self.run(input, HookPlan::new(), RunOptions::default())?;
        run.logits()
    }

    /// The mean next-token cross-entropy of `input` in nats, a scalar tensor; f32 of a half-precision model too.
    ///
    /// # Errors
    /// As [`HookedTransformer::run`], and for prompts of one token.
    pub fn loss(&self, input: impl Into<Input>) -> Result<Tensor> {
        let options = RunOptions { logits: false, loss: Loss::Mean, ..Default::default() };
        let run = self.run(input, HookPlan::new(), &options)?;
        run.loss()
    }

    fn reach(&self, options: &RunOptions) -> Result<Reach> {
        let dims = self.dims();
        let start = options.start_at_layer.as_ref().map(|(layer, _)| dims.layer(*layer)).transpose()?;
        let stop = match options.stop_at_layer {
            Some(layer) if layer == dims.n_layers as isize => Some(dims.n_layers),
            Some(layer) => Some(dims.layer(layer)?),
            None => None,
        };
        if let (Some(start), Some(stop)) = (start, stop)
            && start > stop
        {
            return Err(Error::argument(format!(
                "the run would start at layer {start} and stop before layer {stop}: stop_at_layer must not be smaller."
            )));
        }
        Ok(Reach { start, stop, n_layers: dims.n_layers })
    }

    fn check_resid(&self, resid: &Tensor, (batch, pos): (usize, usize)) -> Result<Tensor> {
        if resid.dims() != [batch, pos, self.cfg.d_model] {
            return Err(Error::shape(
                "the residual stream given to start_at_layer",
                format!("[{batch}, {pos}, {}] (batch, pos, d_model of the tokens given with it)", self.cfg.d_model),
                resid.dims(),
            ));
        }
        Ok(resid.clone())
    }

    /// The stream after the blocks; `text` are the tokens with those before them, which are the first `past`.
    fn blocks(
        &self,
        (mut resid, placed): (Tensor, Option<Tensor>),
        (text, past): (&Tokens, usize),
        reach: &Reach,
        (hooks, progress): (&mut HookRun, &mut Progress),
        mut kv: Option<&mut [LayerKv]>,
    ) -> Result<Tensor> {
        let suffix = self.suffix(text, past, placed)?;
        for layer in reach.layers() {
            let layer_kv = kv.as_deref_mut().map(|layers| &mut layers[layer]);
            resid = block(resid, &self.weights.blocks[layer], &suffix.context(self, layer), hooks, layer_kv)?;
            progress.step(1)?;
        }
        Ok(resid)
    }

    fn normalize_final(&self, resid: &Tensor, hooks: &mut HookRun) -> Result<Tensor> {
        let points = NormPoints { scale: HookPoint::LnFinalScale, normalized: HookPoint::LnFinalNormalized };
        norm(resid, self.weights.ln_final.as_ref(), self.norm_rule(), Some((hooks, points)))
    }

    /// The logits of a residual stream that has been through the final norm.
    ///
    /// # Shapes
    /// `[.., d_model]` gives `[.., d_vocab_out]`.
    pub(crate) fn logits_of(&self, normed: &Tensor) -> Result<Tensor> {
        self.capped(self.unembedded(normed)?)
    }

    fn unembedded(&self, normed: &Tensor) -> Result<Tensor> {
        self.weights.w_u.apply(normed, Some(&self.weights.b_u))
    }

    fn capped(&self, logits: Tensor) -> Result<Tensor> {
        soft_cap(logits, self.cfg.output_logits_soft_cap, self.frozen.ratios)
    }

    /// 1 for real tokens, `[batch, pos]`; `None` when nothing is padded.
    pub(super) fn real_tokens(&self, tokens: &Tokens) -> Result<Option<Tensor>> {
        if !tokens.is_padded() {
            return Ok(None);
        }
        let (batch, pos) = (tokens.batch(), tokens.pos());
        let real: Vec<u8> = (0..batch * pos).map(|i| u8::from(tokens.is_real(i / pos, i % pos))).collect();
        Ok(Some(Tensor::from_vec(real, (batch, pos), self.weights.device())?))
    }
}

/// Where a run begins, if it is not with the embeddings of its tokens.
fn began(reach: &Reach, past: usize) -> Option<String> {
    match (reach.start, past) {
        (Some(layer), _) => Some(format!("at block {layer}, with a residual stream that was given")),
        (None, 1..) => Some(format!("behind {past} positions that were run before")),
        (None, 0) => None,
    }
}
