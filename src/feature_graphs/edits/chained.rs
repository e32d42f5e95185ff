//! What chained graphs say against what runs do.
//!
//! A node by taking its feature to its baseline: the metric lost should be its score. An edge s -> t by an edge patch: t is computed again
//! with what s has written taken to its baseline on this edge alone (in what t's queries, keys, values or MLP read), and the run goes on
//! with that activation of t; the metric lost should be the edge's value. Norms, patterns and gates are live in both, and a graph
//! extrapolates along slopes, so correlations are measured, not assumed.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Tensor};

use super::super::chained::{ChainedEdge, ChainedGraph, EdgeVia};
use super::super::node::GraphNode;
use super::acts::activation;
use super::compare::at_once;
use super::list::FeatureEdits;
use super::options::EditMode;
use super::places::{Fitted, Setting, fitted};
use super::run::Editor;
use crate::dictionaries::{AtBos, Dictionaries, Dictionary, ErrorTerm};
use crate::error::{Error, Result};
use crate::experiment::{Baseline, Comparison};
use crate::hooks::{HookPlan, HookPoint, HookQuery, Site};
use crate::labelled::{Axis, Labelled};
use crate::metrics::{BoundMetric, Metric};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::visible::visible;

/// How far the metric may be from the graph's before the graph is taken for another one's.
const SAME: f32 = 1e-2;

/// A [`ChainedGraph`] with the model, prompts and metric that it was made of, to be compared with interventions
/// ([`ChainedGraph::test_in`]).
#[derive(Clone)]
pub struct ChainedTest {
    model: HookedTransformer,
    dictionaries: Vec<Dictionary>,
    tokens: Tokens,
    metric: BoundMetric,
    /// The rows of the clean run that the metric reads.
    clean_rows: Tensor,
    clean: f32,
    /// Activations by point, of the clean run and of the baseline; none for zero.
    acts: [Option<BTreeMap<HookPoint, Tensor>>; 2],
    scores: BTreeMap<GraphNode, f32>,
}

impl ChainedGraph {
    /// Prepares comparisons of nodes and edges with interventions in the real model. Give what the graph was made of.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let dictionaries = [set.get("z0")?, set.get("mlp0")?, set.get("z1")?, set.get("mlp1")?];
    /// let prompt = "When John and Mary went, John gave it to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let graph = model.chained_graph(&dictionaries, prompt, Baseline::Zero, metric.clone())?;
    /// let test = graph.test_in(&model, &dictionaries, prompt, Baseline::Zero, metric)?;
    /// let nodes: Vec<GraphNode> = graph.nodes().iter().map(|node| node.node).filter(GraphNode::is_feature).take(8).collect();
    /// println!("{}", test.nodes(nodes, EditMode::Free)?.spearman);
    /// let between = |edge: &ChainedEdge| edge.source.is_feature() && edge.target.is_feature();
    /// let edges: Vec<ChainedEdge> = graph.edges().into_iter().filter(between).take(8).collect();
    /// let measured = test.edges(edges, EditMode::Free)?;
    /// assert_eq!(measured.truth.shape(), [8]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another model, other prompts or another metric than the graph's; a baseline other than zero and prompts; and as
    /// [`HookedTransformer::run_with_feature_edits`].
    pub fn test_in(
        &self,
        model: &HookedTransformer,
        dictionaries: impl Into<Dictionaries>,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: Metric,
    ) -> Result<ChainedTest> {
        let _work = Progress::opaque("preparing interventions on features");
        let model = model.without_weight_gradients();
        let tokens = model.to_tokens(clean)?;
        let pieces: Vec<String> = tokens.real_row(0).iter().map(|&id| model.piece(id)).collect();
        if pieces != self.tokens() {
            return Err(other("tokens than these prompts"));
        }
        let metric = metric.bind(&tokens, model.cfg().d_vocab_out())?;
        let fitted = fitted(&model, dictionaries.into())?;
        let corrupted = match baseline.into() {
            Baseline::Zero => None,
            Baseline::Prompts(prompts) => Some(model.to_tokens(prompts)?),
            _ => {
                return Err(Error::argument(
                    "a feature is taken to zero or to corrupted prompts: give Baseline::Zero or prompts.",
                ));
            }
        };
        if let Some(corrupted) = corrupted.as_ref().filter(|corrupted| corrupted.lengths() != tokens.lengths()) {
            return Err(Error::argument(format!(
                "the corrupted prompts have {:?} tokens and the clean ones {:?}: give prompts of the same lengths.",
                corrupted.lengths(),
                tokens.lengths()
            )));
        }
        if corrupted.is_some() != self.corrupted().is_some() {
            return Err(other("changes: it was made with another baseline"));
        }
        let dictionaries: Vec<Dictionary> = fitted.iter().map(|fitted| fitted.dictionary.clone()).collect();
        let plan = model.splice(dictionaries.clone(), ErrorTerm::Recomputed)?;
        let (logits, acts) = activations(&model, &plan, &fitted, &tokens)?;
        let base = corrupted.map(|corrupted| activations(&model, &plan, &fitted, &corrupted)).transpose()?;
        let clean_rows = metric.read(&logits.to_dtype(DType::F32)?)?;
        let clean = mean(&metric.of_logits(&logits, Some(&clean_rows))?);
        let nodes = self.nodes();
        let own = nodes.iter().find(|node| matches!(node.node, GraphNode::Target { .. })).map(|node| node.change);
        if own.is_some_and(|own| (own - clean).abs() > SAME * own.abs().max(1.0)) || metric.name() != self.metric() {
            return Err(other("prompts, another model or another metric"));
        }
        if let (Some((logits, _)), Some(own)) = (&base, self.corrupted()) {
            let corrupted = mean(&metric.of_logits(logits, Some(&clean_rows))?);
            if (own - corrupted).abs() > SAME * own.abs().max(1.0) {
                return Err(other("corrupted prompts"));
            }
        }
        let scores = nodes.iter().map(|node| (node.node, node.score())).collect();
        let acts = [Some(acts), base.map(|(_, acts)| acts)];
        Ok(ChainedTest { model, dictionaries, tokens, metric, clean_rows, clean, acts, scores })
    }
}

fn other(what: &str) -> Error {
    Error::argument(format!("the graph is of other {what}: give what it was made of."))
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64) as f32
}

/// The logits of prompts and the activations of all features.
fn activations(
    model: &HookedTransformer,
    plan: &HookPlan,
    fitted: &[Fitted],
    tokens: &Tokens,
) -> Result<(Tensor, BTreeMap<HookPoint, Tensor>)> {
    let points: Vec<HookQuery> = fitted.iter().map(|fitted| fitted.acts().as_str().into()).collect();
    let (logits, cache) = model.run_with_hooks(tokens, plan.clone().capture(points))?;
    let acts = fitted.iter().map(|fitted| Ok((fitted.point, cache.get(fitted.acts().as_str())?)));
    Ok((logits, acts.collect::<Result<_>>()?))
}

impl ChainedTest {
    /// Scores of nodes against what the metric loses where each feature by itself is taken to its baseline.
    ///
    /// # Errors
    /// Nodes that are no features or not in the graph; fewer than three; as [`Comparison::new`].
    pub fn nodes(&self, nodes: impl IntoIterator<Item = GraphNode>, mode: EditMode) -> Result<Comparison> {
        let nodes: Vec<GraphNode> = nodes.into_iter().collect();
        let scores = nodes.iter().map(|node| {
            self.scores
                .get(node)
                .copied()
                .ok_or_else(|| Error::argument(format!("{node} is not in this graph: nodes() lists what is there.")))
        });
        let scores = scores.collect::<Result<Vec<f32>>>()?;
        let editor = self.editor(mode)?;
        let mut lost = Vec::new();
        let mut progress = Progress::of("taking features to their baseline", nodes.len() as u64, "features");
        for chunk in nodes.chunks(self.at_once()) {
            let changes = chunk.iter().map(|&node| self.changes(&editor, node)).collect::<Result<Vec<_>>>()?;
            let mut edits = FeatureEdits::new();
            for (copy, (&node, changes)) in chunk.iter().zip(&changes).enumerate() {
                for (prompt, change) in changes.iter().enumerate().filter(|(_, change)| change.by() != 0.0) {
                    let own = FeatureEdits::new().set(node, change.base);
                    edits = edits.only_in(copy * self.tokens.batch() + prompt, own);
                }
            }
            lost.extend(self.lost(&editor, chunk.len(), &edits)?);
            progress.step(chunk.len() as u64)?;
        }
        let labels: Vec<String> = nodes.iter().map(GraphNode::to_string).collect();
        self.comparison("node", labels, (lost, scores), mode)
    }

    /// Values of edges between features, or from features to the metric, against what the metric loses in edge patches. Direct edges are
    /// patched behind the last block, so what they do is the same in every mode.
    ///
    /// # Errors
    /// Dictionaries with skip connections, through which patches do not follow an edge; edges from or to nodes that are no features; fewer
    /// than three; as [`Comparison::new`].
    pub fn edges(&self, edges: impl IntoIterator<Item = ChainedEdge>, mode: EditMode) -> Result<Comparison> {
        let edges: Vec<ChainedEdge> = edges.into_iter().collect();
        for dictionary in &self.dictionaries {
            if dictionary.skip()?.is_some() {
                return Err(Error::argument(format!(
                    "the dictionary \"{}\" has a skip connection, through which an edge goes and its patch would not: compare nodes, or give \
                     dictionaries without one.",
                    visible(&dictionary.name())
                )));
            }
        }
        let (live, editor) = (self.editor(EditMode::Free)?, self.editor(mode)?);
        let mut lost = Vec::new();
        let mut progress = Progress::of("patching edges", edges.len() as u64, "edges");
        for chunk in edges.chunks(self.at_once()) {
            lost.extend(self.patched(&live, &editor, chunk)?);
            progress.step(chunk.len() as u64)?;
        }
        let labels = edges.iter().map(|edge| format!("{} -> {} ({})", edge.source, edge.target, edge.via)).collect();
        let values = edges.iter().map(|edge| edge.metric).collect();
        self.comparison("edge", labels, (lost, values), mode)
    }

    fn comparison(
        &self,
        axis: &str,
        labels: Vec<String>,
        (lost, predicted): (Vec<f32>, Vec<f32>),
        mode: EditMode,
    ) -> Result<Comparison> {
        let axes = vec![Axis::new(axis, labels)];
        let name = self.metric.name();
        let truth = Labelled::new(format!("{name} lost, measured ({mode})"), axes.clone(), lost)?;
        Comparison::new(&truth, &Labelled::new(format!("{name} lost, predicted by the graph"), axes, predicted)?)
    }

    /// How many interventions run at once.
    fn at_once(&self) -> usize {
        at_once(self.tokens.batch() * self.tokens.pos())
    }

    fn editor(&self, mode: EditMode) -> Result<Editor> {
        Editor::new(&self.model, self.dictionaries.clone().into(), mode, AtBos::LeftAlone)
    }

    /// What the metric loses under each intervention, of which each is made in a copy of all prompts.
    fn lost(&self, editor: &Editor, copies: usize, edits: &FeatureEdits) -> Result<Vec<f32>> {
        let runs = editor.run((&self.tokens, copies), edits, &[])?;
        let values = self.metric.of_logits(&runs.edited.0, Some(&self.clean_rows))?;
        Ok(values.chunks(self.tokens.batch()).map(|values| self.clean - mean(values)).collect())
    }

    /// What a feature has in each prompt, and what it is taken to.
    fn changes(&self, editor: &Editor, node: GraphNode) -> Result<Vec<Change>> {
        let setting = Setting { fitted: &editor.fitted, tokens: &self.tokens, bos: None };
        let places = setting.places(&FeatureEdits::new().set(node, 0.0))?;
        let place = &places[0];
        let point = editor.fitted[place.dictionary].point;
        let of = |acts: &Option<BTreeMap<HookPoint, Tensor>>, row: (usize, usize)| match acts {
            Some(acts) => activation(&acts[&point], row, place.feature),
            None => Ok(0.0),
        };
        let change =
            |&row: &(usize, usize)| Ok(Change { clean: of(&self.acts[0], row)?, base: of(&self.acts[1], row)? });
        place.rows.iter().map(change).collect()
    }

    /// What the metric loses where each edge by itself is patched.
    fn patched(&self, live: &Editor, editor: &Editor, edges: &[ChainedEdge]) -> Result<Vec<f32>> {
        let prompts = self.tokens.batch();
        let mut sources = FeatureEdits::new();
        for (copy, edge) in edges.iter().enumerate() {
            let hook = self.hook(live, edge)?;
            for (prompt, change) in self.changes(live, edge.source)?.iter().enumerate() {
                let own = FeatureEdits::new().add_direction(edge.source, -change.by(), hook);
                sources = sources.only_in(copy * prompts + prompt, own);
            }
        }
        let captures: Vec<HookQuery> = live.fitted.iter().map(|fitted| fitted.acts().as_str().into()).collect();
        let runs = live.run((&self.tokens, edges.len()), &sources, &captures)?;
        let direct = self.metric.of_logits(&runs.edited.0, Some(&self.clean_rows))?;
        let mut targets = FeatureEdits::new();
        for (copy, edge) in edges.iter().enumerate().filter(|(_, edge)| edge.via != EdgeVia::Direct) {
            let changes = self.changes(live, edge.target)?;
            let setting = Setting { fitted: &live.fitted, tokens: &self.tokens, bos: None };
            let places = setting.places(&FeatureEdits::new().set(edge.target, 0.0))?;
            let acts = runs.edited.1.get(live.fitted[places[0].dictionary].acts().as_str())?;
            for (prompt, (change, &(row, pos))) in changes.iter().zip(&places[0].rows).enumerate() {
                let value = activation(&acts, (copy * prompts + row, pos), places[0].feature)?;
                if value != change.clean {
                    let own = FeatureEdits::new().set(edge.target, value);
                    targets = targets.only_in(copy * prompts + prompt, own);
                }
            }
        }
        let mut lost = self.lost(editor, edges.len(), &targets)?;
        for (copy, _) in edges.iter().enumerate().filter(|(_, edge)| edge.via == EdgeVia::Direct) {
            lost[copy] = self.clean - mean(&direct[copy * prompts..(copy + 1) * prompts]);
        }
        Ok(lost)
    }

    /// Where the target of an edge reads its source.
    ///
    /// # Errors
    /// Nodes that are no features.
    fn hook(&self, editor: &Editor, edge: &ChainedEdge) -> Result<HookPoint> {
        let layer = match (edge.target, edge.via) {
            (GraphNode::Target { .. }, EdgeVia::Direct) => {
                return Ok(HookPoint::Block(self.model.cfg().n_layers - 1, Site::ResidPost));
            }
            (GraphNode::Feature { layer, .. }, EdgeVia::Mlp) => layer,
            (GraphNode::AttnFeature { layer, .. }, EdgeVia::Ov | EdgeVia::Q | EdgeVia::K) => layer,
            _ => {
                return Err(Error::argument(format!(
                    "{edge}: edges to features and to the metric can be patched, along what these read."
                )));
            }
        };
        let site = match edge.via {
            EdgeVia::Ov => Site::VInput,
            EdgeVia::Q => Site::QInput,
            EdgeVia::K => Site::KInput,
            EdgeVia::Mlp | EdgeVia::Direct => {
                let own = editor.fitted.iter().find(|fitted| fitted.point == HookPoint::Block(layer, Site::MlpOut));
                match own.and_then(|fitted| fitted.dictionary.expects().hook_in) {
                    Some(HookPoint::Block(_, Site::ResidMid)) => Site::ResidMid,
                    _ => Site::MlpIn,
                }
            }
        };
        Ok(HookPoint::Block(layer, site))
    }
}

/// A feature in one prompt.
struct Change {
    clean: f32,
    base: f32,
}

impl Change {
    fn by(&self) -> f32 {
        self.clean - self.base
    }
}

impl fmt::Display for ChainedTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, prompts) = (self.scores.len(), self.tokens.batch());
        let base = if self.acts[1].is_some() { "corrupted prompts" } else { "zero" };
        let name = visible(self.metric.name());
        write!(f, "chained graph of {nodes} nodes with {prompts} prompts; {name} {:.4}; baseline: {base}", self.clean)
    }
}

impl fmt::Debug for ChainedTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainedTest({self})")
    }
}
