//! Generation step by step.

use std::collections::BTreeMap;

use candle_core::{DType, IndexOp, Tensor};

use super::options::GenerateOptions;
use super::sampler::Sampler;
use super::text::{Generated, Printer, Texts};
use crate::error::{Error, Result};
use crate::hooks::HookPoint;
use crate::model::{HookedTransformer, KvCache, RunOptions};
use crate::progress::Progress;
use crate::tokens::{Bos, Input, PaddingSide, TokenizeOptions, Tokens};
use crate::visible::print_line;

/// One more token for each text.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The new token of each prompt; `None` where the text has ended.
    pub tokens: Vec<Option<u32>>,
    /// The text that each prompt gained: nothing while a character is incomplete. The last step gives a character that is never
    /// completed as its bytes, `⟨e6⟩⟨97⟩`.
    pub texts: Vec<String>,
}

/// A text that grows by one token with each step; an iterator over [`Step`].
pub struct GenerateStream {
    model: HookedTransformer,
    options: GenerateOptions,
    sampler: Sampler,
    /// The prompts with the added tokens; texts that have ended continue with a token that is not shown.
    text: Tokens,
    past: Option<KvCache>,
    rows: Vec<Vec<u32>>,
    ended: Vec<bool>,
    ends: Vec<u32>,
    steps: usize,
    /// The maximum number of steps.
    most: usize,
    /// The number of tokens of the text after all steps.
    longest: usize,
    texts: Texts,
    /// The activations at the last position that each step leaves behind.
    kept: BTreeMap<HookPoint, Option<Tensor>>,
}

impl HookedTransformer {
    /// Continues one or several prompts.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = ["When John and Mary went to the shops, John gave the bag to", "Tirana, the capital of"];
    /// let text = model.generate(prompts, GenerateOptions { max_new_tokens: 1, ..Default::default() })?;
    /// assert_eq!(text.completions(), [" Mary", " Albania"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Options out of range, prompts that are longer than `n_ctx` together with the new tokens, and as
    /// [`HookedTransformer::run`].
    pub fn generate(&self, input: impl Into<Input>, options: impl Into<GenerateOptions>) -> Result<Generated> {
        self.generate_stream(input, options)?.each_step(|_, _| Ok(()))
    }

    /// Continues one or several prompts, one token at a time: the iterator behind [`HookedTransformer::generate`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// for step in model.generate_stream("When John and Mary went to the shops,", GenerateOptions::default())? {
    ///     assert_eq!(step?.texts.len(), 1);
    /// }
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`HookedTransformer::generate`]; a run that fails ends the stream with its error.
    pub fn generate_stream(
        &self,
        input: impl Into<Input>,
        options: impl Into<GenerateOptions>,
    ) -> Result<GenerateStream> {
        let options = options.into();
        options.check(self.cfg().d_vocab_out())?;
        if self.cfg().d_vocab != self.cfg().d_vocab_out() {
            return Err(Error::argument(format!(
                "the model reads {} tokens but answers with {} classes, so what it answers cannot be its next input: \
                 only a model whose d_vocab_out is its d_vocab generates text.",
                self.cfg().d_vocab,
                self.cfg().d_vocab_out()
            )));
        }
        let text = self.left_padded(input, options.bos)?;
        let n_ctx = self.cfg().n_ctx;
        let most = match options.max_new_tokens {
            usize::MAX => n_ctx.saturating_sub(text.pos()),
            most => most,
        };
        let longest = text.pos().saturating_add(most);
        if longest > n_ctx || most == 0 {
            return Err(Error::tokens(format!(
                "the prompt has {} tokens and {} would be added, but the model reads at most n_ctx = {}: ask for fewer \
                 new tokens, or shorten the prompt.",
                text.pos(),
                most.max(1),
                n_ctx
            )));
        }
        options.plan.so_far((0, longest), longest)?;
        let mut ends = options.stop_tokens.clone();
        if options.stop_at_eos {
            ends.extend(self.end_ids());
        }
        let rows: Vec<Vec<u32>> = (0..text.batch()).map(|b| text.real_row(b).to_vec()).collect();
        Ok(GenerateStream {
            model: self.clone(),
            sampler: Sampler::new(&options),
            options,
            texts: Texts::new(self, &rows)?,
            ended: vec![false; rows.len()],
            text,
            past: None,
            rows,
            ends,
            steps: 0,
            most,
            longest,
            kept: BTreeMap::new(),
        })
    }

    /// The prompts padded on the left, so that every row ends at the last position.
    ///
    /// # Errors
    /// As [`HookedTransformer::to_tokens_with`].
    pub(crate) fn left_padded(&self, input: impl Into<Input>, bos: Bos) -> Result<Tokens> {
        let input = input.into();
        match &input {
            Input::Texts(_) => {
                let left = TokenizeOptions { bos, padding_side: Some(PaddingSide::Left), truncate: false };
                self.to_tokens_with(input, left)
            }
            _ => left_padded(self.to_tokens_with(input, bos)?),
        }
    }
}

/// The batch padded on the left, so that every row ends at the last position.
fn left_padded(tokens: Tokens) -> Result<Tokens> {
    if !tokens.is_padded() {
        return Ok(tokens);
    }
    let rows = (0..tokens.batch()).map(|b| tokens.real_row(b).to_vec()).collect();
    Tokens::padded(rows, 0, PaddingSide::Left)
}

impl GenerateStream {
    /// The same, whose steps leave the activations at these points behind, at the position from which the token was chosen.
    pub(crate) fn keeping(mut self, points: impl IntoIterator<Item = HookPoint>) -> Self {
        self.kept = points.into_iter().map(|point| (point, None)).collect();
        self
    }

    /// What the last step left behind at a point that it keeps, after edits: the numbers of each prompt.
    ///
    /// # Errors
    /// candle's.
    pub(crate) fn kept(&self, point: HookPoint) -> Result<Vec<Vec<f32>>> {
        let Some(Some(x)) = self.kept.get(&point) else { return Ok(Vec::new()) };
        Ok(x.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2()?)
    }

    /// Takes all steps, and does something after each, where it is known which texts had ended before.
    ///
    /// # Errors
    /// A run that fails; what `each` returns.
    pub(crate) fn each_step(mut self, mut each: impl FnMut(&Self, &[bool]) -> Result<()>) -> Result<Generated> {
        let print = self.options.print;
        let mut progress = Progress::of("generating", self.most as u64, "tokens");
        let single = self.rows.len() == 1 && print;
        let mut printer = single.then(|| Printer::new(&self.texts.prompts()[0]));
        while let Some(step) = self.next() {
            let step = step?;
            let ended: Vec<bool> = step.tokens.iter().map(Option::is_none).collect();
            each(&self, &ended)?;
            printer.iter_mut().for_each(|printer| printer.add(&step.texts[0]));
            progress.step(1)?;
        }
        drop(printer);
        let generated = self.finish();
        if print && !single {
            generated.texts().iter().for_each(|text| print_line(&format!("{text:?}")));
        }
        Ok(generated)
    }

    /// What has been generated so far.
    pub fn finish(mut self) -> Generated {
        self.rows.iter().enumerate().for_each(|(b, row)| drop(self.texts.flush(b, row)));
        Generated::new(self.texts, self.rows)
    }

    /// The logits of the next token of each text, `[batch, d_vocab]`.
    fn logits(&mut self) -> Result<Tensor> {
        let keep_kv_cache = self.options.plan.is_by_position();
        let mut options = RunOptions { keep_kv_cache, ..Default::default() };
        let past = self.past.take().filter(|past| self.model.stale_past(&past.tokens(), &self.text).is_none());
        let before = past.as_ref().map_or(0, |past| past.tokens().pos());
        let input = match past {
            Some(past) => {
                let new = (0..self.text.batch()).map(|b| self.text.row(b)[before..].to_vec()).collect();
                options.past_kv_cache = Some(past);
                Tokens::from_rows(new)?
            }
            None => self.text.clone(),
        };
        let plan = self.options.plan.so_far((before, self.text.pos()), self.longest)?;
        let plan = self.kept.keys().fold(plan.pos(-1), |plan, &point| plan.capture(point));
        let mut run = self.model.run(input, &plan, &options)?;
        self.kept.iter_mut().for_each(|(point, kept)| *kept = run.captured.remove(point));
        let logits = run.logits()?;
        self.past = run.kv_cache;
        let logits = logits.i((.., logits.dim(1)? - 1))?.to_dtype(DType::F32)?;
        match run.level.filter(|_| self.sampler.needs_level()) {
            Some(level) => Ok(logits.broadcast_add(&level.to_dtype(DType::F32)?.unsqueeze(1)?)?),
            None => Ok(logits),
        }
    }

    fn step(&mut self) -> Result<Step> {
        let logits = self.logits()?.to_vec2::<f32>()?;
        let mut step = Step { tokens: Vec::new(), texts: Vec::new() };
        let mut column = Vec::new();
        for (b, logits) in logits.into_iter().enumerate() {
            if self.ended[b] {
                // The text has ended; its row continues with a token that no other row sees.
                column.push(vec![self.rows[b][self.rows[b].len() - 1]]);
                step.tokens.push(None);
                step.texts.push(String::new());
                continue;
            }
            let id = self.sampler.choose(logits, &self.rows[b])?;
            self.rows[b].push(id);
            self.ended[b] = self.ends.contains(&id);
            column.push(vec![id]);
            step.tokens.push(Some(id));
            let last = self.ended[b] || self.steps + 1 == self.options.max_new_tokens;
            step.texts.push(self.texts.grow(b, &self.rows[b], last)?);
        }
        self.text = self.text.continued(&Tokens::from_rows(column)?)?;
        self.steps += 1;
        Ok(step)
    }
}

impl Iterator for GenerateStream {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.steps >= self.most || self.ended.iter().all(|&ended| ended) {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.steps = self.most;
        }
        Some(step)
    }
}

impl std::fmt::Debug for GenerateStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (texts, steps) = (self.rows.len(), self.steps);
        write!(f, "GenerateStream({texts} texts, {steps} of {} steps)", self.most)
    }
}
