//! The texts in which features are most active: one pass over all texts, of which little is kept.
//!
//! For each feature a heap of the `top` texts by their largest activation, a reservoir of `random` texts out of all in which it
//! is active (Vitter 1985, "Random Sampling with a Reservoir", algorithm R) and the histogram of its activations; of each text that is
//! kept, a window of tokens around its largest activation.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::directions::Fitted;
use super::examples::{FeatureExample, FeatureExamples, FeatureTexts};
use super::histogram::FeatureHistogram;
use super::reading::read;
use super::score::{Batch, batches, left_alone};
use crate::dictionaries::{AtBos, Dictionary, FeatureActs};
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::random::Random;
use crate::slice::Slice;
use crate::tokens::Input;

/// What is kept of texts.
///
/// ```
/// use candle_lens::prelude::*;
/// let options = ExampleOptions { top: 20, ..Default::default() };
/// assert_eq!(options.bos, AtBos::LeftAlone);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleOptions {
    /// How many of the most activating texts of each feature are kept.
    pub top: usize,
    /// How many texts drawn at random from those in which it is active.
    pub random: usize,
    /// How many tokens before the largest activation of a text are shown.
    pub before: usize,
    /// How many after it.
    pub after: usize,
    /// Whether the position of a BOS counts; most dictionaries never saw one.
    pub bos: AtBos,
    /// The seed of what is drawn at random.
    pub seed: u64,
}

impl Default for ExampleOptions {
    fn default() -> Self {
        Self { top: 10, random: 10, before: 12, after: 8, bos: AtBos::LeftAlone, seed: 0 }
    }
}

impl From<&Self> for ExampleOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl HookedTransformer {
    /// The texts in which features are most active, texts drawn at random from all in which they are, and their histograms, from
    /// one pass over the texts, a batch at a time. Padding never counts, a BOS only where the options say so.
    ///
    /// Texts are ranked by their largest activation, by absolute value where activations can be negative; of equal ones the earlier text comes
    /// first. What is drawn at random depends on the seed, the feature and the texts, not on the other features.
    ///
    /// # Errors
    /// As [`Dictionary::for_model`] and [`HookedTransformer::run`]; features that do not exist; texts of which no position counts;
    /// examples of so many features that they do not fit in memory.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let dictionary = Dictionary::from_pretrained("tiny/mlp2")?;
    /// let texts = ["When John and Mary went to the shops, John gave the bag to Mary", "The keys on the cabinet are old"];
    /// let examples = model.feature_examples(&dictionary, .., texts, ExampleOptions::default())?;
    /// let most = examples.features.iter().max_by_key(|texts| texts.histogram.active).unwrap();
    /// assert!(most.top[0].activation >= most.top[most.top.len() - 1].activation);
    /// println!("{most}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn feature_examples(
        &self,
        dictionary: &Dictionary,
        features: impl Into<Slice>,
        texts: impl Into<Input>,
        options: impl Into<ExampleOptions>,
    ) -> Result<FeatureExamples> {
        let options = options.into();
        let mut chosen = features.into().indices(dictionary.d_sae(), "feature")?;
        let mut seen = vec![false; dictionary.d_sae()];
        chosen.retain(|&feature| !std::mem::replace(&mut seen[feature], true));
        let fitted = [Fitted::new(dictionary, self)?];
        let tokens = self.to_tokens(texts)?;
        self.check_room_for(&chosen, &options)?;
        let batches = batches(&tokens, left_alone(self, options.bos), dictionary.d_sae())?;
        let mut kept = Pass::new(&chosen, dictionary.d_sae(), options.clone());
        let mut progress = Progress::of("reading texts for features", batches.len() as u64, "batches");
        for batch in &batches {
            let acts = read(&fitted, batch)?;
            kept.add(batch, &acts[0]);
            progress.step(1)?;
        }
        if kept.positions == 0 {
            return Err(Error::argument(
                "no position of these texts counts: they hold nothing but a BOS, which is left out. Give more text, or \
                 ExampleOptions { bos: AtBos::Spliced, .. }.",
            ));
        }
        let (texts, positions) = (tokens.batch(), kept.positions);
        let features = kept.finish(|id| self.piece(id));
        let (dictionary, without_bos) = (dictionary.name(), options.bos == AtBos::LeftAlone);
        Ok(FeatureExamples { dictionary, texts, positions, without_bos, features })
    }

    /// # Errors
    /// More examples than fit in memory.
    fn check_room_for(&self, features: &[usize], options: &ExampleOptions) -> Result<()> {
        // Of each token its text and its activation, and as much again while they are collected.
        const TOKEN: usize = 80;
        let window = options.before.saturating_add(options.after).saturating_add(1).min(self.cfg().n_ctx);
        let examples = options.top.saturating_add(options.random).saturating_mul(features.len());
        let bytes = examples.saturating_mul(window).saturating_mul(TOKEN) as u64;
        let what = format!("up to {examples} examples of {window} tokens each");
        check_free(bytes, &what, "ask for fewer features, or for fewer or shorter examples (ExampleOptions)")
    }
}

/// A text that is kept.
#[derive(Clone, Debug)]
struct Kept {
    text: usize,
    position: usize,
    activation: f32,
    start: usize,
    ids: Vec<u32>,
    activations: Vec<f32>,
}

impl Kept {
    fn example(self, piece: &impl Fn(u32) -> String) -> FeatureExample {
        let Self { text, position, activation, start, ids, activations } = self;
        let pieces = ids.into_iter().map(piece).collect();
        FeatureExample { text, position, activation, start, pieces, activations }
    }
}

/// Ordered so that the greatest is the first to give way: the smallest activation, and of equal ones the latest text.
impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        other.activation.abs().total_cmp(&self.activation.abs()).then(self.text.cmp(&other.text))
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kept {}

/// What is kept of one feature.
struct OfFeature {
    feature: usize,
    top: BinaryHeap<Kept>,
    random: Vec<Kept>,
    /// In how many texts it was active.
    texts: usize,
    choices: Random,
    histogram: FeatureHistogram,
    /// The largest activation of the current text, and its row in the batch.
    peak: Option<(f32, usize)>,
}

/// Where a text goes.
struct Wanted {
    top: bool,
    /// The index in the reservoir.
    random: Option<usize>,
}

impl OfFeature {
    fn new(feature: usize, seed: u64) -> Self {
        // Neighbouring features and seeds must not share their choices.
        let choices = Random::new(seed ^ (feature as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (top, random, texts, histogram, peak) = Default::default();
        Self { feature, top, random, texts, choices, histogram, peak }
    }

    /// Whether a text with this largest activation is kept.
    fn wants(&mut self, activation: f32, options: &ExampleOptions) -> Wanted {
        self.texts += 1;
        let top = match self.top.peek() {
            _ if self.top.len() < options.top => true,
            Some(least) => activation.abs() > least.activation.abs(),
            None => false,
        };
        let random = match self.random.len() < options.random {
            true => Some(self.random.len()),
            false => Some(self.choices.below(self.texts)).filter(|&at| at < options.random),
        };
        Wanted { top, random }
    }

    fn keep(&mut self, kept: Kept, wanted: &Wanted, options: &ExampleOptions) {
        match wanted.random {
            Some(at) if at < self.random.len() => self.random[at] = kept.clone(),
            Some(_) => self.random.push(kept.clone()),
            None => {}
        }
        if wanted.top {
            if self.top.len() == options.top {
                self.top.pop();
            }
            self.top.push(kept);
        }
    }
}

/// A pass over texts.
struct Pass {
    options: ExampleOptions,
    /// The index in `features` of each feature of the dictionary, if it was chosen.
    slots: Vec<Option<u32>>,
    features: Vec<OfFeature>,
    positions: u64,
}

impl Pass {
    fn new(chosen: &[usize], d_sae: usize, options: ExampleOptions) -> Self {
        let mut slots = vec![None; d_sae];
        for (slot, &feature) in chosen.iter().enumerate() {
            slots[feature] = Some(slot as u32);
        }
        let features = chosen.iter().map(|&feature| OfFeature::new(feature, options.seed)).collect();
        Self { options, slots, features, positions: 0 }
    }

    /// Adds a batch; the batches come in the order of their texts.
    fn add(&mut self, batch: &Batch, acts: &FeatureActs) {
        let pos = batch.tokens.pos();
        let mut from = 0;
        for b in 0..batch.tokens.batch() {
            let rows = batch.counted[from..].iter().take_while(|&&row| row as usize / pos == b).count();
            self.add_text(batch, b, acts, from..from + rows);
            from += rows;
        }
        self.positions += batch.counted.len() as u64;
    }

    /// Adds a text, of which these rows of `acts` are.
    fn add_text(&mut self, batch: &Batch, b: usize, acts: &FeatureActs, rows: Range<usize>) {
        let mut active = Vec::new();
        for row in rows.clone() {
            let (features, values) = acts.row(row);
            for (&feature, &value) in features.iter().zip(values) {
                let Some(slot) = self.slots[feature as usize].filter(|_| value != 0.0) else { continue };
                let of = &mut self.features[slot as usize];
                of.histogram.add_active(value);
                match of.peak {
                    None => active.push(slot),
                    Some((most, _)) if value.abs() <= most.abs() => continue,
                    Some(_) => {}
                }
                of.peak = Some((value, row));
            }
        }
        for slot in active {
            let of = &mut self.features[slot as usize];
            let Some((activation, row)) = of.peak.take() else { continue };
            let wanted = of.wants(activation, &self.options);
            if wanted.top || wanted.random.is_some() {
                let kept = window(batch, b, acts, (rows.clone(), row), of.feature, &self.options);
                of.keep(Kept { text: batch.first + b, activation, ..kept }, &wanted, &self.options);
            }
        }
    }

    fn finish(self, piece: impl Fn(u32) -> String) -> Vec<FeatureTexts> {
        let finished = |of: OfFeature| {
            let OfFeature { feature, top, mut random, mut histogram, .. } = of;
            histogram.positions = self.positions;
            random.sort();
            let examples = |kept: Vec<Kept>| kept.into_iter().map(|kept| kept.example(&piece)).collect();
            FeatureTexts { feature, top: examples(top.into_sorted_vec()), random: examples(random), histogram }
        };
        self.features.into_iter().map(finished).collect()
    }
}

/// The tokens around a peak and the activations there, 0 where positions do not count.
fn window(
    batch: &Batch,
    b: usize,
    acts: &FeatureActs,
    (rows, peak): (Range<usize>, usize),
    feature: usize,
    options: &ExampleOptions,
) -> Kept {
    let (pos, first) = (batch.tokens.pos(), batch.tokens.first_positions()[b]);
    let place = |row: usize| batch.counted[row] as usize % pos - first;
    let ids = batch.tokens.real_row(b);
    let position = place(peak);
    let start = position.saturating_sub(options.before);
    let end = ids.len().min(position.saturating_add(options.after).saturating_add(1));
    let mut activations = vec![0.0; end - start];
    for row in rows.filter(|&row| (start..end).contains(&place(row))) {
        let (features, values) = acts.row(row);
        if let Ok(at) = features.binary_search(&(feature as u32)) {
            activations[place(row) - start] = values[at];
        }
    }
    Kept { text: 0, position, activation: 0.0, start, ids: ids[start..end].to_vec(), activations }
}

/// Each text of a batch as a whole with the activations of one feature; one in which it is never active has its peak at the first
/// token, with 0.
pub(super) fn whole_texts(
    batch: &Batch,
    acts: &FeatureActs,
    feature: usize,
    piece: impl Fn(u32) -> String,
) -> Vec<FeatureExample> {
    let (tokens, pos) = (&batch.tokens, batch.tokens.pos());
    let first = tokens.first_positions();
    let mut texts: Vec<FeatureExample> = (0..tokens.batch())
        .map(|b| FeatureExample {
            text: b,
            pieces: tokens.real_row(b).into_iter().map(&piece).collect(),
            activations: vec![0.0; tokens.lengths()[b]],
            ..Default::default()
        })
        .collect();
    for (row, &place) in batch.counted.iter().enumerate() {
        let (b, position) = (place as usize / pos, place as usize % pos);
        let (features, values) = acts.row(row);
        let Ok(at) = features.binary_search(&(feature as u32)) else { continue };
        let (text, position) = (&mut texts[b], position - first[b]);
        text.activations[position] = values[at];
        if values[at].abs() > text.activation.abs() {
            (text.activation, text.position) = (values[at], position);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 200 draws of 10 of 40 texts, each text is in about 50: a share of 1/4, whose standard deviation is 6.
    #[test]
    fn every_text_is_as_likely_to_be_drawn() {
        let options = ExampleOptions { top: 0, ..Default::default() };
        let mut drawn = [0usize; 40];
        for seed in 0..200 {
            let mut of = OfFeature::new(3, seed);
            for text in 0..drawn.len() {
                let wanted = of.wants(1.0, &options);
                assert!(!wanted.top);
                let nothing = (Vec::new(), Vec::new());
                let kept =
                    Kept { text, position: 0, activation: 1.0, start: 0, ids: nothing.0, activations: nothing.1 };
                of.keep(kept, &wanted, &options);
            }
            assert_eq!(of.random.len(), 10);
            of.random.iter().for_each(|kept| drawn[kept.text] += 1);
        }
        assert_eq!(drawn.iter().sum::<usize>(), 2000);
        assert!(drawn.iter().all(|count| (26..=74).contains(count)), "{drawn:?}");
    }
}
