//! The sites of a sweep, laid out along its axes.

use super::site::{PatchSite, SweepAxis};
use crate::error::{Error, Result};
use crate::hooks::{AxisName as Name, HookPoint, HookQuery};
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
    pub(crate) fn new(
        model: &HookedTransformer,
        tokens: &Tokens,
        point: HookQuery,
        axes: &[SweepAxis],
    ) -> Result<Self> {
        let points = point.resolve_all(&model.dims())?;
        let by_layer = axes.contains(&SweepAxis::Layer);
        if axes.iter().enumerate().any(|(i, axis)| axes[..i].contains(axis)) {
            return Err(Error::argument(format!("the axes {axes:?} name one twice: give each once.")));
        }
        if points.len() > 1 && !by_layer {
            return Err(Error::argument(format!(
                "the point is in {} layers: name one layer, or sweep over SweepAxis::Layer.",
                points.len()
            )));
        }
        let on = On { model, tokens, points: &points };
        let sizes: Vec<usize> = axes.iter().map(|&axis| on.size(axis)).collect::<Result<_>>()?;
        let sites: Vec<PatchSite> = (0..sizes.iter().product()).map(|number| on.site(number, axes, &sizes)).collect();
        sites.iter().try_for_each(|site| site.check(&model.dims(), tokens.pos()))?;
        let axes = axes.iter().zip(&sizes).map(|(&axis, &size)| on.axis(axis, size)).collect::<Result<_>>()?;
        let name = points[0].to_string();
        // Over layers the point is of no one of them: `attn.hook_z`, without `blocks.0.`.
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
    fn size(&self, axis: SweepAxis) -> Result<usize> {
        let dims = self.model.dims();
        let has = |names: &[Name]| self.points[0].axes().iter().find(|axis| names.contains(axis)).copied();
        let of = |names: &[Name]| {
            has(names).map(|name| name.size(&dims, 1, self.tokens.pos())).ok_or_else(|| {
                Error::argument(format!("{} has no axis for SweepAxis::{axis:?}: leave it out.", self.points[0]))
            })
        };
        match axis {
            SweepAxis::Layer => Ok(self.points.len()),
            SweepAxis::Position => of(&[Name::Pos, Name::QPos]),
            SweepAxis::Head => of(&[Name::Head, Name::KeyValueHead]),
            SweepAxis::Source => of(&[Name::KPos]),
            SweepAxis::Neuron => of(&[Name::DMlp]),
        }
    }

    fn site(&self, mut number: usize, axes: &[SweepAxis], sizes: &[usize]) -> PatchSite {
        let mut site = PatchSite::of(self.points[0]);
        for (&axis, &size) in axes.iter().zip(sizes).rev() {
            let index = number % size;
            number /= size;
            match axis {
                SweepAxis::Layer => site.point = self.points[index],
                SweepAxis::Position => site.pos = Some(index),
                SweepAxis::Head => site.head = Some(index),
                SweepAxis::Source => site.source = Some(index),
                SweepAxis::Neuron => site.neuron = Some(index),
            }
        }
        site
    }

    fn axis(&self, axis: SweepAxis, size: usize) -> Result<Axis> {
        Ok(match axis {
            SweepAxis::Layer => {
                Axis::new("layer", self.points.iter().map(|point| point.layer().unwrap_or(0).to_string()))
            }
            SweepAxis::Position => Axis::new("position", position_labels(self.model, self.tokens)?),
            SweepAxis::Source => Axis::new("source", position_labels(self.model, self.tokens)?),
            SweepAxis::Head => Axis::numbered("head", size),
            SweepAxis::Neuron => Axis::numbered("neuron", size),
        })
    }
}

/// What each position is called: with its token where all prompts have the same one, `"3:Mary"`; else by its number, and
/// where some prompts are padded there with how many have a token, `"3 (2 of 5 prompts)"`.
pub(crate) fn position_labels(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<String>> {
    let label = |pos: usize| {
        let there: Vec<usize> = (0..tokens.batch()).filter(|&b| tokens.is_real(b, pos)).collect();
        let id = tokens.id(there.first().copied().unwrap_or(0), pos);
        match there.iter().all(|&b| tokens.id(b, pos) == id) {
            _ if there.len() < tokens.batch() => Ok(format!("{pos} ({} of {} prompts)", there.len(), tokens.batch())),
            true => Ok(format!("{pos}:{}", model.piece(id))),
            false => Ok(pos.to_string()),
        }
    };
    (0..tokens.pos()).map(label).collect()
}
