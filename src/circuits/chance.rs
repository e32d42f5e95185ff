//! Random circuits beside chosen ones: how faithful a circuit of that many edges is anyway.
//!
//! A random circuit is grown from the logits: each time one of the edges into nodes of the circuit, all with the same
//! probability. So each of its edges leads to the logits, as those of [`Circuit::greedy`] do, and chance is not beaten merely by
//! choosing connected edges. Uniform subsets of all edges would be easier to beat.

use std::collections::{BTreeMap, BTreeSet};

use super::circuit::Circuit;
use super::edges::Edges;
use super::faithfulness::{CircuitUnit, FaithfulnessCurve, area, points};
use super::node::Node;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::progress::Progress;
use crate::random::Random;

/// The faithfulness of random circuits of several sizes, some of each.
#[derive(Clone, PartialEq)]
pub struct RandomCurves {
    /// How many edges or nodes the circuits have, the smallest first.
    pub sizes: Vec<usize>,
    /// The faithfulness of each, `[size, draw]`.
    pub faithfulness: Labelled,
    /// How many the model has.
    pub of: usize,
    /// What is counted.
    pub unit: CircuitUnit,
}

impl Circuit {
    /// A circuit of as many edges, grown from the logits at random: each time one of the edges into nodes of the circuit, all with
    /// the same probability. With one seed, those of smaller circuits are parts of those of larger ones.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let circuit = Circuit::of(&HookedTransformer::from_pretrained("tiny")?);
    /// let chosen = circuit.empty().with("m0->m3")?.with("m3->logits")?;
    /// let random = chosen.random_like(0);
    /// assert_eq!(random.count_included_edges(), 2);
    /// assert!(random.edges().iter().any(|edge| edge.to == Node::Logits));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn random_like(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut into: BTreeMap<Node, Vec<(usize, Node)>> = BTreeMap::new();
        self.layout
            .edges()
            .into_iter()
            .for_each(|(place, edge)| into.entry(edge.to).or_default().push((place, edge.from)));
        let mut candidates = into.remove(&Node::Logits).unwrap_or_default();
        let mut reached = BTreeSet::from([Node::Logits]);
        let mut chosen = Vec::new();
        // Every node writes to the logits, so no edge is out of reach.
        while chosen.len() < self.count_included_edges() && !candidates.is_empty() {
            let (place, from) = candidates.swap_remove(random.below(candidates.len()));
            chosen.push(place);
            if reached.insert(from) {
                candidates.extend(into.remove(&from).unwrap_or_default());
            }
        }
        Self {
            method: format!("random, seed {seed}"),
            levels: None,
            scores: vec![f32::NAN; self.scores.len()],
            ..self.of_places(chosen)
        }
    }
}

impl Edges {
    /// The faithfulness of `draws` [random circuits](Circuit::random_like) of the size of each of these.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let edges = Experiment::new(&model, clean, corrupted, metric)?.edges()?;
    /// let circuits = edges.attribute(EdgeMethod::EapIgInputs { steps: 5 })?.greedy_each(&[50, 200], RankBy::Magnitude)?;
    /// let random = edges.random_curves(&circuits, 3, 0)?;
    /// let curve = edges.curve(&circuits)?.with_random(&random)?;
    /// assert!(curve.faithfulness[1] > random.highest()[1]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No circuits; 0 draws; and as [`Edges::evaluate`].
    pub fn random_curves(&self, circuits: &[Circuit], draws: usize, seed: u64) -> Result<RandomCurves> {
        circuits.iter().try_for_each(|circuit| circuit.check(&self.layout))?;
        let sizes: Vec<usize> = circuits.iter().map(Circuit::count_included_edges).collect();
        RandomCurves::of(
            (sizes, Circuit::of_layout(self.layout).n_edges(), CircuitUnit::Edges),
            draws,
            |circuit, draw| Ok(self.evaluate(&circuits[circuit].random_like(seed.wrapping_add(draw)))?.faithfulness),
        )
    }
}

impl RandomCurves {
    /// Random circuits of these sizes, of so many edges or nodes; `faithfulness` is that of a draw for a circuit.
    ///
    /// # Errors
    /// No circuits; 0 draws.
    pub(crate) fn of(
        (sizes, of, unit): (Vec<usize>, usize, CircuitUnit),
        draws: usize,
        faithfulness: impl Fn(usize, u64) -> Result<f32>,
    ) -> Result<Self> {
        if sizes.is_empty() || draws == 0 {
            return Err(Error::argument(format!(
                "{} circuits and {draws} draws were given: give circuits, of whose sizes random ones are drawn, and at \
                 least 1 draw of each.",
                sizes.len()
            )));
        }
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&circuit| sizes[circuit]);
        let mut progress = Progress::of("running random circuits", (sizes.len() * draws) as u64, "circuits");
        let mut values = Vec::new();
        for &circuit in &order {
            for draw in 0..draws as u64 {
                values.push(faithfulness(circuit, draw)?);
                progress.step(1)?;
            }
        }
        let sizes: Vec<usize> = order.into_iter().map(|circuit| sizes[circuit]).collect();
        let axes = vec![Axis::new("size", sizes.iter().map(usize::to_string)), Axis::numbered("draw", draws)];
        Ok(Self { faithfulness: Labelled::new("faithfulness of random circuits", axes, values)?, sizes, of, unit })
    }

    /// How many circuits of each size there are.
    pub fn draws(&self) -> usize {
        self.faithfulness.shape()[1]
    }

    /// The mean faithfulness of each size.
    pub fn mean(&self) -> Vec<f32> {
        self.each(|values| values.iter().sum::<f32>() / values.len() as f32)
    }

    /// The lowest faithfulness of each size.
    pub fn lowest(&self) -> Vec<f32> {
        self.each(|values| values.iter().copied().fold(f32::INFINITY, f32::min))
    }

    /// The highest faithfulness of each size.
    pub fn highest(&self) -> Vec<f32> {
        self.each(|values| values.iter().copied().fold(f32::NEG_INFINITY, f32::max))
    }

    /// The area under the mean, as [`FaithfulnessCurve::cpr`].
    pub fn cpr(&self) -> f32 {
        area(self.points(), self.of, |faithfulness| faithfulness)
    }

    /// Sizes with the mean faithfulness, the empty circuit and the full one included.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        points(&self.sizes, &self.mean(), self.of).into_iter()
    }

    fn each(&self, number: impl Fn(&[f32]) -> f32) -> Vec<f32> {
        let values: Vec<f32> = self.faithfulness.values().iter().copied().collect();
        values.chunks(self.draws()).map(number).collect()
    }
}

impl std::fmt::Debug for RandomCurves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RandomCurves({} draws of {:?} of {} {})", self.draws(), self.sizes, self.of, self.unit)
    }
}

impl FaithfulnessCurve {
    /// The curve with random circuits of its sizes beside it, which are then drawn with it.
    ///
    /// # Errors
    /// Random circuits of other sizes, or of another model.
    pub fn with_random(self, random: &RandomCurves) -> Result<Self> {
        self.check_beside("random circuits", &random.sizes, (random.of, random.unit))?;
        Ok(Self { random: Some(random.clone()), ..self })
    }

    /// How likely a random circuit is at least as faithful as that of each size: `(1 + those that are) / (1 + draws)`; none without
    /// random circuits.
    pub fn p_values(&self) -> Option<Vec<f32>> {
        let random = self.random.as_ref()?;
        let values: Vec<f32> = random.faithfulness.values().iter().copied().collect();
        let draws = random.draws();
        let p = |(own, random): (&f32, &[f32])| {
            (1 + random.iter().filter(|random| *random >= own).count()) as f32 / (1 + draws) as f32
        };
        Some(self.faithfulness.iter().zip(values.chunks(draws)).map(p).collect())
    }

    /// Checks that what is laid beside the curve is of the same sizes and of the same model.
    pub(super) fn check_beside(&self, what: &str, sizes: &[usize], (of, unit): (usize, CircuitUnit)) -> Result<()> {
        if (sizes, of, unit) == (&self.sizes, self.of, self.unit) {
            return Ok(());
        }
        Err(Error::argument(format!(
            "the {what} are of {sizes:?} of {of} {unit}, but the curve is of {:?} of {} {}: make both from the same \
             circuits.",
            self.sizes, self.of, self.unit
        )))
    }
}
