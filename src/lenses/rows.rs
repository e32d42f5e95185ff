//! Vectors through a lens, the final norm and the unembedding, a few rows at a time.
//!
//! The outer loop is over some rows (positions of prompts), the inner over components, so that no more logits exist than those of
//! some rows of one component and of the model's own prediction there: `[component, prompt, position, vocabulary]` never does.

use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use super::lens::Lens;
use super::row::{Row, RowNumbers, Wanted};
use crate::dims::ReadBy;
use crate::error::Result;
use crate::hooks::check_free;
use crate::model::{FinalNorm, HookedTransformer};
use crate::progress::Progress;

/// How many logits exist of one component at a time, unless one row has more.
const LOGITS: usize = 1 << 21;

/// How many tensors of these logits exist at once: the product, with biases, capped, in f32 and as a list, the model's own ones
/// and their probabilities.
const COPIES: usize = 7;

/// Vectors that are read through a lens.
pub(super) struct Rows {
    /// `[component, row, d_model]`.
    pub vectors: Tensor,
    /// Where the vectors of each component are taken to be.
    pub places: Vec<ReadBy>,
    /// The residual stream at the end of the model, `[row, d_model]`, where a run belongs to the vectors.
    pub end: Option<Tensor>,
    /// The token that is read at each row.
    pub targets: Option<Vec<Option<u32>>>,
    /// Whether each row is at a token; all numbers of others are NaN.
    pub real: Vec<bool>,
    /// The final norm.
    pub norm: FinalNorm,
}

/// Numbers of each row of each component, components outside.
pub(super) struct Numbers {
    pub tokens: Vec<u32>,
    pub probabilities: Vec<f32>,
    pub entropy: Vec<f32>,
    pub kl: Option<Vec<f32>>,
    pub target: Option<[Vec<f32>; 3]>,
    pub chosen: [Vec<f32>; 3],
}

impl Rows {
    /// Reads all of them.
    ///
    /// # Errors
    /// More numbers than fit in memory; the lens' and candle's.
    pub(super) fn read(&self, lens: &dyn Lens, model: &HookedTransformer, k: usize, chosen: &[u32]) -> Result<Numbers> {
        let (components, rows, vocabulary) = (self.places.len(), self.real.len(), model.cfg().d_vocab_out());
        let block = (LOGITS / vocabulary.max(1)).clamp(1, rows.max(1));
        self.check_memory(&lens.name(), (block * vocabulary) as u64, k + 3 * chosen.len())?;
        let mut numbers = Numbers::empty(components * rows, k, chosen.len());
        let blocks = rows.div_ceil(block);
        let mut progress =
            Progress::of(format!("applying the {}", lens.name()), (blocks * components) as u64, "components");
        for from in (0..rows).step_by(block) {
            let count = block.min(rows - from);
            let own = match &self.end {
                Some(end) => Some(self.logits(lens, model, &end.narrow(0, from, count)?, ReadBy::End)?),
                None => None,
            };
            let own = own.as_deref().map(|own| Own::new(own, vocabulary));
            for (component, &at) in self.places.iter().enumerate() {
                let x = self.vectors.get(component)?.narrow(0, from, count)?;
                let logits = self.logits(lens, model, &x, at)?;
                let of_rows = self.of_rows((&logits, vocabulary), from, own.as_ref(), (k, chosen));
                numbers.put(component * rows + from, k, of_rows);
                progress.step(1)?;
            }
        }
        if self.end.is_none() {
            numbers.kl = None;
        }
        if self.targets.is_none() {
            numbers.target = None;
        }
        Ok(numbers)
    }

    /// The logits of vectors at one place, row by row.
    fn logits(&self, lens: &dyn Lens, model: &HookedTransformer, x: &Tensor, at: ReadBy) -> Result<Vec<f32>> {
        let normed = self.norm.apply(&lens.carry(x, at)?)?.to_device(&model.device())?;
        let logits = model.logits_of(&normed)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    fn of_rows(
        &self,
        (logits, vocabulary): (&[f32], usize),
        from: usize,
        own: Option<&Own>,
        (k, chosen): (usize, &[u32]),
    ) -> Vec<RowNumbers> {
        let of_row = |(place, logits): (usize, &[f32])| {
            let target = self.targets.as_ref().and_then(|targets| targets[from + place]);
            let own = own.map(|own| own.row(place));
            let mut numbers =
                Row::new(logits).numbers(Wanted { k, target, chosen }, own.as_ref().map(|(row, p)| (row, *p)));
            if !self.real[from + place] {
                numbers.clear();
            }
            numbers
        };
        logits.par_chunks(vocabulary).enumerate().map(of_row).collect()
    }

    /// # Errors
    /// More numbers than fit in memory.
    fn check_memory(&self, lens: &str, logits: u64, of_row: usize) -> Result<()> {
        let (components, rows, width) = (self.places.len(), self.real.len(), self.vectors.dim(D::Minus1)?);
        // Tokens, texts and numbers that are kept of each row.
        let kept = components.saturating_mul(rows).saturating_mul(32 + 40 * of_row) as u64;
        let bytes = (logits.saturating_mul(COPIES as u64 * 4)).saturating_add(kept);
        let rows_of = format!("{components} x {rows} vectors of width {width}");
        check_free(
            bytes,
            &format!("reading {rows_of} through the {lens}"),
            "read fewer positions (LensOptions::pos) or a smaller k",
        )
    }
}

/// The model's own logits at some rows, and their probabilities.
struct Own<'a> {
    logits: &'a [f32],
    p: Vec<f32>,
    vocabulary: usize,
}

impl<'a> Own<'a> {
    fn new(logits: &'a [f32], vocabulary: usize) -> Self {
        let mut p = vec![0.; logits.len()];
        let rows = p.par_chunks_mut(vocabulary).zip(logits.par_chunks(vocabulary));
        rows.for_each(|(p, logits)| Row::new(logits).probabilities(p));
        Self { logits, p, vocabulary }
    }

    fn row(&self, place: usize) -> (Row<'_>, &[f32]) {
        let range = place * self.vocabulary..(place + 1) * self.vocabulary;
        (Row::new(&self.logits[range.clone()]), &self.p[range])
    }
}

impl RowNumbers {
    /// Nothing is known of this row.
    fn clear(&mut self) {
        self.best.iter_mut().for_each(|(_, probability)| *probability = f32::NAN);
        (self.entropy, self.kl, self.target) = (f32::NAN, f32::NAN, [f32::NAN; 3]);
        self.chosen.iter_mut().for_each(|numbers| *numbers = [f32::NAN; 3]);
    }
}

impl Numbers {
    fn empty(count: usize, k: usize, chosen: usize) -> Self {
        let none = |count: usize| vec![f32::NAN; count];
        Self {
            tokens: vec![0; count * k],
            probabilities: none(count * k),
            entropy: none(count),
            kl: Some(none(count)),
            target: Some([none(count), none(count), none(count)]),
            chosen: [none(count * chosen), none(count * chosen), none(count * chosen)],
        }
    }

    /// Puts the numbers of rows from the one at `first` on.
    fn put(&mut self, first: usize, k: usize, rows: Vec<RowNumbers>) {
        for (place, row) in (first..).zip(rows) {
            for (rank, (token, probability)) in row.best.into_iter().enumerate() {
                self.tokens[place * k + rank] = token;
                self.probabilities[place * k + rank] = probability;
            }
            self.entropy[place] = row.entropy;
            if let Some(kl) = &mut self.kl {
                kl[place] = row.kl;
            }
            if let Some(target) = &mut self.target {
                target.iter_mut().zip(row.target).for_each(|(all, number)| all[place] = number);
            }
            let count = row.chosen.len();
            for (which, numbers) in row.chosen.into_iter().enumerate() {
                self.chosen.iter_mut().zip(numbers).for_each(|(all, number)| all[place * count + which] = number);
            }
        }
    }
}
