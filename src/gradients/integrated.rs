//! Integrated gradients of activations (Sundararajan, Taly and Yan 2017, <https://arxiv.org/abs/1703.01365>), layer by layer
//! as captum's `LayerIntegratedGradients`.
//!
//! `attribution = (x - x0) * integral from 0 to 1 of gradient F(x0 + a (x - x0)) da`, where `F` is the metric of the run as a
//! function of the activation at one point, `x` the activation there and `x0` its baseline. The attributions of a point sum
//! to `F(x) - F(x0)` (completeness); the difference is the error of the quadrature and is always reported.
//!
//! Points are interpolated one at a time, each with everything upstream as it is in the clean run. A baseline of other prompts makes
//! `F(x) - F(x0)` the effect of patching the whole point with their activations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use candle_core::{DType, Tensor};

use super::attribution::{check_inside, visit};
use super::run::Evaluator;
use crate::error::{Error, Result};
use crate::experiment::{Effect, Experiment, Levels, PerPrompt, Quadrature, Scale, Source, captured};
use crate::hooks::{AxisName, Edit, HookPlan, HookPoint, HookQueries, HookQuery, Site};
use crate::host;
use crate::labelled::{Axis, Labelled};
use crate::model::{HookedTransformer, RunOptions};
use crate::patching::{Grid, PatchSite};
use crate::progress::Progress;
use crate::tokens::Tokens;
use crate::variables::holds;
use crate::wide::widened;

/// How integrated gradients are computed. A number of steps converts into it.
#[derive(Clone, Debug)]
pub struct IgOptions {
    /// The quadrature rule.
    pub rule: Quadrature,
    /// Number of interpolation steps.
    pub steps: usize,
    /// How many tokens are run at once, all copies of the prompts together; at least one copy is.
    pub tokens_at_once: usize,
}

impl Default for IgOptions {
    fn default() -> Self {
        Self { rule: Quadrature::GaussLegendre, steps: 50, tokens_at_once: 1024 }
    }
}

impl From<usize> for IgOptions {
    fn from(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }
}

/// Integrated gradients at some points, with what they should sum to. Made by
/// [`Experiment::integrated_gradients`].
#[derive(Clone)]
pub struct IntegratedGradients {
    /// What the metric is called.
    pub metric: String,
    /// The rule, and its number of steps.
    pub rule: (Quadrature, usize),
    /// The metric of the run minus that with the point at its baseline, for each point and prompt: what the attributions
    /// should sum to, `[point, prompt]`.
    pub effect: Labelled,
    /// The sum of the attributions minus the effect, for each point and prompt, `[point, prompt]`: captum's `delta`.
    pub completeness_error: Labelled,
    experiment: Experiment,
    attributions: BTreeMap<HookPoint, Tensor>,
}

holds! {
    IntegratedGradients { metric, effect, completeness_error, experiment, attributions }
}

impl Experiment {
    /// Integrated gradients of the metric along the clean run's activations at each of these points, from what the baseline puts
    /// in their place. A site without a layer (`"z"`) is meant in every layer; points of different kinds are a tuple,
    /// `("result", ("post", 3))`. The direction of patching (noising or not) makes no difference.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let attributed = experiment.integrated_gradients(["z"], IgOptions { steps: 10, ..Default::default() })?;
    /// assert_eq!(attributed.heads()?.values.shape(), [model.cfg().n_layers, model.cfg().n_heads]);
    /// assert!(attributed.completeness_error.values().iter().all(|error| error.abs() < 0.1));
    /// // What each head loses by patching, and by its share in the integral.
    /// let patched = experiment.noising()?.get_act_patch_attn_head_out_all_pos()?;
    /// assert!(Comparison::new(&patched, &attributed.heads()?)?.pearson > 0.9);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A metric without gradient, no points, points outside the blocks, a baseline of zero where zero is not an activation (scores,
    /// scales of norms), a number of steps that the rule does not have, a model with frozen parts; and as
    /// [`HookedTransformer::run`](crate::model::HookedTransformer::run).
    pub fn integrated_gradients(
        &self,
        points: impl Into<HookQueries>,
        options: impl Into<IgOptions>,
    ) -> Result<IntegratedGradients> {
        let metric = self.one_metric("a gradient that is integrated")?;
        let (model, tokens, options) = (&self.model, &self.tokens, options.into());
        if !model.frozen().is_empty() {
            return Err(Error::argument(format!(
                "the model has frozen parts, {:?}, so its gradients are not those of the function that would be \
                 integrated and do not sum to its change: give the ordinary model (with_frozen([])), or take \
                 run_with_grads.",
                model.frozen()
            )));
        }
        let nodes = options.rule.nodes(options.steps)?;
        let chosen = model.points_of_all(&points.into())?;
        let evaluator = Evaluator { metric, clean: Some(&self.clean_logits) };
        evaluator.check()?;
        let mut progress = Progress::of("integrating gradients", chosen.len() as u64, "points");
        self.forget_first_runs();
        let ends = self.ends(&chosen)?;
        let copies = (options.tokens_at_once / (tokens.batch() * tokens.pos()).max(1)).max(1);
        let path = Interpolation { model, tokens, evaluator: &evaluator, nodes: &nodes, copies };
        let (mut attributions, mut sums, mut baselines) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (point, (x, x0)) in ends {
            let (attribution, at_baseline) = path.attribute(point, &x, &x0)?;
            sums.push(attribution.flatten_from(1)?.to_dtype(DType::F64)?.sum(1)?);
            baselines.push(at_baseline);
            attributions.insert(point, attribution);
            progress.step(1)?;
        }
        let (sums, baselines) = (host::numbers_of_all::<f64>(&sums)?, host::numbers_of_all::<f32>(&baselines)?);
        let (mut effects, mut errors) = (Vec::new(), Vec::new());
        for (sums, baselines) in sums.into_iter().zip(baselines) {
            for ((sum, reached), baseline) in sums.iter().zip(&self.clean_values).zip(baselines) {
                effects.push(reached - baseline);
                errors.push((sum - f64::from(reached - baseline)) as f32);
            }
        }
        let axes = || {
            vec![Axis::new("point", chosen.iter().map(HookPoint::to_string)), Axis::numbered("prompt", tokens.batch())]
        };
        Ok(IntegratedGradients {
            metric: metric.name().into(),
            rule: (options.rule, options.steps),
            effect: Labelled::new("metric minus that at the baseline", axes(), effects)?,
            completeness_error: Labelled::new("sum of attributions minus effect", axes(), errors)?,
            experiment: self.clone(),
            attributions,
        })
    }

    /// Activations and baselines of the points, all checked.
    fn ends(&self, points: &[HookPoint]) -> Result<Vec<(HookPoint, (Tensor, Tensor))>> {
        if points.is_empty() {
            return Err(Error::argument("no point was given to attribute to: name at least one, such as \"z\"."));
        }
        check_inside(points)?;
        if let (Source::Zero, Some(point)) = (&self.source, points.iter().find(|point| !point.kind().has_zero())) {
            return Err(Error::argument(format!(
                "zero is not a baseline for {point}: a score of zero is one that is not masked, and a norm divides by \
                 its scale. Give the experiment other prompts as its baseline."
            )));
        }
        let x = captured(&self.model, &self.tokens, points)?;
        let mut x0 = self.source.activations(&self.model, &self.tokens, &x)?;
        Ok(x.into_iter().filter_map(|(point, x)| Some((point, (x, x0.remove(&point)?)))).collect())
    }
}

/// What the interpolations of all points have in common.
struct Interpolation<'a> {
    model: &'a HookedTransformer,
    tokens: &'a Tokens,
    evaluator: &'a Evaluator<'a>,
    nodes: &'a [(f64, f64)],
    copies: usize,
}

impl Interpolation<'_> {
    /// The attributions of a point, and the metric of each prompt with the point at its baseline, without what gradients need.
    fn attribute(&self, point: HookPoint, x: &Tensor, x0: &Tensor) -> Result<(Tensor, Tensor)> {
        // In half precision the interpolation points would be rounded twice, and so would the difference.
        let (x, x0) = (&widened(x)?, &widened(x0)?);
        let layer = point.layer().expect("points are inside the blocks");
        let entering = HookPoint::Block(layer, Site::ResidPre);
        let keep = HookPlan::new().capture(entering);
        let options = RunOptions { stop_at_layer: Some(layer as isize + 1), ..Default::default() };
        let resid = self.model.run(self.tokens, keep, &options)?.captured.remove(&entering).expect("it was captured");
        let difference = self.difference(x, x0)?;
        let start = |copies| -> Result<RunOptions> {
            // What a splice reads in an earlier block must be run as well.
            if !self.model.splices().are_by_block() {
                return Ok(RunOptions::default());
            }
            let resid = Tensor::cat(&vec![&resid; copies], 0)?;
            Ok(RunOptions { start_at_layer: Some((layer as isize, resid)), ..Default::default() })
        };
        let mut total = x.zeros_like()?.to_dtype(DType::F32)?;
        let mut progress = Progress::of("integrating gradients", self.nodes.len() as u64 + 1, "steps");
        for nodes in self.nodes.chunks(self.copies) {
            progress.together(nodes.len());
            let places = nodes.iter().map(|(place, _)| Ok((x0 + (&difference * *place)?)?));
            let value = Tensor::cat(&places.collect::<Result<Vec<_>>>()?, 0)?;
            let plan = HookPlan::new().edit(point, Edit::replace(value)).watch(point);
            let tokens = self.tokens.repeated(nodes.len());
            let (_, gradients) = self.evaluator.gradients(self.model, &tokens, &plan, start(nodes.len())?)?;
            let gradient = gradients.get(point)?;
            for (copy, (_, weight)) in nodes.iter().enumerate() {
                let own = gradient.narrow(0, copy * x.dim(0)?, x.dim(0)?)?.to_dtype(DType::F32)?;
                total = (total + (own * *weight)?)?;
            }
            progress.step(nodes.len() as u64)?;
        }
        let plan = HookPlan::new().edit(point, Edit::replace(x0.clone()));
        let (at_baseline, _) = self.evaluator.evaluated(self.model, self.tokens, &plan, start(1)?)?;
        Ok(((total * difference.to_dtype(DType::F32)?)?, at_baseline.detach()))
    }

    /// `x - x0`; masked scores, which are infinite in both, do not differ.
    fn difference(&self, x: &Tensor, x0: &Tensor) -> Result<Tensor> {
        Ok(x.eq(x0)?.where_cond(&x.zeros_like()?, &(x - x0)?)?)
    }
}

impl IntegratedGradients {
    /// The attributions at a point.
    ///
    /// # Shapes
    /// The activation's, batch axis included.
    ///
    /// # Errors
    /// A point that was not attributed to.
    pub fn get(&self, point: impl Into<HookQuery>) -> Result<Tensor> {
        let point = self.experiment.model.point_of(&point.into())?;
        self.attributions.get(&point).cloned().ok_or_else(|| self.missing(point))
    }

    fn missing(&self, point: HookPoint) -> Error {
        Error::argument(format!("{point} was not attributed to: name it among the points of integrated_gradients."))
    }

    /// The attributions summed to these axes, the mean over prompts (at a position, those that have a token there):
    /// `sweep("z", &[AxisName::Layer, AxisName::Head])`. They say what the metric loses ([`Scale::Lost`]).
    ///
    /// # Shapes
    /// One axis for each given.
    ///
    /// # Errors
    /// A point that was not attributed to; and as [`Experiment::sweep`].
    pub fn sweep(&self, point: impl Into<HookQuery>, axes: &[AxisName]) -> Result<Effect> {
        let _work = Progress::opaque("adding up gradients");
        let tokens = &self.experiment.tokens;
        let grid = Grid::new(&self.experiment.model, tokens, point.into(), axes)?;
        let points: BTreeSet<HookPoint> = grid.sites.iter().map(PatchSite::point).collect();
        let of = |&point| self.attributions.get(&point).ok_or_else(|| self.missing(point));
        let numbers = host::numbers_of_all::<f32>(&points.iter().map(of).collect::<Result<Vec<_>>>()?)?;
        let numbers: BTreeMap<HookPoint, Vec<f32>> = points.into_iter().zip(numbers).collect();
        let mut values = Vec::with_capacity(grid.sites.len());
        let (mut clean_levels, mut corrupted_levels) = (Vec::new(), Vec::new());
        let (mut each, mut there) = (Vec::new(), Vec::new());
        let mut progress = Progress::of("adding up gradients", grid.sites.len() as u64, "sites");
        for site in &grid.sites {
            let (shape, of_point) = (self.attributions[&site.point()].dims(), &numbers[&site.point()]);
            let mut chosen = site.chosen(shape)?;
            let prompts = site.prompts(tokens);
            let mut lost = vec![0.; tokens.batch()];
            for &prompt in &prompts {
                chosen[0] = Some(vec![prompt]);
                visit(shape, &chosen, 0, &mut |at| lost[prompt] += f64::from(of_point[at]));
            }
            values.push((lost.iter().sum::<f64>() / prompts.len() as f64) as f32);
            let clean = &self.experiment.clean_values;
            each.extend(clean.iter().zip(&lost).map(|(&clean, lost)| (f64::from(clean) - lost) as f32));
            there.extend((0..tokens.batch()).map(|prompt| prompts.contains(&prompt)));
            let (clean, corrupted) = self.experiment.means(0, &prompts);
            clean_levels.push(clean);
            corrupted_levels.push(corrupted);
            progress.step(1)?;
        }
        let title = format!("integrated gradients of {}, {}", self.metric, grid.what);
        let with_prompts = [&grid.axes[..], &[Axis::numbered("prompt", tokens.batch())]].concat();
        let each = Labelled::new(title.clone(), with_prompts, each)?;
        let runs = PerPrompt::new(&self.experiment, &each.shape(), there)?;
        let values = Labelled::new(title, grid.axes, values)?;
        let levels = Levels::new(&values.shape(), clean_levels, corrupted_levels);
        Ok(Effect::of(values, Scale::Lost, levels).by_prompt(each, runs))
    }

    /// What is lost by each head, `[layer, head]`: the sum over positions and dimensions of `z`, or of `hook_result` if that was
    /// attributed instead. Both give the same numbers, because `z` determines `result` linearly.
    ///
    /// # Errors
    /// Where neither `"z"` nor `"result"` is among the points in every layer.
    pub fn heads(&self) -> Result<Effect> {
        let layers = |site| {
            self.attributions.keys().filter(|point| matches!(point, HookPoint::Block(_, s) if *s == site)).count()
        };
        let point = if layers(Site::Result) > layers(Site::Z) { "result" } else { "z" };
        self.sweep(point, &[AxisName::Layer, AxisName::Head])
    }

    /// What is lost by each neuron, `[layer, neuron]`: the sum over positions of `mlp.hook_post`.
    ///
    /// # Errors
    /// Where `"post"` is not among the points in every layer; a model without MLPs.
    pub fn neurons(&self) -> Result<Effect> {
        self.sweep("post", &[AxisName::Layer, AxisName::DMlp])
    }

    /// The points, in the order of the forward pass.
    pub fn points(&self) -> Vec<HookPoint> {
        self.attributions.keys().copied().collect()
    }
}

impl fmt::Debug for IntegratedGradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntegratedGradients({} points, {} with {} steps)", self.attributions.len(), self.rule.0, self.rule.1)
    }
}
