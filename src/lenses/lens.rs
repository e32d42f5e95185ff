//! What a lens is, and the logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens").
//!
//! A lens maps the residual stream `h` at a point to `f(h)`, which is read as the model reads its last residual stream:
//! `softmax(cap(LN_final(f(h)) W_U + b_U))`. The logit lens has `f(h) = h`. At the end of the model every lens maps `h` to itself, so
//! that the last entry of a reading is the model's own prediction, at KL 0.
//!
//! Limits: early layers need not use the basis of the last one, so what they "say" may mean little.

use candle_core::Tensor;

use super::options::LensOptions;
use super::reading::LensReading;
use super::{mean, run, target, vectors};
use crate::analysis::RunOrInput;
use crate::cache::{ActivationCache, ResidualStack, Target};
use crate::dims::ReadBy;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::model::HookedTransformer;
use crate::train::Texts;

/// A map of the residual stream at a point to what is read at the end of the model.
///
/// A new lens says which points it reads and what it does with vectors there; [`Lens::read`] and the other methods do the rest.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// // After which block does the model prefer Mary to everything else?
/// let reading = LogitLens.read(&model, prompt, LensOptions { pos: (-1).into(), target: " Mary".into(), ..Default::default() })?;
/// let rank = reading.target()?.rank;
/// assert_eq!(rank.at(&[-1, 0, 0])?, 0.0, "the last entry is the model's own answer");
/// assert!(rank.at(&[0, 0, 0])? > 0.0, "the embedding of \" to\" says something else");
/// assert_eq!(reading.kl()?.at(&[-1, 0, 0])?, 0.0);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub trait Lens: Send + Sync {
    /// What it is called in titles and in lines about progress: "logit lens".
    fn name(&self) -> String;

    /// Checks that it was made for this model; reads nothing else.
    ///
    /// # Errors
    /// A model of other sizes, other weights or another processing, where the lens depends on them.
    fn check_model(&self, model: &HookedTransformer) -> Result<()>;

    /// Whether it has a map at this point. Layers are absolute: `ReadBy::Block(l)` is `resid_pre` of block `l`, which is also the
    /// output of block `l - 1`; the end is [`ReadBy::End`], which every lens reads.
    fn reads(&self, at: ReadBy) -> bool;

    /// What the vectors at this point would be at the end of the model, before the final norm. At [`ReadBy::End`] they stay as they
    /// are.
    ///
    /// # Shapes
    /// `x [row, d_model]`, in the model's dtype and on any device; the result is the same.
    ///
    /// # Errors
    /// A point that [`Lens::reads`] says it does not read; candle's.
    fn carry(&self, x: &Tensor, at: ReadBy) -> Result<Tensor>;

    /// What the model would predict at each point of the residual stream that the lens reads: the most likely tokens, the entropy,
    /// the KL divergence from the model's own prediction, and what [`LensOptions`] asks for besides. The last entry is the
    /// model's own prediction. Full logits exist of a few positions of one entry at a time only.
    ///
    /// # Shapes
    /// `[component, prompt, position]`, components labelled as by [`Stack::accumulated`](crate::cache::Stack::accumulated). At padding
    /// all numbers are NaN.
    ///
    /// # Errors
    /// A lens or a cache of another model; a cache without the residual stream or without its batch axis; `k` of 0 or more than the
    /// vocabulary; tokens that do not exist; a target for another number of prompts; more numbers than fit in memory; and as
    /// [`HookedTransformer::run`] for prompts.
    fn read(
        &self,
        model: &HookedTransformer,
        run: impl Into<RunOrInput>,
        options: impl Into<LensOptions>,
    ) -> Result<LensReading>
    where
        Self: Sized,
    {
        run::read(self, model, run.into(), &options.into())
    }

    /// What components of a run would say if they alone were the residual stream: outputs of heads or MLPs, say, each through the
    /// final norm by itself. The lens takes them for vectors at `at`.
    ///
    /// # Shapes
    /// The stack's axes without `d_model`; [`LensOptions::pos`] and `incl_mid` are not read, for the stack has its positions.
    ///
    /// # Errors
    /// As [`Lens::read`]; a stack that has been through a norm, or of another run.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
    /// let heads = cache.stack(&model, Stack::heads().pos(-1))?;
    /// let reading = LogitLens.read_stack(&model, &cache, &heads, ReadBy::End, LensOptions { target: " Mary".into(), ..Default::default() })?;
    /// // The heads by the rank of " Mary" in what they write.
    /// let best = reading.target()?.rank.bottom(1).remove(0);
    /// assert!(best.value < 5.0, "{best}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    fn read_stack(
        &self,
        model: &HookedTransformer,
        cache: &ActivationCache,
        stack: &ResidualStack,
        at: ReadBy,
        options: impl Into<LensOptions>,
    ) -> Result<LensReading>
    where
        Self: Sized,
    {
        vectors::read_stack(self, model, (cache, stack), at, &options.into())
    }

    /// What any vectors of the residual stream's width would say, each through the final norm by itself: rows of a decoder,
    /// directions of steering, embeddings. The lens takes them for vectors at `at`. There is no run, so there is no KL divergence and
    /// no next token.
    ///
    /// # Shapes
    /// `vectors [.., d_model]`; the result has the other axes, named `vector` or `axis 0`, `axis 1`, ..
    ///
    /// # Errors
    /// As [`Lens::read`]; vectors of another width, or none.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let directions = model.tokens_to_residual_directions([" Mary", " John"])?;
    /// let reading = LogitLens.read_vectors(&model, &directions, ReadBy::End, LensOptions::default())?;
    /// assert_eq!((reading.texts[0].as_str(), reading.texts[5].as_str()), (" Mary", " John"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    fn read_vectors(
        &self,
        model: &HookedTransformer,
        vectors: &Tensor,
        at: ReadBy,
        options: impl Into<LensOptions>,
    ) -> Result<LensReading>
    where
        Self: Sized,
    {
        vectors::read_vectors(self, model, vectors, at, &options.into())
    }

    /// The logit, or the logit difference, at each prompt's last token and each point that the lens reads, biases and a soft cap
    /// included; only the columns of the target are computed. The last one is the model's own.
    ///
    /// # Shapes
    /// `[component, prompt]`.
    ///
    /// # Errors
    /// As [`Lens::read`]; a target for another number of prompts, or given as directions.
    fn target_logits(
        &self,
        model: &HookedTransformer,
        run: impl Into<RunOrInput>,
        target: impl Into<Target>,
    ) -> Result<Labelled>
    where
        Self: Sized,
    {
        target::logits(self, model, run.into(), target.into())
    }

    /// How far the lens is from the model's own predictions on texts: the KL divergence of [`Lens::read`], averaged over all tokens. Lenses
    /// are compared by it on texts that none of them was fitted to.
    ///
    /// # Shapes
    /// `[component]`, in nats.
    ///
    /// # Errors
    /// As [`Lens::read`]; no text.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let kl = LogitLens.mean_kl(&model, ["The keys on the cabinet", "When John and Mary went"])?;
    /// assert_eq!(kl.at(&[-1])?, 0.0);
    /// line(&kl).show()?;
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    fn mean_kl(&self, model: &HookedTransformer, texts: impl Into<Texts>) -> Result<Labelled>
    where
        Self: Sized,
    {
        mean::mean_kl(self, model, texts.into())
    }
}

/// The logit lens: every residual stream is read as if it were the last one.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let reading = LogitLens.read(&model, "The keys on the cabinet", LensOptions::default())?;
/// println!("{reading}");
/// assert_eq!(reading.kl()?.select("component", -1)?.mean(), 0.0, "the last entry is the model's own prediction");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogitLens;

impl Lens for LogitLens {
    fn name(&self) -> String {
        "logit lens".into()
    }

    fn check_model(&self, _model: &HookedTransformer) -> Result<()> {
        Ok(())
    }

    fn reads(&self, _at: ReadBy) -> bool {
        true
    }

    fn carry(&self, x: &Tensor, _at: ReadBy) -> Result<Tensor> {
        Ok(x.clone())
    }
}

/// What the model would predict after each sublayer, by the logit lens: [`Lens::read`] of [`LogitLens`], by TransformerLens' name.
///
/// # Shapes, errors
/// As [`Lens::read`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let lens = logit_lens(&model, &cache, LensOptions { pos: (-1).into(), ..Default::default() })?;
/// let last = lens.probabilities.labels("position")?[0].parse::<usize>().unwrap();
/// assert_eq!(lens.at("final_post", 0, last)?[0].0, " Mary");
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn logit_lens(
    model: &HookedTransformer,
    run: impl Into<RunOrInput>,
    options: impl Into<LensOptions>,
) -> Result<LensReading> {
    LogitLens.read(model, run, options)
}

/// The logit, or the logit difference, that the model would give if it stopped after each sublayer: [`Lens::target_logits`] of
/// [`LogitLens`].
///
/// [`residual_stack_to_logit_diff`](crate::analysis::residual_stack_to_logit_diff) of the accumulated residual stream holds the norm's
/// scale at its final value instead, so that its steps are the shares of
/// [`direct_logit_attribution`](crate::analysis::direct_logit_attribution).
///
/// # Shapes, errors
/// As [`Lens::target_logits`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let (logits, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let lens = logit_lens_to_logit_diff(&model, &cache, &answers)?;
/// let whole = answers.logit_diff(&logits, &cache.tokens())?.scalar()?;
/// assert!((lens.at(&[-1, 0])? - whole).abs() < 1e-3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn logit_lens_to_logit_diff(
    model: &HookedTransformer,
    run: impl Into<RunOrInput>,
    target: impl Into<Target>,
) -> Result<Labelled> {
    LogitLens.target_logits(model, run, target)
}
