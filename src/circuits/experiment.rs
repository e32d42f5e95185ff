//! Two runs between which edges are corrupted.

use candle_core::{DType, Tensor};

use super::attribute::Aggregation;
use super::circuit::Circuit;
use super::layout::Layout;
use super::outputs::Outputs;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::metrics::{BoundMetric, Metric, TaskBatch, mean};
use crate::model::{HookedTransformer, RunOptions};
use crate::patching::{check_alike, check_difference};
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::visible::visible;

/// What an edge that is out of the circuit carries, where there is no corrupted prompt.
///
/// ```
/// use candle_lens::prelude::*;
/// let over = EdgeAblation::mean(["The keys on the cabinet", "Tirana, the capital of"]);
/// ```
#[derive(Clone, Debug)]
pub enum EdgeAblation {
    /// Nothing.
    Zero,
    /// What the node writes on the mean over these prompts and all their positions; padding does not count.
    Mean(Input),
    /// What the node writes on the mean over these prompts at the same position; they must have the length of those to be
    /// ablated.
    MeanPositional(Input),
}

impl EdgeAblation {
    /// The mean over these prompts, texts or tokens, and all their positions.
    pub fn mean(prompts: impl Into<Input>) -> Self {
        Self::Mean(prompts.into())
    }

    /// The mean over these prompts, texts or tokens, position by position.
    pub fn mean_positional(prompts: impl Into<Input>) -> Self {
        Self::MeanPositional(prompts.into())
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Zero => "zero ablation",
            Self::Mean(_) => "mean ablation",
            Self::MeanPositional(_) => "positional mean ablation",
        }
    }
}

/// Clean prompts, what corrupts their edges, and the metric by which edges and circuits are judged.
///
/// An edge that is corrupted carries what its node writes in the corrupted prompt instead of what it writes.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = "When John and Mary went to the shops, John gave the bag to";
/// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let edges = EdgePatching::new(&model, clean, corrupted, metric)?;
/// let scores = edges.attribute(EdgeMethod::EapIgInputs { steps: 5 })?;
/// let circuit = scores.topn(200, RankBy::Magnitude)?.prune();
/// let left = edges.evaluate(&circuit)?;
/// println!("{} of {} edges keep {:.2} of the effect", left.edges, scores.n_edges(), left.faithfulness);
/// # assert!(left.faithfulness > 0.3, "{}", left.faithfulness);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct EdgePatching {
    /// With keys and values for each head.
    pub(super) model: HookedTransformer,
    pub(super) layout: Layout,
    pub(super) metric: BoundMetric,
    pub(super) tokens: Tokens,
    /// The prompts that corrupt, unless edges are ablated.
    pub(super) corrupted_tokens: Option<Tokens>,
    intervention: &'static str,
    pub(super) run: CleanRun,
    /// What each node writes where it is corrupted.
    pub(super) ablated: Outputs,
    clean: Vec<f32>,
    /// The metric of the empty circuit.
    corrupted: Vec<f32>,
    /// What the caller allows, in bytes.
    pub(super) budget: Option<u64>,
    pub(super) aggregation: Aggregation,
}

impl TaskBatch {
    /// The experiment in which edges of the clean run are corrupted.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = Task::Sva.prompts(tasks::Split::Combinations, 20, 0)?.aligned(&model)?;
    /// let edges = prompts.batches(&model, 8)?[0].edge_patching(&model)?;
    /// assert!(edges.clean() > edges.corrupted());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`EdgePatching::new`]; prompts whose clean and corrupted forms have different token counts
    /// ([`TaskDataset::aligned`](crate::tasks::TaskDataset::aligned) leaves them out).
    pub fn edge_patching(&self, model: &HookedTransformer) -> Result<EdgePatching> {
        EdgePatching::new(model, &self.clean, &self.corrupted, self.metric.clone())
    }
}

/// What later runs need of the clean one.
#[derive(Clone)]
pub(super) struct CleanRun {
    pub outputs: Outputs,
    /// The stream that enters each block, and at the end the last one's, `[batch, pos, d_model]`.
    pub resid: Vec<Tensor>,
    /// What each MLP reads, `[batch, pos, d_model]`.
    pub mlp_in: Vec<Tensor>,
    /// Where the metric reads, `[row, d_vocab_out]`.
    pub logits: Tensor,
}

impl EdgePatching {
    /// Runs both batches. Corrupted edges carry what the same node writes at the same position of the corrupted prompt.
    ///
    /// # Errors
    /// Prompts of different token counts, metrics that are the same for both, models whose heads write through a norm, and
    /// as [`HookedTransformer::run`].
    pub fn new(
        model: &HookedTransformer,
        clean: impl Into<Input>,
        corrupted: impl Into<Input>,
        metric: Metric,
    ) -> Result<Self> {
        let (clean, corrupted) = (model.to_tokens(clean)?, model.to_tokens(corrupted)?);
        check_alike(&clean, &corrupted)?;
        let mut progress = Progress::of("running both prompts", 2, "runs");
        let mut edges = Self::unjudged(model, clean, metric)?;
        progress.step(1);
        let options = RunOptions { stop_at_layer: Some(edges.layout.n_layers as isize), ..Default::default() };
        let run = edges.model.run(&corrupted, Outputs::plan(&edges.layout), &options)?;
        edges.ablated = Outputs::of(&run.captured, &edges.layout);
        let logits = edges.logits(run.resid.as_ref().expect("a run that stops returns the stream"))?;
        edges.corrupted = edges.judge(&logits)?;
        edges.corrupted_tokens = Some(corrupted);
        edges.intervention = "patching";
        edges.check_difference()?;
        Ok(edges)
    }

    /// Edges are ablated instead: they carry nothing, or a mean.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let mean = EdgeAblation::mean(["The keys on the cabinet", "Tirana, the capital of"]);
    /// let edges = EdgePatching::ablation(&model, prompt, metric, &mean)?;
    /// assert!(edges.clean() > edges.corrupted());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A mean over prompts that do not fit, or over the very prompt that it would be put into; a metric that ablation does not
    /// change, and as [`EdgePatching::new`].
    pub fn ablation(
        model: &HookedTransformer,
        prompts: impl Into<Input>,
        metric: Metric,
        ablation: &EdgeAblation,
    ) -> Result<Self> {
        let mut progress = Progress::of("running the prompts", 3, "runs");
        let mut edges = Self::unjudged(model, model.to_tokens(prompts)?, metric)?;
        progress.step(1);
        let clean = &edges.run.outputs;
        edges.ablated = match ablation {
            EdgeAblation::Zero => clean.zeros_like()?,
            EdgeAblation::Mean(prompts) | EdgeAblation::MeanPositional(prompts) => {
                let tokens = edges.model.to_tokens(prompts.clone())?;
                let options = RunOptions { stop_at_layer: Some(edges.layout.n_layers as isize), ..Default::default() };
                let run = edges.model.run(&tokens, Outputs::plan(&edges.layout), &options)?;
                let by_position = matches!(ablation, EdgeAblation::MeanPositional(_));
                check_mean(&tokens, by_position, &edges.tokens)?;
                Outputs::of(&run.captured, &edges.layout).mean(&tokens, by_position, clean)?
            }
        };
        progress.step(1);
        edges.intervention = ablation.name();
        edges.corrupted = edges.values_of(&Circuit::of_layout(edges.layout).empty())?;
        edges.check_difference()?;
        Ok(edges)
    }

    /// Whether scores are sums along the stream's coordinates, as by default, or means.
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

    /// The clean run, with nothing yet to corrupt it.
    fn unjudged(model: &HookedTransformer, tokens: Tokens, metric: Metric) -> Result<Self> {
        if !model.frozen().is_empty() {
            return Err(Error::argument(format!(
                "the model has frozen parts, {:?}, so its gradients do not estimate what patching an edge does: give the \
                 ordinary model (with_frozen([])).",
                model.frozen()
            )));
        }
        let model = model.without_weight_gradients().ungrouped()?;
        let layout = Layout::of(&model.dims());
        if model.dims().norms_after {
            return Err(Error::argument(format!(
                "what the heads of {:?} write goes through a norm together, so no head adds a part of its own to the \
                 stream and there are no edges between heads: patch its activations (Patching).",
                model.cfg().model_name
            )));
        }
        if layout.n_layers == 0 {
            return Err(Error::argument("the model has no blocks, so it has no circuit: give one that has."));
        }
        let metric = metric.bind(&tokens, model.cfg().d_vocab_out())?;
        let run = CleanRun::new(&model, &layout, &tokens, &metric)?;
        let ablated = run.outputs.clone();
        let mut edges = Self {
            model,
            layout,
            metric,
            tokens,
            corrupted_tokens: None,
            intervention: "",
            run,
            ablated,
            clean: Vec::new(),
            corrupted: Vec::new(),
            budget: None,
            aggregation: Aggregation::Sum,
        };
        edges.clean = edges.judge(&edges.run.logits)?;
        Ok(edges)
    }

    /// What scores are of: the metric, and what corrupts.
    pub(super) fn about(&self) -> String {
        format!("{}, {}", self.metric.name(), self.intervention)
    }

    /// All logits where the metric reads, from the final stream.
    ///
    /// # Shapes
    /// `resid [prompt, pos, d_model]` gives `[row, d_vocab_out]`, f32.
    pub(super) fn logits(&self, resid: &Tensor) -> Result<Tensor> {
        logits_read(&self.model, resid, &self.metric)
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

    fn check_difference(&self) -> Result<()> {
        check_difference(self.metric.name(), &self.clean, &self.corrupted)
    }
}

/// Refuses a mean that is what some prompt's nodes write anyway, so that its edges would not be ablated: of that prompt alone, by
/// position, or of a prompt of one token.
fn check_mean(over: &Tokens, by_position: bool, clean: &Tokens) -> Result<()> {
    let first = over.real_row(0);
    let of_one = (0..over.batch()).all(|row| over.real_row(row) == first) && (by_position || first.len() == 1);
    match (0..clean.batch()).find(|&row| of_one && clean.real_row(row) == first) {
        Some(row) => Err(Error::argument(format!(
            "the mean is taken over prompt {row} alone, so it is what that prompt's nodes write anyway and none of its edges \
             would be ablated: take it over other prompts too, or over positions (EdgeAblation::Mean)."
        ))),
        None => Ok(()),
    }
}

impl CleanRun {
    fn new(model: &HookedTransformer, layout: &Layout, tokens: &Tokens, metric: &BoundMetric) -> Result<Self> {
        let mut plan: HookPlan = Outputs::plan(layout).capture("resid_pre");
        if !layout.attn_only {
            plan = plan.capture("mlp_in");
        }
        let options = RunOptions { stop_at_layer: Some(layout.n_layers as isize), ..Default::default() };
        let run = model.run(tokens, plan, &options)?;
        let at = |site| (0..layout.n_layers).map(|l| run.captured[&HookPoint::Block(l, site)].clone()).collect();
        let last = run.resid.expect("a run that stops returns the stream");
        let logits = logits_read(model, &last, metric)?;
        let mut resid: Vec<Tensor> = at(Site::ResidPre);
        resid.push(last);
        let mlp_in = if layout.attn_only { Vec::new() } else { at(Site::MlpIn) };
        Ok(Self { outputs: Outputs::of(&run.captured, layout), resid, mlp_in, logits })
    }
}

fn logits_read(model: &HookedTransformer, resid: &Tensor, metric: &BoundMetric) -> Result<Tensor> {
    Ok(model.logits_after(&metric.read(resid)?, None)?.to_dtype(DType::F32)?)
}

impl std::fmt::Debug for EdgePatching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "EdgePatching({} prompts of {} positions, {} edges; {}: clean {:.4}, corrupted {:.4})",
            self.tokens.batch(),
            self.tokens.pos(),
            self.layout.edges().len(),
            visible(&self.about()),
            self.clean(),
            self.corrupted()
        )
    }
}
