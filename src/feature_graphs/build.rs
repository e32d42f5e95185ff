//! From a prompt to its graph.

use super::affine::{AffineBlock, final_norm, one};
use super::explore::explore;
use super::graph::{AttributionGraph, Origin};
use super::options::{GraphOptions, GraphTargets};
use super::pull::Pull;
use super::sources::Sources;
use super::targets::Targets;
use crate::cache::ActivationCache;
use crate::dictionaries::{Dictionaries, Dictionary};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::model::HookedTransformer;
use crate::tokens::{Input, Tokens};
use crate::visible::visible;

impl HookedTransformer {
    /// Where the logits of a prompt's last position come from: the graph of active features, errors, tokens and biases between which
    /// the model is affine once patterns, norms and errors are held ([`feature_graphs`](crate::feature_graphs)).
    ///
    /// `dictionaries` are transcoders of MLPs, at most one for each layer, or the layers of one cross-layer transcoder; they are made to
    /// fit the model ([`Dictionary::for_model`]). The MLP of a layer without one is an error as a whole.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let graph = model.attribution_graph(&transcoders, prompt, GraphTargets::difference(" Mary", " John"))?;
    /// // The edges into every feature sum to its pre-activation.
    /// assert!(graph.residual() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// More than one prompt; dictionaries that do not fit the model, are not of MLPs, normalise their input, or two of one layer; targets
    /// that are not one token.
    pub fn attribution_graph(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompt: impl Into<Input>,
        targets: GraphTargets,
    ) -> Result<AttributionGraph> {
        self.attribution_graph_with(dictionaries, prompt, targets, GraphOptions::default())
    }

    /// As [`HookedTransformer::attribution_graph`], with [`GraphOptions`].
    ///
    /// # Errors
    /// As [`HookedTransformer::attribution_graph`].
    pub fn attribution_graph_with(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompt: impl Into<Input>,
        targets: GraphTargets,
        options: GraphOptions,
    ) -> Result<AttributionGraph> {
        let dictionaries = by_layer(self, dictionaries.into())?;
        let tokens = self.to_tokens(prompt)?;
        if tokens.batch() != 1 {
            return Err(Error::argument(format!(
                "an attribution graph is of one prompt, and {} were given: make a graph of each.",
                tokens.batch()
            )));
        }
        // Padding is not a part of the prompt.
        let tokens = Tokens::from_rows(vec![tokens.real_row(0)])?;
        if options.batch_size == 0 {
            return Err(Error::argument("batch_size is 0, and a batch has at least one target: give 64, say."));
        }
        let first_position = self.first_position(&tokens, &options)?;
        let (logits, cache) = self.run_with_hooks(&tokens, reads(self, &dictionaries))?;
        let blocks = (0..self.cfg().n_layers).map(|layer| AffineBlock::new(self, &cache, layer));
        let sources = Sources::new(self, &cache, &dictionaries, first_position)?;
        let pull = Pull { blocks: blocks.collect::<Result<_>>()?, last: final_norm(self, &cache)?, sources };
        let last = one(&cache, HookPoint::UnembedIn)?.get(tokens.pos() - 1)?;
        let targets = Targets::new(self, &logits, &last, &targets)?;
        let pieces = tokens.row(0).iter().map(|&id| self.piece(id)).collect();
        let origin = Origin {
            n_layers: self.cfg().n_layers,
            tokens: tokens.row(0),
            targets: targets.ids(logits.dim(2)?),
            dictionaries: dictionaries.iter().map(|(_, dictionary)| dictionary.name()).collect(),
        };
        explore(&pull, targets, &options, (pieces, origin), &values(&dictionaries, &cache, &pull)?)
    }

    fn first_position(&self, tokens: &Tokens, options: &GraphOptions) -> Result<usize> {
        let bos = self.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id());
        let begins = bos.is_some() && tokens.row(0).first().copied() == bos;
        let first = options.first_position.unwrap_or(usize::from(begins));
        if first >= tokens.pos() {
            return Err(Error::argument(format!(
                "no position of the prompt's {} is left from position {first} on: give a longer prompt or a smaller first_position.",
                tokens.pos()
            )));
        }
        Ok(first)
    }
}

/// The dictionaries made to fit the model, each with the layer that it reads.
fn by_layer(model: &HookedTransformer, dictionaries: Dictionaries) -> Result<Vec<(usize, Dictionary)>> {
    let mut fitted: Vec<(usize, Dictionary)> = Vec::new();
    for dictionary in dictionaries.to_vec()? {
        let dictionary = dictionary.for_model(model)?;
        let refused = |why: &str| Error::argument(format!("the dictionary \"{}\" {why}", visible(&dictionary.name())));
        let Some(HookPoint::Block(layer, Site::MlpOut)) = dictionary.expects().writes() else {
            return Err(refused(
                "does not write to a hook_mlp_out: a graph takes transcoders of MLPs (set.transcoders() has those of a set).",
            ));
        };
        if fitted.iter().any(|(there, _)| *there == layer) {
            return Err(refused(&format!("is the second one of layer {layer}: give one for each layer.")));
        }
        fitted.push((layer, dictionary));
    }
    Ok(fitted)
}

/// What a run must keep.
fn reads(model: &HookedTransformer, dictionaries: &[(usize, Dictionary)]) -> HookPlan {
    let dims = model.dims();
    let mut points = vec![HookPoint::Embed, HookPoint::PosEmbed, HookPoint::LnFinalScale, HookPoint::UnembedIn];
    for layer in 0..dims.n_layers {
        let sites = [Site::Ln1Scale, Site::Pattern, Site::Ln1PostScale, Site::Ln2Scale, Site::MlpOut];
        points.extend(sites.map(|site| HookPoint::Block(layer, site)));
    }
    points.extend(dictionaries.iter().filter_map(|(_, dictionary)| dictionary.expects().hook_in));
    points.retain(|point| point.absent(&dims).is_none());
    HookPlan::new().capture(points)
}

/// The pre-activation of each active feature, by encoding, which does not know of graphs.
fn values(dictionaries: &[(usize, Dictionary)], cache: &ActivationCache, pull: &Pull) -> Result<Vec<f32>> {
    let mut values = Vec::with_capacity(pull.sources.features.len());
    for layer in 0..pull.sources.n_layers {
        let range = pull.sources.of_layer(layer);
        let Some((_, dictionary)) = dictionaries.iter().find(|(own, _)| *own == layer).filter(|_| !range.is_empty())
        else {
            continue;
        };
        let point = dictionary.expects().hook_in.unwrap_or(HookPoint::Embed);
        let pre = dictionary.pre_activations(&cache.get(point)?.squeeze(0)?)?.to_vec2::<f32>()?;
        values.extend(pull.sources.features[range].iter().map(|active| pre[active.pos][active.feature as usize]));
    }
    Ok(values)
}
