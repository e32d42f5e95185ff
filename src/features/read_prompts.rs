//! The features that are active in prompts, ranked by their activations or by their share in a metric.
//!
//! - By gradient: `a dM/da` of each feature's activation `a`, with the dictionaries spliced in and their error terms recomputed, so that
//!   the run is the model's own. To first order this is what the metric loses if the feature is set to 0 (attribution patching with
//!   a baseline of zeros; Marks et al. 2024, arXiv 2403.19647, with one step).
//! - By direct attribution: see `direct`.

use candle_core::{DType, Tensor};

use super::active::{ActiveFeature, ActiveFeatures, FeatureRanking};
use super::reading::{fitted, read, whole};
use super::score::Batch;
use crate::dictionaries::{AtBos, Dictionaries, ErrorTerm};
use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::tokens::Input;

impl HookedTransformer {
    /// The features that are active in prompts, at each position, the most active first. A BOS is left out.
    ///
    /// # Errors
    /// As [`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model) and [`HookedTransformer::run`]; prompts that hold nothing but
    /// a BOS.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let dictionary = Dictionary::from_pretrained("tiny/z2")?;
    /// let active = model.features_of(&dictionary, "When John and Mary went to the shops, John gave the bag to")?;
    /// let last = active.at(-1)?;
    /// println!("{}", last.top(5));
    /// assert!(last.features.iter().all(|feature| feature.token == " to"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn features_of(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompts: impl Into<Input>,
    ) -> Result<ActiveFeatures> {
        let all = fitted(dictionaries.into(), self)?;
        let (batch, prompts) = whole(self, self.to_tokens(prompts)?, AtBos::LeftAlone);
        check_counted(&batch)?;
        let _work = Progress::opaque("reading features");
        let mut features = Vec::new();
        for (fitted, acts) in all.iter().zip(read(&all, &batch)?) {
            for (row, &place) in batch.counted.iter().enumerate() {
                let (prompt, position) = (place as usize / batch.tokens.pos(), place as usize % batch.tokens.pos());
                let (active, values) = acts.row(row);
                for (&feature, &activation) in active.iter().zip(values).filter(|(_, value)| **value != 0.0) {
                    features.push(ActiveFeature {
                        dictionary: fitted.dictionary.name(),
                        prompt,
                        position,
                        token: prompts[prompt][position].clone(),
                        feature: feature as usize,
                        activation,
                        share: activation,
                    });
                }
            }
        }
        let dictionaries = all.iter().map(|fitted| fitted.dictionary.name()).collect();
        let ranked_by = FeatureRanking::Activation;
        Ok(ActiveFeatures { ranked_by, dictionaries, prompts, without_bos: true, features }.ranked())
    }

    /// The features that are active in prompts, ranked by the gradient of a metric with respect to their activation, times the
    /// activation: to first order, what each adds to the metric along all paths. The dictionaries are spliced in with their error terms
    /// ([`ErrorTerm::Recomputed`]), so the run is the model's own.
    ///
    /// # Errors
    /// As [`HookedTransformer::splice`] and [`HookedTransformer::run_with_grads`]; prompts that hold nothing but a BOS.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let dictionaries = [Dictionary::from_pretrained("tiny/z2")?, Dictionary::from_pretrained("tiny/z3")?];
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let active = model.features_by_gradient(dictionaries, prompt, &metric)?;
    /// println!("{}", active.top(5));
    /// assert!(active.features[0].share.abs() >= active.features[1].share.abs());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn features_by_gradient(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompts: impl Into<Input>,
        metric: &Metric,
    ) -> Result<ActiveFeatures> {
        let dictionaries = dictionaries.into();
        let all = fitted(dictionaries.clone(), self)?;
        let (batch, prompts) = whole(self, self.to_tokens(prompts)?, AtBos::LeftAlone);
        check_counted(&batch)?;
        let bound = metric.bind(&batch.tokens, self.cfg().d_vocab_out())?;
        bound.check_alone()?;
        bound.check_slope()?;
        let points: Vec<String> = all.iter().map(|fitted| format!("{}.hook_sae_acts_post", fitted.writes)).collect();
        let plan = self.splice(dictionaries, ErrorTerm::Recomputed)?.watch(points.clone());
        let mut progress = Progress::of("taking gradients", 2, "passes");
        let run = self.without_weight_gradients().run(&batch.tokens, plan, RunOptions::default())?;
        progress.step(1)?;
        let values = bound.values(&bound.columns_of(&bound.read(&run.logits()?)?)?, None)?;
        bound.check_gradient(&values)?;
        let gradients = run.taps.gradients(&values.sum_all()?)?;
        let mut features = Vec::new();
        for (fitted, point) in all.iter().zip(&points) {
            let numbers = |x: Tensor| -> Result<Vec<f32>> { Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?) };
            let acts = numbers(gradients.activation(point.as_str())?)?;
            let slopes = numbers(gradients.get(point.as_str())?)?;
            let (d_sae, pos) = (fitted.dictionary.d_sae(), batch.tokens.pos());
            for &place in &batch.counted {
                let (prompt, position) = (place as usize / pos, place as usize % pos);
                let row = place as usize * d_sae..(place as usize + 1) * d_sae;
                let active = acts[row.clone()].iter().zip(&slopes[row]).enumerate();
                for (feature, (&activation, &slope)) in active.filter(|(_, (value, _))| **value != 0.0) {
                    features.push(ActiveFeature {
                        dictionary: fitted.dictionary.name(),
                        prompt,
                        position,
                        token: prompts[prompt][position].clone(),
                        feature,
                        activation,
                        share: activation * slope,
                    });
                }
            }
        }
        let dictionaries = all.iter().map(|fitted| fitted.dictionary.name()).collect();
        let ranked_by = FeatureRanking::Gradient(metric.name().to_string());
        Ok(ActiveFeatures { ranked_by, dictionaries, prompts, without_bos: true, features }.ranked())
    }
}

/// # Errors
/// Prompts of which no position counts.
fn check_counted(batch: &Batch) -> Result<()> {
    if batch.counted.is_empty() {
        return Err(Error::argument(
            "these prompts hold nothing but a BOS, where features are not read: give prompts with other tokens.",
        ));
    }
    Ok(())
}
