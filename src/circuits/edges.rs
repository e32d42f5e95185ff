//! The edges of an experiment, prepared to be corrupted.

use candle_core::{DType, Tensor};

use super::attribute::Aggregation;
use super::circuit::Circuit;
use super::layout::Layout;
use super::outputs::Outputs;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, NodeRun, Source, check_difference};
use crate::hooks::{HookPoint, Site};
use crate::metrics::{BoundMetric, mean};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Tokens;
use crate::variables::holds;
use crate::visible::visible;

/// The edges of an experiment: scores of edges and nodes, and circuits run alone. Made by [`Experiment::edges`].
///
/// An edge that is corrupted carries what the baseline puts in place of what its node writes: what that node writes in the
/// corrupted prompt, nothing, a mean, ..
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = "When John and Mary went to the shops, John gave the bag to";
/// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
/// let scores = edges.attribute(EdgeMethod::EapIgInputs { steps: 5 })?;
/// let circuit = scores.topn(200, RankBy::Magnitude)?.prune();
/// let left = edges.evaluate(&circuit)?;
/// assert!(left.size <= 200 && left.faithfulness > 0.3, "{left:?}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Edges {
    /// With keys and values for each head.
    pub(super) model: HookedTransformer,
    pub(super) layout: Layout,
    pub(super) metric: BoundMetric,
    pub(super) tokens: Tokens,
    /// The corrupted prompts, unless edges are ablated.
    pub(super) corrupted_tokens: Option<Tokens>,
    intervention: &'static str,
    pub(super) run: CleanRun,
    /// What each node writes where it is corrupted.
    pub(super) ablated: Outputs,
    clean: Vec<f32>,
    /// The metric of the empty circuit.
    pub(super) corrupted: Vec<f32>,
    /// The budget of the caller, in bytes.
    pub(super) budget: Option<u64>,
    pub(super) aggregation: Aggregation,
}

/// What later runs need from the clean one.
#[derive(Clone)]
pub(super) struct CleanRun {
    pub outputs: Outputs,
    /// The residual stream that enters each block, and at the end the last one's, `[batch, pos, d_model]`.
    pub resid: Vec<Tensor>,
    /// What each MLP reads, `[batch, pos, d_model]`.
    pub mlp_in: Vec<Tensor>,
    /// Where the metric reads, `[row, d_vocab_out]`.
    pub logits: Tensor,
}

holds! {
    Edges { model, tokens, corrupted_tokens, run, ablated, clean, corrupted }
    CleanRun { outputs, resid, mlp_in, logits }
}

impl Experiment {
    /// The edges between heads and MLPs of the clean run, to be corrupted by what the baseline puts in place of what a node
    /// writes. The direction of patching (noising or not) makes no difference. The metric of the corrupted run is that of the
    /// empty circuit, under ablation too. Where the experiment has backward rules ([`Experiment::with_frozen`]), all methods that take
    /// gradients follow them.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let mean = Baseline::mean_of(MeanOver::BatchAndPos, ["The keys on the cabinet", "Tirana, the capital of"]);
    /// let edges = Experiment::new(&model, prompt, mean, metric)?.edges()?;
    /// assert!(edges.clean() > edges.corrupted());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A metric that the baseline does not change; models whose heads write through a norm; and as [`HookedTransformer::run`].
    pub fn edges(&self) -> Result<Edges> {
        let metric = self.one_metric("a score of edges")?;
        check_model(&self.model)?;
        let model = self.model.ungrouped()?;
        let layout = Layout::of(&model.dims());
        let mut progress = Progress::of("preparing edges", 3, "steps");
        let (clean, corrupted) = match self.take_first_runs() {
            Some(runs) => runs,
            None => (NodeRun::new(&model, &self.tokens)?, None),
        };
        progress.step(1)?;
        let run = CleanRun::new(clean, &layout, self.clean_logits.clone());
        let ablated = match (corrupted, &self.source) {
            (Some(corrupted), _) => Outputs::of(&corrupted.captured, &layout),
            (None, source) => {
                let there = run.outputs.by_point(&layout);
                Outputs::of(&source.activations(&model, &self.tokens, &there)?, &layout)
            }
        };
        progress.step(1)?;
        let mut edges = Edges {
            corrupted_tokens: match &self.source {
                Source::Run(corrupted) => Some(corrupted.clone()),
                _ => None,
            },
            model,
            layout,
            metric: metric.clone(),
            tokens: self.tokens.clone(),
            intervention: self.source.name(),
            run,
            ablated,
            clean: self.clean_values.clone(),
            corrupted: self.corrupted_values.clone(),
            budget: self.budget,
            aggregation: Aggregation::Sum,
        };
        if edges.corrupted_tokens.is_none() {
            edges.corrupted = edges.values_of(&Circuit::of_layout(layout).empty())?;
            check_difference(edges.metric.name(), &edges.clean, &edges.corrupted)?;
        }
        Ok(edges)
    }
}

/// Refuses models that have no edges.
fn check_model(model: &HookedTransformer) -> Result<()> {
    if !model.splices().is_empty() {
        return Err(Error::argument(
            "edges are between heads and MLPs of the model itself, and this experiment splices functions in \
             (with_splices): make it without them, or patch activations (Experiment::sweep).",
        ));
    }
    if model.dims().norms_after {
        return Err(Error::argument(format!(
            "what the heads of {:?} write goes through a norm together, so no head adds its own part to the residual \
             stream and there are no edges between heads: patch its activations (Experiment::sweep).",
            model.cfg().model_name
        )));
    }
    if model.dims().n_layers == 0 {
        return Err(Error::argument("the model has no blocks, so it has no circuit: give one that has."));
    }
    Ok(())
}

impl Edges {
    /// Whether scores are sums over the residual stream's coordinates, the default, or means.
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// The metric of the clean run, the mean over prompts: that of the full circuit.
    pub fn clean(&self) -> f32 {
        mean(&self.clean)
    }

    /// The metric of the run in which every edge is corrupted, the mean over prompts: that of the empty circuit.
    pub fn corrupted(&self) -> f32 {
        mean(&self.corrupted)
    }

    /// What scores are about: the metric and the corruption.
    pub(super) fn about(&self) -> String {
        format!("{}, {}", self.metric.name(), self.intervention)
    }

    /// All logits where the metric reads, from the final residual stream.
    ///
    /// # Shapes
    /// `resid [prompt, pos, d_model]` gives `[row, d_vocab_out]`, f32.
    pub(super) fn logits(&self, resid: &Tensor) -> Result<Tensor> {
        Ok(self.model.logits_after(&self.metric.read(resid)?, None)?.to_dtype(DType::F32)?)
    }

    /// The metric of each prompt from all logits of the rows that it reads.
    pub(super) fn judge(&self, logits: &Tensor) -> Result<Vec<f32>> {
        self.metric.evaluate(&self.metric.columns_of(logits)?, Some(&self.run.logits))
    }

    /// The metric of each prompt in the clean run.
    pub(super) fn clean_values(&self) -> &[f32] {
        &self.clean
    }

    /// The logits of the clean run, of the columns that the metric reads, with those of the prompts from prompt `from` on
    /// replaced: what a metric of all prompts needs where only some were run.
    ///
    /// # Shapes
    /// `logits [copies * row, column]` of the rows of `count` prompts, one copy of them after the other; the result is
    /// `[copies * row, column]` of those of all prompts, f32.
    pub(super) fn among_clean(&self, logits: &Tensor, from: usize, count: usize) -> Result<Tensor> {
        let logits = logits.to_dtype(DType::F32)?;
        let (all, own) = (self.metric.rows().len(), self.metric.rows().of_prompts(from, count));
        if own.len() == all {
            return Ok(logits);
        }
        let (copies, columns) = (logits.dim(0)? / own.len(), logits.dim(1)?);
        let clean = self.metric.columns_of(&self.run.logits)?;
        let mut parts = vec![logits.reshape((copies, own.len(), columns))?];
        let rest = |from: usize, count: usize| clean.narrow(0, from, count)?.unsqueeze(0)?.repeat((copies, 1, 1));
        if own.start > 0 {
            parts.insert(0, rest(0, own.start)?);
        }
        if own.end < all {
            parts.push(rest(own.end, all - own.end)?);
        }
        Ok(Tensor::cat(&parts, 1)?.reshape((copies * all, columns))?)
    }
}

impl CleanRun {
    fn new(run: NodeRun, layout: &Layout, logits: Tensor) -> Self {
        let at = |site| (0..layout.n_layers).map(|l| run.captured[&HookPoint::Block(l, site)].clone()).collect();
        let mut resid: Vec<Tensor> = at(Site::ResidPre);
        let mlp_in = if layout.attn_only { Vec::new() } else { at(Site::MlpIn) };
        let outputs = Outputs::of(&run.captured, layout);
        resid.push(run.last);
        Self { outputs, resid, mlp_in, logits }
    }
}

impl std::fmt::Debug for Edges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Edges({} prompts of {} positions, {} edges; {}: clean {:.4}, corrupted {:.4})",
            self.tokens.batch(),
            self.tokens.pos(),
            self.layout.edges().len(),
            visible(&self.about()),
            self.clean(),
            self.corrupted()
        )
    }
}
