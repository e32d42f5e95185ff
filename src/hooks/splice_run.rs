//! What a splice sees of the run that it is in.

use std::sync::Arc;

use candle_core::Tensor;

use super::point::HookPoint;
use super::run::HookRun;
use super::splices::Spliced;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::visible::visible;

/// The texts of a run and which of their positions are run. A dictionary needs to know them to leave a BOS alone, and an error
/// that was kept belongs to the texts that it was computed on.
#[derive(Clone, Default)]
pub struct TextPart {
    texts: Arc<Vec<(Vec<u32>, usize)>>,
    from: usize,
}

impl TextPart {
    /// The positions from `from` on of texts, each with the position of its first token that is not padding.
    pub(crate) fn new(texts: Vec<(Vec<u32>, usize)>, from: usize) -> Self {
        Self { texts: Arc::new(texts), from }
    }

    /// How many texts there are. The rows of a run may be several copies of them, one after the other: row `i` is text
    /// `i % texts()`.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// The ids of a whole text, padding included: also those before and behind the positions that are run.
    pub fn ids(&self, row: usize) -> &[u32] {
        &self.texts[row % self.texts.len()].0
    }

    /// The position of a text's first token that is not padding.
    pub fn first(&self, row: usize) -> usize {
        self.texts[row % self.texts.len()].1
    }

    /// The first position of the texts that is run.
    pub fn from(&self) -> usize {
        self.from
    }
}

/// The run that a [`Splice`](super::Splice) is in: its inner sites are shown to it, and it knows what the plan names.
pub struct SpliceRun<'a> {
    run: &'a mut HookRun,
    spliced: &'a Spliced,
    point: HookPoint,
    dims: Dims,
    /// Prompts and positions of this run.
    shape: (usize, usize),
    shown: Vec<bool>,
}

impl SpliceRun<'_> {
    /// The point that the splice is at.
    pub fn point(&self) -> HookPoint {
        self.point
    }

    /// Shows an inner site, and returns what to go on with: the same, or what the plan's edits make of it.
    ///
    /// # Errors
    /// A site that was not declared or was shown before, a shape other than the declared one.
    pub fn show(&mut self, number: usize, value: Tensor) -> Result<Tensor> {
        let name = || visible(&self.spliced.splice.name()).to_string();
        let Some((&inner, seen)) = self.spliced.inner.get(number).zip(self.shown.get_mut(number)) else {
            return Err(Error::argument(format!(
                "\"{}\" shows its inner site {number}, but it declares {}: number them from 0.",
                name(),
                self.spliced.inner.len()
            )));
        };
        if std::mem::replace(seen, true) {
            return Err(Error::argument(format!(
                "\"{}\" shows {inner} twice in one run: show each site once.",
                name()
            )));
        }
        let expected = inner.shape(&self.dims, self.shape.0, self.shape.1);
        if value.dims() != expected {
            let what = format!("what \"{}\" shows at {inner}", name());
            return Err(Error::shape(what, format!("{expected:?}"), value.dims()));
        }
        let value = self.run.show(inner, value)?;
        self.run.keep_for_splices(inner, &value);
        Ok(value)
    }

    /// Whether someone asks for an inner site: the plan captures, edits or watches it, or another splice reads it. Only then
    /// must it be shown.
    pub fn wants(&self, number: usize) -> bool {
        self.spliced.inner.get(number).is_some_and(|inner| self.run.names(*inner))
    }

    /// Whether the plan edits an inner site.
    pub fn edits(&self, number: usize) -> bool {
        self.spliced.inner.get(number).is_some_and(|inner| self.run.edits(*inner))
    }

    /// The activation at a point that the splice [reads](super::Splice::reads), by its number there.
    ///
    /// # Errors
    /// A number that was not declared; a point inside another splice that was not shown in this run.
    pub fn read(&self, number: usize) -> Result<Tensor> {
        let name = || visible(&self.spliced.splice.name()).to_string();
        let Some(&point) = self.spliced.reads.get(number) else {
            return Err(Error::argument(format!(
                "\"{}\" reads its point {number}, but it declares {}: number them from 0.",
                name(),
                self.spliced.reads.len()
            )));
        };
        self.run.kept_for_splices(point).ok_or_else(|| {
            Error::argument(format!("\"{}\" at {} reads {point}, which this run has not computed.", name(), self.point))
        })
    }

    /// The texts whose positions are run.
    pub fn text(&self) -> &TextPart {
        self.run.text()
    }
}

impl HookRun {
    /// What the run goes on with where the activation `x` is at `point`; `x` itself where nothing is spliced in.
    ///
    /// # Errors
    /// What the splice returns; shapes other than those that it declares; an inner site that is asked for and that the splice
    /// does not show, or shows twice.
    pub(super) fn through_splice(&mut self, point: HookPoint, x: Tensor) -> Result<Tensor> {
        let Some((spliced, dims)) = self.splices().at(point) else { return Ok(x) };
        let shape = (x.dim(0)?, x.dim(point.pos_axis())?);
        let name = || visible(&spliced.splice.name()).to_string();
        let shown = vec![false; spliced.inner.len()];
        let mut at = SpliceRun { run: self, spliced: &spliced, point, dims, shape, shown };
        let result = spliced.splice.run(&x, &mut at)?;
        let shown = at.shown;
        if let Some((inner, _)) = spliced.inner.iter().zip(&shown).find(|(inner, seen)| !**seen && self.names(**inner))
        {
            return Err(Error::argument(format!(
                "the plan names {inner}, but \"{}\" did not show it in this run: leave it out of the plan, or let the \
                 splice show it.",
                name()
            )));
        }
        match result.dims() == x.dims() {
            true => Ok(result.to_dtype(x.dtype())?),
            false => {
                let what = format!("what \"{}\" returns for {point}", name());
                Err(Error::shape(what, format!("{:?}", x.dims()), result.dims()))
            }
        }
    }
}
