//! Dictionaries made to fit a model, each with the part of a layer that it explains; and what a run keeps for them.

use candle_core::{DType, Tensor};

use super::super::affine::one;
use super::super::transcoders::refused;
use crate::cache::ActivationCache;
use crate::dictionaries::{Dictionaries, Dictionary, Expects, Given};
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

/// A dictionary, which may not have been read yet.
struct Fit {
    given: Given,
    reads: HookPoint,
}

/// The dictionaries of a graph. One of a set is opened when the features of its part of a layer are looked for in a prompt, and dropped once
/// the rows of those that are active have been copied.
pub(super) struct Fitted {
    /// By stage.
    fits: Vec<Option<Fit>>,
}

impl Fitted {
    /// Those in memory are checked against the model here, the others when they are opened.
    ///
    /// # Errors
    /// Dictionaries that do not fit the model, are of other points, have features that are not affine in what they read, or are two of one
    /// part; none at all.
    pub(super) fn new(model: &HookedTransformer, dictionaries: &Dictionaries) -> Result<Self> {
        let mut fits: Vec<Option<Fit>> = (0..2 * model.cfg().n_layers).map(|_| None).collect();
        for given in dictionaries.given() {
            let given = match given {
                // What is not known of its points is in its file.
                Given::InSet { .. } if given.expects()?.hook_in.is_none() => Given::Read(given.read()?),
                other => other.clone(),
            };
            let given = match given {
                Given::Read(dictionary) => Given::Read(checked(dictionary.for_model(model)?, model)?),
                in_set => in_set,
            };
            let (stage, reads) = place(&given.name(), &given.expects()?)?;
            let Some(fit) = fits.get_mut(stage.number()) else {
                let layers = model.cfg().n_layers;
                return refused(&given.name(), format!("is of layer {}, and the model has {layers}.", stage.layer));
            };
            if let Some(there) = fit {
                let there = visible(&there.given.name()).to_string();
                return refused(&given.name(), format!("is of the same point as \"{there}\": give one for each."));
            }
            *fit = Some(Fit { given, reads });
        }
        match fits.iter().all(Option::is_none) {
            true => Err(Error::argument(
                "no dictionary was given: a chained graph takes autoencoders of hook_z, transcoders of MLPs, or both.",
            )),
            false => Ok(Self { fits }),
        }
    }

    /// Whether a part of a layer has a dictionary.
    pub(super) fn has(&self, stage: Stage) -> bool {
        self.fits[stage.number()].is_some()
    }

    /// The dictionary of a part of a layer, if it has one, read and made to fit the model.
    ///
    /// # Errors
    /// A file that is damaged, a dictionary that does not fit the model or is of another point than its set says.
    pub(super) fn open(&self, model: &HookedTransformer, stage: Stage) -> Result<Option<Dictionary>> {
        let Some(Fit { given, reads }) = &self.fits[stage.number()] else { return Ok(None) };
        let dictionary = match given {
            Given::Read(dictionary) => return Ok(Some(dictionary.clone())),
            in_set => checked(in_set.read()?.for_model(model)?, model)?,
        };
        if place(&dictionary.name(), &dictionary.expects())? != (stage, *reads) {
            let name = dictionary.name();
            return refused(&name, "is of other points than its set says: give it by itself, set.get(name).".into());
        }
        Ok(Some(dictionary))
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
        points.extend(self.fits.iter().flatten().map(|fit| fit.reads));
        points.retain(|point| point.absent(&dims).is_none());
        HookPlan::new().capture(points)
    }
}

/// That the features of a dictionary are affine in what they read, and that it writes to layers that the model has.
fn checked(dictionary: Dictionary, model: &HookedTransformer) -> Result<Dictionary> {
    dictionary.readers(&[])?;
    let layer = dictionary.expects().writes().and_then(|point| point.layer()).unwrap_or(0);
    match layer + dictionary.n_writes() > model.cfg().n_layers {
        true => refused(
            &dictionary.name(),
            format!("writes to layers behind the last one of the model's {}.", model.cfg().n_layers),
        ),
        false => Ok(dictionary),
    }
}

/// The part that a dictionary explains, and where it reads.
fn place(name: &str, expects: &Expects) -> Result<(Stage, HookPoint)> {
    match (expects.hook_in, expects.writes()) {
        (Some(reads @ HookPoint::Block(layer, Site::Z)), Some(HookPoint::Block(own, Site::Z))) if own == layer => {
            Ok((Stage::attention(layer), reads))
        }
        (
            Some(
                reads @ HookPoint::Block(
                    layer,
                    Site::Ln2Normalized | Site::MlpHookIn | Site::MlpIn | Site::ResidMid,
                ),
            ),
            Some(HookPoint::Block(own, Site::MlpOut)),
        ) if own == layer => Ok((Stage::mlp(layer), reads)),
        _ => refused(
            name,
            "is neither an autoencoder of hook_z nor a transcoder from ln2.hook_normalized, mlp.hook_in, hook_mlp_in or \
             hook_resid_mid to hook_mlp_out of the same layer: a chained graph takes these (set.only([..]) has some of a set)."
                .into(),
        ),
    }
}

/// The point that a dictionary reads, and what is there in the run of one prompt, heads flattened.
///
/// # Shapes
/// `[pos, d_in]`, f32.
pub(super) fn read_of(dictionary: &Dictionary, cache: &ActivationCache) -> Result<(Site, Tensor)> {
    let Some(point @ HookPoint::Block(_, site)) = dictionary.expects().hook_in else {
        return refused(&dictionary.name(), "does not say which point it reads.".into());
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
