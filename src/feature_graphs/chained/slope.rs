//! A metric around the run of some prompts: its values, and its gradients at what the unembedding reads.

use candle_core::{DType, Tensor, Var};

use crate::error::Result;
use crate::hooks::{HookPlan, HookPoint};
use crate::metrics::Metric;
use crate::model::{HookedTransformer, RunOptions};
use crate::tokens::Tokens;
use crate::wide;

/// The metric of one prompt.
pub(super) struct Slope {
    pub value: f32,
    /// The gradient at what the unembedding reads, `[pos, d_model]`, padding left out.
    pub gradient: Tensor,
    /// The value less gradient times what is read there: the metric's own bias. Where a metric is not affine in the logits, what its
    /// tangent has at 0.
    pub bias: f32,
}

/// The metric of each prompt.
///
/// # Errors
/// A metric that has no gradient or needs a second run; answers for another number of prompts.
pub(super) fn slopes(model: &HookedTransformer, tokens: &Tokens, metric: &Metric) -> Result<Vec<Slope>> {
    let bound = metric.bind(tokens, model.cfg().d_vocab_out())?;
    bound.check_alone()?;
    bound.check_slope()?;
    let model = model.without_weight_gradients();
    let options = RunOptions { logits: false, ..Default::default() };
    let mut run = model.run(tokens, HookPlan::new().capture(HookPoint::UnembedIn), options)?;
    let read = run.captured.remove(&HookPoint::UnembedIn).expect("the plan captures it");
    let read = wide::widened(&bound.read(&read)?)?.detach();
    let at = Var::from_tensor(&read)?;
    let logits = model.logits_of(&at.to_dtype(model.dtype())?)?;
    let values = bound.values(&bound.columns_of(&logits)?, None)?;
    bound.check_gradient(&values)?;
    let gradient = match values.sum_all()?.backward()?.remove(&at) {
        Some(gradient) => gradient,
        None => read.zeros_like()?,
    };
    let along = (&gradient * &read)?.sum(1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let of_prompt = |(prompt, &value): (usize, &f32)| -> Result<Slope> {
        let (rows, begin) = (bound.rows().of_prompts(prompt, 1), tokens.first_positions()[prompt]);
        let positions = &bound.rows().positions()[prompt];
        let places: Vec<u32> = positions.iter().map(|&pos| (pos - begin) as u32).collect();
        let places = Tensor::from_vec(places, positions.len(), read.device())?;
        let own = gradient.narrow(0, rows.start, rows.len())?;
        let nothing = Tensor::zeros((tokens.lengths()[prompt], read.dim(1)?), own.dtype(), read.device())?;
        let bias = f64::from(value) - along[rows].iter().map(|&along| f64::from(along)).sum::<f64>();
        Ok(Slope { value, gradient: nothing.index_add(&places, &own, 0)?, bias: bias as f32 })
    };
    values.to_vec1::<f32>()?.iter().enumerate().map(of_prompt).collect()
}
