//! Dictionaries spliced into a model: each replaces the activation at the point that it writes.
//!
//! An autoencoder makes `recon(x)` of the activation `x` that it replaces; a transcoder reads `x` at one point and replaces `y`
//! at a later one; a layer of a cross-layer transcoder writes `b_dec + sum_l' f_l' D_l'l`, the sum over its own and all earlier
//! layers. With an error term the run goes on with `recon(x) + e` instead ([`ErrorTerm`]).
//!
//! Inner points have SAELens' names, behind that of the point that is replaced, in the order of computation:
//! `hook_sae_input` (heads flattened, before normalisation and `b_in`), `hook_sae_acts_pre`, `hook_sae_acts_post`,
//! `hook_sae_recons` (before the normalisation is undone, heads flattened, without the skip connection), `hook_sae_error` (where
//! there is an error term) and `hook_sae_output`. A layer of a cross-layer transcoder also has `hook_sae_writes_5`, what its
//! features write to layer 5 (and, where later error terms need it, `hook_sae_unedited_writes_5`, the same without edits).
//!
//! References: SAELens 6.54 (`HookedSAETransformer`), circuit-tracer 0.5 (`ReplacementModel`); frozen errors: Ameisen et al.
//! 2025, recomputed ones: Marks et al. 2024 (arXiv 2403.19647). Activations of features are computed in f32 in
//! half-precision models too, and kept sparse unless a plan asks for them as a tensor or gradients pass through them.

mod active;
mod frozen;
mod one;
mod options;
mod sites;
mod steer;

use std::collections::BTreeMap;

pub use options::{AtBos, ErrorTerm, SpliceOptions};

use self::frozen::Frozen;
use self::one::{OfError, OneDictionary};
use self::sites::Part;
use super::dictionary::Dictionary;
use super::several::Dictionaries;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint};
use crate::model::{HookedTransformer, RunOptions};
use crate::visible::visible;

impl HookedTransformer {
    /// A plan that splices dictionaries into this model, each at the point that it writes, converted to the model where that is
    /// exact ([`Dictionary::for_model`]). Edits, captures and watched points are added to it; the points inside are in the
    /// plan under SAELens' names, as `blocks.2.attn.hook_z.hook_sae_acts_post` or `("sae_acts_post", 2)`.
    ///
    /// A BOS is left alone unless [`SpliceOptions`] say otherwise; the plan's text says which.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let dictionary = Dictionary::from_pretrained("tiny/z2")?;
    /// let plan = model.splice(&dictionary, ErrorTerm::Recomputed)?.capture(("sae_acts_post", 2));
    /// let (logits, cache) = model.run_with_hooks(prompt, &plan)?;
    /// let difference = (logits - model.forward(prompt)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
    /// assert!(difference < 1e-3, "with its error term a dictionary changes nothing");
    /// // The strongest feature at the last position is ablated there.
    /// let acts = cache.get(("sae_acts_post", 2))?.squeeze(0)?;
    /// let last = acts.get(acts.dim(0)? - 1)?;
    /// let strongest = last.argmax(0)?.to_scalar::<u32>()? as isize;
    /// let ablated = plan.edit(("sae_acts_post", 2), Edit::zero().feature(strongest).pos(-1));
    /// assert!((model.run_with_hooks(prompt, &ablated)?.0 - model.forward(prompt)?)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// What [`Dictionary::for_model`] refuses; two dictionaries that write the same point; a layer of a cross-layer
    /// transcoder without the earlier ones that write to it; with frozen errors, as [`HookedTransformer::run`] of their prompts.
    pub fn splice(&self, dictionaries: impl Into<Dictionaries>, how: impl Into<SpliceOptions>) -> Result<HookPlan> {
        let SpliceOptions { error, bos } = how.into();
        let dictionaries = self.by_point(dictionaries.into())?;
        let bos = match bos {
            AtBos::LeftAlone => self.own_tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id()),
            AtBos::Spliced => None,
        };
        match error {
            ErrorTerm::None => self.plan_of(&dictionaries, bos, |_| Ok(OfError::None)),
            ErrorTerm::Recomputed => self.plan_of(&dictionaries, bos, |_| Ok(OfError::Recomputed)),
            ErrorTerm::Frozen(prompts) => {
                let tokens = self.to_tokens(prompts)?;
                let inside = |point: &HookPoint| format!("{point}.{}", Part::Error.name());
                let measured = self.plan_of(&dictionaries, None, |_| Ok(OfError::Measured))?;
                let plan = dictionaries.keys().fold(measured, |plan, point| plan.capture(inside(point)));
                let run = self.run(&tokens, plan, RunOptions { logits: false, ..Default::default() })?;
                let errors: BTreeMap<String, _> =
                    run.captured.into_iter().map(|(point, error)| (point.to_string(), error)).collect();
                self.plan_of(&dictionaries, bos, |point| {
                    Ok(OfError::Frozen(Frozen::new(&tokens, errors[&inside(&point)].clone())))
                })
            }
        }
    }

    /// The dictionaries for this model, by the points that they write.
    fn by_point(&self, dictionaries: Dictionaries) -> Result<BTreeMap<HookPoint, Dictionary>> {
        let mut by_point: BTreeMap<HookPoint, Dictionary> = BTreeMap::new();
        for given in dictionaries.given() {
            let dictionary = given.read()?.for_model(self)?;
            let Some(point) = dictionary.expects().writes() else { continue };
            if let Some(there) = by_point.insert(point, dictionary.clone()) {
                return Err(Error::argument(format!(
                    "two dictionaries write {point}, \"{}\" and \"{}\": a point takes one. Leave one out.",
                    visible(&there.name()),
                    visible(&dictionary.name())
                )));
            }
        }
        match by_point.is_empty() {
            true => Err(Error::argument("no dictionary was given to splice in: name at least one.")),
            false => Ok(by_point),
        }
    }

    fn plan_of(
        &self,
        dictionaries: &BTreeMap<HookPoint, Dictionary>,
        bos: Option<u32>,
        error: impl Fn(HookPoint) -> Result<OfError>,
    ) -> Result<HookPlan> {
        let mut plan = HookPlan::new();
        for (&point, dictionary) in dictionaries {
            let earlier = earlier(dictionaries, point, dictionary)?;
            let one = OneDictionary::new(dictionary.clone(), earlier, (error(point)?, bos))?;
            plan = plan.splice(point, one);
        }
        plan.splices(&self.dims())?;
        Ok(plan)
    }
}

/// The points of the dictionaries in earlier layers that write to this one as well.
///
/// # Errors
/// A layer of a cross-layer transcoder without an earlier one.
fn earlier(
    dictionaries: &BTreeMap<HookPoint, Dictionary>,
    point: HookPoint,
    dictionary: &Dictionary,
) -> Result<Vec<HookPoint>> {
    let HookPoint::Block(layer, site) = point else { return Ok(Vec::new()) };
    let mut earlier = Vec::new();
    for before in 0..layer {
        let there = HookPoint::Block(before, site);
        match dictionaries.get(&there) {
            Some(other) if other.n_writes() > layer - before => earlier.push(there),
            None if dictionary.w_dec().rank() == 3 => {
                return Err(Error::argument(format!(
                    "\"{}\" is layer {layer} of a cross-layer transcoder, and what features of layer {before} write there is \
                     part of it: splice in all layers from the first on.",
                    visible(&dictionary.name())
                )));
            }
            _ => {}
        }
    }
    Ok(earlier)
}
