//! How edges are scored. A score is how much the metric (the mean over prompts) changes when that edge alone is corrupted,
//! exactly or as a method estimates it: negative where the edge helps.
//!
//! EAP-IG's repository divides the mean over a batch once more by the number of prompts, and is mostly given a loss instead
//! of the metric; its scores are then ours divided by minus the batch size. Otherwise scores are those of its code, run
//! on a small model (tests/circuits/eap_ig.rs), except where the code contradicts its own definition:
//!
//! - exact scores of models with parallel attention and MLP: it prunes its graph at each edge and does not restore it, so
//!   later scores are of a smaller graph. Ours are of single edges, as brute force gives them.
//! - information flow routes where no writer comes near what is read at some position: it divides 0 by 0, which makes every
//!   score of the reader NaN. Here no writer has a share at that position.
//! - EAP-IG-activations under mean ablation: it integrates from zero to the clean run; here the path begins at the mean.

use candle_core::Tensor;

use super::circuit::Circuit;
use super::edges::Edges;
use super::gradients::{Between, GradientRun};
use crate::error::{Error, Result};
use crate::experiment::Quadrature;
use crate::hooks::{HookPoint, Site};

/// How edges are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMethod {
    /// Edge attribution patching: what the edge would carry otherwise, times the clean run's gradient (Syed et al. 2023).
    /// Two forward passes and one backward pass.
    Eap,
    /// The same with the mean gradient over runs whose embeddings lie between the corrupted and the clean ones, at
    /// `k / steps` for `k` from 0 to `steps - 1`: a left Riemann sum, which never reaches the clean run (Hanna et al.
    /// 2024). The gradient is of the metric along the path, so its scores estimate finite changes. Scores of nodes are those at
    /// `k / steps` for `k` from 1 to `steps`, a right sum, as in EAP-IG's repository.
    EapIgInputs {
        /// Number of runs, at most 10,000; the paper uses 5.
        steps: usize,
    },
    /// The mean gradient over runs in which one part at a time (the input, one layer's attention, one MLP) lies between
    /// what it writes corrupted and clean, at `k / steps` for `k` from 1 to `steps`: a right Riemann sum (Hanna et al.
    /// 2024). `steps` runs for each part.
    EapIgActivations {
        /// Number of runs for each part, at most 10,000.
        steps: usize,
    },
    /// The mean gradient over runs whose embeddings move from the clean ones towards what makes the output that of the corrupted
    /// prompt, in steps of length 1 along the gradient of the squared distance between the logits, instead of on a straight line
    /// (EAP-GP, Zhang et al. 2025). Twice as many runs as steps.
    EapGp {
        /// Number of steps, at most 10,000; the paper uses 5.
        steps: usize,
    },
    /// The mean of the gradients of the clean and of the corrupted run.
    CleanCorrupted,
    /// How much of what a node reads is due to each writer, in the clean run: `max(0, |x| - |x - u|)` with the sum of
    /// absolute values as length, as a share of all, the mean over positions (Ferrando and Voita 2024,
    /// <https://arxiv.org/abs/2403.00824>). The metric and the corruption do not matter, and no score is negative.
    InformationFlowRoutes,
    /// Each edge corrupted alone: what the others estimate. Takes as many runs as there are edges.
    Exact,
}

/// How the products of difference and gradient along the residual stream's coordinates are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// Their sum: an estimate of the metric's change.
    #[default]
    Sum,
    /// Their mean, the sum divided by `d_model` (EAP-IG's `aggregation="mean"`): puts scores of models of
    /// different widths on one scale. The order of the edges is the same.
    Mean,
}

impl Edges {
    /// The score of every edge: how much the metric, its mean over prompts, changes when the edge is corrupted.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let scores = Experiment::new(&model, clean, corrupted, metric)?.edges()?.attribute(EdgeMethod::Eap)?;
    /// let best = scores.edges().into_iter().map(|edge| scores.score(edge)).try_fold(0f32, |least, score| score.map(|s| least.min(s)))?;
    /// assert!(best < -0.1, "some edge helps: corrupting it lowers the logit difference by {best}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No steps, or more than 10,000; a metric without gradient, for methods that need one; an ablation, for methods that need a
    /// corrupted run; a budget that one prompt exceeds; a mean over coordinates, for methods that do not sum over them.
    pub fn attribute(&self, method: EdgeMethod) -> Result<Circuit> {
        Ok(self.scored(method, false)?.remove(0))
    }

    /// The scores of all prompts together, or of each prompt by itself.
    pub(super) fn scored(&self, method: EdgeMethod, each: bool) -> Result<Vec<Circuit>> {
        self.check_aggregation(method)?;
        let (sums, runs) = match method {
            EdgeMethod::InformationFlowRoutes => (self.routes(each)?, 1),
            EdgeMethod::Exact => (self.exact(each)?, 1),
            _ => {
                let runs = self.gradient_runs(method, Quadrature::RiemannLeft)?;
                (self.edge_scores(&runs, each)?, runs.len())
            }
        };
        let scale = self.scale(runs) * sums.len() as f64;
        let of = |sums: Vec<f64>| {
            let scores: Vec<f32> = sums.into_iter().map(|score| (score * scale) as f32).collect();
            let circuit = Circuit::of_layout(self.layout).scored(&scores, self.method_name(method));
            Circuit { levels: self.levels(method), ..circuit }
        };
        Ok(sums.into_iter().map(of).collect())
    }

    /// The name of edges' scores by this method.
    pub(super) fn method_name(&self, method: EdgeMethod) -> String {
        self.name_of(method, Quadrature::RiemannLeft)
    }

    /// The metric of the clean run and of the empty circuit, where scores by this method are changes of it.
    pub(super) fn levels(&self, method: EdgeMethod) -> Option<(f32, f32)> {
        let changes = method != EdgeMethod::InformationFlowRoutes && self.aggregation == Aggregation::Sum;
        changes.then(|| (self.clean(), self.corrupted()))
    }

    /// The name of scores by this method: with its rule and steps, the metric and the intervention.
    pub(super) fn name_of(&self, method: EdgeMethod, rule: Quadrature) -> String {
        let name = match method {
            EdgeMethod::Eap => "EAP".to_string(),
            EdgeMethod::EapIgInputs { steps } => format!("EAP-IG-inputs, {steps} steps ({} Riemann)", side(rule)),
            EdgeMethod::EapIgActivations { steps } => format!("EAP-IG-activations, {steps} steps (right Riemann)"),
            EdgeMethod::EapGp { steps } => format!("EAP-GP, {steps} steps"),
            EdgeMethod::CleanCorrupted => "clean-corrupted".into(),
            EdgeMethod::InformationFlowRoutes => return "information flow routes".into(),
            EdgeMethod::Exact => "exact".into(),
        };
        let mean = if self.aggregation == Aggregation::Mean { ", mean over d_model" } else { "" };
        let rules = match method {
            EdgeMethod::Exact => String::new(),
            _ => self.model.rules().map_or(String::new(), |rules| format!(" with {rules}")),
        };
        format!("{name}{rules}{mean}, {}", self.about())
    }

    /// The factor by which sums over prompts, runs and the residual stream's coordinates are multiplied.
    pub(super) fn scale(&self, runs: usize) -> f64 {
        let coordinates = match self.aggregation {
            Aggregation::Sum => 1,
            Aggregation::Mean => self.layout.d_model,
        };
        1. / (self.tokens.batch() * runs * coordinates) as f64
    }

    /// # Errors
    /// A mean over the residual stream's coordinates by a method that does not sum over them.
    pub(super) fn check_aggregation(&self, method: EdgeMethod) -> Result<()> {
        match method {
            EdgeMethod::Exact | EdgeMethod::InformationFlowRoutes if self.aggregation == Aggregation::Mean => {
                Err(Error::argument(format!(
                    "{method:?} measures an edge or node as a whole, so there is no mean over d_model: keep \
                     Aggregation::Sum, or use a method with gradients."
                )))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// A mean over the residual stream's coordinates, where each has its own score.
    pub(super) fn check_aggregation_of_parts(&self) -> Result<()> {
        match self.aggregation {
            Aggregation::Sum => Ok(()),
            Aggregation::Mean => Err(Error::argument(
                "each coordinate of d_model has its own score here, so there is no mean over them: keep \
                 Aggregation::Sum.",
            )),
        }
    }

    /// An empty matrix of scores.
    pub(super) fn no_scores(&self) -> Vec<f64> {
        vec![0.; self.layout.n_forward() * self.layout.n_backward()]
    }

    /// The runs whose mean gradient makes the scores by this method; none for methods without gradients. The rule is that
    /// of integrating over inputs.
    pub(super) fn gradient_runs(&self, method: EdgeMethod, rule: Quadrature) -> Result<Vec<GradientRun<'_>>> {
        let plain = |tokens| GradientRun { tokens, between: None };
        let corrupted = |name| self.corrupted_tokens.as_ref().ok_or_else(|| needs_corrupted(name));
        if !matches!(method, EdgeMethod::InformationFlowRoutes | EdgeMethod::Exact) {
            self.metric.check_slope()?;
        }
        Ok(match method {
            EdgeMethod::Eap => {
                self.metric.check_slope_at_clean("take EdgeMethod::EapIgInputs or Exact")?;
                vec![plain(&self.tokens)]
            }
            EdgeMethod::CleanCorrupted => {
                let corrupted = corrupted("clean-corrupted")?;
                self.metric.check_slope_at_clean("take EdgeMethod::EapIgInputs or Exact")?;
                vec![plain(&self.tokens), plain(corrupted)]
            }
            EdgeMethod::EapIgInputs { steps } => {
                corrupted("EAP-IG-inputs")?;
                let nodes = self.nodes(steps, rule)?;
                let embed = (HookPoint::Embed, &self.run.outputs.embed, &self.ablated.embed);
                nodes.iter().map(|(share, _)| self.between(embed, *share)).collect()
            }
            EdgeMethod::EapGp { steps } => {
                let path = self.gradient_path(corrupted("EAP-GP")?, steps)?;
                path.iter().map(|x| self.between((HookPoint::Embed, x, x), 1.)).collect()
            }
            EdgeMethod::EapIgActivations { steps } => {
                let nodes = &self.nodes(steps, Quadrature::RiemannRight)?;
                let of_part = |part| nodes.iter().map(move |(share, _)| self.between(part, *share));
                self.written().into_iter().flat_map(of_part).collect()
            }
            EdgeMethod::InformationFlowRoutes | EdgeMethod::Exact => Vec::new(),
        })
    }

    fn between(&self, (point, clean, ablated): Written<'_>, share: f64) -> GradientRun<'_> {
        let (clean, ablated) = (clean.clone(), ablated.clone());
        GradientRun { tokens: &self.tokens, between: Some(Between { point, clean, ablated, share }) }
    }

    /// The interpolation points of this rule; all have the same weight.
    ///
    /// # Errors
    /// A number of steps that the rule does not have; one that ends at the clean run, for a metric that has no slope there.
    fn nodes(&self, steps: usize, rule: Quadrature) -> Result<Vec<(f64, f64)>> {
        if (steps, rule) == (1, Quadrature::RiemannRight) {
            self.metric.check_slope_at_clean("take more than 1 step")?;
        }
        rule.nodes(steps)
    }

    /// What the input, each layer's attention and each MLP write.
    fn written(&self) -> Vec<Written<'_>> {
        let (clean, ablated) = (&self.run.outputs, &self.ablated);
        let mut parts = vec![(HookPoint::Embed, &clean.embed, &ablated.embed)];
        for layer in 0..self.layout.n_layers {
            parts.push((HookPoint::Block(layer, Site::Z), &clean.z[layer], &ablated.z[layer]));
            if let (Some(clean), Some(ablated)) = (clean.mlp.get(layer), ablated.mlp.get(layer)) {
                parts.push((HookPoint::Block(layer, Site::MlpOut), clean, ablated));
            }
        }
        parts
    }
}

/// A point, and what is written there clean and ablated.
type Written<'a> = (HookPoint, &'a Tensor, &'a Tensor);

/// At which end of each step the rule evaluates a gradient.
fn side(rule: Quadrature) -> &'static str {
    if rule == Quadrature::RiemannRight { "right" } else { "left" }
}

fn needs_corrupted(method: &str) -> Error {
    Error::argument(format!(
        "{method} needs corrupted prompts, but edges are ablated here: give the experiment corrupted prompts as its \
         baseline, or use EdgeMethod::Eap, EapIgActivations or Exact."
    ))
}
