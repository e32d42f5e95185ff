//! Where patched runs begin: the residual stream of the changed positions after the block in which a site is patched.

use candle_core::Tensor;

use super::site::PatchSite;
use crate::error::Result;
use crate::experiment::{Experiment, copied};
use crate::hooks::Edit;
use crate::model::Suffix;

/// Sites at one point that change positions from the same one onwards, and both runs' activations there.
pub(super) struct Group<'a> {
    pub sites: Vec<PatchSite>,
    pub from: usize,
    pub source: &'a Tensor,
    pub base: &'a Tensor,
}

impl Group<'_> {
    /// The activation with each site patched, one copy of the batch after the other, at `count` positions.
    pub(super) fn patched(&self, count: usize) -> Result<Tensor> {
        let dim = self.sites[0].point.pos_axis();
        let part = |x: &Tensor| x.narrow(dim, self.from, count)?.contiguous();
        let (source, base) = (part(self.source)?, part(self.base)?);
        let part = (self.from, count);
        let copies = self.sites.iter().map(|site| match site.mask(self.base.dims(), part, base.device())? {
            Some(mask) => Ok(mask.broadcast_as(base.shape())?.where_cond(&source, &base)?),
            None => Ok(source.clone()),
        });
        Ok(Tensor::cat(&copies.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// The residual stream that enters the block, patched; for sites of `resid_pre`.
    pub(super) fn entering(&self, positions: usize) -> Result<Tensor> {
        self.patched(positions - self.from)
    }

    /// The residual stream after the block, `[copy * batch, pos, d_model]`, positions from `from` on.
    pub(super) fn leaving(&self, experiment: &Experiment, suffix: &Suffix) -> Result<Tensor> {
        let (layer, point) = (self.sites[0].layer(), self.sites[0].point);
        let (model, base) = (&experiment.model, experiment.base_run()?);
        let (copies, count) = (self.sites.len(), experiment.base_tokens().pos() - self.from);
        let rows = |x: &Tensor, from, count| copied(&x.narrow(1, from, count)?, copies);
        let row = point.row();
        let Some(site) = row.site().filter(|_| row.resumes && !model.splices().is_in(layer)) else {
            let hooks = model.hooks(experiment.base_tokens(), self.from);
            let mut run = hooks.editing(point, Edit::replace(self.patched(count)?));
            let past = base.past(layer, self.from, copies)?;
            return model.block_on_suffix(layer, rows(&base.resid[layer], self.from, count)?, suffix, past, &mut run);
        };
        // After attention no position affects another: those after a single patched one keep their values in this block.
        let single = self
            .sites
            .iter()
            .all(|site| site.positions(experiment.base_tokens().pos()).is_some_and(|at| at == [self.from]));
        let changed = if single { 1 } else { count };
        let entered = rows(&base.resid[layer], self.from, changed)?;
        let between = rows(&base.mid[layer], self.from, changed)?;
        let left = model.block_from(layer, site, self.patched(changed)?, (&entered, &between), suffix)?;
        match count - changed {
            0 => Ok(left),
            rest => Ok(Tensor::cat(&[left, rows(&base.resid[layer + 1], self.from + changed, rest)?], 1)?),
        }
    }
}
