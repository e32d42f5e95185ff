//! The dictionaries of a graph, by the layers that they read. Each is opened when its layer's features are looked for, and dropped once the
//! rows of those that are active have been copied, so that one of them is in memory at a time.

use candle_core::{DType, Tensor};

use super::affine::one;
use crate::cache::ActivationCache;
use crate::dictionaries::{Dictionaries, Dictionary, Expects, Given};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::visible::visible;

/// The transcoder of a layer, which may not have been read yet.
pub(super) struct Transcoder {
    pub layer: usize,
    /// Where it reads.
    pub site: Site,
    given: Given,
}

impl Transcoder {
    /// The dictionaries in the order of their layers. Those in memory are checked against the model here, the others when they are opened.
    ///
    /// # Errors
    /// A dictionary that is not of an MLP, or is the second one of a layer.
    pub(super) fn all(model: &HookedTransformer, dictionaries: &Dictionaries) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for given in dictionaries.given() {
            let given = match given {
                // What is not known of its points is in its file.
                Given::InSet { .. } if given.expects()?.hook_in.is_none() => Given::Read(given.read()?),
                other => other.clone(),
            };
            let given = match given {
                Given::Read(dictionary) => Given::Read(dictionary.for_model(model)?),
                in_set => in_set,
            };
            let (layer, site) = place(&given.name(), &given.expects()?)?;
            if all.iter().any(|there| there.layer == layer) {
                return refused(&given.name(), format!("is the second one of layer {layer}: give one for each layer."));
            }
            all.push(Self { layer, site, given });
        }
        all.sort_by_key(|each| each.layer);
        Ok(all)
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        self.given.name()
    }

    /// Reads it and makes it fit the model.
    ///
    /// # Errors
    /// A file that is damaged, a dictionary that does not fit the model or is of another point than its set says.
    pub(super) fn open(&self, model: &HookedTransformer) -> Result<Dictionary> {
        let dictionary = match &self.given {
            Given::Read(dictionary) => return Ok(dictionary.clone()),
            in_set => in_set.read()?.for_model(model)?,
        };
        if place(&dictionary.name(), &dictionary.expects())? != (self.layer, self.site) {
            let name = dictionary.name();
            return refused(&name, "is of other points than its set says: give it by itself, set.get(name).".into());
        }
        Ok(dictionary)
    }

    /// The point that it reads.
    pub(super) fn reads(&self) -> HookPoint {
        HookPoint::Block(self.layer, self.site)
    }

    /// What is there, `[pos, d_in]`.
    pub(super) fn input(&self, cache: &ActivationCache) -> Result<Tensor> {
        Ok(one(cache, self.reads())?.to_dtype(DType::F32)?)
    }
}

/// The layer and the point that a transcoder of an MLP reads.
fn place(name: &str, expects: &Expects) -> Result<(usize, Site)> {
    let Some(HookPoint::Block(layer, Site::MlpOut)) = expects.writes() else {
        return refused(
            name,
            "does not write to a hook_mlp_out: a graph takes transcoders of MLPs (set.transcoders() has those of a set).".into(),
        );
    };
    match expects.hook_in {
        Some(HookPoint::Block(own, site @ (Site::Ln2Normalized | Site::MlpHookIn | Site::MlpIn | Site::ResidMid)))
            if own == layer =>
        {
            Ok((layer, site))
        }
        _ => refused(
            name,
            "does not read what the MLP of its layer reads: a graph takes transcoders from ln2.hook_normalized, mlp.hook_in, \
             hook_mlp_in or hook_resid_mid to hook_mlp_out."
                .into(),
        ),
    }
}

pub(super) fn refused<T>(name: &str, why: String) -> Result<T> {
    Err(Error::argument(format!("the dictionary \"{}\" {why}", visible(name))))
}
