//! A run with the gradients of a metric: TransformerLens' `run_with_cache(incl_bwd=True)`.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::hooks::{Gradients, HookPlan, HookQueries};
use crate::host;
use crate::labelled::{Axis, Labelled};
use crate::metrics::{BoundMetric, Metric};
use crate::model::{HookedTransformer, Run, RunOptions};
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};

impl HookedTransformer {
    /// The metric of each prompt, and at every one of these points the activations and the metric's gradients, from one
    /// forward and one backward pass. A site without a layer (`"z"`) is watched in every layer; points of different kinds
    /// are a tuple, `("z", ("post", 3))`.
    ///
    /// Gradients are of each prompt's own metric (of their sum): they do not shrink with the number of prompts, as those
    /// of a mean would. To run under a plan of edits, or for the gradient of another scalar, see
    /// [`HookPlan::watch`].
    ///
    /// # Shapes
    /// The metric is `[prompt]`; each gradient has its activation's shape, batch axis included.
    ///
    /// # Errors
    /// A metric without gradient (the rank, a custom one that leaves tensors), KL divergence, which needs a second run;
    /// points that the model does not have or none at all; and as [`HookedTransformer::run`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let (values, gradients) = model.run_with_grads(prompt, &metric, ["z", "pattern"])?;
    /// assert!(values.scalar()? > 0.0);
    /// assert_eq!(gradients.get(("z", 0))?.dims(), gradients.activation(("z", 0))?.dims());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn run_with_grads(
        &self,
        input: impl Into<Input>,
        metric: &Metric,
        points: impl Into<HookQueries>,
    ) -> Result<(Labelled, Gradients)> {
        let tokens = self.to_tokens(input)?;
        let plan = HookPlan::new().watch(points);
        let bound = metric.bind(&tokens, self.cfg().d_vocab_out())?;
        let evaluator = Evaluator { metric: &bound, clean: None };
        let (values, gradients) = evaluator.gradients(self, &tokens, &plan, RunOptions::default())?;
        let axis = Axis::numbered("prompt", tokens.batch());
        Ok((Labelled::new(metric.name(), vec![axis], host::numbers(&values)?)?, gradients))
    }
}

/// Evaluates runs of prompts, of which a run may hold several copies one after the other: the metric, and the logits of the
/// clean run where there is one.
pub(super) struct Evaluator<'a> {
    pub metric: &'a BoundMetric,
    pub clean: Option<&'a Tensor>,
}

impl Evaluator<'_> {
    /// Checks that runs can be evaluated and have gradients.
    pub fn check(&self) -> Result<()> {
        if self.clean.is_none() {
            self.metric.check_alone()?;
        }
        self.metric.check_slope()
    }

    /// The metric of each prompt, without what its gradients need, and its gradients at the points that the plan watches.
    pub fn gradients(
        &self,
        model: &HookedTransformer,
        tokens: &Tokens,
        plan: &HookPlan,
        options: RunOptions,
    ) -> Result<(Tensor, Gradients)> {
        let (values, gradients, _) = self.gradients_and_run(model, tokens, plan, options)?;
        Ok((values, gradients))
    }

    /// The same, with the run, through which other gradients can be taken.
    pub fn gradients_and_run(
        &self,
        model: &HookedTransformer,
        tokens: &Tokens,
        plan: &HookPlan,
        options: RunOptions,
    ) -> Result<(Tensor, Gradients, Run)> {
        self.check()?;
        if !plan.watches() {
            return Err(Error::argument(
                "no point was given to take gradients at: name at least one, such as \"resid_pre\".",
            ));
        }
        let mut progress = Progress::of("taking gradients", 2, "passes");
        let (values, run) = self.evaluated(&model.without_weight_gradients(), tokens, plan, options)?;
        progress.step(1)?;
        self.metric.check_gradient(&values)?;
        let gradients = run.taps.gradients(&values.sum_all()?)?;
        Ok((values.detach(), gradients, run))
    }

    /// The metric of each prompt of a run, and the run.
    pub fn evaluated(
        &self,
        model: &HookedTransformer,
        tokens: &Tokens,
        plan: &HookPlan,
        options: RunOptions,
    ) -> Result<(Tensor, Run)> {
        // Unless the plan needs the final norm at all positions, only the rows of the residual stream that are read go through
        // it, and only to the logits that the metric reads.
        let stop_at_layer = (!plan.has_final(&model.dims())?).then_some(model.cfg().n_layers as isize);
        let run = model.run(tokens, plan, RunOptions { stop_at_layer, ..options })?;
        let logits = match &run.resid {
            Some(resid) => self.metric.logits_after(model, &self.metric.read(resid)?)?,
            None => self.metric.columns_of(&self.metric.read(&run.logits()?)?)?,
        };
        Ok((self.metric.values(&logits, self.clean)?, run))
    }
}
