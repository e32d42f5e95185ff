//! Function vectors: the direction in which examples in a prompt say what is to be done (Todd et al. 2024,
//! <https://arxiv.org/abs/2310.15213>).
//!
//! Shuffled prompts have examples that show no function. The average indirect effect of head `h` of layer `l` is
//! `AIE[l, h] = mean over shuffled prompts of M(run with z[l, h] := mean over clean prompts of z[l, h]) - M(run)`, both `z` at the
//! last token, where `M` is the probability of the answer in the paper, and any metric here. The function vector is the sum over
//! the `k` heads of largest effect of what their mean `z` writes: `sum z W_O`, without biases.
//!
//! Limits: a mean over prompts wipes out what differs between them, so a head that carries something of each prompt may have a
//! negative effect for that reason alone. Heads are patched one at a time: two that back each other up have small effects.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::states::{states, tensor};
use super::vector::SteeringVector;
use crate::error::{Error, Result};
use crate::experiment::{Baseline, Experiment, captured};
use crate::head::Head;
use crate::hooks::{HookPoint, HookQuery, Site};
use crate::labelled::{Axis, Labelled};
use crate::metrics::{Metric, Positions};
use crate::model::HookedTransformer;
use crate::patching::PatchSite;
use crate::progress::Progress;
use crate::tokens::{Bos, Input};

/// The average indirect effect of each head, and what the heads write on the clean prompts.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("icl")?;
/// // Translation into German by example; then each example in another language.
/// let clean = ["dog -> hund ; day -> tag ; snow ->", "day -> tag ; dog -> hund ; snow ->"];
/// let shuffled = ["dog -> chien ; day -> dia ; snow ->", "day -> jour ; dog -> perro ; snow ->"];
/// let metric = Metric::log_prob(&model, ["schnee"; 2])?;
/// let effects = IndirectEffects::new(&model, clean, shuffled, metric)?;
/// assert_eq!(effects.effects.top_heads(1)?[0].0, Head::new(0, 2));
/// let vector = effects.function_vector(1, ("resid_post", 0))?;
/// assert_eq!(vector.values().dims(), [model.cfg().d_model]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct IndirectEffects {
    /// The metric with a head's mean output patched in minus that without, the mean over shuffled prompts: `[layer, head]`.
    pub effects: Labelled,
    /// The same of each shuffled prompt: `[layer, head, prompt]`.
    pub per_prompt: Labelled,
    /// The metric of the shuffled prompts as they are, the mean over them.
    pub shuffled: f32,
    model: HookedTransformer,
    /// The mean `z` of each layer at the last token of clean prompts, head after head.
    means: Vec<Vec<f64>>,
}

impl IndirectEffects {
    /// The effect of each head's mean output on clean prompts in runs of shuffled ones. The metric is evaluated on the shuffled
    /// prompts, so its answers belong to these; there may be another number of clean prompts.
    ///
    /// # Errors
    /// Answers for another number of prompts than the shuffled ones, and as [`HookedTransformer::run`].
    pub fn new(
        model: &HookedTransformer,
        clean: impl Into<Input>,
        shuffled: impl Into<Input>,
        metric: Metric,
    ) -> Result<Self> {
        let (layers, heads) = (model.cfg().n_layers, model.cfg().n_heads);
        let points: Vec<HookPoint> = (0..layers).map(|layer| HookPoint::Block(layer, Site::Z)).collect();
        let (clean, shuffled) = (model.to_tokens(clean)?, model.left_padded(shuffled, Bos::Default)?);
        let mut progress = Progress::of("indirect effects of heads", 3, "steps");
        let experiment = Experiment::new(model, &shuffled, Baseline::Zero, metric)?;
        progress.step(1)?;
        let states = states(&experiment.model, &clean, &Positions::Last, &points)?;
        let means: Vec<Vec<f64>> = points.iter().map(|point| states[point].mean()).collect();
        progress.step(1)?;
        let base = captured(&experiment.model, &shuffled, &points)?;
        let activations: BTreeMap<_, _> = points
            .iter()
            .zip(&means)
            .map(|(point, mean)| Ok((*point, (spread(mean, &base[point])?, base[point].clone()))))
            .collect::<Result<_>>()?;
        let site = |(layer, head): (usize, usize)| {
            PatchSite::new(model, points[layer])?.head(head).pos(-1).resolved(&model.dims(), &shuffled)
        };
        let all = (0..layers).flat_map(|layer| (0..heads).map(move |head| (layer, head)));
        let sites = all.map(site).collect::<Result<Vec<_>>>()?;
        let values = experiment.patched_with(&sites, &activations)?;
        let before = experiment.base_values();
        let each: Vec<f32> = values
            .iter()
            .flat_map(|(values, _)| values.iter().zip(before).map(|(value, before)| value - before))
            .collect();
        let axes = vec![
            Axis::numbered("layer", layers),
            Axis::numbered("head", heads),
            Axis::numbered("prompt", before.len()),
        ];
        let title = format!("average indirect effect on the {}", experiment.metrics.name());
        let per_prompt = Labelled::new(title, axes, each)?;
        let effects = per_prompt.mean_over("prompt")?;
        Ok(Self { effects, per_prompt, shuffled: experiment.clean(), model: experiment.model.clone(), means })
    }

    /// The function vector of the `k` heads with the largest effects, as a direction at this point of the residual stream.
    ///
    /// # Errors
    /// No head or more than there are; a point of another width; a model whose attention output goes through a norm, so that what
    /// a head writes depends on the others.
    pub fn function_vector(&self, k: usize, point: impl Into<HookQuery>) -> Result<SteeringVector> {
        let all = self.effects.values().len();
        if k == 0 || k > all {
            return Err(Error::argument(format!(
                "a function vector of {k} heads was asked for, and the model has {all}: give 1 to {all}."
            )));
        }
        self.function_vector_of(self.effects.top_heads(k)?.into_iter().map(|(head, _)| head), point)
    }

    /// As [`IndirectEffects::function_vector`], of these heads.
    ///
    /// # Errors
    /// As [`IndirectEffects::function_vector`]; a head that the model does not have or that is given twice.
    pub fn function_vector_of(
        &self,
        heads: impl IntoIterator<Item = impl Into<Head>>,
        point: impl Into<HookQuery>,
    ) -> Result<SteeringVector> {
        let (cfg, dims) = (self.model.cfg(), self.model.dims());
        if dims.norms_after {
            return Err(Error::argument(
                "this model norms its attention output before it is added to the residual stream, so what one head writes \
                 depends on the others and has no direction of its own: take the mean difference of prompts (Contrast).",
            ));
        }
        let heads: Vec<Head> = heads.into_iter().map(Into::into).collect();
        if let Some(head) = heads.iter().find(|head| head.layer >= cfg.n_layers || head.head >= cfg.n_heads) {
            return Err(Error::argument(format!(
                "there is no head {head}: the model has {} layers of {} heads.",
                cfg.n_layers, cfg.n_heads
            )));
        }
        if let Some((_, twice)) = heads.iter().enumerate().find(|(i, head)| heads[..*i].contains(head)) {
            return Err(Error::argument(format!("the head {twice} is in the list twice: give it once.")));
        }
        let [first, ..] = &heads[..] else {
            return Err(Error::argument("there is no head to make a function vector of: give at least one."));
        };
        let w_o = self.model.W_O()?;
        let mut sum = vec![0f64; cfg.d_model];
        for head in &heads {
            let width = dims.d_head;
            let z = &self.means[head.layer][head.head * width..(head.head + 1) * width];
            let rows = w_o.get(head.layer)?.get(head.head)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            for (z, row) in z.iter().zip(rows) {
                sum.iter_mut().zip(row).for_each(|(sum, w)| *sum += z * f64::from(w));
            }
        }
        let name = match heads.len() {
            1 => format!("function vector of {first}"),
            count => format!("function vector of {count} heads"),
        };
        Ok(SteeringVector::new(&self.model, point, &tensor(&sum)?)?.named(name))
    }
}

/// The same numbers at every prompt and position of an activation.
fn spread(mean: &[f64], like: &Tensor) -> Result<Tensor> {
    let mut shape = like.dims().to_vec();
    (shape[0], shape[1]) = (1, 1);
    let mean = tensor(mean)?.to_device(like.device())?.to_dtype(like.dtype())?.reshape(shape)?;
    Ok(mean.broadcast_as(like.shape())?.contiguous()?)
}
