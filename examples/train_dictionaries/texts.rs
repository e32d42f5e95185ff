//! The activations that the dictionaries are trained on: new sentences all the time, as the model was trained on.

use std::collections::VecDeque;

use candle_lens::candle::{Device, Tensor};
use candle_lens::hooks::HookPlan;
use candle_lens::model::{HookedTransformer, RunOptions};
use candle_lens::random::Random;
use candle_lens::tokens::Tokenizer;
use candle_lens::{Error, Result};

use crate::batches::{Batch, Batches};
use crate::sites::{SITES, Site};

/// How many positions a step sees.
pub const POSITIONS: usize = 1024;
/// Sentences that are run at once, before their positions are mixed.
const SENTENCES: usize = 330;
/// The same of tokens of repeated random sequences: about 12 %.
const REPEATED_TOKENS: usize = 600;

/// The activations of some positions at all points.
pub struct Activations {
    /// For each of [`SITES`], what it reads and what it writes, `[pos, d]`.
    sites: Vec<(Tensor, Option<Tensor>)>,
}

impl Activations {
    /// What a dictionary reads, and what a transcoder is to write.
    pub fn of(&self, site: &Site) -> (&Tensor, Option<&Tensor>) {
        let place = SITES.iter().position(|other| other.name == site.name).expect("one of the sites");
        (&self.sites[place].0, self.sites[place].1.as_ref())
    }
}

/// Makes batch after batch of activations from one seed.
pub struct Texts<'a> {
    model: &'a HookedTransformer,
    batches: Batches<'a>,
    random: Random,
    end_of_text: u32,
    ready: VecDeque<Activations>,
}

impl<'a> Texts<'a> {
    pub fn new(model: &'a HookedTransformer, tokenizer: &'a Tokenizer, seed: u64) -> Result<Self> {
        let end_of_text = tokenizer.eos_id().ok_or_else(|| Error::tokens("the tokenizer has no end-of-text token."))?;
        let batches = Batches::new(tokenizer, end_of_text, seed);
        Ok(Self { model, batches, random: Random::new(seed), end_of_text, ready: VecDeque::new() })
    }

    /// The next [`POSITIONS`] positions.
    pub fn next(&mut self) -> Result<Activations> {
        while self.ready.is_empty() {
            self.run()?;
        }
        Ok(self.ready.pop_front().expect("some are ready"))
    }

    /// Some texts, to measure on.
    pub fn batches(&mut self) -> Result<Vec<Batch>> {
        let mut batches = self.batches.sentences(SENTENCES)?;
        batches.push(self.batches.repeated(REPEATED_TOKENS, self.model.cfg().d_vocab, 1.0)?);
        Ok(batches)
    }

    /// Runs some texts and mixes their positions, without those of end-of-text tokens: there is nothing but their place in them.
    fn run(&mut self) -> Result<()> {
        let mut sites: Vec<(Vec<Tensor>, Vec<Tensor>)> = SITES.iter().map(|_| (Vec::new(), Vec::new())).collect();
        let mut plan = HookPlan::new();
        for site in &SITES {
            let (reads, writes) = site.points()?;
            plan = [Some(reads), writes].into_iter().flatten().fold(plan, HookPlan::capture);
        }
        for batch in self.batches()? {
            let tokens = &batch.tokens;
            let ids: Vec<u32> = (0..tokens.batch()).flat_map(|row| tokens.row(row)).collect();
            let kept: Vec<u32> = (0..ids.len() as u32).filter(|i| ids[*i as usize] != self.end_of_text).collect();
            let kept = Tensor::new(kept, &Device::Cpu)?;
            let options = RunOptions { logits: false, ..Default::default() };
            let run = self.model.run(batch.tokens, &plan, options)?;
            for (site, (x, y)) in SITES.iter().zip(&mut sites) {
                let (reads, writes) = site.points()?;
                let rows = |point| -> Result<Tensor> {
                    let found = run.captured.get(&point).expect("it was captured").flatten_to(1)?;
                    Ok(found.flatten_from(1)?.index_select(&kept, 0)?)
                };
                x.push(rows(reads)?);
                y.extend(writes.map(rows).transpose()?);
            }
        }
        let positions = sites[0].0.iter().map(|rows| rows.dim(0)).sum::<candle_lens::candle::Result<usize>>()?;
        let order = self.shuffled(positions);
        for part in order.chunks_exact(POSITIONS) {
            let part = Tensor::new(part, &Device::Cpu)?;
            let pick = |rows: &[Tensor]| -> Result<Tensor> { Ok(Tensor::cat(rows, 0)?.index_select(&part, 0)?) };
            let of =
                |(x, y): &(Vec<Tensor>, Vec<Tensor>)| Ok((pick(x)?, (!y.is_empty()).then(|| pick(y)).transpose()?));
            self.ready.push_back(Activations { sites: sites.iter().map(of).collect::<Result<_>>()? });
        }
        Ok(())
    }

    fn shuffled(&mut self, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        for i in (1..count).rev() {
            order.swap(i, self.random.below(i + 1));
        }
        order
    }
}
