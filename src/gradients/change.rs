//! What is patched in at a point, and what it adds to the metric by a gradient.

use candle_core::{DType, Tensor};

use super::attribution::visit;
use super::query_key::Patched;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::hooks::{HookPoint, Site};

/// What patching changes at one point.
pub(super) struct Change {
    point: HookPoint,
    /// Of the terms: the activation's, of queries and keys under the query-key fix with one number for each vector.
    shape: Vec<usize>,
    differs: Vec<bool>,
    by: By,
}

enum By {
    /// What is patched in minus what is there.
    Difference(Vec<f32>),
    /// Other scores.
    Scores(Patched),
}

/// What patching each element adds to the metric, row-major.
#[derive(Clone)]
pub(super) struct Terms {
    values: Vec<f32>,
    /// Of keys under the query-key fix, what all positions together add, `[batch, head]`.
    together: Option<Vec<f32>>,
}

/// The terms of a point, by the gradient of the run and by those with one block's dropped.
#[derive(Clone)]
pub(super) struct Product {
    pub shape: Vec<usize>,
    differs: Vec<bool>,
    pub terms: Terms,
    /// By the gradients in which each block is dropped that changes them, in the order of the blocks.
    pub dropped: Vec<Terms>,
}

fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

impl Change {
    pub fn new(point: HookPoint, put_in: &Tensor, there: &Tensor) -> Result<Self> {
        let (new, old) = (numbers(put_in)?, numbers(there)?);
        let differs: Vec<bool> = new.iter().zip(&old).map(|(new, old)| new != old).collect();
        // Equal numbers may be infinite, in masked scores, and have no difference.
        let difference = new.iter().zip(&old).map(|(new, old)| if new == old { 0. } else { new - old }).collect();
        Ok(Self { point, shape: there.dims().to_vec(), differs, by: By::Difference(difference) })
    }

    /// Of queries or keys under the query-key fix, from those of the run that is patched.
    pub fn fixed(experiment: &Experiment, point: HookPoint, there: &[Tensor; 2], put_in: &Tensor) -> Result<Self> {
        let [q, k] = there;
        let patched = Patched::new(&experiment.model, experiment.base_tokens(), point, (q, k), put_in)?;
        let old = if matches!(point, HookPoint::Block(_, Site::K)) { k } else { q };
        let mut shape = put_in.dims().to_vec();
        let width = shape.pop().unwrap_or(1).max(1);
        shape.push(1);
        let (new, old) = (numbers(put_in)?, numbers(old)?);
        let differs = new.chunks(width).zip(old.chunks(width)).map(|(new, old)| new != old).collect();
        Ok(Self { point, shape, differs, by: By::Scores(patched) })
    }

    /// The point whose gradient makes the terms.
    pub fn read_at(&self) -> HookPoint {
        match (&self.by, self.point) {
            (By::Scores(_), HookPoint::Block(layer, _)) => HookPoint::Block(layer, Site::Pattern),
            (_, point) => point,
        }
    }

    /// The terms by this gradient; zeros where there is none.
    pub fn terms(&self, gradient: Option<&Tensor>) -> Result<Terms> {
        let Some(gradient) = gradient else {
            return Ok(Terms { values: vec![0.; self.differs.len()], together: None });
        };
        match &self.by {
            By::Difference(difference) => {
                let parts = numbers(gradient)?.into_iter().zip(difference).zip(&self.differs);
                let values = parts.map(|((g, difference), &differs)| if differs { g * difference } else { 0. });
                Ok(Terms { values: values.collect(), together: None })
            }
            By::Scores(patched) => {
                let (values, together) = patched.terms(gradient)?;
                Ok(Terms { values, together })
            }
        }
    }
}

impl Terms {
    /// What the chosen elements of a prompt add.
    pub fn sum(&self, shape: &[usize], chosen: &[Option<Vec<usize>>], prompt: usize) -> f64 {
        let mut sum = 0.;
        if !is_chosen(chosen, prompt) {
            return sum;
        }
        match &self.together {
            // Under a softmax keys are not independent: those of all positions have a term of their own.
            Some(together) if chosen[1].is_none() => {
                let heads = shape[2];
                visit(&[heads], &chosen[2..3], prompt * heads, &mut |at| sum += f64::from(together[at]));
            }
            _ => visit_prompt(shape, chosen, prompt, &mut |at| sum += f64::from(self.values[at])),
        }
        sum
    }
}

impl Product {
    pub fn new(change: &Change, terms: Terms) -> Self {
        Self { shape: change.shape.clone(), differs: change.differs.clone(), terms, dropped: Vec::new() }
    }

    /// Whether patching changes any of the chosen elements of a prompt.
    pub fn differs(&self, chosen: &[Option<Vec<usize>>], prompt: usize) -> bool {
        let mut differs = false;
        if is_chosen(chosen, prompt) {
            visit_prompt(&self.shape, chosen, prompt, &mut |at| differs |= self.differs[at]);
        }
        differs
    }
}

fn is_chosen(chosen: &[Option<Vec<usize>>], prompt: usize) -> bool {
    chosen[0].as_ref().is_none_or(|prompts| prompts.contains(&prompt))
}

fn visit_prompt(shape: &[usize], chosen: &[Option<Vec<usize>>], prompt: usize, work: &mut impl FnMut(usize)) {
    let inner: usize = shape[1..].iter().product();
    visit(&shape[1..], &chosen[1..], prompt * inner, work);
}
