//! The search: from the metric down, the edges into all nodes that the graph has, in all prompts at once.
//!
//! Whatever reads a node comes after it, so when its own edges are computed, all its edges out are known: a node to which no edge above
//! the threshold leads is never expanded. What such nodes carry is still known exactly, because it needs only one row for all
//! of a position: the sum of their encoders, each times its total gradient.

use std::collections::HashSet;

use super::super::node::GraphNode;
use super::edge::{ChainedEdge, EdgeVia};
use super::fitted::Stage;
use super::graph::METRIC;
use super::node::{ChainedNode, EdgesLeftOut};
use super::options::ChainOptions;
use super::prompt::PromptEdges;
use super::rows::Rows;
use super::union::Union;
use crate::error::Result;
use crate::hooks::check_free;
use crate::progress::Progress;

/// How many targets are pulled back at once.
const BATCH: usize = 64;

/// After how many more edges memory is looked at again.
const EDGES_BETWEEN: usize = 1 << 20;

/// What a search finds.
pub(super) struct Trace<'a> {
    prompts: &'a [PromptEdges<'a>],
    union: &'a Union,
    threshold: f32,
    /// Which sources of the union may be in the graph.
    takes: Vec<bool>,
    /// The edges above the threshold, means over prompts.
    pub edges: Vec<ChainedEdge>,
    /// The sum of the other edges out of each source of the union.
    pub dropped: Vec<f64>,
    /// The edges that were computed and are not above the threshold.
    pub left_out: EdgesLeftOut,
    /// The sources of edges above the threshold.
    reached: HashSet<GraphNode>,
    metric: f64,
    magnitude: f64,
}

/// Sums over prompts of the edges of one kind into some targets.
struct Sums {
    via: EdgeVia,
    /// Local value and value for the metric, `target * sources + source`.
    values: Vec<(f64, f64)>,
}

impl<'a> Trace<'a> {
    /// # Errors
    /// As the products; no memory for the edges.
    pub(super) fn run(
        prompts: &'a [PromptEdges<'a>],
        (union, means): (&'a Union, &[ChainedNode]),
        options: &ChainOptions,
    ) -> Result<Self> {
        let mut trace = Self {
            prompts,
            union,
            threshold: options.threshold,
            takes: means.iter().map(|node| options.takes(node)).collect(),
            edges: Vec::new(),
            dropped: vec![0.0; union.nodes.len()],
            left_out: EdgesLeftOut::default(),
            reached: HashSet::new(),
            metric: 0.0,
            magnitude: 0.0,
        };
        let mut direct = Vec::new();
        for (prompt, edges) in prompts.iter().enumerate() {
            trace.add(&mut direct, (prompt, EdgeVia::Direct), &edges.direct()?, &[(0, 1.0)], 1);
        }
        trace.take(&[METRIC], direct)?;
        let (stages, positions) = prompts.first().map_or((0, 0), PromptEdges::stages_and_positions);
        let mut progress = Progress::of("tracing edges", (stages * positions) as u64, "positions of parts of layers");
        for number in (0..stages).rev() {
            for pos in 0..positions {
                trace.expand(Stage::numbered(number), pos)?;
                progress.step(1)?;
            }
        }
        trace.left_out.metric = trace.metric as f32;
        trace.left_out.magnitude = trace.magnitude as f32;
        Ok(trace)
    }

    /// The edges into the features of a part of a layer at a position that are in the graph, and what goes into the others.
    fn expand(&mut self, stage: Stage, pos: usize) -> Result<()> {
        // By prompt, the features that are in the graph and those that are not.
        let mut wanted: Vec<Vec<usize>> = Vec::with_capacity(self.prompts.len());
        for (prompt, edges) in self.prompts.iter().enumerate() {
            let (inside, outside): (Vec<usize>, Vec<usize>) = edges
                .targets_at(stage, pos)
                .into_iter()
                .partition(|&target| self.reached.contains(&edges.nodes()[target].node));
            wanted.push(inside);
            if outside.iter().any(|&target| edges.nodes()[target].gradient != 0.0) {
                self.pass_by(prompt, &edges.edges_into_sum(stage, pos, &outside)?);
            }
        }
        let of = |(prompt, targets): (usize, &Vec<usize>)| -> Vec<GraphNode> {
            targets.iter().map(|&target| self.prompts[prompt].nodes()[target].node).collect()
        };
        let mut targets: Vec<GraphNode> = wanted.iter().enumerate().flat_map(of).collect();
        targets.sort();
        targets.dedup();
        for targets in targets.chunks(BATCH) {
            let mut sums = Vec::new();
            for (prompt, edges) in self.prompts.iter().enumerate() {
                let place = |own: usize| targets.binary_search(&edges.nodes()[own].node).ok();
                let (own, rows): (Vec<usize>, Vec<(usize, f32)>) = wanted[prompt]
                    .iter()
                    .filter_map(|&own| Some((own, (place(own)?, edges.nodes()[own].gradient))))
                    .unzip();
                if own.is_empty() {
                    continue;
                }
                for (via, edges) in edges.edges_into_features(stage, pos, &own)? {
                    self.add(&mut sums, (prompt, via), &edges, &rows, targets.len());
                }
            }
            self.take(targets, sums)?;
        }
        Ok(())
    }

    /// Adds the edges into some targets of one prompt, of which is known which rows of all they are and their total gradients.
    fn add(
        &self,
        sums: &mut Vec<Sums>,
        (prompt, via): (usize, EdgeVia),
        rows: &Rows,
        targets: &[(usize, f32)],
        count: usize,
    ) {
        let width = self.union.nodes.len();
        let at = sums.iter().position(|own| own.via == via).unwrap_or_else(|| {
            sums.push(Sums { via, values: vec![(0.0, 0.0); count * width] });
            sums.len() - 1
        });
        let sources = self.prompts[prompt].nodes();
        for (&(target, gradient), row) in targets.iter().zip(rows.rows()) {
            let sums = &mut sums[at].values[target * width..(target + 1) * width];
            for ((&place, source), slope) in self.union.places[prompt].iter().zip(sources).zip(row) {
                let local = f64::from(*slope) * f64::from(source.change);
                sums[place].0 += local;
                sums[place].1 += local * f64::from(gradient);
            }
        }
    }

    /// Adds what goes into features that are not in the graph.
    fn pass_by(&mut self, prompt: usize, rows: &[(EdgeVia, Rows)]) {
        let count = self.prompts.len() as f64;
        let sources = self.prompts[prompt].nodes();
        for row in rows.iter().filter_map(|(_, rows)| rows.rows().next()) {
            for ((&place, source), slope) in self.union.places[prompt].iter().zip(sources).zip(row) {
                self.dropped[place] += f64::from(*slope) * f64::from(source.change) / count;
            }
        }
    }

    /// Keeps the means that are above the threshold.
    fn take(&mut self, targets: &[GraphNode], sums: Vec<Sums>) -> Result<()> {
        let count = self.prompts.len() as f64;
        let width = self.union.nodes.len();
        let before = self.edges.len() / EDGES_BETWEEN;
        for Sums { via, values } in sums {
            for (&target, values) in targets.iter().zip(values.chunks(width)) {
                for (place, (local, metric)) in values.iter().enumerate().filter(|(_, sums)| sums.1 != 0.0) {
                    let (source, mean) = (self.union.nodes[place], metric / count);
                    if mean.abs() > f64::from(self.threshold) && self.takes[place] {
                        self.reached.insert(source);
                        let local = (local / count) as f32;
                        self.edges.push(ChainedEdge { source, target, via, local, metric: mean as f32 });
                    } else {
                        self.dropped[place] += mean;
                        self.left_out.edges += 1;
                        self.metric += mean;
                        self.magnitude += mean.abs();
                    }
                }
            }
        }
        if self.edges.len() / EDGES_BETWEEN > before {
            // A list that grows is copied, and a graph is put in order once.
            let bytes = 2 * (self.edges.len() * size_of::<ChainedEdge>()) as u64;
            let what = format!("the edges of a chained graph, of which there are {} so far", self.edges.len());
            check_free(bytes, &what, "give a threshold: ChainOptions { threshold: 0.01, .. }")?;
        }
        Ok(())
    }
}
