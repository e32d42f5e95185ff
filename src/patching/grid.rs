//! The sites of a sweep, laid out along its axes.

use super::site::PatchSite;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, HookPoint, HookQuery};
use crate::labelled::Axis;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

/// One site for each place of the axes, in their order.
pub(crate) struct Grid {
    pub sites: Vec<PatchSite>,
    pub axes: Vec<Axis>,
    /// The point's name, of the first where there are several.
    pub what: String,
}

impl Grid {
    /// Every site of a point along these axes; what no axis names is taken whole.
    ///
    /// # Errors
    /// A site that the model does not have, an axis that its activation does not have or that is given twice, layers where
    /// the point names one.
    pub(crate) fn new(model: &HookedTransformer, tokens: &Tokens, point: HookQuery, axes: &[AxisName]) -> Result<Self> {
        let points = model.points_of(&point)?;
        let by_layer = axes.contains(&AxisName::Layer);
        if axes.iter().enumerate().any(|(i, axis)| axes[..i].iter().any(|before| before.key() == axis.key())) {
            return Err(Error::argument(format!("the axes {axes:?} name one twice: give each once.")));
        }
        if points.len() > 1 && !by_layer {
            return Err(Error::argument(format!(
                "the point is in {} layers: name one layer, or sweep over AxisName::Layer.",
                points.len()
            )));
        }
        let on = On { model, tokens, points: &points };
        let sizes: Vec<usize> = axes.iter().map(|&axis| on.size(axis)).collect::<Result<_>>()?;
        PatchSite::of(points[0]).resolved(&model.dims(), tokens)?;
        let sites: Vec<PatchSite> = (0..sizes.iter().product()).map(|number| on.site(number, axes, &sizes)).collect();
        let axes = axes.iter().zip(&sizes).map(|(&axis, &size)| on.axis(axis, size)).collect::<Result<_>>()?;
        let name = points[0].to_string();
        // Over layers the point is not of any one of them: `attn.hook_z`, without `blocks.0.`.
        let what = if by_layer { name.splitn(3, '.').last().unwrap_or_default().to_string() } else { name };
        Ok(Self { sites, axes, what })
    }
}

/// What a grid is laid out on.
struct On<'a> {
    model: &'a HookedTransformer,
    tokens: &'a Tokens,
    points: &'a [HookPoint],
}

impl On<'_> {
    fn size(&self, axis: AxisName) -> Result<usize> {
        let point = self.points[0];
        match axis {
            AxisName::Layer => return Ok(self.points.len()),
            AxisName::Batch => {
                return Err(Error::argument(
                    "a sweep is over parts of all prompts: leave AxisName::Batch out, and read the prompts one by one \
                     from the result's per_prompt.",
                ));
            }
            _ => {}
        }
        let shape = point.shape(&self.model.dims(), self.tokens.batch(), self.tokens.pos());
        let there = point.axes().iter().position(|there| there.key() == axis.key());
        there.map(|dim| shape[dim]).ok_or_else(|| {
            let names: Vec<&str> = point.axes().iter().map(|axis| axis.as_str()).collect();
            Error::argument(format!(
                "{point} has the axes [{}], so it cannot be swept over AxisName::{axis:?}: leave it out.",
                names.join(", ")
            ))
        })
    }

    fn site(&self, mut number: usize, axes: &[AxisName], sizes: &[usize]) -> PatchSite {
        let mut site = PatchSite::of(self.points[0]);
        for (&axis, &size) in axes.iter().zip(sizes).rev() {
            let index = number % size;
            number /= size;
            match axis {
                AxisName::Layer => site.point = self.points[index],
                axis => site.at = site.at.along(axis, index),
            }
        }
        site
    }

    fn axis(&self, axis: AxisName, size: usize) -> Result<Axis> {
        Ok(match axis {
            AxisName::Layer => {
                Axis::new("layer", self.points.iter().map(|point| point.layer().unwrap_or(0).to_string()))
            }
            AxisName::Pos | AxisName::QPos => Axis::new("position", self.model.position_labels(self.tokens)),
            AxisName::KPos => Axis::new(axis.word(), self.model.position_labels(self.tokens)),
            axis => Axis::numbered(axis.word(), size),
        })
    }
}
