//! What a feature writes and reads in words: the logit lens of its decoder row, and the embeddings that its encoder reads.
//!
//! - Written: `(C r) w W_U`, where `r` is what the feature adds to the residual stream for one unit of activation, `C` takes the mean
//!   out where the final norm does, and `w` is the norm's weight where it is not folded. Divided by the norm's scale at a position, these
//!   are the logits that the feature adds there directly.
//! - Over the vocabulary `m_k = mean (x - mean x)^k`: skew `m_3 / m_2^(3/2)` and kurtosis `m_4 / m_2^2`, which is 3 for a normal
//!   distribution. A large kurtosis is the mark of a feature that writes for few tokens, a negative skew that of one that suppresses
//!   them (Bloom and Lin 2024, "Understanding SAE Features with the Logit Lens").
//! - Read: `s(x_t) . W_enc[:, f]` with `x_t` what token `t`'s embedding alone is at the point that is read, and `s` the
//!   dictionary's own normalisation.
//!
//! Limits: what later layers do with either is not in it, so for early layers this may say little.

use candle_core::{DType, Tensor};

use super::directions::{Fitted, check_feature, encoder_rows, to_logits};
use super::token_values::{FeatureLogits, FeatureReads, TokenValue};
use crate::dictionaries::Dictionary;
use crate::error::{Error, Result};
use crate::interrupt::check_interrupt;
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;

/// How many numbers one block of features may have for the whole vocabulary.
const NUMBERS: usize = 1 << 23;

/// How many tokens are embedded at a time.
const TOKENS: usize = 1 << 13;

impl Dictionary {
    /// The logits that a feature adds by itself, for each unit of its activation, before they are divided by the scale of the final
    /// norm: the `k` largest and the `k` smallest, and moments over the vocabulary. Of a layer of a cross-layer transcoder, what
    /// it writes to all layers together.
    ///
    /// # Errors
    /// A dictionary that does not fit the model ([`Dictionary::for_model`]) or that writes a point from which nothing goes to the
    /// residual stream unchanged; a feature that does not exist; `k` of 0 or more than the vocabulary.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// // A transcoder whose only feature writes the direction of one token.
    /// let mary = model.tokens_to_residual_directions([" Mary"])?;
    /// let d_model = model.cfg().d_model;
    /// let dictionary = Dictionary::new(DictionaryParts {
    ///     name: "Mary".into(),
    ///     w_enc: Tensor::zeros((d_model, 1), DType::F32, &Device::Cpu)?,
    ///     b_enc: Tensor::ones(1, DType::F32, &Device::Cpu)?,
    ///     w_dec: mary,
    ///     b_dec: Tensor::zeros(d_model, DType::F32, &Device::Cpu)?,
    ///     b_in: None,
    ///     w_skip: None,
    ///     activation: Activation::Relu,
    ///     input_norm: InputNorm::None,
    ///     scaled_by_decoder_norm: false,
    ///     expects: Expects::at("mlp_out2".parse()?),
    /// })?;
    /// let logits = dictionary.logit_lens(&model, 0, 3)?;
    /// assert_eq!(logits.top[0].text, " Mary");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn logit_lens(&self, model: &HookedTransformer, feature: usize, k: usize) -> Result<FeatureLogits> {
        check_feature(self, feature)?;
        check_count(k, model.cfg().d_vocab_out())?;
        let fitted = Fitted::new(self, model)?;
        let _work = Progress::opaque("applying the logit lens to a feature");
        let logits = to_logits(model, &fitted.written(&[feature])?)?.get(0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        check_interrupt()?;
        let Moments { mean, std, skew, kurtosis } = Moments::of(&logits);
        let (top, bottom) = extremes(model, &logits, k);
        Ok(FeatureLogits { dictionary: self.name(), feature, top, bottom, mean, std, skew, kurtosis })
    }

    /// The moments over the vocabulary of the logits that every feature adds: those with a large kurtosis write for few tokens.
    ///
    /// # Shapes
    /// `[feature, moment]`, with the moments `mean`, `std`, `skew` and `kurtosis`; NaN for a feature that adds the same to all.
    ///
    /// # Errors
    /// As [`Dictionary::logit_lens`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let dictionary = Dictionary::from_pretrained("tiny/mlp3")?;
    /// let kurtosis = dictionary.logit_moments(&model)?.select("moment", -1)?;
    /// let feature = kurtosis.top(1)[0].index[0];
    /// let logits = dictionary.logit_lens(&model, feature, 5)?;
    /// assert!((logits.kurtosis / f64::from(kurtosis.top(1)[0].value) - 1.0).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn logit_moments(&self, model: &HookedTransformer) -> Result<Labelled> {
        let fitted = Fitted::new(self, model)?;
        let (d_sae, vocabulary) = (self.d_sae(), model.cfg().d_vocab_out());
        let block = (NUMBERS / vocabulary).clamp(1, d_sae);
        let mut values = Vec::with_capacity(4 * d_sae);
        let mut progress = Progress::of("applying the logit lens to features", d_sae as u64, "features");
        for from in (0..d_sae).step_by(block) {
            let features: Vec<usize> = (from..d_sae.min(from + block)).collect();
            let logits = to_logits(model, &fitted.written(&features)?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            for row in &logits {
                let Moments { mean, std, skew, kurtosis } = Moments::of(row);
                values.extend([mean, std, skew, kurtosis].map(|moment| moment as f32));
            }
            progress.step(features.len() as u64)?;
        }
        let moments = Axis::new("moment", ["mean", "std", "skew", "kurtosis"]);
        Labelled::new("moments of the logits of features", vec![Axis::numbered("feature", d_sae), moments], values)
    }

    /// The tokens whose embeddings a feature reads: the `k` that activate it most and the `k` that do least, if the residual stream held
    /// nothing but the embedding of a token. For `hook_z` this is what its heads read of a token to which alone they attend.
    ///
    /// # Errors
    /// As [`Dictionary::logit_lens`]; a dictionary that reads a point which is not a linear function of the residual stream, norms
    /// aside.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let reads = Dictionary::from_pretrained("tiny/mlp0")?.encoder_tokens(&model, 0, 5)?;
    /// assert!(reads.top[0].value >= reads.top[4].value);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn encoder_tokens(&self, model: &HookedTransformer, feature: usize, k: usize) -> Result<FeatureReads> {
        check_feature(self, feature)?;
        let vocabulary = model.cfg().d_vocab;
        check_count(k, vocabulary)?;
        let fitted = Fitted::new(self, model)?;
        let _work = Progress::opaque("reading embeddings with a feature");
        let column = encoder_rows(&fitted.dictionary, &[feature])?.to_device(&model.device())?.t()?.contiguous()?;
        let (embeddings, norm) = (model.W_E(), fitted.dictionary.parts().input_norm);
        let mut read = Vec::with_capacity(vocabulary);
        for from in (0..vocabulary).step_by(TOKENS) {
            check_interrupt()?;
            let seen = fitted.seen(&embeddings.narrow(0, from, TOKENS.min(vocabulary - from))?)?;
            let (seen, _) = norm.apply(&seen)?;
            read.extend(numbers(&seen.matmul(&column.to_dtype(seen.dtype())?)?)?);
        }
        let (top, bottom) = extremes(model, &read, k);
        Ok(FeatureReads { dictionary: self.name(), feature, top, bottom })
    }

    /// The share of each head in a feature's decoder row, `|W_dec[f, h]|` over the sum of all heads; 0 for each
    /// head where the row is 0.
    ///
    /// # Shapes
    /// `[layer, head]` with the one layer of the dictionary, so that [`Labelled::top_heads`] reads it.
    ///
    /// # Errors
    /// As [`Dictionary::for_model`]; a dictionary that does not write all heads' `hook_z`; a feature that does not exist.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let heads = Dictionary::from_pretrained("tiny/z2")?.head_shares(&model, 0)?;
    /// assert_eq!(heads.top_heads(1)?[0].0.layer, 2);
    /// assert!((heads.values().sum() - 1.0).abs() < 1e-5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn head_shares(&self, model: &HookedTransformer, feature: usize) -> Result<Labelled> {
        check_feature(self, feature)?;
        let fitted = Fitted::new(self, model)?;
        let Some(layer) = fitted.all_heads() else {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" writes {}{}, so its features have no shares by head: this is for dictionaries that write \
                 hook_z of all heads.",
                crate::visible::visible(&self.name()),
                fitted.writes,
                self.expects().head.map(|head| format!(", head {head} alone")).unwrap_or_default()
            )));
        };
        let row = numbers(&super::directions::decoder_rows(&fitted.dictionary, &[feature])?)?;
        let heads = model.cfg().n_heads;
        let norm = |part: &[f32]| part.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let norms: Vec<f64> = row.chunks(row.len() / heads).map(norm).collect();
        let sum: f64 = norms.iter().sum();
        let shares = norms.iter().map(|norm| if sum == 0. { 0. } else { (norm / sum) as f32 }).collect();
        let axes = vec![Axis::new("layer", [layer.to_string()]), Axis::numbered("head", heads)];
        Labelled::new(format!("share of each head in feature {feature}"), axes, shares)
    }
}

/// # Errors
/// A number of tokens that the vocabulary does not have.
fn check_count(k: usize, vocabulary: usize) -> Result<()> {
    if (1..=vocabulary).contains(&k) {
        return Ok(());
    }
    Err(Error::argument(format!("k is {k}: give 1 to {vocabulary}, the size of the vocabulary.")))
}

/// All numbers of a tensor.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The tokens with the `k` largest and the `k` smallest numbers, the first of equal ones first.
fn extremes(model: &HookedTransformer, values: &[f32], k: usize) -> (Vec<TokenValue>, Vec<TokenValue>) {
    let chosen = |before: &dyn Fn(f32, f32) -> std::cmp::Ordering| {
        let order = |a: &u32, b: &u32| before(values[*a as usize], values[*b as usize]).then(a.cmp(b));
        let mut ids: Vec<u32> = (0..values.len() as u32).collect();
        if k < ids.len() {
            ids.select_nth_unstable_by(k, order);
            ids.truncate(k);
        }
        ids.sort_by(order);
        let value = |id: u32| TokenValue { token: id, text: model.piece(id), value: values[id as usize] };
        ids.into_iter().map(value).collect::<Vec<_>>()
    };
    (chosen(&|a, b| b.total_cmp(&a)), chosen(&|a, b| a.total_cmp(&b)))
}

/// Of numbers, in f64.
struct Moments {
    mean: f64,
    std: f64,
    skew: f64,
    kurtosis: f64,
}

impl Moments {
    fn of(values: &[f32]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let (mut second, mut third, mut fourth) = (0.0, 0.0, 0.0);
        for x in values {
            let away = f64::from(*x) - mean;
            let square = away * away;
            second += square;
            third += square * away;
            fourth += square * square;
        }
        let variance = second / n;
        Self {
            mean,
            std: variance.sqrt(),
            skew: third / n / variance.powf(1.5),
            kurtosis: fourth / n / (variance * variance),
        }
    }
}
