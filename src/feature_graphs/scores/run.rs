//! From a prompt to one score.

use candle_core::DType;

use super::super::affine::{AffineBlock, final_norm, one};
use super::super::build::{only_prompt, reads};
use super::super::folded::FoldedBlock;
use super::super::options::GraphOptions;
use super::super::pull::Pull;
use super::super::sources::Sources;
use super::super::transcoders::Transcoder;
use super::attribution::ScoreAttribution;
use super::side::{Projection, ScoreRun};
use crate::dictionaries::{Dictionaries, Dictionary, InputNorm};
use crate::error::{Error, Result};
use crate::head::Head;
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::slice::absolute;
use crate::tokens::Input;
use crate::visible::visible;

impl HookedTransformer {
    /// Why a head attends from one position to another: its score, split by what the layers before have written at both
    /// positions. The table sums to the score; what makes a head look at one key and not at another are differences between their
    /// scores.
    ///
    /// `dictionaries` are autoencoders of `hook_z` and transcoders of MLPs, at most one of each for a layer, or the layers of a
    /// cross-layer transcoder; those at the head's layer and behind it have no part in its score, and those of a
    /// set are not opened. What attention or an MLP writes in a layer without one is an error as a whole. Positions count from the
    /// first token, negative ones from the end, and padding does not count.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let names = ["z0", "z1", "z2", "mlp0", "mlp1", "mlp2"];
    /// let dictionaries = names.iter().map(|name| set.get(name)).collect::<Result<Vec<_>>>()?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// // Layer 3, head 0: from the end to the second John.
    /// let why = model.attention_score_attribution(&dictionaries, prompt, (3, 0), -1, 10)?;
    /// assert!(why.residual() < 1e-3 * why.score().abs());
    /// imshow(&why.top(8)?).show()?;
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// More than one prompt; a head or positions that are not there; a key that is masked for the query; dictionaries that do not fit
    /// the model, are of other points, normalise their input, or two of one point.
    pub fn attention_score_attribution(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompt: impl Into<Input>,
        head: impl Into<Head>,
        query: isize,
        key: isize,
    ) -> Result<ScoreAttribution> {
        let head = head.into();
        let cfg = self.cfg();
        absolute(head.layer as isize, cfg.n_layers, "layer")?;
        absolute(head.head as isize, cfg.n_heads, "head")?;
        let (of_attention, of_mlps) = apart(self, dictionaries.into().before(head.layer)?)?;
        let of_mlps = Transcoder::all(self, &of_mlps.into())?;
        let tokens = only_prompt(self, prompt, "the attribution of a score")?;
        let (query, key) = (absolute(query, tokens.pos(), "pos")?, absolute(key, tokens.pos(), "pos")?);
        let first_position = self.first_position(&tokens, &GraphOptions::default())?;
        let mut plan = reads(self, &of_mlps);
        let here = [Site::Q, Site::K, Site::RotQ, Site::RotK, Site::QNormScale, Site::KNormScale, Site::AttnScores];
        let here = here.map(|site| HookPoint::Block(head.layer, site));
        let z = (0..head.layer).map(|layer| HookPoint::Block(layer, Site::Z));
        let there: Vec<HookPoint> = here.into_iter().chain(z).filter(|at| at.absent(&self.dims()).is_none()).collect();
        plan = plan.capture(there);
        let (_, cache) = self.run_with_hooks(&tokens, plan)?;
        let seen = one(&cache, HookPoint::Block(head.layer, Site::AttnScores))?;
        let seen = seen.get(head.head)?.get(query)?.get(key)?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        if seen == f32::NEG_INFINITY {
            return Err(Error::argument(format!(
                "{head} does not see position {key} from position {query}, so there is no score: give a key that is not masked, \
                 which is not after the query and not outside the window of a layer of local attention."
            )));
        }
        let blocks = (0..cfg.n_layers).map(|at| AffineBlock::new(self, &cache, at)).collect::<Result<Vec<_>>>()?;
        let folded = blocks.iter().map(FoldedBlock::new).collect::<Result<Vec<_>>>()?;
        let sources = Sources::new(self, &cache, &of_mlps, &folded, first_position)?;
        let run = ScoreRun {
            model: self,
            pull: Pull::new(sources, folded, final_norm(self, &cache)?)?,
            blocks,
            cache: &cache,
            tokens: &tokens,
            of_attention,
            head,
        };
        let shared = self.dims().key_value_head(head).head;
        let of_query =
            run.side(&Projection { letter: "Q", norm: "q_norm", scale: Site::QNormScale, own_head: head.head }, query)?;
        let of_key =
            run.side(&Projection { letter: "K", norm: "k_norm", scale: Site::KNormScale, own_head: shared }, key)?;
        let scale = cfg.attn_scale(head.layer);
        let parts = (of_query.vectors.matmul(&of_key.vectors.t()?)? / scale)?.to_vec2::<f32>()?;
        let score = match cfg.attn_scores_soft_cap.is_none() && !self.dims().alibi {
            true => seen,
            false => {
                run.product([(Site::RotQ, Site::Q, head.head, query), (Site::RotK, Site::K, shared, key)])?
                    / scale as f32
            }
        };
        Ok(ScoreAttribution::new(head, [of_query, of_key], parts, score))
    }
}

/// The dictionaries of attention outputs, by layer, and those of MLPs.
fn apart(model: &HookedTransformer, dictionaries: Dictionaries) -> Result<(Vec<Option<Dictionary>>, Vec<Dictionary>)> {
    let mut of_attention: Vec<Option<Dictionary>> = vec![None; model.cfg().n_layers];
    let mut others = Vec::new();
    for dictionary in dictionaries.to_vec()? {
        let Some(HookPoint::Block(layer, Site::Z)) = dictionary.expects().writes() else {
            others.push(dictionary);
            continue;
        };
        let dictionary = dictionary.for_model(model)?;
        let refused = |why: &str| Error::argument(format!("the dictionary \"{}\" {why}", visible(&dictionary.name())));
        if dictionary.expects().hook_in != dictionary.expects().writes() {
            return Err(refused("writes to a hook_z that it does not read: give an autoencoder of it."));
        }
        if dictionary.parts().input_norm != InputNorm::None {
            return Err(refused("normalises its input, so that what it writes is not a sum of its features' rows."));
        }
        if of_attention[layer].is_some() {
            return Err(refused(&format!("is the second one of hook_z in layer {layer}: give one for each layer.")));
        }
        of_attention[layer] = Some(dictionary);
    }
    Ok((of_attention, others))
}
