//! The features that are active in prompts, ranked by their activations or by their share in a metric.
//!
//! - By gradient: `a dM/da` of each feature's activation `a`, with the dictionaries spliced in and their error terms recomputed, so that
//!   the run is the model's own. To first order this is what the metric loses if the feature is set to 0 (attribution patching with
//!   a baseline of zeros; Marks et al. 2024, arXiv 2403.19647, with one step).
//! - By direct attribution: see `direct`.

use candle_core::{DType, Tensor};

use super::active::{ActiveFeature, ActiveFeatures, FeatureRanking};
use super::reading::{fitted, read, whole};
use crate::dictionaries::{AtBos, Dictionaries, ErrorTerm};
use crate::error::Result;
use crate::metrics::Metric;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Input;

impl HookedTransformer {
    /// The features that are active in prompts, at each position, the most active first. A BOS is left out.
    ///
    /// # Errors
    /// As [`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model) and [`HookedTransformer::run`].
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

    /// The features that are active in prompts, ranked by the gradient of a metric by their activation times the activation: to first order
    /// what each adds to the metric, on whatever path. The dictionaries are spliced in with their error terms
    /// ([`ErrorTerm::Recomputed`]), so the run is the model's own.
    ///
    /// # Errors
    /// As [`HookedTransformer::splice`] and [`HookedTransformer::run_with_grads`].
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
        let spliced = self.with_splices_of(&self.splice(dictionaries, ErrorTerm::Recomputed)?)?;
        let points: Vec<String> = all.iter().map(|fitted| format!("{}.hook_sae_acts_post", fitted.writes)).collect();
        let (_, gradients) = spliced.run_with_grads(&batch.tokens, metric, points.clone())?;
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
