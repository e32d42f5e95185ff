//! The training loop: AdamW with warm-up, a plateau and decay; the embedding and the unembedding are one matrix.

use candle_lens::candle::backprop::GradStore;
use candle_lens::candle::{Device, Tensor, Var};
use candle_lens::candle_nn::{AdamW, Optimizer, ParamsAdamW};
use candle_lens::model::ops::cross_entropy;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tokens::Tokenizer;
use candle_lens::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::batches::Batch;

const LEARNING_RATE: f64 = 1.5e-3;
const WARM_UP: usize = 100;
/// The last part of the steps, in which the learning rate falls.
const DECAY: f64 = 0.5;
/// The least learning rate, as a part of the highest.
const FLOOR: f64 = 0.02;

/// How many parts of a step are computed at once.
pub const WORKERS: usize = 2;

/// A model, its weights as variables, and their optimisers.
pub struct Trainer {
    pub model: HookedTransformer,
    embed: Var,
    unembed: Var,
    matrices: AdamW,
    vectors: AdamW,
    trained: Vec<Var>,
    workers: Vec<ThreadPool>,
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
        let trained: Vec<Var> = vars.iter().filter(|var| var.dims() != [d_model, d_vocab]).cloned().collect();
        let (matrices, vectors) = trained.iter().cloned().partition(|var| var.rank() > 1);
        let adam = |vars: Vec<Var>, weight_decay| {
            AdamW::new(vars, ParamsAdamW { lr: LEARNING_RATE, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay })
        };
        let mut trainer = Self {
            model,
            embed,
            unembed,
            matrices: adam(matrices, 0.2)?,
            vectors: adam(vectors, 0.0)?,
            trained,
            workers: workers()?,
            steps,
        };
        trainer.tie()?;
        Ok(trainer)
    }

    /// One step on the sum of the batches' losses; returns that sum. Each half is computed by a worker of its own.
    pub fn step(&mut self, step: usize, halves: [Vec<Batch>; WORKERS]) -> Result<f32> {
        let parts = std::thread::scope(|scope| {
            let this = &*self;
            let work = this.workers.iter().zip(halves);
            let running: Vec<_> =
                work.map(|(pool, half)| scope.spawn(|| pool.install(|| this.gradients(half)))).collect();
            running
                .into_iter()
                .map(|worker| worker.join().expect("a worker does not panic"))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut parts = parts.into_iter();
        let (mut total, mut grads) = parts.next().expect("there are two workers");
        for (loss, part) in parts {
            total += loss;
            self.add(&mut grads, &part)?;
        }
        self.add_unembed_gradient(&mut grads)?;
        let rate = self.learning_rate(step);
        for optimiser in [&mut self.matrices, &mut self.vectors] {
            optimiser.set_learning_rate(rate);
            optimiser.step(&grads)?;
        }
        self.tie()?;
        Ok(total)
    }

    /// The sum of the batches' losses and its gradient.
    fn gradients(&self, batches: Vec<Batch>) -> Result<(f32, GradStore)> {
        let losses = batches.into_iter().map(|batch| self.loss(batch)).collect::<Result<Vec<_>>>()?;
        let total = Tensor::stack(&losses, 0)?.sum_all()?;
        Ok((total.to_scalar::<f32>()?, total.backward()?))
    }

    fn add(&self, grads: &mut GradStore, part: &GradStore) -> Result<()> {
        for var in self.trained.iter().chain([&self.unembed]) {
            if let (Some(one), Some(other)) = (grads.get(var), part.get(var)) {
                let sum = (one + other)?;
                grads.insert(var, sum);
            }
        }
        Ok(())
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

/// Pools of one thread: what runs in one never waits for the other.
fn workers() -> Result<Vec<ThreadPool>> {
    let pool = || ThreadPoolBuilder::new().num_threads(1).build();
    (0..WORKERS)
        .map(|_| pool().map_err(|error| Error::argument(format!("no thread could be started: {error}."))))
        .collect()
}
