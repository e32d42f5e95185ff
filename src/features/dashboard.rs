//! Everything about one feature on one page.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::directions::{Fitted, check_feature};
use super::examples::{FeatureExample, FeatureTexts};
use super::neighbours::Neighbours;
use super::read_texts::{ExampleOptions, whole_texts};
use super::reading::{read, whole};
use super::token_values::{FeatureLogits, FeatureReads};
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Input;
use crate::visible::visible;

/// Everything about one feature: the texts in which it is active, its histogram, what it writes and reads, the features
/// that resemble it, and where it is active in the current prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureDashboard {
    /// The name of the dictionary.
    pub dictionary: String,
    /// What kind of dictionary it is, such as `jumprelu`.
    pub architecture: String,
    /// The feature.
    pub feature: usize,
    /// How many features the dictionary has.
    pub d_sae: usize,
    /// The point that the dictionary reads.
    pub reads_at: String,
    /// The point that it writes.
    pub writes_at: String,
    /// The texts in which it is active, and its histogram.
    pub texts: FeatureTexts,
    /// How many texts were read.
    pub n_texts: usize,
    /// Whether the BOS of each text was left out.
    pub without_bos: bool,
    /// The logits that it adds.
    pub logits: FeatureLogits,
    /// The tokens whose embeddings it reads; none where it reads something that is not the residual stream.
    pub reads: Option<FeatureReads>,
    /// The features that resemble it.
    pub neighbours: Neighbours,
    /// Each current prompt, whole, with the activation at each token; a BOS that is left out has none.
    pub prompts: Vec<FeatureExample>,
    /// The share of each head in the feature's decoder row, `|W_dec[f, h]|` over the sum of all heads; empty where the dictionary
    /// does not write `hook_z`.
    pub heads: Vec<f32>,
    /// Where neuronpedia.org has the feature, as a text to copy.
    pub neuronpedia: Option<String>,
}

/// How many tokens and neighbours are listed.
const LISTED: usize = 10;

impl HookedTransformer {
    /// Everything about one feature: examples from texts as by [`HookedTransformer::feature_examples`], and prompts
    /// with the activation at each token.
    ///
    /// # Errors
    /// As [`HookedTransformer::feature_examples`]; a dictionary that does not write to the residual stream, which has no logits.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let dictionary = Dictionary::from_pretrained("tiny/z2")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let feature = model.features_of(&dictionary, prompt)?.features[0].feature;
    /// let texts = [prompt, "The keys on the cabinet are old", "When Anna and Tom went to the park, Anna gave the ball to"];
    /// let dashboard = model.feature_dashboard(&dictionary, feature, texts, prompt)?;
    /// assert_eq!(dashboard.prompts[0].activation, dashboard.texts.top[0].activation);
    /// println!("{dashboard}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn feature_dashboard(
        &self,
        dictionary: &Dictionary,
        feature: usize,
        texts: impl Into<Input>,
        prompts: impl Into<Input>,
    ) -> Result<FeatureDashboard> {
        check_feature(dictionary, feature)?;
        let options = ExampleOptions::default();
        let logits = dictionary.logit_lens(self, feature, LISTED.min(self.cfg().d_vocab_out()))?;
        let fitted = [Fitted::new(dictionary, self)?];
        let (batch, _) = whole(self, self.to_tokens(prompts)?, options.bos);
        let mut progress = Progress::of("making a dashboard", 3, "parts");
        let prompts = whole_texts(&batch, &read(&fitted, &batch)?[0], feature, |id| self.piece(id));
        progress.step(1)?;
        let examples = self.feature_examples(dictionary, [crate::slice::forward(feature)], texts, options)?;
        progress.step(1)?;
        let [Fitted { dictionary, reads: reads_at, writes: writes_at, .. }] = &fitted;
        let reads = match fitted[0].reads_stream() {
            true => Some(dictionary.encoder_tokens(self, feature, LISTED.min(self.cfg().d_vocab))?),
            false => None,
        };
        let heads = match fitted[0].all_heads() {
            Some(_) => dictionary.head_shares(self, feature)?.values().iter().copied().collect(),
            None => Vec::new(),
        };
        let address = |before: String| format!("https://www.neuronpedia.org/{before}/{feature}");
        Ok(FeatureDashboard {
            dictionary: dictionary.name(),
            architecture: dictionary.architecture().to_string(),
            feature,
            d_sae: dictionary.d_sae(),
            reads_at: reads_at.to_string(),
            writes_at: writes_at.to_string(),
            texts: examples.of(feature)?,
            n_texts: examples.texts,
            without_bos: examples.without_bos,
            logits,
            reads,
            neighbours: dictionary.neighbours(feature, LISTED)?,
            prompts,
            heads,
            neuronpedia: dictionary.expects().neuronpedia.map(address),
        })
    }
}

impl fmt::Display for FeatureDashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = visible(&self.dictionary);
        write!(f, "feature {} of {name} ({}, {} features)", self.feature, self.architecture, self.d_sae)?;
        write!(f, "\nreads {}, writes {}", visible(&self.reads_at), visible(&self.writes_at))?;
        write!(f, "\n\n{} texts: {}", self.n_texts, self.texts)?;
        for prompt in &self.prompts {
            write!(f, "\n\nthis prompt: {prompt}")?;
        }
        write!(f, "\n\n{}", self.logits)?;
        if let Some(reads) = &self.reads {
            write!(f, "\n\n{reads}")?;
        }
        if !self.heads.is_empty() {
            let heads = self.heads.iter().enumerate().map(|(head, share)| format!("H{head} {:.0} %", 100.0 * share));
            write!(f, "\n\nheads: {}", heads.collect::<Vec<_>>().join(", "))?;
        }
        write!(f, "\n\n{}", self.neighbours)?;
        match &self.neuronpedia {
            Some(address) => write!(f, "\n\nneuronpedia: {}", visible(address)),
            None => Ok(()),
        }
    }
}
