//! Attention attribution: `pattern * d metric / d pattern`, entry by entry (Hao et al. 2021,
//! <https://arxiv.org/abs/2004.11207>, without its integral): what each entry of each head's attention pattern adds to the
//! metric, to first order. It says nothing about the effect of not attending elsewhere.

use candle_core::DType;

use crate::error::{Error, Result};
use crate::head::Head;
use crate::host;
use crate::labelled::{Axis, Labelled};
use crate::metrics::Metric;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Input;
use crate::variables::holds;

/// What each entry of each attention pattern adds to a metric. Made by [`HookedTransformer::attention_attribution`].
#[derive(Clone, Debug)]
pub struct AttentionAttribution {
    /// `pattern * gradient`, the mean over prompts, `[layer, head, position, key_pos]`.
    pub entries: Labelled,
    /// The sum of the absolute values of the entries, by which heads are ranked, `[layer, head]`.
    pub heads: Labelled,
}

holds! {
    AttentionAttribution { entries, heads }
}

impl HookedTransformer {
    /// What each entry of each attention pattern adds to the metric, to first order: one forward and one backward pass.
    ///
    /// # Shapes
    /// `[layer, head, position, key_pos]`.
    ///
    /// # Errors
    /// Padded prompts, whose positions do not correspond; and as [`HookedTransformer::run_with_grads`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let attention = model.attention_attribution(prompt, &metric)?;
    /// assert_eq!(attention.heads.shape(), [model.cfg().n_layers, model.cfg().n_heads]);
    /// println!("{} attends with the largest effect", attention.heads.top_heads(1)?[0].0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn attention_attribution(&self, input: impl Into<Input>, metric: &Metric) -> Result<AttentionAttribution> {
        let tokens = self.to_tokens(input)?;
        if tokens.is_padded() {
            return Err(Error::argument(
                "attention is added up position by position, so the prompts must have one length: group them by \
                 length.",
            ));
        }
        let mut progress = Progress::of("attributing attention", 1 + self.cfg().n_layers as u64, "steps");
        let (_, gradients) = self.run_with_grads(&tokens, metric, ["pattern"])?;
        progress.step(1)?;
        let (mut entries, mut heads) = (Vec::new(), Vec::new());
        for layer in 0..self.cfg().n_layers {
            let pattern = gradients.activation(("pattern", layer))?;
            let gradient = gradients.get(("pattern", layer))?;
            // The product of two small numbers may be 0 in f16.
            let product = (pattern.to_dtype(DType::F32)? * gradient.to_dtype(DType::F32)?)?.mean(0)?;
            heads.push(product.abs()?.sum((1, 2))?);
            entries.push(product);
            progress.step(1)?;
        }
        let [entries, heads] = [entries, heads].map(|of_layers| host::numbers_of_all::<f32>(&of_layers));
        let (entries, heads) = (entries?.concat(), heads?.concat());
        let (layers, count) = (self.cfg().n_layers, self.cfg().n_heads);
        let by_head = vec![Axis::numbered("layer", layers), Axis::numbered("head", count)];
        let labels = self.position_labels(&tokens);
        let places = [Axis::new("position", labels.clone()), Axis::new("key_pos", labels)];
        let all: Vec<Axis> = by_head.iter().cloned().chain(places).collect();
        Ok(AttentionAttribution {
            entries: Labelled::new(format!("attention attribution of {}", metric.name()), all, entries)?,
            heads: Labelled::new("attention attribution without signs", by_head, heads)?,
        })
    }
}

impl AttentionAttribution {
    /// The entries of the `count` heads with the largest sums, `[head, position, key_pos]`, heads as "L0H1".
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where the two results do not fit each other.
    pub fn top(&self, count: usize) -> Result<Labelled> {
        let best = self.heads.top_heads(count)?;
        let map = |&(head, _): &(Head, f32)| -> Result<Vec<f32>> {
            let of_layer = self.entries.select("layer", head.layer as isize)?;
            Ok(of_layer.select("head", head.head as isize)?.values().into_iter().collect())
        };
        let values = best.iter().map(map).collect::<Result<Vec<_>>>()?.concat();
        let heads = Axis::new("head", best.iter().map(|(head, _)| head.to_string()));
        let axes = [&[heads], &self.entries.axes()[2..]].concat();
        Labelled::new(self.entries.title.clone(), axes, values)
    }
}
