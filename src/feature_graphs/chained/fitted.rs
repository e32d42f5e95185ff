//! Dictionaries made to fit a model, each with the part of a layer that it explains; and what a run keeps for them.

use candle_core::{DType, Tensor};

use super::super::affine::one;
use crate::cache::ActivationCache;
use crate::dictionaries::{Dictionaries, Dictionary};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::model::HookedTransformer;
use crate::visible::visible;

/// One of the two parts of a layer that write to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Attention,
    Mlp,
}

/// A part of a layer. In order of number, everything before it is what it may read, but for parallel blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub layer: usize,
    pub part: Part,
}

impl Stage {
    pub(super) fn attention(layer: usize) -> Self {
        Self { layer, part: Part::Attention }
    }

    pub(super) fn mlp(layer: usize) -> Self {
        Self { layer, part: Part::Mlp }
    }

    pub(super) fn numbered(number: usize) -> Self {
        if number.is_multiple_of(2) { Self::attention(number / 2) } else { Self::mlp(number / 2) }
    }

    pub(super) fn number(self) -> usize {
        2 * self.layer + usize::from(self.part == Part::Mlp)
    }
}

/// The dictionaries of a graph.
pub(super) struct Fitted {
    /// By stage.
    dictionaries: Vec<Option<Dictionary>>,
}

impl Fitted {
    /// # Errors
    /// Dictionaries that do not fit the model, are of other points, have features that are not affine in what they read, or are two of one
    /// part.
    pub(super) fn new(model: &HookedTransformer, dictionaries: Dictionaries) -> Result<Self> {
        let mut fitted: Vec<Option<Dictionary>> = vec![None; 2 * model.cfg().n_layers];
        for dictionary in dictionaries.to_vec()? {
            let dictionary = dictionary.for_model(model)?;
            let stage = stage_of(&dictionary)?;
            dictionary.readers(&[])?;
            if dictionary.n_writes() > model.cfg().n_layers - stage.layer {
                return refused(
                    &dictionary,
                    format!("writes to layers behind the last one of {}.", model.cfg().n_layers),
                );
            }
            if let Some(there) = &fitted[stage.number()] {
                let there = visible(&there.name()).to_string();
                return refused(&dictionary, format!("is of the same point as \"{there}\": give one for each."));
            }
            fitted[stage.number()] = Some(dictionary);
        }
        match fitted.iter().all(Option::is_none) {
            true => Err(Error::argument(
                "no dictionary was given: a chained graph takes autoencoders of hook_z, transcoders of MLPs, or both.",
            )),
            false => Ok(Self { dictionaries: fitted }),
        }
    }

    pub(super) fn of(&self, stage: Stage) -> Option<&Dictionary> {
        self.dictionaries[stage.number()].as_ref()
    }

    /// What a run must keep.
    pub(super) fn plan(&self, model: &HookedTransformer) -> HookPlan {
        let dims = model.dims();
        let mut points = vec![HookPoint::Embed, HookPoint::PosEmbed, HookPoint::LnFinalScale];
        for layer in 0..dims.n_layers {
            let sites = [
                Site::Ln1Scale,
                Site::Q,
                Site::K,
                Site::V,
                Site::QNormScale,
                Site::QNormNormalized,
                Site::KNormScale,
                Site::KNormNormalized,
                Site::RotQ,
                Site::RotK,
                Site::Pattern,
                Site::Z,
                Site::Ln1PostScale,
                Site::Ln2Scale,
                Site::MlpOut,
            ];
            points.extend(sites.map(|site| HookPoint::Block(layer, site)));
        }
        points.extend(self.dictionaries.iter().flatten().filter_map(|dictionary| dictionary.expects().hook_in));
        points.retain(|point| point.absent(&dims).is_none());
        HookPlan::new().capture(points)
    }
}

/// The part that a dictionary explains.
fn stage_of(dictionary: &Dictionary) -> Result<Stage> {
    let expects = dictionary.expects();
    match (expects.hook_in, expects.writes()) {
        (Some(HookPoint::Block(layer, Site::Z)), Some(HookPoint::Block(own, Site::Z))) if own == layer => {
            Ok(Stage::attention(layer))
        }
        (
            Some(HookPoint::Block(
                layer,
                Site::Ln2Normalized | Site::MlpHookIn | Site::MlpIn | Site::ResidMid,
            )),
            Some(HookPoint::Block(own, Site::MlpOut)),
        ) if own == layer => Ok(Stage::mlp(layer)),
        _ => refused(
            dictionary,
            "is neither an autoencoder of hook_z nor a transcoder from ln2.hook_normalized, mlp.hook_in, hook_mlp_in or \
             hook_resid_mid to hook_mlp_out of the same layer: a chained graph takes these."
                .into(),
        ),
    }
}

fn refused<T>(dictionary: &Dictionary, why: String) -> Result<T> {
    Err(Error::argument(format!("the dictionary \"{}\" {why}", visible(&dictionary.name()))))
}

/// The point that a dictionary reads, and what is there in the run of one prompt, heads flattened.
///
/// # Shapes
/// `[pos, d_in]`, f32.
pub(super) fn read_of(dictionary: &Dictionary, cache: &ActivationCache) -> Result<(Site, Tensor)> {
    let Some(point @ HookPoint::Block(_, site)) = dictionary.expects().hook_in else {
        return refused(dictionary, "does not say which point it reads.".into());
    };
    let x = one(cache, point)?.to_dtype(DType::F32)?;
    Ok((
        site,
        match (site, dictionary.expects().head) {
            (Site::Z, Some(head)) => x.narrow(1, head, 1)?.squeeze(1)?.contiguous()?,
            (Site::Z, None) => x.flatten_from(1)?.contiguous()?,
            _ => x,
        },
    ))
}
