//! How much memory work on a part of the batch takes, and how much of it fits in the budget.
//!
//! Sizes are counted in numbers, not in bytes. They are estimates of the largest tensors that are held at once.

use super::edges::Edges;
use super::outputs::Outputs;
use crate::error::{Error, Result, human_bytes};

/// Working memory by default, in bytes.
const BUDGET: u64 = 1 << 30;

impl Edges {
    /// As [`Experiment::budget`](crate::experiment::Experiment::budget), for edges that are already prepared.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// The batch in parts of at most `most` prompts: the first prompt of each, and how many they are.
    pub(super) fn parts(&self, most: usize) -> Vec<(usize, usize)> {
        let batch = self.tokens.batch();
        (0..batch).step_by(most).map(|from| (from, most.min(batch - from))).collect()
    }

    /// The batch in parts as [`Edges::parts`], or prompt by prompt.
    pub(super) fn parts_for(&self, each: bool, most: usize) -> Vec<(usize, usize)> {
        self.parts(if each { 1 } else { most })
    }

    /// How many prompts of the batch fit at once, if each takes `each` numbers and the logits of all prompts, however many
    /// run, take `logits` more.
    ///
    /// # Errors
    /// A budget that a single prompt exceeds.
    pub(super) fn prompts_at_once(&self, each: usize, logits: usize) -> Result<usize> {
        let bytes = |numbers: usize| (numbers * self.bytes_of_number()) as u64;
        let (one, logits) = (bytes(each), bytes(logits));
        if let Some(budget) = self.budget.filter(|budget| one + logits > *budget) {
            let of_logits = match logits {
                0 => String::new(),
                _ => format!(" ({} of it for the logits of all {})", human_bytes(logits), self.tokens.batch()),
            };
            return Err(Error::argument(format!(
                "the budget of {} is too small for a single prompt, which takes {}{of_logits}: give more with \
                 Experiment::budget.",
                human_bytes(budget),
                human_bytes(one + logits)
            )));
        }
        let room = self.budget.map_or(BUDGET, |budget| budget - logits);
        Ok(((room / one) as usize).clamp(1, self.tokens.batch()))
    }

    /// How many copies of all prompts fit in the budget at once, beside what a search for a circuit keeps of them.
    ///
    /// # Errors
    /// A budget that one copy exceeds.
    pub(super) fn copies_at_once(&self) -> Result<usize> {
        let width = self.tokens.batch() * self.tokens.pos() * self.layout.d_model;
        // Differences with the tensors that they are stacked from, and updates with those before them.
        let kept = (3 * self.layout.n_forward() + 2 * self.layout.n_backward()) * width;
        let copy =
            self.tokens.batch() * (self.numbers_of_copy() + 2 * self.numbers_of_nodes()) + self.numbers_of_logits();
        let room = self.numbers_in_budget();
        if kept + copy > room {
            let bytes = |numbers: usize| human_bytes((numbers * self.bytes_of_number()) as u64);
            return Err(Error::argument(format!(
                "all {} prompts run at once here, which takes {}, and the budget is {}: give fewer or shorter prompts, \
                 or more with Experiment::budget.",
                self.tokens.batch(),
                bytes(kept + copy),
                bytes(room)
            )));
        }
        Ok((room - kept) / copy)
    }

    /// How many numbers fit in the budget.
    pub(super) fn numbers_in_budget(&self) -> usize {
        (self.budget.unwrap_or(BUDGET) / self.bytes_of_number() as u64) as usize
    }

    fn bytes_of_number(&self) -> usize {
        self.model.dtype().size_in_bytes().max(4)
    }

    /// The numbers of what all nodes add to the residual stream, for one prompt.
    pub(super) fn numbers_of_nodes(&self) -> usize {
        self.layout.n_forward() * self.tokens.pos() * self.layout.d_model
    }

    /// The numbers of [`Edges::difference`], of one prompt.
    pub(super) fn numbers_of_difference(&self) -> usize {
        self.run.outputs.elem_count() / self.tokens.batch()
    }

    /// How many numbers one copy of a prompt takes: the width of a residual stream for each head's three inputs, and what a
    /// block computes from one.
    pub(super) fn numbers_of_copy(&self) -> usize {
        (8 * self.layout.n_heads + 32) * self.tokens.pos() * self.layout.d_model
    }

    /// The numbers that the logits of all prompts take, however many run, with everything that the metric computes from
    /// them: 4 to 5 times the logits that it reads, as measured for all columns.
    pub(super) fn numbers_of_logits(&self) -> usize {
        5 * self.tokens.batch() * self.columns()
    }

    /// The same when what the metric computes is kept for a backward pass: 12 times the logits as measured, and up to 22 for KL
    /// divergence.
    pub(super) fn numbers_of_logits_with_gradients(&self) -> usize {
        let times = if self.metric.needs_clean() { 22 } else { 12 };
        times * self.tokens.batch() * self.columns()
    }

    /// How many logits of a prompt the metric reads at most.
    pub(super) fn columns(&self) -> usize {
        self.metric.rows().most() * self.metric.width(&self.model)
    }

    /// What nodes write when corrupted minus what they write, for `count` prompts from prompt `from` on: computed part by part,
    /// because that of all prompts is as large as what is kept of both runs.
    pub(super) fn difference(&self, from: usize, count: usize) -> Result<Outputs> {
        self.ablated.rows(from, count)?.minus(&self.run.outputs.rows(from, count)?)
    }
}
