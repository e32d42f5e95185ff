//! The rows of a graph: targets first, then features, those with the most influence first where there is no room for all.

use super::graph::{AttributionGraph, Origin, Row};
use super::incoming::Incoming;
use super::node::GraphNode;
use super::options::GraphOptions;
use super::pull::{Pull, Wanted};
use super::targets::Targets;
use crate::error::Result;
use crate::hooks::check_free;
use crate::progress::Progress;

/// After how many batches influence is computed again, as circuit-tracer does.
const BATCHES_BETWEEN: usize = 4;

/// # Errors
/// As the products.
pub(super) fn explore(
    pull: &Pull,
    targets: Targets,
    options: &GraphOptions,
    (pieces, origin): (Vec<String>, Origin),
) -> Result<AttributionGraph> {
    let features = &pull.sources.features;
    let room = options.most_features.unwrap_or(usize::MAX).min(features.len());
    check_room(room + targets.names.len(), pull.sources.nodes().len())?;
    let mut graph = AttributionGraph {
        pieces,
        sources: pull.sources.nodes(),
        activations: features.iter().map(|active| active.activation).collect(),
        rows: target_rows(pull, &targets)?,
        targets: targets.names,
        origin,
    };
    let batch = options.batch_size;
    let mut is_there = vec![false; features.len()];
    let mut progress = Progress::new("attribution", room as u64, "features");
    let mut done = 0;
    while done < room {
        let next: Vec<usize> = match room == features.len() {
            true => (0..room).collect(),
            false => most_influential(&graph, &is_there, (BATCHES_BETWEEN * batch).min(room - done)),
        };
        for numbers in next.chunks(batch) {
            graph.rows.extend(feature_rows(pull, numbers, &graph.sources)?);
            numbers.iter().for_each(|&number| is_there[number] = true);
            done += numbers.len();
            progress.step(numbers.len() as u64);
        }
    }
    graph.rows.sort_by_key(|row| row.node);
    if room < features.len() {
        graph.leave_out(&is_there);
    }
    Ok(graph)
}

/// That there is memory for the edges, once for the graph and once while it is put in order.
///
/// # Errors
/// [`Error::Argument`](crate::Error) where there is not.
fn check_room(rows: usize, columns: usize) -> Result<()> {
    let bytes = (rows as u64).saturating_mul(columns as u64).saturating_mul(2 * size_of::<f32>() as u64);
    let what = format!("the edges of a graph of {rows} targets and {columns} sources");
    check_free(bytes, &what, "explain fewer features: GraphOptions { most_features: Some(1000), .. }")
}

fn target_rows(pull: &Pull, targets: &Targets) -> Result<Vec<Row>> {
    let parts = targets.directions.iter().zip(&targets.biases);
    let wanted: Vec<Wanted> = parts.map(|(direction, &bias)| Wanted::Direction(direction, bias)).collect();
    let edges = pull.rows(&wanted)?.split();
    let row = |(number, edges): (usize, Incoming)| Row {
        node: GraphNode::Target { number },
        value: Some(targets.values[number]),
        weight: targets.weights[number],
        edges,
    };
    Ok(edges.into_iter().enumerate().map(row).collect())
}

fn feature_rows(pull: &Pull, numbers: &[usize], nodes: &[GraphNode]) -> Result<Vec<Row>> {
    let wanted: Vec<Wanted> = numbers.iter().map(|&number| Wanted::Feature(number)).collect();
    let edges = pull.rows(&wanted)?.split();
    let row = |(&number, edges): (&usize, Incoming)| Row {
        node: nodes[number],
        value: Some(pull.sources.features[number].pre_activation),
        weight: 0.0,
        edges,
    };
    Ok(numbers.iter().zip(edges).map(row).collect())
}

/// The features with the most influence that have no row yet.
fn most_influential(graph: &AttributionGraph, is_there: &[bool], count: usize) -> Vec<usize> {
    let influence = graph.influence();
    let mut features: Vec<usize> = (0..is_there.len()).filter(|&number| !is_there[number]).collect();
    features.sort_by(|&a, &b| influence.values()[b].total_cmp(&influence.values()[a]));
    features.truncate(count);
    features
}

impl AttributionGraph {
    /// Puts the features without a row into one source.
    fn leave_out(&mut self, is_there: &[bool]) {
        let is_out = |column: usize| is_there.get(column) == Some(&false);
        let sum =
            |row: &Row| -> f32 { row.edges.iter().filter(|(column, _)| is_out(*column)).map(|(_, edge)| edge).sum() };
        let sums: Vec<f32> = self.rows.iter().map(sum).collect();
        let kept: Vec<bool> = (0..self.sources.len()).map(|column| !is_out(column)).collect();
        *self = self.among(&kept);
        let column = self.sources.len();
        self.sources.push(GraphNode::LeftOut);
        for (row, sum) in self.rows.iter_mut().zip(sums).filter(|(_, sum)| *sum != 0.0) {
            row.edges.push(column, sum);
        }
    }
}
