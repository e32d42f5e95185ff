//! Where patched runs begin: the residual stream of the changed positions after the block in which a site is patched.

use candle_core::Tensor;

use super::site::PatchSite;
use crate::error::Result;
use crate::experiment::{Experiment, copied};
use crate::hooks::{Edit, HookPoint, HookRun, Site, Stage};
use crate::model::Suffix;

/// Sites at one point that change positions from the same one onwards, and both runs' activations there.
pub(super) struct Group<'a> {
    /// Their places in the list of all sites.
    pub jobs: Vec<usize>,
    pub sites: Vec<PatchSite>,
    pub from: usize,
    /// Whether no site changes another position than the first, before attention carries it on.
    pub alone: bool,
    pub source: &'a Tensor,
    pub base: &'a Tensor,
}

impl Group<'_> {
    /// The activation with each site patched, one copy of the batch after the other, at `count` positions from `from` on.
    pub(super) fn patched(&self, from: usize, count: usize) -> Result<Tensor> {
        let dim = self.sites[0].point.pos_axis();
        let part = |x: &Tensor| x.narrow(dim, from, count)?.contiguous();
        let (source, base) = (part(self.source)?, part(self.base)?);
        let copies = self.sites.iter().map(|site| match site.mask(self.base.dims(), (from, count), base.device())? {
            Some(mask) => Ok(mask.broadcast_as(base.shape())?.where_cond(&source, &base)?),
            None => Ok(source.clone()),
        });
        Ok(Tensor::cat(&copies.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// The residual stream that enters the block, patched, for sites of `resid_pre`: at the first position if they are alone.
    pub(super) fn entering(&self, positions: usize) -> Result<Tensor> {
        self.patched(self.from, if self.alone { 1 } else { positions - self.from })
    }

    /// Whether what the sites change is at their first position only when it leaves the block.
    pub(super) fn leaves_alone(&self) -> bool {
        self.alone && !self.sites[0].point.stage().is_carried()
    }

    /// The residual stream after the block, `[copy * batch, pos, d_model]`: at the first position if they leave it alone, otherwise
    /// at those from the first on, in the last block from the first that is read.
    pub(super) fn leaving(&self, experiment: &Experiment) -> Result<Tensor> {
        let (layer, point, copies) = (self.sites[0].layer(), self.sites[0].point, self.sites.len());
        let (model, base, tokens) = (&experiment.model, experiment.base_run()?, experiment.base_tokens());
        let HookPoint::Block(_, site) = point else { return self.leaving_whole(experiment) };
        if model.splices().is_in(layer) {
            return self.leaving_whole(experiment);
        }
        // Behind attention no position affects another.
        let is_last = layer + 1 == model.cfg().n_layers;
        let from = if is_last { self.from.max(experiment.first_read()) } else { self.from };
        let part = (from, if self.leaves_alone() { 1 } else { tokens.pos() - from });
        let suffix = model.suffix_of_copies(tokens, from, copies)?.first(part.1)?;
        let rows = |x: &Tensor| copied(&x.narrow(1, part.0, part.1)?, copies);
        let (entered, between) = (rows(&base.resid[layer])?, rows(&base.mid[layer])?);
        if point.stage().is_before_mixing() {
            return match self.mixed(experiment, part, &suffix)? {
                Some(z) => model.block_from(layer, Site::Z, z, (&entered, &between), &suffix),
                None => self.leaving_whole(experiment),
            };
        }
        let patched = || self.patched(part.0, part.1);
        if point.row().resumes {
            return model.block_from(layer, site, patched()?, (&entered, &between), &suffix);
        }
        if matches!(point.stage(), Stage::Mixed | Stage::AttentionOutput) {
            // Heads' outputs and the norm behind attention are part of it.
            return self.leaving_whole(experiment);
        }
        let mut run = HookRun::default().editing(point, Edit::replace(patched()?));
        model.rest_of_block(layer, (&entered, &between), &suffix, &mut run)
    }

    /// What attention mixes at these positions when a site before that is patched; none for a site from which it cannot be told.
    fn mixed(&self, experiment: &Experiment, part: (usize, usize), suffix: &Suffix) -> Result<Option<Tensor>> {
        let (layer, copies) = (self.sites[0].layer(), self.sites.len());
        let (model, base, tokens) = (&experiment.model, experiment.base_run()?, experiment.base_tokens());
        let Some(site) = self.sites[0].point.row().site() else { return Ok(None) };
        let compared = |of: Site, from: usize, count: usize| -> Result<Tensor> {
            let patched = self.patched(from, count)?;
            match site == of {
                true => {
                    let suffix = model.suffix_of_copies(tokens, from, copies)?.first(count)?;
                    model.as_compared(layer, of, &patched, &suffix)
                }
                false => Ok(patched),
            }
        };
        let behind = tokens.pos() - self.from;
        let keys = |k: Option<&Tensor>, v: Option<&Tensor>| base.keys_and_values(layer, self.from, [k, v], copies);
        let own = || base.queries(layer, part, copies);
        Ok(Some(match site {
            Site::Q | Site::RotQ => {
                let [k, v] = keys(None, None)?;
                model.attended(layer, [&compared(Site::Q, part.0, part.1)?, &k, &v], suffix)?
            }
            Site::K | Site::RotK => {
                let [k, v] = keys(Some(&compared(Site::K, self.from, behind)?), None)?;
                model.attended(layer, [&own()?, &k, &v], suffix)?
            }
            Site::V => {
                let [k, v] = keys(None, Some(&self.patched(self.from, behind)?))?;
                model.attended(layer, [&own()?, &k, &v], suffix)?
            }
            Site::AttnScores | Site::Pattern => {
                let [_, v] = keys(None, None)?;
                model.mixed_by(layer, site, &self.patched(part.0, part.1)?, &v, suffix)?
            }
            _ => return Ok(None),
        }))
    }

    /// As [`Group::leaving`], by all of the block.
    fn leaving_whole(&self, experiment: &Experiment) -> Result<Tensor> {
        let (layer, point, copies) = (self.sites[0].layer(), self.sites[0].point, self.sites.len());
        let (model, tokens) = (&experiment.model, experiment.base_tokens());
        let (base, count) = (experiment.base_run()?, tokens.pos() - self.from);
        let suffix = model.suffix_of_copies(tokens, self.from, copies)?;
        let mut run = model.hooks(tokens, self.from).editing(point, Edit::replace(self.patched(self.from, count)?));
        let entered = copied(&base.resid[layer].narrow(1, self.from, count)?, copies)?;
        let past = base.past(layer, self.from, copies)?;
        let left = model.block_on_suffix(layer, entered, &suffix, past, &mut run)?;
        if self.leaves_alone() {
            return Ok(left.narrow(1, 0, 1)?.contiguous()?);
        }
        match layer + 1 == model.cfg().n_layers {
            true => experiment.what_is_read_from(left, self.from),
            false => Ok(left),
        }
    }
}
