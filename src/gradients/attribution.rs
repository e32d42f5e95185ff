//! Attribution patching: what activation patching would find, to first order (Nanda 2023,
//! <https://www.neelnanda.io/mechanistic-interpretability/attribution-patching>; Syed, Rager and Conmy 2023,
//! <https://arxiv.org/abs/2310.10348>).
//!
//! `metric with the site patched = metric of the base run + sum over the site of gradient * (patched in - there)`, with
//! the gradient of the base run. Two forward runs and one backward run serve every site. The estimate is exact where the model
//! is linear between the two activations, and worst where patching moves a softmax or a norm far: check it with
//! [`Comparison`](crate::experiment::Comparison). [`AttributionOptions`] has what AtP* does about the first, and
//! [`Experiment::with_frozen`] what RelP does about norms and neurons.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::Tensor;

use super::change::{Change, Product, products};
use super::options::AttributionOptions;
use super::query_key::is_fixed;
use super::run::Evaluator;
use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::hooks::{AxisName, Gradients, HookPoint, HookQueries, HookQuery, Site};
use crate::host;
use crate::model::{Run, RunOptions};
use crate::patching::{Grid, PatchResult, PatchSite, Untouched};
use crate::progress::Progress;
use crate::variables::holds;

/// First-order estimates of patching at the given points. Made by [`Experiment::attribution`].
#[derive(Clone)]
pub struct Attribution {
    pub(super) experiment: Experiment,
    pub(super) options: AttributionOptions,
    /// The base run's metric of each prompt.
    base: Vec<f32>,
    /// What patching each element of a point adds, and where it changes nothing.
    products: BTreeMap<HookPoint, Product>,
    gradients: Gradients,
}

holds! {
    Attribution { experiment, base, products, gradients }
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
        self.attribution_with(points, AttributionOptions::default())
    }

    /// As [`Experiment::attribution`], with the query-key fix or GradDrop, the two parts of AtP*.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let attribution = experiment.attribution_with(("q", "k"), AttributionOptions::ATP_STAR)?;
    /// let queries = attribution.sweep("q", &[AxisName::Layer, AxisName::Head])?;
    /// let sizes = attribution.grad_drop("q", &[AxisName::Layer, AxisName::Head])?;
    /// assert_eq!(queries.raw.shape(), sizes.shape());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Experiment::attribution`]; the query-key fix without queries or keys among the points, or of norms over all heads;
    /// GradDrop in a model of one block, or of more numbers than the budget holds; either with something spliced in.
    pub fn attribution_with(&self, points: impl Into<HookQueries>, options: AttributionOptions) -> Result<Attribution> {
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
        options.check(self, &points)?;
        let evaluator = Evaluator { metric, clean: Some(clean) };
        let blocks = if options.grad_drop { model.cfg().n_layers } else { 0 };
        let mut progress = Progress::of("attribution patching", 3 + blocks as u64, "steps");
        let plan = options.plan(&points);
        let (base, all, run) = evaluator.gradients_and_run(model, tokens, &plan, RunOptions::default())?;
        let base = host::numbers(&base)?;
        let gradients = all.only(&points);
        let there = gradients.points().into_iter().map(|point| Ok((point, gradients.activation(point)?)));
        let there = there.collect::<Result<BTreeMap<_, _>>>()?;
        progress.step(1)?;
        let put_in = self.base_source().activations(model, tokens, &there)?;
        progress.step(1)?;
        let mut multiplied = Progress::of("attribution patching", there.len() as u64, "points");
        let (mut changes, mut gradients_there) = (BTreeMap::new(), Vec::new());
        for (&point, there) in &there {
            let change = match options.qk_fix && is_fixed(point) {
                true => Change::fixed(self, point, &queries_and_keys(&run, point)?, &put_in[&point])?,
                false => Change::new(point, &put_in[&point], there)?,
            };
            let gradient = all.get(change.read_at()).ok();
            if gradient.is_none() && !model.frozen().is_empty() {
                return Err(Error::argument(format!(
                    "no gradient of the metric reaches {point}, because frozen parts, {:?}, or the end of the model \
                     block it: leave this point out, or use the model without them (with_frozen([])).",
                    model.frozen()
                )));
            }
            gradients_there.push(gradient);
            changes.insert(point, change);
            multiplied.step(1)?;
        }
        let mut products = products(&changes, gradients_there)?;
        progress.step(1)?;
        if options.grad_drop {
            progress.together(blocks);
            super::grad_drop::drop_blocks(&changes, &mut products, (&all, &run), model.cfg().n_layers)?;
        }
        Ok(Attribution { experiment: self.clone(), options, base, products, gradients })
    }
}

/// The queries and keys of the layer that this point is in, of a run that captured them.
fn queries_and_keys(run: &Run, point: HookPoint) -> Result<[Tensor; 2]> {
    let of = |site| {
        let there = point.layer().and_then(|layer| run.captured.get(&HookPoint::Block(layer, site)));
        there.cloned().ok_or_else(|| Error::argument(format!("{point} has no queries and keys.")))
    };
    Ok([of(Site::Q)?, of(Site::K)?])
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
        self.check_whole(&grid.sites, axes)?;
        grid.sites.iter().try_for_each(|site| self.experiment.check_there(site))?;
        let mut progress = Progress::of("adding up estimates", grid.sites.len() as u64, "sites");
        let estimates =
            grid.sites.iter().map(|site| self.estimate(site).and_then(|found| progress.step(1).map(|()| found)));
        let values = estimates.collect::<Result<_>>()?;
        let mut result = self.experiment.result(&grid.sites, values, grid.axes.clone(), &grid.what)?;
        let rules = model.rules().map_or(String::new(), |rules| format!(" with {rules}"));
        let fix = if self.has_fix(&grid.sites) { ", query-key fix" } else { "" };
        for part in [&mut result.raw, &mut result.normalised, &mut result.per_prompt] {
            part.title = format!("{}, estimated by gradients{rules}{fix}", part.title);
        }
        Ok(result)
    }

    /// The gradients of the base run's metric at the points.
    pub fn gradients(&self) -> Gradients {
        self.gradients.clone()
    }

    /// Whether the query-key fix is of these sites.
    fn has_fix(&self, sites: &[PatchSite]) -> bool {
        self.options.qk_fix && sites.iter().any(|site| is_fixed(site.point()))
    }

    /// Refuses single coordinates of queries and keys, of which the query-key fix has no term.
    pub(super) fn check_whole(&self, sites: &[PatchSite], axes: &[AxisName]) -> Result<()> {
        match self.has_fix(sites) && axes.contains(&AxisName::DHead) {
            true => Err(Error::argument(
                "the query-key fix is of whole queries and keys, so it cannot be swept over AxisName::DHead: leave that \
                 axis out, or make the attribution without AttributionOptions::qk_fix.",
            )),
            false => Ok(()),
        }
    }

    /// What patching each element of a site's point adds.
    pub(super) fn product(&self, site: &PatchSite) -> Result<&Product> {
        self.products.get(&site.point()).ok_or_else(|| {
            Error::argument(format!(
                "{} was not among the points of this attribution: name it in Experiment::attribution.",
                site.point()
            ))
        })
    }

    /// The metric of each prompt with one site patched, to first order.
    fn estimate(&self, site: &PatchSite) -> Result<(Vec<f32>, Option<Untouched>)> {
        let product = self.product(site)?;
        let chosen = site.chosen(&product.shape)?;
        let mut differs = false;
        let each = self.base.iter().enumerate().map(|(prompt, base)| {
            differs |= product.differs(&chosen, prompt);
            (f64::from(*base) + product.terms.sum(&product.shape, &chosen, prompt)) as f32
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
