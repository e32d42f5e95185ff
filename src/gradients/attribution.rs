//! Attribution patching: what activation patching would find, to first order (Nanda 2023,
//! <https://www.neelnanda.io/mechanistic-interpretability/attribution-patching>; Syed, Rager and Conmy 2023,
//! <https://arxiv.org/abs/2310.10348>).
//!
//! `metric with the site patched = metric of the base run + sum over the site of gradient * (patched in - there)`, with
//! the gradient of the base run. Two forward runs and one backward run serve every site. The estimate is exact where the model
//! is linear between the two activations, and worst where patching moves a softmax or a norm far: check it with
//! [`Comparison`](crate::experiment::Comparison).

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Tensor};

use super::run::Evaluator;
use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::hooks::{AxisName, Gradients, HookPlan, HookPoint, HookQueries, HookQuery};
use crate::model::RunOptions;
use crate::patching::{Grid, PatchResult, PatchSite, Untouched};
use crate::progress::Progress;

/// First-order estimates of patching at the given points. Made by [`Experiment::attribution`].
#[derive(Clone)]
pub struct Attribution {
    experiment: Experiment,
    /// The base run's metric of each prompt.
    base: Vec<f32>,
    /// `gradient * (patched in - there)` at each point, and where both are the same.
    products: BTreeMap<HookPoint, Product>,
    gradients: Gradients,
}

/// Row-major numbers in the activation's shape.
#[derive(Clone)]
struct Product {
    shape: Vec<usize>,
    values: Vec<f32>,
    differs: Vec<bool>,
}

impl Experiment {
    /// Estimates of patching every site at these points, from two forward runs and one backward run. A site without a
    /// layer (`"z"`) is meant in every layer; points of different kinds are a tuple, `("z", ("post", 3))`. Points that exist
    /// on demand (`"result"`, `"q_input"`, `"mlp_in"`) can be used as well.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let estimated = experiment.attribution(["z"])?.sweep("z", &[AxisName::Layer, AxisName::Head])?;
    /// let patched = experiment.get_act_patch_attn_head_out_all_pos()?;
    /// let comparison = Comparison::new(&patched, &estimated)?;
    /// assert!(comparison.pearson > 0.8, "{}", comparison.pearson);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A metric without gradient (KL divergence has none at the clean run); no points, points that the model does not have, that
    /// are outside the blocks or that frozen parts cut off; and as [`HookedTransformer::run`](crate::model::HookedTransformer::run).
    pub fn attribution(&self, points: impl Into<HookQueries>) -> Result<Attribution> {
        self.check_shares()?;
        self.forget_first_runs();
        let metric = self.one_metric("attribution patching")?;
        let (model, tokens, clean) = (&self.model, self.base_tokens(), &self.clean_logits);
        if self.noising {
            metric.check_slope_at_clean("put clean activations into the corrupted run (without noising)")?;
        }
        let points = points.into();
        let points = model.points_of_all(&points)?;
        check_inside(&points)?;
        let plan = HookPlan::new().watch(points);
        let evaluator = Evaluator { metric, clean: Some(clean) };
        let mut progress = Progress::of("attribution patching", 3, "steps");
        let (base, gradients) = evaluator.gradients(model, tokens, &plan, RunOptions::default())?;
        let there = gradients.points().into_iter().map(|point| Ok((point, gradients.activation(point)?)));
        let there = there.collect::<Result<BTreeMap<_, _>>>()?;
        progress.step(1);
        let put_in = self.base_source().activations(model, tokens, &there)?;
        progress.step(1);
        let mut multiplied = Progress::of("attribution patching", there.len() as u64, "points");
        let products = there.iter().map(|(point, there)| {
            let gradient = gradients.get(*point).ok();
            if gradient.is_none() && !model.frozen().is_empty() {
                return Err(Error::argument(format!(
                    "no gradient of the metric reaches {point}, because frozen parts, {:?}, or the end of the model \
                     block it: leave this point out, or use the model without them (with_frozen([])).",
                    model.frozen()
                )));
            }
            let product = Product::new(&put_in[point], there, gradient.as_ref())?;
            multiplied.step(1);
            Ok((*point, product))
        });
        let products = products.collect::<Result<_>>()?;
        Ok(Attribution { experiment: self.clone(), base, products, gradients })
    }
}

impl Attribution {
    /// The estimates along these axes, in the form of [`Experiment::sweep`] and from no further run.
    ///
    /// # Shapes
    /// One axis for each given.
    ///
    /// # Errors
    /// A point that was not named when the attribution was made; and as [`Experiment::sweep`].
    pub fn sweep(&self, point: impl Into<HookQuery>, axes: &[AxisName]) -> Result<PatchResult> {
        let (model, tokens) = (&self.experiment.model, self.experiment.base_tokens());
        let _work = Progress::opaque("adding up estimates");
        let grid = Grid::new(model, tokens, point.into(), axes)?;
        grid.sites.iter().try_for_each(|site| self.experiment.check_there(site))?;
        let mut progress = Progress::of("adding up estimates", grid.sites.len() as u64, "sites");
        let estimates = grid.sites.iter().map(|site| self.estimate(site).inspect(|_| progress.step(1)));
        let values = estimates.collect::<Result<_>>()?;
        let mut result = self.experiment.result(&grid.sites, values, grid.axes, &grid.what)?;
        let rules = model.rules().map_or(String::new(), |rules| format!(" with {rules}"));
        for part in [&mut result.raw, &mut result.normalised, &mut result.per_prompt] {
            part.title = format!("{}, estimated by gradients{rules}", part.title);
        }
        Ok(result)
    }

    /// The gradients of the base run's metric at the points.
    pub fn gradients(&self) -> Gradients {
        self.gradients.clone()
    }

    /// The metric of each prompt with one site patched, to first order.
    fn estimate(&self, site: &PatchSite) -> Result<(Vec<f32>, Option<Untouched>)> {
        let product = self.products.get(&site.point()).ok_or_else(|| {
            Error::argument(format!(
                "{} was not among the points of this attribution: name it in Experiment::attribution.",
                site.point()
            ))
        })?;
        let chosen = site.chosen(&product.shape)?;
        let is_chosen = |prompt: &usize| chosen[0].as_ref().is_none_or(|prompts| prompts.contains(prompt));
        let inner = product.values.len() / product.shape[0].max(1);
        let mut differs = false;
        let each = self.base.iter().enumerate().map(|(prompt, base)| {
            let mut sum = 0.;
            if is_chosen(&prompt) {
                visit(&product.shape[1..], &chosen[1..], prompt * inner, &mut |at| {
                    sum += f64::from(product.values[at]);
                    differs |= product.differs[at];
                });
            }
            (f64::from(*base) + sum) as f32
        });
        let each: Vec<f32> = each.collect();
        let untouched = match (self.experiment.has_path(site), differs) {
            (false, _) => Some(Untouched::NoPath),
            (true, false) => Some(Untouched::Identical),
            _ => None,
        };
        Ok((if untouched.is_some() { self.base.clone() } else { each }, untouched))
    }
}

impl Product {
    fn new(put_in: &Tensor, there: &Tensor, gradient: Option<&Tensor>) -> Result<Self> {
        let numbers = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (put_in, old) = (numbers(put_in)?, numbers(there)?);
        let differs: Vec<bool> = put_in.iter().zip(&old).map(|(new, old)| new != old).collect();
        let values = match gradient {
            // Equal numbers may be infinite, in masked scores, and have no difference.
            Some(gradient) => {
                let parts = numbers(gradient)?.into_iter().zip(put_in.iter().zip(&old)).zip(&differs);
                parts.map(|((g, (new, old)), &differs)| if differs { g * (new - old) } else { 0. }).collect()
            }
            None => vec![0.; old.len()],
        };
        Ok(Self { shape: there.dims().to_vec(), values, differs })
    }
}

/// Refuses points outside the blocks, where nothing is swept.
pub(super) fn check_inside(points: &[HookPoint]) -> Result<()> {
    match points.iter().find(|point| point.layer().is_none()) {
        Some(outside) => Err(Error::argument(format!(
            "{outside} is outside the blocks, where nothing is attributed: take a point of a block, (\"resid_pre\", 0) \
             in place of embeddings and (\"resid_post\", -1) in place of the final norm. Gradients are available at \
             every point (run_with_grads)."
        ))),
        None => Ok(()),
    }
}

/// Calls `work` with the index of every element among those chosen along each axis, in an array of this shape that begins at
/// `from`.
pub(super) fn visit(shape: &[usize], chosen: &[Option<Vec<usize>>], from: usize, work: &mut impl FnMut(usize)) {
    let (Some((&size, shape)), Some((of_axis, chosen))) = (shape.split_first(), chosen.split_first()) else {
        return work(from);
    };
    let inner: usize = shape.iter().product();
    let mut go = |index: usize| visit(shape, chosen, from + index * inner, work);
    match of_axis {
        Some(indices) => indices.iter().copied().for_each(&mut go),
        None => (0..size).for_each(go),
    }
}

impl fmt::Debug for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribution({} points of {:?})", self.products.len(), self.experiment)
    }
}
