//! Batches of the training text: sentences of the tasks, and repeated random sequences.

use candle_lens::Result;
use candle_lens::random::Random;
use candle_lens::tasks::repeated;
use candle_lens::tokens::{Bos, Tokenizer, Tokens};

use crate::tiny::corpus;

/// The loss weight of tokens that the text before them does not determine, against 1 for an answer.
const CONTEXT_WEIGHT: f32 = 0.2;
/// The same for the first occurrence of a random sequence, where there is nothing to learn but frequencies.
const RANDOM_WEIGHT: f32 = 0.02;
/// How many of the sentences have random tokens before them, so that what is learnt does not hang on positions.
const SHIFTED: f64 = 0.3;
/// Into how many batches the sentences of a step are sorted by length.
const SENTENCE_BATCHES: usize = 3;
/// Lengths of the rows of random sequences.
const LENGTHS: [usize; 5] = [16, 24, 48, 80, 128];

/// Rows of tokens; for each token, row after row, what comes next and how much its prediction counts in the loss.
pub struct Batch {
    pub tokens: Tokens,
    pub targets: Vec<u32>,
    pub weights: Vec<f32>,
}

/// The ids of a row, and the weight of the prediction of each but the first.
pub type Row = (Vec<u32>, Vec<f32>);

/// Makes batch after batch from one seed.
pub struct Batches {
    tokenizer: Tokenizer,
    end_of_text: u32,
    random: Random,
}

impl Batches {
    pub fn new(tokenizer: &Tokenizer, end_of_text: u32, seed: u64) -> Self {
        Self { tokenizer: tokenizer.clone(), end_of_text, random: Random::new(seed) }
    }

    /// `count` sentences, one in each row, between two end-of-text tokens; in batches of similar lengths, so that
    /// little is filled up. All weights together are 1.
    pub fn sentences(&mut self, count: usize) -> Result<Vec<Batch>> {
        let mut rows = (0..count).map(|_| self.sentence()).collect::<Result<Vec<_>>>()?;
        rows.sort_by_key(|(ids, _)| ids.len());
        let total = total(&rows);
        rows.chunks(count.div_ceil(SENTENCE_BATCHES)).map(|rows| self.batch(rows, 1.0 / total)).collect()
    }

    /// A sentence between two end-of-text tokens.
    pub fn sentence(&mut self) -> Result<Row> {
        let sentence = corpus::sentence(&mut self.random);
        let parts = [sentence.prompt, sentence.answer, sentence.rest];
        let tokens = parts.iter().map(|part| self.ids(part)).collect::<Result<Vec<_>>>()?;
        let mut ids = vec![self.end_of_text];
        if self.random.chance(SHIFTED) {
            ids.extend(self.random_tokens());
        }
        let start = ids.len();
        let answer = start + tokens[0].len();
        ids.extend(tokens.concat());
        ids.push(self.end_of_text);
        let weight = |i: usize| match i {
            _ if i < start => RANDOM_WEIGHT,
            _ if i == answer => 1.0,
            _ => CONTEXT_WEIGHT,
        };
        let weights = (1..ids.len()).map(weight).collect();
        Ok((ids, weights))
    }

    /// About `tokens` tokens in rows of one length, each of which repeats a random sequence. All weights together are
    /// `weight`.
    pub fn repeated(&mut self, tokens: usize, d_vocab: usize, weight: f32) -> Result<Batch> {
        let length = self.length();
        let rows = (0..tokens / length).map(|_| self.repeated_row(length, d_vocab)).collect::<Result<Vec<_>>>()?;
        self.batch(&rows, weight / total(&rows))
    }

    /// How long rows of repeated sequences are.
    pub fn length(&mut self) -> usize {
        LENGTHS[self.random.below(LENGTHS.len())]
    }

    /// A row of `length` tokens that repeats a random sequence.
    pub fn repeated_row(&mut self, length: usize, d_vocab: usize) -> Result<Row> {
        let vocabulary: Vec<u32> = (0..d_vocab as u32).filter(|&id| id != self.end_of_text).collect();
        let period = 4 + self.random.below((length - 1) / 2 - 3);
        let row = repeated::repeated_tokens(&vocabulary, self.end_of_text, period, length, &mut self.random)?;
        let known = row.predictable();
        let weights = (0..length - 1).map(|i| if known.contains(&i) { 1.0 } else { RANDOM_WEIGHT }).collect();
        Ok((row.ids, weights))
    }

    /// A few random tokens.
    fn random_tokens(&mut self) -> Vec<u32> {
        let count = 1 + self.random.below(8);
        let mut token = || self.random.below(self.tokenizer.vocab_size()) as u32;
        (0..count).map(|_| token()).filter(|&id| id != self.end_of_text).collect()
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.to_tokens_with(text, Bos::Omit)?.row(0).to_vec())
    }

    /// Fills the rows up to the longest; what is filled in counts nothing, and causal attention never looks at it.
    fn batch(&self, rows: &[Row], scale: f32) -> Result<Batch> {
        let pos = rows.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        let (mut all, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (ids, row) in rows {
            let mut ids = ids.clone();
            ids.resize(pos + 1, self.end_of_text);
            targets.extend_from_slice(&ids[1..]);
            ids.truncate(pos);
            all.push(ids);
            weights.extend(row.iter().map(|weight| weight * scale));
            weights.resize(targets.len(), 0.0);
        }
        Ok(Batch { tokens: Tokens::from_rows(all)?, targets, weights })
    }
}

fn total(rows: &[Row]) -> f32 {
    rows.iter().flat_map(|(_, weights)| weights).sum()
}
