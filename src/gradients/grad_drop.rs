//! GradDrop of AtP* (Kramár et al. 2024, <https://arxiv.org/abs/2403.00745>): the size of an estimate when one block's share of the
//! gradient is dropped at a time.
//!
//! An early part may write what raises the metric directly and lowers it through a later block. Where these nearly cancel, the gradient is
//! their small and fragile sum, and attribution patching misses the part. Without block `l`, whose attention and MLP outputs
//! are constants to the gradient, the estimate `c_l` is not small: GradDrop is the mean of `|c_l|` over the blocks, that of the site
//! itself left out (the residual stream belongs to none).
//!
//! Dropping a block changes gradients before it alone, where the gradient behind the block becomes the one in front of it. So
//! no run is repeated: with `g` the gradient at `resid_post` of block `l`, that of `sum(resid_pre * constant(g))` is what is left.
//!
//! # Limits
//! Sizes have no sign, and rank sites beside sizes of effects only.

use std::collections::BTreeMap;

use candle_core::DType;

use super::attribution::Attribution;
use super::change::{Change, Product, terms};
use crate::error::{Error, Result};
use crate::hooks::{AxisName, Gradients, HookPoint, HookQuery, Site};
use crate::labelled::Labelled;
use crate::model::Run;
use crate::patching::{Grid, PatchSite};
use crate::progress::Progress;

/// Whether a point is of the residual stream, and if so, whether its own block is behind it.
fn of_stream(point: HookPoint) -> Option<bool> {
    match point {
        HookPoint::Block(_, Site::ResidPre | Site::ResidMid) => Some(true),
        HookPoint::Block(_, Site::ResidPost) => Some(false),
        _ => None,
    }
}

/// Adds to each point's product the terms by the gradients in which one block is dropped, of the blocks that change them.
pub(super) fn drop_blocks(
    changes: &BTreeMap<HookPoint, Change>,
    products: &mut BTreeMap<HookPoint, Product>,
    (all, run): (&Gradients, &Run),
    layers: usize,
) -> Result<()> {
    let mut progress = Progress::of("dropping the gradients of blocks", layers as u64, "blocks");
    for layer in 0..layers {
        let behind = all.get(HookPoint::Block(layer, Site::ResidPost))?;
        let left = match layer {
            // Nothing of a block is before it.
            0 => None,
            _ => {
                let entering = run.captured[&HookPoint::Block(layer, Site::ResidPre)].to_dtype(DType::F32)?;
                Some(run.taps.gradients(&(entering * behind.to_dtype(DType::F32)?)?.sum_all()?)?)
            }
        };
        let (mut changed, mut asked) = (Vec::new(), Vec::new());
        for (&point, product) in products.iter_mut() {
            let (own, change) = (point.layer().unwrap_or(0), &changes[&point]);
            let gradient = match own < layer {
                true => left.as_ref().and_then(|left| left.get(change.read_at()).ok()),
                false if own == layer && of_stream(point) == Some(true) => Some(behind.clone()),
                false => continue,
            };
            changed.push(product);
            asked.push((change, gradient));
        }
        for (product, terms) in changed.into_iter().zip(terms(&asked)?) {
            product.dropped.push(terms);
        }
        progress.step(1)?;
    }
    Ok(())
}

impl Attribution {
    /// GradDrop along these axes: the mean size of a site's estimates in which one block's share of the gradient is dropped, the mean
    /// over prompts (at a position, those that have a token there). It is to be compared with sizes of effects.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let options = AttributionOptions { grad_drop: true, ..Default::default() };
    /// let sizes = experiment.attribution_with("mlp_out", options)?.grad_drop("mlp_out", &[AxisName::Layer])?;
    /// assert!(sizes.values().iter().all(|size| *size >= 0.));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// One axis for each given.
    ///
    /// # Errors
    /// An attribution made without [`AttributionOptions::grad_drop`](super::AttributionOptions::grad_drop); and as [`Attribution::sweep`].
    pub fn grad_drop(&self, point: impl Into<HookQuery>, axes: &[AxisName]) -> Result<Labelled> {
        if !self.options.grad_drop {
            return Err(Error::argument(
                "this attribution dropped no gradients: make it with AttributionOptions { grad_drop: true, .. } \
                 (Experiment::attribution_with).",
            ));
        }
        let (model, tokens) = (&self.experiment.model, self.experiment.base_tokens());
        let _work = Progress::opaque("adding up estimates");
        let grid = Grid::new(model, tokens, point.into(), axes)?;
        self.check_whole(&grid.sites, axes)?;
        let mut progress = Progress::of("adding up estimates", grid.sites.len() as u64, "sites");
        let sizes = grid.sites.iter().map(|site| self.size(site).and_then(|found| progress.step(1).map(|()| found)));
        let title = format!(
            "{}, {}: mean size of estimates with one block's gradient dropped",
            self.experiment.one_metric("attribution patching")?.name(),
            grid.what
        );
        let sizes = sizes.collect::<Result<Vec<_>>>()?;
        Labelled::new(title, grid.axes, sizes)
    }

    /// The mean size of a site's estimates.
    fn size(&self, site: &PatchSite) -> Result<f32> {
        let (product, point) = (self.product(site)?, site.point());
        if !self.experiment.has_path(site) {
            return Ok(0.);
        }
        let chosen = site.chosen(&product.shape)?;
        let layers = self.experiment.model.cfg().n_layers;
        // Dropping a block before the site leaves its gradient; its own leaves nothing of it but in the residual stream.
        let before = point.layer().unwrap_or(0) + usize::from(of_stream(point) == Some(false));
        let runs = layers - usize::from(of_stream(point).is_none());
        let prompts = site.prompts(self.experiment.base_tokens());
        let of_prompt = |&prompt: &usize| {
            let size = |terms: &super::change::Terms| terms.sum(&product.shape, &chosen, prompt).abs();
            let dropped: f64 = product.dropped.iter().map(size).sum();
            (before as f64 * size(&product.terms) + dropped) / runs as f64
        };
        Ok((prompts.iter().map(of_prompt).sum::<f64>() / prompts.len() as f64) as f32)
    }
}
