//! A tuned lens by steps.
//!
//! Each step reads a batch of residual streams and lowers, at each layer by itself, the mean of `KL(final | lens)` with AdamW:
//! the gradient of the lens' logits is `softmax(lens) - softmax(final)`, and goes back through the unembedding, the final norm and
//! the map.

use candle_core::{D, DType, Tensor, Var};

use super::fit::store;
use super::{MadeFor, TunedLens};
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::lenses::lens::Lens;
use crate::model::ops::softmax;
use crate::model::{FinalNorm, HookedTransformer};
use crate::progress::Progress;
use crate::train::{AdamW, AdamWOptions, Schedule, SkipTokens, Texts, TrainingLog};

/// Options of [`TunedLens::train`].
#[derive(Clone, Debug, PartialEq)]
pub struct TunedTraining {
    /// The learning rate of each step, and how many steps there are.
    pub schedule: Schedule,
    /// How many tokens a step reads.
    pub batch: usize,
    /// AdamW's constants. Weight decay pulls the maps to the identity.
    pub adam: AdamWOptions,
    /// Which tokens are left out.
    pub skip: SkipTokens,
}

impl Default for TunedTraining {
    fn default() -> Self {
        let adam = AdamWOptions { weight_decay: 0., ..Default::default() };
        Self { schedule: Schedule::new(1e-3, 200), batch: 256, adam, skip: SkipTokens::Special }
    }
}

/// The map of one layer while it is trained.
struct Layer {
    weights: Var,
    biases: Var,
    adam: AdamW,
}

impl TunedLens {
    /// Trains this lens further, from the identity or from least squares, by steps that lower the KL divergence from the model's own
    /// predictions; returns the trained lens and its mean KL over the layers at each step, in nats. Texts that end before the last step
    /// end the training ([`Texts::repeated`] begins again).
    ///
    /// A step costs about three unembeddings of its batch for each layer.
    ///
    /// # Errors
    /// A lens of another model, weights in half precision, options that do not fit, no tokens, a training that diverges, and more numbers
    /// than fit in memory.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let texts = Task::Ioi.prompts(tasks::Split::Train, 32, 0)?;
    /// let options = TunedTraining { schedule: Schedule::new(1e-3, 4), batch: 64, ..Default::default() };
    /// let (tuned, log) = TunedLens::identity(&model)?.train(&model, &texts, options)?;
    /// assert_eq!(log.series("KL").len(), 4);
    /// println!("{tuned}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn train(
        &self,
        model: &HookedTransformer,
        texts: impl Into<Texts>,
        options: TunedTraining,
    ) -> Result<(Self, TrainingLog)> {
        options.schedule.check()?;
        self.check_model(model)?;
        if model.dtype() != DType::F32 {
            return Err(Error::argument(format!(
                "the model's weights are {:?}, and a tuned lens is trained with f32 ones: load the model with LoadOptions {{ dtype: \
                 DType::F32, .. }}.",
                model.dtype()
            )));
        }
        // The loss has the derivative, whatever rules the model's gradients follow.
        let model = &model.with_frozen([]).without_weight_gradients();
        let Some(logits) = options.batch.checked_mul(model.cfg().d_vocab_out()) else {
            return Err(Error::argument(format!("a batch of {} tokens is more than fits in memory.", options.batch)));
        };
        let maps = 4 * self.weights.elem_count() as u64;
        check_free(24 * logits as u64 + 4 * maps, "training this tuned lens", "take a smaller `batch`")?;
        let mut store = store(model, texts, options.batch, options.skip.clone())?;
        let mut layers = self.layers(options.adam)?;
        let mut log = TrainingLog::new("tuned lens");
        let norm = model.final_norm();
        let mut progress = Progress::of("training the tuned lens", options.schedule.steps, "steps");
        for step in 0..options.schedule.steps {
            let Some(batch) = store.next_batch()? else { break };
            let streams = batch.tensors();
            let Some((last, entering)) = streams.split_last() else { break };
            let own = model.logits_of(&norm.apply(&last.to_device(&model.device())?)?)?;
            let own = Own { p: softmax(&own)?, logits: own };
            let mut sum = 0.;
            for (layer, x) in layers.iter_mut().zip(entering) {
                sum += layer.step(model, &norm, (x, &own), options.schedule.at(step))?;
            }
            log.add(step, "KL", sum / layers.len().max(1) as f64);
            progress.step(1)?;
        }
        if log.series("KL").is_empty() {
            return Err(Error::argument(
                "these texts have no token to train a tuned lens on: give longer or more texts.",
            ));
        }
        let stacked = |part: fn(&Layer) -> &Var| -> Result<Tensor> {
            let parts: Vec<Tensor> = layers.iter().map(|layer| part(layer).as_tensor().detach()).collect();
            Ok(Tensor::stack(&parts, 0)?)
        };
        let origin = format!("{}, then {} steps of {} tokens", self.origin, log.series("KL").len(), options.batch);
        let made_for = MadeFor::Weights(model.provenance());
        let tuned = Self::of(stacked(|layer| &layer.weights)?, stacked(|layer| &layer.biases)?, made_for, origin)?;
        Ok((tuned, log))
    }

    /// Each layer with variables of its own.
    fn layers(&self, adam: AdamWOptions) -> Result<Vec<Layer>> {
        let layer = |layer| -> Result<Layer> {
            let of = |part: &Tensor| -> Result<Var> { Ok(Var::from_tensor(&part.get(layer)?.copy()?)?) };
            Ok(Layer { weights: of(&self.weights)?, biases: of(&self.biases)?, adam: AdamW::new(adam) })
        };
        (0..self.n_layers()).map(layer).collect()
    }
}

/// The model's own predictions at the rows of a batch.
struct Own {
    logits: Tensor,
    p: Tensor,
}

impl Layer {
    /// One step; the KL divergence before it.
    fn step(
        &mut self,
        model: &HookedTransformer,
        norm: &FinalNorm,
        (x, own): (&Tensor, &Own),
        rate: f64,
    ) -> Result<f64> {
        let mapped = TunedLens::mapped(x, self.weights.as_tensor(), self.biases.as_tensor())?;
        let logits = model.logits_of(&norm.apply(&mapped.to_device(&model.device())?)?)?;
        let read = logits.detach();
        let q = softmax(&read)?;
        // The gradient of the mean KL along the logits; what it is multiplied by goes back from there.
        let slope = ((&q - &own.p)? / x.dim(0)? as f64)?;
        let gradients = (logits * slope)?.sum_all()?.backward()?;
        self.adam.step_vars(rate, [&self.weights, &self.biases], &gradients)?;
        let apart = ((&own.logits - &read)? * &own.p)?.sum(D::Minus1)?;
        let kl = (apart + (read.log_sum_exp(D::Minus1)? - own.logits.log_sum_exp(D::Minus1)?)?)?;
        Ok(f64::from(kl.mean_all()?.to_scalar::<f32>()?))
    }
}
