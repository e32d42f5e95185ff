//! What is done to an activation: replace, add, scale, zero, mean, or a named function of the user's.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::point::HookPoint;
use crate::error::{Error, Result};
use crate::slice::Slice;
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
    Custom { name: String, hook: Hook },
}

/// One change to one activation, optionally only at some prompts, positions, heads or neurons.
///
/// ```
/// use candle_lens::hooks::{Edit, HookPlan};
/// let plan = HookPlan::new().edit(("z", 2), Edit::zero().head(5)).edit(("mlp_out", 3), Edit::scale(0.5).pos(-1));
/// assert!(plan.to_string().contains("zero"));
/// ```
#[derive(Clone)]
pub struct Edit {
    pub(super) action: Action,
    pub(super) batch: Slice,
    pub(super) pos: Slice,
    pub(super) key: Slice,
    pub(super) head: Slice,
    pub(super) neuron: Slice,
}

impl Edit {
    fn of(action: Action) -> Self {
        let all = Slice::All;
        Self { action, batch: all.clone(), pos: all.clone(), key: all.clone(), head: all.clone(), neuron: all }
    }

    /// Puts `value` in place of the activation.
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

    /// Multiplies by `factor`.
    pub fn scale(factor: f64) -> Self {
        Self::of(Action::Scale(factor))
    }

    /// Puts zeros.
    pub fn zero() -> Self {
        Self::of(Action::Zero)
    }

    /// Cuts attention: of `attn_scores`, what the selected queries see of the selected sources becomes minus infinity, so that
    /// the pattern is 0 there and the rest of its row sums to 1 (attention knockout, Geva et al. 2023).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// // No head of layer 2 sees the second token from the last one.
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

    /// Puts the mean of this run's own activation (mean ablation within the batch). A mean of one would put back what is
    /// there: it is refused where no prompt has another one with a token at the same position, or with
    /// [`MeanOver::BatchAndPos`] where there is one token in all.
    pub fn mean(over: MeanOver) -> Self {
        Self::of(Action::Mean(over))
    }

    /// Puts what `hook` returns for the activation and its point; the shape must stay. `name` stands in plans and errors.
    ///
    /// ```
    /// use candle_lens::hooks::Edit;
    /// let halve = Edit::custom("halve", |x, _point| Ok((x * 0.5)?));
    /// ```
    pub fn custom(
        name: impl Into<String>,
        hook: impl Fn(&Tensor, HookPoint) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        Self::of(Action::Custom { name: name.into(), hook: Arc::new(hook) })
    }

    /// Only at these prompts of the batch.
    pub fn batch(mut self, batch: impl Into<Slice>) -> Self {
        self.batch = batch.into();
        self
    }

    /// Only at these positions; of attention scores and patterns, these destinations (`q_pos`).
    pub fn pos(mut self, pos: impl Into<Slice>) -> Self {
        self.pos = pos.into();
        self
    }

    /// Only at these sources (`k_pos`) of attention scores or patterns.
    pub fn key_pos(mut self, pos: impl Into<Slice>) -> Self {
        self.key = pos.into();
        self
    }

    /// Only at these heads.
    pub fn head(mut self, head: impl Into<Slice>) -> Self {
        self.head = head.into();
        self
    }

    /// Only at these MLP neurons.
    pub fn neuron(mut self, neuron: impl Into<Slice>) -> Self {
        self.neuron = neuron.into();
        self
    }

    /// Whether the edit is the same at every position, whichever positions are run together. A value with a position
    /// axis, or a function of the user's, may not be.
    pub(super) fn is_same_everywhere(&self) -> bool {
        let action = match &self.action {
            Action::Replace(value) | Action::Add(value) => value.rank() <= 1,
            Action::Scale(_) | Action::Zero | Action::KnockOut | Action::Mean(MeanOver::Batch) => true,
            Action::Mean(MeanOver::BatchAndPos) | Action::Custom { .. } => false,
        };
        action && self.pos == Slice::All && self.key == Slice::All
    }

    /// The edit in a run of the positions after the first `past`; sources are counted from the first in both.
    pub(super) fn after(&self, past: usize) -> Result<Self> {
        Ok(Self { pos: self.pos.after(past)?, ..self.clone() })
    }

    /// The edit for the first `pos` positions of a text that grows to `longest`; none where it is all about later ones.
    pub(super) fn so_far(&self, pos: usize, longest: usize) -> Result<Option<Self>> {
        let mut edit = self.clone();
        for (slice, name) in [(&mut edit.pos, "position"), (&mut edit.key, "source position")] {
            if *slice == Slice::All {
                continue;
            }
            let wanted = slice.indices(longest, name)?;
            let there: Vec<isize> = wanted.iter().filter(|&&p| p < pos).map(|&p| p as isize).collect();
            if there.len() == wanted.len() {
                continue;
            }
            if there.is_empty() {
                return Ok(None);
            }
            if matches!(&self.action, Action::Replace(value) | Action::Add(value) if value.rank() > 1) {
                return Err(Error::argument(format!(
                    "the edit \"{self}\" puts one tensor at positions of which only some are there yet: give an edit for \
                     each position."
                )));
            }
            *slice = there.into();
        }
        Ok(Some(edit))
    }

    /// Whether some position counts from the end.
    pub(super) fn counts_from_end(&self) -> bool {
        self.pos.counts_from_end() || self.key.counts_from_end()
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
            Action::Custom { name, .. } => f.write_str(&visible(&format!("hook {name:?}")))?,
        }
        let scopes = [
            ("batch", &self.batch),
            ("head", &self.head),
            ("pos", &self.pos),
            ("key_pos", &self.key),
            ("neuron", &self.neuron),
        ];
        for (name, slice) in scopes {
            if *slice != Slice::All {
                write!(f, ", {name} {slice}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
