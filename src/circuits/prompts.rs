//! Scores as plain numbers, from which the mean over prompts is made: those of edges, and those of nodes.

use super::circuit::Circuit;
use super::json::check_cfg;
use super::layout::Layout;
use super::nodes::NodeScores;
use crate::error::{Error, Result};

/// Scores of one prompt, or the mean over several.
pub(crate) struct Scored {
    pub layout: Layout,
    pub method: String,
    /// Of each edge of the model, or of each node, in the layout's order.
    pub scores: Vec<f32>,
    /// The metric of the clean run and of the empty circuit, where scores are changes of it.
    pub levels: Option<(f32, f32)>,
}

impl Layout {
    /// How many edges there are, or writers; nothing of that size is made.
    ///
    /// # Errors
    /// Sizes that are not a model's.
    pub(crate) fn count(&self, of_nodes: bool) -> Result<usize> {
        check_cfg(self)?;
        let edges = || self.targets().into_iter().map(|(node, _)| self.prev_index(node)).sum();
        Ok(if of_nodes { self.n_forward() } else { edges() })
    }
}

impl Circuit {
    /// The scores of all edges.
    ///
    /// # Errors
    /// A circuit without some edges, or without scores: a choice, which cannot be averaged.
    pub(crate) fn to_scored(&self) -> Result<Scored> {
        let edges = self.layout.edges();
        let scores: Vec<f32> = edges.iter().map(|(place, _)| self.scores[*place]).collect();
        if scores.iter().any(|score| score.is_nan()) || edges.iter().any(|(place, _)| !self.included[*place]) {
            return Err(Error::argument(
                "this circuit is a choice of edges, or has edges without a score: return the scores of all edges \
                 (Edges::attribute), and choose edges when all prompts are together.",
            ));
        }
        Ok(Scored { layout: self.layout, method: self.method.clone(), scores, levels: self.levels })
    }

    /// All edges, with these scores.
    pub(crate) fn of_scored(scored: Scored) -> Self {
        let mut all = vec![f32::NAN; scored.layout.n_forward() * scored.layout.n_backward()];
        scored.layout.edges().iter().zip(&scored.scores).for_each(|((place, _), score)| all[*place] = *score);
        Self { levels: scored.levels, ..Self::of_layout(scored.layout).scored(&all, scored.method) }
    }
}

impl NodeScores {
    /// The scores of all nodes.
    pub(crate) fn to_scored(&self) -> Scored {
        let (layout, method, levels) = (self.layout, self.method.clone(), self.levels);
        Scored { layout, method, scores: self.scores.clone(), levels }
    }

    /// Nodes with these scores.
    pub(crate) fn of_scored(scored: Scored) -> Self {
        let Scored { layout, method, scores, levels } = scored;
        Self { layout, scores, method, levels }
    }
}
