//! Scores of edges and nodes as effects, which can be compared with those of other methods.
//!
//! A score is the change of the metric when the edge or node is corrupted, so what is lost is minus the score.

use super::circuit::Circuit;
use super::node::{Edge, Node};
use super::nodes::NodeScores;
use crate::error::{Error, Result};
use crate::experiment::{Effect, Scale};
use crate::labelled::{Axis, Labelled};

impl Circuit {
    /// What the metric loses when each edge alone is corrupted, exactly or as the method estimates it: minus the scores, of all
    /// edges of the model.
    ///
    /// # Shapes
    /// `[edge]`.
    ///
    /// # Errors
    /// Scores that are not changes of the metric: of information flow routes, means over `d_model`, scores from a file, none.
    pub fn effect(&self) -> Result<Effect> {
        let edges = self.layout.edges();
        let axis = Axis::new("edge", edges.iter().map(|(_, edge): &(usize, Edge)| edge.to_string()));
        lost(&self.method, self.levels, vec![axis], edges.iter().map(|(place, _)| self.scores[*place]))
    }
}

impl NodeScores {
    /// What the metric loses when each node alone is corrupted, exactly or as the method estimates it: minus the scores.
    ///
    /// # Shapes
    /// `[node]`.
    ///
    /// # Errors
    /// Means over `d_model`, which are not changes of the metric.
    pub fn effect(&self) -> Result<Effect> {
        let axis = Axis::new("node", self.layout.sources().iter().map(Node::to_string));
        lost(&self.method, self.levels, vec![axis], self.scores.iter().copied())
    }

    /// [`NodeScores::effect`] of the heads alone, in the form of sweeps over heads.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let clean = "When John and Mary went to the shops, John gave the bag to";
    /// # let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// # let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?.noising()?;
    /// let nodes = experiment.edges()?.attribute_nodes(EdgeMethod::Exact)?;
    /// let patched = experiment.get_act_patch_attn_head_out_all_pos()?;
    /// assert!(Comparison::new(&patched, &nodes.heads()?)?.pearson > 0.999);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[layer, head]`.
    ///
    /// # Errors
    /// As [`NodeScores::effect`].
    pub fn heads(&self) -> Result<Effect> {
        let nodes = self.layout.sources().into_iter().zip(&self.scores);
        let heads = nodes.filter(|(node, _)| matches!(node, Node::Head(..))).map(|(_, &score)| score);
        let axes = vec![Axis::numbered("layer", self.layout.n_layers), Axis::numbered("head", self.layout.n_heads)];
        lost(&self.method, self.levels, axes, heads)
    }
}

fn lost(
    method: &str,
    levels: Option<(f32, f32)>,
    axes: Vec<Axis>,
    scores: impl Iterator<Item = f32>,
) -> Result<Effect> {
    let Some((clean, corrupted)) = levels else {
        return Err(Error::argument(format!(
            "the scores here ({method}) are not changes of a metric whose levels are known, so they are not effects: \
             attribute with another method and Aggregation::Sum, or compare the scores themselves."
        )));
    };
    let values = Labelled::new(format!("effects, {method}"), axes, scores.map(|score| -score).collect())?;
    Effect::new(values, Scale::Lost, clean, corrupted)
}
