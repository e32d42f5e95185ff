//! How edges are scored. A score is how much the metric (the mean over prompts) changes when that edge alone is corrupted,
//! exactly or as a method estimates it: negative where the edge helps.
//!
//! EAP-IG's repository divides the mean over a batch once more by the number of prompts, and is mostly given a loss instead
//! of the metric; its scores are then ours divided by minus the batch size.

use super::circuit::Circuit;
use super::experiment::EdgePatching;
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::progress::Progress;
use candle_core::Tensor;

/// How edges are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMethod {
    /// Edge attribution patching: what the edge would carry otherwise, times the clean run's gradient (Syed et al. 2023).
    /// Two forward passes and one backward pass.
    Eap,
    /// The same with the mean gradient over runs whose embeddings lie between the corrupted and the clean ones, at
    /// `k / steps` for `k` from 0 to `steps - 1`: a left Riemann sum, which never reaches the clean run (Hanna et al.
    /// 2024). The gradient is of the metric along the way, so its scores estimate finite changes.
    EapIgInputs {
        /// How many runs; the paper takes 5.
        steps: usize,
    },
    /// The mean gradient over runs in which one part at a time (the input, one layer's attention, one MLP) lies between
    /// what it writes corrupted and clean, at `k / steps` for `k` from 1 to `steps`: a right Riemann sum (Hanna et al.
    /// 2024). `steps` runs for each part.
    EapIgActivations {
        /// How many runs for each part.
        steps: usize,
    },
    /// The mean of the gradients of the clean and of the corrupted run.
    CleanCorrupted,
    /// How much of what a node reads is due to each that writes, in the clean run: `max(0, |x| - |x - u|)` with the sum of
    /// absolute values as length, as a share of all, the mean over positions (Ferrando and Voita 2024,
    /// <https://arxiv.org/abs/2403.00824>). Neither the metric nor what corrupts plays a part, and no score is negative.
    InformationFlowRoutes,
    /// Each edge corrupted by itself: what the others estimate. As many runs as edges.
    Exact,
}

impl EdgePatching {
    /// The score of every edge: how much the metric, its mean over prompts, changes when the edge is corrupted.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let scores = EdgePatching::new(&model, clean, corrupted, metric)?.attribute(EdgeMethod::Eap)?;
    /// println!("{:?}", scores.scores().bottom(3));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No steps; a metric without gradient, for methods that need one; ablation, for methods that need a corrupted run.
    pub fn attribute(&self, method: EdgeMethod) -> Result<Circuit> {
        let prompts = self.tokens.batch() as f64;
        let circuit = Circuit::of_layout(self.layout);
        let of_metric = |name: String| format!("{name}, {}", self.about());
        let (scores, runs, name) = match method {
            EdgeMethod::Eap => (self.eap()?, 1, of_metric("EAP".into())),
            EdgeMethod::EapIgInputs { steps } => {
                let name = format!("EAP-IG-inputs, {steps} steps (left Riemann)");
                (self.ig_inputs(steps)?, steps, of_metric(name))
            }
            EdgeMethod::EapIgActivations { steps } => {
                let parts = 1 + self.layout.n_layers * if self.layout.attn_only { 1 } else { 2 };
                let name = format!("EAP-IG-activations, {steps} steps (right Riemann)");
                (self.ig_activations(steps)?, parts * steps, of_metric(name))
            }
            EdgeMethod::CleanCorrupted => (self.clean_corrupted()?, 2, of_metric("clean-corrupted".into())),
            EdgeMethod::InformationFlowRoutes => (self.routes()?, 1, "information flow routes".into()),
            EdgeMethod::Exact => (self.exact()?, 1, of_metric("exact".into())),
        };
        let scores: Vec<f32> = scores.into_iter().map(|score| (score / (prompts * runs as f64)) as f32).collect();
        Ok(circuit.scored(&scores, name))
    }

    /// A matrix of no scores yet.
    pub(super) fn no_scores(&self) -> Vec<f64> {
        vec![0.; self.layout.n_forward() * self.layout.n_backward()]
    }

    fn eap(&self) -> Result<Vec<f64>> {
        self.metric.check_slope_at_clean("take EdgeMethod::EapIgInputs or Exact")?;
        let mut scores = self.no_scores();
        self.add_scores(&mut scores, &self.gradients(&self.tokens, HookPlan::new())?)?;
        Ok(scores)
    }

    fn clean_corrupted(&self) -> Result<Vec<f64>> {
        let Some(corrupted) = &self.corrupted_tokens else { return Err(needs_corrupted("clean-corrupted")) };
        self.metric.check_slope_at_clean("take EdgeMethod::EapIgInputs or Exact")?;
        let mut scores = self.no_scores();
        for tokens in [&self.tokens, corrupted] {
            self.add_scores(&mut scores, &self.gradients(tokens, HookPlan::new())?)?;
        }
        Ok(scores)
    }

    fn ig_inputs(&self, steps: usize) -> Result<Vec<f64>> {
        if self.corrupted_tokens.is_none() {
            return Err(needs_corrupted("EAP-IG-inputs"));
        }
        check_steps(steps)?;
        let mut scores = self.no_scores();
        let mut progress = Progress::new("integrating gradients", steps as u64, "steps");
        for step in 0..steps {
            let share = step as f64 / steps as f64;
            let embed = between(&self.run.outputs.embed, &self.ablated.embed, share)?;
            let plan = HookPlan::new().edit(HookPoint::Embed, Edit::replace(embed));
            self.add_scores(&mut scores, &self.gradients(&self.tokens, plan)?)?;
            progress.step(1);
        }
        Ok(scores)
    }

    fn ig_activations(&self, steps: usize) -> Result<Vec<f64>> {
        check_steps(steps)?;
        let (clean, ablated) = (&self.run.outputs, &self.ablated);
        let mut parts = vec![(HookPoint::Embed, &clean.embed, &ablated.embed)];
        for layer in 0..self.layout.n_layers {
            parts.push((HookPoint::Block(layer, Site::Z), &clean.z[layer], &ablated.z[layer]));
            if let (Some(clean), Some(ablated)) = (clean.mlp.get(layer), ablated.mlp.get(layer)) {
                parts.push((HookPoint::Block(layer, Site::MlpOut), clean, ablated));
            }
        }
        let mut scores = self.no_scores();
        let mut progress = Progress::new("integrating gradients", (parts.len() * steps) as u64, "runs");
        for (point, clean, ablated) in parts {
            for step in 1..=steps {
                let written = between(clean, ablated, step as f64 / steps as f64)?;
                let plan = HookPlan::new().edit(point, Edit::replace(written));
                self.add_scores(&mut scores, &self.gradients(&self.tokens, plan)?)?;
                progress.step(1);
            }
        }
        Ok(scores)
    }
}

/// `share` of the way from `ablated` to `clean`.
fn between(clean: &Tensor, ablated: &Tensor, share: f64) -> Result<Tensor> {
    Ok(((clean * share)? + (ablated * (1. - share))?)?)
}

fn check_steps(steps: usize) -> Result<()> {
    match steps {
        0 => Err(Error::argument("0 steps integrate nothing: give at least 1; 5 is usual for EAP-IG.")),
        _ => Ok(()),
    }
}

fn needs_corrupted(method: &str) -> Error {
    Error::argument(format!(
        "{method} needs corrupted prompts, but edges are ablated here: make the experiment with EdgePatching::new, or take \
         EdgeMethod::Eap, EapIgActivations or Exact."
    ))
}
