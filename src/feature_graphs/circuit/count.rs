//! Which features and errors a circuit names, checked before anything is run, and how many they are.

use super::place::{Named, Place};
use super::prepare::{ErrorsOutside, FeatureCircuits};
use super::set::FeatureCircuit;
use crate::error::{Error, Result};
use crate::feature_graphs::node::GraphNode;
use crate::random::Random;

/// Where a node is.
struct Spot {
    /// None for an error of what has no dictionary.
    place: Option<usize>,
    pos: usize,
    /// None for an error.
    feature: Option<usize>,
}

impl FeatureCircuits {
    /// What the circuit names at each place.
    ///
    /// # Errors
    /// Nodes that these circuits do not have; circuits that are not one for each prompt.
    pub(super) fn named(&self, circuit: &FeatureCircuit) -> Result<Vec<Named>> {
        let (batch, n_pos) = (self.tokens.batch(), self.tokens.pos());
        if circuit.is_per_prompt && circuit.sets.len() != batch {
            return Err(Error::argument(format!(
                "circuits of {} prompts were given, and the experiment has {batch}: give one for each \
                 (FeatureCircuit::per_prompt), or one for all (FeatureCircuit::new).",
                circuit.sets.len()
            )));
        }
        let rows = batch * n_pos;
        let empty = |_: &Place| Named {
            features: vec![Vec::new(); rows],
            errors: vec![false; rows],
            is_all_but: circuit.is_all_but,
        };
        let mut named: Vec<Named> = self.places.iter().map(empty).collect();
        for (number, set) in circuit.sets.iter().enumerate() {
            let prompts = if circuit.is_per_prompt { number..number + 1 } else { 0..batch };
            for &node in set {
                let spot = self.spot(node)?;
                let rows = self.rows(node, &spot, prompts.clone())?;
                let Some(named) = spot.place.map(|place| &mut named[place]) else { continue };
                for row in rows {
                    match spot.feature {
                        // Sets are ordered, so features of a row come in order.
                        Some(feature) => named.features[row].push(feature as u32),
                        None => named.errors[row] = true,
                    }
                }
            }
        }
        Ok(named)
    }

    /// The rows of a node in these prompts.
    fn rows(&self, node: GraphNode, spot: &Spot, prompts: std::ops::Range<usize>) -> Result<Vec<usize>> {
        let n_pos = self.tokens.pos();
        let (first, lengths) = (self.tokens.first_positions(), self.tokens.lengths());
        let of = |prompt: usize| (spot.pos < lengths[prompt]).then(|| prompt * n_pos + first[prompt] + spot.pos);
        let there: Vec<usize> = prompts.clone().filter_map(of).collect();
        let whose = if prompts.len() == 1 { format!("prompt {}", prompts.start) } else { "every prompt".into() };
        if there.is_empty() {
            let longest = prompts.map(|prompt| lengths[prompt]).max().unwrap_or(0);
            return Err(Error::argument(format!(
                "{node} is in the circuit, but {whose} has {longest} tokens at most (0 to {}): positions are counted from a prompt's \
                 first token.",
                longest.saturating_sub(1)
            )));
        }
        let acting: Vec<usize> = there.into_iter().filter(|&row| self.acts[row]).collect();
        match acting.is_empty() && spot.feature.is_some() {
            true => Err(Error::argument(format!(
                "{node} is in the circuit, but position {} of {whose} is a BOS, which dictionaries leave alone: leave the node out.",
                spot.pos
            ))),
            false => Ok(acting),
        }
    }

    fn spot(&self, node: GraphNode) -> Result<Spot> {
        let (layer, pos, feature, is_attn) = match node {
            GraphNode::Feature { layer, pos, feature } => (layer, pos, Some(feature), false),
            GraphNode::AttnFeature { layer, pos, feature } => (layer, pos, Some(feature), true),
            GraphNode::Error { layer, pos } => (layer, pos, None, false),
            GraphNode::AttnError { layer, pos } => (layer, pos, None, true),
            other => {
                return Err(Error::argument(format!(
                    "{other} cannot be taken out of a circuit and is part of every one: give features and errors."
                )));
            }
        };
        let place = self.places.iter().position(|place| place.layer == layer && place.is_attn == is_attn);
        let n_layers = self.model.cfg().n_layers;
        match (place, feature) {
            (None, None) if layer < n_layers => Ok(Spot { place, pos, feature }),
            (None, _) => Err(Error::argument(format!(
                "{node} is in the circuit, but there is no dictionary of the {} of layer {layer}: these are {self}.",
                if is_attn { "attention outputs" } else { "MLP" }
            ))),
            (Some(at), Some(feature)) if feature >= self.places[at].d_sae => Err(Error::argument(format!(
                "{node} is in the circuit, but the dictionary there has {} features (0 to {}).",
                self.places[at].d_sae,
                self.places[at].d_sae - 1
            ))),
            _ => Ok(Spot { place, pos, feature }),
        }
    }

    /// The rows of a prompt at which dictionaries act.
    fn acting(&self, prompt: usize) -> impl Iterator<Item = usize> {
        let n_pos = self.tokens.pos();
        (prompt * n_pos..(prompt + 1) * n_pos).filter(|&row| self.acts[row])
    }

    /// The features and the errors of a prompt that a circuit has: features that are active in the clean run, or in that of the
    /// corrupted prompts; errors, unless all are live.
    pub(super) fn counted(&self, named: &[Named], prompt: usize) -> [Vec<GraphNode>; 2] {
        let (n_pos, first) = (self.tokens.pos(), self.tokens.first_positions()[prompt]);
        let [mut features, mut errors] = [Vec::new(), Vec::new()];
        for (place, named) in self.places.iter().zip(named) {
            for row in self.acting(prompt) {
                let pos = row - prompt * n_pos - first;
                let is_in = |feature: &u32| named.has_feature(row, *feature);
                features
                    .extend(place.candidates(row).into_iter().filter(is_in).map(|feature| place.feature(pos, feature)));
                if self.errors != ErrorsOutside::Live && named.has_error(row) {
                    errors.push(place.error(pos));
                }
            }
        }
        [features, errors]
    }

    /// How many features and errors a circuit has, over all prompts.
    pub(super) fn size(&self, named: &[Named]) -> usize {
        let of_row = |(place, named): (&Place, &Named), row: usize| {
            let features = place.candidates(row).into_iter().filter(|&feature| named.has_feature(row, feature)).count();
            features + usize::from(self.errors != ErrorsOutside::Live && named.has_error(row))
        };
        let of = |prompt: usize| {
            let places = self.places.iter().zip(named);
            places.map(|each| self.acting(prompt).map(|row| of_row(each, row)).sum::<usize>()).sum::<usize>()
        };
        (0..self.tokens.batch()).map(of).sum()
    }

    /// A random circuit with as many features and as many errors in each prompt, drawn from all of that prompt: the control for a
    /// circuit of this size. With the same seed, nested circuits give nested ones.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let transcoders = DictionarySet::open("tiny")?.transcoders()?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let circuits = Experiment::new(&model, prompt, Baseline::Zero, metric)?
    ///     .feature_circuits(&transcoders, ErrorsOutside::Replaced)?;
    /// let graph = model.attribution_graph(&transcoders, prompt, GraphTargets::difference(" Mary", " John"))?;
    /// let circuit = graph.ranking().top(40)?;
    /// let random = circuits.random_like(&circuit, 0)?;
    /// assert_eq!(circuits.evaluate(&random)?.size, circuits.evaluate(&circuit)?.size);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A circuit that these do not have.
    pub fn random_like(&self, circuit: &FeatureCircuit, seed: u64) -> Result<FeatureCircuit> {
        let (named, all) = (self.named(circuit)?, self.named(&FeatureCircuit::full())?);
        let mut random = Random::new(seed);
        let mut sets = Vec::new();
        for prompt in 0..self.tokens.batch() {
            let counts = self.counted(&named, prompt).map(|nodes| nodes.len());
            let mut set = Vec::new();
            for (mut nodes, count) in self.counted(&all, prompt).into_iter().zip(counts) {
                random.shuffle(&mut nodes);
                set.extend(nodes.into_iter().take(count));
            }
            sets.push(FeatureCircuit::new(set));
        }
        FeatureCircuit::per_prompt(sets)
    }
}
