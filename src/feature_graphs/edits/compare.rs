//! What graphs predict against what runs do.

use candle_core::{DType, Tensor};

use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;
use super::super::options::GraphTargets;
use super::super::targets::Targets;
use super::list::FeatureEdits;
use super::options::EditMode;
use super::run::Editor;
use crate::cache::ActivationCache;
use crate::dictionaries::{AtBos, Dictionaries};
use crate::error::{Error, Result};
use crate::experiment::Comparison;
use crate::hooks::{HookPlan, HookPoint, HookQuery};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};

/// How many interventions run as one batch, of prompts that are not long.
const TOGETHER: usize = 16;

/// How many positions run as one batch, where one copy has no more.
const POSITIONS: usize = 2_048;

/// How many copies of prompts with so many positions run at once.
pub(super) fn at_once(positions: usize) -> usize {
    TOGETHER.min(POSITIONS / positions.max(1)).max(1)
}

/// How far the value of a target may be from the graph's before the graph is taken for that of another prompt.
const SAME: f32 = 1e-2;

impl HookedTransformer {
    /// How well a linear graph predicts runs: makes each of the edits by itself, and compares by how much the targets move with
    /// [`AttributionGraph::predict`]. In a held run the prediction is exact; in a free one the correlations say what the graph is worth.
    ///
    /// Give the dictionaries, prompt and targets that the graph was made of; the edits are nodes, to be ablated one after the other,
    /// or [`FeatureEdits`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let targets = GraphTargets::difference(" Mary", " John");
    /// let graph = model.attribution_graph(&transcoders, prompt, targets.clone())?;
    /// let nodes = graph.influence().ranked().into_iter().map(|(node, _)| node);
    /// let nodes: Vec<GraphNode> = nodes.filter(|node| graph.activation(*node).is_ok()).take(8).collect();
    /// let held = model.compare_graph(&graph, &transcoders, prompt, targets, &nodes, EditMode::Held)?;
    /// assert!(held.pearson > 0.9999);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// The dictionaries must be those of the graph: others are noticed only where an edited feature is silent in them.
    ///
    /// # Errors
    /// A graph of another prompt or other targets; edits that the graph predicts nothing of; as
    /// [`HookedTransformer::run_with_feature_edits`] and [`Comparison::new`].
    pub fn compare_graph<E: Into<FeatureEdits>>(
        &self,
        graph: &AttributionGraph,
        dictionaries: impl Into<Dictionaries>,
        prompt: impl Into<Input>,
        targets: GraphTargets,
        edits: impl IntoIterator<Item = E>,
        mode: EditMode,
    ) -> Result<Comparison> {
        let edits: Vec<FeatureEdits> = edits.into_iter().map(Into::into).collect();
        let predicted = edits.iter().map(|edits| graph.predict(edits, mode)).collect::<Result<Vec<_>>>()?;
        let tokens = self.to_tokens(prompt)?;
        if tokens.batch() != 1 {
            return Err(Error::argument(format!(
                "a linear graph is of one prompt, and {} were given: give the one that it was made of.",
                tokens.batch()
            )));
        }
        let tokens = Tokens::from_rows(vec![tokens.real_row(0)])?;
        let directions = self.targets_of(graph, &tokens, &targets)?;
        let editor = Editor::new(self, dictionaries.into(), mode, AtBos::LeftAlone)?;
        let mut measured: Vec<Vec<f32>> = Vec::new();
        let mut progress = Progress::of("interventions on features", edits.len() as u64, "edits");
        for chunk in edits.chunks(at_once(tokens.pos())) {
            let all = FeatureEdits::of_prompts(chunk);
            let at: HookQuery = HookPoint::UnembedIn.into();
            let runs = editor.run((&tokens, chunk.len()), &all, &[at])?;
            let of = |cache: &ActivationCache| -> Result<Tensor> {
                let read = cache.get(HookPoint::UnembedIn)?.to_dtype(DType::F32)?;
                Ok(read.narrow(1, tokens.pos() - 1, 1)?.squeeze(1)?)
            };
            let change = of(&runs.edited.1)?.broadcast_sub(&of(&runs.clean.1)?)?;
            measured.extend(change.matmul(&directions.t()?)?.to_vec2::<f32>()?);
            progress.step(chunk.len() as u64)?;
        }
        let labels = edits.iter().map(FeatureEdits::to_string);
        let axes = vec![Axis::new("edit", labels), Axis::new("target", graph.targets())];
        let truth = Labelled::new(format!("change of targets, measured ({mode})"), axes.clone(), measured.concat())?;
        let values =
            predicted.iter().map(|change| Ok(change.targets()?.values().iter().copied().collect::<Vec<f32>>()));
        let values = values.collect::<Result<Vec<_>>>()?.concat();
        Comparison::new(&truth, &Labelled::new("change of targets, predicted by the graph", axes, values)?)
    }

    /// The directions of a graph's targets.
    ///
    /// # Shapes
    /// `[target, d_model]`, f32.
    ///
    /// # Errors
    /// [`Error::Argument`] for a graph of something else.
    fn targets_of(&self, graph: &AttributionGraph, tokens: &Tokens, targets: &GraphTargets) -> Result<Tensor> {
        let refused = |what: &str| {
            Err(Error::argument(format!(
                "the graph is of other {what}: give what it was made of (its targets are {}).",
                graph
                    .targets()
                    .iter()
                    .map(|name| crate::visible::visible(name).to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )))
        };
        let pieces: Vec<String> = tokens.row(0).iter().map(|&id| self.piece(id)).collect();
        if pieces != graph.tokens() {
            return refused("tokens than this prompt");
        }
        let plan = HookPlan::new().capture(HookPoint::UnembedIn);
        let (logits, cache) = self.without_weight_gradients().run_with_hooks(tokens, plan)?;
        let last = crate::wide::widened(&cache.get(HookPoint::UnembedIn)?.get(0)?.get(tokens.pos() - 1)?)?;
        let targets = Targets::new(self, &logits, &last, targets)?;
        if targets.names != graph.targets() {
            return refused("targets");
        }
        for (number, value) in targets.values.iter().enumerate() {
            let own = graph.value(GraphNode::Target { number })?;
            if (own - value).abs() > SAME * own.abs().max(1.0) {
                return refused("targets or another model");
            }
        }
        let rows = targets.directions.iter().map(|row| Ok(row.to_dtype(DType::F32)?)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&rows, 0)?)
    }
}
