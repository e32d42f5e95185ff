//! From prompts to a chained graph.

use super::super::options::GraphOptions;
use super::edge::ChainedEdge;
use super::fitted::Fitted;
use super::graph::{ChainedGraph, METRIC};
use super::node::ChainedNode;
use super::options::ChainOptions;
use super::prompt::PromptEdges;
use super::slope::slopes;
use super::trace::Trace;
use super::union::Union;
use crate::dictionaries::Dictionaries;
use crate::error::{Error, Result};
use crate::experiment::Baseline;
use crate::metrics::{Metric, mean};
use crate::model::HookedTransformer;
use crate::tokens::{Input, Tokens};

impl HookedTransformer {
    /// How features move a metric through each other: all edges of the model with these dictionaries spliced in, along values, queries,
    /// keys and MLPs, with their local values and what they do to the metric ([`ChainedGraph`]).
    ///
    /// `dictionaries` are autoencoders of `hook_z` and transcoders of MLPs, at most one for each part of a layer; they are made to fit the
    /// model ([`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model)). The part of a layer without one is an error as a
    /// whole, and so are heads beside the one that a dictionary belongs to.
    /// Those of a set are read one by one, for each prompt anew. The change of a source is its activation with [`Baseline::Zero`], and its difference to corrupted prompts otherwise.
    ///
    /// Over several prompts of the same number of tokens all values are means: of the edges of each prompt, not of edges between mean
    /// activations.
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
    /// assert!((direct - graph.clean()).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Dictionaries that do not fit the model, are of other points, or are two of one part of a layer; a baseline other than zero and
    /// prompts; a metric without gradient, or of which the prompts are not those it has answers for; prompts of different lengths.
    pub fn chained_graph(
        &self,
        dictionaries: impl Into<Dictionaries>,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: Metric,
    ) -> Result<ChainedGraph> {
        self.chained_graph_with(dictionaries, clean, baseline, metric, ChainOptions::default())
    }

    /// As [`HookedTransformer::chained_graph`], with [`ChainOptions`]: with a threshold only what leads to the metric above it is computed.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let dictionaries = set.only(["z0", "mlp0", "z1", "mlp1", "z2", "mlp2", "z3", "mlp3"])?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let options = ChainOptions { threshold: 0.04, errors: ErrorNodes::Apart, ..ChainOptions::default() };
    /// let graph = model.chained_graph_with(&dictionaries, clean, corrupted, metric, options)?;
    /// let counts = graph.edge_counts();
    /// assert!(counts.k > 0 && counts.q > 0 && counts.ov > 0, "{counts}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`HookedTransformer::chained_graph`]; options that keep nothing; more edges than fit in memory.
    pub fn chained_graph_with(
        &self,
        dictionaries: impl Into<Dictionaries>,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: Metric,
        options: ChainOptions,
    ) -> Result<ChainedGraph> {
        options.check()?;
        let fitted = Fitted::new(self, &dictionaries.into())?;
        let clean = self.to_tokens(clean)?;
        let corrupted = corrupted_of(self, &clean, baseline.into())?;
        let slopes = slopes(self, &clean, &metric)?;
        let corrupted_metric = match &corrupted {
            Some(tokens) => {
                let bound = metric.bind(tokens, self.cfg().d_vocab_out())?;
                Some(mean(&bound.of_run(self, tokens)?))
            }
            None => None,
        };
        let row = |tokens: &Tokens, prompt: usize| Tokens::from_rows(vec![tokens.real_row(prompt)]);
        let prompt = |(prompt, slope)| {
            let (own, other) =
                (row(&clean, prompt)?, corrupted.as_ref().map(|tokens| row(tokens, prompt)).transpose()?);
            let limits = GraphOptions { first_position: options.first_position, ..GraphOptions::default() };
            let first = self.first_position(&own, &limits)?;
            let how = (first, options.queries_and_keys);
            PromptEdges::new((self, &fitted), (&own, other.as_ref()), slope, how)
        };
        let prompts: Vec<PromptEdges> = slopes.iter().enumerate().map(prompt).collect::<Result<_>>()?;
        let union = Union::new(prompts.iter().map(PromptEdges::nodes));
        let mut nodes = union.means(prompts.iter().map(PromptEdges::nodes));
        if let Some(node) = nodes.iter().find(|node| !node.score.is_finite()) {
            return Err(Error::argument(format!(
                "the gradient of the metric at {} is not a finite number: look at the metric of these prompts and at the model's dtype.",
                node.node
            )));
        }
        let trace = Trace::run(&prompts, (&union, &nodes), &options)?;
        nodes.iter_mut().zip(&trace.dropped).for_each(|(node, dropped)| node.left_out = *dropped as f32);
        let value = mean(&slopes.iter().map(|slope| slope.value).collect::<Vec<f32>>());
        let whole =
            ChainedNode { gradient: 1.0, prompts: slopes.len(), score: value, ..ChainedNode::new(METRIC, value) };
        nodes.push(whole);
        let mut edges = trace.edges;
        edges.sort_by_key(|edge: &ChainedEdge| (edge.source, edge.target, edge.via));
        let graph = ChainedGraph {
            pieces: clean.real_row(0).iter().map(|&id| self.piece(id)).collect(),
            prompts: slopes.len(),
            layers: self.cfg().n_layers,
            metric: metric.name().to_string(),
            corrupted: corrupted_metric,
            errors: options.errors,
            nodes,
            edges,
            left_out: trace.left_out,
        };
        Ok(graph.limited(&options))
    }
}

/// The corrupted prompts, which must be like the clean ones, and these like each other.
fn corrupted_of(model: &HookedTransformer, clean: &Tokens, baseline: Baseline) -> Result<Option<Tokens>> {
    let lengths = clean.lengths();
    if let Some(other) = (1..lengths.len()).find(|&prompt| lengths[prompt] != lengths[0]) {
        return Err(Error::argument(format!(
            "prompt 0 has {} tokens and prompt {other} has {}: a graph over several prompts is a mean position by position, so give prompts \
             of the same number of tokens, or make a graph of each.",
            lengths[0], lengths[other]
        )));
    }
    let prompts = match baseline {
        Baseline::Zero => return Ok(None),
        Baseline::Prompts(prompts) => model.to_tokens(prompts)?,
        Baseline::Mean { .. } | Baseline::MeanByGroup(_) | Baseline::Resample(_) => {
            return Err(Error::argument(
                "the change of a feature is its activation or its difference to that of a corrupted prompt: give Baseline::Zero or prompts, \
                 not a mean or resampled activations.",
            ));
        }
    };
    if prompts.batch() != clean.batch() {
        return Err(Error::argument(format!(
            "{} clean and {} corrupted prompts were given: give one corrupted prompt for each clean one.",
            clean.batch(),
            prompts.batch()
        )));
    }
    match (0..lengths.len()).find(|&prompt| prompts.lengths()[prompt] != lengths[prompt]) {
        Some(prompt) => Err(Error::argument(format!(
            "corrupted prompt {prompt} has {} tokens and the clean one {}: the difference of features is taken position by position, so give \
             prompts of the same number of tokens.",
            prompts.lengths()[prompt],
            lengths[prompt]
        ))),
        None => Ok(Some(prompts)),
    }
}
