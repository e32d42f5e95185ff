//! The texts that the dictionaries are trained on: new sentences all the time, such as the model was trained on, and repeated random
//! sequences.

use std::collections::VecDeque;

use candle_lens::model::HookedTransformer;
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::train::{StoreOptions, Texts};
use candle_lens::{Error, Result};

use crate::batches::Batches;

/// How many positions a step sees.
const POSITIONS: usize = 1024;
/// How many texts the model reads at once.
const TOGETHER: usize = 32;
/// After so many groups of sentences there is one of repeated sequences, all of one length: an eighth of all tokens.
const GROUPS: usize = 24;

/// One text after the other, from one seed.
pub struct Rows {
    batches: Batches,
    end_of_text: u32,
    d_vocab: usize,
    ready: VecDeque<Vec<u32>>,
}

impl Rows {
    pub fn new(model: &HookedTransformer, seed: u64) -> Result<Self> {
        let tokenizer = model.tokenizer()?;
        let end_of_text = tokenizer.eos_id().ok_or_else(|| Error::tokens("the tokenizer has no end-of-text token."))?;
        let batches = Batches::new(&tokenizer, end_of_text, seed);
        Ok(Self { batches, end_of_text, d_vocab: model.cfg().d_vocab, ready: VecDeque::new() })
    }

    /// Some texts as a batch, without the end of text behind them.
    pub fn tokens(&mut self, count: usize) -> Result<Tokens> {
        let mut rows: Vec<Vec<u32>> = self.take(count).collect();
        rows.iter_mut().filter(|row| row.last() == Some(&self.end_of_text)).for_each(|row| row.truncate(row.len() - 1));
        Tokens::padded(rows, self.end_of_text, PaddingSide::Right)
    }

    fn make(&mut self) -> Result<()> {
        for _ in 0..GROUPS * TOGETHER {
            self.ready.push_back(self.batches.sentence()?.0);
        }
        let length = self.batches.length();
        for _ in 0..TOGETHER {
            self.ready.push_back(self.batches.repeated_row(length, self.d_vocab)?.0);
        }
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Vec<u32>;

    fn next(&mut self) -> Option<Vec<u32>> {
        if self.ready.is_empty() {
            self.make().expect("the tokenizer was made for these texts");
        }
        self.ready.pop_front()
    }
}

impl From<Rows> for Texts {
    fn from(rows: Rows) -> Self {
        Self::stream(rows)
    }
}

/// How the activations of these texts are collected. End-of-text tokens are left out: there is nothing but their place in them.
pub fn options(seed: u64) -> StoreOptions {
    StoreOptions { batch: POSITIONS, prompts: TOGETHER, seed, ..StoreOptions::default() }
}
