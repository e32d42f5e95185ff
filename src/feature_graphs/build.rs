//! From a prompt to its graph.

use super::affine::{AffineBlock, final_norm, one};
use super::explore::explore;
use super::folded::FoldedBlock;
use super::graph::{AttributionGraph, Origin};
use super::options::{GraphOptions, GraphTargets};
use super::pull::Pull;
use super::sources::Sources;
use super::targets::Targets;
use super::transcoders::Transcoder;
use crate::dictionaries::Dictionaries;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::model::HookedTransformer;
use crate::tokens::{Input, Tokens};

impl HookedTransformer {
    /// Where the logits of a prompt's last position come from: the graph of active features, errors, tokens and biases between which
    /// the model is affine once patterns, norms and errors are held ([`feature_graphs`](crate::feature_graphs)).
    ///
    /// `dictionaries` are transcoders of MLPs, at most one for each layer, or the layers of one cross-layer transcoder; they are made to
    /// fit the model ([`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model)). The MLP of a layer without one is an error as a whole.
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
        let transcoders = Transcoder::all(self, &dictionaries.into())?;
        let tokens = only_prompt(self, prompt, "an attribution graph")?;
        if options.batch_size == 0 {
            return Err(Error::argument("batch_size is 0, and a batch has at least one target: give 64, say."));
        }
        let first_position = self.first_position(&tokens, &options)?;
        let (logits, cache) = self.run_with_hooks(&tokens, reads(self, &transcoders))?;
        let last = one(&cache, HookPoint::UnembedIn)?.get(tokens.pos() - 1)?;
        let targets = Targets::new(self, &logits, &last, &targets)?;
        let block = |layer| FoldedBlock::new(&AffineBlock::new(self, &cache, layer)?);
        let blocks: Vec<FoldedBlock> = (0..self.cfg().n_layers).map(block).collect::<Result<_>>()?;
        let sources = Sources::new(self, &cache, &transcoders, &blocks, first_position)?;
        let pull = Pull::new(sources, blocks, final_norm(self, &cache)?)?;
        let pieces = tokens.row(0).iter().map(|&id| self.piece(id)).collect();
        let origin = Origin {
            n_layers: self.cfg().n_layers,
            tokens: tokens.row(0),
            targets: targets.ids(logits.dim(2)?),
            dictionaries: transcoders.iter().map(Transcoder::name).collect(),
        };
        explore(&pull, targets, &options, (pieces, origin)).map_err(|error| error.kept_in(options.save_to.as_deref()))
    }

    pub(super) fn first_position(&self, tokens: &Tokens, options: &GraphOptions) -> Result<usize> {
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

/// The one prompt that something is of, without padding, which does not belong to it.
///
/// # Errors
/// Several prompts.
pub(super) fn only_prompt(model: &HookedTransformer, prompt: impl Into<Input>, what: &str) -> Result<Tokens> {
    let tokens = model.to_tokens(prompt)?;
    match tokens.batch() {
        1 => Tokens::from_rows(vec![tokens.real_row(0)]),
        several => {
            Err(Error::argument(format!("{what} is of one prompt, and {several} were given: make one of each.")))
        }
    }
}

/// What a run must keep.
pub(super) fn reads(model: &HookedTransformer, transcoders: &[Transcoder]) -> HookPlan {
    let dims = model.dims();
    let mut points = vec![HookPoint::Embed, HookPoint::PosEmbed, HookPoint::LnFinalScale, HookPoint::UnembedIn];
    for layer in 0..dims.n_layers {
        let sites = [Site::Ln1Scale, Site::Pattern, Site::Ln1PostScale, Site::Ln2Scale, Site::MlpOut];
        points.extend(sites.map(|site| HookPoint::Block(layer, site)));
    }
    points.extend(transcoders.iter().map(Transcoder::reads));
    points.retain(|point| point.absent(&dims).is_none());
    HookPlan::new().capture(points)
}
