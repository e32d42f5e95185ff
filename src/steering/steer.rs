//! What is done with directions, and where: added with a scale, or projected out, at some positions of runs and of generated text.
//!
//! Added: `x' = x + scale v`, and where the norm is kept `x' |x| / |x'|`. Ablated: `x' = x - (x v) v / |v|^2`.

use std::collections::BTreeMap;
use std::fmt;

use super::vector::SteeringVector;
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPlan, HookPoint, Selection};
use crate::model::HookedTransformer;
use crate::slice::{Slice, forward};
use crate::tokens::{Input, Tokens};

/// What is done with each direction.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Add(f64),
    Ablate,
}

/// The positions at which it is done.
#[derive(Clone, PartialEq)]
enum Where {
    All,
    Last,
    FromLast,
    Generated,
    Part(Selection),
}

/// Directions with what is done with them: how much of each is added, or that they are removed, and at which positions.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let pairs = Task::Sva.prompts(tasks::Split::Train, 200, 0)?.of_length(&model, 6)?;
/// let batch = pairs.filter("a plural subject", |prompt| prompt.plural == Some(true))?.head(24).batch(&model)?;
/// let plural = Contrast::new(&model, &batch.clean, &batch.corrupted)?.mean_difference(("resid_post", 2))?;
/// let (prompt, answers) = ("The key near the cabinet", model.answers([(" are", " is")])?);
/// let plan = plural.steer(1).last().plan(&model, prompt)?;
/// let (logits, cache) = model.run_with_hooks(prompt, &plan)?;
/// assert!(answers.logit_diff(&model.forward(prompt)?, cache.tokens())?.scalar()? < 0.);
/// assert!(answers.logit_diff(&logits, cache.tokens())?.scalar()? > 0., "the verb is turned");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Steering {
    vectors: Vec<SteeringVector>,
    act: Act,
    at: Where,
    keeps_norm: bool,
}

impl SteeringVector {
    /// Adds `scale` times this direction, at all positions by default.
    pub fn steer(&self, scale: impl Into<f64>) -> Steering {
        Steering::add([self.clone()], scale)
    }

    /// Removes what activations have along this direction, at all positions by default (directional ablation).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let answers = model.answers([(" Mary", " John")])?;
    /// let direction = (model.tokens_to_residual_directions([" Mary"])? - model.tokens_to_residual_directions([" John"])?)?;
    /// let vector = SteeringVector::new(&model, ("resid_post", -1), &direction.squeeze(0)?)?;
    /// let plan = vector.ablate().plan(&model, prompt)?;
    /// let (logits, cache) = model.run_with_hooks(prompt, &plan)?;
    /// let left = answers.logit_diff(&logits, cache.tokens())?.scalar()? - answers.bias(&model)?.scalar()?;
    /// assert!(left.abs() < 1e-3, "nothing but the biases");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn ablate(&self) -> Steering {
        Steering { vectors: vec![self.clone()], act: Act::Ablate, at: Where::All, keeps_norm: false }
    }
}

impl Steering {
    /// Adds `scale` times each of several directions, each at its own point, as of several layers.
    pub fn add(vectors: impl IntoIterator<Item = SteeringVector>, scale: impl Into<f64>) -> Self {
        let vectors = vectors.into_iter().collect();
        Self { vectors, act: Act::Add(scale.into()), at: Where::All, keeps_norm: false }
    }

    /// The same for one direction more.
    pub fn and(mut self, vector: &SteeringVector) -> Self {
        self.vectors.push(vector.clone());
        self
    }

    /// The same with the first direction's numbers at these layers, in place of its own: one, several, or `..` for all of them.
    ///
    /// # Errors
    /// Layers that the model does not have, a direction outside the blocks.
    pub fn layers(self, model: &HookedTransformer, layers: impl Into<Slice>) -> Result<Self> {
        let layers = layers.into().indices(model.cfg().n_layers, "layer")?;
        let Some(vector) = self.vectors.first() else { return Err(no_vector()) };
        let vectors = layers.into_iter().map(|layer| vector.at_layer(model, forward(layer))).collect::<Result<_>>()?;
        Ok(Self { vectors, ..self })
    }

    /// Only at the last token of each prompt, from which the first new token is chosen.
    pub fn last(self) -> Self {
        Self { at: Where::Last, ..self }
    }

    /// From the last token of each prompt on: there, and at every token that is generated.
    pub fn from_last(self) -> Self {
        Self { at: Where::FromLast, ..self }
    }

    /// Only at tokens that are generated. The first of them is chosen before any of them is there: for that one too, take
    /// [`Steering::from_last`].
    pub fn generated(self) -> Self {
        Self { at: Where::Generated, ..self }
    }

    /// Only at this part: `Selection::new().pos(3..)`, `.batch(0)`, ..
    pub fn at(self, part: Selection) -> Self {
        Self { at: Where::Part(part), ..self }
    }

    /// After it each vector is scaled to the norm that it had.
    pub fn keeping_norm(self) -> Self {
        Self { keeps_norm: true, ..self }
    }

    /// The same with another scale.
    ///
    /// # Errors
    /// Directions that are removed, which have none.
    pub(super) fn with_scale(&self, scale: f64) -> Result<Self> {
        match self.act {
            Act::Add(_) => Ok(Self { act: Act::Add(scale), ..self.clone() }),
            Act::Ablate => Err(Error::argument(
                "a direction that is removed has no scale: sweep over one that is added (vector.steer(1)), or run the ablation by \
                 its plan.",
            )),
        }
    }

    /// The directions.
    pub fn vectors(&self) -> Vec<SteeringVector> {
        self.vectors.clone()
    }

    /// The plan of a run of these prompts.
    ///
    /// # Errors
    /// No direction, one of zeros, of another model or of another processing of its weights; a scale that is not finite; positions
    /// that the prompts do not have, or that only generated text has.
    pub fn plan(&self, model: &HookedTransformer, prompts: impl Into<Input>) -> Result<HookPlan> {
        if self.at == Where::Generated {
            return Err(Error::argument(
                "a run has no generated tokens, so nothing would be steered: generate under it (steering.generate), or choose \
                 positions of the prompt.",
            ));
        }
        self.on(HookPlan::new(), model, &model.to_tokens(prompts)?)
    }

    /// A plan that steers as well; the prompts may grow.
    pub(super) fn on(&self, plan: HookPlan, model: &HookedTransformer, prompts: &Tokens) -> Result<HookPlan> {
        self.check(model)?;
        let parts = self.parts(prompts);
        let all = self.vectors.iter().flat_map(|vector| parts.iter().map(move |part| (vector, part)));
        Ok(all.fold(plan, |plan, (vector, part)| plan.edit(vector.point(), self.edit(vector).at(part.clone()))))
    }

    /// # Errors
    /// As [`Steering::plan`], of what does not depend on prompts.
    pub(super) fn check(&self, model: &HookedTransformer) -> Result<()> {
        if self.vectors.is_empty() {
            return Err(no_vector());
        }
        if let Act::Add(scale) = self.act
            && !scale.is_finite()
        {
            return Err(Error::argument(format!(
                "the scale {scale} was given for {}: give a finite number; 0 changes nothing.",
                self.vectors[0]
            )));
        }
        for vector in &self.vectors {
            vector.check_model(model)?;
            vector.check_direction()?;
            if let Act::Add(scale) = self.act
                && vector.numbers().iter().any(|value| !((f64::from(*value) * scale) as f32).is_finite())
            {
                return Err(Error::argument(format!(
                    "{scale} times {vector} is beyond what 32 bits hold: give a smaller scale."
                )));
            }
        }
        Ok(())
    }

    /// # Errors
    /// Generated positions of a text that has none to steer, since its only new token follows from the prompt.
    pub(super) fn check_length(&self, new_tokens: usize) -> Result<()> {
        match self.at == Where::Generated && new_tokens == 1 {
            true => Err(Error::argument(
                "the one new token follows from the prompt, so nothing at generated positions would be steered: ask for more new \
                 tokens, or steer from_last().",
            )),
            false => Ok(()),
        }
    }

    /// What is done with a direction, everywhere.
    pub(super) fn edit(&self, vector: &SteeringVector) -> Edit {
        let edit = match self.act {
            Act::Add(scale) => Edit::add(vector.scaled(scale)),
            Act::Ablate => Edit::project_out(vector.values()),
        };
        if self.keeps_norm { edit.keeping_norm() } else { edit }
    }

    /// The parts of the prompts, and of what they grow to, at which it is done.
    pub(super) fn parts(&self, prompts: &Tokens) -> Vec<Selection> {
        let each_last = |slice: fn(usize) -> Slice| {
            let mut by_last: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (prompt, last) in prompts.last_positions().into_iter().enumerate() {
                by_last.entry(last).or_default().push(prompt);
            }
            let of = |(last, of): (usize, Vec<usize>)| match of.len() == prompts.batch() {
                true => Selection::new().pos(slice(last)),
                false => Selection::new().pos(slice(last)).batch(of),
            };
            by_last.into_iter().map(of).collect()
        };
        match &self.at {
            Where::All => vec![Selection::new()],
            Where::Last => each_last(|last| Slice::At(forward(last))),
            Where::FromLast => each_last(|last| Slice::Range(forward(last), None)),
            Where::Generated => vec![Selection::new().pos(prompts.pos()..)],
            Where::Part(part) => vec![part.clone()],
        }
    }

    /// Its points, each once.
    pub(super) fn points(&self) -> Vec<HookPoint> {
        let mut points: Vec<HookPoint> = self.vectors.iter().map(SteeringVector::point).collect();
        points.sort_unstable();
        points.dedup();
        points
    }
}

fn no_vector() -> Error {
    Error::argument("there is no direction to steer with: give at least one.")
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.act {
            Act::Add(scale) => write!(f, "add {scale} times")?,
            Act::Ablate => f.write_str("remove what is along")?,
        }
        for vector in &self.vectors {
            write!(f, "\n  {vector}")?;
        }
        match &self.at {
            Where::All => f.write_str("\nat all positions")?,
            Where::Last => f.write_str("\nat the last token of each prompt")?,
            Where::FromLast => f.write_str("\nfrom the last token of each prompt on")?,
            Where::Generated => f.write_str("\nat generated tokens")?,
            Where::Part(part) => write!(f, "\nat {part}")?,
        }
        if self.keeps_norm { f.write_str("; norm kept") } else { Ok(()) }
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_string().replace('\n', " "))
    }
}
