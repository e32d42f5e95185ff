//! What is patched in at a point, and what it adds to the metric by a gradient.

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor};

use super::attribution::visit;
use super::query_key::Patched;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::hooks::{HookPoint, Site};
use crate::host;
use crate::variables::holds;

/// What patching changes at one point, on the device.
pub(super) struct Change {
    point: HookPoint,
    /// Of the terms: the activation's, of queries and keys under the query-key fix with one number for each vector.
    shape: Vec<usize>,
    /// Not 0 where something else is put in than is there.
    differs: Tensor,
    by: By,
}

enum By {
    /// What is patched in minus what is there, f32.
    Difference(Tensor),
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

holds! {
    Terms { values, together }
    Product { shape, differs, terms, dropped }
}

impl Change {
    pub fn new(point: HookPoint, put_in: &Tensor, there: &Tensor) -> Result<Self> {
        let (new, old) = (numbers(put_in)?, numbers(there)?);
        let differs = new.ne(&old)?;
        // Equal numbers may be infinite, in masked scores, and have no difference.
        let difference = differs.where_cond(&(&new - &old)?, &new.zeros_like()?)?;
        Ok(Self { point, shape: there.dims().to_vec(), differs, by: By::Difference(difference) })
    }

    /// Of queries or keys under the query-key fix, from those of the run that is patched.
    pub fn fixed(experiment: &Experiment, point: HookPoint, there: &[Tensor; 2], put_in: &Tensor) -> Result<Self> {
        let [q, k] = there;
        let patched = Patched::new(&experiment.model, experiment.base_tokens(), point, (q, k), put_in)?;
        let old = if matches!(point, HookPoint::Block(_, Site::K)) { k } else { q };
        let differs = numbers(put_in)?.ne(&numbers(old)?)?.max_keepdim(D::Minus1)?;
        Ok(Self { point, shape: differs.dims().to_vec(), differs, by: By::Scores(patched) })
    }

    /// The point whose gradient makes the terms.
    pub fn read_at(&self) -> HookPoint {
        match (&self.by, self.point) {
            (By::Scores(_), HookPoint::Block(layer, _)) => HookPoint::Block(layer, Site::Pattern),
            (_, point) => point,
        }
    }

    /// What the terms by this gradient are made of.
    fn parts(&self, gradient: &Tensor) -> Result<Vec<Tensor>> {
        Ok(match &self.by {
            By::Difference(difference) => {
                let product = (numbers(gradient)? * difference)?;
                // Where nothing differs, the gradient may be infinite.
                vec![self.differs.where_cond(&product, &product.zeros_like()?)?]
            }
            By::Scores(Patched { base, patched, .. }) => vec![base.clone(), patched.clone(), gradient.clone()],
        })
    }
}

fn numbers(x: &Tensor) -> Result<Tensor> {
    Ok(x.detach().to_dtype(DType::F32)?)
}

/// The terms of each of these changes by its gradient, zeros where there is none.
pub(super) fn terms(changes: &[(&Change, Option<Tensor>)]) -> Result<Vec<Terms>> {
    let mut parts = Vec::new();
    for (change, gradient) in changes {
        if let Some(gradient) = gradient {
            parts.extend(change.parts(gradient)?);
        }
    }
    let mut numbers = host::numbers_of_all::<f32>(&parts)?.into_iter();
    let mut next = || numbers.next().expect("the numbers of each part");
    let of_change = |(change, gradient): &(&Change, Option<Tensor>)| match (&change.by, gradient) {
        (_, None) => Terms { values: vec![0.; change.shape.iter().product()], together: None },
        (By::Difference(_), _) => Terms { values: next(), together: None },
        (By::Scores(patched), _) => {
            let [base, other, gradient] = [next(), next(), next()];
            let (values, together) = patched.terms([&base, &other, &gradient]);
            Terms { values, together }
        }
    };
    Ok(changes.iter().map(of_change).collect())
}

/// What each of these changes adds, by its gradient.
pub(super) fn products(
    changes: &BTreeMap<HookPoint, Change>,
    gradients: Vec<Option<Tensor>>,
) -> Result<BTreeMap<HookPoint, Product>> {
    let differs: Vec<&Tensor> = changes.values().map(|change| &change.differs).collect();
    let differs = host::numbers_of_all::<u8>(&differs)?;
    let terms = terms(&changes.values().zip(gradients).collect::<Vec<_>>())?;
    let product = |(((&point, change), differs), terms): (((&HookPoint, &Change), Vec<u8>), Terms)| {
        let differs = differs.into_iter().map(|differs| differs != 0).collect();
        (point, Product { shape: change.shape.clone(), differs, terms, dropped: Vec::new() })
    };
    Ok(changes.iter().zip(differs).zip(terms).map(product).collect())
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
