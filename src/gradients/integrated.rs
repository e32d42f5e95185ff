//! Integrated gradients of activations (Sundararajan, Taly and Yan 2017, <https://arxiv.org/abs/1703.01365>), layer by layer
//! as captum's `LayerIntegratedGradients`.
//!
//! `attribution = (x - x0) * integral from 0 to 1 of gradient F(x0 + a (x - x0)) da`, where `F` is the metric of the run as a
//! function of the activation at one point, `x` the activation there and `x0` its baseline. The attributions of a point sum
//! to `F(x) - F(x0)` (completeness); what is missing to that is the error of the quadrature and is always told.
//!
//! Points are interpolated one by one, each with everything before it as it is in the run. A baseline of other prompts makes
//! `F(x) - F(x0)` the effect of patching the whole point with their activations.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use candle_core::{DType, Tensor};

use super::attribution::{check_inside, visit};
use super::rule::IgRule;
use super::run::Judge;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, Edit, HookPlan, HookPoint, HookQueries, HookQuery, Site};
use crate::labelled::{Axis, Labelled};
use crate::metrics::Metric;
use crate::model::{HookedTransformer, RunOptions};
use crate::patching::{Grid, check_alike};
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::wide::widened;

/// Where the interpolation begins.
#[derive(Clone, Debug, Default)]
pub enum IgBaseline {
    /// Activations of zero.
    #[default]
    Zero,
    /// The activations of a run of other prompts, as many and as long as those that are attributed.
    Run(Input),
}

impl IgBaseline {
    /// The activations of a run of these prompts: texts, ids or tokens.
    pub fn run(prompts: impl Into<Input>) -> Self {
        Self::Run(prompts.into())
    }
}

/// How integrated gradients are computed.
#[derive(Clone, Debug)]
pub struct IgOptions {
    /// Where the interpolation begins.
    pub baseline: IgBaseline,
    /// The rule of quadrature.
    pub rule: IgRule,
    /// How many places of the interpolation are asked.
    pub steps: usize,
    /// How many tokens are run at once, all copies of the prompts together; at least one copy is.
    pub tokens_at_once: usize,
}

impl Default for IgOptions {
    fn default() -> Self {
        Self { baseline: IgBaseline::Zero, rule: IgRule::GaussLegendre, steps: 50, tokens_at_once: 1024 }
    }
}

/// Integrated gradients at some points, with what they should sum to. Made by
/// [`HookedTransformer::integrated_gradients`].
#[derive(Clone)]
pub struct IntegratedGradients {
    /// What the metric is called.
    pub metric: String,
    /// The rule, and how many steps it had.
    pub rule: (IgRule, usize),
    /// The metric of the run minus that with the point at its baseline, for each point and prompt: what the attributions
    /// should sum to, `[point, prompt]`.
    pub effect: Labelled,
    /// The sum of the attributions minus the effect, for each point and prompt, `[point, prompt]`: captum's `delta`.
    pub completeness_error: Labelled,
    model: HookedTransformer,
    tokens: Tokens,
    attributions: BTreeMap<HookPoint, Tensor>,
}

impl HookedTransformer {
    /// Integrated gradients of a metric along the activations at each of these points. A site without a layer (`"z"`) is
    /// meant in every layer; points of different kinds are a tuple, `("result", ("post", 3))`.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
    /// let options = IgOptions { baseline: IgBaseline::run(corrupted), steps: 10, ..Default::default() };
    /// let attributed = model.integrated_gradients(clean, &metric, ["z"], &options)?;
    /// assert_eq!(attributed.heads()?.shape(), [model.cfg().n_layers, model.cfg().n_heads]);
    /// assert!(attributed.completeness_error.values.iter().all(|error| error.abs() < 0.1));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A metric without gradient, KL divergence, no points, points outside the blocks, baseline prompts that are not as many
    /// and as long, a number of steps that the rule does not have, a model with frozen parts; and as [`HookedTransformer::run`].
    pub fn integrated_gradients(
        &self,
        input: impl Into<Input>,
        metric: &Metric,
        points: impl Into<HookQueries>,
        options: &IgOptions,
    ) -> Result<IntegratedGradients> {
        let model = self.without_weight_gradients();
        let tokens = self.to_tokens(input)?;
        if !self.frozen().is_empty() {
            return Err(Error::argument(format!(
                "the model has frozen parts, {:?}, so its gradients are not those of the function that would be integrated and \
                 do not sum to its change: give the ordinary model (with_frozen([])), or take run_with_grads.",
                self.frozen()
            )));
        }
        let nodes = options.rule.nodes(options.steps)?;
        let chosen = points.into().resolve_all(&self.dims())?;
        let metric = &metric.bind(&tokens, self.cfg().d_vocab_out())?;
        let judge = Judge { metric, clean: None };
        judge.check()?;
        let mut progress = Progress::of("integrating gradients", chosen.len() as u64, "points");
        let ends = ends(&model, &tokens, &options.baseline, &chosen)?;
        let (reached, _) = judge.judged(&model, &tokens, &HookPlan::new(), RunOptions::default())?;
        let reached = reached.to_vec1::<f32>()?;
        let copies = (options.tokens_at_once / (tokens.batch() * tokens.pos()).max(1)).max(1);
        let way = Way { model: &model, tokens: &tokens, judge: &judge, nodes: &nodes, copies };
        let (mut attributions, mut effects, mut errors) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (point, (x, x0)) in ends {
            let (attribution, at_baseline) = way.attribute(point, &x, &x0)?;
            let sums = attribution.flatten_from(1)?.to_dtype(DType::F64)?.sum(1)?.to_vec1::<f64>()?;
            for ((sum, reached), baseline) in sums.iter().zip(&reached).zip(at_baseline) {
                effects.push(reached - baseline);
                errors.push((sum - f64::from(reached - baseline)) as f32);
            }
            attributions.insert(point, attribution);
            progress.step(1);
        }
        let axes = || {
            vec![Axis::new("point", chosen.iter().map(HookPoint::to_string)), Axis::numbered("prompt", tokens.batch())]
        };
        Ok(IntegratedGradients {
            metric: metric.name().into(),
            rule: (options.rule, options.steps),
            effect: Labelled::new("metric minus that at the baseline", axes(), effects)?,
            completeness_error: Labelled::new("sum of attributions minus effect", axes(), errors)?,
            model: self.clone(),
            tokens: tokens.clone(),
            attributions,
        })
    }
}

/// Activations and baselines of the points, all checked.
fn ends(
    model: &HookedTransformer,
    tokens: &Tokens,
    baseline: &IgBaseline,
    points: &[HookPoint],
) -> Result<Vec<(HookPoint, (Tensor, Tensor))>> {
    if points.is_empty() {
        return Err(Error::argument("no point was given to attribute to: name at least one, such as \"z\"."));
    }
    check_inside(points)?;
    if let (IgBaseline::Zero, Some(point)) = (baseline, points.iter().find(|point| !point.kind().has_zero())) {
        return Err(Error::argument(format!(
            "zero is not a baseline for {point}: a score of zero is one that is not masked, and a norm divides by its scale. Give \
             other prompts (IgBaseline::run)."
        )));
    }
    let capture = |tokens: &Tokens| {
        let plan = points.iter().fold(HookPlan::new(), |plan, point| plan.capture(*point));
        let options = RunOptions { logits: false, ..Default::default() };
        Ok::<_, Error>(model.run(tokens, plan, &options)?.captured)
    };
    let here = match baseline {
        IgBaseline::Zero => None,
        IgBaseline::Run(input) => {
            let other = model.to_tokens(input.clone())?;
            if check_alike(tokens, &other).is_err() {
                return Err(Error::tokens(format!(
                    "the baseline has {} prompts of {:?} tokens, but {} prompts of {:?} are attributed: each needs a \
                     counterpart of its length, padded on the same side.",
                    other.batch(),
                    other.lengths(),
                    tokens.batch(),
                    tokens.lengths()
                )));
            }
            Some(capture(&other)?)
        }
    };
    let x = capture(tokens)?;
    let both = x.into_iter().map(|(point, x)| {
        let x0 = match &here {
            Some(of) => of[&point].clone(),
            None => x.zeros_like()?,
        };
        Ok((point, (x, x0)))
    });
    both.collect()
}

/// What every point's interpolation has in common.
struct Way<'a> {
    model: &'a HookedTransformer,
    tokens: &'a Tokens,
    judge: &'a Judge<'a>,
    nodes: &'a [(f64, f64)],
    copies: usize,
}

impl Way<'_> {
    /// The attributions of a point, and the metric of each prompt with the point at its baseline.
    fn attribute(&self, point: HookPoint, x: &Tensor, x0: &Tensor) -> Result<(Tensor, Vec<f32>)> {
        // In half precision the places on the way would be rounded twice, and the difference that all is multiplied with.
        let (x, x0) = (&widened(x)?, &widened(x0)?);
        let layer = point.layer().expect("points are inside the blocks");
        let entering = HookPoint::Block(layer, Site::ResidPre);
        let keep = HookPlan::new().capture(entering);
        let options = RunOptions { stop_at_layer: Some(layer as isize + 1), ..Default::default() };
        let resid = self.model.run(self.tokens, keep, &options)?.captured.remove(&entering).expect("it was captured");
        let difference = self.difference(x, x0)?;
        let start = |copies| -> Result<RunOptions> {
            let resid = Tensor::cat(&vec![&resid; copies], 0)?;
            Ok(RunOptions { start_at_layer: Some((layer as isize, resid)), ..Default::default() })
        };
        let mut total = x.zeros_like()?.to_dtype(DType::F32)?;
        let mut progress = Progress::of("integrating gradients", self.nodes.len() as u64 + 1, "places");
        for nodes in self.nodes.chunks(self.copies) {
            progress.together(nodes.len());
            let places = nodes.iter().map(|(place, _)| Ok((x0 + (&difference * *place)?)?));
            let value = Tensor::cat(&places.collect::<Result<Vec<_>>>()?, 0)?;
            let plan = HookPlan::new().edit(point, Edit::replace(value)).watch(point);
            let tokens = self.tokens.repeated(nodes.len());
            let (_, gradients) = self.judge.gradients(self.model, &tokens, &plan, start(nodes.len())?)?;
            let gradient = gradients.get(point)?;
            for (copy, (_, weight)) in nodes.iter().enumerate() {
                let own = gradient.narrow(0, copy * x.dim(0)?, x.dim(0)?)?.to_dtype(DType::F32)?;
                total = (total + (own * *weight)?)?;
            }
            progress.step(nodes.len() as u64);
        }
        let plan = HookPlan::new().edit(point, Edit::replace(x0.clone()));
        let (at_baseline, _) = self.judge.judged(self.model, self.tokens, &plan, start(1)?)?;
        Ok(((total * difference.to_dtype(DType::F32)?)?, at_baseline.to_vec1()?))
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
        let point = point.into().resolve(&self.model.dims())?;
        self.attributions.get(&point).cloned().ok_or_else(|| self.missing(point))
    }

    fn missing(&self, point: HookPoint) -> Error {
        Error::argument(format!("{point} was not attributed to: name it among the points of integrated_gradients."))
    }

    /// The attributions summed to these axes, the mean over prompts (at a position, those that have a token there):
    /// `sweep("z", &[AxisName::Layer, AxisName::Head])`.
    ///
    /// # Shapes
    /// One axis for each given.
    ///
    /// # Errors
    /// A point that was not attributed to; and as [`Patching::sweep`](crate::patching::Patching::sweep).
    pub fn sweep(&self, point: impl Into<HookQuery>, axes: &[AxisName]) -> Result<Labelled> {
        let _work = Progress::opaque("adding up gradients");
        let grid = Grid::new(&self.model, &self.tokens, point.into(), axes)?;
        let mut numbers: BTreeMap<HookPoint, Vec<f32>> = BTreeMap::new();
        let mut values = Vec::with_capacity(grid.sites.len());
        let mut progress = Progress::of("adding up gradients", grid.sites.len() as u64, "sites");
        for site in &grid.sites {
            let tensor = self.attributions.get(&site.point()).ok_or_else(|| self.missing(site.point()))?;
            let of_point = match numbers.entry(site.point()) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?),
            };
            let (mut sum, mut chosen) = (0., site.chosen(tensor.dims())?);
            let prompts = site.prompts(&self.tokens);
            for &prompt in &prompts {
                chosen[0] = Some(vec![prompt]);
                visit(tensor.dims(), &chosen, 0, &mut |at| sum += f64::from(of_point[at]));
            }
            values.push((sum / prompts.len() as f64) as f32);
            progress.step(1);
        }
        Labelled::new(format!("integrated gradients of {}, {}", self.metric, grid.what), grid.axes, values)
    }

    /// What each head adds, `[layer, head]`: the sum over positions and dimensions of `z`, or of `hook_result` where that is
    /// what was attributed to. Both are the same numbers, for the one is a linear function of the other.
    ///
    /// # Errors
    /// Where neither `"z"` nor `"result"` is among the points in every layer.
    pub fn heads(&self) -> Result<Labelled> {
        let layers = |site| {
            self.attributions.keys().filter(|point| matches!(point, HookPoint::Block(_, s) if *s == site)).count()
        };
        let point = if layers(Site::Result) > layers(Site::Z) { "result" } else { "z" };
        self.sweep(point, &[AxisName::Layer, AxisName::Head])
    }

    /// What each neuron adds, `[layer, neuron]`: the sum over positions of `mlp.hook_post`.
    ///
    /// # Errors
    /// Where `"post"` is not among the points in every layer; a model without MLPs.
    pub fn neurons(&self) -> Result<Labelled> {
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
