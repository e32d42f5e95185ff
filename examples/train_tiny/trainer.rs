//! The training loop: AdamW with warm-up, a plateau and decay; the embedding and the unembedding are one matrix.

use candle_lens::candle::backprop::GradStore;
use candle_lens::candle::{Device, Tensor, Var};
use candle_lens::candle_nn::{AdamW, Optimizer, ParamsAdamW};
use candle_lens::model::ops::cross_entropy;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tokens::Tokenizer;
use candle_lens::{Error, Result};

use crate::batches::Batch;

const LEARNING_RATE: f64 = 2e-3;
const WARM_UP: usize = 100;
/// The last part of the steps, in which the learning rate falls.
const DECAY: f64 = 0.4;
/// The least learning rate, as a part of the highest.
const FLOOR: f64 = 0.02;

/// A model, its weights as variables, and their optimisers.
pub struct Trainer {
    pub model: HookedTransformer,
    embed: Var,
    unembed: Var,
    matrices: AdamW,
    vectors: AdamW,
    steps: usize,
}

impl Trainer {
    /// A new model that will be trained for `steps`.
    pub fn new(cfg: HookedTransformerConfig, tokenizer: Tokenizer, seed: u64, steps: usize) -> Result<Self> {
        let (d_vocab, d_model) = (cfg.d_vocab, cfg.d_model);
        let (model, vars) = HookedTransformer::trainable(cfg, seed, &Device::Cpu)?;
        let model = model.with_tokenizer(tokenizer);
        let find = |shape: [usize; 2]| {
            let var = vars.iter().find(|var| var.dims() == shape).cloned();
            var.ok_or_else(|| Error::config(format!("the model has no weight of shape {shape:?}.")))
        };
        let (embed, unembed) = (find([d_vocab, d_model])?, find([d_model, d_vocab])?);
        let trained = vars.into_iter().filter(|var| var.dims() != [d_model, d_vocab]);
        let (matrices, vectors): (Vec<Var>, Vec<Var>) = trained.partition(|var| var.rank() > 1);
        let adam = |vars, weight_decay| {
            AdamW::new(vars, ParamsAdamW { lr: LEARNING_RATE, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay })
        };
        let mut trainer =
            Self { model, embed, unembed, matrices: adam(matrices, 0.05)?, vectors: adam(vectors, 0.0)?, steps };
        trainer.tie()?;
        Ok(trainer)
    }

    /// One step on the sum of the batches' losses; returns that sum.
    pub fn step(&mut self, step: usize, batches: Vec<Batch>) -> Result<f32> {
        let mut losses = Vec::with_capacity(batches.len());
        for batch in batches {
            losses.push(self.loss(batch)?);
        }
        let total = Tensor::stack(&losses, 0)?.sum_all()?;
        let mut grads = total.backward()?;
        self.add_unembed_gradient(&mut grads)?;
        let rate = self.learning_rate(step);
        for optimiser in [&mut self.matrices, &mut self.vectors] {
            optimiser.set_learning_rate(rate);
            optimiser.step(&grads)?;
        }
        self.tie()?;
        Ok(total.to_scalar::<f32>()?)
    }

    /// The weighted sum of the batch's losses, a scalar.
    fn loss(&self, batch: Batch) -> Result<Tensor> {
        let logits = self.model.forward(batch.tokens)?;
        let losses = cross_entropy(&logits.flatten_to(1)?, &batch.targets)?;
        let weights = Tensor::new(batch.weights, logits.device())?;
        Ok((losses * weights)?.sum_all()?)
    }

    /// The gradient of a matrix that is used twice is the sum of both uses' gradients.
    fn add_unembed_gradient(&self, grads: &mut GradStore) -> Result<()> {
        if let (Some(embed), Some(unembed)) = (grads.get(&self.embed), grads.get(&self.unembed)) {
            let sum = (embed + unembed.t()?)?;
            grads.insert(&self.embed, sum);
        }
        Ok(())
    }

    fn tie(&mut self) -> Result<()> {
        Ok(self.unembed.set(&self.embed.t()?.contiguous()?)?)
    }

    /// Rises, stays until the skills have come, which they do of a sudden and at high rates only, and falls.
    fn learning_rate(&self, step: usize) -> f64 {
        let warm_up = ((step + 1) as f64 / WARM_UP as f64).min(1.0);
        let left = (self.steps - step.min(self.steps)) as f64 / (self.steps as f64 * DECAY);
        LEARNING_RATE * warm_up * left.clamp(FLOOR, 1.0)
    }
}
