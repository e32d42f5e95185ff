//! `induction`: two layers of attention and nothing else, trained on rows that repeat. Positions enter queries and keys only
//! (Press et al. 2020, "Shortformer"), so that what one head adds for the next is about tokens alone.

use candle_lens::Result;
use candle_lens::candle::Device;
use candle_lens::candle_nn::{AdamW, Optimizer, ParamsAdamW};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use candle_lens::random::Random;
use candle_lens::tasks::repeated::repeated_tokens;
use candle_lens::tokens::Tokens;
use candle_lens::train::Schedule;

use crate::words::{END_OF_TEXT, tokenizer};

const SEED: u64 = 0;
const STEPS: u64 = 2000;
const RATE: f64 = 4e-3;
/// Rows of each step, and tokens of each row.
const ROWS: usize = 24;
const LENGTH: usize = 64;
/// The share of rows that repeat; the others are walks along the bigrams.
const REPEATED: f64 = 7.0 / 8.0;
/// How many tokens may follow each in a walk.
const SUCCESSORS: usize = 4;

/// All of its tokens but the BOS, which is the first.
const WORDS: &str = "apple arm baby back bag ball bank bath bear bed bell bird boat body bone book box boy bread bridge \
    bus cake car cat chair child city clock cloud coat cold cow cup day deer desk dog door dream dress drum duck ear \
    earth egg eye face farm fire fish floor flower food foot fork friend frog game gate gift girl glass goat gold \
    grass hair hand hat head heart hill home horse house ice ink iron island key king kite knife lake lamp leaf leg \
    letter light lion map market milk mirror moon mother mouse music nail name nest night nose ocean oil paper park \
    pen phone pig plant queen rain ring river road rock roof room rope salt sand school sea seed sheep ship shoe";

pub fn train() -> Result<HookedTransformer> {
    let tokenizer = tokenizer([END_OF_TEXT].into_iter().chain(WORDS.split_whitespace()))?;
    let cfg = HookedTransformerConfig {
        model_name: "induction".into(),
        n_layers: 2,
        d_model: 64,
        n_heads: 4,
        d_vocab: tokenizer.vocab_size(),
        n_ctx: LENGTH,
        attn_only: true,
        normalization_type: NormalizationType::None,
        positional_embedding_type: PositionalEmbeddingType::Shortformer,
        initializer_range: Some(0.2),
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, SEED, &Device::Cpu)?;
    // Biases stay 0: what heads read and write is then the sum of its parts, with nothing left over.
    let matrices = vars.into_iter().filter(|var| var.rank() > 1).collect();
    let params = ParamsAdamW { lr: RATE, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.01 };
    let mut optimiser = AdamW::new(matrices, params)?;
    let rate = Schedule::new(RATE, STEPS).with_warm_up(50).with_decay(1000, 0.02);
    let mut rows = Rows::new(tokenizer.vocab_size() as u32);
    for step in 0..STEPS {
        let loss = model.loss(rows.next()?)?;
        optimiser.set_learning_rate(rate.at(step));
        optimiser.backward_step(&loss)?;
        if step % 100 == 0 || step + 1 == STEPS {
            println!("step {step}: loss {:.4}", loss.to_scalar::<f32>()?);
        }
    }
    Ok(model.with_tokenizer(tokenizer))
}

/// The rows of the training.
struct Rows {
    random: Random,
    vocabulary: Vec<u32>,
    successors: Vec<[u32; SUCCESSORS]>,
}

impl Rows {
    fn new(d_vocab: u32) -> Self {
        let mut random = Random::new(SEED);
        let vocabulary: Vec<u32> = (1..d_vocab).collect();
        let successors = (0..d_vocab).map(|_| [(); SUCCESSORS].map(|()| 1 + random.below(vocabulary.len()) as u32));
        let successors = successors.collect();
        Self { random, vocabulary, successors }
    }

    fn next(&mut self) -> Result<Tokens> {
        Tokens::from_rows((0..ROWS).map(|_| self.row()).collect::<Result<_>>()?)
    }

    fn row(&mut self) -> Result<Vec<u32>> {
        if self.random.chance(REPEATED) {
            let period = 3 + self.random.below(28);
            return Ok(repeated_tokens(&self.vocabulary, 0, period, LENGTH, &mut self.random)?.ids);
        }
        let mut row = vec![0, 1 + self.random.below(self.vocabulary.len()) as u32];
        while row.len() < LENGTH {
            row.push(self.successors[row[row.len() - 1] as usize][self.random.below(SUCCESSORS)]);
        }
        Ok(row)
    }
}
