//! What is done to an activation: replace, add, scale, zero, mean, remove a direction, or a named function of the user's.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::point::HookPoint;
use super::selection::{Selection, selecting};
use crate::error::{Error, Result};
use crate::visible::visible;

/// The function of [`Edit::custom`].
type Hook = Arc<dyn Fn(&Tensor, HookPoint) -> Result<Tensor> + Send + Sync>;

/// Over which axes [`Edit::mean`] takes its mean. Padding never counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeanOver {
    /// Over the prompts of this batch, position by position.
    Batch,
    /// Over prompts and positions.
    BatchAndPos,
}

#[derive(Clone)]
pub(super) enum Action {
    Replace(Tensor),
    Add(Tensor),
    Scale(f64),
    Zero,
    KnockOut,
    Mean(MeanOver),
    ProjectOut(Tensor),
    Custom { name: String, hook: Hook },
}

/// One change to one activation, optionally only at a part of it ([`Selection`]): some prompts, positions, heads, neurons or
/// features.
///
/// ```
/// use candle_lens::hooks::{Edit, HookPlan};
/// let plan = HookPlan::new().edit(("z", 2), Edit::zero().head(5)).edit(("mlp_out", 3), Edit::scale(0.5).pos(-1));
/// assert!(plan.to_string().contains("zero"));
/// ```
#[derive(Clone)]
pub struct Edit {
    pub(super) action: Action,
    pub(super) at: Selection,
    pub(super) keeps_norm: bool,
}

selecting!(Edit);

impl Edit {
    fn of(action: Action) -> Self {
        Self { action, at: Selection::default(), keeps_norm: false }
    }

    /// Replaces the activation by `value`.
    ///
    /// # Shapes
    /// The activation's shape, or the shape of the part that `.pos`, `.head`, .. select (one index drops its axis),
    /// or anything that broadcasts to either.
    pub fn replace(value: Tensor) -> Self {
        Self::of(Action::Replace(value))
    }

    /// Adds `value`, for example a steering direction. Shapes as for [`Edit::replace`].
    pub fn add(value: Tensor) -> Self {
        Self::of(Action::Add(value))
    }

    /// Removes what the activation has along `direction`: `x - (x v) v` with `v` of norm 1 (directional ablation, Arditi et al.
    /// 2024, <https://arxiv.org/abs/2406.11717>).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let mary = model.tokens_to_residual_directions([" Mary"])?.squeeze(0)?;
    /// let plan = HookPlan::new().edit(("resid_post", 2), Edit::project_out(mary.clone())).capture(("resid_post", 2));
    /// let (_, cache) = model.run_with_hooks("When John and Mary went to the shops", &plan)?;
    /// let left = cache.get(("resid_post", 2))?.broadcast_mul(&mary)?.sum(2)?;
    /// assert!(left.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// As the last axis of the activation.
    pub fn project_out(direction: Tensor) -> Self {
        Self::of(Action::ProjectOut(direction))
    }

    /// The same edit, after which each vector (along the last axis) is scaled to the norm that it had before: a push that changes
    /// directions only. A vector that the edit makes zero stays zero.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let mary = model.tokens_to_residual_directions([" Mary"])?.squeeze(0)?;
    /// let plan = HookPlan::new().edit(("resid_post", 2), Edit::add(mary).keeping_norm().pos(-1));
    /// assert!(plan.to_string().contains("norm kept"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn keeping_norm(self) -> Self {
        Self { keeps_norm: true, ..self }
    }

    /// Multiplies by `factor`.
    pub fn scale(factor: f64) -> Self {
        Self::of(Action::Scale(factor))
    }

    /// Sets the activation to zero.
    pub fn zero() -> Self {
        Self::of(Action::Zero)
    }

    /// Cuts attention: the `attn_scores` of the selected queries and keys become minus infinity, so that the pattern is 0 there
    /// and the rest of its row sums to 1 (attention knockout, Geva et al. 2023).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// // At the last position, no head of layer 2 attends to the second token.
    /// let plan = HookPlan::new().edit(("attn_scores", 2), Edit::knock_out().pos(-1).key_pos(1)).capture(("pattern", 2));
    /// let (_, cache) = model.run_with_hooks(prompt, &plan)?;
    /// let pattern = cache.get(("pattern", 2))?;
    /// let last = pattern.dim(2)? - 1;
    /// assert_eq!(pattern.get(0)?.get(3)?.get(last)?.get(1)?.to_scalar::<f32>()?, 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn knock_out() -> Self {
        Self::of(Action::KnockOut)
    }

    /// Replaces the activation by its mean in this run (mean ablation within the batch). A mean of one would change nothing:
    /// the run returns an error where no two prompts have a token at the same position, or with [`MeanOver::BatchAndPos`]
    /// where there is only one token.
    pub fn mean(over: MeanOver) -> Self {
        Self::of(Action::Mean(over))
    }

    /// Replaces the activation by what `hook` returns for it and its point; the shape must stay the same. `name` appears in plans and
    /// errors.
    ///
    /// The hook may fail with candle's error or with this crate's. One that ends in `Ok(..)` must say which:
    /// `Ok::<_, candle_lens::Error>(..)`.
    ///
    /// ```
    /// use candle_lens::hooks::Edit;
    /// let halve = Edit::custom("halve", |x, _point| x * 0.5);
    /// assert_eq!(halve.to_string(), "hook \"halve\"");
    /// ```
    pub fn custom<E: Into<Error>>(
        name: impl Into<String>,
        hook: impl Fn(&Tensor, HookPoint) -> Result<Tensor, E> + Send + Sync + 'static,
    ) -> Self {
        let hook = Arc::new(move |x: &Tensor, point: HookPoint| hook(x, point).map_err(Into::into));
        Self::of(Action::Custom { name: name.into(), hook })
    }

    /// Whether the edit does the same whichever positions are run together. A value with a position axis, or a function of the
    /// user's, may not.
    pub(super) fn is_by_position(&self) -> bool {
        match &self.action {
            Action::Replace(value) | Action::Add(value) => value.rank() <= 1,
            Action::Scale(_)
            | Action::Zero
            | Action::KnockOut
            | Action::ProjectOut(_)
            | Action::Mean(MeanOver::Batch) => true,
            Action::Mean(MeanOver::BatchAndPos) | Action::Custom { .. } => false,
        }
    }

    /// The edit in a run of the positions after the first `past`.
    ///
    /// # Errors
    /// A position before `past`.
    pub(super) fn after(&self, past: usize) -> Result<Self> {
        Ok(Self { at: self.at.after(past)?, ..self.clone() })
    }

    /// The edit for the positions from `past` to `pos` of a text that grows to `longest`; none where it is all about others.
    ///
    /// # Errors
    /// A position that the text never reaches; one tensor for positions of which only some are there.
    pub(super) fn so_far(&self, (past, pos): (usize, usize), longest: usize) -> Result<Option<Self>> {
        let Some((at, whole)) = self.at.so_far((past, pos), longest)? else { return Ok(None) };
        if !whole && matches!(&self.action, Action::Replace(value) | Action::Add(value) if value.rank() > 1) {
            return Err(Error::argument(format!(
                "the edit \"{self}\" puts one tensor at several positions, of which only some exist yet: give an edit \
                 for each position."
            )));
        }
        Ok(Some(Self { at, ..self.clone() }))
    }

    /// Whether some position counts from the end.
    pub(super) fn counts_from_end(&self) -> bool {
        self.at.counts_from_end()
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Replace(value) => write!(f, "replace by a tensor {:?}", value.dims())?,
            Action::Add(value) => write!(f, "add a tensor {:?}", value.dims())?,
            Action::Scale(factor) => write!(f, "scale by {factor}")?,
            Action::Zero => f.write_str("zero")?,
            Action::KnockOut => f.write_str("knock out")?,
            Action::Mean(MeanOver::Batch) => f.write_str("mean over batch")?,
            Action::Mean(MeanOver::BatchAndPos) => f.write_str("mean over batch and positions")?,
            Action::ProjectOut(direction) => write!(f, "project out a direction {:?}", direction.dims())?,
            Action::Custom { name, .. } => f.write_str(&visible(&format!("hook {name:?}")))?,
        }
        if self.keeps_norm {
            f.write_str(", norm kept")?;
        }
        if self.at == Selection::default() { Ok(()) } else { write!(f, ", {}", self.at) }
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
