//! The rows of a graph: targets first, then features, those with the most influence first where there is no room for all.

use super::graph::{AttributionGraph, Origin, Row};
use super::incoming::Incoming;
use super::keep::Kept;
use super::node::GraphNode;
use super::options::GraphOptions;
use super::pull::{Pull, Wanted};
use super::sources::Active;
use super::targets::Targets;
use crate::error::Result;
use crate::hooks::check_free;
use crate::interrupt::uninterrupted;
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
    check_room(pull, room, targets.names.len(), options.batch_size)?;
    let mut graph = AttributionGraph {
        pieces,
        sources: pull.sources.nodes(),
        activations: features.iter().map(|active| active.activation).collect(),
        rows: target_rows(pull, &targets, options.batch_size)?,
        targets: Vec::new(),
        origin,
    };
    let mut kept = options.save_to.as_ref().map(|path| Kept::new(path, pull, &targets, options)).transpose()?;
    let mut is_there = vec![false; features.len()];
    if let Some(kept) = &mut kept {
        for (number, edges) in kept.rows(features.len(), graph.sources.len())? {
            is_there[number] = true;
            graph.rows.push(feature_row(pull, number, edges));
        }
    }
    graph.targets = targets.names;
    let mut done = is_there.iter().filter(|there| **there).count();
    let mut progress = Progress::of("attribution", room as u64, "features");
    progress.step(done as u64)?;
    while done < room {
        graph.rows.sort_by_key(|row| row.node);
        // Batches are the same whether the graph was interrupted or not, so that their sums are.
        let batches = kept.as_ref().map_or(usize::MAX, |kept| kept.together().div_ceil(options.batch_size));
        let next: Vec<usize> = match room == features.len() {
            // Those that have no row, whichever rows a kept file has.
            true => {
                let missing = (0..room).filter(|number| !is_there[*number]);
                missing.take(batches.saturating_mul(options.batch_size)).collect()
            }
            false => {
                let count = BATCHES_BETWEEN.saturating_mul(options.batch_size).min(room - done);
                most_influential(&graph, &is_there, count)
            }
        };
        for numbers in next.chunks(options.batch_size) {
            graph.rows.extend(feature_rows(pull, numbers)?);
            numbers.iter().for_each(|&number| is_there[number] = true);
            done += numbers.len();
            progress.step(numbers.len() as u64)?;
        }
        if let Some(kept) = &mut kept {
            uninterrupted(|| kept.save(&graph.rows, &graph.sources, room))?;
        }
    }
    graph.rows.sort_by_key(|row| row.node);
    if room < features.len() {
        graph.leave_out(&is_there);
    }
    Ok(graph)
}

/// That there is memory for the edges, of which a feature has those from earlier layers at positions up to its own, and for the products
/// of one batch: a row of all sources for each target, and gradients along the residual stream with what comes in and goes out of a layer.
///
/// # Errors
/// [`Error::Argument`](crate::Error) where there is not.
fn check_room(pull: &Pull, rows: usize, targets: usize, batch_size: usize) -> Result<()> {
    const ALONG: u64 = 4;
    let sources = &pull.sources;
    let others = (sources.columns().all - sources.features.len()) as u64;
    let before = |active: &Active| -> u64 {
        (0..active.layer).map(|layer| (sources.at(layer, active.pos).end - sources.of_layer(layer).start) as u64).sum()
    };
    let all: u64 = sources.features.iter().map(|active| before(active) + others).sum();
    let of_targets = (targets as u64).saturating_mul(sources.columns().all as u64);
    let share = rows as f64 / sources.features.len().max(1) as f64;
    let edges = (all as f64 * share) as u64 + of_targets;
    let what = format!("the {edges} edges of a graph of {rows} features");
    let of_edges = edges.saturating_mul((size_of::<f32>() + size_of::<u32>()) as u64);
    let of_target = sources.columns().all as u64 + ALONG * sources.tokens.elem_count() as u64;
    let together = batch_size.min(rows.max(targets)) as u64;
    let bytes = of_edges.saturating_add(together.saturating_mul(of_target).saturating_mul(size_of::<f32>() as u64));
    check_free(
        bytes,
        &what,
        "explain fewer features, GraphOptions { most_features: Some(1000), .. }, fewer targets, or a smaller batch_size",
    )
}

fn target_rows(pull: &Pull, targets: &Targets, batch_size: usize) -> Result<Vec<Row>> {
    let parts = targets.directions.iter().zip(&targets.biases);
    let wanted: Vec<Wanted> = parts.map(|(direction, &bias)| Wanted::Direction(direction, bias)).collect();
    let mut edges = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(batch_size) {
        edges.extend(pull.rows(wanted)?.split());
    }
    let row = |(number, edges): (usize, Incoming)| Row {
        node: GraphNode::Target { number },
        value: Some(targets.values[number]),
        weight: targets.weights[number],
        edges,
    };
    Ok(edges.into_iter().enumerate().map(row).collect())
}

fn feature_rows(pull: &Pull, numbers: &[usize]) -> Result<Vec<Row>> {
    let wanted: Vec<Wanted> = numbers.iter().map(|&number| Wanted::Feature(number)).collect();
    let edges = pull.rows(&wanted)?.split();
    Ok(numbers.iter().zip(edges).map(|(&number, edges)| feature_row(pull, number, edges)).collect())
}

fn feature_row(pull: &Pull, number: usize, edges: Incoming) -> Row {
    let active = &pull.sources.features[number];
    Row { node: active.node(), value: Some(active.pre_activation), weight: 0.0, edges }
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
