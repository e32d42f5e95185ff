//! Directions at each of several layers with each of several scales, one at a time, by a metric.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::steer::Steering;
use super::vector::SteeringVector;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, captured};
use crate::hooks::{AxisName, HookPoint, Selection};
use crate::labelled::Axis;
use crate::patching::{PatchResult, PatchSite, Value};
use crate::progress::Progress;

impl Experiment {
    /// Steers with each direction alone, with each of these scales in place of its own: which layer and how much. The run that is
    /// steered is the corrupted one, so that a normalised metric of 1 is as much as the clean prompts have; after
    /// [`noising`](Experiment::noising) and in an ablation it is the clean one. As in any sweep, a direction costs only the blocks and
    /// positions behind it.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let plural = ["The keys", "The cabinets", "The authors", "The children"];
    /// let singular = ["The key", "The cabinet", "The author", "The child"];
    /// let vectors = Contrast::new(&model, plural, singular)?.mean_differences("resid_post")?;
    /// let metric = Metric::logit_diff(&model.answers([(" are", " is"); 2])?);
    /// let experiment = Experiment::new(&model, ["The books", "The cars"], ["The book", "The car"], metric)?;
    /// let steered = experiment.steering_sweep(&Steering::add(vectors, 1).last(), [0., 1., 2.])?;
    /// assert_eq!(steered.raw.shape(), [4, 3]);
    /// assert_eq!(steered.raw.at(&[1, 0])?, steered.corrupted);
    /// assert!(steered.normalised.at(&[1, 1])? > 0.5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[layer, scale]`, where all directions are at one site of different layers, else `[direction, scale]`.
    ///
    /// # Errors
    /// As [`Steering::plan`]; directions to be removed, which have no scale; no scale; a point that an ordinary run does not compute;
    /// a file to save to.
    pub fn steering_sweep<S: Into<f64>>(
        &self,
        steering: &Steering,
        scales: impl IntoIterator<Item = S>,
    ) -> Result<PatchResult> {
        self.refuse_saving("a steering sweep")?;
        self.check_shares()?;
        let scales: Vec<f64> = scales.into_iter().map(Into::into).collect();
        let scaled = scales.iter().map(|scale| steering.with_scale(*scale)).collect::<Result<Vec<_>>>()?;
        if scaled.is_empty() {
            return Err(Error::argument("there is no scale to steer with: give at least one, such as 1."));
        }
        scaled.iter().try_for_each(|steering| steering.check(&self.model))?;
        let (vectors, parts) = (steering.vectors(), steering.parts(self.base_tokens()));
        let sites = vectors.iter().map(|vector| self.steered_site(vector, &parts)).collect::<Result<Vec<_>>>()?;
        let mut progress = Progress::of("steering", scales.len() as u64, "scales");
        let base = captured(&self.model, self.base_tokens(), &steering.points())?;
        let mut by_scale = Vec::with_capacity(scales.len());
        for steering in &scaled {
            by_scale.push(self.steered(steering, &parts, &sites, &base)?);
            progress.step(1)?;
        }
        let order = (0..vectors.len()).flat_map(|vector| (0..scales.len()).map(move |scale| (vector, scale)));
        let values = order.clone().map(|(vector, scale)| by_scale[scale][vector].clone()).collect();
        let sites: Vec<PatchSite> = order.map(|(vector, _)| sites[vector].clone()).collect();
        let scale = Axis::new("scale", scales.iter().map(f64::to_string));
        let mut result = self.result(&sites, values, vec![direction_axis(&vectors), scale], "steering")?;
        let title = format!("{}, steered", self.metrics.name());
        result.raw = result.raw.titled(title.clone());
        result.normalised = result.normalised.titled(format!("normalised {title}"));
        result.per_prompt = result.per_prompt.titled(title);
        Ok(result)
    }

    /// The metric of each prompt under each direction of a steering alone.
    fn steered(
        &self,
        steering: &Steering,
        parts: &[Selection],
        sites: &[PatchSite],
        base: &BTreeMap<HookPoint, Tensor>,
    ) -> Result<Vec<Value>> {
        // Directions at one point are swept one after the other: a point has one activation to be patched in.
        let mut values = Vec::with_capacity(sites.len());
        let vectors = steering.vectors();
        let apart = steering.points().len() < vectors.len();
        let groups: Vec<Vec<usize>> =
            if apart { (0..vectors.len()).map(|i| vec![i]).collect() } else { vec![(0..vectors.len()).collect()] };
        for group in groups {
            let mut activations = BTreeMap::new();
            for &i in &group {
                let (point, edit) = (vectors[i].point(), steering.edit(&vectors[i]));
                let there = &base[&point];
                let steered = parts
                    .iter()
                    .try_fold(there.clone(), |x, part| edit.clone().at(part.clone()).apply(point, &x, None))?;
                activations.insert(point, (steered, there.clone()));
            }
            let of_group: Vec<PatchSite> = group.iter().map(|&i| sites[i].clone()).collect();
            values.extend(self.patched_with(&of_group, &activations)?);
        }
        Ok(values)
    }

    /// What a direction changes: the one part, or everything from the first position of several parts on.
    fn steered_site(&self, vector: &SteeringVector, parts: &[Selection]) -> Result<PatchSite> {
        let (dims, tokens) = (self.model.dims(), self.base_tokens());
        let whole = PatchSite::new(&self.model, vector.point())?;
        if let [part] = parts {
            return whole.at(part.clone()).resolved(&dims, tokens);
        }
        let first = |part: &Selection| part.slice(AxisName::Pos).indices(tokens.pos(), AxisName::Pos.one());
        let first = parts.iter().map(first).collect::<Result<Vec<_>>>()?.concat().into_iter().min().unwrap_or(0);
        whole.pos(first..).resolved(&dims, tokens)
    }
}

/// Layers where the directions are at one site, else their names.
fn direction_axis(vectors: &[SteeringVector]) -> Axis {
    let at = |vector: &SteeringVector| match vector.point() {
        HookPoint::Block(layer, site) => Some((site, layer)),
        _ => None,
    };
    let places: Option<Vec<_>> = vectors.iter().map(at).collect();
    match places {
        Some(places) if places.iter().all(|(site, _)| *site == places[0].0) && distinct(&places) => {
            Axis::new("layer", places.iter().map(|(_, layer)| layer.to_string()))
        }
        _ => Axis::new("direction", vectors.iter().map(|vector| format!("{} at {}", vector.name(), vector.point()))),
    }
}

fn distinct<T: PartialEq>(all: &[T]) -> bool {
    all.iter().enumerate().all(|(i, one)| !all[..i].contains(one))
}
