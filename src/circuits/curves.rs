//! Curves of several kinds of circuits of one task on one axis.
//!
//! Edges between heads and nodes of features are of different number and size, so by default the axis is the share of all of them.
//! Each curve has 0 at its own empty circuit and 1 at the full one; between measured sizes it is the straight line whose area
//! [`FaithfulnessCurve::cpr`] sums.

use std::fmt;

use super::faithfulness::FaithfulnessCurve;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::visible::visible;

/// Several [`FaithfulnessCurve`]s on one axis, each by its name.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let clean = "When John and Mary went to the shops, John gave the bag to";
/// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
/// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
/// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
/// let curve = |method: EdgeMethod| edges.curve(&edges.attribute(method)?.greedy_each(&[50, 200], RankBy::Magnitude)?);
/// let both = FaithfulnessCurves::new()
///     .add("EAP", &curve(EdgeMethod::Eap)?)
///     .add("EAP-IG", &curve(EdgeMethod::EapIgInputs { steps: 5 })?);
/// // No edges, 50, 200 and all of them.
/// assert_eq!(both.by_count().values()?.shape(), [2, 4]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaithfulnessCurves {
    curves: Vec<(String, FaithfulnessCurve)>,
    by_count: bool,
}

impl FaithfulnessCurves {
    /// No curves yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this curve as well.
    pub fn add(mut self, name: impl Into<String>, curve: &FaithfulnessCurve) -> Self {
        self.curves.push((name.into(), curve.clone()));
        self
    }

    /// The axis counts edges and nodes, instead of saying what share of all they are. A curve ends where it has all of its own.
    pub fn by_count(&self) -> Self {
        Self { by_count: true, ..self.clone() }
    }

    /// The curves, by name, in the order in which they were added.
    pub fn curves(&self) -> Vec<(String, FaithfulnessCurve)> {
        self.curves.clone()
    }

    /// What the axis says.
    pub fn axis(&self) -> &'static str {
        if self.by_count { "edges or nodes in the circuit" } else { "share of all edges or nodes" }
    }

    /// The faithfulness of each curve, followed by that of its random circuits, where it has any, at the sizes of all of them; NaN
    /// beyond the last size of its own.
    ///
    /// # Shapes
    /// `[curve, size]`.
    ///
    /// # Errors
    /// No curves, or two with one name.
    pub fn values(&self) -> Result<Labelled> {
        if self.curves.is_empty() {
            return Err(Error::argument("there are no curves to lay on one axis: add some with .add(name, &curve)."));
        }
        for (at, (name, _)) in self.curves.iter().enumerate() {
            if self.curves[..at].iter().any(|(other, _)| other == name) {
                let name = visible(name);
                return Err(Error::argument(format!("two curves are called \"{name}\": give each its own name.")));
            }
        }
        let lines = self.curves.iter().flat_map(|(name, curve)| {
            let random =
                curve.random.as_ref().map(|random| (format!("{name}, random"), self.scaled(random.points(), curve.of)));
            [(name.clone(), self.points(curve))].into_iter().chain(random)
        });
        let (names, all): (Vec<String>, Vec<Vec<(f64, f64)>>) = lines.unzip();
        let sizes = self.sizes();
        let values = all.iter().flat_map(|points| sizes.iter().map(|&size| height(points, size) as f32)).collect();
        let axes = vec![Axis::new("curve", names), Axis::new(self.axis(), self.labels(&sizes))];
        Labelled::new("faithfulness", axes, values)
    }

    /// All sizes at which one of the curves was run, by count or by share, in order.
    pub fn sizes(&self) -> Vec<f64> {
        let all = self.curves.iter().flat_map(|(_, curve)| self.points(curve));
        let mut sizes: Vec<f64> = all.map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }

    /// The points of a curve, by count or by share.
    fn points(&self, curve: &FaithfulnessCurve) -> Vec<(f64, f64)> {
        self.scaled(curve.points(), curve.of)
    }

    fn scaled(&self, points: impl Iterator<Item = (f64, f64)>, of: usize) -> Vec<(f64, f64)> {
        let unit = if self.by_count { 1.0 } else { of as f64 };
        points.map(|(size, height)| (size / unit, height)).collect()
    }

    /// Sizes in words, with as many digits as tell them apart.
    fn labels(&self, sizes: &[f64]) -> Vec<String> {
        if self.by_count {
            return sizes.iter().map(f64::to_string).collect();
        }
        let with = |digits: usize| -> Vec<String> {
            sizes.iter().map(|size| format!("{:.digits$} %", 100.0 * size)).collect()
        };
        let differ = |labels: &[String]| labels.windows(2).all(|pair| pair[0] != pair[1]);
        (1..9).map(with).find(|labels| differ(labels)).unwrap_or_else(|| with(9))
    }
}

/// The height of a line through these points; NaN outside.
fn height(points: &[(f64, f64)], x: f64) -> f64 {
    let behind = points.iter().position(|point| point.0 >= x);
    match behind {
        Some(at) if points[at].0 == x || at == 0 => points[at].1,
        Some(at) => {
            let [(left, a), (right, b)] = [points[at - 1], points[at]];
            a + (b - a) * (x - left) / (right - left)
        }
        None => f64::NAN,
    }
}

impl fmt::Display for FaithfulnessCurves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.curves.iter().map(|(name, _)| visible(name).to_string()).collect();
        write!(f, "{} curves of faithfulness over the {}: {}", self.curves.len(), self.axis(), names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::faithfulness::CircuitUnit;
    use super::*;

    #[test]
    fn lines_pass_through_what_was_measured() -> Result<()> {
        let curve = |of: usize, unit: CircuitUnit, sizes: &[usize], faithfulness: &[f32]| FaithfulnessCurve {
            sizes: sizes.to_vec(),
            metric: faithfulness.to_vec(),
            faithfulness: faithfulness.to_vec(),
            of,
            unit,
            random: None,
            stability: None,
        };
        let edges = curve(10, CircuitUnit::Edges, &[5], &[0.75]);
        let nodes = curve(100, CircuitUnit::Nodes, &[10, 20], &[0.5, 0.25]);
        let both = FaithfulnessCurves::new().add("edges", &edges).add("nodes", &nodes);
        let by_share = both.values()?;
        assert_eq!(by_share.axes()[1].labels, ["0.0 %", "10.0 %", "20.0 %", "50.0 %", "100.0 %"]);
        assert_eq!(by_share.get(&["edges", "20.0 %"])?, 0.3);
        assert_eq!(by_share.get(&["edges", "50.0 %"])?, 0.75);
        assert_eq!(by_share.get(&["nodes", "20.0 %"])?, 0.25);
        let by_count = both.by_count().values()?;
        assert_eq!(by_count.axes()[1].labels, ["0", "5", "10", "20", "100"]);
        assert_eq!(by_count.get(&["nodes", "5"])?, 0.25);
        assert!(by_count.get(&["edges", "20"])?.is_nan());
        assert!(both.add("edges", &edges).values().is_err());
        assert!(FaithfulnessCurves::new().values().is_err());
        Ok(())
    }
}
