//! From prompts to a chained graph.

use super::super::node::GraphNode;
use super::fitted::Fitted;
use super::graph::{ChainedGraph, ChainedNode};
use super::prompt::PromptEdges;
use super::slope::slopes;
use crate::dictionaries::Dictionaries;
use crate::error::{Error, Result};
use crate::experiment::Baseline;
use crate::metrics::Metric;
use crate::model::HookedTransformer;
use crate::tokens::{Input, Tokens};

/// How many targets are pulled back at once.
const BATCH: usize = 64;

impl HookedTransformer {
    /// How features move a metric through each other: all edges of the model with these dictionaries spliced in, along values, queries,
    /// keys and MLPs, with their local gradients and what they do to the metric ([`ChainedGraph`]).
    ///
    /// `dictionaries` are autoencoders of `hook_z` and transcoders of MLPs, at most one for each part of a layer; they are made to fit the
    /// model ([`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model)). The part of a layer without one is an error as a
    /// whole, and so are heads beside the one that a dictionary belongs to. The change of a source is its activation with [`Baseline::Zero`], and its difference to corrupted prompts otherwise.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let dictionaries = [set.get("z0")?, set.get("mlp0")?, set.get("z1")?, set.get("mlp1")?];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let graph = model.chained_graph(&dictionaries, "When John and Mary went, John gave it to", Baseline::Zero, metric)?;
    /// // Direct edges from all sources sum to the metric.
    /// let direct: f32 = graph.edges().iter().filter(|edge| edge.via == EdgeVia::Direct).map(|edge| edge.metric).sum();
    /// let metric = graph.nodes().iter().find(|node| node.node == GraphNode::Target { number: 0 }).unwrap().change;
    /// assert!((direct - metric).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Dictionaries that do not fit the model, are of other points, or are two of one part of a layer; a baseline other than zero and
    /// prompts; a metric without gradient, or of which the prompts are not those it has answers for; corrupted prompts of other lengths.
    pub fn chained_graph(
        &self,
        dictionaries: impl Into<Dictionaries>,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: Metric,
    ) -> Result<ChainedGraph> {
        let fitted = Fitted::new(self, dictionaries.into())?;
        let clean = self.to_tokens(clean)?;
        if clean.batch() != 1 {
            return Err(Error::argument(format!("{} prompts were given: give one.", clean.batch())));
        }
        let corrupted = match baseline.into() {
            Baseline::Zero => None,
            Baseline::Prompts(prompts) => Some(self.to_tokens(prompts)?),
            _ => {
                return Err(Error::argument(
                    "the change of a feature is to zero or to corrupted prompts: give Baseline::Zero or prompts.",
                ));
            }
        };
        let slopes = slopes(self, &clean, &metric)?;
        let row = |tokens: &Tokens| Tokens::from_rows(vec![tokens.real_row(0)]);
        let (own, other) = (row(&clean)?, corrupted.as_ref().map(row).transpose()?);
        if let Some(other) = other.as_ref().filter(|other| other.pos() != own.pos()) {
            return Err(Error::argument(format!(
                "the corrupted prompt has {} tokens and the clean one {}: give prompts of the same length.",
                other.pos(),
                own.pos()
            )));
        }
        let first = first_position(self, &own);
        let prompt = PromptEdges::new((self, &fitted), (&own, other.as_ref()), &slopes[0], first)?;
        let mut edges = Vec::new();
        prompt.each(
            |_| true,
            BATCH,
            |rows| {
                edges.extend(rows.edges());
                Ok(())
            },
        )?;
        let metric_node = ChainedNode { node: GraphNode::Target { number: 0 }, change: slopes[0].value, gradient: 1.0 };
        let mut nodes = prompt.nodes().to_vec();
        nodes.push(metric_node);
        let pieces = own.row(0).iter().map(|&id| self.piece(id)).collect();
        Ok(ChainedGraph { pieces, nodes, edges, metric: metric.name().to_string() })
    }
}

/// The first position at which dictionaries act: behind a BOS, on which they are not trained.
fn first_position(model: &HookedTransformer, tokens: &Tokens) -> usize {
    let bos = model.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id());
    usize::from(bos.is_some() && tokens.row(0).first().copied() == bos)
}
