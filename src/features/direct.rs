//! Direct logit attribution by feature: what each active feature adds to a logit, or to a logit difference, by itself.
//!
//! With the final norm's scale `s` held at its value in the run, a vector `v` of the residual stream adds `v . g` along a direction `d` of the
//! unembedding, with `g = C (w d) / s` (`w` the norm's weight, `C` its centring). What a dictionary stands for, `y`, is
//! `sum_f a_f W_dec[f] + b_dec (+ x W_skip) + e`, so its share is the sum of the features' shares, the biases', the skip connection's and
//! that of the error `e = y - recon(x)`. `b_O` and `b_out`, which are added after `hook_z` and the neurons, count as bias, so that
//! the whole is what [`direct_logit_attribution`](crate::analysis::direct_logit_attribution) gives for `attn_out` or `mlp_out`.
//!
//! Limits: direct effects only, at each prompt's last token; a layer of a cross-layer transcoder has no error of its own.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{D, DType, Tensor};

use super::active::{ActiveFeature, ActiveFeatures, FeatureRanking};
use super::directions::{Fitted, weight_if_there};
use super::reading::{fitted, rows_of, whole};
use crate::cache::Target;
use crate::dictionaries::{AtBos, Dictionaries, FeatureActs};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::labelled::{Axis, Labelled};
use crate::model::ops::centred;
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::tokens::{Input, TokenRef, Tokens};
use crate::visible::visible;
use crate::wide::widened;

/// What dictionaries and their features add directly to a logit, or to a logit difference, at each prompt's last token.
#[derive(Clone, Debug)]
pub struct FeatureAttribution {
    /// The features that are active at each prompt's last token, ranked by their shares.
    pub features: ActiveFeatures,
    /// `[dictionary, part, prompt]` with the parts `features` (the sum over all of them), `bias`, `skip`, `error` and `whole`, the share
    /// of the activation for which the dictionary stands.
    pub parts: Labelled,
}

/// The labels of the parts.
const PARTS: [&str; 5] = ["features", "bias", "skip", "error", "whole"];

impl HookedTransformer {
    /// What each feature that is active at a prompt's last token adds directly to the logit of a token, or to a logit difference,
    /// through the final norm with its scale in the run: its activation times its decoder row along that direction. The features,
    /// the bias, the skip connection and the error sum to the share of what the dictionary stands for.
    ///
    /// # Errors
    /// As [`Dictionary::for_model`](crate::dictionaries::Dictionary::for_model) and [`HookedTransformer::run`]; dictionaries that do
    /// not write to the residual stream, or behind whose point a norm follows; layers of cross-layer transcoders; a target for
    /// another number of prompts.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let z3 = Dictionary::from_pretrained("tiny/z3")?;
    /// let found = model.feature_logit_attribution(&z3, prompt, (" Mary", " John"))?;
    /// println!("{found}");
    /// // The whole is the share of attention 3.
    /// let shares = direct_logit_attribution(&model, prompt, (" Mary", " John"), Unit::Component)?;
    /// let whole = found.parts.select("part", -1)?.select("prompt", 0)?.scalar()?;
    /// assert!((whole - shares.get(&["3_attn_out", "0"])?).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn feature_logit_attribution(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompts: impl Into<Input>,
        target: impl Into<Target>,
    ) -> Result<FeatureAttribution> {
        let target = target.into();
        let all = fitted(dictionaries.into(), self)?;
        all.iter().try_for_each(Fitted::check_attributable)?;
        let (batch, pieces) = whole(self, self.to_tokens(prompts)?, AtBos::Spliced);
        let count = batch.tokens.batch();
        if let Some(wanted) = target.prompts().filter(|&wanted| wanted != count) {
            return Err(Error::argument(format!(
                "there are answers for {wanted} prompts, but {count} were given: give one for each prompt, or one for all."
            )));
        }
        let directions = widened(&target.directions(self)?)?.broadcast_as((count, self.cfg().d_model))?;
        let _work = Progress::opaque("attributing the logits to features");
        let (captured, rows) = self.last_tokens_of(&all, &batch.tokens)?;
        let pulled = self.pulled_back(&directions, captured.get(&HookPoint::LnFinalScale), &rows)?;
        let last = batch.tokens.last_positions();
        let (mut features, mut parts) = (Vec::new(), Vec::new());
        for fitted in &all {
            let taken = |point: HookPoint| -> Result<Tensor> {
                Ok(widened(&rows_of(fitted, &captured[&point])?.index_select(&rows, 0)?)?)
            };
            let share = fitted.shares(&taken(fitted.reads)?, &taken(fitted.writes)?, &pulled)?;
            parts.extend(share.parts);
            features.extend(share.features.into_iter().map(|(prompt, feature, activation, share)| ActiveFeature {
                dictionary: fitted.dictionary.name(),
                prompt,
                position: last[prompt],
                token: pieces[prompt][last[prompt]].clone(),
                feature,
                activation,
                share,
            }));
        }
        let dictionaries: Vec<String> = all.iter().map(|fitted| fitted.dictionary.name()).collect();
        let axes = vec![
            Axis::new("dictionary", dictionaries.clone()),
            Axis::new("part", PARTS),
            Axis::numbered("prompt", count),
        ];
        let title = described(&target, self.cfg().output_logits_soft_cap.is_some());
        let parts = Labelled::new(format!("direct share in the {title}"), axes, parts)?;
        let ranked_by = FeatureRanking::DirectLogit(title);
        let features = ActiveFeatures { ranked_by, dictionaries, prompts: pieces, without_bos: false, features };
        Ok(FeatureAttribution { features: features.ranked(), parts })
    }

    /// A run with what dictionaries read and write and the scale of the final norm, and the rows of each prompt's last token.
    fn last_tokens_of(&self, all: &[Fitted], tokens: &Tokens) -> Result<(BTreeMap<HookPoint, Tensor>, Tensor)> {
        let points = all.iter().flat_map(|fitted| [fitted.reads, fitted.writes]);
        let scale = self.dims().has_norm.then_some(HookPoint::LnFinalScale);
        let plan = points.chain(scale).fold(HookPlan::new(), |plan, point| plan.capture(point.to_string()));
        let run = self.run(tokens, plan, RunOptions { logits: false, ..Default::default() })?;
        let last = tokens.last_positions();
        let rows: Vec<u32> = last.iter().enumerate().map(|(b, &at)| (b * tokens.pos() + at) as u32).collect();
        Ok((run.captured, Tensor::new(rows, &self.device())?))
    }

    /// Directions of the unembedding as directions of the residual stream, through the final norm with its scales at these rows.
    ///
    /// # Shapes
    /// `directions [prompt, d_model]`, `scale [batch, pos, 1]`; the result is `[prompt, d_model]`.
    fn pulled_back(&self, directions: &Tensor, scale: Option<&Tensor>, rows: &Tensor) -> Result<Tensor> {
        let mut pulled = directions.contiguous()?;
        if let Some(w) = weight_if_there(self, "ln_final.w")? {
            pulled = pulled.broadcast_mul(&w)?;
        }
        if self.final_norm().centres() {
            pulled = centred(&pulled)?;
        }
        match scale {
            Some(scale) => {
                let scale = scale.flatten(0, 1)?.index_select(rows, 0)?.to_dtype(pulled.dtype())?;
                Ok(pulled.broadcast_div(&scale)?)
            }
            None => Ok(pulled),
        }
    }
}

/// The shares of one dictionary.
struct Shares {
    /// Prompt, feature, activation, share.
    features: Vec<(usize, usize, f32, f32)>,
    /// `[part, prompt]`.
    parts: Vec<f32>,
}

impl Fitted<'_> {
    /// # Errors
    /// A dictionary whose features have no shares.
    fn check_attributable(&self) -> Result<()> {
        let name = visible(&self.dictionary.name()).to_string();
        if self.dictionary.w_dec().rank() == 3 {
            return Err(Error::argument(format!(
                "\"{name}\" is a layer of a cross-layer transcoder, which has no error and no whole of its own: rank its \
                 features with features_by_gradient."
            )));
        }
        if self.model.dims().norms_after && matches!(self.writes, HookPoint::Block(_, Site::Z | Site::MlpPost)) {
            return Err(Error::argument(format!(
                "\"{name}\" writes {}, and in this model a norm follows before anything is added to the residual stream, so its \
                 features have no shares of their own there: rank them with features_by_gradient.",
                self.writes
            )));
        }
        self.to_stream(&Tensor::zeros((1, self.dictionary.d_out()), DType::F32, &self.model.device())?)?;
        Ok(())
    }

    /// # Shapes
    /// `x [prompt, d_in]`, `y [prompt, d_out]`, `pulled [prompt, d_model]`.
    fn shares(&self, x: &Tensor, y: &Tensor, pulled: &Tensor) -> Result<Shares> {
        let parts = self.dictionary.parts();
        let along = |vectors: &Tensor| -> Result<Vec<f32>> {
            let products = self.to_stream(vectors)?.broadcast_mul(pulled)?.sum(D::Minus1)?;
            Ok(products.to_dtype(DType::F32)?.to_vec1()?)
        };
        let (_, undo) = parts.input_norm.apply(x)?;
        let like_x = |t: &Tensor| -> Result<Tensor> { Ok(t.to_device(x.device())?.to_dtype(x.dtype())?) };
        let count = x.dim(0)?;
        let behind = self.bias_behind(pulled)?;
        let with_behind = |own: Vec<f32>| own.iter().zip(&behind).map(|(own, behind)| own + behind).collect::<Vec<_>>();
        let b_dec = like_x(&parts.b_dec)?.broadcast_as((count, self.dictionary.d_out()))?.contiguous()?;
        let bias = with_behind(along(&undo.undo(b_dec)?)?);
        let skip = match &parts.w_skip {
            Some(w_skip) => along(&x.matmul(&like_x(w_skip)?)?)?,
            None => vec![0.0; count],
        };
        let error = along(&(y - self.dictionary.reconstruct(x)?.to_dtype(y.dtype())?)?)?;
        let whole = with_behind(along(y)?);
        let scales = match undo.scale() {
            Some(scale) => scale.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?,
            None => vec![1.0; count],
        };
        let features = self.of_features(&self.dictionary.encode(x)?, &scales, pulled)?;
        let mut sums = vec![0.0; count];
        features.iter().for_each(|(prompt, _, _, share)| sums[*prompt] += share);
        Ok(Shares { features, parts: [sums, bias, skip, error, whole].concat() })
    }

    /// Prompt, feature, activation and share of each active feature, whose rows these factors put on the scale of the input.
    fn of_features(
        &self,
        acts: &FeatureActs,
        scales: &[f32],
        pulled: &Tensor,
    ) -> Result<Vec<(usize, usize, f32, f32)>> {
        let rows = |prompt: usize| {
            let (features, values) = acts.row(prompt);
            features
                .iter()
                .map(|&feature| feature as usize)
                .zip(values.iter().copied())
                .filter(|(_, value)| *value != 0.0)
        };
        let mut active: Vec<usize> =
            (0..scales.len()).flat_map(|prompt| rows(prompt).map(|(feature, _)| feature)).collect();
        active.sort_unstable();
        active.dedup();
        if active.is_empty() {
            return Ok(Vec::new());
        }
        let per_unit =
            self.written(&active)?.matmul(&pulled.t()?.contiguous()?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let mut found = Vec::new();
        for (prompt, scale) in scales.iter().enumerate() {
            for (feature, activation) in rows(prompt) {
                let Ok(at) = active.binary_search(&feature) else { continue };
                found.push((prompt, feature, activation, activation * scale * per_unit[at][prompt]));
            }
        }
        Ok(found)
    }

    /// What the biases add that come after the point that is written, one number for each prompt.
    fn bias_behind(&self, pulled: &Tensor) -> Result<Vec<f32>> {
        let name = match (self.writes, self.dictionary.expects().head) {
            (HookPoint::Block(layer, Site::Z), None) => format!("blocks.{layer}.attn.b_O"),
            (HookPoint::Block(layer, Site::MlpPost), _) => format!("blocks.{layer}.mlp.b_out"),
            // The bias of all heads is not a part of what one head writes.
            _ => return Ok(vec![0.0; pulled.dim(0)?]),
        };
        match weight_if_there(self.model, &name)? {
            Some(bias) => Ok(pulled.broadcast_mul(&bias)?.sum(D::Minus1)?.to_dtype(DType::F32)?.to_vec1()?),
            None => Ok(vec![0.0; pulled.dim(0)?]),
        }
    }
}

/// The target in words.
fn described(target: &Target, is_capped: bool) -> String {
    let token = |token: &TokenRef| match token {
        TokenRef::Text(text) => format!("\"{text}\""),
        TokenRef::Id(id) => id.to_string(),
    };
    let what = match target {
        Target::Token(tokens) if tokens.len() == 1 => format!("logit of {}", token(&tokens[0])),
        Target::Token(_) => "logit".into(),
        Target::Difference(pairs) if pairs.len() == 1 => {
            format!("logit difference of {} and {}", token(&pairs[0].0), token(&pairs[0].1))
        }
        Target::Difference(_) => "logit difference".into(),
        Target::Directions(_) => "direction of the unembedding".into(),
    };
    if is_capped { format!("{what} before the soft cap") } else { what }
}

impl fmt::Display for FeatureAttribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.parts, self.features)
    }
}
