//! Which features point the same way: within a dictionary, across dictionaries, and from layer to layer.
//!
//! The cosine of two decoder rows, within a dictionary at the point that it writes. Across dictionaries both are taken in the residual
//! stream (`directions`), where layers can be compared because blocks add to it; the direction in which an encoder reads is pulled back
//! to the residual stream likewise, through the weights of the norm and its centring, not its scale.
//!
//! Limits: a cosine compares directions, not when the features are active.

use candle_core::{D, DType, Tensor};

use super::directions::{Fitted, check_feature, decoder_rows, unit};
use super::neighbours::{FeatureDirections, Neighbour, Neighbours, SharedFeature, SharedFeatures};
use super::reading::fitted;
use crate::dictionaries::{Dictionaries, Dictionary};
use crate::error::Result;
use crate::interrupt::check_interrupt;
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;

/// How many features are compared with all others at a time.
const FEATURES: usize = 256;

impl Dictionary {
    /// The `k` features of the same dictionary whose decoder rows have the largest cosine with that of a feature.
    ///
    /// # Errors
    /// A feature that does not exist.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let neighbours = Dictionary::from_pretrained("tiny/z2")?.neighbours(7, 3)?;
    /// assert!(neighbours.nearest.iter().all(|neighbour| neighbour.feature != 7));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn neighbours(&self, feature: usize, k: usize) -> Result<Neighbours> {
        check_feature(self, feature)?;
        let _work = Progress::opaque("comparing features");
        let all: Vec<usize> = (0..self.d_sae()).collect();
        let cosines = cosines(&flat(self, &[feature])?, &flat(self, &all)?)?;
        let cosines = cosines.get(0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        check_interrupt()?;
        let others = cosines.into_iter().enumerate().filter(|(other, _)| *other != feature);
        let name = self.name();
        let found = others.map(|(feature, cosine)| Neighbour { dictionary: name.clone(), feature, cosine });
        Ok(Neighbours { dictionary: self.name(), feature, nearest: nearest(found, k) })
    }
}

impl HookedTransformer {
    /// The `k` features of other dictionaries, of any layer, that write the directions of the residual stream nearest to that of a
    /// feature.
    ///
    /// # Errors
    /// A feature that does not exist; as [`Dictionary::for_model`]; dictionaries that do not write to the residual stream.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let [z, mlp] = [Dictionary::from_pretrained("tiny/z2")?, Dictionary::from_pretrained("tiny/mlp3")?];
    /// let neighbours = model.feature_neighbours(&z, 7, &mlp, 3)?;
    /// assert!(neighbours.nearest[0].cosine >= neighbours.nearest[2].cosine);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn feature_neighbours(
        &self,
        dictionary: &Dictionary,
        feature: usize,
        others: impl Into<Dictionaries>,
        k: usize,
    ) -> Result<Neighbours> {
        check_feature(dictionary, feature)?;
        let others = fitted(others.into(), self)?;
        let from = Fitted::new(dictionary, self)?.written(&[feature])?;
        let mut progress = Progress::of("comparing features", others.len() as u64, "dictionaries");
        let mut found = Vec::new();
        for other in &others {
            let all: Vec<usize> = (0..other.dictionary.d_sae()).collect();
            let cosines = cosines(&from, &other.written(&all)?)?.get(0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            let name = other.dictionary.name();
            let is_itself = |at: usize| at == feature && name == dictionary.name();
            let of_other = cosines.into_iter().enumerate().filter(|(at, _)| !is_itself(*at));
            let of_other = of_other.map(|(feature, cosine)| Neighbour { dictionary: name.clone(), feature, cosine });
            found.extend(nearest(of_other, k));
            progress.step(1)?;
        }
        let nearest = nearest(found.into_iter(), k);
        Ok(Neighbours { dictionary: dictionary.name(), feature, nearest })
    }

    /// For each feature of one dictionary the feature of another that is nearest to it in the residual stream: which features two
    /// layers share, or with [`FeatureDirections::DecoderToEncoder`] by which of the second each of the first is read.
    ///
    /// # Errors
    /// As [`Dictionary::for_model`]; dictionaries without directions in the residual stream.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let [z, mlp] = [Dictionary::from_pretrained("tiny/z2")?, Dictionary::from_pretrained("tiny/mlp3")?];
    /// let itself = model.shared_features(&z, &z, FeatureDirections::Decoders)?;
    /// assert!((itself.mean() - 1.0).abs() < 1e-3);
    /// assert!(model.shared_features(&z, &mlp, FeatureDirections::DecoderToEncoder)?.mean() < 0.9);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn shared_features(
        &self,
        first: &Dictionary,
        second: &Dictionary,
        by: FeatureDirections,
    ) -> Result<SharedFeatures> {
        let _work = Progress::opaque("comparing features");
        let (from, to) = (Fitted::new(first, self)?, Fitted::new(second, self)?);
        from.shared(&to, by)
    }

    /// How much each of several dictionaries shares with each other one: the mean over the features of the first of the largest cosine
    /// with any of the second.
    ///
    /// # Shapes
    /// `[dictionary, shares with]`; 1 on the diagonal where the directions are the same.
    ///
    /// # Errors
    /// As [`HookedTransformer::shared_features`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let both = [Dictionary::from_pretrained("tiny/mlp2")?, Dictionary::from_pretrained("tiny/mlp3")?];
    /// let overlap = model.feature_overlap(both, FeatureDirections::Decoders)?;
    /// assert!(overlap.at(&[0, 0])? > overlap.at(&[0, 1])?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn feature_overlap(&self, dictionaries: impl Into<Dictionaries>, by: FeatureDirections) -> Result<Labelled> {
        let all = fitted(dictionaries.into(), self)?;
        let mut values = Vec::with_capacity(all.len() * all.len());
        let mut progress = Progress::of("comparing dictionaries", (all.len() * all.len()) as u64, "pairs");
        for first in &all {
            for second in &all {
                values.push(first.shared(second, by)?.mean() as f32);
                progress.step(1)?;
            }
        }
        let names = || all.iter().map(|fitted| fitted.dictionary.name());
        let axes = vec![Axis::new("dictionary", names()), Axis::new("shares with", names())];
        Labelled::new(format!("mean largest cosine, {by}"), axes, values)
    }
}

impl Fitted<'_> {
    fn shared(&self, to: &Self, by: FeatureDirections) -> Result<SharedFeatures> {
        let _work = Progress::opaque("comparing features");
        let all = |fitted: &Self| (0..fitted.dictionary.d_sae()).collect::<Vec<_>>();
        let reads = matches!(by, FeatureDirections::Encoders);
        let from = if reads { self.read(&all(self))? } else { self.written(&all(self))? };
        let others = if matches!(by, FeatureDirections::Decoders) { to.written(&all(to))? } else { to.read(&all(to))? };
        let (from, others) = (unit(&from)?, unit(&others)?.t()?.contiguous()?);
        let count = from.dim(0)?;
        let mut features = Vec::with_capacity(count);
        let mut progress = Progress::of("comparing features", count as u64, "features");
        for first in (0..count).step_by(FEATURES) {
            let rows = from.narrow(0, first, FEATURES.min(count - first))?;
            let cosines = rows.matmul(&others)?;
            let best = cosines.argmax(D::Minus1)?.to_vec1::<u32>()?;
            let values = cosines.max(D::Minus1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            for (row, (other, cosine)) in best.into_iter().zip(values).enumerate() {
                features.push(SharedFeature { feature: first + row, other: other as usize, cosine });
            }
            progress.step(rows.dim(0)? as u64)?;
        }
        Ok(SharedFeatures { dictionary: self.dictionary.name(), with: to.dictionary.name(), by, features })
    }
}

/// Decoder rows as vectors, those of several layers one after the other.
fn flat(dictionary: &Dictionary, features: &[usize]) -> Result<Tensor> {
    Ok(decoder_rows(dictionary, features)?.flatten_from(1)?)
}

/// # Shapes
/// `[a, width]` and `[b, width]` give `[a, b]`.
fn cosines(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(unit(a)?.matmul(&unit(b)?.t()?.contiguous()?)?)
}

/// The `k` with the largest cosines.
fn nearest(found: impl Iterator<Item = Neighbour>, k: usize) -> Vec<Neighbour> {
    let mut all: Vec<Neighbour> = found.collect();
    all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
    all.truncate(k);
    all
}
