//! How much a circuit depends on the prompts that it was found with: circuits of resampled prompts, and how much they have in
//! common.
//!
//! A score is a mean over prompts. Each resample draws as many prompts with replacement (the bootstrap), takes the mean of their
//! scores, and chooses circuits in the same way; the Jaccard index of two circuits is the share of the edges in either that
//! are in both. Two independent uniform choices of `n` of `N` edges share about `n / (2 N - n)`.
//!
//! # Limits
//! Prompts from one template vary less than what they stand for, so circuits can be stable and still be of the template.

use super::attribute::EdgeMethod;
use super::circuit::Circuit;
use super::edges::Edges;
use super::faithfulness::{CircuitUnit, FaithfulnessCurve};
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::progress::Progress;
use crate::random::Random;

/// How much circuits that were found with resampled prompts have in common.
#[derive(Clone, PartialEq)]
pub struct Stability {
    /// How many edges the circuits of all prompts have, the smallest first.
    pub sizes: Vec<usize>,
    /// The Jaccard index of each two resamples' circuits, `[size, pair]`.
    pub overlap: Labelled,
    /// How many edges the model has.
    pub of: usize,
    /// How many resamples there are.
    pub resamples: usize,
    /// The circuit of all prompts of each size, with the share of resamples that have each edge as its score.
    frequencies: Vec<Circuit>,
}

/// Sums of scores over prompts: of all together, or of each by itself.
pub(super) struct Sums {
    matrices: Vec<Vec<f64>>,
}

impl Sums {
    /// Matrices like this one: one of all prompts, or one of each.
    pub(super) fn of(matrix: Vec<f64>, prompts: Option<usize>) -> Self {
        Self { matrices: vec![matrix; prompts.unwrap_or(1)] }
    }

    /// The matrix to which this prompt belongs.
    pub(super) fn at(&mut self, prompt: usize) -> &mut Vec<f64> {
        let at = if self.matrices.len() == 1 { 0 } else { prompt };
        &mut self.matrices[at]
    }

    pub(super) fn matrices(self) -> Vec<Vec<f64>> {
        self.matrices
    }
}

impl Edges {
    /// As [`Edges::attribute`], the scores of each prompt by itself, whose mean are those of all. Prompts run one by one.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"; 2];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"; 2];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John"); 2])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let each = edges.attribute_each(EdgeMethod::Eap)?;
    /// assert_eq!(each[0].score("m0->m1")?, each[1].score("m0->m1")?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Edges::attribute`].
    pub fn attribute_each(&self, method: EdgeMethod) -> Result<Vec<Circuit>> {
        let mut circuits = self.scored(method, true)?;
        for (prompt, circuit) in circuits.iter_mut().enumerate() {
            circuit.method = format!("{}, prompt {prompt}", circuit.method);
            circuit.levels = circuit.levels.map(|_| (self.clean_values()[prompt], self.corrupted_values()[prompt]));
        }
        Ok(circuits)
    }

    /// How stable circuits chosen by this method are: `choose` makes circuits of scores, of all prompts and of `resamples` draws of
    /// as many prompts with replacement.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = ["When John and Mary went to the shops, John gave the bag to", "When Mary and John went to the shops, John gave the bag to"];
    /// let corrupted = clean.map(|prompt| prompt.replace("John gave", "Mary gave"));
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John"); 2])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let choose = |scores: &Circuit| scores.greedy_each(&[50, 200], RankBy::Magnitude);
    /// let stability = edges.stability(EdgeMethod::Eap, 5, 0, choose)?;
    /// assert!(stability.mean()[1] > stability.by_chance()[1]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fewer than 2 prompts or resamples; a choice of no circuits, or of a different number for other scores; what `choose`
    /// returns; as [`Edges::attribute`].
    pub fn stability(
        &self,
        method: EdgeMethod,
        resamples: usize,
        seed: u64,
        choose: impl Fn(&Circuit) -> Result<Vec<Circuit>>,
    ) -> Result<Stability> {
        let prompts = self.tokens.batch();
        if prompts < 2 || resamples < 2 {
            return Err(Error::argument(format!(
                "there are {prompts} prompts and {resamples} resamples: resampling says something about at least 2 \
                 prompts, and at least 2 resamples are compared."
            )));
        }
        let mut progress = Progress::of("resampling prompts", resamples as u64 + 2, "resamples");
        let each = self.attribute_each(method)?;
        progress.step(1)?;
        let of = |drawn: &[usize]| choose(&self.mean_of(&each, drawn, method));
        let mut whole = of(&(0..prompts).collect::<Vec<_>>())?;
        whole.sort_by_key(Circuit::count_included_edges);
        if whole.is_empty() {
            return Err(Error::argument(
                "no circuit was chosen: return at least one, as topn_each and greedy_each do.",
            ));
        }
        progress.step(1)?;
        let mut random = Random::new(seed);
        let mut chosen = Vec::new();
        for _ in 0..resamples {
            let drawn: Vec<usize> = (0..prompts).map(|_| random.below(prompts)).collect();
            let mut circuits = of(&drawn)?;
            circuits.sort_by_key(Circuit::count_included_edges);
            if circuits.len() != whole.len() {
                return Err(Error::argument(format!(
                    "{} circuits were chosen from a resample, but {} from all prompts: choose as many from any scores, \
                     as topn_each and greedy_each do.",
                    circuits.len(),
                    whole.len()
                )));
            }
            chosen.push(circuits);
            progress.step(1)?;
        }
        Stability::new(whole, &chosen)
    }

    /// The scores of these prompts, the mean over them.
    fn mean_of(&self, each: &[Circuit], drawn: &[usize], method: EdgeMethod) -> Circuit {
        let mut scores = self.no_scores();
        for &prompt in drawn {
            scores.iter_mut().zip(&each[prompt].scores).for_each(|(sum, score)| *sum += f64::from(*score));
        }
        let scores: Vec<f32> = scores.into_iter().map(|sum| (sum / drawn.len() as f64) as f32).collect();
        Circuit::of_layout(self.layout).scored(&scores, self.method_name(method))
    }

    /// The metric of each prompt where every edge is corrupted.
    fn corrupted_values(&self) -> &[f32] {
        &self.corrupted
    }
}

impl Stability {
    fn new(whole: Vec<Circuit>, chosen: &[Vec<Circuit>]) -> Result<Self> {
        let resamples = chosen.len();
        let pairs: Vec<(usize, usize)> = (0..resamples).flat_map(|a| (a + 1..resamples).map(move |b| (a, b))).collect();
        let mut overlap = Vec::new();
        let mut frequencies = Vec::new();
        for (size, circuit) in whole.iter().enumerate() {
            for &(a, b) in &pairs {
                overlap.push(chosen[a][size].overlap(&chosen[b][size])?);
            }
            let share = |place: usize| {
                chosen.iter().filter(|circuits| circuits[size].included[place]).count() as f32 / resamples as f32
            };
            let shares: Vec<f32> = (0..circuit.scores.len()).map(share).collect();
            let method = format!("share of {resamples} resamples that have the edge, {}", circuit.method);
            frequencies.push(circuit.clone().scored(&shares, method));
        }
        let sizes: Vec<usize> = whole.iter().map(Circuit::count_included_edges).collect();
        let names = pairs.iter().map(|(a, b)| format!("{a} and {b}"));
        let axes = vec![Axis::new("size", sizes.iter().map(usize::to_string)), Axis::new("pair", names)];
        let overlap = Labelled::new("Jaccard index of circuits of resampled prompts", axes, overlap)?;
        Ok(Self { of: whole[0].n_edges(), sizes, overlap, resamples, frequencies })
    }

    /// The mean Jaccard index of each size.
    pub fn mean(&self) -> Vec<f32> {
        let values: Vec<f32> = self.overlap.values().iter().copied().collect();
        values.chunks(values.len() / self.sizes.len()).map(mean).collect()
    }

    /// The Jaccard index of each size that independent uniform choices of as many edges would have, about `n / (2 N - n)`.
    pub fn by_chance(&self) -> Vec<f32> {
        self.sizes.iter().map(|&n| n as f32 / (2 * self.of - n) as f32).collect()
    }

    /// The circuits of all prompts, the smallest first. The score of an edge, of those outside as well, is the share of resamples
    /// whose circuit of that size has it.
    pub fn frequencies(&self) -> Vec<Circuit> {
        self.frequencies.clone()
    }
}

impl std::fmt::Debug for Stability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stability({} resamples, {:?} of {} edges)", self.resamples, self.sizes, self.of)
    }
}

impl FaithfulnessCurve {
    /// The curve with the stability of its circuits beside it.
    ///
    /// # Errors
    /// Stability of circuits of other sizes, or of another model.
    pub fn with_stability(self, stability: &Stability) -> Result<Self> {
        self.check_beside("resampled circuits", &stability.sizes, (stability.of, CircuitUnit::Edges))?;
        Ok(Self { stability: Some(stability.clone()), ..self })
    }
}
