//! One dictionary at the point that it writes.

use candle_core::Tensor;

use super::super::dictionary::Dictionary;
use super::super::input::Undo;
use super::active::{Active, Encoded, as_wide_as, only_where};
use super::frozen::Frozen;
use super::sites::{Part, sites};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookQuery, InnerSite, Splice, SpliceRun};
use crate::model::ops::linear;
use crate::visible::visible;
use crate::wide;

/// What a spliced dictionary does with its error.
#[derive(Clone)]
pub(super) enum OfError {
    None,
    Recomputed,
    Frozen(Frozen),
    /// The error is shown, and the run goes on as if nothing were spliced in.
    Measured,
}

/// A dictionary spliced in at the point that it writes.
pub(super) struct OneDictionary {
    dictionary: Dictionary,
    /// The point that it reads, if it is not its own.
    reads: Option<HookPoint>,
    writes: HookPoint,
    /// The earlier layers of a cross-layer transcoder whose features write here.
    earlier: Vec<HookPoint>,
    error: OfError,
    /// The BOS that is left alone.
    bos: Option<u32>,
    sites: Vec<(Part, InnerSite)>,
}

impl OneDictionary {
    /// # Errors
    /// A dictionary that does not say where it belongs.
    pub(super) fn new(
        dictionary: Dictionary,
        earlier: Vec<HookPoint>,
        (error, bos): (OfError, Option<u32>),
    ) -> Result<Self> {
        let expects = dictionary.expects();
        let (Some(reads), Some(writes)) = (expects.hook_in, expects.writes()) else {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" does not say which point it reads, so it cannot be spliced in.",
                visible(&dictionary.name())
            )));
        };
        let has_error = !matches!(error, OfError::None);
        let sites = sites(&dictionary, (reads, writes), has_error);
        let reads = Some(reads).filter(|reads| *reads != writes);
        Ok(Self { dictionary, reads, writes, earlier, error, bos, sites })
    }

    fn number(&self, part: Part) -> Option<usize> {
        self.sites.iter().position(|(there, _)| *there == part)
    }

    /// Shows a site if someone asks for it.
    fn show(&self, at: &mut SpliceRun, part: Part, value: Tensor) -> Result<Tensor> {
        match self.number(part) {
            Some(number) if at.wants(number) => at.show(number, value),
            _ => Ok(value),
        }
    }

    fn edits(&self, at: &SpliceRun, parts: &[Part]) -> bool {
        parts.iter().filter_map(|part| self.number(*part)).any(|number| at.edits(number))
    }

    /// The one head that the dictionary belongs to, or all of the activation.
    fn own_part(&self, x: &Tensor, point: HookPoint) -> Result<Tensor> {
        match (self.dictionary.expects().head, point.axes().len()) {
            (Some(head), 4) => Ok(x.narrow(2, head, 1)?.squeeze(2)?),
            _ => Ok(x.clone()),
        }
    }

    /// Which rows and positions the dictionary acts on, `[batch, pos]`: not a BOS that is left alone. None where it acts on all.
    fn acts_on(&self, y: &Tensor, at: &SpliceRun) -> Result<Option<Tensor>> {
        let (Some(bos), text) = (self.bos, at.text()) else { return Ok(None) };
        let (rows, count) = (y.dim(0)?, y.dim(1)?);
        let is_bos = |row: usize, place: usize| {
            let position = text.from() + place;
            position == text.first(row) && text.ids(row).get(position) == Some(&bos)
        };
        let acts: Vec<u8> = (0..rows * count).map(|i| u8::from(!is_bos(i / count, i % count))).collect();
        match acts.contains(&0) {
            true => Ok(Some(Tensor::from_vec(acts, (rows, count), y.device())?)),
            false => Ok(None),
        }
    }

    /// Whether something asks for a site.
    fn wants(&self, at: &SpliceRun, part: Part) -> bool {
        self.number(part).is_some_and(|number| at.wants(number))
    }

    /// Activations of features before and after edits of them; `undo` is of the normalisation of the input.
    fn encoded(
        &self,
        at: &mut SpliceRun,
        input: &Tensor,
        acts_on: Option<&Tensor>,
    ) -> Result<(Encoded, Option<Tensor>)> {
        if !self.wants(at, Part::Pre) && !self.wants(at, Part::Post) {
            return Ok((self.dictionary.active(input, acts_on)?, None));
        }
        let mut encoded = self.dictionary.pre(input)?;
        encoded.pre = self.show(at, Part::Pre, encoded.pre)?;
        if self.edits(at, &[Part::Pre])
            && let Some(mask) = self.dictionary.chosen(&encoded.pre)?
        {
            encoded.mask = Some(mask);
        }
        let acts = only_where(self.dictionary.activate(&encoded)?, acts_on)?;
        let shown = self.show(at, Part::Post, acts.clone())?;
        Ok((Encoded { acts: Active::Dense(acts), undo: encoded.undo }, Some(shown)))
    }

    /// What features write, and what earlier layers' features write here; the normalisation is not undone.
    fn decoded(&self, at: &SpliceRun, acts: &Active, like: &Tensor, edited: bool) -> Result<Tensor> {
        let mut recons = self.dictionary.written_by(acts, 0, like)?;
        // The points that are read: the input, what earlier layers write, and the same without edits.
        let first = usize::from(self.reads.is_some()) + if edited { 0 } else { self.earlier.len() };
        for number in first..first + self.earlier.len() {
            recons = (recons + at.read(number)?)?;
        }
        Ok(recons)
    }

    /// What is written, in the shape of the point or of its head.
    fn written(&self, recons: Tensor, undo: &Undo, input: Option<&Tensor>, like: &Tensor) -> Result<Tensor> {
        let mut y = undo.undo(recons)?;
        if let (Some(w_skip), Some(input)) = (&self.dictionary.parts.w_skip, input) {
            y = (y + linear(input, w_skip, None)?)?;
        }
        Ok(y.reshape(like.shape())?)
    }

    /// Shows what the features of a layer of a cross-layer transcoder write to later layers.
    fn write_ahead(&self, at: &mut SpliceRun, acts: &Active, unedited: &Active, like: &Tensor) -> Result<()> {
        let own = self.writes.layer().unwrap_or(0);
        for later in 1..self.dictionary.n_writes() {
            for (part, acts) in [(Part::Writes(own + later), acts), (Part::Unedited(own + later), unedited)] {
                if let Some(number) = self.number(part)
                    && at.wants(number)
                {
                    at.show(number, self.dictionary.written_by(acts, later, like)?)?;
                }
            }
        }
        Ok(())
    }

    /// The activation with its one head replaced, where the dictionary belongs to one.
    fn put_back(&self, own: Tensor, y: &Tensor) -> Result<Tensor> {
        let Some(head) = self.dictionary.expects().head.filter(|_| self.writes.axes().len() == 4) else {
            return Ok(own);
        };
        let y = wide::widened(y)?;
        let behind = y.dim(2)? - head - 1;
        let parts = [y.narrow(2, 0, head)?, own.unsqueeze(2)?, y.narrow(2, head + 1, behind)?];
        Ok(Tensor::cat(&parts, 2)?)
    }
}

impl Splice for OneDictionary {
    fn name(&self) -> String {
        let dictionary = &self.dictionary;
        let kind = format!("{}, {} features", dictionary.architecture(), dictionary.d_sae());
        let error = match self.error {
            OfError::None => "no error term",
            OfError::Recomputed => "error term recomputed",
            OfError::Frozen(_) => "error term frozen",
            OfError::Measured => "error measured",
        };
        let bos = if self.bos.is_some() { "BOS left alone" } else { "every position spliced" };
        format!("{} ({kind}), {error}, {bos}", dictionary.name())
    }

    fn inner(&self) -> Vec<InnerSite> {
        self.sites.iter().map(|(_, site)| site.clone()).collect()
    }

    fn reads(&self) -> Vec<HookQuery> {
        let layer = self.writes.layer().unwrap_or(0);
        let of = |part: Part| self.earlier.iter().map(move |point| format!("{point}.{}", part.name()).into());
        let mut reads: Vec<HookQuery> = self.reads.iter().map(|point| (*point).into()).collect();
        reads.extend(of(Part::Writes(layer)));
        if !matches!(self.error, OfError::None) {
            reads.extend(of(Part::Unedited(layer)));
        }
        reads
    }

    fn is_on_demand(&self, number: usize) -> bool {
        matches!(self.sites[number].0, Part::Pre | Part::Post | Part::Writes(_) | Part::Unedited(_))
    }

    fn uses_own(&self) -> bool {
        self.reads.is_none() || matches!(self.error, OfError::Recomputed | OfError::Measured)
    }

    fn is_by_position(&self) -> bool {
        true
    }

    fn run(&self, y: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
        let x = match self.reads {
            Some(reads) => self.own_part(&at.read(0)?, reads)?,
            None => self.own_part(y, self.writes)?,
        };
        let own = wide::widened(&self.own_part(y, self.writes)?)?;
        let acts_on = self.acts_on(y, at)?;
        // In a model with one head, one head is as wide as all of them, so the width does not say that heads are to be flattened.
        let flat = self.dictionary.flattened(&if x.rank() == 4 { x.flatten_from(2)? } else { x })?;
        let input = self.show(at, Part::Input, flat.clone())?;
        let (before, shown) = self.encoded(at, &input, acts_on.as_ref())?;
        let shown = shown.map(Active::Dense);
        let acts = shown.as_ref().unwrap_or(&before.acts);
        let again = match self.edits(at, &[Part::Input, Part::Pre]) && !matches!(self.error, OfError::None) {
            true => Some(self.dictionary.active(&flat, acts_on.as_ref())?),
            false => None,
        };
        let unedited = again.as_ref().unwrap_or(&before);
        self.write_ahead(at, acts, &unedited.acts, &own)?;
        let decoded = self.decoded(at, acts, &own, true)?;
        let recons = self.show(at, Part::Recons, decoded.clone())?;
        let mut result = self.written(recons.clone(), &before.undo, Some(&input), &own)?;
        let error = match &self.error {
            OfError::None => None,
            OfError::Frozen(frozen) => Some(frozen.part(at.text(), (own.dim(0)?, own.dim(1)?), &self.name())?),
            OfError::Recomputed | OfError::Measured => {
                let is_as_decoded = self.earlier.is_empty() && !self.edits(at, &[Part::Input, Part::Pre, Part::Post]);
                let recons = match is_as_decoded {
                    true => decoded,
                    false => self.decoded(at, &unedited.acts, &own, false)?,
                };
                Some((&own - self.written(recons, &unedited.undo, Some(&flat), &own)?)?.detach())
            }
        };
        if let Some(error) = error {
            let error = only_where(error.to_dtype(own.dtype())?, acts_on.as_ref())?;
            let error = self.show(at, Part::Error, error)?;
            if matches!(self.error, OfError::Measured) {
                return Ok(y.clone());
            }
            result = (result + error)?;
        }
        if let Some(acts_on) = &acts_on {
            // What is left alone changes only by what edits make the features write.
            let nothing =
                self.dictionary.parts.b_dec.to_dtype(recons.dtype())?.broadcast_as(recons.shape())?.contiguous()?;
            let change =
                (self.written(recons, &before.undo, None, &own)? - self.written(nothing, &before.undo, None, &own)?)?;
            let acts_on = as_wide_as(acts_on, &own)?.broadcast_as(own.shape())?;
            result = acts_on.where_cond(&result, &(&own + change)?)?;
        }
        let result = self.show(at, Part::Output, result)?;
        self.put_back(result, y)
    }
}
